//! A shard: the store's face. Open it, run its background task, read, write, scan, close.
//!
//! Everything of one shard lives on one core; handles are cheap to clone there and cannot leave it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corelith_index::{Digest, Index, SetId, Shard as IndexShard};
use corelith_io::{BufferPool, Clock, Device, advise_huge_pages};
use hashbrown::HashMap;

use crate::announced::Announced;
use crate::chain::LogChain;
use crate::checkpoint::{CheckpointPace, Checkpoints};
use crate::commit::Commit;
use crate::damage::DeviceTold;
use crate::expiry::Expiry;
use crate::format::fields::u64_of;
use crate::joined_reads::JoinedReads;
use crate::limits::INDEX_ADMITTED_PERCENT;
use crate::log::{Log, LogGeometry};
use crate::notify::Notify;
use crate::place::SegmentPlace;
use crate::progress::RecoveryProgress;
use crate::reclaim::Reclaim;
use crate::record::{Metadata, Record};
use crate::record_cache::{RecordCache, RecordCacheStatistics};
use crate::recovery::{RecoveryReport, recover};
use crate::segments::{SegmentCounts, SegmentTable};
use crate::sets::{SetError, SetTable};
use crate::state::{AttachedDevice, Counters, ShardCore, State};
use crate::store_clock::{ClockDoubt, StoreClock};
use crate::truncation::{Truncate, TruncateError, Truncations};
use crate::turns::KeyTurns;
use crate::volume::Volume;
use crate::writer::{Change, Current, Needs, Written};
use crate::{Lsn, OpenError, ReadError, Version, WriteError, committer};

/// How a shard is opened.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// The shard's number.
    pub shard: u16,
    /// Bytes of DRAM that its index may take; at
    /// [`limits::INDEX_ADMITTED_PERCENT`](crate::limits::INDEX_ADMITTED_PERCENT) of them new keys are refused.
    pub index_memory_bytes: u64,
    /// Bytes of DRAM that its record cache may take, all in; 0 for none.
    pub record_cache_bytes: u64,
    /// How the index is kept on the devices for the next start.
    pub checkpoint: CheckpointPace,
    /// Serve although part of the log was lost: an operator has accepted that answers may be stale.
    pub accept_stale: bool,
    /// Size in bytes up to which the index is taken to be in the CPU's caches: beyond it, gets wait for one
    /// round of the core's tasks and have their look-ups fetched together.
    /// [`limits::INDEX_BYTES_CACHED`](crate::limits::INDEX_BYTES_CACHED) but for tests.
    pub index_bytes_cached: u64,
}

/// One shard of a volume, open on this core.
#[derive(Clone)]
pub struct Shard {
    core: Rc<ShardCore>,
    report: RecoveryReport,
}

/// What a shard holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardStatistics {
    /// Records that a get would find, expired ones that were not overwritten and truncated ones that the
    /// sweep has not come to included.
    pub records: u64,
    /// Bytes of DRAM of the index.
    pub index_bytes: u64,
    /// Bytes that it may take.
    pub index_limit_bytes: u64,
    /// New keys are refused: entries take as much of that as may be given to them.
    pub is_index_full: bool,
    /// Its segments.
    pub segments: SegmentCounts,
    /// What it has counted since it was opened.
    pub counters: Counters,
    /// Writes accepted and not yet durable.
    pub pending: u64,
    /// Batches that wait for a place in flight.
    pub batches_queued: u64,
    /// Writes of the log that the devices have and have not completed.
    pub writes_in_flight: u64,
    /// No segment is left for new data; deletes are still taken.
    pub is_full: bool,
    /// Every device is fenced; see [`Shard::is_fenced`].
    pub is_fenced: bool,
    /// How far the wall clock is ahead, in ms, while that is too far and writes are refused; else 0.
    pub clock_ahead_ms: u64,
    /// See [`Shard::may_be_stale`].
    pub may_be_stale: bool,
    /// Truncations whose records are not all out of the index yet.
    pub truncations_unswept: u64,
    /// Expired records are not removed, because the clock is not trusted.
    pub is_clock_doubtful: bool,
    /// Everything up to here is in pages of checkpoints, durably.
    pub checkpoint_lsn: Lsn,
    /// Its record cache.
    pub record_cache: RecordCacheStatistics,
}

impl Shard {
    /// Opens a shard of `volume` on `devices`, which are in slot order: recovers it from whatever a
    /// stop or a crash left. The background task ([`Shard::run`]) must run before writes are made.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage that leaves something to serve is no error: [`Shard::report`] has it.
    pub async fn open(
        volume: &Volume,
        devices: &[Device],
        (pool, clock): (&BufferPool, &Clock),
        options: &ShardOptions,
    ) -> Result<Self, OpenError> {
        Self::open_watched(
            volume,
            devices,
            (pool, clock),
            (options, &RecoveryProgress::default()),
        )
        .await
    }

    /// [`Shard::open`], with figures of the recovery for whoever looks on.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_watched(
        volume: &Volume,
        devices: &[Device],
        (pool, clock): (&BufferPool, &Clock),
        (options, progress): (&ShardOptions, &RecoveryProgress),
    ) -> Result<Self, OpenError> {
        let core = Rc::new(empty_core(volume, devices, (pool, clock), options)?);
        let mut report = recover(&core, options.accept_stale, progress).await?;
        report.clock_gap_ms = core.clock.begin();
        progress.recovered();
        Ok(Self { core, report })
    }

    /// The background task: gives batches to the devices and keeps segments ready. Ends after
    /// [`Shard::close`] when everything accepted is durable and the open segment is sealed.
    pub fn run(&self) -> impl Future<Output = ()> + 'static {
        committer::run(Rc::clone(&self.core))
    }

    /// The newest durable version of a record; `None` if there is none or it has expired. One device
    /// read for a record that is there, none if the record cache has it; none for a miss.
    ///
    /// # Errors
    /// See [`ReadError`]; they concern this record only.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Record>, ReadError> {
        self.core.read(digest).await
    }

    /// True if [`fetch_ahead`](crate::fetch_ahead) does something for this shard: it has a record cache, or an index
    /// larger than the CPU's caches.
    #[must_use]
    pub fn is_worth_fetching(&self) -> bool {
        self.core.is_worth_fetching()
    }

    /// [`Shard::get`] of a key that [`fetch_ahead`](crate::fetch_ahead) was just told of: it waits for no others to look up with.
    ///
    /// # Errors
    /// See [`ReadError`]; they concern this record only.
    pub async fn get_fetched(&self, digest: &Digest) -> Result<Option<Record>, ReadError> {
        self.core.read_fetched(digest).await
    }

    /// False if [`Shard::get_at_once`] never knows anything: the shard has no record cache, and a device that is not
    /// memory.
    #[must_use]
    pub fn may_get_at_once(&self) -> bool {
        self.core.answers_from_memory(&self.core.state.borrow())
    }

    /// What [`Shard::get`] would answer, if the index and the record cache are enough to know it: without
    /// waiting and without an allocation. Devices in memory are as good as a cache. `None` if they are not, and always in a
    /// shard with neither: then [`Shard::get`] has to be asked.
    #[must_use]
    pub fn get_at_once(&self, digest: &Digest) -> Option<Option<Record>> {
        self.core.read_at_once(digest)
    }

    /// Generation, expiry and set of a record, without a device read where the index can be trusted.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn metadata(&self, digest: &Digest) -> Result<Option<Metadata>, ReadError> {
        self.core.read_metadata(digest).await
    }

    /// Writes one record: `decide` sees the newest version (as much of it as `needs` says) and
    /// returns the change, or a reason to reject the write. `input` is the content that came with the
    /// request; a decision may also make one in the scratch that it is given. Answers when the
    /// change is durable.
    ///
    /// # Errors
    /// See [`WriteError`]. Only [`WriteError::InDoubt`] leaves open whether it happened.
    pub async fn write<E>(
        &self,
        digest: &Digest,
        needs: Needs,
        input: &[u8],
        decide: impl FnMut(Option<Current<'_>>, &mut Vec<u8>) -> Result<Change, E>,
    ) -> Result<Written, WriteError<E>> {
        self.write_as(Commit::Durable, (digest, needs), input, decide)
            .await
    }

    /// [`Shard::write`], answered when `commit` says.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write_as<E>(
        &self,
        commit: Commit,
        (digest, needs): (&Digest, Needs),
        input: &[u8],
        mut decide: impl FnMut(Option<Current<'_>>, &mut Vec<u8>) -> Result<Change, E>,
    ) -> Result<Written, WriteError<E>> {
        let decide = async |current: Option<Current<'_>>, made: &mut Vec<u8>| decide(current, made);
        self.write_in_pieces(commit, (digest, needs), input, decide)
            .await
    }

    /// [`Shard::write_as`] with a decision that may take long, and lets others go first in the middle of it. It
    /// is as atomic as any: other writes of the key wait for it. Where what it saw has failed or is about to
    /// be truncated when it ends, it is asked again.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write_in_pieces<E>(
        &self,
        commit: Commit,
        (digest, needs): (&Digest, Needs),
        input: &[u8],
        decide: impl AsyncFnMut(Option<Current<'_>>, &mut Vec<u8>) -> Result<Change, E>,
    ) -> Result<Written, WriteError<E>> {
        self.core
            .write(digest, (needs, commit), input, decide)
            .await
    }

    /// Has buffered writes leave for the device, if any wait in a batch. The owner of a shard that takes
    /// [`Commit::Buffered`] calls it as often as writes may be lost in a crash.
    pub fn flush(&self) {
        self.core.flush();
    }

    /// Deletes every record of `target` that was accepted before, in one step of this shard: whatever comes
    /// to pass, either none of them is there any more or all are. Answers when that is durable; the work
    /// does not grow with the number of records. A set that no record was ever written to is fine.
    ///
    /// # Errors
    /// [`WriteError::Rejected`] with a [`TruncateError`], or what a write can answer. Only
    /// [`WriteError::InDoubt`] leaves open whether it happened; to ask again does no
    /// harm, but that records written in between are deleted as well.
    pub async fn truncate(&self, target: Truncate<'_>) -> Result<(), WriteError<TruncateError>> {
        self.core.truncate(target).await
    }

    /// Some time has passed: what has expired is taken out of the index and of its segments in the background, a bounded part with
    /// each call. The owner calls it about once a second.
    pub fn tick(&self) {
        self.core.tick();
    }

    /// Why the wall clock is not trusted just now, if it is not: expired records are invisible, and not removed.
    #[must_use]
    pub fn clock_doubt(&self) -> Option<ClockDoubt> {
        self.core.clock.doubt()
    }

    /// An operator says that the wall clock is right as it is.
    pub fn confirm_clock(&self) {
        self.core.clock.confirm();
    }

    /// The number of the set called `name`, made durable if it is new.
    ///
    /// # Errors
    /// [`WriteError::Rejected`] with a [`SetError`], or what a write can answer.
    pub async fn set_id(&self, name: &str) -> Result<SetId, WriteError<SetError>> {
        self.core.set_id(name).await
    }

    /// The number of a set, if any record of it was ever written here.
    #[must_use]
    pub fn known_set(&self, name: &str) -> Option<SetId> {
        self.core.state.borrow().sets.number(name)
    }

    /// The name of a set; empty for [`SetId::NONE`] and for a number that has none.
    #[must_use]
    pub fn set_name(&self, set: SetId) -> String {
        self.core
            .state
            .borrow()
            .sets
            .name(set)
            .unwrap_or_default()
            .to_owned()
    }

    /// All sets of this shard: number and name.
    #[must_use]
    pub fn sets(&self) -> Vec<(SetId, String)> {
        let state = self.core.state.borrow();
        state
            .sets
            .iter()
            .map(|(set, name)| (set, name.to_owned()))
            .collect()
    }

    /// The shard's number in its volume.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.core.number
    }

    /// The store's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.core.clock.now_ms()
    }

    /// How far the wall clock may step ahead of the monotonic one before writes are refused, in ms: from a minute on,
    /// `u64::MAX` for as far as it likes. A day unless this is called. A step that it allows is believed at once and stays
    /// believed when it is called again.
    pub fn set_clock_jump_max(&self, jump_max_ms: u64) {
        self.core.clock.set_jump_max_ms(jump_max_ms);
    }

    /// The longest record, header included, in bytes.
    #[must_use]
    pub fn record_bytes_max(&self) -> u64 {
        self.core.record_bytes_max()
    }

    /// What recovery found when the shard was opened.
    #[must_use]
    pub const fn report(&self) -> RecoveryReport {
        self.report
    }

    /// True while answers may be older than what was acknowledged before the last start.
    #[must_use]
    pub fn may_be_stale(&self) -> bool {
        self.core.stale.get()
    }

    /// True if every device is fenced after a failed flush: reads go on, writes are refused.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.core.is_fenced()
    }

    /// The devices of its volume, in slot order, as this core has them.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.core.devices.iter().map(|attached| &attached.device)
    }

    /// Figures for metrics.
    #[must_use]
    pub fn statistics(&self) -> ShardStatistics {
        // A clock that nobody has read since it stepped is looked at here.
        self.core.clock.now_ms();
        let state = self.core.state.borrow();
        ShardStatistics {
            records: state.index.len(),
            index_bytes: state.index.memory_bytes(),
            index_limit_bytes: state.index_memory_bytes,
            is_index_full: state.admit_key().is_err(),
            segments: state.segments.counts(),
            counters: state.counters,
            pending: u64_of(state.pending.len()),
            batches_queued: u64_of(state.log.queued_batches()),
            writes_in_flight: u64_of(state.log.flights.len()),
            is_full: self.core.is_full(&state),
            is_fenced: self.core.is_fenced(),
            clock_ahead_ms: self.core.clock.too_far_ahead_ms().unwrap_or(0),
            may_be_stale: self.core.stale.get(),
            truncations_unswept: state.truncations.unswept_count(),
            is_clock_doubtful: self.core.clock.doubt().is_some(),
            checkpoint_lsn: state.checkpoints.complete_lsn(),
            record_cache: state
                .record_cache
                .as_ref()
                .map(RecordCache::statistics)
                .unwrap_or_default(),
        }
    }

    /// Refuses new writes and lets [`Shard::run`] end when all accepted ones are durable.
    pub fn close(&self) {
        self.core.closing.set(true);
        self.core.work.notify_all();
        self.core.room.notify_all();
        self.core.ticks.notify_all();
        self.core.followed.notify_all();
    }

    pub(crate) fn core(&self) -> &ShardCore {
        &self.core
    }
}

fn empty_core(
    volume: &Volume,
    devices: &[Device],
    (pool, clock): (&BufferPool, &Clock),
    options: &ShardOptions,
) -> Result<ShardCore, OpenError> {
    let shard = options.shard;
    let label = volume.label().ok_or(OpenError::NoSuchShard { shard })?;
    let index_shard =
        IndexShard::new(shard, label.shard_count).map_err(|_| OpenError::NoSuchShard { shard })?;
    let (attached, logical_block_bytes) = attach(volume, devices)?;
    let places = places_of(volume, shard, label.segment_bytes)?;
    let geometry = LogGeometry {
        shard,
        segment_bytes: label.segment_bytes,
        write_unit_bytes: label.write_unit_bytes.into(),
    };
    let record_cache = RecordCache::new(options.record_cache_bytes).map_err(|_| {
        let wanted_bytes = options.record_cache_bytes;
        OpenError::CacheMemory {
            shard,
            wanted_bytes,
        }
    })?;
    let state = State {
        index: empty_index(index_shard, options),
        index_memory_bytes: options.index_memory_bytes,
        index_full_told_ms: None,
        segments: SegmentTable::new(places, label.segment_bytes),
        log: Log::new(
            geometry,
            (Lsn::NONE, Lsn::NONE, Lsn::NONE),
            Lsn::new(1),
            Version::new(1),
        ),
        chain: LogChain::default(),
        pending: HashMap::new(),
        moving: HashMap::new(),
        relocations: 0,
        reclaim: Reclaim::default(),
        pending_inserts: 0,
        acknowledged: 0,
        sets: SetTable::default(),
        truncations: Truncations::default(),
        expiry: Expiry::default(),
        checkpoints: Checkpoints::new(options.checkpoint),
        record_cache,
        counters: Counters::default(),
    };
    Ok(ShardCore {
        number: shard,
        volume: label.volume,
        devices_are_memory: attached.iter().all(AttachedDevice::is_memory),
        devices: attached,
        pool: pool.clone(),
        clock: StoreClock::new(clock.clone()),
        turns: KeyTurns::default(),
        state: RefCell::new(state),
        index_bytes_cached: options.index_bytes_cached,
        announced: Announced::new(),
        joined_reads: JoinedReads::new(),
        work: Notify::default(),
        room: Notify::default(),
        ticks: Notify::default(),
        followed: Notify::default(),
        followers: Cell::new(0),
        closing: Cell::new(false),
        preparing: Cell::new(0),
        stale: Cell::new(false),
        logical_block_bytes,
    })
}

fn empty_index(shard: IndexShard, options: &ShardOptions) -> Index {
    let admitted_bytes = options.index_memory_bytes / 100 * INDEX_ADMITTED_PERCENT;
    Index::new(shard, admitted_bytes).prepare_memory_with(advise_huge_pages)
}

/// Where the segments of a shard stand, if there are any and all of them can be addressed.
fn places_of(
    volume: &Volume,
    shard: u16,
    segment_bytes: u64,
) -> Result<Vec<SegmentPlace>, OpenError> {
    let places = volume.segments_of(shard);
    if places.is_empty() {
        return Err(OpenError::NoSuchShard { shard });
    }
    let found = u64_of(places.len());
    let limit = (1_u64 << 44) / segment_bytes;
    if found > limit {
        return Err(OpenError::TooManySegments {
            shard,
            found,
            limit,
        });
    }
    Ok(places)
}

/// The devices in slot order with what binds records to them, and the unit of reads, in bytes.
fn attach(volume: &Volume, devices: &[Device]) -> Result<(Vec<AttachedDevice>, u64), OpenError> {
    let mut attached = Vec::new();
    let mut logical_block_bytes = 512;
    for (slot, _) in (0_u16..).zip(volume.devices()) {
        let missing = OpenError::NoDevice { slot };
        let (Some(device), Some(binding)) = (devices.get(usize::from(slot)), volume.binding(slot))
        else {
            return Err(missing);
        };
        logical_block_bytes =
            logical_block_bytes.max(u64::from(device.geometry().logical_block_bytes));
        attached.push(AttachedDevice {
            device: device.clone(),
            binding,
            told: DeviceTold::default(),
        });
    }
    Ok((attached, logical_block_bytes))
}
