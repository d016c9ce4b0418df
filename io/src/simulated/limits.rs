//! The bounds of the simulated machine, each with its derivation. Nothing here is a bound of a real device.

/// Bytes of one chunk of a simulated drive's sparse contents.
///
/// The granule of copy-on-write: a forked machine shares every chunk until one side writes it. 16 KiB
/// copies in about a microsecond and keeps the index of a full 4 GiB drive at 262,144 entries.
pub(crate) const CONTENT_CHUNK_BYTES: usize = 16 * 1024;

/// Smallest logical block of a simulated drive, in bytes: the smallest that any NVMe drive formats.
pub(crate) const LOGICAL_BLOCK_BYTES_MIN: u32 = 512;

/// Largest logical or physical block of a simulated drive, in bytes.
///
/// A chunk holds a whole number of blocks, so a block never straddles two chunks.
pub(crate) const BLOCK_BYTES_MAX: u32 = 16 * 1024;

/// Entries that the operation log keeps when nothing else is asked for; older ones are forgotten.
///
/// A failing run is diagnosed from its last power cut on. With small segments a life between two cuts
/// is at most some hundred operations, so this holds several lives.
pub(crate) const LOG_ENTRIES_DEFAULT: usize = 4096;

/// Virtual time of the shortest operation when a drive's configuration says nothing, in nanoseconds.
pub(crate) const LATENCY_NS_MIN_DEFAULT: u64 = 10_000;

/// Virtual time of the longest operation when a drive's configuration says nothing, in nanoseconds.
///
/// Thirty times the shortest: operations submitted together complete in almost any order.
pub(crate) const LATENCY_NS_MAX_DEFAULT: u64 = 300_000;

/// Virtual time that a short delay adds at most, in nanoseconds: a drive's garbage collection pause.
pub(crate) const DELAY_SHORT_NS_MAX: u64 = 10_000_000;

/// Virtual time that a long delay adds at most, in nanoseconds.
///
/// Twice the kernel's default NVMe time-out (30 s), so that every deadline above the device expires.
pub(crate) const DELAY_LONG_NS_MAX: u64 = 60_000_000_000;

/// Blocks that one discard may put into the volatile cache as zeros; a larger one is durable at once or
/// has no effect. Bounds the cache's growth by one operation.
pub(crate) const DISCARD_CACHED_BLOCKS_MAX: u64 = 1024;

/// How far from its target a misdirected operation lands at most, in logical blocks.
///
/// Near neighbours are the hard case: they belong to the same segment and look plausible.
pub(crate) const MISDIRECTION_BLOCKS_MAX: u64 = 64;

/// One-shot faults that may wait on one drive. A test plans a handful.
pub(crate) const PLANNED_FAULTS_MAX: usize = 1024;

/// What probabilities are measured against: parts per million.
pub(crate) const PER_MILLION: u32 = 1_000_000;

const _: () = assert!(CONTENT_CHUNK_BYTES.is_power_of_two());
const _: () = assert!(LOGICAL_BLOCK_BYTES_MIN.is_power_of_two());
const _: () = assert!(BLOCK_BYTES_MAX.is_power_of_two());
const _: () = assert!(BLOCK_BYTES_MAX >= LOGICAL_BLOCK_BYTES_MIN);
const _: () = assert!(LATENCY_NS_MIN_DEFAULT < LATENCY_NS_MAX_DEFAULT);
const _: () = assert!(LATENCY_NS_MAX_DEFAULT < DELAY_SHORT_NS_MAX);
const _: () = assert!(DELAY_SHORT_NS_MAX < DELAY_LONG_NS_MAX);
const _: () = assert!(usize::BITS == 64);
