//! What a core counts, and the page that shows it: Prometheus text form, names in base units.
//!
//! Counters are a core's own cells; a snapshot of them travels to the control thread, or to another
//! core, when it asks.

use std::cell::{Cell, RefCell};
use std::fmt::Write;

use corelith_io::{BufferStatistics, RingStatistics};
use corelith_store::{Counters, ShardStatistics};
use corelith_wire::Status;
use hdrhistogram::Histogram;

/// Bounds of the latency histograms, in ns: from 10 us to 10 s, about three a decade.
const BUCKETS_NS: [u64; 17] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Kinds of operations that are counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OperationKind {
    /// Get.
    Get,
    /// Put.
    Put,
    /// Delete.
    Delete,
    /// Touch.
    Touch,
    /// A page of a scan.
    Scan,
}

impl OperationKind {
    const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Delete, Self::Touch, Self::Scan];

    const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Touch => "touch",
            Self::Scan => "scan",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Get => 0,
            Self::Put => 1,
            Self::Delete => 2,
            Self::Touch => 3,
            Self::Scan => 4,
        }
    }
}

/// Counters of one core.
pub(crate) struct CoreMetrics {
    outcomes: RefCell<[[u64; Status::ALL.len()]; 5]>,
    latency_ns: RefCell<Histogram<u64>>,
    pub(crate) connections: Cell<u64>,
    pub(crate) connections_accepted: Cell<u64>,
    pub(crate) requests: Cell<u64>,
    pub(crate) requests_from_other_cores: Cell<u64>,
    pub(crate) requests_to_other_cores: Cell<u64>,
    pub(crate) refused_busy: Cell<u64>,
    pub(crate) received_bytes: Cell<u64>,
    pub(crate) sent_bytes: Cell<u64>,
    pub(crate) broken_streams: Cell<u64>,
}

impl CoreMetrics {
    pub(crate) fn new() -> Self {
        // Two significant digits over 60 s: 20 KiB a core.
        let histogram = Histogram::new_with_bounds(1_000, 60_000_000_000, 2);
        Self {
            outcomes: RefCell::new([[0; Status::ALL.len()]; 5]),
            latency_ns: RefCell::new(
                histogram.unwrap_or_else(|_| Histogram::new_from(&fallback())),
            ),
            connections: Cell::new(0),
            connections_accepted: Cell::new(0),
            requests: Cell::new(0),
            requests_from_other_cores: Cell::new(0),
            requests_to_other_cores: Cell::new(0),
            refused_busy: Cell::new(0),
            received_bytes: Cell::new(0),
            sent_bytes: Cell::new(0),
            broken_streams: Cell::new(0),
        }
    }

    /// An operation ended.
    pub(crate) fn count(&self, kind: OperationKind, status: Status) {
        let mut outcomes = self.outcomes.borrow_mut();
        let number = usize::from(status.number().saturating_sub(1));
        if let Some(count) = outcomes
            .get_mut(kind.index())
            .and_then(|statuses| statuses.get_mut(number))
        {
            *count += 1;
        }
    }

    /// A request was answered so long after it arrived, in ns.
    pub(crate) fn took(&self, latency_ns: u64) {
        self.latency_ns.borrow_mut().saturating_record(latency_ns);
    }

    /// Everything, as it is now.
    pub(crate) fn snapshot(&self, core: u16) -> CoreSnapshot {
        CoreSnapshot {
            core,
            outcomes: *self.outcomes.borrow(),
            latency_ns: self.latency_ns.borrow().clone(),
            gauges: [(
                "corelith_connections",
                "Connections that are open.",
                self.connections.get(),
            )],
            counters: [
                (
                    "corelith_connections_accepted_total",
                    "Connections accepted.",
                    self.connections_accepted.get(),
                ),
                (
                    "corelith_requests_total",
                    "Requests received, of every kind.",
                    self.requests.get(),
                ),
                (
                    "corelith_requests_from_other_cores_total",
                    "Requests done here that arrived at another core.",
                    self.requests_from_other_cores.get(),
                ),
                (
                    "corelith_requests_to_other_cores_total",
                    "Requests that arrived here and were another core's.",
                    self.requests_to_other_cores.get(),
                ),
                (
                    "corelith_requests_refused_busy_total",
                    "Requests refused because a queue was full.",
                    self.refused_busy.get(),
                ),
                (
                    "corelith_received_bytes_total",
                    "Bytes received from clients.",
                    self.received_bytes.get(),
                ),
                (
                    "corelith_sent_bytes_total",
                    "Bytes sent to clients.",
                    self.sent_bytes.get(),
                ),
                (
                    "corelith_broken_streams_total",
                    "Connections closed because their bytes were no frames.",
                    self.broken_streams.get(),
                ),
            ],
            ring: RingStatistics::default(),
            buffers: None,
            shards: Vec::new(),
        }
    }
}

/// Only reached if the bounds above were invalid, which a test rules out.
fn fallback() -> Histogram<u64> {
    Histogram::new(1).unwrap_or_else(|_| unreachable!("one digit is always valid"))
}

/// Name, help and value of a figure.
type Figure = (&'static str, &'static str, u64);

/// What one core had counted when it was asked.
pub(crate) struct CoreSnapshot {
    core: u16,
    outcomes: [[u64; Status::ALL.len()]; 5],
    latency_ns: Histogram<u64>,
    gauges: [Figure; 1],
    counters: [Figure; 8],
    pub(crate) ring: RingStatistics,
    pub(crate) buffers: Option<BufferStatistics>,
    /// By shard number.
    pub(crate) shards: Vec<(u16, ShardStatistics)>,
}

impl CoreSnapshot {
    /// Whose it is.
    pub(crate) const fn core(&self) -> u16 {
        self.core
    }
}

/// The page: all cores.
pub(crate) fn render(snapshots: &[CoreSnapshot], prefix: &str) -> String {
    let mut page = Page::new(snapshots, prefix);
    while page.step() {}
    page.into_text()
}

/// A page under way, made in steps of some 20 us, so that a core can do something else between two.
pub(crate) struct Page<'a> {
    text: String,
    prefix: &'a str,
    snapshots: &'a [CoreSnapshot],
    next: usize,
}

impl<'a> Page<'a> {
    pub(crate) const fn new(snapshots: &'a [CoreSnapshot], prefix: &'a str) -> Self {
        Self {
            text: String::new(),
            prefix,
            snapshots,
            next: 0,
        }
    }

    /// The next step; false when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let step = self.next;
        self.next += 1;
        let snapshots = self.snapshots;
        let Some(step) = step.checked_sub(1) else {
            self.operations(snapshots);
            return true;
        };
        if let Some(snapshot) = snapshots.get(step) {
            self.latency(snapshot, step == 0);
            return true;
        }
        match step - snapshots.len() {
            0 => self.cores(snapshots, "gauge", |snapshot| {
                snapshot.gauges.first().copied()
            }),
            figure @ 1..=8 => self.cores(snapshots, "counter", |snapshot| {
                snapshot.counters.get(figure - 1).copied()
            }),
            9 => self.rings(snapshots),
            figure => match SHARD_FIGURES.get(figure - 10) {
                Some(figure) => self.shards(snapshots, figure),
                None => return false,
            },
        }
        true
    }

    /// What has been written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Opens a family; false if its name does not begin with the prefix asked for.
    fn family(&mut self, name: &str, help: &str, kind: &str) -> bool {
        let wanted = name.starts_with(self.prefix);
        if wanted {
            self.line(format_args!("# HELP {name} {help}"));
            self.line(format_args!("# TYPE {name} {kind}"));
        }
        wanted
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let written = writeln!(self.text, "{line}");
        debug_assert!(written.is_ok());
    }

    fn operations(&mut self, snapshots: &[CoreSnapshot]) {
        let name = "corelith_operations_total";
        if !self.family(
            name,
            "Operations ended, by what they were and how they ended.",
            "counter",
        ) {
            return;
        }
        for snapshot in snapshots {
            for (kind, statuses) in OperationKind::ALL.iter().zip(&snapshot.outcomes) {
                for (status, count) in Status::ALL
                    .iter()
                    .zip(statuses)
                    .filter(|(_, count)| **count > 0)
                {
                    let (core, kind) = (snapshot.core, kind.name());
                    let status = status_label(*status);
                    self.line(format_args!(
                        "{name}{{core=\"{core}\",operation=\"{kind}\",status=\"{status}\"}} {count}"
                    ));
                }
            }
        }
    }

    /// The latencies of one core.
    fn latency(&mut self, snapshot: &CoreSnapshot, is_first: bool) {
        let name = "corelith_request_duration_seconds";
        if !name.starts_with(self.prefix) {
            return;
        }
        if is_first {
            self.family(
                name,
                "Time from a request's arrival to its answer's place in the outbox.",
                "histogram",
            );
        }
        let core = snapshot.core;
        let mut below = 0;
        let mut last = 0;
        for bound in BUCKETS_NS {
            below += snapshot.latency_ns.count_between(last, bound);
            last = bound + 1;
            self.line(format_args!(
                "{name}_bucket{{core=\"{core}\",le=\"{}\"}} {below}",
                seconds(bound)
            ));
        }
        let count = snapshot.latency_ns.len();
        self.line(format_args!(
            "{name}_bucket{{core=\"{core}\",le=\"+Inf\"}} {count}"
        ));
        let sum: u128 = snapshot
            .latency_ns
            .iter_recorded()
            .map(|step| u128::from(step.value_iterated_to()) * u128::from(step.count_at_value()))
            .sum();
        let sum = seconds(u64::try_from(sum).unwrap_or(u64::MAX));
        self.line(format_args!("{name}_sum{{core=\"{core}\"}} {sum}"));
        self.line(format_args!("{name}_count{{core=\"{core}\"}} {count}"));
    }

    /// One figure of every core.
    fn cores(
        &mut self,
        snapshots: &[CoreSnapshot],
        kind: &str,
        figure: impl Fn(&CoreSnapshot) -> Option<Figure>,
    ) {
        let Some((name, help, _)) = snapshots.first().and_then(&figure) else {
            return;
        };
        if !self.family(name, help, kind) {
            return;
        }
        for snapshot in snapshots {
            if let Some((_, _, value)) = figure(snapshot) {
                let core = snapshot.core;
                self.line(format_args!("{name}{{core=\"{core}\"}} {value}"));
            }
        }
    }

    fn rings(&mut self, snapshots: &[CoreSnapshot]) {
        type Of = fn(&CoreSnapshot) -> u64;
        let figures: [(&'static str, &'static str, &str, Of); 4] = [
            (
                "corelith_ring_enters_total",
                "System calls of the core's ring.",
                "counter",
                |s| s.ring.enter_count,
            ),
            (
                "corelith_ring_completions_total",
                "Completions of the core's ring.",
                "counter",
                |s| s.ring.completion_count,
            ),
            (
                "corelith_ring_in_flight",
                "Operations that the kernel has.",
                "gauge",
                |s| s.ring.in_flight_count,
            ),
            (
                "corelith_ring_starved_receives_total",
                "Receives that ended for want of a buffer.",
                "counter",
                |s| s.ring.starved_count,
            ),
        ];
        for (name, help, kind, of) in figures {
            self.cores(snapshots, kind, |snapshot| Some((name, help, of(snapshot))));
        }
    }

    /// One figure of every shard.
    fn shards(&mut self, snapshots: &[CoreSnapshot], (name, help, kind, of): &ShardFigure) {
        if !self.family(name, help, kind) {
            return;
        }
        for (shard, statistics) in snapshots.iter().flat_map(|snapshot| &snapshot.shards) {
            let value = of(statistics, &statistics.counters);
            self.line(format_args!("{name}{{shard=\"{shard}\"}} {value}"));
        }
    }
}

type OfShard = fn(&ShardStatistics, &Counters) -> u64;

/// Name, help, kind and value of a figure of a shard.
type ShardFigure = (&'static str, &'static str, &'static str, OfShard);

/// Figures of each shard.
const SHARD_FIGURES: [ShardFigure; 18] = [
    (
        "corelith_records",
        "Records in the index.",
        "gauge",
        |s, _| s.records,
    ),
    (
        "corelith_index_bytes",
        "DRAM of the index.",
        "gauge",
        |s, _| s.index_bytes,
    ),
    (
        "corelith_pending_writes",
        "Keys with a write that is not durable yet.",
        "gauge",
        |s, _| s.pending,
    ),
    (
        "corelith_segments",
        "Segments of the shard.",
        "gauge",
        |s, _| s.segments.total,
    ),
    (
        "corelith_segments_available",
        "Segments that the log can still open.",
        "gauge",
        |s, _| s.segments.available,
    ),
    (
        "corelith_segments_lost",
        "Segments given up after a failed write or an unreadable header.",
        "gauge",
        |s, _| s.segments.lost,
    ),
    (
        "corelith_live_bytes",
        "Bytes of live records on the devices.",
        "gauge",
        |s, _| s.segments.live_bytes,
    ),
    (
        "corelith_tombstones",
        "Tombstones on the devices.",
        "gauge",
        |s, _| s.segments.tombstones,
    ),
    (
        "corelith_batches_total",
        "Batches made durable.",
        "counter",
        |_, c| c.batches,
    ),
    (
        "corelith_batch_records_total",
        "Records made durable.",
        "counter",
        |_, c| c.records,
    ),
    (
        "corelith_batch_record_bytes_total",
        "Bytes of those records, headers included.",
        "counter",
        |_, c| c.record_bytes,
    ),
    (
        "corelith_batch_bytes_total",
        "Bytes of those batches, padding included.",
        "counter",
        |_, c| c.batch_bytes,
    ),
    (
        "corelith_log_overhead_bytes_total",
        "Bytes written beside batches: headers, summaries, zeros.",
        "counter",
        |_, c| c.overhead_bytes,
    ),
    (
        "corelith_device_reads_total",
        "Reads of records from a device.",
        "counter",
        |_, c| c.device_reads,
    ),
    (
        "corelith_device_read_bytes_total",
        "Bytes of those reads.",
        "counter",
        |_, c| c.device_read_bytes,
    ),
    (
        "corelith_damaged_reads_total",
        "Reads that found a damaged record.",
        "counter",
        |_, c| c.damaged_reads,
    ),
    (
        "corelith_batches_in_doubt_total",
        "Batches that a failed device left in doubt.",
        "counter",
        |_, c| c.batches_in_doubt,
    ),
    (
        "corelith_buffered_writes_lost_total",
        "Writes that were answered before they were durable, and that a failed device lost.",
        "counter",
        |_, c| c.buffered_lost,
    ),
];

/// A status as a label's value.
fn status_label(status: Status) -> String {
    let mut label = String::new();
    for character in format!("{status:?}").chars() {
        if character.is_ascii_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(character.to_ascii_lowercase());
    }
    label
}

/// Nanoseconds as decimal seconds, without a rounding of its own.
fn seconds(nanoseconds: u64) -> String {
    let text = format!(
        "{}.{:09}",
        nanoseconds / 1_000_000_000,
        nanoseconds % 1_000_000_000
    );
    let text = text.trim_end_matches('0');
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_what_was_counted() {
        let metrics = CoreMetrics::new();
        metrics.count(OperationKind::Get, Status::Ok);
        metrics.count(OperationKind::Get, Status::Ok);
        metrics.count(OperationKind::Put, Status::InDoubt);
        metrics.took(15_000);
        metrics.took(3_000_000);
        let page = render(&[metrics.snapshot(3)], "");
        let has = |line: &str| assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        has(r#"corelith_operations_total{core="3",operation="get",status="ok"} 2"#);
        has(r#"corelith_operations_total{core="3",operation="put",status="in_doubt"} 1"#);
        has(r#"corelith_request_duration_seconds_bucket{core="3",le="0.00001"} 0"#);
        has(r#"corelith_request_duration_seconds_bucket{core="3",le="0.00002"} 1"#);
        has(r#"corelith_request_duration_seconds_bucket{core="3",le="0.005"} 2"#);
        has(r#"corelith_request_duration_seconds_bucket{core="3",le="+Inf"} 2"#);
        has(r#"corelith_request_duration_seconds_count{core="3"} 2"#);
    }

    #[test]
    fn every_core_is_on_the_page_and_every_family_once() {
        let cores = [CoreMetrics::new(), CoreMetrics::new()];
        cores[1].requests.set(7);
        let page = render(&[cores[0].snapshot(0), cores[1].snapshot(1)], "");
        assert!(page.contains("corelith_requests_total{core=\"0\"} 0\n"));
        assert!(page.contains("corelith_requests_total{core=\"1\"} 7\n"));
        let families: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let mut distinct = families.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), families.len());
        assert_eq!(families.len(), 2 + 1 + 8 + 4 + SHARD_FIGURES.len());
    }

    #[test]
    fn a_prefix_selects_families() {
        let page = render(&[CoreMetrics::new().snapshot(0)], "corelith_connections");
        assert!(page.contains("corelith_connections{"));
        assert!(!page.contains("corelith_requests_total"));
    }

    #[test]
    fn seconds_are_exact() {
        assert_eq!(seconds(10_000), "0.00001");
        assert_eq!(seconds(10_000_000_000), "10");
        assert_eq!(seconds(1_500_000_000), "1.5");
        assert_eq!(seconds(0), "0");
    }
}
