//! The ring of a shard's checkpoint segments, and the pace at which pages go into it. No I/O.
//!
//! Invariants: one step is on its way at a time; segments leave the ring oldest first; what has left may be written over.

use std::collections::VecDeque;

use corelith_index::Shard as IndexShard;

use super::CheckpointPace;
use super::pages::round_parts;
use crate::format::binding::DeviceBinding;
use crate::format::checkpoint_page::PagePoint;
use crate::limits::CHECKPOINT_CREDIT_BYTES_MAX;
use crate::place::{SegmentNumber, SegmentPlace};
use crate::{Life, Lsn};

/// How far rounds have come: the number of the round, and where in it.
type Progress = (u64, PagePoint);

/// A segment with pages, as a start has found it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundSegment {
    pub(crate) number: SegmentNumber,
    /// Some of its pages are the newest of their range.
    pub(crate) is_newest: bool,
}

/// The segment that pages go into.
#[derive(Clone, Copy)]
pub(crate) struct OpenPages {
    pub(crate) number: SegmentNumber,
    pub(crate) place: SegmentPlace,
    pub(crate) life: Life,
    pub(crate) binding: DeviceBinding,
    /// Where the next page begins in the segment, in bytes.
    pub(crate) end_bytes: u64,
}

/// A segment of the ring, and where its last page ends.
struct RingSegment {
    number: SegmentNumber,
    end: Progress,
}

/// Checkpoints of one shard.
pub(crate) struct Checkpoints {
    pace: CheckpointPace,
    /// Where the next page begins.
    cursor: PagePoint,
    /// Number of the round under way, or of the last one.
    round: u64,
    is_in_round: bool,
    /// Bytes of batches that have been counted.
    seen_bytes: u64,
    /// Of those, since the last round began.
    log_bytes: u64,
    /// Bytes that may be written now; less than nothing after a page that was longer than what was left.
    credit_bytes: i64,
    /// The durable LSN when the round began.
    round_lsn: Lsn,
    /// The same of the last round that is durable as a whole.
    complete_lsn: Lsn,
    /// What is durable for certain.
    durable: Progress,
    /// A step is on its way.
    is_busy: bool,
    pub(crate) open: Option<OpenPages>,
    /// Oldest first, the open one last.
    segments: VecDeque<RingSegment>,
}

/// Rounds before the first of this life: that of the newest pages that a start has found, and that of the others.
const ROUND_OF_NEWEST: u64 = 1;
const ROUND_OF_OLDER: u64 = 0;
/// Rounds whose pages are kept beside those of the one under way.
const ROUNDS_KEPT: u64 = 2;

impl Checkpoints {
    pub(crate) const fn new(pace: CheckpointPace) -> Self {
        Self {
            pace,
            cursor: PagePoint::START,
            round: ROUND_OF_NEWEST,
            is_in_round: false,
            seen_bytes: 0,
            log_bytes: 0,
            credit_bytes: 0,
            round_lsn: Lsn::NONE,
            complete_lsn: Lsn::NONE,
            durable: (0, PagePoint::START),
            is_busy: false,
            open: None,
            segments: VecDeque::new(),
        }
    }

    /// Takes over what a start has found, oldest first. Everything up to `complete_lsn` is in pages.
    pub(crate) fn adopt(
        &mut self,
        shard: IndexShard,
        found: impl Iterator<Item = FoundSegment>,
        complete_lsn: Lsn,
    ) {
        let [_, index] = round_parts(shard);
        let segments = found.map(|found| {
            let round = if found.is_newest {
                ROUND_OF_NEWEST
            } else {
                ROUND_OF_OLDER
            };
            RingSegment {
                number: found.number,
                end: (round, index.end),
            }
        });
        self.segments = segments.collect();
        self.complete_lsn = complete_lsn;
    }

    /// Everything up to here is in pages that are durable.
    pub(crate) const fn complete_lsn(&self) -> Lsn {
        self.complete_lsn
    }

    /// True if the segment is one of the ring, with a header that says so.
    pub(crate) fn holds(&self, number: SegmentNumber) -> bool {
        self.segments.iter().any(|segment| segment.number == number)
    }

    pub(crate) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    pub(crate) const fn cursor(&self) -> PagePoint {
        self.cursor
    }

    /// Counts what the log has written, `batch_bytes` since the shard was opened, and begins a round if one is due.
    /// True if a page may be written now.
    pub(crate) fn is_due(&mut self, batch_bytes: u64, durable: Lsn) -> bool {
        if self.pace.interval_bytes == 0 {
            return false;
        }
        let new_bytes = batch_bytes - self.seen_bytes;
        self.seen_bytes = batch_bytes;
        self.log_bytes += new_bytes;
        let earned = new_bytes.saturating_mul(self.pace.share_percent.into()) / 100;
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.credit_bytes = self
            .credit_bytes
            .saturating_add(earned)
            .min(CHECKPOINT_CREDIT_BYTES_MAX);
        let has_changed = durable > self.round_lsn;
        if !self.is_in_round && self.log_bytes >= self.pace.interval_bytes && has_changed {
            self.is_in_round = true;
            self.round += 1;
            self.cursor = PagePoint::START;
            self.log_bytes = 0;
            self.round_lsn = durable;
        }
        self.is_in_round && self.credit_bytes > 0
    }

    /// A step has begun.
    pub(crate) const fn begin_step(&mut self) {
        self.is_busy = true;
    }

    /// Pages go into this segment from here on.
    pub(crate) fn open_segment(&mut self, open: OpenPages) {
        self.segments.push_back(RingSegment {
            number: open.number,
            end: (self.round, self.cursor),
        });
        self.open = Some(open);
    }

    /// A page of `length_bytes` up to `to` is on its way to the open segment. True if it is the last of its round.
    pub(crate) fn take_off(&mut self, shard: IndexShard, to: PagePoint, length_bytes: u64) -> bool {
        let [sets, index] = round_parts(shard);
        if let Some(open) = &mut self.open {
            open.end_bytes += length_bytes;
        }
        let length = i64::try_from(length_bytes).unwrap_or(i64::MAX);
        self.credit_bytes = self.credit_bytes.saturating_sub(length);
        if let Some(segment) = self.segments.back_mut() {
            segment.end = (self.round, to);
        }
        self.cursor = if to == sets.end { index.start } else { to };
        let is_last = to == index.end;
        self.is_in_round &= !is_last;
        is_last
    }

    /// The step is over. What was written up to `flushed`, if there was a flush, is durable.
    pub(crate) fn end_step(&mut self, shard: IndexShard, flushed: Option<Progress>) {
        self.is_busy = false;
        let [_, index] = round_parts(shard);
        if let Some(progress) = flushed {
            self.durable = self.durable.max(progress);
            if progress == (self.round, index.end) {
                self.complete_lsn = self.round_lsn;
            }
        }
    }

    /// How far pages have been written.
    pub(crate) fn written(&self) -> Progress {
        let last = self.segments.back();
        last.map_or((0, PagePoint::START), |segment| segment.end)
    }

    /// A step failed: what is in the open segment stays as it is, and the next round begins anew when it is due.
    pub(crate) fn fail_step(&mut self) {
        self.is_busy = false;
        self.open = None;
        self.is_in_round = false;
        self.log_bytes = 0;
    }

    /// The oldest segment, if all of its pages are older than two that are durable; it leaves the ring.
    pub(crate) fn pop_superseded(&mut self) -> Option<SegmentNumber> {
        let oldest = self.segments.front()?;
        let (round, point) = oldest.end;
        let is_open = self.open.is_some_and(|open| open.number == oldest.number);
        if is_open || (round + ROUNDS_KEPT, point) > self.durable {
            return None;
        }
        self.segments.pop_front().map(|segment| segment.number)
    }

    /// The oldest segment, because the log needs it; `None` if there is none, or a step is on its way to it.
    pub(crate) fn pop_oldest(&mut self) -> Option<SegmentNumber> {
        let oldest = self.segments.front()?.number;
        if self.open.is_some_and(|open| open.number == oldest) {
            if self.is_busy {
                return None;
            }
            self.open = None;
        }
        self.segments.pop_front();
        Some(oldest)
    }

    /// The open segment is full.
    pub(crate) const fn close_segment(&mut self) {
        self.open = None;
    }
}
