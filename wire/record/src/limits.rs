//! Every bound of this crate with its derivation. Nothing else in the crate holds a bare bound.
//!
//! `CONTENT.md` repeats the figures in its table of limits; a test compares the two.

/// Longest encoded content in bytes: 8 MiB, header, key and directory included.
///
/// A record is at most half a segment and at most 8 MiB. The store adds its own header and checks
/// the sum against its own bound; this one keeps every offset inside a content below 2^24.
pub const CONTENT_LENGTH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most bins of one record: 32,767, what the Aerospike protocol's clients may rely on.
///
/// It fits 15 bits; the 16th bit of the count is reserved and zero.
pub const BIN_COUNT_MAX: u16 = 32_767;

/// Longest bin name in bytes: 255, because its length is one byte on the wire and on the device.
pub const BIN_NAME_LENGTH_BYTES_MAX: usize = 255;

/// Longest user key in bytes: 65,535.
///
/// Room for composite keys of long columns, and still below one hundredth of a content, so that
/// answers that carry keys alone stay small.
pub const KEY_LENGTH_BYTES_MAX: usize = 65_535;

/// Deepest nesting of lists and maps in one value, the outermost one counted: 128.
///
/// The depth at which the usual JSON parsers stop as well, so that what can be stored can be
/// printed and read back. It bounds the checker's stack (8 bytes a level) and the recursion of
/// everything that walks a checked value.
pub const VALUE_DEPTH_MAX: usize = 128;

/// Most bins without a directory: 64.
///
/// Up to here a name is found by walking the bins (a few ns each, all in neighbouring cache
/// lines) and 6 bytes a bin are saved on the device. Above it the content ends with a directory,
/// so that finding one bin and refusing duplicates never cost more than the logarithm.
pub const WALKED_BIN_COUNT_MAX: u16 = 64;

/// Longest text in bytes that `Display` or `Debug` of one key, name or value writes, the three
/// dots that mark a cut excluded: 1 KiB, a readable line of a log.
pub const DISPLAY_LENGTH_BYTES_MAX: usize = 1024;

/// Most columns of a composite key: 64, above every real table's primary key.
pub const COMPOSITE_COLUMN_COUNT_MAX: usize = 64;

/// Most steps of one operate: 1,024. At some 100 ns each they stay within the 200 us that any operation
/// may hold a core, and within the bins of one record.
pub const STEP_COUNT_MAX: usize = 1024;

/// What a piece of work on a long content may cost, in bytes copied: 256 KiB, some 25 us of copying. Other
/// work is reckoned in copied bytes by what it takes at worst, so that a piece stays below 100 us, half of what
/// any operation may hold a core.
pub const PIECE_COST: usize = 256 * 1024;

// Offsets of the directory are 32 bits wide.
const _: () = assert!(CONTENT_LENGTH_BYTES_MAX < 1 << 24);
// The count's highest bit is reserved.
const _: () = assert!(BIN_COUNT_MAX == u16::MAX >> 1);
// A key of the longest kind leaves room for bins.
const _: () = assert!(KEY_LENGTH_BYTES_MAX < CONTENT_LENGTH_BYTES_MAX / 100);
// The name's length is one byte.
const _: () = assert!(BIN_NAME_LENGTH_BYTES_MAX == 255);
