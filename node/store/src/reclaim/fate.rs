//! What becomes of a record whose segment is reclaimed.

use std::rc::Rc;

use corelith_index::{Digest, Entry, RecordAddress};

use super::victim::{Survivor, Victim};
use crate::format::record_header::RecordFlags;
use crate::format::summary::RecordRow;
use crate::outcome::Outcome;
use crate::planted::{PlantedBug, is_planted};
use crate::state::{ShardCore, State, TagKey};
use crate::store_clock::is_expired_by;

/// What a record's copy would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The newest version of a key, which has a twin in the index or not.
    Record {
        has_twin: bool,
    },
    /// A key's deletion, which has a twin in the index or not.
    Tombstone {
        has_twin: bool,
    },
    Definition,
    /// A truncation, with the digest that says where it first stood.
    Truncation(Digest),
}

pub(super) enum Fate {
    /// Nothing needs it.
    Dead,
    /// It is to be moved.
    Lives(Kind),
    /// When this has ended it will be known.
    Later(Rc<Outcome>),
    /// A tombstone whose key may have a newer version: one of these, as their records tell.
    Ask(Vec<Entry>),
}

impl ShardCore {
    /// Those of `rows` that may have to be moved. A tombstone that is not needed is counted and left out.
    pub(super) fn sift(&self, victim: &Victim, rows: &[RecordRow]) -> Vec<Survivor> {
        let state = &mut *self.state.borrow_mut();
        let removable = self.clock.removable();
        if let Some(expired) = removable {
            state.segments.note_time(expired);
        }
        let mut survivors = Vec::new();
        for row in rows {
            let Some(address) = victim.address(row) else {
                continue;
            };
            if removable.is_some() {
                state.expire_row(row, address);
            }
            let is_header = state.may_be_header(row, address);
            let survivor = Survivor {
                row: *row,
                address,
                is_header,
            };
            match state.fate_of_row(self.number, victim, &survivor, None) {
                Fate::Dead => {
                    if is_planted(PlantedBug::ForgetTruncationEarly) {
                        state
                            .truncations
                            .forget_in(victim.number, state.segments.segment_bytes());
                    }
                    let is_tombstone = row.flags.contains(RecordFlags::TOMBSTONE);
                    state.counters.tombstones_dropped += u64::from(is_tombstone);
                }
                Fate::Lives(_) | Fate::Later(_) | Fate::Ask(_) => survivors.push(survivor),
            }
        }
        survivors
    }

    /// False if a record that could not be read is not needed any more.
    pub(super) fn still_needs(&self, victim: &Victim, survivor: &Survivor) -> bool {
        let state = self.state.borrow();
        let fate = state.fate_of_row(self.number, victim, survivor, None);
        !matches!(fate, Fate::Dead)
    }

    /// Whether one of `candidates` is the entry of `digest`; `None` if that cannot be read.
    pub(super) async fn holds_key(&self, digest: &Digest, candidates: &[Entry]) -> Option<bool> {
        let mut is_known = true;
        for entry in candidates {
            match self.read_place(entry).await {
                Ok(record) if record.digest() == digest => return Some(true),
                Ok(_) => {}
                Err(_) => is_known = false,
            }
        }
        is_known.then_some(false)
    }
}

impl State {
    /// What becomes of a record, as of now. `asked` are entries of its tag that are known to be other keys'.
    pub(super) fn fate_of_row(
        &self,
        shard: u16,
        victim: &Victim,
        survivor: &Survivor,
        asked: Option<&[Entry]>,
    ) -> Fate {
        let (row, address) = (&survivor.row, survivor.address);
        if self.moving.contains_key(&address) {
            return Fate::Dead;
        }
        if row.flags.contains(RecordFlags::TRUNCATION) {
            let place = (shard, row, address);
            let digest = self.truncations.digest_to_move(&self.segments, place);
            return match digest {
                Some(digest) if row.version >= victim.pin => Fate::Lives(Kind::Truncation(digest)),
                Some(_) | None => Fate::Dead,
            };
        }
        if row.flags.contains(RecordFlags::META) {
            return match self.sets.is_defined_at(row.set, address) {
                true => Fate::Lives(Kind::Definition),
                false => Fate::Dead,
            };
        }
        if row.flags.contains(RecordFlags::TOMBSTONE) {
            return self.fate_of_tombstone(victim, row, asked);
        }
        let mut candidates = self.index.lookup(&row.digest);
        let has_twin = candidates.len() > 1;
        let Some(entry) = candidates.find(|entry| entry.address == address) else {
            return match self.may_be_header(row, address) {
                true => self.fate_of_tombstone(victim, row, asked),
                false => Fate::Dead,
            };
        };
        if self.truncations.has_deleted(&self.segments, &entry) {
            return Fate::Dead;
        }
        if let Some(outcome) = self.truncations.pending_of(entry.set) {
            return Fate::Later(outcome);
        }
        match self.pending.get(&TagKey::of(&row.digest)) {
            Some(pending) => Fate::Later(Rc::clone(&pending.outcome)),
            None => Fate::Lives(Kind::Record { has_twin }),
        }
    }

    /// True if the row is of a record that may have been the newest of its key when it expired, and is not in the index any
    /// more: its header is a tombstone of its version.
    fn may_be_header(&self, row: &RecordRow, address: RecordAddress) -> bool {
        let is_record =
            !row.flags.contains(RecordFlags::TOMBSTONE) && !row.flags.contains(RecordFlags::META);
        let is_there = || {
            let mut candidates = self.index.lookup(&row.digest);
            candidates.any(|entry| entry.address == address)
        };
        is_record
            && is_expired_by(row.expiry, self.segments.expired())
            && !is_planted(PlantedBug::DropExpiredHeader)
            && !is_there()
    }

    /// A tombstone is needed while an older copy of its key may come back, unless something newer covers
    /// that: a truncation, or a newer version. Behind a newer version a copy of it would do harm.
    fn fate_of_tombstone(&self, victim: &Victim, row: &RecordRow, asked: Option<&[Entry]>) -> Fate {
        if row.version < victim.pin || self.truncations.has_deleted_version(row.set, row.version) {
            return Fate::Dead;
        }
        if let Some(pending) = self.pending.get(&TagKey::of(&row.digest)) {
            return Fate::Later(Rc::clone(&pending.outcome));
        }
        // A twin's entry is not the key's: where both have stale copies, replay tells them apart.
        let candidates: Vec<Entry> = self.index.lookup(&row.digest).collect();
        match candidates.as_slice() {
            [] => Fate::Lives(Kind::Tombstone { has_twin: false }),
            others if asked == Some(others) => Fate::Lives(Kind::Tombstone { has_twin: true }),
            _ => Fate::Ask(candidates),
        }
    }
}
