//! Which segment to reclaim next.

use corelith_index::ExpirySeconds;

use super::victim::Victim;
use crate::Version;
use crate::limits::{RECLAIM_GAIN_SHARE, TOMBSTONE_BYTES, TOMBSTONE_PERCENT_MAX};
use crate::place::SegmentNumber;
use crate::room::{needed_bytes, payload_bytes};
use crate::segments::{Segment, SegmentState};
use crate::state::{ShardCore, State};

/// Where tombstones may go.
struct Pins {
    /// The smallest version in a segment with a dead record, and that segment.
    lowest: (Version, Option<SegmentNumber>),
    /// The same without that segment.
    second: Version,
}

impl Pins {
    /// Below it the tombstones of `number` are not needed.
    fn of_others(&self, number: SegmentNumber) -> Version {
        if self.lowest.1 == Some(number) {
            self.second
        } else {
            self.lowest.0
        }
    }
}

impl ShardCore {
    /// True if there are too few segments to open, or too many tombstones.
    pub(crate) fn wants_reclaim(&self, state: &State) -> bool {
        self.is_short(&state.segments) || state.has_many_tombstones()
    }

    /// The segment to reclaim, if there is one and it is needed.
    pub(super) fn next_victim(&self) -> Option<Victim> {
        let state = &mut *self.state.borrow_mut();
        if !state.may_search(self) {
            return None;
        }
        let (lowest, second) = state.segments.pins();
        let pins = Pins { lowest, second };
        let Some(number) = self.choose(state, &pins) else {
            state.segments.note_nothing_reclaimable();
            return None;
        };
        state.reclaim.tried += 1;
        let segment = state.segments.get(number)?;
        let attached = self.device(segment.place.slot)?;
        Some(Victim {
            number,
            place: segment.place,
            life: segment.life,
            binding: attached.binding,
            geometry: state.log.geometry(),
            pin: pins.of_others(number),
        })
    }

    fn choose(&self, state: &State, pins: &Pins) -> Option<SegmentNumber> {
        if state.has_many_tombstones() {
            if let Some(number) = self.with_most_tombstones(state, pins) {
                return Some(number);
            }
            let holder = pins.lowest.1.filter(|number| {
                let segment = state.segments.get(*number);
                segment.is_some_and(|segment| self.is_eligible(state, segment))
            });
            if holder.is_some() {
                return holder;
            }
        }
        if !self.is_short(&state.segments) {
            return None;
        }
        let payload = payload_bytes(state.log.geometry());
        // What has expired is not moved, unless the clock is doubted.
        let expired = match self.clock.removable() {
            Some(_) => state.segments.expired(),
            None => ExpirySeconds::NEVER,
        };
        let gain = |(number, segment): (SegmentNumber, &Segment)| {
            let needed = segment.needed_bytes(pins.of_others(number), expired);
            (payload.saturating_sub(needed), number)
        };
        let candidates = state
            .segments
            .iter()
            .filter(|(_, segment)| self.is_eligible(state, segment));
        let best = candidates.map(gain).max_by_key(|(gain, _)| *gain);
        best.filter(|(gain, _)| *gain >= payload / RECLAIM_GAIN_SHARE)
            .map(|(_, number)| number)
    }

    /// The segment with the most tombstones that are not needed any more.
    fn with_most_tombstones(&self, state: &State, pins: &Pins) -> Option<SegmentNumber> {
        let candidates = state.segments.iter().filter(|(number, segment)| {
            segment.tombstones > 0
                && segment.tombstone_version_max < pins.of_others(*number)
                && self.is_eligible(state, segment)
        });
        let best = candidates.max_by_key(|(_, segment)| segment.tombstones);
        best.map(|(number, _)| number)
    }

    fn is_eligible(&self, state: &State, segment: &Segment) -> bool {
        let is_stuck = segment.unmovable > 0 && segment.live_records.max(1) >= segment.unmovable;
        segment.state == SegmentState::Sealed
            && (segment.live_records > 0 || segment.tombstones > 0 || segment.may_hold_headers())
            && segment.writes_in_flight == 0
            && !is_stuck
            && !self.is_slot_fenced(segment.place.slot)
            && !(segment.declares_void && state.segments.has_unsealed_before(segment.first_lsn))
            && !state.truncations.has_unswept_in(segment.first_lsn)
    }
}

impl State {
    fn may_search(&self, core: &ShardCore) -> bool {
        self.segments.may_be_reclaimable()
            && !self.reclaim.is_futile(self.segments.len())
            && core.wants_reclaim(self)
    }

    /// True if tombstones take more than their share of what lives, and so much that it matters.
    fn has_many_tombstones(&self) -> bool {
        let held = self.segments.held();
        let bytes = held.tombstones * TOMBSTONE_BYTES;
        bytes * 100 > held.live_bytes * TOMBSTONE_PERCENT_MAX
            && bytes > payload_bytes(self.log.geometry()) / 8
    }
}

impl Segment {
    /// What of it has to be moved, in bytes, if tombstones below `pin` need not, nor what has `expired` but for its headers.
    fn needed_bytes(&self, pin: Version, expired: ExpirySeconds) -> u64 {
        let tombstones = if self.tombstone_version_max < pin {
            0
        } else {
            self.tombstones
        };
        let headers = if self.expiring.version_max < pin {
            0
        } else {
            self.headers(expired)
        };
        let (records, bytes) = self.lasting(expired);
        needed_bytes(
            bytes,
            records.into(),
            u64::from(tombstones) + u64::from(headers),
        )
    }
}
