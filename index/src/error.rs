//! What the index refuses.
//!
//! Never a caller's mistake (a digest of another shard's partition is one, and stops the process); only what keys, peers
//! or the operator's limits can bring about.

use thiserror::Error;

/// A new key is not admitted: the table has reached its memory limit. Overwrites and deletes go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "index full: {used_bytes} bytes in use, {wanted_bytes} more wanted, the limit is {limit_bytes}"
)]
pub struct IndexFull {
    /// Bytes that entries take now.
    pub used_bytes: u64,
    /// Bytes that the keys asked about may take at most.
    pub wanted_bytes: u64,
    /// The limit that was set.
    pub limit_bytes: u64,
}

/// A key cannot be put into the table. The table is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InsertError {
    /// As many keys as may share a tag do already. Honest digests never do: a client made these up. Deleting one makes room.
    #[error("{same_tag_count} keys of this partition share the digest's tag, no more are taken")]
    TagCrowded {
        /// Keys with this tag that the table holds.
        same_tag_count: usize,
    },
    /// The table cannot address more memory: 225 GB in one shard.
    #[error("the index of this shard has all {slab_count_max} slabs that it can address")]
    AddressesExhausted {
        /// Slabs of the table.
        slab_count_max: u32,
    },
}

/// Bytes are no image of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// They end in the middle of a group.
    #[error("the image ends in the middle of a group")]
    Length,
    /// A group of a partition that the shard does not have.
    #[error("the image holds a group of partition {rank} of its shard, which has fewer")]
    Partition {
        /// The partition's number among those of the shard.
        rank: u16,
    },
    /// A group that no table holds, or not in this place.
    #[error("the image holds a group that no table holds, of partition {rank} of its shard")]
    Group {
        /// The partition's number among those of the shard.
        rank: u16,
    },
    /// An entry that no table holds.
    #[error("the image holds an entry that no table holds, of partition {rank} of its shard")]
    Entry {
        /// The partition's number among those of the shard.
        rank: u16,
    },
    /// The table cannot address more memory.
    #[error("the index of this shard has all {slab_count_max} slabs that it can address")]
    AddressesExhausted {
        /// Slabs of the table.
        slab_count_max: u32,
    },
}
