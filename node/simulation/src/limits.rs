//! The bounds of the simulator, each with its derivation.

use corelith_store::CheckpointPace;

/// Moments (polls and machine steps) that an opening or a verification may take before it counts as hung.
///
/// A recovery of the largest simulated volume reads some hundred segments, each with a handful of
/// operations of a handful of polls; this is a hundred times that.
pub const MOMENTS_MAX: u64 = 2_000_000;

/// Starts in a row that may fail while faults are injected. After them faults are switched off, and a
/// start that still fails is a failure of the store.
pub const FAILED_STARTS_MAX: u32 = 4;

/// Longest value that a client writes, in bytes: several logical blocks, so that it can be torn.
pub const VALUE_BYTES_MAX: u64 = 12 * 1024;

/// Shortest value: its own header.
pub const VALUE_BYTES_MIN: u64 = 16;

/// Events of one key that a violation prints.
pub const KEY_HISTORY_MAX: usize = 64;

/// Writes of one key that may be open at once: in flight, or in doubt in this life. Clients read instead of
/// adding to them, because the possibilities grow as their subsets do.
pub const OPEN_WRITES_MAX: usize = 8;

/// Possibilities of one key that the oracle follows at once. After a crash they are the subsets of its
/// open writes, times which of them was the last, times how many came before it. For an answer to a write
/// they are the orders of any of the others, since the answers that are due tell the order. Past it the
/// oracle has a mistake.
pub const POSSIBILITIES_MAX: usize = 100_000;

/// Longest batch of the store in the simulated volumes, in bytes: a quarter of a segment, which the longest
/// value fits.
pub const BATCH_BYTES_MAX: u64 = 16 * 1024;
const _: () = assert!(VALUE_BYTES_MAX + 4096 <= BATCH_BYTES_MAX);

/// Operations of a drive before a planned silent fault strikes, at most: some lives of the busiest clients.
pub const SILENT_FAULT_DELAY_MAX: u64 = 20_000;

/// Record cache of a simulated shard that has one, in bytes: some tens of values, so that it turns over.
pub const RECORD_CACHE_BYTES: u64 = 128 << 10;
/// Pace of checkpoints in simulated shards: a round for every few batches, so that a ring of some segments turns over
/// again and again.
pub const CHECKPOINT_PACE: CheckpointPace = CheckpointPace {
    interval_bytes: 8 << 10,
    share_percent: 60,
};
/// How long a client waits after a flush before it asks the store whether all is durable, in ns: some trips to the
/// slowest drive.
pub const FLUSH_WAIT_NS: u64 = 2_000_000;

/// Clients of one life.
pub const CLIENTS_MAX: u64 = 8;

/// Memory of a simulated process's pool that is mapped once, in bytes: more than the batches, reads and
/// recovery buffers of the largest scenario at once.
pub const POOL_ARENA_BYTES: usize = 32 << 20;

/// Longest read or write that a served drive takes, in bytes. The server says so to whoever connects, and twice what the
/// drives of common machines move at once is enough for the driver in a guest.
pub const SERVED_REQUEST_BYTES_MAX: usize = 1 << 20;

/// Largest served drive, in bytes: it is in memory.
pub const SERVED_DRIVE_BYTES_MAX: u64 = 4 << 30;

/// Longest remark in the journal of a served drive, in bytes: a line.
pub const MARK_BYTES_MAX: usize = 4096;

const _: () = assert!(VALUE_BYTES_MIN < VALUE_BYTES_MAX);
const _: () =
    assert!((1 << OPEN_WRITES_MAX) * OPEN_WRITES_MAX * (OPEN_WRITES_MAX + 1) < POSSIBILITIES_MAX);
const _: () = assert!(orders(OPEN_WRITES_MAX - 1) < POSSIBILITIES_MAX);

/// In how many ways some of `count` things can be chosen and put in order.
const fn orders(count: usize) -> usize {
    // The first of them, or none; then any of the rest.
    if count == 0 {
        1
    } else {
        1 + count * orders(count - 1)
    }
}
