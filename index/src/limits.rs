//! Every bound of this crate, with its derivation.

use crate::entry::ENTRY_BYTES;
use crate::width::wide;

/// Shards of a volume, at most: 16 partitions each, and four times the cores of the largest
/// machine in sight.
pub const SHARD_COUNT_MAX: u16 = 256;

/// The unit in which a record's length is kept, in bytes. The store aligns records to it.
pub const LENGTH_GRANULE_BYTES: u32 = 16;

/// The largest encoded record: 8 MiB, as the store's format has it.
pub const RECORD_LENGTH_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// Keys of one partition that may share one tag. Two honest digests of a node meet in partition and
/// tag (76 bits) once in 2^38 keys, three of them not before 2^51; a client that makes digests up
/// can reach any number and is refused here, so that the entries of one tag always fit one group.
pub const SAME_TAG_COUNT_MAX: usize = 64;

/// The chance of answering from a tag alone for the wrong key that is accepted: that of a drive
/// that cannot read a 4 KiB record back (32,768 bits at one unrecoverable error in 10^17 bits are
/// 3.3e-13, rounded down). A tag of 64 bits stays below it up to 5.5 million keys in a partition,
/// 22 thousand million in a node.
pub const FALSE_MATCH_CHANCE_MAX: f64 = 3.0e-13;

/// What one new key adds to the table in bytes, averaged over many, at the dearest moment: an entry
/// of 22 bytes, its share of the group's last line, of the directory and of part-filled slabs.
pub const NEW_KEY_BYTES_MAX: u64 = 26;

/// Bytes of a cache line: blocks are whole lines.
pub(crate) const LINE_BYTES: usize = 64;

/// Bytes at the start of a block that say which partition owns it.
pub(crate) const BLOCK_HEADER_BYTES: usize = 2;

/// Lines of the largest block. A group of more entries is halved, so this bounds what an insert
/// moves (2.8 KiB). Honest groups hold at most `2 * GROUP_ENTRIES_MEAN` on average before
/// their turn to be divided comes; the rest is room for their spread (3 standard deviations).
pub(crate) const GROUP_LINES_MAX: usize = 44;

/// Entries of the largest group; they are counted in a byte, with room to spare.
pub(crate) const GROUP_ENTRIES_MAX: usize =
    (GROUP_LINES_MAX * LINE_BYTES - BLOCK_HEADER_BYTES) / ENTRY_BYTES;
const _: () = assert!(GROUP_ENTRIES_MAX < 256 && GROUP_ENTRIES_MAX > SAME_TAG_COUNT_MAX);

/// Entries of a partition per slot of its directory above which a slot is added. Larger groups
/// waste less (half a line and 10 bytes each) and cost more to insert into; measured in
/// docs/decisions/0003-index-layout.md.
pub(crate) const GROUP_ENTRIES_MEAN: u64 = 48;

/// Entries per slot below which a slot is taken away: a quarter less, so that a key that comes and
/// goes does not divide and merge a group each time.
pub(crate) const GROUP_ENTRIES_MEAN_MIN: u64 = 36;
const _: () = assert!(GROUP_ENTRIES_MEAN_MIN < GROUP_ENTRIES_MEAN);

/// Two halves are merged when they hold no more than this together: a quarter less than would be
/// divided, for the same reason.
pub(crate) const MERGED_ENTRIES_MAX: usize = GROUP_ENTRIES_MAX * 3 / 4;

/// Lines of a slab, the unit in which blocks of one size get memory. Large slabs lose little to what
/// a division by the block's size leaves over, small ones lose little to the one slab of each of the 44
/// sizes that is part-filled. 420 has many divisors: it loses 0.27 bytes a record and 0.6 MB a shard,
/// where 512 loses 0.35 bytes and 0.7 MB.
pub(crate) const SLAB_LINES: usize = 420;

/// Bytes of a slab.
pub(crate) const SLAB_BYTES: usize = SLAB_LINES * LINE_BYTES;

/// Slabs of a chunk, the unit in which the system gives and takes memory: 1.7 MB.
pub(crate) const CHUNK_SLABS: usize = 78;

/// Bytes of a chunk.
pub(crate) const CHUNK_BYTES: usize = CHUNK_SLABS * SLAB_BYTES;

/// Bits of a block's reference that number it within its slab.
pub(crate) const BLOCK_PLACE_BITS: u32 = 9;
const _: () = assert!(SLAB_LINES <= 1 << BLOCK_PLACE_BITS);

/// Slabs that a shard can address: 225 GB, some 9 thousand million entries.
pub(crate) const SLAB_COUNT_MAX: u32 = 1 << (u32::BITS - BLOCK_PLACE_BITS);

/// Slabs that are kept back from inserts, so that removals (which copy into a smaller block) never
/// want for an address. One change takes at most two new blocks, and the part-filled slabs of all
/// sizes bound how many slabs a run of removals can take before it gives some back.
pub(crate) const SLAB_COUNT_RESERVED: u32 = 64;
const _: () = assert!(wide(GROUP_LINES_MAX) < 64);

/// Free slabs above which memory goes back to the system: as many as a chunk has, so that the last chunk can
/// be emptied into the others, and a few to absorb a swing.
pub(crate) const FREE_SLAB_COUNT_MAX: usize = CHUNK_SLABS + 8;

/// Words of a piece of the directory: 64 KiB, the most that is copied when it grows. One piece is enough
/// for 390 thousand entries in a partition.
pub(crate) const PIECE_LENGTH: usize = 8192;

/// Groups that one call of a scan visits at most beyond the entries asked for, so that a run of
/// empty groups does not hold the core.
pub(crate) const SCAN_GROUP_COUNT_MIN: usize = 64;

/// Digests whose misses are under way at once in a prefetch: what a core of today can have
/// outstanding is 10 to 24 lines.
pub(crate) const PREFETCH_BATCH: usize = 32;

/// Bytes before the entries of a group in an image.
pub(crate) const IMAGE_GROUP_HEADER_BYTES: usize = 8;

/// Shortest buffer that an image may be taken into: the largest group with its header.
pub const IMAGE_BYTES_MIN: usize = IMAGE_GROUP_HEADER_BYTES + GROUP_ENTRIES_MAX * ENTRY_BYTES;

/// Slots and empty partitions that one step of taking an image looks at, so that a run of empty ones does not hold
/// the core: 4,096 at 10 ns or so. Full ones fill the buffer long before.
pub(crate) const IMAGE_SLOTS_MAX: usize = 4096;
