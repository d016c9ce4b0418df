//! How the groups of a partition are divided and merged as keys come and go.
//!
//! Each step concerns two groups and one slot; none is ever repeated for the whole table. A key that comes in may add one slot to its
//! partition's array and halve one overfull group; one that goes may take one slot away, merge two groups and hand one slab back.
//!
//! Order within a step: gather the entries, release their blocks, then store them anew. Releasing a block may move another
//! and asks the directory for its owner, so the directory must be whole when a block is released.

use crate::directory::Home;
use crate::entry::tag_of;
use crate::groups::{Groups, Key};
use crate::limits::{GROUP_ENTRIES_MEAN, GROUP_ENTRIES_MEAN_MIN, MERGED_ENTRIES_MAX};
use crate::slot::{GroupRef, Slot};

impl Groups {
    /// Counts an entry that has been inserted, and grows the partition if it is due.
    pub(crate) fn count_entry_in(&mut self, rank: u16) {
        let entry_count = self.directory.entry_count(rank) + 1;
        self.directory.set_entry_count(rank, entry_count);
        if entry_count > self.directory.slot_count(rank) * GROUP_ENTRIES_MEAN {
            self.grow(rank);
        }
        self.compact();
    }

    /// Counts an entry that has been removed, and shrinks the partition if it is due.
    pub(crate) fn count_entry_out(&mut self, rank: u16) {
        let entry_count = self.directory.entry_count(rank) - 1;
        self.directory.set_entry_count(rank, entry_count);
        if entry_count < self.directory.slot_count(rank) * GROUP_ENTRIES_MEAN_MIN {
            self.shrink(rank);
        }
        self.compact();
    }

    /// Makes a group that is full a branch of two.
    pub(crate) fn halve(&mut self, rank: u16, home: Home, group: GroupRef) {
        let sides = self.divide(rank, home.depth, group);
        let branch = self.directory.add_branch(sides);
        self.directory.set(home, Slot::Branch(branch));
    }

    /// After a removal at `home`: makes branches that hold few entries one group again, from the lowest up.
    pub(crate) fn fold(&mut self, key: Key, mut home: Home) {
        while let Some((parent, branch)) = self.directory.parent_of(key.rank, key.tag, home) {
            let [low, high] = self.directory.homes_of(branch, parent.depth);
            if !self.fits_one_group(low, high) {
                return;
            }
            let merged = self.merge(key.rank, low, high);
            self.directory.remove_branch(branch);
            self.directory.set(parent, merged);
            home = parent;
        }
    }

    /// Adds a slot to the partition and divides what it takes half of.
    fn grow(&mut self, rank: u16) {
        let source = self.directory.next_to_divide(rank);
        let sides = match self.directory.get(source) {
            Slot::Empty => [Slot::Empty; 2],
            Slot::Group(group) => self.divide(rank, source.depth, group),
            Slot::Branch(branch) => self.directory.remove_branch(branch),
        };
        self.directory.add_slot(rank, source, sides);
    }

    /// Takes the partition's last slot away and merges it into the one it was divided from.
    fn shrink(&mut self, rank: u16) {
        let Some([low, high]) = self.directory.pair_to_merge(rank) else {
            return;
        };
        let merged = if self.fits_one_group(low, high) {
            self.merge(rank, low, high)
        } else {
            let sides = [self.directory.get(low), self.directory.get(high)];
            Slot::Branch(self.directory.add_branch(sides))
        };
        self.directory.set(low, merged);
        self.directory.remove_slot(rank);
    }

    /// Hands memory back when more than enough of it is free.
    fn compact(&mut self) {
        let mut moved = std::mem::take(&mut self.moved);
        self.slabs.compact(&mut moved);
        for block in moved.drain(..) {
            self.repoint(block);
        }
        self.moved = moved;
    }

    fn fits_one_group(&self, low: Home, high: Home) -> bool {
        let counts = [low, high].map(|home| self.directory.get(home).entry_count());
        matches!(counts, [Some(a), Some(b)] if a + b <= MERGED_ENTRIES_MAX)
    }

    /// Divides a group into two by the bit of the tag at `depth`. Whoever refers to the group must
    /// refer to them.
    fn divide(&mut self, rank: u16, depth: u32, group: GroupRef) -> [Slot; 2] {
        let end = group.ends.len();
        self.gather(Slot::Group(group));
        self.release(Slot::Group(group));
        // Stable: both sides stay in the order of their tags.
        self.scratch.sort_by_key(|entry| tag_of(entry) >> depth & 1);
        let middle = self
            .scratch
            .partition_point(|entry| tag_of(entry) >> depth & 1 == 0);
        let low = self.store(rank, 0..middle);
        let high = self.store(rank, middle..end);
        self.scratch.clear();
        [low, high]
    }

    /// Merges two groups, either of which may be empty, into one that covers both. Whoever refers to
    /// them must refer to it.
    fn merge(&mut self, rank: u16, low: Home, high: Home) -> Slot {
        self.gather(self.directory.get(low));
        self.gather(self.directory.get(high));
        self.release(self.directory.get(low));
        // Read again: to fill the hole, the other's block may just have moved.
        self.release(self.directory.get(high));
        self.scratch.sort_by_key(tag_of);
        let merged = self.store(rank, 0..self.scratch.len());
        self.scratch.clear();
        merged
    }
}
