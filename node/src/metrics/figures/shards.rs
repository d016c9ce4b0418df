//! Families of the figures that shards count: records, cache, segments, log, recovery.

use corelith_store::{
    Counters, RecordCacheStatistics, RecoveryReport, SegmentCounts, ShardStatistics,
};

use super::FamilyKind::{Counter, Gauge};
use super::{Family, Source, family};
use crate::metrics::snapshot::ShardSnapshot;

pub(super) const RECORDS: &[Family] = &[
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
        "corelith_index_limit_bytes",
        "DRAM that the index may take; at 90 % of it new keys are refused.",
        Gauge,
        of_shard(|shard| shard.statistics.index_limit_bytes),
    ),
    family(
        "corelith_index_full",
        "1 while the index refuses new keys, else 0.",
        Gauge,
        of_shard(|shard| u64::from(shard.statistics.is_index_full)),
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
        "corelith_joined_reads_total",
        "Reads of records that a device read under way for another request answered.",
        Counter,
        of_shard(|shard| counters(shard).joined_reads),
    ),
    family(
        "corelith_damaged_reads_total",
        "Reads that found a damaged record.",
        Counter,
        of_shard(|shard| counters(shard).damaged_reads),
    ),
    family(
        "corelith_records_damaged_total",
        "Records found damaged by reads and scrubs, each counted when it was first found.",
        Counter,
        of_shard(|shard| counters(shard).records_damaged),
    ),
    family(
        "corelith_scrub_bytes_total",
        "Bytes that scrubs have read.",
        Counter,
        of_shard(|shard| counters(shard).scrub_bytes),
    ),
    family(
        "corelith_scrub_records_total",
        "Records that scrubs have read.",
        Counter,
        of_shard(|shard| counters(shard).scrub_records),
    ),
    family(
        "corelith_scrub_pass_records",
        "Records that the scrub has read in the pass under way; corelith_records says of how many.",
        Gauge,
        of_shard(|shard| counters(shard).scrub_pass_records),
    ),
    family(
        "corelith_scrub_passes_total",
        "Passes over everything that scrubs have ended.",
        Counter,
        of_shard(|shard| counters(shard).scrub_passes),
    ),
    family(
        "corelith_scrub_structures_damaged_total",
        "Headers, footers and blocks of summaries that scrubs found damaged, each counted once.",
        Counter,
        of_shard(|shard| counters(shard).scrub_structures_damaged),
    ),
    family(
        "corelith_records_readable_again_total",
        "Records found damaged that could be read later.",
        Counter,
        of_shard(|shard| counters(shard).records_readable_again),
    ),
    family(
        "corelith_gone_reads_total",
        "Reads of records whose device was gone.",
        Counter,
        of_shard(|shard| counters(shard).reads_of_gone),
    ),
];

pub(super) const CACHE: &[Family] = &[
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

pub(super) const SEGMENTS: &[Family] = &[
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
            let others = counts.available + counts.lost + counts.checkpoints;
            counts.total.saturating_sub(others)
        }),
    ),
    family(
        "corelith_segments_checkpoint",
        "Segments that hold pages of checkpoints: the log gets them when it has no other.",
        Gauge,
        of_shard(|shard| segments(shard).checkpoints),
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
        "corelith_shard_clock_ahead_seconds",
        "How far the wall clock has stepped ahead while that is further than clock_jump_max and writes are refused, else 0.",
        Gauge,
        of_shard(|shard| shard.statistics.clock_ahead_ms / 1000),
    ),
    family(
        "corelith_shard_may_be_stale",
        "1 if acknowledged writes are lost and nobody has accepted that: requests are refused.",
        Gauge,
        of_shard(|shard| u64::from(shard.statistics.may_be_stale)),
    ),
];

pub(super) const LOG: &[Family] = &[
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
        "corelith_reclaimed_segments_total",
        "Segments that reclaim emptied by copying what lived in them.",
        Counter,
        of_shard(|shard| counters(shard).segments_reclaimed),
    ),
    family(
        "corelith_reclaim_moved_records_total",
        "Records that reclaim copied, tombstones included.",
        Counter,
        of_shard(|shard| counters(shard).moved_records),
    ),
    family(
        "corelith_reclaim_moved_bytes_total",
        "Bytes of headers and contents of those copies.",
        Counter,
        of_shard(|shard| counters(shard).moved_bytes),
    ),
    family(
        "corelith_reclaim_read_bytes_total",
        "Bytes that reclaim read.",
        Counter,
        of_shard(|shard| counters(shard).reclaim_read_bytes),
    ),
    family(
        "corelith_reclaim_damaged_total",
        "Times that reclaim could not read a record back and left its segment as it was.",
        Counter,
        of_shard(|shard| counters(shard).reclaim_damaged),
    ),
    family(
        "corelith_tombstones_dropped_total",
        "Tombstones that were not needed any more when reclaim met them.",
        Counter,
        of_shard(|shard| counters(shard).tombstones_dropped),
    ),
    family(
        "corelith_expired_records_total",
        "Expired records removed from the index; their space comes back with their segments.",
        Counter,
        of_shard(|shard| counters(shard).expired_records),
    ),
    family(
        "corelith_expired_bytes_total",
        "Bytes of those records.",
        Counter,
        of_shard(|shard| counters(shard).expired_bytes),
    ),
    family(
        "corelith_expired_headers_moved_total",
        "Expired records whose header reclaim had to keep, as a tombstone, because an older version is in the log yet.",
        Counter,
        of_shard(|shard| counters(shard).expired_headers_moved),
    ),
    family(
        "corelith_expiry_sweeps_total",
        "Sweeps through the index that looked for expired records.",
        Counter,
        of_shard(|shard| counters(shard).expiry_sweeps),
    ),
    family(
        "corelith_clock_doubtful",
        "1 while the wall clock is not trusted, else 0: expired records are invisible and not removed.",
        Gauge,
        of_shard(|shard| u64::from(shard.statistics.is_clock_doubtful)),
    ),
    family(
        "corelith_log_overhead_bytes_total",
        "Bytes written beside batches: headers, summaries, zeros.",
        Counter,
        of_shard(|shard| counters(shard).overhead_bytes),
    ),
    family(
        "corelith_checkpoint_bytes_total",
        "Bytes of checkpoints written, with the headers of their segments.",
        Counter,
        of_shard(|shard| counters(shard).checkpoint_bytes),
    ),
    family(
        "corelith_checkpoint_pages_total",
        "Pages of checkpoints written.",
        Counter,
        of_shard(|shard| counters(shard).checkpoint_pages),
    ),
    family(
        "corelith_checkpoint_rounds_total",
        "Rounds of checkpoints that went through everything.",
        Counter,
        of_shard(|shard| counters(shard).checkpoint_rounds),
    ),
    family(
        "corelith_checkpoint_failures_total",
        "Checkpoints that a failing device broke off.",
        Counter,
        of_shard(|shard| counters(shard).checkpoint_failures),
    ),
    family(
        "corelith_checkpoint_segments_returned_total",
        "Segments with pages of checkpoints that the log was given because it had no other.",
        Counter,
        of_shard(|shard| counters(shard).checkpoint_segments_given_back),
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

pub(super) const RECOVERY: &[Family] = &[
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
        "corelith_recovery_segments_in_checkpoint",
        "Of those, segments that a checkpoint held whole: nothing of them was read but their ends.",
        Gauge,
        of_shard(|shard| recovery(shard).in_pages),
    ),
    family(
        "corelith_recovery_checkpoint_entries",
        "Entries of the index that the last start took from a checkpoint.",
        Gauge,
        of_shard(|shard| recovery(shard).checkpoint_entries),
    ),
    family(
        "corelith_recovery_checkpoint_pages_damaged",
        "Pages of checkpoints that the last start found damaged: older ones, or the log, took their place.",
        Gauge,
        of_shard(|shard| recovery(shard).checkpoint_pages_damaged),
    ),
    family(
        "corelith_recovery_checkpoint_unusable",
        "1 if the last start found a checkpoint that it could not use: it has read the whole log.",
        Gauge,
        of_shard(|shard| u64::from(recovery(shard).checkpoint_unusable)),
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
