//! The page: every family of every core as text, in small steps.

use std::fmt::Write;

use corelith_io::{DeviceStatistics, LATENCY_BOUNDS_NS, LatencyBuckets, OperationStatistics};
use corelith_wire::Status;

use super::figures::{FAMILIES, Family, FamilyKind, Source};
use crate::limits::HOT_KEY_SHARE_MIN;
use crate::memory_plan::MemoryPlan;

use super::hot::{samples_of, share};
use super::snapshot::{CoreSnapshot, NamespaceSnapshot};

/// What the node as a whole says of itself; only the control thread knows it.
pub(crate) struct NodeFigures<'a> {
    /// Words that name the state, every one of them, and whether the node is in it.
    pub(crate) states: Vec<(&'static str, bool)>,
    /// What memory was planned at the start.
    pub(crate) memory: &'a MemoryPlan,
}

/// The page of the control thread: the node, and all cores.
pub(crate) fn render(node: &NodeFigures<'_>, snapshots: &[CoreSnapshot]) -> String {
    let mut page = Page::new(snapshots, "");
    page.node(node);
    while page.step() {}
    page.into_text()
}

/// A page under way. A step writes one family of one core and namespace, some 20 us, so that a core can do
/// something else between two.
pub(crate) struct Page<'a> {
    text: String,
    snapshots: &'a [CoreSnapshot],
    families: Vec<&'static Family>,
    family: usize,
    core: usize,
    namespace: usize,
    is_open: bool,
}

impl<'a> Page<'a> {
    /// A page of the families whose names begin with `prefix`.
    pub(crate) fn new(snapshots: &'a [CoreSnapshot], prefix: &'a str) -> Self {
        let families = FAMILIES
            .iter()
            .flat_map(|group| group.iter())
            .filter(|family| family.name.starts_with(prefix))
            .collect();
        Self {
            text: String::new(),
            snapshots,
            families,
            family: 0,
            core: 0,
            namespace: 0,
            is_open: false,
        }
    }

    /// The next step; false when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let Some(family) = self.families.get(self.family).copied() else {
            return false;
        };
        if !self.is_open {
            self.is_open = true;
            self.open((family.name, family.help), family.kind);
        }
        let snapshots = self.snapshots;
        let Some(snapshot) = snapshots.get(self.core) else {
            self.family += 1;
            (self.core, self.is_open) = (0, false);
            return true;
        };
        if let Source::Core(_) | Source::CoreTime(_) | Source::Refusals = family.source {
            self.of_core(family, snapshot);
            self.core += 1;
            return true;
        }
        match snapshot.namespaces.get(self.namespace) {
            Some(namespace) => {
                self.of_namespace(family, snapshot, namespace);
                self.namespace += 1;
            }
            None => {
                self.core += 1;
                self.namespace = 0;
            }
        }
        true
    }

    /// What has been written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn open(&mut self, (name, help): (&str, &str), kind: FamilyKind) {
        let kind = kind.name();
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let written = writeln!(self.text, "{line}");
        debug_assert!(written.is_ok());
    }

    fn node(&mut self, node: &NodeFigures<'_>) {
        let version = env!("CARGO_PKG_VERSION");
        let (build, state) = ("corelith_build_info", "corelith_state");
        self.open(
            (build, "1, with the version as a label."),
            FamilyKind::Gauge,
        );
        self.line(format_args!("{build}{{version=\"{version}\"}} 1"));
        self.open(
            (
                state,
                "1 for the state that /ready names, 0 for the others.",
            ),
            FamilyKind::Gauge,
        );
        for (name, is_current) in &node.states {
            let value = u64::from(*is_current);
            self.line(format_args!("{state}{{state=\"{name}\"}} {value}"));
        }
        self.memory(node.memory);
    }

    fn memory(&mut self, memory: &MemoryPlan) {
        let (limit, planned) = (
            "corelith_memory_limit_bytes",
            "corelith_memory_planned_bytes",
        );
        self.open(
            (limit, "Memory that the node plans with, and who says so."),
            FamilyKind::Gauge,
        );
        let (source, bytes) = (memory.limit.source(), memory.limit.bytes);
        self.line(format_args!("{limit}{{source=\"{source}\"}} {bytes}"));
        let help = "The most that a part of the node may take of it; the namespace is empty for what serves all.";
        self.open((planned, help), FamilyKind::Gauge);
        for reservation in &memory.reservations {
            let (part, bytes) = (reservation.part.name(), reservation.bytes);
            let namespace = label_value(reservation.namespace.as_deref().unwrap_or_default());
            self.line(format_args!(
                "{planned}{{namespace=\"{namespace}\",part=\"{part}\"}} {bytes}"
            ));
        }
    }

    fn of_core(&mut self, family: &Family, snapshot: &CoreSnapshot) {
        let (name, core) = (family.name, snapshot.core);
        match family.source {
            Source::Core(of) => {
                let value = of(snapshot);
                self.line(format_args!("{name}{{core=\"{core}\"}} {value}"));
            }
            Source::CoreTime(of) => {
                let value = seconds(of(snapshot));
                self.line(format_args!("{name}{{core=\"{core}\"}} {value}"));
            }
            Source::Refusals => {
                let counts = Status::ALL.into_iter().zip(snapshot.refusals);
                for (status, count) in counts.filter(|(_, count)| *count > 0) {
                    let status = label_of(status);
                    self.line(format_args!(
                        "{name}{{core=\"{core}\",status=\"{status}\"}} {count}"
                    ));
                }
            }
            Source::Outcomes
            | Source::HotKeys
            | Source::RequestLatency
            | Source::Shard(_)
            | Source::Device(_)
            | Source::DeviceOperation(_)
            | Source::DeviceLatency(_) => (),
        }
    }

    fn of_namespace(
        &mut self,
        family: &Family,
        snapshot: &CoreSnapshot,
        namespace: &NamespaceSnapshot,
    ) {
        let name = family.name;
        let label = label_value(&namespace.name);
        let core = format!("core=\"{}\",namespace=\"{label}\"", snapshot.core);
        match family.source {
            Source::Outcomes => {
                for (kind, status, count) in namespace.operations.outcomes() {
                    let (kind, status) = (label_of(kind), label_of(status));
                    self.line(format_args!(
                        "{name}{{{core},operation=\"{kind}\",status=\"{status}\"}} {count}"
                    ));
                }
            }
            Source::HotKeys => {
                let of_samples = samples_of(self.snapshots, &namespace.name);
                for key in &namespace.hot_keys.keys {
                    let (digest, share) = (key.digest, share(key.own_samples(), of_samples));
                    if share >= HOT_KEY_SHARE_MIN {
                        let share = seconds(share * 100_000);
                        self.line(format_args!("{name}{{{core},digest=\"{digest}\"}} {share}"));
                    }
                }
            }
            Source::RequestLatency => {
                for (kind, buckets) in &namespace.operations.latencies {
                    let kind = label_of(kind);
                    self.latency((name, &format!("{core},operation=\"{kind}\"")), buckets);
                }
            }
            Source::Shard(of) => {
                for shard in &namespace.shards {
                    let (number, value) = (shard.shard, of(shard));
                    self.line(format_args!(
                        "{name}{{namespace=\"{label}\",shard=\"{number}\"}} {value}"
                    ));
                }
            }
            Source::Device(of) if self.is_first_with_devices(namespace) => {
                for device in &namespace.devices {
                    let (device, value) = (label_value(&device.name), of(&device.statistics));
                    self.line(format_args!(
                        "{name}{{namespace=\"{label}\",device=\"{device}\"}} {value}"
                    ));
                }
            }
            Source::DeviceOperation(of) => {
                for (labels, operation) in device_operations(&core, namespace) {
                    let value = of(operation);
                    self.line(format_args!("{name}{{{labels}}} {value}"));
                }
            }
            Source::DeviceLatency(of) => {
                for (labels, operation) in device_operations(&core, namespace) {
                    self.latency((name, &labels), of(operation));
                }
            }
            Source::Device(_) | Source::Core(_) | Source::CoreTime(_) | Source::Refusals => (),
        }
    }

    /// True on the first core of the page that has devices of this namespace.
    fn is_first_with_devices(&self, namespace: &NamespaceSnapshot) -> bool {
        let before = self.snapshots.get(..self.core).unwrap_or_default();
        before
            .iter()
            .flat_map(|snapshot| &snapshot.namespaces)
            .all(|other| other.name != namespace.name || other.devices.is_empty())
    }

    fn latency(&mut self, (name, labels): (&str, &str), buckets: &LatencyBuckets) {
        for (bound_ns, count) in LATENCY_BOUNDS_NS.iter().zip(buckets.counts) {
            let bound = seconds(*bound_ns);
            self.line(format_args!(
                "{name}_bucket{{{labels},le=\"{bound}\"}} {count}"
            ));
        }
        let (count, sum) = (buckets.count, seconds(buckets.sum_ns));
        self.line(format_args!(
            "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"
        ));
        self.line(format_args!("{name}_sum{{{labels}}} {sum}"));
        self.line(format_args!("{name}_count{{{labels}}} {count}"));
    }
}

/// Labels and figures of each kind of operation of each device.
fn device_operations<'a>(
    core: &'a str,
    namespace: &'a NamespaceSnapshot,
) -> impl Iterator<Item = (String, &'a OperationStatistics)> {
    namespace.devices.iter().flat_map(move |device| {
        let name = label_value(&device.name);
        let DeviceStatistics {
            reads,
            writes,
            flushes,
            ..
        } = &device.statistics;
        [("read", reads), ("write", writes), ("flush", flushes)].map(|(kind, figures)| {
            let labels = format!("{core},device=\"{name}\",operation=\"{kind}\"");
            (labels, figures)
        })
    })
}

/// The name of a variant as a label's value.
fn label_of(variant: impl std::fmt::Debug) -> String {
    let mut label = String::new();
    for character in format!("{variant:?}").chars() {
        if character.is_ascii_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(character.to_ascii_lowercase());
    }
    label
}

/// A name as it may stand between a label's quotes.
fn label_value(name: &str) -> String {
    name.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

/// Nanoseconds as decimal seconds, or other billionths, without a rounding of its own.
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
    fn seconds_are_exact() {
        assert_eq!(seconds(10_000), "0.00001");
        assert_eq!(seconds(10_000_000_000), "10");
        assert_eq!(seconds(1_500_000_000), "1.5");
        assert_eq!(seconds(0), "0");
    }
}
