//! Truncations as checkpoints keep them, and as a start takes them back.

use corelith_index::{ExpirySeconds, RecordAddress, SetId};

use super::{Cutoff, LogPosition, Truncations, position_of};
use crate::Version;
use crate::format::checkpoint_sets::{ItemPlace, ItemTruncation};
use crate::state::State;

impl Truncations {
    /// What a checkpoint keeps of the newest truncation of a set, or of all.
    pub(crate) fn kept_of(&self, set: SetId) -> Option<ItemTruncation> {
        let cutoff = self.cutoffs.get(&set)?;
        Some(ItemTruncation {
            place: ItemPlace {
                address: cutoff.address,
                length: cutoff.length,
            },
            first_lsn: cutoff.position.first_lsn,
            offset_bytes: cutoff.position.offset_bytes,
            version: cutoff.version,
        })
    }

    /// The version of the newest truncation of all.
    pub(crate) fn version_of_all(&self) -> Option<Version> {
        Some(self.cutoffs.get(&SetId::NONE)?.version)
    }

    /// Where the truncations lie that count as live.
    pub(crate) fn live_addresses(&self) -> impl Iterator<Item = RecordAddress> {
        let cutoffs = self.cutoffs.values();
        cutoffs
            .filter(|cutoff| !cutoff.is_swept)
            .map(|cutoff| cutoff.address)
    }
}

impl State {
    /// Takes truncations from a checkpoint, the newest of each set. Which entries they have deleted is compared
    /// by place until a sweep has seen the index whole, as after a scan.
    pub(crate) fn restore_truncations(&mut self, kept: Vec<(SetId, ItemTruncation)>) {
        let first_of = |kept: &ItemTruncation| LogPosition {
            first_lsn: kept.first_lsn,
            offset_bytes: kept.offset_bytes,
        };
        let of_all = kept.iter().find(|(set, _)| *set == SetId::NONE);
        let of_all = of_all.map(|(_, kept)| first_of(kept));
        for (set, kept) in kept {
            let position = first_of(&kept);
            if set != SetId::NONE && of_all.is_some_and(|of_all| position < of_all) {
                continue;
            }
            let Some(stands) = position_of(&self.segments, kept.place.address) else {
                continue;
            };
            self.segments
                .note_live(kept.place.address, kept.place.length, ExpirySeconds::NEVER);
            let truncations = &mut self.truncations;
            truncations.count += 1;
            truncations.unswept_count += 1;
            let cutoff = Cutoff {
                position,
                stands,
                number: truncations.count,
                address: kept.place.address,
                length: kept.place.length,
                version: kept.version,
                is_swept: false,
                is_counted: false,
            };
            truncations.cutoffs.insert(set, cutoff);
        }
    }
}
