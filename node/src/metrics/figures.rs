//! Every family of the page: name, help, kind, and where its figures come from. Here what cores and devices count;
//! `shards` has what the store does.

mod shards;

use corelith_io::{BufferStatistics, DeviceStatistics, LatencyBuckets, OperationStatistics};

use super::snapshot::{CoreSnapshot, ShardSnapshot};

/// Kind of a family, as the text form names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
}

impl FamilyKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Where the figures of a family come from, and so by which labels they are told apart.
pub(super) enum Source {
    /// One figure a core.
    Core(fn(&CoreSnapshot) -> u64),
    /// The same, given in ns and shown in seconds.
    CoreTime(fn(&CoreSnapshot) -> u64),
    /// Refusals of a core, by status.
    Refusals,
    /// Operations of a core and namespace, by kind and status.
    Outcomes,
    /// The hottest digests of a namespace.
    HotKeys,
    /// Latencies of requests of a core and namespace, by kind.
    RequestLatency,
    /// One figure a shard.
    Shard(fn(&ShardSnapshot) -> u64),
    /// One figure a device, the same on every core.
    Device(fn(&DeviceStatistics) -> u64),
    /// One figure for each core, device and kind of operation.
    DeviceOperation(fn(&OperationStatistics) -> u64),
    /// Latencies of each core, device and kind of operation.
    DeviceLatency(fn(&OperationStatistics) -> &LatencyBuckets),
}

/// One family of the page.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: FamilyKind,
    pub(super) source: Source,
}

const fn family(
    name: &'static str,
    help: &'static str,
    kind: FamilyKind,
    source: Source,
) -> Family {
    Family {
        name,
        help,
        kind,
        source,
    }
}

use FamilyKind::{Counter, Gauge, Histogram};

/// All families, in the order of the page.
pub(super) const FAMILIES: &[&[Family]] = &[
    OPERATIONS,
    CONNECTIONS,
    CORES,
    shards::RECORDS,
    shards::CACHE,
    shards::SEGMENTS,
    shards::LOG,
    shards::RECOVERY,
    DEVICES,
];

const OPERATIONS: &[Family] = &[
    family(
        "corelith_operations_total",
        "Operations on records ended, by what they were and how they ended, on the core that did them.",
        Counter,
        Source::Outcomes,
    ),
    family(
        "corelith_request_duration_seconds",
        "Time from a request's arrival to its answer's place in the outbox, on the core where it arrived.",
        Histogram,
        Source::RequestLatency,
    ),
    family(
        "corelith_hot_key_share",
        "Share of the namespace's sampled requests that one digest has, of those that have a hundredth or more; by the last 4 million requests of a core.",
        Gauge,
        Source::HotKeys,
    ),
    family(
        "corelith_slow_operations_total",
        "Operations that took longer than --slow-log says, on the core where they arrived.",
        Counter,
        Source::Core(|core| core.slow_operations),
    ),
    family(
        "corelith_requests_total",
        "Requests received, of every kind.",
        Counter,
        Source::Core(|core| core.requests),
    ),
    family(
        "corelith_batch_rows_total",
        "Rows of the batches that were taken on, on the core where they arrived.",
        Counter,
        Source::Core(|core| core.batch_rows),
    ),
    family(
        "corelith_requests_refused_total",
        "Requests refused before they became operations, by status.",
        Counter,
        Source::Refusals,
    ),
    family(
        "corelith_requests_in_flight",
        "Requests taken on and not answered yet.",
        Gauge,
        Source::Core(|core| core.requests_in_flight),
    ),
    family(
        "corelith_requests_from_other_cores_total",
        "Requests done here that arrived at another core.",
        Counter,
        Source::Core(|core| core.requests_from_other_cores),
    ),
    family(
        "corelith_requests_to_other_cores_total",
        "Requests that arrived here and were another core's.",
        Counter,
        Source::Core(|core| core.requests_to_other_cores),
    ),
    family(
        "corelith_hops_in_flight",
        "Requests that are at other cores and have not come back.",
        Gauge,
        Source::Core(|core| core.hops_in_flight),
    ),
];

const CONNECTIONS: &[Family] = &[
    family(
        "corelith_connections",
        "Connections that are open.",
        Gauge,
        Source::Core(|core| core.connections),
    ),
    family(
        "corelith_connections_accepted_total",
        "Connections accepted.",
        Counter,
        Source::Core(|core| core.connections_accepted),
    ),
    family(
        "corelith_connections_refused_total",
        "Connections closed at once: the core has as many as it takes, or takes none any more.",
        Counter,
        Source::Core(|core| core.connections_refused),
    ),
    family(
        "corelith_accept_failures_total",
        "Times that accepting failed, for want of descriptors for the most part.",
        Counter,
        Source::Core(|core| core.accept_failures),
    ),
    family(
        "corelith_broken_streams_total",
        "Connections closed because their bytes were no frames.",
        Counter,
        Source::Core(|core| core.broken_streams),
    ),
    family(
        "corelith_hello_timeouts_total",
        "Connections closed because no whole hello came within hello_timeout.",
        Counter,
        Source::Core(|core| core.hello_timeouts),
    ),
    family(
        "corelith_received_bytes_total",
        "Bytes received from clients.",
        Counter,
        Source::Core(|core| core.received_bytes),
    ),
    family(
        "corelith_sent_bytes_total",
        "Bytes sent to clients.",
        Counter,
        Source::Core(|core| core.sent_bytes),
    ),
    family(
        "corelith_outbox_bytes",
        "Bytes of answers that clients have not taken.",
        Gauge,
        Source::Core(|core| core.outbox_bytes),
    ),
];

const CORES: &[Family] = &[
    family(
        "corelith_ring_enters_total",
        "System calls of the core's ring.",
        Counter,
        Source::Core(|core| core.ring.enter_count),
    ),
    family(
        "corelith_ring_completions_total",
        "Completions of the core's ring.",
        Counter,
        Source::Core(|core| core.ring.completion_count),
    ),
    family(
        "corelith_ring_notices_total",
        "Turns of the core's ring in which other cores or threads had given notice.",
        Counter,
        Source::Core(|core| core.ring.notice_count),
    ),
    family(
        "corelith_ring_spin_seconds_total",
        "Time that the core has spun for want of work, before it sleeps; CPU time that no request costs.",
        Counter,
        Source::CoreTime(|core| core.ring.spun_ns),
    ),
    family(
        "corelith_ring_in_flight",
        "Operations of the core's ring that the kernel has.",
        Gauge,
        Source::Core(|core| core.ring.in_flight_count),
    ),
    family(
        "corelith_ring_resumed_total",
        "Transfers that were interrupted or short and went on.",
        Counter,
        Source::Core(|core| core.ring.resumed_count),
    ),
    family(
        "corelith_ring_starved_receives_total",
        "Receives that ended for want of a buffer.",
        Counter,
        Source::Core(|core| core.ring.starved_count),
    ),
    family(
        "corelith_ring_held_back_receives_total",
        "Receives that were stopped because their connection was read too slowly.",
        Counter,
        Source::Core(|core| core.ring.held_back_count),
    ),
    family(
        "corelith_buffer_limit_bytes",
        "Memory that the core's buffers may take.",
        Gauge,
        Source::Core(|core| buffers(core, |buffers| buffers.limit_bytes)),
    ),
    family(
        "corelith_buffer_arena_bytes",
        "Memory of the core's arena of buffers.",
        Gauge,
        Source::Core(|core| buffers(core, |buffers| buffers.arena_bytes)),
    ),
    family(
        "corelith_buffer_arena_lent_bytes",
        "Memory of the arena that is lent out.",
        Gauge,
        Source::Core(|core| buffers(core, |buffers| buffers.arena_lent_bytes)),
    ),
    family(
        "corelith_buffer_outside_bytes",
        "Memory of buffers outside the arena.",
        Gauge,
        Source::Core(|core| buffers(core, |buffers| buffers.outside_bytes)),
    ),
    family(
        "corelith_buffers_outside_total",
        "Buffers made outside the arena: where they grow steadily the arena is too small.",
        Counter,
        Source::Core(|core| core.buffers.map_or(0, |buffers| buffers.outside_count)),
    ),
];

const DEVICES: &[Family] = &[
    family(
        "corelith_device_size_bytes",
        "Size of the device.",
        Gauge,
        Source::Device(|device| device.size_bytes),
    ),
    family(
        "corelith_device_fenced",
        "1 if a flush or forced write failed: nothing is acknowledged on the device any more.",
        Gauge,
        Source::Device(|device| u64::from(device.is_fenced)),
    ),
    family(
        "corelith_device_operations_total",
        "Operations that the device did, of records, log and recovery.",
        Counter,
        Source::DeviceOperation(|operation| operation.count),
    ),
    family(
        "corelith_device_bytes_total",
        "Bytes that those operations moved.",
        Counter,
        Source::DeviceOperation(|operation| operation.bytes),
    ),
    family(
        "corelith_device_errors_total",
        "Operations that the device failed.",
        Counter,
        Source::DeviceOperation(|operation| operation.failed_count),
    ),
    family(
        "corelith_device_in_flight",
        "Operations that are awaited from the device.",
        Gauge,
        Source::DeviceOperation(|operation| operation.in_flight_count),
    ),
    family(
        "corelith_device_operation_duration_seconds",
        "Time from the call to the turn of the core in which the completion was seen.",
        Histogram,
        Source::DeviceLatency(|operation| &operation.latency),
    ),
];

fn buffers(core: &CoreSnapshot, of: fn(&BufferStatistics) -> usize) -> u64 {
    core.buffers
        .as_ref()
        .map_or(0, |buffers| corelith_io::to_u64(of(buffers)))
}
