//! Scrub: reads everything that a shard holds, again and again, so that decay is found before somebody asks for what has
//! decayed, and while there is still another copy or a backup.
//!
//! A pass reads the header copies of every segment, the footer copies and the summary of sealed ones, then the record of
//! every entry of the index. One device read is under way at a time; whoever drives it bounds the rate by waiting between
//! steps. Never writes, never answers anyone, never goes by way of the record cache; what changes while it is read
//! is left to the next pass.

use std::collections::{HashSet, VecDeque};

use corelith_index::{PartitionId, ScanPosition, Scanned};
use corelith_io::{DeviceError, DeviceOffset, DmaBuffer};

use crate::format::fields::usize_of;
use crate::format::segment_header::{SEGMENT_HEADER_COPIES, SegmentHeader, SegmentUse};
use crate::format::summary::{FOOTER_COPIES, Footer, block_counts, is_sound_block};
use crate::limits::{SCRUB_ENTRIES, SCRUB_READ_BYTES, SWEEP_SCANS_MAX};
use crate::pause::yield_once;
use crate::place::{SegmentNumber, SegmentPlace};
use crate::reader::is_same;
use crate::scan::is_of;
use crate::segments::SegmentState;
use crate::shard::Shard;
use crate::state::{AttachedDevice, ShardCore};
use crate::{Life, ReadError};

/// A walk over everything of one shard that does not end: pass after pass.
pub struct Scrub {
    shard: Shard,
    at: At,
    /// Entries that are to be read next.
    entries: VecDeque<(PartitionId, Scanned)>,
    /// What has been said of structures, so that each pass does not say it again.
    told: HashSet<(SegmentNumber, Life, u64)>,
}

/// What one step of a scrub did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubStep {
    /// Bytes that a device was asked for.
    pub read_bytes: u64,
    /// It was the last step of a pass.
    pub is_pass_over: bool,
}

/// Where a pass is.
#[derive(Clone, Copy)]
enum At {
    /// A copy of a segment's header.
    Header(SegmentNumber, u64),
    /// A copy of its footer.
    Footer(SegmentNumber, u64),
    /// Blocks of its summary, from this one on.
    Summary(SegmentNumber, Footer, u64),
    /// Records, and where the index goes on when those at hand have been read.
    Records(Option<(PartitionId, ScanPosition)>),
}

const START: At = At::Header(SegmentNumber::new(0), 0);

/// What a segment is to be for as long as it is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Looked {
    place: SegmentPlace,
    life: Life,
    state: SegmentState,
}

impl Scrub {
    /// A scrub that begins its first pass.
    #[must_use]
    pub fn new(shard: &Shard) -> Self {
        Self {
            shard: shard.clone(),
            at: START,
            entries: VecDeque::new(),
            told: HashSet::new(),
        }
    }

    /// Goes on by one device read, or by none where there is nothing to read. `None` if the shard is closing, or
    /// may be stale and holds still until an operator has looked.
    pub async fn step(&mut self) -> Option<ScrubStep> {
        yield_once().await;
        let shard = self.shard.clone();
        let core = shard.core();
        if core.closing.get() || core.stale.get() {
            return None;
        }
        let read_bytes = match self.at {
            At::Header(number, copy) => self.header(core, number, copy).await,
            At::Footer(number, copy) => self.footer(core, number, copy).await,
            At::Summary(number, footer, first) => {
                self.summary(core, (number, &footer), first).await
            }
            At::Records(from) => match (self.entries.pop_front(), from) {
                (Some((partition, scanned)), _) => core.scrub_record(partition, scanned).await,
                (None, Some(from)) => self.next_entries(core, from),
                (None, None) => return Some(self.end_pass(core)),
            },
        };
        core.state.borrow_mut().counters.scrub_bytes += read_bytes;
        Some(ScrubStep {
            read_bytes,
            is_pass_over: false,
        })
    }

    /// Compares a copy of a header with what the segment is.
    async fn header(&mut self, core: &ShardCore, number: SegmentNumber, copy: u64) -> u64 {
        let Some(looked) = core.look_at(number) else {
            self.at = match core.has_segment(number) {
                true => At::Header(behind(number), 0),
                false => At::Records(first_records(core)),
            };
            return 0;
        };
        self.at = match copy + 1 {
            next if next < SEGMENT_HEADER_COPIES => At::Header(number, next),
            _ => At::Footer(number, 0),
        };
        let unit = core.state.borrow().log.geometry().write_unit_bytes;
        let read = core.read_structure(&looked, (copy * unit, unit)).await;
        let Some((read, attached)) = read.filter(|_| core.look_at(number) == Some(looked)) else {
            return 0;
        };
        let is_sound = read.as_ref().is_ok_and(|block| {
            let header = block.as_slice().first_chunk().map(|block| {
                let place = looked.place;
                SegmentHeader::decode(block, &core.volume, place.slot, place.offset_bytes)
            });
            let header = header.and_then(Result::ok);
            header.is_some_and(|header| header.life == looked.life && looked.may_say(header.state))
        });
        if !is_sound {
            self.tell(core, (number, &looked), (copy * unit, attached));
        }
        unit
    }

    /// Verifies a copy of a sealed segment's footer.
    async fn footer(&mut self, core: &ShardCore, number: SegmentNumber, copy: u64) -> u64 {
        let looked = core.look_at(number);
        let sealed = looked.filter(|looked| looked.state == SegmentState::Sealed);
        let next = At::Header(behind(number), 0);
        self.at = next;
        let Some(looked) = sealed else {
            return 0;
        };
        let geometry = core.state.borrow().log.geometry();
        let unit = geometry.write_unit_bytes;
        let at = geometry.segment_bytes - (FOOTER_COPIES - copy) * unit;
        let read = core.read_structure(&looked, (at, unit)).await;
        let Some((read, attached)) = read.filter(|_| core.look_at(number) == Some(looked)) else {
            return 0;
        };
        let footer = read.as_ref().ok().and_then(|block| {
            let on_device = looked.place.offset_bytes + at;
            let block = block.as_slice().first_chunk()?;
            Footer::decode(block, attached.binding, on_device, looked.life)
        });
        if footer.is_none() {
            self.tell(core, (number, &looked), (at, attached));
        }
        self.at = match footer {
            _ if copy + 1 < FOOTER_COPIES => At::Footer(number, copy + 1),
            Some(footer) => At::Summary(number, footer, 0),
            // A start reads the data instead.
            None => next,
        };
        unit
    }

    /// Verifies the next blocks of a summary.
    async fn summary(
        &mut self,
        core: &ShardCore,
        (number, footer): (SegmentNumber, &Footer),
        first: u64,
    ) -> u64 {
        let unit = core.state.borrow().log.geometry().write_unit_bytes;
        let (data, parity) = block_counts(footer.row_count.into(), unit);
        let count = (SCRUB_READ_BYTES / unit).max(1).min(data + parity - first);
        let is_over = first + count >= data + parity;
        let looked = core
            .look_at(number)
            .filter(|looked| looked.life == footer.life);
        let Some(looked) = looked.filter(|_| count > 0) else {
            self.at = At::Header(behind(number), 0);
            return 0;
        };
        self.at = match is_over {
            true => At::Header(behind(number), 0),
            false => At::Summary(number, *footer, first + count),
        };
        let at = footer.summary_offset_bytes + first * unit;
        let read = core.read_structure(&looked, (at, count * unit)).await;
        let Some((read, attached)) = read.filter(|_| core.look_at(number) == Some(looked)) else {
            return 0;
        };
        let start = looked.place.offset_bytes + footer.summary_offset_bytes;
        let place = (attached.binding, start, looked.life);
        for index in 0..count {
            let is_sound = read.as_ref().is_ok_and(|blocks| {
                let mut blocks = blocks.as_slice().chunks_exact(usize_of(unit));
                let block = blocks.nth(usize_of(index));
                let counts = (first + index, data);
                block.is_some_and(|block| is_sound_block(block, counts, unit, place))
            });
            if !is_sound {
                self.tell(core, (number, &looked), (at + index * unit, attached));
            }
        }
        count * unit
    }

    /// Asks the index for the next entries, past partitions that have none.
    fn next_entries(&mut self, core: &ShardCore, from: (PartitionId, ScanPosition)) -> u64 {
        let mut next = Some(from);
        let mut found = Vec::new();
        for _ in 0..SWEEP_SCANS_MAX {
            let Some((partition, from)) = next else { break };
            let (end, _) = core.scan_index(partition, from, SCRUB_ENTRIES, &mut found);
            next = match end {
                Some(from) => Some((partition, from)),
                None => partition_behind(core, partition),
            };
            if !found.is_empty() {
                let entries = found.into_iter();
                self.entries = entries.map(|scanned| (partition, scanned)).collect();
                break;
            }
        }
        self.at = At::Records(next);
        0
    }

    fn end_pass(&mut self, core: &ShardCore) -> ScrubStep {
        self.at = START;
        let mut state = core.state.borrow_mut();
        state.counters.scrub_passes += 1;
        state.counters.scrub_pass_records = 0;
        ScrubStep {
            read_bytes: 0,
            is_pass_over: true,
        }
    }

    /// A structure is not what it should be: counted and said the first time.
    fn tell(
        &mut self,
        core: &ShardCore,
        (number, looked): (SegmentNumber, &Looked),
        (at, attached): (u64, &AttachedDevice),
    ) {
        if !self.told.insert((number, looked.life, at)) {
            return;
        }
        core.state.borrow_mut().counters.scrub_structures_damaged += 1;
        tracing::error!(
            shard = core.number,
            device = attached.device.name(),
            offset_bytes = looked.place.offset_bytes + at,
            "a header, footer or block of a summary cannot be read back; its other copies or the records themselves \
             serve at the next start. See the drive's health, and take a backup"
        );
    }
}

impl Looked {
    /// Whether a header may say this of the segment. What a start found prepared counts as free.
    fn may_say(&self, used_as: SegmentUse) -> bool {
        match self.state {
            // Pages that the log may have back keep their header until something else is written.
            SegmentState::Free => used_as != SegmentUse::Log,
            SegmentState::Checkpoint => used_as == SegmentUse::Checkpoint,
            SegmentState::Prepared => used_as == SegmentUse::Prepared,
            SegmentState::Unused
            | SegmentState::Preparing
            | SegmentState::Open
            | SegmentState::Closed
            | SegmentState::Sealed
            | SegmentState::Freeing
            | SegmentState::Lost
            | SegmentState::Unusable => used_as == SegmentUse::Log,
        }
    }
}

impl ShardCore {
    /// What a segment is, if its header is on the device and stays as it is for now.
    fn look_at(&self, number: SegmentNumber) -> Option<Looked> {
        let state = self.state.borrow();
        let segment = state.segments.get(number)?;
        let is_settled = match segment.state {
            SegmentState::Sealed | SegmentState::Closed | SegmentState::Open => {
                segment.header_is_durable
            }
            SegmentState::Free => segment.life != Life::NONE,
            SegmentState::Prepared => true,
            SegmentState::Checkpoint => state.checkpoints.holds(number),
            SegmentState::Unused
            | SegmentState::Preparing
            | SegmentState::Freeing
            | SegmentState::Lost
            | SegmentState::Unusable => false,
        };
        is_settled.then_some(Looked {
            place: segment.place,
            life: segment.life,
            state: segment.state,
        })
    }

    fn has_segment(&self, number: SegmentNumber) -> bool {
        self.state.borrow().segments.get(number).is_some()
    }

    /// Reads part of a segment; `None` if there is no memory for it just now, or the device is gone.
    async fn read_structure(
        &self,
        looked: &Looked,
        (at, length_bytes): (u64, u64),
    ) -> Option<(Result<DmaBuffer, DeviceError>, &AttachedDevice)> {
        let attached = self.device(looked.place.slot)?;
        let buffer = self.pool.take(usize_of(length_bytes)).ok()?;
        let offset = DeviceOffset::new(looked.place.offset_bytes + at);
        let length = usize_of(length_bytes);
        let (buffer, result) = attached.device.read(offset, buffer, length).await;
        match result {
            Err(DeviceError::Gone) => {
                attached.tell_gone(self.number);
                None
            }
            result => Some((result.map(|()| buffer), attached)),
        }
    }

    /// Reads the record of an entry and compares it with that. What fails once is read again: a fault that passes
    /// is no damage. Returns the bytes asked for.
    async fn scrub_record(&self, partition: PartitionId, scanned: Scanned) -> u64 {
        let Scanned {
            position, entry, ..
        } = scanned;
        let mut read_bytes = 0;
        let mut failed = None;
        for _ in 0..2 {
            read_bytes += u64::from(entry.length.bytes_max());
            failed = match self.read_place(&entry).await {
                Ok(record) if is_of(&record, (partition, position), &entry) => None,
                Ok(_) => Some(ReadError::Misdirected),
                Err(error) => Some(error),
            };
            if failed.is_none() {
                break;
            }
        }
        let is_there = self.is_there(partition, &scanned);
        match failed {
            _ if !is_there => {}
            None if entry.is_damaged => self.note_readable((partition, position), &entry),
            None => {}
            Some(ReadError::Buffer(_) | ReadError::Busy | ReadError::MayBeStale) => {}
            Some(error) => {
                self.damaged(partition, (position, &entry), error).await;
            }
        }
        let mut state = self.state.borrow_mut();
        state.counters.scrub_records += 1;
        state.counters.scrub_pass_records += 1;
        read_bytes
    }

    /// Whether the index still has the entry.
    fn is_there(&self, partition: PartitionId, scanned: &Scanned) -> bool {
        let mut now = Vec::new();
        self.scan_index(partition, scanned.position, 1, &mut now);
        let mut here = now.iter().filter(|now| now.position == scanned.position);
        here.any(|now| is_same(&now.entry, &scanned.entry))
    }
}

fn behind(number: SegmentNumber) -> SegmentNumber {
    SegmentNumber::new(number.get().saturating_add(1))
}

fn first_records(core: &ShardCore) -> Option<(PartitionId, ScanPosition)> {
    let shard = core.state.borrow().index.shard();
    let first = shard.partitions().next();
    first.map(|partition| (partition, ScanPosition::START))
}

fn partition_behind(
    core: &ShardCore,
    partition: PartitionId,
) -> Option<(PartitionId, ScanPosition)> {
    let shard = core.state.borrow().index.shard();
    let next = PartitionId::new(partition.get().saturating_add(shard.count()));
    next.ok().map(|partition| (partition, ScanPosition::START))
}
