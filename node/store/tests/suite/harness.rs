//! What all tests stand on: a simulated machine with a formatted volume, an executor that polls every
//! task and steps the machine when none is ready, and the operations in short form.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use corelith_index::{Digest, ExpirySeconds, SetId};
use corelith_io::{
    BufferPool, BufferPoolConfig, Device, DeviceOffset, DriveConfig, DriveFaults, DriveId,
    Durability, SimulatedMachine,
};
use corelith_store::volume::{FormatOptions, Volume, format_volume, open_volume};
use corelith_store::{
    Change, CheckpointPace, Needs, OpenError, ReadError, RecoveryReport, Shard, ShardOptions,
    WriteError, Written,
};

/// Steps of the machine without which a test has gone wrong.
const STEPS_MAX: u64 = 5_000_000;

/// What a rig's machine and volume are like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) drives: usize,
    pub(crate) segments: u64,
    pub(crate) segment_bytes: u64,
    /// Logical block.
    pub(crate) block_bytes: u32,
    /// Write unit, if it is larger than the logical block.
    pub(crate) unit_bytes: u32,
    pub(crate) durability: Durability,
    pub(crate) shard_count: u16,
    pub(crate) index_memory_bytes: u64,
    pub(crate) accept_stale: bool,
    pub(crate) record_cache_bytes: u64,
    pub(crate) checkpoint: CheckpointPace,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            drives: 1,
            segments: 16,
            segment_bytes: 64 << 10,
            block_bytes: 512,
            unit_bytes: 0,
            durability: Durability::Flush,
            shard_count: 1,
            index_memory_bytes: 64 << 20,
            accept_stale: false,
            record_cache_bytes: 0,
            checkpoint: CheckpointPace::NONE,
        }
    }
}

impl Shape {
    fn physical_bytes(&self) -> u32 {
        self.block_bytes.max(self.unit_bytes)
    }
}

/// A machine, its drives, and the tasks of the process that runs on it.
pub(crate) struct Rig {
    pub(crate) machine: SimulatedMachine,
    pub(crate) drives: Vec<DriveId>,
    pub(crate) shape: Shape,
    pub(crate) pool: BufferPool,
    tasks: Vec<Option<Task>>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    flag: Arc<Flag>,
}

/// Set when a task is to be polled.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Flag {
    fn raised() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The outcome of a spawned task, when it has one.
pub(crate) type Handle<T> = Rc<RefCell<Option<T>>>;

impl Rig {
    /// A machine with a formatted volume.
    pub(crate) fn new(seed: u64, shape: Shape) -> Self {
        let machine = SimulatedMachine::new(seed);
        // Labels and tables, then extents of one segment each, then the last label.
        let data_start_bytes = (136_u64 << 10).next_multiple_of(shape.segment_bytes.min(1 << 20));
        let end_bytes = data_start_bytes + shape.segments * shape.segment_bytes + 4096;
        let size_bytes = end_bytes.next_multiple_of(shape.physical_bytes().into());
        let drives = (0..shape.drives)
            .map(|_| {
                machine.add_drive(DriveConfig {
                    logical_block_bytes: shape.block_bytes,
                    physical_block_bytes: shape.physical_bytes(),
                    durability: shape.durability,
                    ..DriveConfig::new(size_bytes)
                })
            })
            .collect();
        let mut rig = Self::on(machine, drives, shape);
        let devices = rig.devices();
        let pool = rig.pool.clone();
        let options = rig.format_options();
        let volume = rig.run(format_volume(&devices, &pool, &options)).unwrap();
        for device in volume.devices() {
            assert_eq!(u64::from(device.label.extent_count), rig.shape.segments);
        }
        rig
    }

    /// A process on a machine that has been in use, such as a fork.
    pub(crate) fn on(machine: SimulatedMachine, drives: Vec<DriveId>, shape: Shape) -> Self {
        let config = BufferPoolConfig {
            arena_bytes: 0,
            limit_bytes: 1 << 30,
        };
        let pool = BufferPool::new(config).unwrap();
        Self {
            machine,
            drives,
            shape,
            pool,
            tasks: Vec::new(),
        }
    }

    /// The same drives in another life of the machine from here on, with other luck.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        Self::on(
            self.machine.fork(seed),
            self.drives.clone(),
            self.shape.clone(),
        )
    }

    pub(crate) fn devices(&self) -> Vec<Device> {
        self.drives
            .iter()
            .map(|drive| self.machine.device(*drive))
            .collect()
    }

    pub(crate) fn format_options(&self) -> FormatOptions {
        let devices = (0..self.shape.drives).map(|number| [u8::try_from(number).unwrap(); 16]);
        FormatOptions {
            segment_bytes: self.shape.segment_bytes,
            extent_bytes: Some(self.shape.segment_bytes),
            ..FormatOptions::new(
                "test",
                self.shape.shard_count,
                [0x77; 16],
                devices.collect(),
            )
        }
    }

    /// Opens the volume, as a process does that starts.
    pub(crate) fn open_volume(&mut self) -> (Volume, Vec<Device>) {
        let devices = self.devices();
        let pool = self.pool.clone();
        let (volume, positions) = self.run(open_volume(&devices, &pool)).unwrap();
        let in_slot_order = positions
            .into_iter()
            .map(|position| devices[position].clone());
        (volume, in_slot_order.collect())
    }

    /// How the rig opens a shard.
    pub(crate) fn options(&self, shard: u16) -> ShardOptions {
        ShardOptions {
            shard,
            index_memory_bytes: self.shape.index_memory_bytes,
            accept_stale: self.shape.accept_stale,
            record_cache_bytes: self.shape.record_cache_bytes,
            checkpoint: self.shape.checkpoint,
            index_bytes_cached: 0,
        }
    }

    /// Opens a shard without running it.
    pub(crate) fn try_open(&mut self, shard: u16) -> Result<Shard, OpenError> {
        let (volume, devices) = self.open_volume();
        let (pool, clock) = (self.pool.clone(), self.machine.clock());
        let options = self.options(shard);
        self.run(async { Shard::open(&volume, &devices, (&pool, &clock), &options).await })
    }

    /// Opens shard 0 and runs it.
    pub(crate) fn open(&mut self) -> Shard {
        let shard = self.try_open(0).unwrap();
        self.spawn(shard.run());
        shard
    }

    /// Opens shard 0 of a volume of which nothing may have been lost, and runs it.
    pub(crate) fn open_sound(&mut self) -> Shard {
        let shard = self.open();
        check_sound(&shard.report());
        shard
    }

    /// Closes the shard and waits until its background task has ended.
    pub(crate) fn close(&mut self, shard: Shard) {
        shard.close();
        self.run_until_idle();
        assert!(
            self.tasks.iter().all(Option::is_none),
            "the background task has ended"
        );
        drop(shard);
        self.tasks.clear();
    }

    /// The process is gone, whatever becomes of what it had on its way.
    pub(crate) fn stop_tasks(&mut self) {
        self.tasks.clear();
    }

    /// Cuts the power; the process is gone.
    pub(crate) fn power_cut(&mut self) {
        self.tasks.clear();
        self.machine.power_cut();
    }

    /// Adds a task.
    pub(crate) fn spawn<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
    ) -> Handle<T> {
        let handle: Handle<T> = Rc::default();
        let place = Rc::clone(&handle);
        let future = Box::pin(async move {
            let outcome = future.await;
            *place.borrow_mut() = Some(outcome);
        });
        self.tasks.push(Some(Task {
            future,
            flag: Flag::raised(),
        }));
        handle
    }

    /// Polls every task that is ready, until none is. The machine does not move.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut any = false;
            for place in &mut self.tasks {
                let Some(task) = place else { continue };
                if !task.flag.take() {
                    continue;
                }
                any = true;
                let waker = Waker::from(Arc::clone(&task.flag));
                if task
                    .future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready()
                {
                    *place = None;
                }
            }
            if !any {
                return;
            }
        }
    }

    /// Runs until nothing is ready and nothing is pending.
    pub(crate) fn run_until_idle(&mut self) {
        for _ in 0..STEPS_MAX {
            self.settle();
            if !self.machine.step() {
                return;
            }
        }
        panic!("the machine does not come to rest");
    }

    /// Runs a future to its end, with all tasks beside it.
    pub(crate) fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let flag = Flag::raised();
        let waker = Waker::from(Arc::clone(&flag));
        for _ in 0..STEPS_MAX {
            self.settle();
            if flag.take() {
                let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
                if let Poll::Ready(outcome) = poll {
                    return outcome;
                }
                continue;
            }
            assert!(
                self.machine.step(),
                "deadlock: nothing is ready and nothing is pending"
            );
        }
        panic!("the future does not end");
    }

    /// Lets virtual time pass.
    pub(crate) fn sleep_ms(&mut self, duration_ms: u64) {
        let sleep = self.machine.sleep_ns(duration_ms * 1_000_000);
        self.run(sleep);
    }

    pub(crate) fn put(&mut self, shard: &Shard, key: u64, content: &[u8]) -> Written {
        self.run(put(shard, digest(key), content)).unwrap()
    }

    pub(crate) fn delete(&mut self, shard: &Shard, key: u64) -> Written {
        self.run(delete(shard, digest(key))).unwrap()
    }

    /// The content of a key, `None` if there is no record.
    pub(crate) fn get(&mut self, shard: &Shard, key: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.run(get(shard, digest(key)))
    }

    /// Asserts what a key holds.
    pub(crate) fn check(&mut self, shard: &Shard, key: u64, expected: Option<&[u8]>) {
        let found = self.get(shard, key).unwrap();
        assert_eq!(found.as_deref(), expected, "key {key}");
    }

    /// What makes drive `number` misbehave.
    pub(crate) fn faults(&self, number: usize) -> DriveFaults {
        self.machine.faults(self.drives[number])
    }

    /// Offset of segment `number` of drive 0, where every extent is one segment of one shard.
    pub(crate) fn segment_offset(&mut self, number: u64) -> u64 {
        let (volume, _) = self.open_volume();
        volume.devices()[0].label.data_start_bytes + number * self.shape.segment_bytes
    }

    /// The bytes of segment `number` of drive 0.
    pub(crate) fn segment(&mut self, number: u64) -> Vec<u8> {
        let offset = self.segment_offset(number);
        let mut bytes = vec![0; usize::try_from(self.shape.segment_bytes).unwrap()];
        self.faults(0)
            .inspect(DeviceOffset::new(offset), &mut bytes);
        bytes
    }

    /// Writes over part of segment `number` of drive 0, behind the store's back.
    pub(crate) fn overwrite_segment(&mut self, number: u64, at: u64, bytes: &[u8]) {
        let offset = self.segment_offset(number) + at;
        self.faults(0).overwrite(DeviceOffset::new(offset), bytes);
    }

    /// Where `pattern` stands on drive 0: segment and offset in it. Exactly once, or the test is wrong.
    pub(crate) fn find(&mut self, pattern: &[u8]) -> (u64, u64) {
        let mut found = Vec::new();
        for number in 0..self.shape.segments {
            let bytes = self.segment(number);
            let places = bytes.windows(pattern.len()).enumerate();
            let here = places.filter(|(_, window)| *window == pattern);
            found.extend(here.map(|(at, _)| (number, u64::try_from(at).unwrap())));
        }
        assert_eq!(found.len(), 1, "the pattern stands at {found:?}");
        found[0]
    }

    /// The bytes of segment `number` of drive 0, as a range of the drive.
    pub(crate) fn segment_range(&mut self, number: u64) -> std::ops::Range<u64> {
        let start = self.segment_offset(number);
        start..start + self.shape.segment_bytes
    }

    /// Flips a bit of the byte at `at` of segment `number` of drive 0.
    pub(crate) fn flip_bit(&mut self, number: u64, at: u64) {
        let offset = self.segment_offset(number) + at;
        self.faults(0).flip_bit(DeviceOffset::new(offset), 3);
    }
}

/// Asserts that recovery has lost nothing.
pub(crate) fn check_sound(report: &RecoveryReport) {
    assert!(!report.may_be_stale(), "{report:?}");
    assert_eq!(report.records_damaged, 0, "{report:?}");
}

/// The digest of test key `key`: of shard 0 of any number of shards, with tags of their own.
pub(crate) fn digest(key: u64) -> Digest {
    let mut bytes = [0x5a; 20];
    bytes[2..10].copy_from_slice(&key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes[10..18].copy_from_slice(&key.to_le_bytes());
    bytes[..2].fill(0);
    Digest::from_bytes(bytes)
}

/// Content that no other (key, version) has, `length` bytes long.
pub(crate) fn content(key: u64, version: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    let mut word = key.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ version;
    while bytes.len() < length {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ version;
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) const PLAIN: Change = Change::PutInput {
    expiry: ExpirySeconds::NEVER,
    set: SetId::NONE,
};

/// Why a test's own decision rejects a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotMet;

pub(crate) async fn put(
    shard: &Shard,
    digest: Digest,
    content: &[u8],
) -> Result<Written, WriteError<NotMet>> {
    shard
        .write(&digest, Needs::Metadata, content, |_, _| Ok(PLAIN))
        .await
}

pub(crate) async fn delete(shard: &Shard, digest: Digest) -> Result<Written, WriteError<NotMet>> {
    shard
        .write(&digest, Needs::Metadata, &[], |_, _| Ok(Change::Delete))
        .await
}

/// A put only if there is no record.
pub(crate) async fn create(
    shard: &Shard,
    digest: Digest,
    content: &[u8],
) -> Result<Written, WriteError<NotMet>> {
    shard
        .write(
            &digest,
            Needs::Metadata,
            content,
            |current, _| match current {
                None => Ok(PLAIN),
                Some(_) => Err(NotMet),
            },
        )
        .await
}

pub(crate) async fn get(shard: &Shard, digest: Digest) -> Result<Option<Vec<u8>>, ReadError> {
    let record = shard.get(&digest).await?;
    Ok(record.map(|record| {
        assert_eq!(record.digest(), &digest);
        record.content().to_vec()
    }))
}
