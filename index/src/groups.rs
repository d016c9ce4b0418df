//! All groups of a shard: the directory and the blocks that it refers to, changed together.
//!
//! Never decides which candidate a key is, and never looks at a digest: partitions are ranks within the shard, keys are tags.
//!
//! Invariants: a block starts with its partition's rank, and its first entry's tag leads the directory to the slot that refers to
//! it, so a block that moves finds its owner without a pointer back; `line_count` of a group's entries is its block's size.

use std::ops::Range;

use crate::address::RecordAddress;
use crate::directory::{Directory, Home};
use crate::entry::{ENTRY_BYTES, Entry, PackedEntry, address_of, pack, tag_of, unpack};
use crate::error::InsertError;
use crate::group::{Ends, bytes_to_read, line_count, range_of};
use crate::limits::{
    BLOCK_HEADER_BYTES, GROUP_ENTRIES_MAX, PREFETCH_BATCH, SAME_TAG_COUNT_MAX, SLAB_COUNT_MAX,
};
use crate::slab::{BlockRef, Moved, Slabs};
use crate::slot::{GroupRef, Slot};

/// The directory and the blocks.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) directory: Directory,
    pub(crate) slabs: Slabs,
    /// Entries on their way from one block to another; empty between operations.
    pub(crate) scratch: Vec<PackedEntry>,
    /// Blocks that a compaction moved; empty between operations.
    pub(crate) moved: Vec<Moved>,
}

/// A tag and the rank of its partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) rank: u16,
    pub(crate) tag: u64,
}

impl Groups {
    /// No entries in `partition_count` partitions.
    pub(crate) fn new(partition_count: u16) -> Self {
        Self {
            directory: Directory::new(partition_count),
            slabs: Slabs::new(),
            scratch: Vec::with_capacity(2 * GROUP_ENTRIES_MAX),
            moved: Vec::new(),
        }
    }

    /// The entries with the key's tag.
    pub(crate) fn find(&self, key: Key) -> &[PackedEntry] {
        let Slot::Group(group) = self.directory.slot_of(key.rank, key.tag) else {
            return &[];
        };
        let entries = self.entries(group);
        entries
            .get(range_of(entries, group.ends, key.tag))
            .unwrap_or(&[])
    }

    /// Gives what [`Groups::find`] of each key will read to `on_word` and `on_byte`, who fetch it: first
    /// all of the directory, then all of the blocks. At most [`PREFETCH_BATCH`] keys; more are passed
    /// over.
    pub(crate) fn prefetch(
        &self,
        keys: impl Iterator<Item = Key>,
        on_word: impl Fn(&u64),
        on_byte: impl Fn(&u8),
    ) {
        let mut batch = [None; PREFETCH_BATCH];
        for (place, key) in batch.iter_mut().zip(keys) {
            *place = Some(key);
            if let Some(word) = self.word_of(key) {
                on_word(word);
            }
        }
        for key in batch.into_iter().flatten() {
            self.bytes_of(key).into_iter().flatten().for_each(&on_byte);
        }
    }

    /// The word of the directory that [`Groups::find`] reads first.
    pub(crate) fn word_of(&self, key: Key) -> Option<&u64> {
        self.directory.word_of(key.rank, key.tag)
    }

    /// One byte in each line of the block that [`Groups::find`] reads then.
    pub(crate) fn bytes_of(&self, key: Key) -> Option<[&u8; 4]> {
        match self.directory.slot_of(key.rank, key.tag) {
            Slot::Group(group) => bytes_to_read(self.entries(group), group.ends, key.tag),
            Slot::Empty | Slot::Branch(_) => None,
        }
    }

    /// Adds an entry.
    pub(crate) fn insert(&mut self, key: Key, entry: &Entry) -> Result<(), InsertError> {
        if !self.slabs.has_addresses() {
            return Err(InsertError::AddressesExhausted {
                slab_count_max: SLAB_COUNT_MAX,
            });
        }
        let packed = pack(key.tag, entry);
        let (home, group, range) = loop {
            let (home, slot) = self.directory.locate(key.rank, key.tag);
            let Slot::Group(group) = slot else {
                self.scratch.push(packed);
                let slot = self.store(key.rank, 0..1);
                self.scratch.clear();
                self.directory.set(home, slot);
                self.count_entry_in(key.rank);
                return Ok(());
            };
            let range = range_of(self.entries(group), group.ends, key.tag);
            if range.len() >= SAME_TAG_COUNT_MAX {
                return Err(InsertError::TagCrowded {
                    same_tag_count: range.len(),
                });
            }
            if group.ends.len() < GROUP_ENTRIES_MAX {
                break (home, group, range);
            }
            self.halve(key.rank, home, group);
        };
        self.insert_at(key, home, group, (range.end, packed));
        self.count_entry_in(key.rank);
        Ok(())
    }

    /// Puts `entry` in the place of the one of the key's tag at `old`.
    pub(crate) fn replace(&mut self, key: Key, old: RecordAddress, entry: &Entry) -> Option<Entry> {
        let (_, group, place) = self.place_of(key, old)?;
        let bytes = self
            .slabs
            .block_mut(group.block, line_count(group.ends.len()));
        let start = offset_of(place);
        let kept = bytes
            .get_mut(start..start + ENTRY_BYTES)?
            .as_chunks_mut()
            .0
            .first_mut()?;
        let replaced = unpack(kept);
        *kept = pack(key.tag, entry);
        Some(replaced)
    }

    /// Removes the entry of the key's tag at `old`.
    pub(crate) fn remove(&mut self, key: Key, old: RecordAddress) -> Option<Entry> {
        let (home, group, place) = self.place_of(key, old)?;
        let removed = unpack(self.entries(group).get(place)?);
        self.remove_at(key, home, group, place);
        self.fold(key, home);
        self.count_entry_out(key.rank);
        Some(removed)
    }

    /// The entries of a group.
    #[inline]
    pub(crate) fn entries(&self, group: GroupRef) -> &[PackedEntry] {
        let entry_count = group.ends.len();
        let part = BLOCK_HEADER_BYTES..offset_of(entry_count);
        self.slabs
            .part(group.block, line_count(entry_count), part)
            .as_chunks()
            .0
    }

    /// Appends the entries of what is in `slot` to the scratch.
    pub(crate) fn gather(&mut self, slot: Slot) {
        if let Slot::Group(group) = slot {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.extend_from_slice(self.entries(group));
            self.scratch = scratch;
        }
    }

    /// Frees the block of what is in `slot`.
    pub(crate) fn release(&mut self, slot: Slot) {
        if let Slot::Group(group) = slot
            && let Some(moved) = self.slabs.free(group.block, line_count(group.ends.len()))
        {
            self.repoint(moved);
        }
    }

    /// Puts a part of the scratch, in order, into a new block and gives the slot for it.
    #[expect(
        clippy::indexing_slicing,
        reason = "a part beyond the scratch is our mistake"
    )]
    pub(crate) fn store(&mut self, rank: u16, part: Range<usize>) -> Slot {
        if part.is_empty() {
            return Slot::Empty;
        }
        let ends = Ends::count(&self.scratch[part.clone()]);
        Slot::Group(GroupRef {
            block: self.store_block(rank, part),
            ends,
        })
    }

    /// Lets whoever refers to a block that moved refer to where it is now.
    pub(crate) fn repoint(&mut self, moved: Moved) {
        let bytes = self.slabs.block(moved.to, moved.line_count);
        let (Some(header), Some(first)) = (bytes.first_chunk(), first_of(bytes)) else {
            unreachable!("a block has room for a header and an entry")
        };
        let (home, slot) = self
            .directory
            .locate(u16::from_le_bytes(*header), tag_of(first));
        let Slot::Group(group) = slot else {
            unreachable!("a block has an owner")
        };
        assert!(
            group.block == moved.from,
            "a block's owner is where its first entry leads"
        );
        self.directory.set(
            home,
            Slot::Group(GroupRef {
                block: moved.to,
                ..group
            }),
        );
    }

    fn place_of(&self, key: Key, old: RecordAddress) -> Option<(Home, GroupRef, usize)> {
        let (home, slot) = self.directory.locate(key.rank, key.tag);
        let Slot::Group(group) = slot else {
            return None;
        };
        let entries = self.entries(group);
        let range = range_of(entries, group.ends, key.tag);
        let offset = entries
            .get(range.clone())?
            .iter()
            .position(|entry| address_of(entry) == old)?;
        Some((home, group, range.start + offset))
    }

    fn insert_at(&mut self, key: Key, home: Home, group: GroupRef, new: (usize, PackedEntry)) {
        let (place, packed) = new;
        let entry_count = group.ends.len();
        let ends = group.ends.with(key.tag);
        let mut block = group.block;
        if line_count(entry_count + 1) == line_count(entry_count) {
            let bytes = self.slabs.block_mut(block, line_count(entry_count));
            bytes.copy_within(
                offset_of(place)..offset_of(entry_count),
                offset_of(place + 1),
            );
            write_entry(bytes, place, &packed);
        } else {
            self.gather(Slot::Group(group));
            self.scratch.insert(place, packed);
            block = self.exchange_block(key.rank, group);
        }
        self.directory
            .set(home, Slot::Group(GroupRef { block, ends }));
    }

    fn remove_at(&mut self, key: Key, home: Home, group: GroupRef, place: usize) {
        let entry_count = group.ends.len();
        let ends = group.ends.without(key.tag);
        let mut block = group.block;
        if entry_count == 1 {
            self.release(Slot::Group(group));
            self.directory.set(home, Slot::Empty);
            return;
        }
        if line_count(entry_count - 1) == line_count(entry_count) {
            let bytes = self.slabs.block_mut(block, line_count(entry_count));
            bytes.copy_within(
                offset_of(place + 1)..offset_of(entry_count),
                offset_of(place),
            );
        } else {
            self.gather(Slot::Group(group));
            self.scratch.remove(place);
            block = self.exchange_block(key.rank, group);
        }
        self.directory
            .set(home, Slot::Group(GroupRef { block, ends }));
    }

    /// Frees a group's block and puts the scratch into a new one.
    fn exchange_block(&mut self, rank: u16, old: GroupRef) -> BlockRef {
        self.release(Slot::Group(old));
        let block = self.store_block(rank, 0..self.scratch.len());
        self.scratch.clear();
        block
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a part beyond the scratch is our mistake"
    )]
    fn store_block(&mut self, rank: u16, part: Range<usize>) -> BlockRef {
        let line_count = line_count(part.len());
        let block = self.slabs.allocate(line_count);
        let bytes = self.slabs.block_mut(block, line_count);
        let entries = &self.scratch[part.clone()];
        bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&rank.to_le_bytes());
        bytes[BLOCK_HEADER_BYTES..offset_of(part.len())].copy_from_slice(entries.as_flattened());
        block
    }
}

fn first_of(bytes: &[u8]) -> Option<&PackedEntry> {
    bytes.get(BLOCK_HEADER_BYTES..)?.first_chunk()
}

fn write_entry(bytes: &mut [u8], place: usize, packed: &PackedEntry) {
    let start = offset_of(place);
    if let Some(target) = bytes.get_mut(start..start + ENTRY_BYTES) {
        target.copy_from_slice(packed);
    }
}

/// Where the entry at `place` starts in its block.
const fn offset_of(place: usize) -> usize {
    BLOCK_HEADER_BYTES + place * ENTRY_BYTES
}
