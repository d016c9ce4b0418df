//! The identities of records and the in-memory index of one shard.
//!
//! Promise: digest in, place of the record out, in about two cache misses, at most 26 bytes of DRAM
//! a record. The crate does no I/O, reads no clock, starts no thread, holds no `unsafe`, and never
//! looks inside a record's address.
//!
//! Three invariants:
//! 1. An entry is found by its partition and the tag of its digest (64 bits that are not partition
//!    bits). Two keys with one tag live side by side; the index never says which of them a digest
//!    means.
//! 2. No operation does work that grows with the table: each touches a bounded number of entries and
//!    copies a bounded number of bytes, while the table grows and while it shrinks.
//! 3. Entries of a partition are visited in the order of their tags, whatever happens to the table
//!    between two visits.
//!
//! Read the groups of modules below from the top: the identities, what an entry holds, the face of
//! the index, and what it is made of, from the outside in. `docs/decisions/0003-index-layout.md`
//! says why it is made so.
#![forbid(unsafe_code)]

// Identities.
mod digest;
mod generation;
mod known_digest;
mod partition;
mod shard;

// What an entry holds.
mod address;
mod entry;
mod expiry;
mod length;
mod set;

// The face of the index.
mod candidates;
mod error;
mod image;
mod scan;
mod table;

// What it is made of: groups of entries, which divide and merge, ...
mod groups;
mod growth;

// ... a directory that leads to them, ...
mod directory;
mod slot;
mod words;

// ... and the memory they lie in.
mod group;
mod slab;

pub mod limits;
mod width;

pub use address::RecordAddress;
pub use candidates::Candidates;
pub use digest::{Digest, DigestParseError};
pub use entry::{Entry, ImageEntry};
pub use error::{ImageError, IndexFull, InsertError};
pub use expiry::ExpirySeconds;
pub use generation::Generation;
pub use image::{ImageLoaded, ImagePosition};
pub use known_digest::KnownDigest;
pub use length::RecordLength;
pub use partition::{PartitionId, PartitionOutOfRange};
pub use scan::{ScanPosition, Scanned};
pub use set::SetId;
pub use shard::{Shard, ShardOutOfRange};
pub use table::Index;
