//! Room in the log: who may take how much of what is free.
//!
//! New data leaves a reserve alone, deletes and overwrites that shrink leave alone what reclaim needs. It is asked
//! at every append and not only when a segment is opened, because the open segment is everybody's: else clients could fill
//! what reclaim has opened to move survivors into. Whoever finds no room waits as long as reclaim may make some.

use crate::WriteError;
use crate::batch::NewRecord;
use crate::format::fields::u64_of;
use crate::format::record_header::RecordFlags;
use crate::format::segment_header::SEGMENT_HEADER_COPIES;
use crate::format::summary::tail_bytes;
use crate::limits::{
    LIVE_SIXTEENTHS_MAX, SEGMENTS_AVAILABLE_MIN, SEGMENTS_FOR_RECLAIM, SEGMENTS_RESERVED,
    SEGMENTS_SPARE_SHARE, SUMMARY_BYTES_PER_RECORD, TOMBSTONE_BYTES,
};
use crate::log::LogGeometry;
use crate::segments::{Held, SegmentTable};
use crate::state::{ShardCore, State, length_of_content};

/// What a record does to the space that is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// More lives than before.
    Grows,
    /// As much lives as before.
    Keeps,
    /// Less lives than before.
    Frees,
    /// Reclaim moves what lives.
    Moves,
}

impl Purpose {
    fn of(record: &NewRecord<'_>) -> Self {
        let frees = record.flags.contains(RecordFlags::TOMBSTONE)
            || record.flags.contains(RecordFlags::TRUNCATION);
        if record.moved.is_some() {
            return Self::Moves;
        }
        let bytes = length_of_content(record.content.len());
        match bytes.cmp(&record.replaced_bytes) {
            _ if frees => Self::Frees,
            std::cmp::Ordering::Less => Self::Frees,
            std::cmp::Ordering::Equal => Self::Keeps,
            std::cmp::Ordering::Greater => Self::Grows,
        }
    }

    /// Segments that it leaves to others.
    const fn reserve(self) -> usize {
        match self {
            Self::Grows | Self::Keeps => SEGMENTS_RESERVED,
            Self::Frees => SEGMENTS_FOR_RECLAIM,
            Self::Moves => 0,
        }
    }
}

/// Whether a record may be appended now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// Into the open segment, and into another if `may_open`.
    Free { may_open: bool },
    /// Not now.
    Wait,
}

/// Bytes of a segment that batches may take, if its summary had no rows.
pub(crate) fn payload_bytes(geometry: LogGeometry) -> u64 {
    let unit = geometry.write_unit_bytes;
    let fixed = SEGMENT_HEADER_COPIES * unit + tail_bytes(0, unit);
    geometry.segment_bytes.saturating_sub(fixed)
}

/// What records take of that, with their rows in the summary.
pub(crate) fn needed_bytes(live_bytes: u64, live_records: u64, tombstones: u64) -> u64 {
    live_bytes
        + tombstones * TOMBSTONE_BYTES
        + (live_records + tombstones) * SUMMARY_BYTES_PER_RECORD
}

impl ShardCore {
    /// Whether there is room for `record`, or the error that there is none.
    pub(crate) fn room_for<E>(&self, record: &NewRecord<'_>) -> Result<Room, WriteError<E>> {
        let purpose = Purpose::of(record);
        let mut state = self.state.borrow_mut();
        if purpose == Purpose::Grows && !state.may_grow(length_of_content(record.content.len())) {
            // What a sweep takes out makes room without a word from anyone.
            return match state.truncations.is_unswept() || self.may_expire(&mut state) {
                true => Ok(Room::Wait),
                false => Err(WriteError::OutOfSpace),
            };
        }
        let available = self.available(&state.segments);
        if available >= purpose.reserve() {
            return Ok(Room::Free {
                may_open: available > purpose.reserve(),
            });
        }
        self.wait_for_room(&mut state)
    }

    /// Nothing is left that may be taken: waits if something is about to be.
    pub(crate) fn wait_for_room<E>(&self, state: &mut State) -> Result<Room, WriteError<E>> {
        let comes = state.segments.is_freeing()
            || state.truncations.is_unswept()
            || state.segments.checkpoint_count() > 0
            || state.segments.freeable().is_some()
            || state.may_reclaim()
            || self.may_expire(state);
        if !comes {
            return Err(WriteError::OutOfSpace);
        }
        self.work.notify_all();
        Ok(Room::Wait)
    }

    fn available(&self, segments: &SegmentTable) -> usize {
        segments.available(|slot| self.is_slot_fenced(slot))
    }

    /// True if reclaim is to begin, and what holds nothing is to be freed.
    pub(crate) fn is_short(&self, segments: &SegmentTable) -> bool {
        let spare = segments.len() / SEGMENTS_SPARE_SHARE;
        self.available(segments) <= SEGMENTS_AVAILABLE_MIN + spare
    }

    /// True if no segment but the reserve is left to open.
    pub(crate) fn is_out_of_room(&self, segments: &SegmentTable) -> bool {
        self.available(segments) <= SEGMENTS_RESERVED
    }

    /// True if new data is refused, or would be if it came now.
    pub(crate) fn is_full(&self, state: &State) -> bool {
        let is_out = self.is_out_of_room(&state.segments)
            && state.segments.checkpoint_count() == 0
            && !state.segments.is_freeing()
            && !state.segments.may_be_freeable()
            && !state.may_reclaim();
        is_out || !state.may_grow(TOMBSTONE_BYTES)
    }
}

impl State {
    /// True if reclaim is at work, or has not found yet that there is nothing for it.
    pub(crate) fn may_reclaim(&self) -> bool {
        self.reclaim.is_running()
            || self.segments.may_be_reclaimable() && !self.reclaim.is_futile(self.segments.len())
    }

    /// True if `more_bytes` may live beside what lives. Pages of checkpoints are no hindrance: they give way.
    fn may_grow(&self, more_bytes: u64) -> bool {
        self.fits_beside(more_bytes, 0)
    }

    /// True if what lives leaves room for the segments that hold pages of checkpoints and `more`, so that reclaim finds
    /// as much to gain without them.
    pub(crate) fn may_keep_pages(&self, more: usize) -> bool {
        self.fits_beside(0, self.segments.checkpoint_count() + more)
    }

    /// True if `more_bytes` may live beside what lives, with `taken` segments for something else.
    fn fits_beside(&self, more_bytes: u64, taken: usize) -> bool {
        let Held {
            live_bytes,
            live_records,
            tombstones,
            lost_segments,
        } = self.segments.held();
        // The open segment may just have been opened.
        let usable = u64_of(self.segments.len())
            .saturating_sub(lost_segments + u64_of(SEGMENTS_RESERVED + taken) + 1);
        let limit = usable * payload_bytes(self.log.geometry()) / 16 * LIVE_SIXTEENTHS_MAX;
        let live_bytes = live_bytes + more_bytes;
        needed_bytes(live_bytes, live_records + 1, tombstones) <= limit
    }
}
