//! Every family of the page: name, help, kind, and where its figures come from.

use corelith_io::{BufferStatistics, DeviceStatistics, LatencyBuckets, OperationStatistics};
use corelith_store::{
    Counters, RecordCacheStatistics, RecoveryReport, SegmentCounts, ShardStatistics,
};

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
    /// Refusals of a core, by status.
    Refusals,
    /// Operations of a core and namespace, by kind and status.
    Outcomes,
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
    RECORDS,
    CACHE,
    SEGMENTS,
    LOG,
    RECOVERY,
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

const RECORDS: &[Family] = &[
    family(
        "corelith_records",
        "Records in the index.",
        Gauge,
        of_shard(|shard| shard.statistics.records),
    ),
    family(
        "corelith_index_bytes",
        "DRAM of the index.",
        Gauge,
        of_shard(|shard| shard.statistics.index_bytes),
    ),
    family(
        "corelith_index_refusals_total",
        "Durable records that the index refused: its table cannot grow any further.",
        Counter,
        of_shard(|shard| counters(shard).index_refusals),
    ),
    family(
        "corelith_pending_writes",
        "Keys with a write that is not durable yet.",
        Gauge,
        of_shard(|shard| shard.statistics.pending),
    ),
    family(
        "corelith_live_bytes",
        "Bytes of live records on the devices.",
        Gauge,
        of_shard(|shard| segments(shard).live_bytes),
    ),
    family(
        "corelith_tombstones",
        "Tombstones on the devices.",
        Gauge,
        of_shard(|shard| segments(shard).tombstones),
    ),
    family(
        "corelith_record_reads_total",
        "Reads of records from a device.",
        Counter,
        of_shard(|shard| counters(shard).device_reads),
    ),
    family(
        "corelith_record_read_bytes_total",
        "Bytes of those reads.",
        Counter,
        of_shard(|shard| counters(shard).device_read_bytes),
    ),
    family(
        "corelith_damaged_reads_total",
        "Reads that found a damaged record.",
        Counter,
        of_shard(|shard| counters(shard).damaged_reads),
    ),
];

const CACHE: &[Family] = &[
    family(
        "corelith_record_cache_limit_bytes",
        "DRAM that the record cache may take.",
        Gauge,
        of_shard(|shard| cache(shard).limit_bytes),
    ),
    family(
        "corelith_record_cache_bytes",
        "DRAM that the record cache takes, its tables included.",
        Gauge,
        of_shard(|shard| cache(shard).used_bytes),
    ),
    family(
        "corelith_record_cache_records",
        "Records in the record cache.",
        Gauge,
        of_shard(|shard| cache(shard).records),
    ),
    family(
        "corelith_record_cache_hits_total",
        "Reads of records that the record cache answered.",
        Counter,
        of_shard(|shard| cache(shard).hits),
    ),
    family(
        "corelith_record_cache_misses_total",
        "Reads of records, but those of scans, that had to go to a device.",
        Counter,
        of_shard(|shard| cache(shard).misses),
    ),
    family(
        "corelith_record_cache_evictions_total",
        "Records that left the record cache to make room.",
        Counter,
        of_shard(|shard| cache(shard).evictions),
    ),
];

const SEGMENTS: &[Family] = &[
    family(
        "corelith_segments",
        "Segments of the shard.",
        Gauge,
        of_shard(|shard| segments(shard).total),
    ),
    family(
        "corelith_segments_available",
        "Segments that the log can still open.",
        Gauge,
        of_shard(|shard| segments(shard).available),
    ),
    family(
        "corelith_segments_used",
        "Segments that hold part of the log.",
        Gauge,
        of_shard(|shard| {
            let counts = segments(shard);
            counts.total.saturating_sub(counts.available + counts.lost)
        }),
    ),
    family(
        "corelith_segments_lost",
        "Segments given up after a failed write or an unreadable header.",
        Gauge,
        of_shard(|shard| segments(shard).lost),
    ),
    family(
        "corelith_shard_full",
        "1 if no segment is left for new data: deletes are still taken.",
        Gauge,
        of_shard(|shard| u64::from(shard.statistics.is_full)),
    ),
    family(
        "corelith_shard_fenced",
        "1 if every device of the shard is fenced: nothing is written any more.",
        Gauge,
        of_shard(|shard| u64::from(shard.statistics.is_fenced)),
    ),
    family(
        "corelith_shard_may_be_stale",
        "1 if acknowledged writes are lost and nobody has accepted that: requests are refused.",
        Gauge,
        of_shard(|shard| u64::from(shard.statistics.may_be_stale)),
    ),
];

const LOG: &[Family] = &[
    family(
        "corelith_batches_total",
        "Batches made durable.",
        Counter,
        of_shard(|shard| counters(shard).batches),
    ),
    family(
        "corelith_batch_records_total",
        "Records made durable.",
        Counter,
        of_shard(|shard| counters(shard).records),
    ),
    family(
        "corelith_batch_record_bytes_total",
        "Bytes of those records, headers included.",
        Counter,
        of_shard(|shard| counters(shard).record_bytes),
    ),
    family(
        "corelith_batch_bytes_total",
        "Bytes of those batches, headers and padding included.",
        Counter,
        of_shard(|shard| counters(shard).batch_bytes),
    ),
    family(
        "corelith_batch_padding_bytes_total",
        "Bytes of those batches that fill them up to the write unit.",
        Counter,
        of_shard(|shard| counters(shard).padding_bytes),
    ),
    family(
        "corelith_log_overhead_bytes_total",
        "Bytes written beside batches: headers, summaries, zeros.",
        Counter,
        of_shard(|shard| counters(shard).overhead_bytes),
    ),
    family(
        "corelith_batches_queued",
        "Batches that wait for a place in flight.",
        Gauge,
        of_shard(|shard| shard.statistics.batches_queued),
    ),
    family(
        "corelith_log_writes_in_flight",
        "Writes of the log that the devices have not completed.",
        Gauge,
        of_shard(|shard| shard.statistics.writes_in_flight),
    ),
    family(
        "corelith_batches_in_doubt_total",
        "Batches that a failed device left in doubt.",
        Counter,
        of_shard(|shard| counters(shard).batches_in_doubt),
    ),
    family(
        "corelith_buffered_writes_lost_total",
        "Writes that were answered before they were durable, and that a failed device lost.",
        Counter,
        of_shard(|shard| counters(shard).buffered_lost),
    ),
];

const RECOVERY: &[Family] = &[
    family(
        "corelith_recovery_segments",
        "Segments that the last start found to hold part of the log.",
        Gauge,
        of_shard(|shard| recovery(shard).segments),
    ),
    family(
        "corelith_recovery_segments_scanned",
        "Of those, segments without a usable summary, whose data was read.",
        Gauge,
        of_shard(|shard| recovery(shard).scanned),
    ),
    family(
        "corelith_recovery_records",
        "Records that the last start replayed, superseded ones and tombstones included.",
        Gauge,
        of_shard(|shard| recovery(shard).records),
    ),
    family(
        "corelith_recovery_records_damaged",
        "Records that the last start found durable and unreadable: they are answered with errors.",
        Gauge,
        of_shard(|shard| recovery(shard).records_damaged),
    ),
    family(
        "corelith_recovery_batches_lost",
        "Batches that the last start found durable and unreadable.",
        Gauge,
        of_shard(|shard| recovery(shard).batches_lost),
    ),
    family(
        "corelith_recovery_segments_lost",
        "Segments that the last start found unreadable or missing.",
        Gauge,
        of_shard(|shard| {
            let report = recovery(shard);
            report.segments_unreadable + report.segments_missing
        }),
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

const fn of_shard(of: fn(&ShardSnapshot) -> u64) -> Source {
    Source::Shard(of)
}

fn counters(shard: &ShardSnapshot) -> &Counters {
    let ShardStatistics { counters, .. } = &shard.statistics;
    counters
}

fn cache(shard: &ShardSnapshot) -> &RecordCacheStatistics {
    let ShardStatistics { record_cache, .. } = &shard.statistics;
    record_cache
}

fn segments(shard: &ShardSnapshot) -> &SegmentCounts {
    let ShardStatistics { segments, .. } = &shard.statistics;
    segments
}

const fn recovery(shard: &ShardSnapshot) -> &RecoveryReport {
    &shard.recovery
}

fn buffers(core: &CoreSnapshot, of: fn(&BufferStatistics) -> usize) -> u64 {
    core.buffers
        .as_ref()
        .map_or(0, |buffers| corelith_io::to_u64(of(buffers)))
}
