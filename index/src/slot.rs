//! A slot of the directory: what lies under one prefix of tags.
//!
//! Never holds an entry. Eight bytes: the upper four refer to a block or a branch, the lower four are the counts of the
//! group. An empty slot is zero; a branch counts no entries and carries a mark where a group's first count would be.

use crate::group::Ends;
use crate::slab::BlockRef;
use crate::width::upper_half;

/// What lies under one prefix of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing.
    Empty,
    /// A group of at least one entry.
    Group(GroupRef),
    /// Two slots, one for each value of the next bit.
    Branch(BranchId),
}

/// A group: its block and its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupRef {
    /// Where its entries lie.
    pub(crate) block: BlockRef,
    /// How many there are.
    pub(crate) ends: Ends,
}

/// A branch of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BranchId(pub(crate) u32);

/// Counts that no group has: entries in the first quarter, and none in all.
const BRANCH_MARK: u32 = 1;

impl Slot {
    /// The slot as a word.
    pub(crate) fn word(self) -> u64 {
        let (reference, counts) = match self {
            Self::Empty => return 0,
            Self::Group(group) => (group.block.word(), group.ends.word()),
            Self::Branch(branch) => (branch.0, BRANCH_MARK),
        };
        u64::from(reference) << u32::BITS | u64::from(counts)
    }

    /// The inverse of [`Slot::word`].
    pub(crate) fn from_word(word: u64) -> Self {
        let (reference, counts) = (upper_half(word), upper_half(word << u32::BITS));
        match counts {
            0 => Self::Empty,
            BRANCH_MARK => Self::Branch(BranchId(reference)),
            counts => Self::Group(GroupRef {
                block: BlockRef::from_word(reference),
                ends: Ends::from_word(counts),
            }),
        }
    }

    /// Entries of the group; 0 when empty, `None` for a branch.
    pub(crate) fn entry_count(self) -> Option<usize> {
        match self {
            Self::Empty => Some(0),
            Self::Group(group) => Some(group.ends.len()),
            Self::Branch(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_empty_is_zero() {
        let group = |block, ends| {
            let block = BlockRef::from_word(block);
            Slot::Group(GroupRef {
                block,
                ends: Ends::from_word(ends),
            })
        };
        let slots = [
            Slot::Empty,
            group(0, 0x0100_0000),
            group(0, 0x0101_0101),
            group(u32::MAX, 0x7f7f_7f7f),
            group(7, 0x7f00_0000),
            Slot::Branch(BranchId(0)),
            Slot::Branch(BranchId(u32::MAX)),
        ];
        for (place, slot) in slots.iter().enumerate() {
            assert_eq!(Slot::from_word(slot.word()), *slot);
            for other in slots.iter().skip(place + 1) {
                assert_ne!(slot.word(), other.word());
            }
        }
        assert_eq!(Slot::Empty.word(), 0);
        assert_eq!(group(7, 0x7f00_0000).entry_count(), Some(0x7f));
        assert_eq!(Slot::Branch(BranchId(1)).entry_count(), None);
    }
}
