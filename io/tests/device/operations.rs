//! Reads, writes, flushes and discards, on every kind of real device and with every set of features.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use corelith_io::{
    Access, BufferPool, Device, DeviceError, DeviceOffset, Durability, DurabilityChoice,
    FeatureMask, LocalTasks, OpenDevice, OpenOptions, Ring, RingConfig,
};

use crate::rig::{LoopDevice, Scratch, open, pattern, ring};

const MIB: u64 = 1 << 20;

/// What a check of operations needs.
struct Bench {
    ring: Ring,
    pool: BufferPool,
    device: Device,
}

impl Bench {
    fn new(opened: &OpenDevice, config: RingConfig) -> Self {
        let (ring, pool) = ring(config);
        let device = opened.attach(&ring).unwrap();
        Self { ring, pool, device }
    }
}

/// Random writes of many sizes, sixteen at a time, each read back and compared with a copy in memory.
async fn check_against_memory(pool: &BufferPool, device: &Device) {
    let geometry = device.geometry().clone();
    let block = geometry.logical_block_bytes as usize;
    let size = usize::try_from(geometry.size_bytes).unwrap();
    let mut copy = vec![0_u8; size];
    let zeros = pool.take(MIB as usize).unwrap().freeze();
    for start in (0..size).step_by(zeros.len()) {
        let length = zeros.len().min(size - start);
        let offset = DeviceOffset::new(start as u64);
        device
            .write(offset, zeros.clone(), 0..length)
            .await
            .unwrap();
    }
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for round in 0..40_u64 {
        let mut writes = Vec::new();
        for number in 0..16_u64 {
            let length = (random(64) + 1) * block;
            let start = random((size - length) / block + 1) * block;
            let skip = random(3) * block;
            let buffer = pattern(pool, skip + length, round * 16 + number).freeze();
            // Writes that are in flight together have no order: only those apart go together.
            let apart =
                |(other, end, _): &(usize, usize, _)| start + length <= *other || *end <= start;
            if !writes.iter().all(apart) {
                continue;
            }
            copy[start..start + length].copy_from_slice(&buffer[skip..skip + length]);
            let offset = DeviceOffset::new(start as u64);
            let write = device.write_durable(offset, buffer, skip..skip + length);
            writes.push((start, start + length, write));
        }
        for (start, end, write) in writes {
            write.await.unwrap();
            let buffer = pool.take(end - start).unwrap();
            let read = device.read(DeviceOffset::new(start as u64), buffer, end - start);
            let (buffer, outcome) = read.await;
            outcome.unwrap();
            assert!(
                buffer.as_slice()[..end - start] == copy[start..end],
                "round {round} at {start}"
            );
        }
    }
    for start in (0..size).step_by(MIB as usize) {
        let length = (size - start).min(MIB as usize);
        let buffer = pool.take(length).unwrap();
        let (buffer, outcome) = device
            .read(DeviceOffset::new(start as u64), buffer, length)
            .await;
        outcome.unwrap();
        assert!(
            buffer.as_slice()[..length] == copy[start..start + length],
            "at {start}"
        );
    }
}

fn check(opened: &OpenDevice, config: RingConfig) {
    let bench = Bench::new(opened, config);
    bench
        .ring
        .block_on(check_against_memory(&bench.pool, &bench.device))
        .unwrap();
    assert_eq!(
        bench.pool.statistics().arena_lent_bytes,
        0,
        "a buffer is still lent"
    );
    assert!(!bench.device.is_fenced());
    let statistics = bench.device.statistics();
    for (of, least_count) in [(&statistics.reads, 40), (&statistics.writes, 40)] {
        assert!(of.count >= least_count && of.bytes >= of.count * 512);
        assert_eq!((of.failed_count, of.in_flight_count), (0, 0));
        assert_eq!(of.latency.count, of.count);
        assert!(of.latency.sum_ns > 0, "no device answers in no time");
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn loop_devices_hold_what_was_written() {
    for block_bytes in [512, 4096] {
        let device = LoopDevice::new(&format!("ops-{block_bytes}"), 4 * MIB, block_bytes);
        check(&open(device.path()), RingConfig::default());
    }
}

#[test]
fn a_file_holds_what_was_written() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "file-ops");
    check(
        &OpenDevice::create_file(scratch.path(), 2 * MIB).unwrap(),
        RingConfig::default(),
    );
}

/// A record of 8 MiB was read in one system call, in which the kernel gave out and cleared all its pages: milliseconds in which
/// the core did nothing else.
#[test]
fn long_transfers_take_several_submissions() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "file-pieces");
    let file = OpenDevice::create_file(scratch.path(), 12 * MIB).unwrap();
    let bench = Bench::new(&file, RingConfig::default());
    let length = (8 << 20) + 4096;
    let offset = DeviceOffset::new(MIB);
    let written = pattern(&bench.pool, length, 3).freeze();
    let copy = written[..length].to_vec();
    let before = bench.ring.statistics();
    let write = bench.device.write_durable(offset, written, 0..length);
    bench.ring.block_on(write).unwrap().unwrap();
    let between = bench.ring.statistics();
    // Eight of a mebibyte and the rest, and whatever made them durable.
    assert!(between.completion_count - before.completion_count >= 9);
    let buffer = bench.pool.take(length).unwrap();
    let read = bench.device.read(offset, buffer, length);
    let (buffer, outcome) = bench.ring.block_on(read).unwrap();
    outcome.unwrap();
    assert!(buffer.as_slice()[..length] == copy[..], "other bytes");
    let after = bench.ring.statistics();
    // Memory of its own: 32 of 256 KiB and the rest.
    assert!(after.completion_count - between.completion_count >= 33);
    assert_eq!(after.resumed_count, before.resumed_count, "as planned");
    let reads = bench.device.statistics().reads;
    assert_eq!(
        (reads.count, reads.bytes),
        (1, length as u64),
        "one to whoever asks"
    );
}

#[test]
#[ignore = "needs root and loop devices"]
fn every_way_to_durability_of_a_loop_device_holds_what_was_written() {
    let device = LoopDevice::new("durability", 2 * MIB, 512);
    for durability in [DurabilityChoice::Flush, DurabilityChoice::Fua] {
        let options = OpenOptions {
            durability,
            ..OpenOptions::default()
        };
        check(
            &OpenDevice::open(device.path(), options).unwrap(),
            RingConfig::default(),
        );
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn each_missing_feature_is_done_without_on_a_loop_device() {
    let device = LoopDevice::new("features", 2 * MIB, 512);
    let opened = open(device.path());
    let all = FeatureMask {
        deferred_completions: true,
        registered_files: true,
        registered_buffers: true,
        multishot: true,
        receive_limit: true,
    };
    let none = FeatureMask::default();
    for without in [
        FeatureMask {
            deferred_completions: true,
            ..none
        },
        FeatureMask {
            registered_files: true,
            ..none
        },
        FeatureMask {
            registered_buffers: true,
            ..none
        },
        all,
    ] {
        let config = RingConfig {
            without,
            ..RingConfig::default()
        };
        let bench = Bench::new(&opened, config.clone());
        assert!(!bench.ring.features().lacking().is_empty());
        drop(bench);
        check(&opened, config);
    }
}

/// A drive was taken out of a guest. The kernel answered "no space" to writes and "the device's end" to reads, which were told as
/// failures of a device that is there: the node called every record damaged, and opened one new segment after the other.
#[test]
#[ignore = "needs root and loop devices"]
fn a_loop_device_of_which_nothing_is_left_is_gone() {
    for durability in [DurabilityChoice::Flush, DurabilityChoice::Fua] {
        let taken_out = LoopDevice::new("taken-out", 4 * MIB, 4096);
        let options = OpenOptions {
            durability,
            ..OpenOptions::default()
        };
        let opened = OpenDevice::open(taken_out.path(), options).unwrap();
        let bench = Bench::new(&opened, RingConfig::default());
        let Bench { ring, pool, device } = &bench;
        let buffer = pool.take(4096).unwrap().freeze();
        let write = || device.write_durable(DeviceOffset::new(4096), buffer.clone(), 0..4096);
        assert_eq!(ring.block_on(write()).unwrap(), Ok(()));
        taken_out.take_out();
        assert_eq!(ring.block_on(write()).unwrap(), Err(DeviceError::Gone));
        let read = device.read(DeviceOffset::new(4096), pool.take(4096).unwrap(), 4096);
        let (_, outcome) = ring.block_on(read).unwrap();
        assert_eq!(outcome, Err(DeviceError::Gone));
        assert!(!device.is_fenced(), "{durability:?}");
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn mistakes_on_a_loop_device_are_answered_and_harm_nothing() {
    let device = LoopDevice::new("mistakes", 4 * MIB, 4096);
    let bench = Bench::new(&open(device.path()), RingConfig::default());
    let Bench { ring, pool, device } = &bench;
    let read = |offset: u64, length: usize| {
        let buffer = pool.take(8192).unwrap();
        let (buffer, outcome) = ring
            .block_on(device.read(DeviceOffset::new(offset), buffer, length))
            .unwrap();
        assert_eq!(buffer.capacity(), 8192);
        outcome
    };
    assert!(matches!(
        read(512, 4096),
        Err(DeviceError::Misaligned {
            unit_bytes: 4096,
            ..
        })
    ));
    assert!(matches!(read(0, 100), Err(DeviceError::Misaligned { .. })));
    assert!(matches!(read(0, 0), Err(DeviceError::Misaligned { .. })));
    assert!(matches!(
        read(4 * MIB, 4096),
        Err(DeviceError::OutOfBounds { .. })
    ));
    assert!(matches!(
        read(4 * MIB - 4096, 8192),
        Err(DeviceError::OutOfBounds { .. })
    ));
    assert!(matches!(
        read(u64::MAX - 4095, 4096),
        Err(DeviceError::OutOfBounds { .. })
    ));
    let outside = DeviceError::OutsideBuffer {
        end: 12288,
        capacity_bytes: 8192,
    };
    assert_eq!(read(0, 12288), Err(outside));
    assert_eq!(read(4 * MIB - 4096, 4096), Ok(()));

    let frozen = pool.take(8192).unwrap().freeze();
    let write = device.write(DeviceOffset::START, frozen.clone(), 512..4608);
    let outcome = ring.block_on(write).unwrap();
    assert!(matches!(outcome, Err(DeviceError::Misaligned { .. })));
    let write = device.write_durable(DeviceOffset::START, frozen, 4096..12288);
    let outcome = ring.block_on(write).unwrap();
    assert!(matches!(outcome, Err(DeviceError::OutsideBuffer { .. })));
    assert!(!device.is_fenced());
}

#[test]
#[ignore = "needs root and loop devices"]
fn discarded_ranges_of_a_loop_device_read_as_zeros_and_files_have_none() {
    let loop_device = LoopDevice::new("discard", 4 * MIB, 512);
    let bench = Bench::new(&open(loop_device.path()), RingConfig::default());
    let Bench { ring, pool, device } = &bench;
    if device.geometry().discard {
        let bytes = pattern(pool, 65_536, 1).freeze();
        let work = async {
            device
                .write_durable(DeviceOffset::START, bytes, 0..65_536)
                .await
                .unwrap();
            device.discard(DeviceOffset::new(4096), 8192).await.unwrap();
            let (buffer, outcome) = device
                .read(DeviceOffset::START, pool.take(65_536).unwrap(), 65_536)
                .await;
            outcome.unwrap();
            buffer
        };
        let buffer = ring.block_on(work).unwrap();
        assert!(
            buffer.as_slice()[4096..12_288]
                .iter()
                .all(|byte| *byte == 0)
        );
        assert!(buffer.as_slice()[12_288..].iter().any(|byte| *byte != 0));
    }
    let past_the_end = ring
        .block_on(device.discard(DeviceOffset::new(4 * MIB), 512))
        .unwrap();
    assert!(matches!(past_the_end, Err(DeviceError::OutOfBounds { .. })));

    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "no-discard");
    let file = OpenDevice::create_file(scratch.path(), MIB)
        .unwrap()
        .attach(ring)
        .unwrap();
    let outcome = ring
        .block_on(file.discard(DeviceOffset::START, 4096))
        .unwrap();
    assert_eq!(outcome, Err(DeviceError::Unsupported));
}

/// A future that is polled once and then dropped with its operation in flight.
struct PollOnce<F>(F);

impl<F: Future + Unpin> Future for PollOnce<F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(Pin::new(&mut self.0).poll(context).is_ready())
    }
}

#[test]
fn a_dropped_future_leaves_its_buffer_to_the_kernel() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "dropped");
    let opened = OpenDevice::create_file(scratch.path(), 4 * MIB).unwrap();
    let bench = Bench::new(&opened, RingConfig::default());
    let Bench { ring, pool, device } = &bench;
    let mut context = Context::from_waker(Waker::noop());
    for number in 0..32_u64 {
        let offset = DeviceOffset::new(number * 65_536);
        let bytes = pattern(pool, 65_536, number).freeze();
        let write = PollOnce(device.write(offset, bytes, 0..65_536));
        assert_eq!(
            Box::pin(write).as_mut().poll(&mut context),
            Poll::Ready(false)
        );
    }
    assert_eq!(
        pool.statistics().arena_lent_bytes,
        32 * 65_536,
        "a buffer came back too early"
    );
    while pool.statistics().arena_lent_bytes > 0 {
        ring.turn().unwrap();
    }
    // The writes were carried out although nobody waited for them.
    for number in 0..32_u64 {
        let read = device.read(
            DeviceOffset::new(number * 65_536),
            pool.take(65_536).unwrap(),
            65_536,
        );
        let (buffer, outcome) = ring.block_on(read).unwrap();
        outcome.unwrap();
        assert!(buffer.as_slice()[..65_536] == pattern(pool, 65_536, number).as_slice()[..65_536]);
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_ring_that_is_dropped_waits_for_its_operations_on_a_loop_device() {
    let device = LoopDevice::new("drain", 16 * MIB, 512);
    let opened = open(device.path());
    let Bench { ring, pool, device } = Bench::new(&opened, RingConfig::default());
    for number in 0..64_u64 {
        let buffer = pool.take(65_536).unwrap();
        drop(device.read(DeviceOffset::new(number * 65_536), buffer, 65_536));
    }
    assert_eq!(pool.statistics().arena_lent_bytes, 64 * 65_536);
    drop(device);
    drop(ring);
    assert_eq!(pool.statistics().arena_lent_bytes, 0);
}

/// Durable writes of several tasks at once share flushes. How many share one depends on the drive; that
/// none has a flush of its own does not.
#[test]
fn flushes_are_shared() {
    const WRITES: u64 = 512;
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "shared-flush");
    let opened = OpenDevice::create_file(scratch.path(), 4 * MIB).unwrap();
    assert_eq!(opened.geometry().durability, Durability::Flush);
    let bench = Bench::new(&opened, RingConfig::default());
    let Bench { ring, pool, device } = &bench;
    let tasks = LocalTasks::new(ring);
    let next = Rc::new(Cell::new(0_u64));
    let before = ring.statistics().completion_count;
    let workers: Vec<_> = (0..32)
        .map(|_| {
            let (device, pool, next) = (device.clone(), pool.clone(), Rc::clone(&next));
            let worker = async move {
                while next.get() < WRITES {
                    let number = next.replace(next.get() + 1);
                    let bytes = pattern(&pool, 4096, number).freeze();
                    let offset = DeviceOffset::new(number * 4096);
                    device.write_durable(offset, bytes, 0..4096).await.unwrap();
                }
            };
            tasks.spawn(worker).unwrap()
        })
        .collect();
    let all = async {
        for worker in workers {
            worker.await;
        }
    };
    tasks.block_on(all).unwrap();
    let flushes = ring.statistics().completion_count - before - WRITES;
    assert!(flushes >= 1);
    assert!(
        flushes < WRITES,
        "{flushes} flushes for {WRITES} writes by 32 tasks"
    );
    assert_eq!(ring.block_on(device.flush()).unwrap(), Ok(()));
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_failed_forced_write_fences_the_loop_device_for_all_handles() {
    let loop_device = LoopDevice::new("fence", 2 * MIB, 512);
    // Writing through a descriptor for reading is an error that any kernel gives.
    let options = OpenOptions {
        access: Access::ReadOnly,
        durability: DurabilityChoice::Fua,
    };
    let opened = OpenDevice::open(loop_device.path(), options).unwrap();
    let bench = Bench::new(&opened, RingConfig::default());
    let Bench { ring, pool, device } = &bench;
    let other = opened.attach(ring).unwrap();
    let bytes = pool.take(4096).unwrap().freeze();
    let plain = ring
        .block_on(device.write(DeviceOffset::START, bytes.clone(), 0..4096))
        .unwrap();
    assert!(matches!(plain, Err(DeviceError::Write { .. })), "{plain:?}");
    assert!(!device.is_fenced(), "a plain write fences nothing");
    let forced = device.write_durable(DeviceOffset::START, bytes.clone(), 0..4096);
    let forced = ring.block_on(forced).unwrap();
    assert!(
        matches!(forced, Err(DeviceError::Write { .. })),
        "{forced:?}"
    );
    assert!(device.is_fenced() && other.is_fenced());
    let later = ring
        .block_on(other.write_durable(DeviceOffset::START, bytes, 0..4096))
        .unwrap();
    assert_eq!(later, Err(DeviceError::Fenced));
    assert_eq!(
        ring.block_on(other.flush()).unwrap(),
        Err(DeviceError::Fenced)
    );
    let buffer = pool.take(4096).unwrap();
    let (_, read) = ring
        .block_on(device.read(DeviceOffset::START, buffer, 4096))
        .unwrap();
    assert_eq!(read, Ok(()), "a fenced device can still be read");
}

/// The fence stands even if nobody awaits the failed write.
#[test]
#[ignore = "needs root and loop devices"]
fn an_abandoned_forced_write_fences_the_loop_device_too() {
    let loop_device = LoopDevice::new("fence-abandoned", 2 * MIB, 512);
    let options = OpenOptions {
        access: Access::ReadOnly,
        durability: DurabilityChoice::Fua,
    };
    let opened = OpenDevice::open(loop_device.path(), options).unwrap();
    let bench = Bench::new(&opened, RingConfig::default());
    let bytes = bench.pool.take(4096).unwrap().freeze();
    drop(
        bench
            .device
            .write_durable(DeviceOffset::START, bytes, 0..4096),
    );
    while bench.ring.statistics().in_flight_count > 0 {
        bench.ring.turn().unwrap();
    }
    assert!(bench.device.is_fenced());
}

/// A device that ends before its stated size: a file that somebody cut.
#[test]
fn a_read_past_a_new_end_is_short() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "cut");
    let opened = OpenDevice::create_file(scratch.path(), 2 * MIB).unwrap();
    let bench = Bench::new(&opened, RingConfig::default());
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(scratch.path())
        .unwrap();
    file.set_len(MIB + 8192).unwrap();
    let buffer = bench.pool.take(65_536).unwrap();
    let read = bench.device.read(DeviceOffset::new(MIB), buffer, 65_536);
    let (_, outcome) = bench.ring.block_on(read).unwrap();
    let offset = DeviceOffset::new(MIB);
    let short = DeviceError::Short {
        offset,
        length_bytes: 65_536,
        done_bytes: 8192,
    };
    assert_eq!(outcome, Err(short));
}

#[test]
fn a_device_in_memory_keeps_the_same_bounds() {
    let opened = OpenDevice::in_memory("memory of a test", 16 * MIB).unwrap();
    let bench = Bench::new(&opened, RingConfig::default());
    let geometry = bench.device.geometry();
    assert_eq!(geometry.durability, Durability::WriteThrough);
    assert_eq!(geometry.size_bytes, 16 * MIB);
    let (pool, device) = (&bench.pool, &bench.device);
    bench
        .ring
        .block_on(check_against_memory(pool, device))
        .unwrap();
    let read = |offset, length| {
        let buffer = pool.take(8192).unwrap();
        let (_, outcome) = now(device.read(DeviceOffset::new(offset), buffer, length));
        outcome
    };
    assert_eq!(read(16 * MIB - 512, 512), Ok(()));
    let outside = read(16 * MIB - 512, 1024);
    assert!(matches!(outside, Err(DeviceError::OutOfBounds { .. })));
    let misaligned = read(100, 512);
    assert!(matches!(misaligned, Err(DeviceError::Misaligned { .. })));
    assert_eq!(now(device.flush()), Ok(()));
    // Every core has a handle of its own on the same bytes, and the last one ends them.
    let other = Bench::new(&opened, RingConfig::default());
    let bytes = pool.take(4096).unwrap().freeze();
    assert_eq!(
        now(device.write_durable(DeviceOffset::START, bytes.clone(), 0..4096)),
        Ok(())
    );
    drop(opened);
    let buffer = other.pool.take(4096).unwrap();
    let (buffer, outcome) = now(other.device.read(DeviceOffset::START, buffer, 4096));
    assert_eq!(outcome, Ok(()));
    assert_eq!(buffer.as_slice()[..4096], bytes[..4096]);
    assert_eq!(device.statistics().writes.in_flight_count, 0);
}

#[test]
fn a_device_in_memory_has_a_size_that_a_device_may_have() {
    for size_bytes in [0, 4096, 16 * MIB + 512] {
        assert!(
            OpenDevice::in_memory("memory", size_bytes).is_err(),
            "{size_bytes}"
        );
    }
    let error = OpenDevice::in_memory("memory", 1 << 62).err().unwrap();
    assert!(error.to_string().contains("smaller"), "{error}");
}

/// What is there at the first look: a device in memory makes nobody wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits"),
    }
}
