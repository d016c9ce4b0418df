//! Scans of a partition that stop and go on while the table changes.
//!
//! A position is a fixed function of a digest, never of where the table happens to keep the entry:
//! a scan that goes on from one sees every entry that is there throughout exactly once, whatever was
//! inserted, replaced, moved or removed between its steps. Entries of one tag are never divided
//! between steps.

use std::fmt;

use crate::digest::Digest;
use crate::entry::{Entry, tag_of, unpack};
use crate::groups::Groups;
use crate::limits::SCAN_GROUP_COUNT_MIN;
use crate::slot::Slot;

/// A place in the order in which the entries of a partition are visited. Keys with the same tag share one position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanPosition(u64);

impl ScanPosition {
    /// Before every entry.
    pub const START: Self = Self(0);

    /// Where the entry of `digest` stands within the digest's partition.
    #[must_use]
    pub const fn of(digest: &Digest) -> Self {
        Self(digest.tag().reverse_bits())
    }

    /// The position after this one; `None` when this is the last of the partition.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(tag) => Some(Self(tag)),
            None => None,
        }
    }

    /// The number that stands for the position, for a peer's cursor.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Takes a number that came back from a peer. Every number is a position.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Debug for ScanPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ScanPosition({:016x})", self.0)
    }
}

/// One entry that a scan has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Where it stands in its partition.
    pub position: ScanPosition,
    /// What the index keeps of it. The digest is in the record.
    pub entry: Entry,
}

impl ScanPosition {
    pub(crate) const fn of_tag(tag: u64) -> Self {
        // The directory divides by the lowest bit first: in the order of reversed bits whatever lies
        // under one slot stays together, however often it is divided.
        Self(tag.reverse_bits())
    }

    pub(crate) const fn tag(self) -> u64 {
        self.0.reverse_bits()
    }

    /// Whether no position that shares its first `depth` bits with this one comes before it.
    pub(crate) fn is_first_of(self, depth: u32) -> bool {
        self.0 & u64::MAX.checked_shr(depth).unwrap_or(0) == 0
    }

    /// The first position that does not share its first `depth` bits with this one; `None` when this
    /// is among the last.
    pub(crate) fn after_shared(self, depth: u32) -> Option<Self> {
        let rest = u64::MAX.checked_shr(depth).unwrap_or(0);
        Self(self.0 | rest).next()
    }
}

impl Groups {
    /// Appends entries of the partition of `rank` to `found`, from a position on and in the order of
    /// positions, and gives the position to go on from.
    pub(crate) fn scan(
        &self,
        rank: u16,
        mut from: ScanPosition,
        count_max: usize,
        found: &mut Vec<Scanned>,
    ) -> Option<ScanPosition> {
        let count_max = count_max.max(1);
        let first = found.len();
        for _ in 0..count_max.max(SCAN_GROUP_COUNT_MIN) {
            let (home, slot) = self.directory.locate(rank, from.tag());
            if let Slot::Group(group) = slot {
                let group_first = found.len();
                let all = self.entries(group).iter().map(|packed| Scanned {
                    position: ScanPosition::of_tag(tag_of(packed)),
                    entry: unpack(packed),
                });
                found.extend(all.filter(|scanned| scanned.position >= from));
                if let Some(of_group) = found.get_mut(group_first..) {
                    of_group.sort_by_key(|scanned| scanned.position);
                }
                if let Some(next) = cut(found, first, count_max) {
                    return Some(next);
                }
            }
            from = from.after_shared(home.depth)?;
            if found.len() - first >= count_max {
                break;
            }
        }
        Some(from)
    }
}

/// Shortens what stands in `found` from `first` on to `count` and what shares the last position;
/// gives the position of the first that was cut off.
fn cut(found: &mut Vec<Scanned>, first: usize, count: usize) -> Option<ScanPosition> {
    let new = found.get(first..)?;
    let last = new.get(count.checked_sub(1)?)?.position;
    let kept_count = new.partition_point(|scanned| scanned.position <= last);
    let next = new.get(kept_count)?.position;
    found.truncate(first + kept_count);
    Some(next)
}
