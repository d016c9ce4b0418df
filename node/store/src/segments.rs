//! The segments of one shard in memory: state, life, what lives and what is dead in each.
//!
//! Invariant: a segment whose old bytes could still be replayed after a crash counts as part of the log
//! here, so that the rule for dropping tombstones sees it.

mod accounts;

use std::cmp::Reverse;

use corelith_index::{ExpirySeconds, RecordAddress, RecordLength};

use crate::format::fields::{u32_of, u64_of};
use crate::format::summary::Expiring;
use crate::place::{RecordPlace, SegmentNumber, SegmentPlace};
use crate::planted::{PlantedBug, is_planted};
use crate::{Life, Lsn, Version};

pub(crate) use accounts::{Held, LoadedLive, Settled};

/// What a segment is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentState {
    /// Never allocated in this volume.
    Unused,
    /// Nothing in it counts, and its header says so durably.
    Free,
    /// Its next life is being put on record.
    Preparing,
    /// Ready to be opened.
    Prepared,
    /// The log appends to it.
    Open,
    /// The log has left it; its summary is not durable yet.
    Closed,
    /// Its summary is durable.
    Sealed,
    /// Its header is being rewritten as free.
    Freeing,
    /// Part of the log, or may be: a write to it failed, or it cannot be read. Not written again.
    Lost,
    /// Not part of the log and not to be used: its next life could not be put on record.
    Unusable,
    /// It holds pages of checkpoints.
    Checkpoint,
}

/// One segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) place: SegmentPlace,
    pub(crate) life: Life,
    pub(crate) state: SegmentState,
    /// The shard's next LSN when the segment was last freed.
    pub(crate) freed_lsn: Lsn,
    /// First LSN of its part of the log.
    pub(crate) first_lsn: Lsn,
    /// Its header declares positions void.
    pub(crate) declares_void: bool,
    /// The header that makes it part of the log is on the device.
    pub(crate) header_is_durable: bool,
    /// Writes of the log to it that a device has and has not answered.
    pub(crate) writes_in_flight: u32,
    /// Bytes of live records, in the index's rounding.
    pub(crate) live_bytes: u64,
    pub(crate) live_records: u32,
    /// Dead records that are not tombstones: stale copies that a lost tombstone would bring back.
    pub(crate) dead_records: u32,
    /// Of those, copies that reclaim made: they may be older than the others.
    pub(crate) dead_copies: u32,
    pub(crate) tombstones: u32,
    /// Newest tombstone in it.
    pub(crate) tombstone_version_max: Version,
    /// No record in it is older, but for copies that reclaim made.
    pub(crate) version_min: Version,
    /// None of those is older.
    pub(crate) copy_version_min: Version,
    /// Live records that reclaim found in it and could not move: it is left alone while it holds as many.
    pub(crate) unmovable: u32,
    /// The records in it that expire, alive or not.
    pub(crate) expiring: Expiring,
    /// Of the live records those that expire, and their bytes.
    pub(crate) live_expiring: u32,
    pub(crate) live_expiring_bytes: u64,
    /// Of the dead records those that expire or have expired.
    pub(crate) dead_expiring: u32,
    /// Of those, records that were the newest of their keys when they expired: each is kept like a tombstone. After a start
    /// from a checkpoint there may be more, see `may_keep_headers`.
    pub(crate) expired_headers: u32,
    /// Any of the dead records that have expired may be one.
    pub(crate) may_keep_headers: bool,
}

impl Segment {
    pub(crate) const fn new(place: SegmentPlace) -> Self {
        Self {
            place,
            life: Life::NONE,
            state: SegmentState::Unused,
            freed_lsn: Lsn::NONE,
            first_lsn: Lsn::NONE,
            declares_void: false,
            header_is_durable: false,
            writes_in_flight: 0,
            live_bytes: 0,
            live_records: 0,
            dead_records: 0,
            dead_copies: 0,
            tombstones: 0,
            tombstone_version_max: Version::NONE,
            version_min: Version::MAX,
            copy_version_min: Version::MAX,
            unmovable: 0,
            expiring: Expiring::NONE,
            live_expiring: 0,
            live_expiring_bytes: 0,
            dead_expiring: 0,
            expired_headers: 0,
            may_keep_headers: false,
        }
    }

    /// Nothing of the segment counts any more, durably, since the shard's next LSN was `freed_lsn`.
    pub(crate) fn become_free(&mut self, life: Life, freed_lsn: Lsn) {
        let state = SegmentState::Free;
        *self = Self {
            life,
            state,
            freed_lsn,
            ..Self::new(self.place)
        };
    }

    /// Nothing is known of what the segment holds: no tombstone may be dropped while it could come
    /// back with stale copies.
    pub(crate) fn become_unreadable(&mut self) {
        self.state = SegmentState::Lost;
        self.dead_records = 1;
        self.dead_expiring = 0;
        self.version_min = Version::NONE;
    }

    /// No dead record in it is older that could come back; `None` if there is none. One that has expired by `time` comes back
    /// as expired.
    fn pin(&self, time: ExpirySeconds) -> Option<Version> {
        let gone = match self.has_expired(time) {
            true => self.dead_expiring,
            false => 0,
        };
        if !self.holds_log() || self.dead_records <= gone {
            return None;
        }
        let of_copies = (self.dead_copies > 0).then_some(self.copy_version_min);
        let of_others = (self.dead_records > self.dead_copies).then_some(self.version_min);
        of_copies.into_iter().chain(of_others).min()
    }

    /// True if all records in it have expired by `time` that ever do.
    const fn has_expired(&self, time: ExpirySeconds) -> bool {
        self.expiring.last.get() <= time.get()
    }

    /// What lives in it and has not expired by `time`, as far as the segment as a whole tells: records and bytes.
    pub(crate) fn lasting(&self, time: ExpirySeconds) -> (u32, u64) {
        if !self.has_expired(time) {
            return (self.live_records, self.live_bytes);
        }
        (
            self.live_records.saturating_sub(self.live_expiring),
            self.live_bytes.saturating_sub(self.live_expiring_bytes),
        )
    }

    /// How many headers of expired records may have to be kept, those included that have not been taken out of the index yet.
    pub(crate) const fn headers(&self, time: ExpirySeconds) -> u32 {
        let known = match self.may_keep_headers {
            true => self.dead_expiring,
            false => self.expired_headers,
        };
        match self.has_expired(time) {
            true => known + self.live_expiring,
            false => known,
        }
    }

    /// True if headers of expired records in it may have to be kept.
    pub(crate) const fn may_hold_headers(&self) -> bool {
        self.expired_headers > 0 || self.may_keep_headers
    }

    /// True if tombstones and headers of expired records in it are all older than `pin`.
    pub(crate) fn is_buried(&self, pin: Version) -> bool {
        let has_headers = self.may_hold_headers();
        let may_drop = is_planted(PlantedBug::DropExpiredHeader);
        (self.tombstones == 0 || self.tombstone_version_max < pin)
            && (!has_headers || self.expiring.version_max < pin || may_drop)
    }

    /// Neither tombstones nor headers in it are needed any more.
    pub(crate) const fn forget_buried(&mut self) {
        self.tombstones = 0;
        self.tombstone_version_max = Version::NONE;
        self.expired_headers = 0;
        self.may_keep_headers = false;
    }

    /// A live record of `length` is not live any more.
    fn bury(&mut self, length: RecordLength) {
        assert!(self.live_records > 0, "a record dies once");
        self.live_records -= 1;
        let live_bytes = self.live_bytes;
        self.live_bytes = live_bytes.saturating_sub(u64::from(length.bytes_max()));
    }

    pub(crate) const fn holds_log(&self) -> bool {
        match self.state {
            SegmentState::Open
            | SegmentState::Closed
            | SegmentState::Sealed
            | SegmentState::Freeing
            | SegmentState::Lost => true,
            SegmentState::Unused
            | SegmentState::Free
            | SegmentState::Preparing
            | SegmentState::Prepared
            | SegmentState::Unusable
            | SegmentState::Checkpoint => false,
        }
    }

    /// True if it is ready to be opened or about to be.
    const fn is_ready(&self) -> bool {
        matches!(self.state, SegmentState::Preparing | SegmentState::Prepared)
    }

    /// True if the log can open it, now or after it is prepared.
    const fn is_available(&self) -> bool {
        match self.state {
            SegmentState::Unused
            | SegmentState::Free
            | SegmentState::Preparing
            | SegmentState::Prepared => true,
            SegmentState::Open
            | SegmentState::Closed
            | SegmentState::Sealed
            | SegmentState::Freeing
            | SegmentState::Lost
            | SegmentState::Unusable
            | SegmentState::Checkpoint => false,
        }
    }
}

/// All segments of a shard.
pub(crate) struct SegmentTable {
    segments: Vec<Segment>,
    segment_bytes: u64,
    /// Available segments by the slot of their device. Kept because a shard may have tens of thousands
    /// of segments, and this is asked for at every event.
    available_by_slot: Vec<usize>,
    /// Segments prepared or being prepared.
    ready: usize,
    /// Segments being freed.
    freeing: usize,
    /// What lives in all of them.
    held: Held,
    /// Segments with pages of checkpoints.
    checkpoints: usize,
    /// Nothing has changed since a search for a segment to free found none.
    nothing_freeable: bool,
    /// The same for a search for a segment to reclaim.
    nothing_reclaimable: bool,
    /// What expires up to here has expired, for good.
    expired: ExpirySeconds,
}

/// How many segments are in which condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentCounts {
    /// All of them.
    pub total: u64,
    /// Free, never used, or being prepared.
    pub available: u64,
    /// Not to be written again before the next start.
    pub lost: u64,
    /// Bytes of live records, rounded as the index does.
    pub live_bytes: u64,
    /// Tombstones kept.
    pub tombstones: u64,
    /// Records that were replaced or deleted and stand in the log yet.
    pub dead_records: u64,
    /// Of those, copies that reclaim had made.
    pub dead_copies: u64,
    /// No record that was replaced or deleted and stands in the log yet is older; tombstones below it are not needed.
    pub pin: Version,
    /// Records that have expired and whose headers are kept like tombstones.
    pub expired_headers: u64,
    /// Live records that expire at some time, those included that have and are not removed yet.
    pub expiring: u64,
    /// Of all, those that hold pages of checkpoints: in use, and given to the log when it has no other.
    pub checkpoints: u64,
}

impl SegmentTable {
    pub(crate) fn new(places: Vec<SegmentPlace>, segment_bytes: u64) -> Self {
        let slots = places
            .iter()
            .map(|place| usize::from(place.slot) + 1)
            .max()
            .unwrap_or(0);
        let mut available_by_slot = vec![0; slots];
        for place in &places {
            if let Some(count) = available_by_slot.get_mut(usize::from(place.slot)) {
                *count += 1;
            }
        }
        let segments = places.into_iter().map(Segment::new).collect();
        Self {
            segments,
            segment_bytes,
            available_by_slot,
            ready: 0,
            freeing: 0,
            held: Held::default(),
            checkpoints: 0,
            nothing_freeable: false,
            nothing_reclaimable: false,
            expired: ExpirySeconds::NEVER,
        }
    }

    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub(crate) fn get(&self, number: SegmentNumber) -> Option<&Segment> {
        self.segments.get(usize::try_from(number.get()).ok()?)
    }

    /// The life that the segment of `address` is in now.
    pub(crate) fn life_at(&self, address: RecordAddress) -> Option<Life> {
        let place = RecordPlace::unpack(address, self.segment_bytes)?;
        self.get(place.segment).map(|segment| segment.life)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SegmentNumber, &Segment)> {
        (0..).map(SegmentNumber::new).zip(&self.segments)
    }

    /// Changes a segment, its state included.
    pub(crate) fn change(&mut self, number: SegmentNumber, change: impl FnOnce(&mut Segment)) {
        let Some(segment) = self.segment_mut(number) else {
            return;
        };
        let of_checkpoint = |segment: &Segment| segment.state == SegmentState::Checkpoint;
        let (was_available, was_ready) = (segment.is_available(), segment.is_ready());
        let had_pages = of_checkpoint(segment);
        let (state_before, was_freeing) = (segment.state, segment.state == SegmentState::Freeing);
        let before = Held::of(segment);
        change(segment);
        let (is_available, is_ready) = (segment.is_available(), segment.is_ready());
        let has_pages = of_checkpoint(segment);
        let is_freeing = segment.state == SegmentState::Freeing;
        let (after, state_after) = (Held::of(segment), segment.state);
        let slot = usize::from(segment.place.slot);
        self.held.replace(&before, &after);
        self.nothing_freeable = false;
        self.nothing_reclaimable &= state_before == state_after;
        self.ready = self.ready + usize::from(is_ready) - usize::from(was_ready);
        self.freeing = self.freeing + usize::from(is_freeing) - usize::from(was_freeing);
        self.checkpoints = self.checkpoints + usize::from(has_pages) - usize::from(had_pages);
        if let Some(count) = self.available_by_slot.get_mut(slot) {
            *count = *count + usize::from(is_available) - usize::from(was_available);
        }
    }

    pub(crate) fn set_state(&mut self, number: SegmentNumber, state: SegmentState) {
        self.change(number, |segment| segment.state = state);
    }

    /// Counts a write that a device has been given.
    pub(crate) fn note_write(&mut self, number: SegmentNumber) {
        self.change(number, |segment| segment.writes_in_flight += 1);
    }

    /// Counts a write that a device has answered.
    pub(crate) fn note_answer(&mut self, number: SegmentNumber) {
        self.change(number, |segment| {
            assert!(segment.writes_in_flight > 0, "a write is answered once");
            segment.writes_in_flight -= 1;
        });
    }

    /// True if a segment is prepared or being prepared.
    pub(crate) const fn has_ready(&self) -> bool {
        self.ready > 0
    }

    /// Segments with pages of checkpoints: the log may have them back at any time.
    pub(crate) const fn checkpoint_count(&self) -> usize {
        self.checkpoints
    }

    /// The segment that is ready to be opened.
    pub(crate) fn prepared(&self) -> Option<SegmentNumber> {
        if self.ready == 0 {
            return None;
        }
        self.iter()
            .find(|(_, segment)| segment.state == SegmentState::Prepared)
            .map(|(number, _)| number)
    }

    /// False if the last search for a segment to free found none, and nothing has changed since.
    pub(crate) const fn may_be_freeable(&self) -> bool {
        !self.nothing_freeable
    }

    /// True if a segment is being freed.
    pub(crate) const fn is_freeing(&self) -> bool {
        self.freeing > 0
    }

    /// False if the last search for a segment to reclaim found none, and nothing has changed since.
    pub(crate) const fn may_be_reclaimable(&self) -> bool {
        !self.nothing_reclaimable
    }

    /// A search for a segment to reclaim has found none.
    pub(crate) const fn note_nothing_reclaimable(&mut self) {
        self.nothing_reclaimable = true;
    }

    /// Up to when records have expired for good.
    pub(crate) const fn expired(&self) -> ExpirySeconds {
        self.expired
    }

    /// Records have expired for good up to `expired`.
    pub(crate) fn note_time(&mut self, expired: ExpirySeconds) {
        if expired.get() > self.expired.get() {
            self.expired = expired;
            self.nothing_freeable = false;
            self.nothing_reclaimable = false;
        }
    }

    /// True if the index may hold entries of records that have expired since `since`.
    pub(crate) fn may_hold_expired(&self, since: ExpirySeconds) -> bool {
        let up_to = self.expired.get();
        self.segments.iter().any(|segment| {
            let expiring = &segment.expiring;
            segment.live_expiring > 0
                && expiring.first.get() <= up_to
                && expiring.last.get() > since.get()
        })
    }

    /// What must be kept of all of them.
    pub(crate) const fn held(&self) -> Held {
        self.held
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.segments.len()
    }

    /// The segment to prepare next: one on the device with the most that are free, so that the
    /// devices of a volume fill alike; freed ones before never used ones, which cost a file's
    /// zeros first.
    pub(crate) fn next_to_prepare(&self, fenced: impl Fn(u16) -> bool) -> Option<SegmentNumber> {
        let free = |segment: &Segment| {
            matches!(segment.state, SegmentState::Free | SegmentState::Unused)
                && segment.life.next().is_some()
                && !fenced(segment.place.slot)
        };
        let mut left_by_slot = vec![0_u32; self.available_by_slot.len()];
        for segment in self.segments.iter().filter(|segment| free(segment)) {
            if let Some(count) = left_by_slot.get_mut(usize::from(segment.place.slot)) {
                *count += 1;
            }
        }
        let left = |segment: &Segment| left_by_slot.get(usize::from(segment.place.slot)).copied();
        let never_used = |segment: &Segment| segment.state == SegmentState::Unused;
        let candidates = self.iter().filter(|(_, segment)| free(segment));
        let best = candidates.min_by_key(|(number, segment)| {
            (
                Reverse(left(segment)),
                segment.place.slot,
                never_used(segment),
                *number,
            )
        });
        best.map(|(number, _)| number)
    }

    /// A sealed segment that nothing needs any more: no live record, no write that could still reach
    /// it, no tombstone that a stale copy in another segment calls for, and no void positions of which
    /// a segment without a summary still holds batches.
    pub(crate) fn freeable(&mut self) -> Option<SegmentNumber> {
        if self.nothing_freeable {
            return None;
        }
        let (lowest, second) = self.pins();
        let found = self
            .iter()
            .filter(|(_, segment)| {
                segment.state == SegmentState::Sealed
                    && segment.live_records <= u32::from(is_planted(PlantedBug::FreeTooEarly))
                    && segment.writes_in_flight == 0
            })
            .find(|(number, segment)| {
                // A segment's own stale copies go with it.
                let pin = if lowest.1 == Some(*number) {
                    second
                } else {
                    lowest.0
                };
                let buried = segment.is_buried(pin) || is_planted(PlantedBug::IgnorePin);
                buried && !(segment.declares_void && self.has_unsealed_before(segment.first_lsn))
            })
            .map(|(number, _)| number);
        self.nothing_freeable = found.is_none();
        found
    }

    /// The smallest version in any segment of the log that holds a dead record, with that segment, and
    /// the smallest in any other.
    pub(crate) fn pins(&self) -> ((Version, Option<SegmentNumber>), Version) {
        let (mut lowest, mut second) = ((Version::MAX, None), Version::MAX);
        for (number, segment) in self.iter() {
            let Some(pin) = segment.pin(self.expired) else {
                continue;
            };
            if pin < lowest.0 {
                second = lowest.0;
                lowest = (pin, Some(number));
            } else {
                second = second.min(pin);
            }
        }
        (lowest, second)
    }

    /// True if a segment of the log that began before `lsn` has no summary.
    pub(crate) fn has_unsealed_before(&self, lsn: Lsn) -> bool {
        self.segments.iter().any(|segment| {
            matches!(segment.state, SegmentState::Closed | SegmentState::Lost)
                && segment.first_lsn < lsn
        })
    }

    /// Segments that are durably part of the log: what a new segment's header says came before it.
    pub(crate) fn durable_log_count(&self) -> u32 {
        let durable = self
            .segments
            .iter()
            .filter(|segment| segment.header_is_durable);
        u32_of(durable.count())
    }

    /// Segments that the log can still open, but for those on devices that are `fenced`.
    pub(crate) fn available(&self, fenced: impl Fn(u16) -> bool) -> usize {
        let slots = (0_u16..).zip(&self.available_by_slot);
        slots
            .filter(|(slot, _)| !fenced(*slot))
            .map(|(_, count)| count)
            .sum()
    }

    pub(crate) fn counts(&self) -> SegmentCounts {
        let lost = self
            .segments
            .iter()
            .filter(|segment| segment.state == SegmentState::Lost);
        let sum = |count: fn(&Segment) -> u32| {
            let log = self.segments.iter().filter(|segment| segment.holds_log());
            log.map(|segment| u64::from(count(segment))).sum()
        };
        SegmentCounts {
            total: u64_of(self.segments.len()),
            available: u64_of(self.available(|_| false)),
            lost: u64_of(lost.count()),
            live_bytes: self.held.live_bytes,
            tombstones: self.held.tombstones,
            dead_records: sum(|segment| segment.dead_records),
            dead_copies: sum(|segment| segment.dead_copies),
            pin: self.pins().0.0,
            expired_headers: sum(|segment| segment.expired_headers),
            expiring: sum(|segment| segment.live_expiring),
            checkpoints: u64_of(self.checkpoints),
        }
    }

    fn segment_mut(&mut self, number: SegmentNumber) -> Option<&mut Segment> {
        self.segments.get_mut(usize::try_from(number.get()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use corelith_index::{Digest, Generation, SetId};

    use super::*;
    use crate::format::record_header::RecordFlags;
    use crate::format::summary::{Holdings, RecordRow, SummaryRow};

    fn table(count: u64) -> SegmentTable {
        let places = (0..count)
            .map(|n| SegmentPlace {
                slot: 0,
                offset_bytes: n << 20,
            })
            .collect();
        SegmentTable::new(places, 1 << 20)
    }

    fn address(table: &SegmentTable, number: u32) -> RecordAddress {
        RecordPlace {
            segment: SegmentNumber::new(number),
            offset_bytes: 8192,
        }
        .pack(table.segment_bytes())
        .unwrap()
    }

    fn sealed(count: u64) -> SegmentTable {
        let mut table = table(count);
        for number in 0..u32::try_from(count).unwrap() {
            table.change(SegmentNumber::new(number), |segment| {
                segment.state = SegmentState::Sealed;
                segment.first_lsn = Lsn::new(u64::from(number) * 100 + 1);
                segment.version_min = Version::new(u64::from(number) * 4 + 5);
            });
        }
        table
    }

    #[test]
    fn a_tombstone_stays_while_a_stale_copy_could_come_back() {
        let mut table = sealed(2);
        let length = RecordLength::round_up(100).unwrap();
        // Segment 0: a record of version 5 beside a live one; segment 1: the tombstone, version 9.
        let (first, second) = (SegmentNumber::new(0), SegmentNumber::new(1));
        let (here, there) = (address(&table, 0), address(&table, 0));
        let never = ExpirySeconds::NEVER;
        table.note_live(here, length, never);
        table.note_live(there, length, never);
        table.note_dead(here, length, (false, never));
        table.note_tombstone(second, Version::new(9));
        assert_eq!(table.freeable(), None);
        // The live neighbour dies: segment 0 can go, and only when it is durably free, segment 1.
        table.note_dead(there, length, (false, never));
        assert_eq!(table.freeable(), Some(first));
        table.set_state(first, SegmentState::Freeing);
        assert_eq!(table.freeable(), None);
        table.change(first, |segment| {
            segment.become_free(Life::new(1), Lsn::new(300))
        });
        assert_eq!(table.freeable(), Some(second));
    }

    fn row(version: u64, expiry: ExpirySeconds) -> RecordRow {
        RecordRow {
            offset_bytes: 8192,
            content_bytes: 40,
            flags: RecordFlags::NONE,
            version: Version::new(version),
            digest: Digest::from_bytes([7; 20]),
            generation: Generation::FIRST,
            set: SetId::NONE,
            expiry,
        }
    }

    /// Segment 0 holds a dead record of version 5 that expires at `older`, beside a live one; segment 1 the version behind it, 9,
    /// which has expired at 100.
    fn with_header(older: ExpirySeconds) -> SegmentTable {
        let mut table = sealed(2);
        let length = RecordLength::round_up(100).unwrap();
        let (first, second) = (address(&table, 0), address(&table, 1));
        let (never, expiry) = (ExpirySeconds::NEVER, ExpirySeconds::new(100));
        table.note_row(SegmentNumber::new(0), &row(5, older));
        table.note_live(first, length, older);
        table.note_live(first, length, never);
        table.note_dead(first, length, (false, older));
        table.note_row(SegmentNumber::new(1), &row(9, expiry));
        table.note_live(second, length, expiry);
        table.note_time(expiry);
        table.note_expired(second, length, (false, expiry));
        table
    }

    #[test]
    fn the_header_of_an_expired_record_stays_while_an_older_version_could_come_back() {
        for older in [ExpirySeconds::NEVER, ExpirySeconds::new(200)] {
            let mut table = with_header(older);
            assert_eq!(table.freeable(), None, "{older:?}");
            let length = RecordLength::round_up(100).unwrap();
            let live = address(&table, 0);
            table.note_dead(live, length, (false, ExpirySeconds::NEVER));
            assert_eq!(table.freeable(), Some(SegmentNumber::new(0)));
        }
    }

    #[test]
    fn what_comes_back_as_expired_keeps_no_header_and_no_tombstone() {
        let mut table = with_header(ExpirySeconds::new(100));
        table.note_tombstone(SegmentNumber::new(1), Version::new(10));
        assert_eq!(table.freeable(), Some(SegmentNumber::new(1)));
        // Until time has come that far for certain, it does.
        let mut table = with_header(ExpirySeconds::new(101));
        assert_eq!(table.freeable(), None);
        table.note_time(ExpirySeconds::new(101));
        assert_eq!(table.freeable(), Some(SegmentNumber::new(1)));
    }

    #[test]
    fn after_a_start_from_pages_any_dead_record_that_has_expired_may_be_a_header() {
        let mut table = sealed(2);
        let mut expiring = Expiring::NONE;
        expiring.add(&row(9, ExpirySeconds::new(100)));
        let holdings = Holdings {
            expiring,
            ..Holdings::of(&[SummaryRow::Record(row(9, ExpirySeconds::new(100)))])
        };
        let live = RecordLength::round_up(100).unwrap();
        let first = address(&table, 0);
        table.note_live(first, live, ExpirySeconds::NEVER);
        table.note_live(first, live, ExpirySeconds::NEVER);
        table.note_dead(first, live, (false, ExpirySeconds::NEVER));
        for (expired, freeable) in [(99, Some(SegmentNumber::new(1))), (100, None)] {
            let settled = Settled {
                holdings,
                live_truncations: 0,
                copies: 0,
                expired: ExpirySeconds::new(expired),
            };
            table.settle_accounts(SegmentNumber::new(1), &settled);
            assert_eq!(table.freeable(), freeable, "{expired}");
        }
    }

    #[test]
    fn an_unreadable_segment_keeps_every_tombstone() {
        let mut table = sealed(2);
        table.note_tombstone(SegmentNumber::new(1), Version::new(9));
        assert_eq!(
            table.freeable(),
            Some(SegmentNumber::new(0)),
            "it holds nothing"
        );
        table.change(SegmentNumber::new(0), Segment::become_unreadable);
        assert_eq!(table.freeable(), None);
    }

    #[test]
    fn a_segment_that_may_still_be_written_is_not_freed() {
        let mut table = sealed(1);
        let number = SegmentNumber::new(0);
        table.note_write(number);
        assert_eq!(table.freeable(), None);
        table.note_answer(number);
        assert_eq!(table.freeable(), Some(number));
    }

    #[test]
    fn void_positions_are_kept_while_a_segment_before_them_has_no_summary() {
        let mut table = sealed(2);
        let (first, second) = (SegmentNumber::new(0), SegmentNumber::new(1));
        table.set_state(first, SegmentState::Lost);
        table.change(second, |segment| segment.declares_void = true);
        assert_eq!(table.freeable(), None);
        table.set_state(first, SegmentState::Free);
        assert_eq!(table.freeable(), Some(second));
    }

    #[test]
    fn preparation_spreads_over_devices() {
        let mut places: Vec<_> = (0..2)
            .map(|n| SegmentPlace {
                slot: 0,
                offset_bytes: n << 20,
            })
            .collect();
        places.extend((0..4).map(|n| SegmentPlace {
            slot: 1,
            offset_bytes: n << 20,
        }));
        let mut table = SegmentTable::new(places, 1 << 20);
        let mut slots = Vec::new();
        while let Some(number) = table.next_to_prepare(|_| false) {
            table.set_state(number, SegmentState::Prepared);
            slots.push(table.get(number).unwrap().place.slot);
        }
        assert_eq!(slots, [1, 1, 0, 1, 0, 1]);
        assert_eq!(table.available(|_| false), 6);
        assert_eq!(table.available(|slot| slot == 1), 2);
    }

    #[test]
    fn a_fenced_device_gives_no_segments() {
        let table = table(3);
        assert_eq!(table.next_to_prepare(|slot| slot == 0), None);
    }
}
