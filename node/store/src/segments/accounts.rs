//! What is counted of each segment: what lives in it, what is dead, and what that means for tombstones elsewhere.
//!
//! Invariant: every change of a count goes through [`SegmentTable::tally`] or `change`, so that the sums of all segments keep up.

use corelith_index::{ExpirySeconds, RecordAddress, RecordLength};

use super::{Segment, SegmentState, SegmentTable};
use crate::Version;
use crate::format::summary::{Holdings, RecordRow};
use crate::place::{RecordPlace, SegmentNumber};

/// What a start from a checkpoint has found out about a segment beside what lives in it.
pub(crate) struct Settled {
    /// What it holds in all.
    pub(crate) holdings: Holdings,
    /// Truncations in it that count as live.
    pub(crate) live_truncations: u32,
    /// Copies that reclaim has made of which entries have been in the index.
    pub(crate) copies: u32,
    /// No record that expires later can have been taken out of the index for that.
    pub(crate) expired: ExpirySeconds,
}

/// What lives in a segment, as pages of a checkpoint say.
#[derive(Clone, Copy, Default)]
pub(crate) struct LoadedLive {
    pub(crate) records: u32,
    pub(crate) bytes: u64,
    /// Of the records those that expire, and their bytes.
    pub(crate) expiring: u32,
    pub(crate) expiring_bytes: u64,
    /// Of the records those that reclaim has moved.
    pub(crate) copies: u32,
}

/// What segments hold that must be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Held {
    /// Bytes of live records, in the index's rounding.
    pub(crate) live_bytes: u64,
    pub(crate) live_records: u64,
    pub(crate) tombstones: u64,
    /// Segments that cannot be used.
    pub(crate) lost_segments: u64,
}

impl Held {
    pub(super) fn of(segment: &Segment) -> Self {
        let is_lost = matches!(segment.state, SegmentState::Lost | SegmentState::Unusable);
        Self {
            live_bytes: segment.live_bytes,
            live_records: segment.live_records.into(),
            tombstones: segment.tombstones.into(),
            lost_segments: is_lost.into(),
        }
    }

    pub(super) const fn replace(&mut self, before: &Self, after: &Self) {
        self.live_bytes = self.live_bytes + after.live_bytes - before.live_bytes;
        self.live_records = self.live_records + after.live_records - before.live_records;
        self.tombstones = self.tombstones + after.tombstones - before.tombstones;
        self.lost_segments = self.lost_segments + after.lost_segments - before.lost_segments;
    }
}

impl SegmentTable {
    /// A record of `length` at `address` is the newest of its key.
    pub(crate) fn note_live(
        &mut self,
        address: RecordAddress,
        length: RecordLength,
        expiry: ExpirySeconds,
    ) {
        let bytes = u64::from(length.bytes_max());
        self.tally_at(address, |segment| {
            segment.live_records += 1;
            segment.live_bytes += bytes;
            if !expiry.is_never() {
                segment.live_expiring += 1;
                segment.live_expiring_bytes += bytes;
            }
        });
    }

    /// The record of `length` at `address` has been superseded.
    pub(crate) fn note_dead(
        &mut self,
        address: RecordAddress,
        length: RecordLength,
        (is_copy, expiry): (bool, ExpirySeconds),
    ) {
        self.tally_at(address, |segment| {
            segment.bury_record(length, (is_copy, expiry));
        });
    }

    /// The record of `length` at `address`, the newest of its key, has expired and is not in the index any more: its header
    /// stands for a tombstone.
    pub(crate) fn note_expired(
        &mut self,
        address: RecordAddress,
        length: RecordLength,
        (is_copy, expiry): (bool, ExpirySeconds),
    ) {
        self.tally_at(address, |segment| {
            segment.bury_record(length, (is_copy, expiry));
            segment.expired_headers += 1;
        });
    }

    /// A record that has expired stands in the segment, the newest of its key, and has never been in the index.
    pub(crate) fn note_found_expired(&mut self, number: SegmentNumber, is_copy: bool) {
        self.tally(number, |segment| {
            segment.dead_records += 1;
            segment.dead_copies += u32::from(is_copy);
            segment.dead_expiring += 1;
            segment.expired_headers += 1;
        });
    }

    /// A record with this row stands in the segment, alive or not.
    pub(crate) fn note_row(&mut self, number: SegmentNumber, row: &RecordRow) {
        if let Some(segment) = self.segment_mut(number).filter(|_| !row.expiry.is_never()) {
            segment.expiring.add(row);
        }
    }

    /// A copy at `address` is durable and nothing points at it.
    pub(crate) fn note_stale_copy(&mut self, address: RecordAddress, expiry: ExpirySeconds) {
        self.tally_at(address, |segment| {
            segment.dead_records += 1;
            segment.dead_copies += 1;
            segment.dead_expiring += u32::from(!expiry.is_never());
        });
    }

    /// The truncation of `length` at `address` is not live any more. It is no stale copy that a lost
    /// tombstone would bring back.
    pub(crate) fn note_swept(&mut self, address: RecordAddress, length: RecordLength) {
        self.tally_at(address, |segment| segment.bury(length));
    }

    /// A truncation covers every tombstone so far.
    pub(crate) fn cover_tombstones(&mut self) {
        for segment in &mut self.segments {
            segment.forget_buried();
        }
        self.held.tombstones = 0;
        self.nothing_freeable = false;
        self.nothing_reclaimable = false;
    }

    /// A tombstone in the segment is not needed any more: another covers it.
    pub(crate) fn note_covered(&mut self, number: SegmentNumber) {
        self.tally(number, |segment| {
            assert!(segment.tombstones > 0, "a tombstone is let go once");
            segment.tombstones -= 1;
        });
    }

    /// A tombstone of `version` stands in the segment.
    pub(crate) fn note_tombstone(&mut self, number: SegmentNumber, version: Version) {
        self.tally(number, |segment| {
            segment.tombstones += 1;
            segment.tombstone_version_max = segment.tombstone_version_max.max(version);
        });
    }

    /// A copy of a record of `version` stands in the segment.
    pub(crate) fn note_moved(&mut self, number: SegmentNumber, version: Version) {
        if let Some(segment) = self.segment_mut(number) {
            segment.copy_version_min = segment.copy_version_min.min(version);
        }
    }

    /// Changes what is counted of the segment of `address`.
    fn tally_at(&mut self, address: RecordAddress, change: impl FnOnce(&mut Segment)) {
        if let Some(place) = RecordPlace::unpack(address, self.segment_bytes) {
            self.tally(place.segment, change);
        }
    }

    /// Changes what is counted of a segment, and not its state.
    fn tally(&mut self, number: SegmentNumber, change: impl FnOnce(&mut Segment)) {
        let Some(segment) = self.segment_mut(number) else {
            return;
        };
        let before = Held::of(segment);
        change(segment);
        let after = Held::of(segment);
        self.held.replace(&before, &after);
        if after.live_records < before.live_records || after.tombstones < before.tombstones {
            self.nothing_reclaimable = false;
        }
        if after.live_records == 0 {
            self.nothing_freeable = false;
        }
    }

    /// Entries of a checkpoint were loaded: so much lives in the segment.
    pub(crate) fn note_loaded(&mut self, number: SegmentNumber, loaded: &LoadedLive) {
        self.tally(number, |segment| {
            segment.live_records += loaded.records;
            segment.live_bytes += loaded.bytes;
            segment.live_expiring += loaded.expiring;
            segment.live_expiring_bytes += loaded.expiring_bytes;
        });
    }

    /// What is known of a segment of the log after a start from a checkpoint, which has not seen all of its rows.
    pub(crate) fn settle_accounts(&mut self, number: SegmentNumber, settled: &Settled) {
        let Settled {
            holdings,
            live_truncations,
            copies,
            expired,
        } = settled;
        self.tally(number, |segment| {
            let live = segment.live_records.saturating_sub(*live_truncations);
            segment.dead_records = holdings.records.saturating_sub(live);
            // Of those that were in the index the dead have been counted.
            segment.dead_copies += holdings.copies.saturating_sub(*copies);
            segment.tombstones = holdings.tombstones;
            segment.tombstone_version_max = holdings.tombstone_version_max;
            segment.copy_version_min = holdings.copy_version_min;
            segment.expiring = holdings.expiring;
            segment.dead_expiring =
                holdings.expiring.records - segment.live_expiring.min(holdings.expiring.records);
            // Which of them were taken out of the index because they had expired, nothing tells.
            segment.may_keep_headers =
                segment.dead_expiring > 0 && holdings.expiring.first.get() <= expired.get();
        });
    }

    /// A truncation of `version` covers the tombstones of segments that hold none behind it.
    pub(crate) fn cover_tombstones_before(&mut self, version: Version) {
        for number in (0..).map(SegmentNumber::new).take(self.segments.len()) {
            self.tally(number, |segment| {
                if segment.tombstone_version_max < version {
                    segment.tombstones = 0;
                    segment.tombstone_version_max = Version::NONE;
                }
                if segment.expiring.version_max < version {
                    segment.expired_headers = 0;
                    segment.may_keep_headers = false;
                }
            });
        }
    }
}

impl Segment {
    /// A live record of `length` is dead from here on.
    fn bury_record(&mut self, length: RecordLength, (is_copy, expiry): (bool, ExpirySeconds)) {
        self.bury(length);
        self.dead_records += 1;
        self.dead_copies += u32::from(is_copy);
        if !expiry.is_never() {
            let bytes = u64::from(length.bytes_max());
            self.live_expiring = self.live_expiring.saturating_sub(1);
            self.live_expiring_bytes = self.live_expiring_bytes.saturating_sub(bytes);
            self.dead_expiring += 1;
        }
    }
}
