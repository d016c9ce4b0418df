//! Bytes on the device: one file for each structure of FORMAT.md, encode beside decode.
//!
//! Invariants: little-endian fixed widths; zero is never a valid magic; reserved bytes are zero and
//! checked; nothing here does I/O; decoding never trusts a length before it has checked it.

pub mod batch_header;
pub mod binding;
pub mod checkpoint_page;
pub mod checkpoint_sets;
pub mod extent_table;
pub(crate) mod fields;
pub mod record_header;
pub mod segment_header;
pub mod summary;
pub mod superblock;
