//! Every bound of the node, with what it follows from.

use std::time::Duration;

/// Requests of one connection that may be unanswered. A client at this depth over a network of 1 ms
/// keeps a core busy; more would only lengthen its queue.
pub(crate) const IN_FLIGHT_PER_CONNECTION_MAX: u32 = 1024;
/// Connections of one core unless the configuration says another number. With what each holds at rest (about
/// 3 KiB) they take 12 MiB.
pub(crate) const CONNECTIONS_PER_CORE_DEFAULT: usize = 4096;
/// The most that it may say: what a ring has slots for, beside those of the devices.
pub(crate) const CONNECTIONS_PER_CORE_MAX: usize = 500_000;
/// Operations of a core's ring at once: a receive and a send for each connection that there may be, and as many for
/// devices as a ring has by itself. A slot takes memory from its first use on.
pub(crate) const RING_SLOTS: u32 = 2 * 500_000 + 8192;
const _: () = assert!(CONNECTIONS_PER_CORE_MAX == 500_000 && RING_SLOTS < (1 << 20));
/// Memory of a connection at rest, in bytes: what the memory limit reckons with. Measured with 10,000 of them they take 2.1 KiB
/// each on one core and 3.0 KiB on two (two tasks, their state, two slots of the ring); a test holds them to
/// this. What the kernel keeps of a socket is not in it.
pub(crate) const CONNECTION_BYTES: u64 = 4 << 10;
/// The least index memory of a shard that a node starts with, in bytes: what an index rounds up to (a slab of 27 KiB for
/// each size of its blocks), and as much again for some 20,000 records.
pub(crate) const INDEX_BYTES_MIN: u64 = 2 << 20;
/// Size of a file volume that is made without one being said, in bytes.
pub(crate) const VOLUME_BYTES_DEFAULT: u64 = 4 << 30;
/// How often buffered writes are sent to the devices unless the configuration says it, in ms.
pub(crate) const FLUSH_INTERVAL_DEFAULT_MS: u64 = 100;

/// Bytes a second that a scrub reads of a namespace unless told otherwise: some 250 reads of small records, a few
/// milliseconds of CPU and a small part of what any drive does; a record is looked at once in eleven days in 1 TB.
pub(crate) const SCRUB_RATE_DEFAULT_BYTES: u64 = 1 << 20;
/// The slowest scrub: with 256 shards 256 bytes a second each.
pub(crate) const SCRUB_RATE_MIN_BYTES: u64 = 64 << 10;
/// What a scrub reads of a shard, one read after the other, before it waits: some sixteen reads of small records, few
/// enough that a get seldom meets more than one of them at the drive.
pub(crate) const SCRUB_BURST_BYTES: u64 = 64 << 10;
/// How long a scrub rests between two passes over a shard, in ms: what holds little is not read all the time.
pub(crate) const SCRUB_REST_MS: u64 = 60_000;
/// How often a scrub that has nothing to do looks whether that has changed, in ms.
pub(crate) const SCRUB_LOOK_AGAIN_MS: u64 = 1_000;
/// The longest that it may say, in ms: what a crash takes back of what was answered.
pub(crate) const FLUSH_INTERVAL_MAX_MS: u64 = 1000;
/// From what time on an operation is slow unless the configuration says it, in microseconds: a hundred times what
/// a drive takes for a read.
pub(crate) const SLOW_LOG_DEFAULT_US: u64 = 10_000;
/// Descriptors of a core beside its connections and devices: ring, eventfds, listeners, the executor's own rings;
/// the control page's connections and the log of the process are among those of the first.
pub(crate) const DESCRIPTORS_PER_CORE: usize = 96;
/// How long a message that comes up again and again is not said after it was said, in ns: ten seconds.
pub(crate) const REPEATED_AFTER_NS: u64 = 10_000_000_000;
/// Connections that a core looks at in one step of a listing or a closing: at 100 to 200 ns each, cold in the cache,
/// a quarter of what a core may be held.
pub(crate) const CONNECTIONS_PER_STEP: usize = 256;
/// How long a connection may take for its hello unless the configuration says it: the longest of round trips and of a
/// busy client's delays many times over.
pub(crate) const HELLO_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// What it may say: from less than a hello takes over the slowest networks, to what is as good as no bound.
pub(crate) const HELLO_TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);
/// How often a core looks for connections without a hello, and so how much later than they should be they are closed.
pub(crate) const HELLO_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Slow operations that a core keeps to be shown: some screens of them, 20 KiB.
pub(crate) const SLOW_OPERATIONS_KEPT: usize = 128;
/// How long the client of a connection that an operator closes has to take its last answers.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Answers that wait to be sent on one connection, in bytes: past it no more of its requests are read.
pub(crate) const OUTBOX_BYTES_MAX: usize = 1 << 20;
/// Bytes of an answer that are copied before the core's other tasks have their turn, and most that one send gives to
/// the kernel, which copies them at once: 256 KiB, some 25 us and 100 us.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// And on all connections of a core: 64 that do not read at all. Past it a connection with
/// [`OUTBOX_BYTES_SHARE`] of its own is not read, so that what waits grows with the connections and not with what they ask for.
pub(crate) const OUTBOXES_BYTES_MAX: usize = 64 << 20;
/// See [`OUTBOXES_BYTES_MAX`].
pub(crate) const OUTBOX_BYTES_SHARE: usize = 16 << 10;
/// What a connection may dispatch in one turn, in units of a small request. See decision 19 for the figures.
pub(crate) const TURN_UNITS: u32 = 16;
/// And all connections of a core before the first of it has done its work: as many reads as make a drive faster, and
/// no more in its queue before anyone's next one. At 1.0 to 1.5 us each, all of it stays below the 200 us that a core may be held.
pub(crate) const WINDOW_UNITS: u32 = 128;
/// And beyond it for connections that come out of rest: so many small requests of clients that wait for each answer need
/// not wait for those of a flood.
pub(crate) const RESERVE_UNITS: u32 = 256;
/// Tasks that a core keeps for the requests to come, at some KiB each: more than the reads of a flood that are under way. Lone requests
/// of many connections, and writes that wait for their batch, may be more.
pub(crate) const RUNNERS_RESTING_MAX: usize = 256;
const _: () = assert!(WINDOW_UNITS + TURN_UNITS <= 256 && RUNNERS_RESTING_MAX == 256);
/// Length of a request that costs a unit more, in bytes: copying and summing it takes as long as a small request does.
pub(crate) const TURN_UNIT_BYTES: usize = 4096;
/// The shortest row of a batch, in bytes: a header of 32, and a table with a digest of 20.
pub(crate) const BATCH_ROW_BYTES_MIN: usize = 64;
/// Requests and answers of another core that a core takes in one go, for the same reason as [`TURN_UNITS`].
pub(crate) const HOPS_PER_STEP: usize = 32;
/// Memory of answers that a core keeps for the next ones, in bytes: two buffers of full outboxes for each of eight
/// connections that take as much as they can, or a thousand of 16 KiB.
pub(crate) const SEND_BUFFERS_BYTES_MAX: usize = 16 << 20;
/// Requests that one core may have handed to another and not got back: the size of both mailboxes of
/// the pair, so that a reply always has its place and two full cores never wait for each other.
pub(crate) const HOPS_PER_PAIR_MAX: usize = 1024;
/// Connections and orders that may wait in a core's mailbox from the control thread and the acceptor.
pub(crate) const ORDERS_MAX: usize = 1024;
/// Requests for the node's counters that one core answers at a time: each holds a snapshot of every core
/// (some KiB, and 300 bytes for each of its shards), and takes the others some 50 us. Past it the answer is "busy".
pub(crate) const GATHERINGS_MAX: usize = 8;
/// Rows of a batch that run at once on one core: twice the reads in flight at which a drive reaches its rate,
/// and writes of 2 KiB enough to fill a batch of the log.
pub(crate) const BATCH_ROWS_RUNNING_MAX: usize = 128;
/// Frames of a receive buffer whose look-ups are asked for together before the first of them is answered: as below.
pub(crate) const FRAMES_AHEAD: usize = 32;
/// Rows whose look-ups are asked for together before the first of them runs: what a core has outstanding.
pub(crate) const BATCH_ROWS_AHEAD: usize = 32;
/// What the answer of a row takes without anything that it has read, in bytes: header, table, and a refusal's
/// text of 1 KiB. Every row of a batch has so much of the answer from the start.
pub(crate) const BATCH_ROW_ANSWER_BYTES: usize = 1152;
const _: () =
    assert!(corelith_wire::limits::BATCH_ROWS_MAX * BATCH_ROW_ANSWER_BYTES < PAYLOAD_BYTES / 4);
const _: () = assert!(corelith_wire::limits::PAYLOAD_LENGTH_BYTES_MAX == 8 << 20);
/// The longest payload, in bytes.
pub(crate) const PAYLOAD_BYTES: usize = 8 << 20;
/// Rows that found no room for what they read, after which no other of the part is read. So few reads of large
/// records are in vain; one alone says nothing about the others.
pub(crate) const BATCH_REFUSALS_MAX: u32 = 8;
/// Steps of long work (rows of a batch, records of a scan), and bytes copied in them, after which it looks at
/// the clock: some us.
pub(crate) const PACE_STEPS: u32 = 16;
/// See [`PACE_STEPS`].
pub(crate) const PACE_BYTES: usize = 64 << 10;
/// How long one operation may keep its core before others have their turn, in ns: half of the 200 us that are
/// allowed, since what was begun in time is finished.
pub(crate) const TURN_NS_MAX: u64 = 100_000;
/// Records of one page of a scan, and bytes of its payload unless the client asks for less.
pub(crate) const SCAN_PAGE_RECORDS_MAX: usize = 512;
/// See [`SCAN_PAGE_RECORDS_MAX`].
pub(crate) const SCAN_PAGE_BYTES_MAX: usize = 1 << 20;
/// Steps of an operate on an ordinary record that are carried out without a pause: at up to 300 ns each, with
/// what they find and keep, half of what an operation may hold a core.
pub(crate) const STEPS_AT_ONCE: usize = 256;
/// Entries of the index that one page looks at, one more counted for each step: at some 50 ns half a millisecond,
/// in turns. A page of a small set in a large namespace then comes empty, and says where to go on.
pub(crate) const SCAN_PAGE_ENTRIES_MAX: usize = 8192;
/// Bytes that one page reads from devices, but for a single larger record: named bins of large records give short
/// pages for many reads.
pub(crate) const SCAN_PAGE_READ_BYTES_MAX: u64 = 4 << 20;
/// Entries that are looked at, records, and bytes that are read in one step of a page, after which others may have
/// their turn: each some 30 to 60 us of work.
pub(crate) const SCAN_STEP_ENTRIES_MAX: usize = 512;
/// See [`SCAN_STEP_ENTRIES_MAX`].
pub(crate) const SCAN_STEP_RECORDS_MAX: usize = 64;
/// See [`SCAN_STEP_ENTRIES_MAX`].
pub(crate) const SCAN_STEP_READ_BYTES_MAX: u64 = 256 << 10;
/// Entries that take as long as one step by which a pace reckons: a row of a batch, or a record.
pub(crate) const SCAN_ENTRIES_PER_STEP: usize = 16;
/// Pages of scans that one core makes at a time, past which the answer is "busy": with 16 reads each they keep two
/// drives busy, and hold 16 MiB of payload at the most.
pub(crate) const SCAN_PAGES_PER_CORE_MAX: usize = 16;
/// What a client that met "busy" for a page should wait, in ms: pages take far longer than other requests.
pub(crate) const SCAN_RETRY_AFTER_MS: u32 = 50;
/// Vectors that a core keeps for reuse, and the largest that it keeps, in bytes.
pub(crate) const SPARE_VECTORS_MAX: usize = 256;
/// See [`SPARE_VECTORS_MAX`].
pub(crate) const SPARE_VECTOR_BYTES_MAX: usize = 64 << 10;
/// DMA memory of one core that is mapped at once, in bytes: the arena.
pub(crate) const ARENA_BYTES: usize = 32 << 20;
/// All of it unless the configuration says another size, in bytes: 256 MiB beyond the arena under load (large records,
/// many reads at once). Past that a request is answered "busy".
pub(crate) const BUFFERS_PER_CORE_DEFAULT_BYTES: u64 = 288 << 20;
/// What it may say, in bytes: from the arena and four of the largest records, to what a ring can register.
pub(crate) const BUFFERS_PER_CORE_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=64 << 30;
/// What a core takes for its thread, its ring's queues and slots, and the histograms of its devices, in bytes.
pub(crate) const CORE_BYTES: u64 = 8 << 20;
/// The program and the threads that are no core's, in bytes.
pub(crate) const PROCESS_BYTES: u64 = 32 << 20;
/// Bytes of a request and its answer that are on their way between cores, as the memory plan reckons: most have less.
pub(crate) const HOP_FRAME_BYTES: usize = 1 << 10;
/// Entries of each of the three rings of a core's executor, which only park the core and keep its timers.
pub(crate) const EXECUTOR_RING_DEPTH: usize = 16;
/// Memory that a core's executor registers with its rings, in bytes: the least that it takes.
pub(crate) const EXECUTOR_BUFFER_BYTES: usize = 64 << 10;
/// The least limit of locked memory with which a core's executor starts, in bytes: its library refuses less.
pub(crate) const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// The shortest time that a stop may be given: less than a flush of a busy drive would give up work for nothing.
pub(crate) const STOP_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// And unless it is given any.
pub(crate) const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest: a supervisor has lost patience long before.
pub(crate) const STOP_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The part of it that clients have to take their last answers: one in four, so that devices have the rest.
pub(crate) const CLIENT_PATIENCE_PART: u32 = 4;
/// The part of it after which a core that still waits says for what: nine in ten.
pub(crate) const WAIT_REPORT_PART: (u32, u32) = (9, 10);
/// What a supervisor is asked to wait beyond the time of a stop, for the process to go.
pub(crate) const SUPERVISOR_SLACK: Duration = Duration::from_secs(5);
/// How often a start that takes long says how far it is.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// What a supervisor is asked for at each of these: ten times as long.
pub(crate) const PROGRESS_PATIENCE: Duration = Duration::from_secs(50);
/// How often it is looked whether namespaces are full.
pub(crate) const ROOM_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row that must find room before a full namespace is said to have room again: what is full to the brim
/// and overwritten has some for a moment now and then.
pub(crate) const ROOM_LOOKS_MIN: u32 = 5;
/// What a client that met "busy" should wait, in ms.
pub(crate) const RETRY_AFTER_MS: u32 = 5;
/// One request in so many is looked at to find the hottest digests, on average.
pub(crate) const SAMPLE_EVERY: u32 = 64;
/// Digests of a sketch: each with more than a 64th of the requests is among them. Looking through them takes some 50 ns, or
/// 1 ns a request.
pub(crate) const HOT_KEYS_MAX: usize = 64;
/// Of those, what one core tells of.
pub(crate) const HOT_KEYS_SHOWN_MAX: usize = 16;
/// Samples after which counts are halved: 4 million requests, some seconds of a busy core and an hour of an idle one.
pub(crate) const SAMPLES_MAX: u64 = 1 << 16;
/// Share from which on a digest stands among the metrics, in ten-thousandths: at most a hundred digests.
pub(crate) const HOT_KEY_SHARE_MIN: u64 = 100;
/// Share of the machine's or the control group's memory that the node plans with, in percent, until it is told
/// more: the rest is for the kernel (sockets' buffers, page tables) and for other processes.
pub(crate) const MEMORY_LIMIT_PERCENT: u64 = 80;
/// A machine that does not say what memory it has is taken for a small one, in bytes.
pub(crate) const MACHINE_BYTES_UNKNOWN: u64 = 4 << 30;
/// Ports of the control page's connections at once.
pub(crate) const CONTROL_CONNECTIONS_MAX: usize = 32;
/// The longest body of a request to the control page, in bytes: a key of the configuration and its value, which may be
/// a list of paths.
pub(crate) const CONTROL_BODY_BYTES_MAX: usize = 64 << 10;
/// How long after the first signal a second one means "stop at once", in ns.
pub(crate) const SECOND_SIGNAL_AFTER_NS: u64 = 1_000_000_000;
/// Times that a core tries to listen before it gives up, [`LISTEN_PAUSE`] apart: two seconds.
pub(crate) const LISTEN_ATTEMPTS_MAX: u32 = 40;
/// See [`LISTEN_ATTEMPTS_MAX`].
pub(crate) const LISTEN_PAUSE: Duration = Duration::from_millis(50);
