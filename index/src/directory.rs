//! Where the group of a tag is: the directory of all partitions of a shard.
//!
//! Never touches entries. Each partition has an array of slots that grows and shrinks by one slot at a
//! time (linear hashing on the lowest bits of the tag): with `S` the largest power of two not above the
//! number of slots and `L = log2 S`, slots below `slot_count - S` have been divided and cover the tags
//! of `L + 1` given lowest bits, as do the slots from `S` on; the others cover `L`. A slot's number is
//! those bits, so that dividing slot `i` appends slot `i + S` and moves no other. Where digests are not
//! spread as hashes are, a slot holds a branch instead of a group: two slots for the next bit, and so on
//! up to the highest bit of the tag.
//!
//! Invariants: tags under one slot have the lowest `home.depth` bits in common; a branch's depth is
//! below 64.

use crate::slot::{BranchId, Slot};
use crate::width::{index, index32, narrow32, upper_half, wide};
use crate::words::Words;

/// Where a slot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    seat: Seat,
    /// Lowest bits of the tag that lead here.
    pub(crate) depth: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    /// A slot of the partition's array.
    Array { rank: u16, place: usize },
    /// One side of a branch; places count both sides of all branches.
    Branch { place: usize },
}

/// The directory of a shard.
#[derive(Debug)]
pub(crate) struct Directory {
    partitions: Vec<Partition>,
    /// Two slots a branch. A free branch holds the number of the next free one plus 1 in its first.
    branches: Words,
    branch_count: usize,
    /// The number of the first free branch plus 1; 0 when there is none.
    branch_free: u64,
    /// Bytes of all partitions' arrays, kept up to date.
    array_bytes: u64,
}

/// The slots of one partition, on one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Partition {
    slots: Words,
    /// Words in `slots`.
    slot_count: u32,
    /// One bit for each that numbers a slot: the least power of two not below `slot_count`, less 1.
    mask: u32,
    entry_count: u64,
}

impl Directory {
    /// A directory of `partition_count` empty partitions.
    pub(crate) fn new(partition_count: u16) -> Self {
        let mut partitions = Vec::new();
        partitions.resize_with(usize::from(partition_count), Partition::default);
        Self {
            partitions,
            branches: Words::default(),
            branch_count: 0,
            branch_free: 0,
            array_bytes: 0,
        }
    }

    /// The slot under which `tag` belongs in the partition of `rank`, never a branch.
    #[inline]
    pub(crate) fn slot_of(&self, rank: u16, tag: u64) -> Slot {
        let slot = self
            .word_of(rank, tag)
            .map_or(Slot::Empty, |word| Slot::from_word(*word));
        if matches!(slot, Slot::Branch(_)) {
            self.locate(rank, tag).1
        } else {
            slot
        }
    }

    /// The word of the array that [`Directory::slot_of`] reads first; `None` where there is none yet.
    #[inline]
    pub(crate) fn word_of(&self, rank: u16, tag: u64) -> Option<&u64> {
        let partition = self.partition(rank);
        partition.slots.word(partition.place_of(tag))
    }

    /// The slot under which `tag` belongs, never a branch, and where it is kept.
    pub(crate) fn locate(&self, rank: u16, tag: u64) -> (Home, Slot) {
        let (mut home, mut slot) = self.array_slot(rank, tag);
        while let Slot::Branch(branch) = slot {
            (home, slot) = self.branch_slot(branch, home.depth, tag);
        }
        (home, slot)
    }

    /// The branch that leads to `child` by `tag`, and where that branch is kept; `None` when `child` is in the array.
    pub(crate) fn parent_of(&self, rank: u16, tag: u64, child: Home) -> Option<(Home, BranchId)> {
        let (mut home, mut slot) = self.array_slot(rank, tag);
        while let Slot::Branch(branch) = slot {
            let parent = (home, branch);
            (home, slot) = self.branch_slot(branch, home.depth, tag);
            if home == child {
                return Some(parent);
            }
        }
        None
    }

    /// Changes a slot.
    pub(crate) fn set(&mut self, home: Home, slot: Slot) {
        match home.seat {
            Seat::Array { rank, place } => {
                let partition = self.partition_mut(rank);
                if partition.slot_count == 0 {
                    // The first entry of the partition: until now its only slot was not kept.
                    assert!(
                        place == 0,
                        "a partition without slots has one that is empty"
                    );
                    self.push_slot(rank, slot);
                } else {
                    partition.slots.set(place, slot.word());
                }
            }
            Seat::Branch { place } => self.branches.set(place, slot.word()),
        }
    }

    /// Makes a branch of two slots.
    pub(crate) fn add_branch(&mut self, sides: [Slot; 2]) -> BranchId {
        let [low, high] = sides.map(Slot::word);
        self.branch_count += 1;
        let Some(free) = self.branch_free.checked_sub(1) else {
            self.branches.push(low);
            self.branches.push(high);
            return BranchId(narrow32(self.branches.len() / 2 - 1));
        };
        let place = index(free) * 2;
        self.branch_free = self.branches.get(place);
        self.branches.set(place, low);
        self.branches.set(place + 1, high);
        BranchId(narrow32(index(free)))
    }

    /// Unmakes a branch and gives its two slots back.
    pub(crate) fn remove_branch(&mut self, branch: BranchId) -> [Slot; 2] {
        let sides = self.homes_of(branch, 0).map(|home| self.get(home));
        self.branches.set(index32(branch.0) * 2, self.branch_free);
        self.branch_free = u64::from(branch.0) + 1;
        self.branch_count -= 1;
        if self.branch_count == 0 {
            self.branches = Words::default();
            self.branch_free = 0;
        }
        sides
    }

    /// Where the two slots of a branch at `depth` are kept.
    pub(crate) fn homes_of(&self, branch: BranchId, depth: u32) -> [Home; 2] {
        let place = index32(branch.0) * 2;
        [place, place + 1].map(|place| Home {
            seat: Seat::Branch { place },
            depth: depth + 1,
        })
    }

    /// The slot of a partition's array that is divided when the array grows.
    pub(crate) fn next_to_divide(&self, rank: u16) -> Home {
        let slot_count = index32(self.partition(rank).slot_count).max(1);
        let level = slot_count.ilog2();
        Home {
            seat: Seat::Array {
                rank,
                place: slot_count - (1 << level),
            },
            depth: level,
        }
    }

    /// Adds a slot to a partition's array. What was in `divided` (see [`Directory::next_to_divide`])
    /// has been divided into `sides`.
    pub(crate) fn add_slot(&mut self, rank: u16, divided: Home, sides: [Slot; 2]) {
        let [low, high] = sides;
        self.set(divided, low);
        self.push_slot(rank, high);
    }

    /// Gives a partition without an entry `slot_count` slots, all of them empty.
    pub(crate) fn add_empty_slots(&mut self, rank: u16, slot_count: u32) {
        assert!(
            self.entry_count(rank) == 0,
            "slots that entries are under are added one by one"
        );
        while self.partition(rank).slot_count < slot_count {
            self.push_slot(rank, Slot::Empty);
        }
    }

    /// The last slot of a partition's array and the one that it was divided from, that one first;
    /// `None` when there is one only.
    pub(crate) fn pair_to_merge(&self, rank: u16) -> Option<[Home; 2]> {
        let last = self
            .partition(rank)
            .slots
            .len()
            .checked_sub(1)
            .filter(|last| *last > 0)?;
        let level = last.ilog2();
        let home = |place| Home {
            seat: Seat::Array { rank, place },
            depth: level + 1,
        };
        Some([home(last - (1 << level)), home(last)])
    }

    /// Takes the last slot of a partition's array away. What was in it has been moved to the one it
    /// was divided from.
    pub(crate) fn remove_slot(&mut self, rank: u16) {
        let before = self.partition(rank).slots.memory_bytes();
        let partition = self.partition_mut(rank);
        partition.slots.pop();
        partition.set_slot_count(partition.slot_count - 1);
        let after = partition.slots.memory_bytes();
        self.array_bytes = self.array_bytes - before + after;
    }

    /// What is in a slot.
    pub(crate) fn get(&self, home: Home) -> Slot {
        Slot::from_word(match home.seat {
            Seat::Array { rank, place } => self.partition(rank).slots.get(place),
            Seat::Branch { place } => self.branches.get(place),
        })
    }

    /// Slots of a partition's array, at least 1.
    pub(crate) fn slot_count(&self, rank: u16) -> u64 {
        u64::from(self.partition(rank).slot_count.max(1))
    }

    /// Entries of a partition.
    pub(crate) fn entry_count(&self, rank: u16) -> u64 {
        self.partition(rank).entry_count
    }

    /// Changes the number of entries of a partition.
    pub(crate) fn set_entry_count(&mut self, rank: u16, entry_count: u64) {
        self.partition_mut(rank).entry_count = entry_count;
    }

    /// Bytes of memory of the directory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        wide(self.partitions.capacity() * size_of::<Partition>())
            + self.array_bytes
            + self.branches.memory_bytes()
    }

    fn array_slot(&self, rank: u16, tag: u64) -> (Home, Slot) {
        let partition = self.partition(rank);
        let slot_count = index32(partition.slot_count).max(1);
        let level = slot_count.ilog2();
        let place = partition.place_of(tag);
        let is_divided = place >= 1 << level || place + (1 << level) < slot_count;
        let home = Home {
            seat: Seat::Array { rank, place },
            depth: level + u32::from(is_divided),
        };
        (home, Slot::from_word(partition.slots.get(place)))
    }

    fn branch_slot(&self, branch: BranchId, depth: u32, tag: u64) -> (Home, Slot) {
        assert!(depth < u64::BITS, "a branch asks for a bit after the last");
        let place = index32(branch.0) * 2 + index(tag >> depth & 1);
        let home = Home {
            seat: Seat::Branch { place },
            depth: depth + 1,
        };
        (home, Slot::from_word(self.branches.get(place)))
    }

    fn push_slot(&mut self, rank: u16, slot: Slot) {
        let before = self.partition(rank).slots.memory_bytes();
        let partition = self.partition_mut(rank);
        partition.slots.push(slot.word());
        partition.set_slot_count(partition.slot_count + 1);
        let after = partition.slots.memory_bytes();
        self.array_bytes = self.array_bytes + after - before;
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a rank that does not exist is our mistake"
    )]
    fn partition(&self, rank: u16) -> &Partition {
        &self.partitions[usize::from(rank)]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a rank that does not exist is our mistake"
    )]
    fn partition_mut(&mut self, rank: u16) -> &mut Partition {
        &mut self.partitions[usize::from(rank)]
    }
}

const _: () = assert!(size_of::<Partition>() == 64);

impl Partition {
    /// The slot of the array under which `tag` belongs.
    #[inline]
    fn place_of(&self, tag: u64) -> usize {
        // The lowest L + 1 bits; where that slot does not exist yet, the lowest L.
        let place = upper_half(tag << u32::BITS) & self.mask;
        index32(if place < self.slot_count {
            place
        } else {
            place & self.mask >> 1
        })
    }

    fn set_slot_count(&mut self, slot_count: u32) {
        self.slot_count = slot_count;
        self.mask = slot_count.next_power_of_two() - 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::group::Ends;
    use crate::slab::BlockRef;
    use crate::slot::GroupRef;

    /// A group that refers to nothing: the directory does not follow it.
    fn mark(number: u32) -> Slot {
        let ends = Ends::from_word(0x0101_0101);
        Slot::Group(GroupRef {
            block: BlockRef::from_word(number),
            ends,
        })
    }

    /// Tags that differ in their lowest 12 bits.
    fn tags() -> impl Iterator<Item = u64> {
        (0..1 << 12).map(|number: u64| number | 0xabcd << 48)
    }

    #[test]
    fn every_tag_keeps_one_slot_while_the_array_grows_and_shrinks() {
        let mut directory = Directory::new(2);
        for slot_count in 1..=300_u64 {
            assert_eq!(directory.slot_count(1), slot_count);
            let mut tags_by_home = BTreeMap::<String, Vec<u64>>::new();
            for tag in tags() {
                let (home, slot) = directory.locate(1, tag);
                assert_eq!(
                    (slot, directory.slot_of(1, tag)),
                    (Slot::Empty, Slot::Empty)
                );
                tags_by_home
                    .entry(format!("{home:?}"))
                    .or_default()
                    .push(tag);
                // A home's tags are those that share its depth's bits.
                let alike = tags_by_home[&format!("{home:?}")][0];
                assert!((alike ^ tag).trailing_zeros() >= home.depth);
            }
            assert_eq!(wide(tags_by_home.len()), slot_count);
            let divided = directory.next_to_divide(1);
            let (depth, tag_count) = (divided.depth, tags_by_home[&format!("{divided:?}")].len());
            assert_eq!(tag_count, 1 << (12 - depth));
            directory.add_slot(1, divided, [Slot::Empty; 2]);
            let [low, high] = directory.pair_to_merge(1).unwrap();
            assert_eq!((low.depth, high.depth), (depth + 1, depth + 1));
        }
        let grown = directory.memory_bytes();
        while let Some([low, _]) = directory.pair_to_merge(1) {
            directory.remove_slot(1);
            assert_eq!(directory.get(low), Slot::Empty);
        }
        assert_eq!(directory.slot_count(1), 1);
        assert!(directory.memory_bytes() + 2000 < grown);
        assert_eq!(
            (directory.slot_count(0), directory.pair_to_merge(0)),
            (1, None)
        );
    }

    #[test]
    fn what_is_set_is_found_under_the_tags_of_its_slot_alone() {
        let mut directory = Directory::new(1);
        for _ in 0..5 {
            let divided = directory.next_to_divide(0);
            directory.add_slot(0, divided, [Slot::Empty; 2]);
        }
        let (home, _) = directory.locate(0, 3);
        directory.set(home, mark(9));
        // Six slots: 2 and 3 cover two bits, the others three.
        for tag in tags() {
            let expected = if tag & 3 == 3 { mark(9) } else { Slot::Empty };
            assert_eq!(directory.slot_of(0, tag), expected, "{tag:x}");
        }
    }

    #[test]
    fn branches_lead_by_the_next_bit_down_to_the_last() {
        let mut directory = Directory::new(1);
        let tag = 0x8000_0000_0000_0000;
        let mut branches = Vec::new();
        for depth in 0..64 {
            let (home, slot) = directory.locate(0, tag);
            assert_eq!((home.depth, slot), (depth, Slot::Empty));
            let branch = directory.add_branch([Slot::Empty; 2]);
            directory.set(home, Slot::Branch(branch));
            branches.push((home, branch));
        }
        let (home, _) = directory.locate(0, tag);
        directory.set(home, mark(1));
        assert_eq!(directory.slot_of(0, tag), mark(1));
        assert_eq!(directory.slot_of(0, 0), Slot::Empty);
        assert_eq!(directory.locate(0, 1).0.depth, 1);
        let mut child = home;
        while let Some((parent, branch)) = branches.pop() {
            assert_eq!(directory.parent_of(0, tag, child), Some((parent, branch)));
            assert!(directory.homes_of(branch, parent.depth).contains(&child));
            let [_, high] = directory.remove_branch(branch);
            let [low, _] = if branches.len() == 63 {
                [high, high]
            } else {
                [Slot::Empty; 2]
            };
            directory.set(parent, low);
            child = parent;
        }
        assert_eq!(directory.parent_of(0, tag, child), None);
        assert_eq!(directory.branch_count, 0);
        assert_eq!(directory.branches.len(), 0);
    }

    #[test]
    fn free_branches_are_used_again() {
        let mut directory = Directory::new(1);
        let ids: Vec<BranchId> = (0..10)
            .map(|number| directory.add_branch([mark(number), Slot::Empty]))
            .collect();
        for id in &ids[2..7] {
            let [low, high] = directory.remove_branch(*id);
            assert_eq!((low, high), (mark(id.0), Slot::Empty));
        }
        let again: Vec<BranchId> = (20..25)
            .map(|number| directory.add_branch([Slot::Empty, mark(number)]))
            .collect();
        assert!(again.iter().all(|id| ids[2..7].contains(id)), "{again:?}");
        assert_eq!(directory.branches.len(), 20);
        assert_eq!(directory.remove_branch(again[4]), [Slot::Empty, mark(24)]);
        assert_eq!(directory.remove_branch(ids[0]), [mark(0), Slot::Empty]);
    }
}
