//! What one shard knows, between two awaits: index, segments, log, pending versions.
//!
//! All of it belongs to one core. It is borrowed for the length of one synchronous step and never
//! across an await. Invariant: the index shows durable versions only; `pending` shows, for each key
//! with a write on its way, the newest one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corelith_index::{
    Digest, Entry, ExpirySeconds, Index, IndexFull, PartitionId, RecordAddress, RecordLength,
    ScanPosition,
};
use corelith_io::{BufferPool, Device, DeviceKind, advise_huge_pages};
use hashbrown::HashMap;

use crate::Lsn;
use crate::announced::Announced;
use crate::batch::{Appended, Batch, Writes};
use crate::chain::LogChain;
use crate::checkpoint::Checkpoints;
use crate::damage::DeviceTold;
use crate::expiry::Expiry;
use crate::format::batch_header::BATCH_HEADER_BYTES;
use crate::format::binding::DeviceBinding;
use crate::format::fields::u64_of;
use crate::format::record_header::{RecordFlags, RecordHeader};
use crate::joined_reads::JoinedReads;
use crate::limits::INDEX_ADMITTED_PERCENT;
use crate::log::{Log, LogWrite};
use crate::notify::Notify;
use crate::outcome::{BatchEnd, Outcome};
use crate::place::RecordPlace;
use crate::reclaim::Reclaim;
use crate::record_cache::RecordCache;
use crate::segments::SegmentTable;
use crate::sets::{DefinitionPlace, SetTable};
use crate::store_clock::StoreClock;
use crate::truncation::Truncations;
use crate::turns::KeyTurns;

/// One device of the volume, as this core sees it.
pub(crate) struct AttachedDevice {
    pub(crate) device: Device,
    pub(crate) binding: DeviceBinding,
    /// What has been said of it already.
    pub(crate) told: DeviceTold,
}

impl AttachedDevice {
    /// True if its operations are over when they are called for.
    pub(crate) fn is_memory(&self) -> bool {
        self.device.geometry().kind == DeviceKind::Memory
    }
}

/// What the index knows a key by. Writes are ordered by it rather than by the digest, so that of two
/// keys with one tag the second always sees the first in the index, and says so in its record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TagKey {
    partition: u16,
    tag: u64,
}

impl TagKey {
    /// Of the entry at `position` of `partition`.
    pub(crate) const fn at(partition: PartitionId, position: ScanPosition) -> Self {
        Self {
            partition: partition.get(),
            tag: position.get(),
        }
    }

    pub(crate) fn of(digest: &Digest) -> Self {
        Self {
            partition: digest.partition().get(),
            tag: ScanPosition::of(digest).get(),
        }
    }
}

/// The newest version of a key while it is on its way.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) appended: Appended,
    pub(crate) lsn: Lsn,
    pub(crate) outcome: Rc<Outcome>,
}

/// What changes.
pub(crate) struct State {
    pub(crate) index: Index,
    /// What the index was granted, in bytes.
    pub(crate) index_memory_bytes: u64,
    /// When it was last said that the index is full.
    pub(crate) index_full_told_ms: Option<u64>,
    pub(crate) segments: SegmentTable,
    pub(crate) log: Log,
    /// What of the log can be followed.
    pub(crate) chain: LogChain,
    pub(crate) pending: HashMap<TagKey, Pending>,
    /// Pending records whose keys are not in the index yet.
    pub(crate) pending_inserts: u64,
    /// Pending records whose writers were answered ahead of the device.
    pub(crate) acknowledged: u64,
    /// Records of which a copy is on its way, by their old places, and where the copy will be; `None` if the
    /// record is about to be gone. Whoever builds on one builds on what it will be.
    pub(crate) moving: HashMap<RecordAddress, Option<RecordAddress>>,
    /// Counts entries of the index that were moved or taken out by the store itself.
    pub(crate) relocations: u64,
    pub(crate) reclaim: Reclaim,
    pub(crate) sets: SetTable,
    pub(crate) truncations: Truncations,
    pub(crate) expiry: Expiry,
    pub(crate) checkpoints: Checkpoints,
    /// `None` if the shard was given no memory for one.
    pub(crate) record_cache: Option<RecordCache>,
    pub(crate) counters: Counters,
}

/// What the store has counted since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Batches durable.
    pub batches: u64,
    /// Records in them, but for copies that reclaim made.
    pub records: u64,
    /// Bytes of headers and contents of those records.
    pub record_bytes: u64,
    /// Records that reclaim copied, tombstones included.
    pub moved_records: u64,
    /// Bytes of headers and contents of those copies.
    pub moved_bytes: u64,
    /// Segments that reclaim emptied.
    pub segments_reclaimed: u64,
    /// Bytes that reclaim read.
    pub reclaim_read_bytes: u64,
    /// Records that reclaim could not read back and left where they are.
    pub reclaim_damaged: u64,
    /// Tombstones that were not needed any more when reclaim met them.
    pub tombstones_dropped: u64,
    /// Records that had expired and were taken out of the index.
    pub expired_records: u64,
    /// Bytes of those, as the index rounds them.
    pub expired_bytes: u64,
    /// Of those that reclaim met, records of which the header had to be kept: it was copied as a tombstone.
    pub expired_headers_moved: u64,
    /// Sweeps that looked for expired records through all of the index.
    pub expiry_sweeps: u64,
    /// Bytes of those batches, padding and batch headers included.
    pub batch_bytes: u64,
    /// Bytes of those batches behind their last record, up to the write unit.
    pub padding_bytes: u64,
    /// Bytes written beside batches: segment headers, summaries, zeros ahead of first use.
    pub overhead_bytes: u64,
    /// Bytes of checkpoints written, with the headers of their segments.
    pub checkpoint_bytes: u64,
    /// Pages of checkpoints written.
    pub checkpoint_pages: u64,
    /// Rounds of checkpoints that went through everything.
    pub checkpoint_rounds: u64,
    /// Checkpoints that were broken off because a device failed.
    pub checkpoint_failures: u64,
    /// Segments with pages that the log was given because it had no other.
    pub checkpoint_segments_given_back: u64,
    /// Reads of records from a device.
    pub device_reads: u64,
    /// Bytes of those reads.
    pub device_read_bytes: u64,
    /// Reads that another one's device read answered.
    pub joined_reads: u64,
    /// Changes that followers were given.
    pub followed_changes: u64,
    /// Bytes that followers have read.
    pub follow_read_bytes: u64,
    /// Reads that found a record damaged.
    pub damaged_reads: u64,
    /// Records found damaged, each counted when it was first found.
    pub records_damaged: u64,
    /// Of those, records that could be read later: the fault had passed.
    pub records_readable_again: u64,
    /// Bytes that scrubs have read.
    pub scrub_bytes: u64,
    /// Records that scrubs have read.
    pub scrub_records: u64,
    /// Of those, records of the pass under way.
    pub scrub_pass_records: u64,
    /// Passes that scrubs have ended.
    pub scrub_passes: u64,
    /// Headers, footers and blocks of summaries that scrubs found damaged, each counted once.
    pub scrub_structures_damaged: u64,
    /// Reads of records that ended because their device was gone.
    pub reads_of_gone: u64,
    /// Batches that ended in doubt.
    pub batches_in_doubt: u64,
    /// Writes that were answered ahead of the device, as their writers chose, and then lost, since the device
    /// failed.
    pub buffered_lost: u64,
    /// Segments given up after a failed write.
    pub segments_lost: u64,
    /// Records that are durable but that the index refused: its table cannot be addressed any further.
    pub index_refusals: u64,
}

/// All of one shard: shared by its operations and its background task.
pub(crate) struct ShardCore {
    pub(crate) number: u16,
    pub(crate) volume: [u8; 16],
    /// By slot.
    pub(crate) devices: Vec<AttachedDevice>,
    pub(crate) pool: BufferPool,
    pub(crate) clock: StoreClock,
    pub(crate) turns: KeyTurns,
    pub(crate) state: RefCell<State>,
    /// Size of the index up to which gets are not announced, in bytes.
    pub(crate) index_bytes_cached: u64,
    /// Gets about to look the index up.
    pub(crate) announced: Announced,
    /// Device reads that others may join.
    pub(crate) joined_reads: JoinedReads,
    /// Work for the background task.
    pub(crate) work: Notify,
    /// Room for writers that wait.
    pub(crate) room: Notify,
    /// Some time has passed.
    pub(crate) ticks: Notify,
    /// Something that followers may wait for.
    pub(crate) followed: Notify,
    /// How many there are.
    pub(crate) followers: Cell<usize>,
    pub(crate) closing: Cell<bool>,
    /// Long contents that are being copied for batches which have no place yet.
    pub(crate) preparing: Cell<usize>,
    /// Part of the log was lost and nobody has accepted that yet.
    pub(crate) stale: Cell<bool>,
    /// Unit of reads, in bytes.
    pub(crate) logical_block_bytes: u64,
    /// No device lets anyone wait: all are memory.
    pub(crate) devices_are_memory: bool,
}

impl ShardCore {
    /// True if every device is fenced: nothing can be written any more.
    pub(crate) fn is_fenced(&self) -> bool {
        !self.devices.is_empty() && self.devices.iter().all(|device| device.device.is_fenced())
    }

    /// True if nothing can be written to the device in `slot`.
    pub(crate) fn is_slot_fenced(&self, slot: u16) -> bool {
        self.device(slot)
            .is_none_or(|device| device.device.is_fenced())
    }

    pub(crate) fn device(&self, slot: u16) -> Option<&AttachedDevice> {
        self.devices.get(usize::from(slot))
    }
}

impl State {
    /// A start begins anew: nothing of what it has read counts.
    pub(crate) fn forget_recovered(&mut self) {
        let admitted_bytes = self.index_memory_bytes / 100 * INDEX_ADMITTED_PERCENT;
        let index = Index::new(self.index.shard(), admitted_bytes);
        self.index = index.prepare_memory_with(advise_huge_pages);
        let places = self.segments.iter().map(|(_, segment)| segment.place);
        let segment_bytes = self.segments.segment_bytes();
        self.segments = SegmentTable::new(places.collect(), segment_bytes);
        self.sets = SetTable::default();
        self.truncations = Truncations::default();
    }

    /// Whether the index may take one more key beside those that are on their way.
    pub(crate) fn admit_key(&self) -> Result<(), IndexFull> {
        self.index.admit(self.pending_inserts + 1)
    }

    /// Makes a settled batch visible: index and set table take its records in order.
    pub(crate) fn apply(&mut self, batch: &Batch) {
        self.counters.batches += 1;
        self.counters.batch_bytes += u64_of(batch.length_bytes);
        let mut filled_bytes = u64_of(BATCH_HEADER_BYTES);
        for appended in &batch.writes.records {
            let stored = RecordHeader::stored_bytes(appended.row.content_bytes.into());
            filled_bytes += stored;
            self.segments.note_row(batch.segment, &appended.row);
            if appended.row.flags.contains(RecordFlags::MOVED) {
                self.apply_move(batch, appended);
                continue;
            }
            self.counters.records += 1;
            self.counters.record_bytes += stored;
            if appended.row.flags.contains(RecordFlags::TRUNCATION) {
                self.truncate(appended);
            } else if appended.row.flags.contains(RecordFlags::META) {
                self.define(appended, batch.content(&appended.row).unwrap_or_default());
            } else if appended.row.flags.contains(RecordFlags::TOMBSTONE) {
                self.bury(appended);
            } else {
                self.place(appended);
                self.cache_written(batch, appended);
            }
            self.forget_pending(appended);
        }
        self.counters.padding_bytes += u64_of(batch.length_bytes).saturating_sub(filled_bytes);
        batch.writes.outcome.settle(BatchEnd::Durable);
    }

    /// Takes writes that failed out of sight.
    pub(crate) fn give_up(&mut self, writes: &Writes, end: BatchEnd) {
        for appended in &writes.records {
            self.counters.buffered_lost += u64::from(appended.is_acknowledged);
            self.forget_pending(appended);
        }
        writes.outcome.settle(end);
    }

    /// After newer versions of some keys were given up: what is still on its way is their newest now.
    pub(crate) fn restore_pending(&mut self) {
        for flight in &self.log.flights {
            let LogWrite::Batch(batch) = &flight.write else {
                continue;
            };
            let is_of_key = |flags: RecordFlags| {
                !flags.contains(RecordFlags::META) && !flags.contains(RecordFlags::MOVED)
            };
            let records = batch.writes.records.iter();
            for appended in records.filter(|record| is_of_key(record.row.flags)) {
                let pending = Pending {
                    appended: *appended,
                    lsn: batch.lsn,
                    outcome: Rc::clone(&batch.writes.outcome),
                };
                self.pending
                    .insert(TagKey::of(&appended.row.digest), pending);
            }
        }
    }

    pub(crate) fn define(&mut self, appended: &Appended, content: &[u8]) {
        let name = std::str::from_utf8(content).unwrap_or_default();
        let place = DefinitionPlace {
            address: appended.address,
            length: length_of(appended),
        };
        let replaced = self.sets.define(appended.row.set, name, place);
        let never = ExpirySeconds::NEVER;
        self.segments.note_live(place.address, place.length, never);
        if let Some(old) = replaced {
            self.segments
                .note_dead(old.address, old.length, (false, never));
        }
    }

    pub(crate) fn bury(&mut self, appended: &Appended) {
        let row = &appended.row;
        let removed = appended
            .previous
            .and_then(|old| self.index.remove(&row.digest, old).zip(Some(old)));
        if let Some((entry, old)) = removed {
            self.segments
                .note_dead(old, entry.length, (entry.is_moved, entry.expiry));
            if let Some(cache) = &mut self.record_cache {
                cache.remove(old);
            }
        }
        let segment_bytes = self.segments.segment_bytes();
        if let Some(place) = RecordPlace::unpack(appended.address, segment_bytes) {
            self.segments.note_tombstone(place.segment, row.version);
        }
    }

    fn place(&mut self, appended: &Appended) {
        let row = &appended.row;
        let entry = Entry {
            address: appended.address,
            length: length_of(appended),
            generation: row.generation,
            expiry: row.expiry,
            set: row.set,
            is_damaged: false,
            is_moved: false,
        };
        let replaced = appended
            .previous
            .and_then(|old| self.index.replace(&row.digest, old, entry).zip(Some(old)));
        assert!(
            replaced.is_some() == appended.previous.is_some() || self.truncations.has_been_used(),
            "the entry that a write builds on stays until it is settled, but for a sweep"
        );
        match replaced {
            Some((replaced, old)) => {
                self.segments
                    .note_dead(old, replaced.length, (replaced.is_moved, replaced.expiry));
                self.segments
                    .note_live(appended.address, entry.length, entry.expiry);
            }
            // A new key, or one whose old entry was a truncated record's and has been swept out.
            None => match self.index.insert(&row.digest, entry) {
                Ok(()) => self
                    .segments
                    .note_live(appended.address, entry.length, entry.expiry),
                Err(_) => self.counters.index_refusals += 1,
            },
        }
    }

    /// What was just written is likely to be read, and its bytes are at hand.
    pub(crate) fn cache_written(&mut self, batch: &Batch, appended: &Appended) {
        let Some(cache) = &mut self.record_cache else {
            return;
        };
        let life = self.segments.get(batch.segment).map(|segment| segment.life);
        if let (Some(life), Some(encoded)) = (life, batch.stored(&appended.row)) {
            cache.insert_written((appended.address, life), appended.previous, encoded);
        }
    }

    fn forget_pending(&mut self, appended: &Appended) {
        if appended.row.flags.contains(RecordFlags::MOVED) {
            self.forget_move(appended);
            return;
        }
        if appended.row.flags.contains(RecordFlags::TRUNCATION) {
            self.truncations.forget_pending();
            return;
        }
        if appended.row.flags.contains(RecordFlags::META) {
            self.sets.forget_pending(appended.row.set);
            return;
        }
        if appended.previous.is_none() {
            self.pending_inserts = self.pending_inserts.saturating_sub(1);
        }
        self.acknowledged -= u64::from(appended.is_acknowledged);
        let key = TagKey::of(&appended.row.digest);
        let newest = |pending: &Pending| pending.appended.row.version == appended.row.version;
        if self.pending.get(&key).is_some_and(newest) {
            self.pending.remove(&key);
        }
    }
}

pub(crate) fn length_of(appended: &Appended) -> RecordLength {
    let stored = RecordHeader::stored_bytes(appended.row.content_bytes.into());
    let Some(length) = stored_length(stored) else {
        unreachable!("a record longer than the index can tell is not appended");
    };
    length
}

/// What a record with a content of so many bytes counts as live, in bytes.
pub(crate) fn length_of_content(content_bytes: usize) -> u64 {
    let stored = RecordHeader::stored_bytes(u64_of(content_bytes));
    stored_length(stored).map_or(stored, |length| length.bytes_max().into())
}

/// A stored length in the index's rounding.
pub(crate) fn stored_length(stored_bytes: u64) -> Option<RecordLength> {
    RecordLength::round_up(u32::try_from(stored_bytes).ok()?)
}
