//! The index of one shard.
//!
//! Never decides which of several candidates a key is, and never refuses for want of memory: it says
//! when it is full, the caller refuses. Invariant: the caller never gives one address to two entries
//! of the same tag.

use std::hint::black_box;
use std::ptr;

use crate::address::RecordAddress;
use crate::candidates::Candidates;
use crate::digest::Digest;
use crate::entry::Entry;
use crate::error::{IndexFull, InsertError};
use crate::groups::{Groups, Key};
use crate::limits::{FALSE_MATCH_CHANCE_MAX, NEW_KEY_BYTES_MAX, PREFETCH_BATCH};
use crate::partition::PartitionId;
use crate::scan::{ScanPosition, Scanned};
use crate::shard::Shard;
use crate::width::real;

/// The entries of all records of one shard.
///
/// Every method that takes a digest or a partition panics when the shard does not own it: routing is
/// the caller's, and a wrong answer would be worse than none.
#[derive(Debug)]
pub struct Index {
    shard: Shard,
    memory_limit_bytes: u64,
    entry_count: u64,
    pub(crate) groups: Groups,
}

impl Index {
    /// An empty index for the partitions of `shard`. At `memory_limit_bytes` it says that it is full
    /// (see [`Index::admit`]).
    #[must_use]
    pub fn new(shard: Shard, memory_limit_bytes: u64) -> Self {
        let groups = Groups::new(shard.partition_count());
        Self {
            shard,
            memory_limit_bytes,
            entry_count: 0,
            groups,
        }
    }

    /// Has `prepare` called with each large piece of memory (2 MiB, zeroed) before it is first used: to ask the system for
    /// huge pages, for instance. It is not to change the content.
    #[must_use]
    pub fn prepare_memory_with(mut self, prepare: fn(&mut [u8])) -> Self {
        self.groups.slabs.prepare_chunks_with(prepare);
        self
    }

    /// The entries that may be `digest`'s: those with its tag, normally none or one.
    #[must_use]
    pub fn lookup(&self, digest: &Digest) -> Candidates<'_> {
        Candidates::new(self.groups.find(self.key_of(digest)))
    }

    /// Fetches what lookups of `digests` will read into the CPU's cache, with the misses of many of
    /// them under way at once: before a batch of lookups, replaces or removals this takes most of
    /// their time away. It changes nothing else. Best with 16 to 64 digests.
    pub fn prefetch(&self, digests: &[Digest]) {
        for keys in digests.chunks(PREFETCH_BATCH) {
            let keys = keys.iter().map(|digest| self.key_of(digest));
            let (on_word, on_byte) = (
                |word: &u64| _ = black_box(*word),
                |byte: &u8| _ = black_box(*byte),
            );
            self.groups.prefetch(keys, on_word, on_byte);
        }
    }

    /// [`Index::prefetch`] for callers who have better means than reading, and other lines to fetch in step with it:
    /// this for many digests, then [`Index::prefetch_entries`] for all of them. `hint` is called with an address in each line
    /// that will be read; a prefetch instruction does not hold the core up, so that all misses of a batch overlap.
    pub fn prefetch_directory(&self, digest: &Digest, hint: impl Fn(*const u8)) {
        if let Some(word) = self.groups.word_of(self.key_of(digest)) {
            hint(ptr::from_ref(word).cast());
        }
    }

    /// The second step, after [`Index::prefetch_directory`].
    pub fn prefetch_entries(&self, digest: &Digest, hint: impl Fn(*const u8)) {
        let bytes = self.groups.bytes_of(self.key_of(digest));
        bytes
            .into_iter()
            .flatten()
            .for_each(|byte| hint(ptr::from_ref(byte)));
    }

    /// Adds the entry of a key that is not in the table. (That no candidate is the key is for the
    /// caller to know.)
    ///
    /// # Errors
    /// Not for want of memory: ask [`Index::admit`] before the write is accepted. [`InsertError`]
    /// says what else can be.
    pub fn insert(&mut self, digest: &Digest, entry: Entry) -> Result<(), InsertError> {
        self.groups.insert(self.key_of(digest), &entry)?;
        self.entry_count += 1;
        Ok(())
    }

    /// Puts `entry` in the place of the candidate of `digest` that lies at `old`, and gives that one
    /// back; `None`, and nothing is changed, when no candidate lies there (it has been replaced or
    /// removed since). Takes no memory.
    pub fn replace(&mut self, digest: &Digest, old: RecordAddress, entry: Entry) -> Option<Entry> {
        self.groups.replace(self.key_of(digest), old, &entry)
    }

    /// Removes the candidate of `digest` that lies at `old` and gives it back; `None`, and nothing
    /// is changed, when no candidate lies there.
    pub fn remove(&mut self, digest: &Digest, old: RecordAddress) -> Option<Entry> {
        let removed = self.groups.remove(self.key_of(digest), old)?;
        self.entry_count -= 1;
        Some(removed)
    }

    /// Removes the entry of `partition` that stands at `position` and lies at `old`, as a scan has found it, and
    /// gives it back; `None`, and nothing is changed, when it is not there any more.
    pub fn remove_at(
        &mut self,
        partition: PartitionId,
        position: ScanPosition,
        old: RecordAddress,
    ) -> Option<Entry> {
        let key = Key {
            rank: self.rank_of(partition),
            tag: position.tag(),
        };
        let removed = self.groups.remove(key, old)?;
        self.entry_count -= 1;
        Some(removed)
    }

    /// Notes of the entry of `partition` that stands at `position` and lies at `old` whether its record is known to be
    /// lost. True if that was not known before; false, and nothing is changed, if it was or the entry is not
    /// there any more.
    pub fn set_damaged(
        &mut self,
        partition: PartitionId,
        position: ScanPosition,
        (old, is_damaged): (RecordAddress, bool),
    ) -> bool {
        let key = Key {
            rank: self.rank_of(partition),
            tag: position.tag(),
        };
        let mut candidates = Candidates::new(self.groups.find(key));
        let Some(found) = candidates.find(|entry| entry.address == old) else {
            return false;
        };
        if found.is_damaged == is_damaged {
            return false;
        }
        let changed = Entry {
            is_damaged,
            ..found
        };
        self.groups.replace(key, old, &changed).is_some()
    }

    /// Whether `new_key_count` more keys fit under the memory limit, into memory that is held free or that the
    /// system gives. Count in the keys that have been admitted and not yet inserted.
    ///
    /// # Errors
    /// [`IndexFull`] when they may not fit.
    pub fn admit(&self, new_key_count: u64) -> Result<(), IndexFull> {
        let used_bytes = self.used_bytes();
        let wanted_bytes = new_key_count.saturating_mul(NEW_KEY_BYTES_MAX);
        let limit_bytes = self.memory_limit_bytes;
        if used_bytes.saturating_add(wanted_bytes) > limit_bytes {
            return Err(IndexFull {
                used_bytes,
                wanted_bytes,
                limit_bytes,
            });
        }
        Ok(())
    }

    /// Changes the memory limit; takes effect with the next [`Index::admit`].
    pub fn set_memory_limit_bytes(&mut self, memory_limit_bytes: u64) {
        self.memory_limit_bytes = memory_limit_bytes;
    }

    /// Appends to `found` the entries of `partition` from `from` on, in the order of their positions, and returns the position to go on
    /// from, or `None` at the end of the partition.
    ///
    /// Stops after `count_max` entries (at least one is taken), or earlier to keep the work of one call bounded: then `found` may hold few
    /// or no new entries and the scan still goes on. Entries of one tag are never divided between calls, so up to
    /// [`SAME_TAG_COUNT_MAX`](crate::limits::SAME_TAG_COUNT_MAX) - 1 more may come. An entry that is in the table throughout a scan is visited exactly once; one that is inserted
    /// or removed meanwhile at most once; one that is replaced, in one of its forms.
    pub fn scan(
        &self,
        partition: PartitionId,
        from: ScanPosition,
        count_max: usize,
        found: &mut Vec<Scanned>,
    ) -> Option<ScanPosition> {
        self.groups
            .scan(self.rank_of(partition), from, count_max, found)
    }

    /// Entries of all partitions.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entry_count
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entry_count == 0
    }

    /// Entries of one partition.
    #[must_use]
    pub fn partition_len(&self, partition: PartitionId) -> u64 {
        self.groups.directory.entry_count(self.rank_of(partition))
    }

    /// DRAM that the index holds, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.groups.slabs.memory_bytes() + self.groups.directory.memory_bytes()
    }

    /// The same without what is held free for entries to come, a few MB at most: removing entries makes it less
    /// at once.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.memory_bytes() - self.groups.slabs.free_bytes()
    }

    /// The chance that a key which is not in the table meets an entry with its own tag.
    #[must_use]
    pub fn tag_match_chance(&self, partition: PartitionId) -> f64 {
        real(self.partition_len(partition)) / 2.0_f64.powi(64)
    }

    /// Whether one candidate with the digest's tag may be taken for the key without reading the record: blind replace, blind delete,
    /// create-only, exists and metadata rely on it. Never where a lookup gives more than one candidate.
    #[must_use]
    pub fn tag_is_trusted(&self, partition: PartitionId) -> bool {
        self.tag_match_chance(partition) <= FALSE_MATCH_CHANCE_MAX
    }

    /// The shard whose index this is.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shard
    }

    pub(crate) const fn memory_limit_bytes(&self) -> u64 {
        self.memory_limit_bytes
    }

    /// Counts entries that came with an image.
    pub(crate) const fn note_loaded(&mut self, entry_count: u64) {
        self.entry_count += entry_count;
    }

    fn key_of(&self, digest: &Digest) -> Key {
        Key {
            rank: self.rank_of(digest.partition()),
            tag: digest.tag(),
        }
    }

    fn rank_of(&self, partition: PartitionId) -> u16 {
        let rank = self.shard.rank_of(partition);
        assert!(
            rank.is_some(),
            "{partition:?} does not belong to {:?}",
            self.shard
        );
        rank.unwrap_or_default()
    }
}
