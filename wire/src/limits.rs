//! Every bound of the native protocol, each with where it comes from. A peer's figures never size an
//! allocation: they are compared with these first. The table "Limits" of `PROTOCOL.md` repeats them and
//! a test compares the two.

use crate::header::HEADER_LENGTH_BYTES;

/// Longest table section, padding included. The largest is a full scan page: [`SCAN_ENTRIES_MAX`] entries
/// of at most 40 bytes (81,920), [`SCAN_SETS_MAX`] set names of at most 72 bytes with offset, length, terminator
/// and padding (18,432), and under 1 KiB of the rest, rounded up to 128 KiB.
pub const TABLE_LENGTH_BYTES_MAX: u32 = 128 * 1024;

/// Longest payload section without its padding: the largest encoded record that a volume can hold.
pub const PAYLOAD_LENGTH_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// Longest frame: header and both sections at their maxima.
pub const FRAME_LENGTH_BYTES_MAX: u32 =
    HEADER_LENGTH_BYTES + TABLE_LENGTH_BYTES_MAX + PAYLOAD_LENGTH_BYTES_MAX;

/// Longest name of a namespace, in bytes: what clients of this data model accept.
pub const NAMESPACE_NAME_BYTES_MAX: usize = 31;

/// Namespaces of a node: what clients of this data model accept.
pub const NAMESPACES_MAX: usize = 32;

/// Longest name of a set, in bytes.
pub const SET_NAME_BYTES_MAX: usize = 63;

/// Longest name of a bin, in bytes: what a record can hold.
pub const BIN_NAME_BYTES_MAX: usize = 255;

/// Most bins that one request names. With names of up to 112 bytes they fit a table; with longer names the
/// table's length is the bound that is met first.
pub const BIN_NAMES_MAX: usize = 1024;

/// Longest time to live that a client may ask for: ten years.
pub const TTL_S_MAX: u32 = 315_360_000;

/// Records of one scan page, those that could not be read included.
pub const SCAN_ENTRIES_MAX: usize = 2048;

/// Distinct sets among the records of one scan page.
pub const SCAN_SETS_MAX: usize = 256;

/// Longest resume token of a scan: room for a digest and 12 bytes of the node's own.
pub const RESUME_TOKEN_BYTES_MAX: usize = 32;

/// Rows of one batch. An answer then has 8 KiB for each, and a core that owns them all has a millisecond of
/// work at the most, which it does in pieces.
pub const BATCH_ROWS_MAX: usize = 1024;

/// Steps of one operate: at some 100 ns each they stay within the 200 us that any operation may hold a core.
pub const OPERATE_STEPS_MAX: usize = 1024;

/// Longest name that a client or a node gives itself in a hello, and longest prefix of a statistics
/// request.
pub const PEER_NAME_BYTES_MAX: usize = 255;

/// Longest text of a refusal.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 1024;

/// Shards of a volume.
pub const SHARDS_MAX: usize = 256;

/// Cores of a node that can have a port of their own: one for each shard at most.
pub const CORES_MAX: usize = SHARDS_MAX;

/// Tables within one table section: the root and one for each namespace.
pub(crate) const TABLES_MAX: usize = 1 + NAMESPACES_MAX;

/// Nesting of tables: the root and what it holds.
pub(crate) const TABLE_DEPTH_MAX: usize = 2;

/// Bytes that the verifier may visit: each byte of a table once, and its vtables again for every table
/// that shares them (at most [`TABLES_MAX`] of under 64 bytes).
pub(crate) const TABLE_APPARENT_BYTES_MAX: usize = 2 * 128 * 1024;

/// Room with which an encoder's builder starts: every request and answer of ordinary size fits, so the
/// steady state does not allocate.
pub(crate) const BUILDER_CAPACITY_BYTES: usize = 1024;

const _: () = assert!(HEADER_LENGTH_BYTES.is_multiple_of(8));
const _: () = assert!(TABLE_LENGTH_BYTES_MAX.is_multiple_of(8));
const _: () = assert!(PAYLOAD_LENGTH_BYTES_MAX.is_multiple_of(8));
const _: () = assert!(SCAN_ENTRIES_MAX * 40 + SCAN_SETS_MAX * 72 + 1024 <= 128 * 1024);
const _: () = assert!(BIN_NAMES_MAX * 120 + 4096 <= 128 * 1024);
const _: () = assert!(NAMESPACES_MAX * (SHARDS_MAX * 2 + 128) + CORES_MAX * 2 < 128 * 1024);
