//! Every bound of the store, with what it follows from. Nothing here is tuned to one machine.
//!
//! Invariant: relations between bounds are `const` assertions at the end of this file.

use corelith_index::limits::IMAGE_BYTES_MIN;

use crate::format::checkpoint_page::PAGE_HEADER_BYTES;
use crate::format::checkpoint_sets::SET_ITEM_BYTES_MAX;
use crate::format::fields::u64_of;

/// Smallest segment, in bytes. Small ones exist so that a simulation can wrap a log thousands of times.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest segment, in bytes: an offset inside a segment stays below 2^26, so 16-byte granules need 22 bits.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Segment size of a new volume unless told otherwise, in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 16 << 20;
/// Largest extent, in bytes.
pub const EXTENT_BYTES_MAX: u64 = 1 << 30;
/// Smallest extent that the tools offer, in bytes. The format itself only wants a whole number of segments.
pub const EXTENT_BYTES_MIN: u64 = 64 << 20;

/// Shards of a volume: owners are stored as `u16`, and one core a shard is the most a node can use.
pub const SHARDS_MAX: u16 = 256;
/// Devices of a volume.
pub const DEVICES_MAX: u16 = 128;

/// Write units that the store accepts, in bytes: a 512-byte sector is the smallest that exists, and a
/// segment header, which takes two units, must leave most of the smallest segment to records.
pub const WRITE_UNIT_BYTES_MIN: u32 = 512;
/// See [`WRITE_UNIT_BYTES_MIN`].
pub const WRITE_UNIT_BYTES_MAX: u32 = 16 << 10;

/// Shortest segment in write units. Two are its header, and a sealed segment needs four for the summary
/// of one batch with one record; of the ten that remain, a record of half a segment and its batch
/// header take nine.
pub const SEGMENT_UNITS_MIN: u64 = 16;

/// An encoded record (header and content) may take at most half a segment, and never more than this, in bytes.
pub const RECORD_BYTES_MAX: u64 = 8 << 20;
/// A batch of several records closes at this length, in bytes: 64 gets of 4 KiB each, a length at which
/// NVMe drives reach their sequential bandwidth. A larger record is a batch of its own.
pub const BATCH_BYTES_MAX: u64 = 256 << 10;
/// A batch closes at so many records, however short: when it is durable they enter the index in one step, of some 0.3 to 0.7 us
/// each, and no step is to hold a core for more than 200 us.
pub const BATCH_RECORDS_MAX: usize = 256;
/// Bytes of a record that are copied or summed before others have their turn: 256 KiB, some 25 us of copying and
/// 15 us of summing, with the kernel's work for fresh memory below 100 us.
pub const PIECE_BYTES: usize = 256 << 10;
/// Gets whose look-ups are fetched together: what a core of today has outstanding is 10 to 24 lines, and a
/// look-up wants several.
pub const ANNOUNCED_MAX: usize = 32;
/// Bytes that a CPU fetches at a time.
pub const CACHE_LINE_BYTES: usize = 64;
/// Lines of a cached record that are fetched ahead of its get: 512 bytes; the CPU sees by itself that a longer one
/// is read from end to end.
pub const PREFETCHED_LINES_MAX: usize = 8;
/// An index up to this size, in bytes, is taken to be in the caches: a core's share of the third level of a
/// server CPU. At 4 MB waiting for a round gained nothing that could be told from noise, at 115 MB a
/// fifth to a third of what the store adds to a read.
pub const INDEX_BYTES_CACHED: u64 = 16 << 20;
/// Batches of one shard that may be on their way to the device at once. Group commit needs two (one
/// travels, one forms); eight cover a device that answers in the time that eight batches take to form.
pub const BATCHES_IN_FLIGHT_MAX: usize = 8;
/// Closed batches that may wait for a place in flight. Past it, writers wait before they append.
pub const BATCHES_QUEUED_MAX: usize = 4;

/// Longest record that the record cache takes, header included, in bytes: copying it takes some 25 us, and
/// making room for it lets at most two thousand of the shortest records leave, another 100 us.
pub const CACHED_RECORD_BYTES_MAX: usize = 256 << 10;
/// One record takes at most this fraction of a record cache: an eighth.
pub const CACHE_SHARE_MIN: u64 = 8;
/// Part of a record cache, in percent, that records may fill which were not used since they came. A tenth
/// is what the literature on such queues settled on; the rest belongs to what has shown its worth.
pub const CACHE_PROBATION_PERCENT: u64 = 10;
/// Used records that one insertion lets stay before the oldest must leave, used or not: 64 of them take
/// some 10 us.
pub const CACHE_LOOKS_MAX: u32 = 64;

/// Reads under way that others may join, as a power of two: 256 of a shard, twice what keeps a fast drive busy, in
/// 8 KiB.
pub const JOINED_READS_BITS: u32 = 8;
/// Readers that may join one read; further ones read themselves. To wake so many takes some 100 us.
pub const JOINED_READERS_MAX: usize = 4096;

/// Operations that may wait for their turn on one key. Past it the answer is "key busy".
pub const KEY_QUEUE_MAX: usize = 128;

/// Times that a read starts again because its record was moved or rewritten meanwhile. Each new start
/// means that another write of this very key, or a reuse of its segment, was settled in between.
pub const READ_ATTEMPTS_MAX: usize = 32;

/// Free segments that reclaim alone may take: what lives in one segment fits another, so one takes the survivors
/// of the victim while the other, which they may run over into, is prepared. A victim is free only when its
/// survivors are durable.
pub const SEGMENTS_FOR_RECLAIM: usize = 2;
/// Free segments that new data leaves alone: those, and one for deletes, which take a whole write unit each if
/// they come one by one, until reclaim has packed them.
pub const SEGMENTS_RESERVED: usize = SEGMENTS_FOR_RECLAIM + 1;
/// Reclaim begins when no more than this many segments are left to open, and segments that hold nothing are freed:
/// early enough that a writer does not wait for it (one is opened while the next is prepared), late enough that
/// as much as possible has died by then. Large shards keep more ready, see [`SEGMENTS_SPARE_SHARE`].
pub const SEGMENTS_AVAILABLE_MIN: usize = SEGMENTS_RESERVED + 2;
/// The part of a shard's segments that reclaim keeps ready beyond that: one in 128, less than a percent.
pub const SEGMENTS_SPARE_SHARE: usize = 128;
/// New data is refused while what lives would fill more than this part of the segments that are not reserved, in
/// sixteenths: so that the emptiest segment gives back at least a sixteenth of itself.
pub const LIVE_SIXTEENTHS_MAX: u64 = 15;
/// A segment is worth reclaiming if at least this part of it comes back: one in 32, since the emptiest gives twice
/// that, whatever is written meanwhile.
pub const RECLAIM_GAIN_SHARE: u64 = 32;
/// Tombstones may take this part of the live bytes, in percent; past it reclaim takes the segment that holds the
/// pin.
pub const TOMBSTONE_PERCENT_MAX: u64 = 5;
/// What a tombstone takes in a batch, in bytes.
pub const TOMBSTONE_BYTES: u64 = 64;
/// What a record takes in a summary, with its share of parity, in bytes: 44 and an eighth.
pub const SUMMARY_BYTES_PER_RECORD: u64 = 50;
/// Rows of a victim that reclaim compares with the index before others have their turn: at some 100 ns each
/// where the index is not in the caches, 50 us.
pub const RECLAIM_ROWS_AT_ONCE: usize = 512;
/// Bytes of a victim that one read brings at most, but for one longer record.
pub const RECLAIM_READ_BYTES: u64 = 256 << 10;
/// What reclaim checks and copies before others have their turn, in bytes, [`RECLAIM_RECORD_COST`] of them for each record: some
/// 60 us.
pub const RECLAIM_PIECE_BYTES: u64 = 64 << 10;
/// What a record costs to check, to look up and to copy beside its bytes, in bytes copied.
pub const RECLAIM_RECORD_COST: u64 = 512;
/// Batches of survivors that may be on their way at once: one travels while the next fills. The other places in
/// flight are for clients.
pub const RECLAIM_BATCHES_MAX: usize = 2;
/// Times that reclaim goes through what is left in a victim because newer versions were on their way.
pub const RECLAIM_PASSES_MAX: usize = 8;
/// Summary blocks that are encoded before the core may do something else: 64 of 4 KiB are 6,000 rows,
/// some 60 us.
pub const SUMMARY_BLOCKS_AT_ONCE: usize = 64;
/// Fewest segments a shard can work with: one open, one being sealed, one to hold data, and the reserve.
pub const SEGMENTS_PER_SHARD_MIN: u64 = 3 + 3;
const _: () = assert!(SEGMENTS_PER_SHARD_MIN == 3 + SEGMENTS_RESERVED_U64);
const SEGMENTS_RESERVED_U64: u64 = 3;
const _: () = assert!(SEGMENTS_RESERVED == 3);

/// Log positions skipped at every start. The highest position that recovery can see is behind those
/// that were given by at most the batches open, queued and in flight, once for each write that failed
/// since the last durable header of a segment; this covers a hundred thousand failed writes in a row.
pub const LSN_GAP_AT_START: u64 = 1 << 22;
/// Versions skipped at every start: as many as the batches of which recovery may have seen none hold,
/// by the same reasoning.
pub const VERSION_GAP_AT_START: u64 = LSN_GAP_AT_START * 2;
const _: () = assert!(LSN_GAP_AT_START > 100_000 * BATCHES_UNSETTLED_MAX);
const _: () =
    assert!(VERSION_GAP_AT_START > BATCHES_UNSETTLED_MAX * u64_of(BATCH_RECORDS_MAX) * 100);
/// Batches that have a position and are not settled: one open, those queued (one more than its bound,
/// which is checked before a batch is opened), those in flight.
const BATCHES_UNSETTLED_MAX: u64 = 1 + 5 + 8;
const _: () = assert!(BATCHES_IN_FLIGHT_MAX == 8 && BATCHES_QUEUED_MAX == 4);

/// Segments whose headers are read at once during recovery, for each shard: with eight shards, the
/// depth at which one NVMe drive reaches its random-read rate.
pub const RECOVERY_HEADERS_IN_FLIGHT: usize = 32;
/// Segments whose summaries are read at once during recovery, for each shard: one is applied while the
/// others are read, and a summary may take megabytes of memory.
pub const RECOVERY_SUMMARIES_IN_FLIGHT: usize = 4;
/// Buffers of a segment's size that are kept from one read of a recovery to the next: two of an unsealed segment are
/// compared, and as many checkpoint segments are read at once.
pub const RECOVERY_SPARES: usize = 2;
/// Length of one recovery read where a longer one has failed, in bytes.
pub const RECOVERY_READ_BYTES: u64 = 1 << 20;

/// Longest page of a checkpoint, header included, in bytes: taking one copies some 2,900 entries and sums them, 20 to 70 us.
pub const CHECKPOINT_PAGE_BYTES: u64 = 64 << 10;
/// A segment with less room than this takes no further page, in bytes: the largest group of the index, or the
/// longest item of a set, with the header.
pub const CHECKPOINT_PAGE_BYTES_MIN: u64 = 4 << 10;
const _: () = assert!(IMAGE_BYTES_MIN + PAGE_HEADER_BYTES <= 4 << 10);
const _: () = assert!(SET_ITEM_BYTES_MAX + PAGE_HEADER_BYTES <= 4 << 10);
const _: () = assert!(CHECKPOINT_PAGE_BYTES == 4 * (16 << 10) && WRITE_UNIT_BYTES_MAX == 16 << 10);
/// Bytes of pages for each hundred bytes of batches. With the headers of their segments, and what a round that was
/// broken off has written in vain, checkpoints stay below 15.
pub const CHECKPOINT_SHARE_PERCENT: u32 = 12;
/// What pages may be ahead of that at most after a pause, in bytes: a burst of 16 pages.
pub const CHECKPOINT_CREDIT_BYTES_MAX: i64 = 1 << 20;
/// Bytes of batches after which a shard begins the next round, unless told otherwise: what a start has to replay at
/// most where the index is small; a larger one takes longer to write at the share above.
pub const CHECKPOINT_INTERVAL_BYTES: u64 = 64 << 20;
/// Checkpoint segments of a shard that are read at once during recovery: one is loaded while the next is read.
pub const RECOVERY_CHECKPOINTS_IN_FLIGHT: usize = 2;

/// Longest set name in bytes, and most sets of a shard (12-bit ids, zero means "no set").
pub const SET_NAME_BYTES_MAX: usize = 63;
/// See [`SET_NAME_BYTES_MAX`].
pub const SETS_MAX: u16 = 4095;
/// Longest namespace name in bytes.
pub const NAMESPACE_NAME_BYTES_MAX: usize = 31;

/// Entries that one step of a sweep looks at before others have their turn, but for what one scan more may
/// bring: at 0.3 us each to look at one and take it out, 100 us.
pub const SWEEP_ENTRIES_MAX: usize = 256;
/// Entries that a sweep asks the index for at once; the index visits no more groups than this for them, most
/// of them empty in a table that has shrunk.
pub const SWEEP_SCAN_ENTRIES: usize = 64;
/// Scans of one step of a sweep: where partitions are nearly empty it is this that bounds the step. An empty
/// group takes 20 ns or so, and one scan visits 64 at most.
pub const SWEEP_SCANS_MAX: usize = 64;

/// A step of the wall clock against the monotonic one, in ms, that makes the clock doubtful: no time daemon needs more.
pub const CLOCK_STEP_MAX_MS: u64 = 10 * 60 * 1000;
/// How long a doubtful clock must run evenly to be trusted again, in ms: what is wrong with a clock at a start is put right by
/// then, and expired records can wait for an hour.
pub const CLOCK_STEADY_MS: u64 = 60 * 60 * 1000;
/// How often small steps and drift of the wall clock are accepted as its time, in ms.
pub const CLOCK_ANCHOR_MS: u64 = CLOCK_STEP_MAX_MS;

/// Entries that a sweep of expired records looks at for each tick that the owner of a shard gives it: at 0.1 us each, some
/// 3 ms in steps of at most 100 us.
pub const EXPIRY_ENTRIES_PER_TICK: usize = 32 << 10;
/// A sweep of expired records begins this long after the last one began at the earliest, in seconds: they are invisible
/// already, and a sweep looks at every entry.
pub const EXPIRY_INTERVAL_SECONDS: u32 = 10;

/// Part of an index's memory, in percent, at which new keys are refused. What is left is for what cannot be refused:
/// writes under way, groups that grow unevenly, and a recovery that builds the same index in another order.
pub const INDEX_ADMITTED_PERCENT: u64 = 90;
/// An index that refuses new keys says so in the log this often, in ms.
pub const INDEX_FULL_TOLD_EVERY_MS: u64 = 60_000;

/// Damaged records of one device that a shard names in its log; beyond that they are counted only. A drive that
/// dies would otherwise fill the log with what is known by then.
pub const DAMAGE_TOLD_MAX: u64 = 100;

/// One read of a scrub, in bytes, but for a longer record: 32 blocks of a summary, which take 15 us to verify, and short
/// enough that a get behind it waits for some tens of us.
pub const SCRUB_READ_BYTES: u64 = 128 << 10;
/// Entries that a scrub takes from the index at once.
pub const SCRUB_ENTRIES: usize = 16;

/// Followers of one shard's log at once: each has one read under way, of a batch or of a long record.
pub const FOLLOWERS_MAX: usize = 16;
/// Batches that a follower passes over in one step, rows in memory: at some 10 ns each, 40 us.
pub const FOLLOW_HOPS_MAX: usize = 4096;
/// Times that a follower reads something before it counts as damaged: a fault that passes is over by then.
pub const FOLLOW_ATTEMPTS: usize = 4;

/// Records that one call of a scan returns at most.
pub const SCAN_RECORDS_MAX: usize = 4096;
/// Device reads of one scan at once: enough to keep a drive busy, few enough to leave it to gets.
pub const SCAN_READS_IN_FLIGHT: usize = 16;

const _: () = assert!(
    RECORD_BYTES_MAX < 1 << 24,
    "content length is a 24-bit field"
);
const _: () = assert!(SEGMENT_UNITS_MIN >= 2 + SEGMENT_UNITS_MIN / 2 + 1 + 4);
const _: () = assert!(SEGMENT_BYTES_MAX >= (SEGMENT_UNITS_MIN * 16) << 10);
const _: () = assert!(BATCH_BYTES_MAX <= RECORD_BYTES_MAX);
// A record that goes in pieces is a batch of its own.
const _: () = assert!(BATCH_BYTES_MAX == 256 << 10 && PIECE_BYTES == 256 << 10);
const _: () = assert!(SEGMENT_BYTES_MAX / 16 <= 1 << 22);

/// Times that recovery reads a record which must be told from another with the same tag. A transient
/// error of the device is over by then; what is not is reported as a loss.
pub const RECOVERY_READ_ATTEMPTS_MAX: u32 = 8;

/// How far the wall clock may step ahead before no write is taken by it, in ms: a day, unless the operator says another
/// bound. What corrects a clock in good order steps by far less.
pub const CLOCK_JUMP_MAX_DEFAULT_MS: u64 = 86_400_000;
/// The least bound, and how far beyond a time that was right the wall clock is believed without a look at the monotonic
/// one, in ms.
pub const CLOCK_BELIEVED_MS: u64 = 60_000;
const _: () = assert!(CLOCK_BELIEVED_MS < CLOCK_JUMP_MAX_DEFAULT_MS);
