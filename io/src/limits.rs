//! Every bound of this crate, with where it comes from. A number that limits something and is not here is a mistake. The simulated
//! machine's own bounds stand beside it.

/// Start and length of every DMA buffer are multiples of this: the largest logical block that drives have, and the page of x86-64.
pub const BUFFER_ALIGNMENT_BYTES: usize = 4096;

/// The largest size class of the arena, and the unit that classes borrow from it. Larger buffers (records of up to 8 MiB, frames) are
/// rare and come from the kernel; one of 1 MiB holds a full batch of group commit.
pub const BUFFER_CLASS_BYTES_MAX: usize = 1 << 20;

/// Size classes: the powers of two from 4 KiB to 1 MiB.
pub const BUFFER_CLASS_COUNT: usize = 9;
const _: () = assert!(BUFFER_ALIGNMENT_BYTES << (BUFFER_CLASS_COUNT - 1) == BUFFER_CLASS_BYTES_MAX);

/// Block of a device in memory, in bytes: what its writes are padded to. Smaller ones would pack records closer, but
/// 512 is the least that the store's formats take.
pub const MEMORY_BLOCK_BYTES: u32 = 512;

/// A huge page of x86-64.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;
const _: () = assert!(HUGE_PAGE_BYTES.is_multiple_of(BUFFER_CLASS_BYTES_MAX));

/// Arena of a core unless configured: 64 reads of a 1 MiB batch each, or 16,384 reads of 4 KiB.
pub const ARENA_BYTES_DEFAULT: usize = 64 << 20;

/// The largest arena: one registered buffer of the ring is at most 1 GiB, and 64 of them are more than a core can keep in flight.
pub const ARENA_BYTES_MAX: usize = 64 << 30;

/// Memory of one pool, arena included, unless configured. Beyond it buffers are refused: 1 GiB is a hundred records of the largest size
/// above the arena.
pub const POOL_BYTES_DEFAULT: usize = 1 << 30;

/// Memory behind one registered buffer of the ring: the kernel's bound is 1 GiB. Chunks of the arena never straddle two.
pub const REGISTERED_BUFFER_BYTES: usize = 1 << 30;
const _: () = assert!(REGISTERED_BUFFER_BYTES.is_multiple_of(BUFFER_CLASS_BYTES_MAX));

/// What one submission transfers at most: below the kernel's own bound of 2 GiB less a page; longer transfers are continued.
pub const TRANSFER_BYTES_MAX: usize = 1 << 30;

/// What one submission reads from or writes to a device at most, when the memory is there: the kernel pins its pages before the
/// call returns, 2,048 of them for the longest record. In pieces of 1 MiB that takes 60 us each (table in decision 20).
pub const DEVICE_PIECE_BYTES: usize = 1 << 20;

/// The same of a read into memory outside the arena, which the kernel gives out and clears in the same call: some 100 us.
/// In one piece the longest record took 2.8 ms.
pub const FRESH_PIECE_BYTES: usize = 256 << 10;
const _: () =
    assert!(FRESH_PIECE_BYTES <= DEVICE_PIECE_BYTES && DEVICE_PIECE_BYTES <= TRANSFER_BYTES_MAX);
const _: () = assert!(FRESH_PIECE_BYTES.is_multiple_of(BUFFER_ALIGNMENT_BYTES));

/// Submission entries of a ring unless configured: what the tasks of one turn submit before the queue is handed over early.
pub const RING_ENTRIES_DEFAULT: u32 = 512;

/// Completion entries per submission entry: multishot operations complete many times, and a queue that
/// overflows costs the kernel an allocation for each completion.
pub const COMPLETION_FACTOR: u32 = 8;

/// The smallest ring that is tried where lockable memory is short: with its completions it takes two pages.
pub const RING_ENTRIES_MIN: u32 = 16;

/// Operations of a ring at once unless configured: 64 devices at depth 64, and as many sends and receives.
pub const RING_SLOTS_DEFAULT: u32 = 8192;

/// The most operations of a ring at once: two for each of half a million connections, and some for devices. A million
/// slots are 200 MB of addresses; memory is taken as they are used.
pub const RING_SLOTS_MAX: u32 = 1 << 20;

/// Devices on one ring: the drives of a large server, and more.
pub const RING_DEVICES_MAX: u32 = 64;

/// Slots that reads, writes and sends leave free: one flush in flight for each device, and as many again for closes and cancels, which
/// wait for the next turn if even these are used.
pub const RING_RESERVED_SLOTS: u32 = 2 * RING_DEVICES_MAX;
const _: () = assert!(RING_RESERVED_SLOTS < RING_SLOTS_DEFAULT);

/// Registered files of a ring: devices, and connections up to this number; further ones are used by plain descriptor. 8 bytes each in
/// the kernel.
pub const RING_FILES_MAX: u32 = 16_384;

/// Completions worked off in one turn: at 50 to 100 ns each this stays below 100 us, half of what a core may be held.
pub const COMPLETIONS_PER_TURN_MAX: usize = 1024;

/// How often a transfer that was interrupted or did nothing is tried again before it is an error.
pub const RETRIES_MAX: u8 = 16;

/// A ring that is dropped waits for the kernel this often this long, 10 s in all, as a drive's own time-out is 30 s and a healthy one
/// answers in 1; then it leaks the buffers.
pub const DRAIN_ATTEMPTS_MAX: u32 = 100;
/// See [`DRAIN_ATTEMPTS_MAX`].
pub const DRAIN_WAIT_MS: u64 = 100;

/// The kernel's bound on buffers of one receive ring.
pub const RECEIVE_BUFFER_COUNT_MAX: u16 = 1 << 15;

/// Receive buffers of a core unless configured: 8 MiB with the size below.
pub const RECEIVE_BUFFER_COUNT_DEFAULT: u16 = 512;

/// Size of a receive buffer unless configured: a pipeline of 64 requests of 256 bytes arrives in one.
pub const RECEIVE_BUFFER_BYTES_DEFAULT: u32 = 16 << 10;

/// Largest receive buffer.
pub const RECEIVE_BUFFER_BYTES_MAX: u32 = 1 << 20;

/// Received pieces of one connection that wait in the ring's buffers: enough to go on with while the next are on their way,
/// and few enough that a hundred connections that are read slowly leave buffers to the others. From here on its receive is
/// cancelled, and armed again at half of it; what the kernel has posted before the cancellation arrives
/// is copied out. Linux 6.16 ends the receive by itself after as many bytes as these buffers hold; older
/// kernels may post all that the socket's own buffer held.
pub const RECEIVED_PENDING_MAX: usize = 4;

/// Accepted connections of one listener that nobody has taken: from here on its accept is cancelled, and armed again at half of it.
pub const ACCEPTED_PENDING_MAX: usize = 64;

/// Connections that the kernel completes and keeps for a listener before it refuses: the default of `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;

/// How long a core without work spins before it parks: a little more than a wake-up across cores costs.
pub const SPIN_NS_DEFAULT: u64 = 50_000;

/// How often a busy core lets the executor look at its own timers and channels.
pub const REACTOR_PASS_NS: u64 = 500_000;

/// Tasks of one `LocalTasks`: its ready set is one word of 64 words.
pub const LOCAL_TASKS_MAX: usize = 4096;

/// Messages of one mailbox: a ring of 65,536 envelopes of 64 bytes is 4 MiB.
pub const MAILBOX_CAPACITY_MAX: usize = 1 << 16;

/// The smallest device: no volume fits on less.
pub const DEVICE_BYTES_MIN: u64 = 1 << 20;

/// Logical blocks that are understood: from that of old drives to the alignment of buffers.
pub const LOGICAL_BLOCK_BYTES_MIN: u32 = 512;
/// See [`LOGICAL_BLOCK_BYTES_MIN`].
pub const LOGICAL_BLOCK_BYTES_MAX: u32 = 4096;

/// The write unit where the kernel names no physical block.
pub const WRITE_UNIT_BYTES_UNKNOWN: u32 = 4096;

/// The largest write unit: a drive that names a larger physical block is asked for no more.
pub const WRITE_UNIT_BYTES_MAX: u32 = 64 << 10;

/// What a latency histogram tells apart at the short end: a microsecond. No device answers sooner.
pub const LATENCY_NS_MIN: u64 = 1_000;

/// The longest latency that is told from longer ones: a minute, when even a drive that retries has given up.
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Significant digits of a latency histogram: with the two bounds above they make 20 KiB.
pub const LATENCY_DIGITS: u8 = 2;
