//! The node's health: where it is in its life, and while it serves what it cannot do. `/ready` says it in
//! words, `corelith_state` in figures.
//!
//! A node that only refuses new data still answers reads, and stays ready; one that acknowledges no write
//! any more is not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use corelith_store::{RecoveredSoFar, RecoveryProgress};

use crate::metrics::CoreSnapshot;

/// Where the node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NodeState {
    /// Shards are being recovered.
    Loading,
    /// Requests are served.
    Serving,
    /// No new work is taken until an operator resumes the node.
    Quiesced,
    /// No new work is taken.
    Stopping,
}

impl NodeState {
    /// True if the cores answer what they are asked.
    pub(crate) const fn is_up(self) -> bool {
        match self {
            Self::Serving | Self::Quiesced => true,
            Self::Loading | Self::Stopping => false,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Loading => 0,
            Self::Serving => 1,
            Self::Quiesced => 2,
            Self::Stopping => 3,
        }
    }
}

/// The node's state, set by the main thread, and the progress of its recovery, told by the cores; read by
/// the page.
#[derive(Clone)]
pub(crate) struct StateCell(Arc<Shared>);

struct Shared {
    state: AtomicU8,
    shard_count: u64,
    progress: RecoveryProgress,
}

impl StateCell {
    /// Of a node that begins to load so many shards.
    pub(crate) fn new(shard_count: u64) -> Self {
        Self(Arc::new(Shared {
            state: AtomicU8::new(0),
            shard_count,
            progress: RecoveryProgress::default(),
        }))
    }

    /// Where cores tell how far their recovery is.
    pub(crate) fn progress(&self) -> &RecoveryProgress {
        &self.0.progress
    }

    pub(crate) fn set(&self, state: NodeState) {
        self.0.state.store(state.number(), Ordering::Release);
    }

    /// Changes from one state to another; false if the node is in neither a moment to do so.
    pub(crate) fn change(&self, from: NodeState, to: NodeState) -> bool {
        let (from, to) = (from.number(), to.number());
        let cell = &self.0.state;
        cell.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(crate) fn get(&self) -> NodeState {
        match self.0.state.load(Ordering::Acquire) {
            0 => NodeState::Loading,
            1 => NodeState::Serving,
            2 => NodeState::Quiesced,
            _ => NodeState::Stopping,
        }
    }
}

/// How far the recovery of all shards is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    shard_count: u64,
    so_far: RecoveredSoFar,
}

impl Progress {
    /// As it is now.
    pub(crate) fn of(state: &StateCell) -> Self {
        Self {
            shard_count: state.0.shard_count,
            so_far: state.progress().so_far(),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecoveredSoFar {
            shards_found,
            shards_recovered,
            segments_found,
            segments_replayed,
            records_replayed,
        } = self.so_far;
        let shard_count = self.shard_count;
        write!(
            formatter,
            "{shards_recovered} of {shard_count} shards recovered; {segments_replayed} segments replayed of \
             {segments_found} in the {shards_found} shards read so far; {records_replayed} records"
        )
    }
}

/// What the node can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// Shards are being recovered.
    Loading(Progress),
    /// Everything. The lines tell of what wants a look all the same.
    Serving(Vec<String>),
    /// Reads, and deletes where a namespace has no room for new data; no write where the clock is not believed.
    ReadOnly(Vec<String>),
    /// Some requests are refused: acknowledged writes are lost.
    Partial(Vec<String>),
    /// Reads: the devices of these namespaces acknowledge nothing any more.
    Fenced(Vec<String>),
    /// Nothing new, until it is resumed.
    Quiesced,
    /// Nothing new.
    Stopping,
    /// Unknown: a core does not say.
    Silent,
}

/// Words of all states, as `/ready` begins and the label `state` holds.
const WORDS: [&str; 8] = [
    "loading",
    "serving",
    "read-only",
    "partial",
    "fenced",
    "quiesced",
    "stopping",
    "silent",
];

impl Health {
    /// The health of a node that serves, from what its cores know.
    pub(crate) fn of(snapshots: &[CoreSnapshot]) -> Self {
        let (mut refusing, mut stale, mut fenced, mut notes) = (vec![], vec![], vec![], vec![]);
        for namespace in snapshots.iter().flat_map(|snapshot| &snapshot.namespaces) {
            let name = &namespace.name;
            for shard in &namespace.shards {
                let (number, statistics) = (shard.shard, &shard.statistics);
                if statistics.is_fenced {
                    add(
                        &mut fenced,
                        format!(
                            "namespace {name:?}: every device is fenced after a failed flush, so no write is acknowledged; \
                         see the kernel's log, mend or replace the devices, and start the node again"
                        ),
                    );
                }
                if statistics.may_be_stale {
                    stale.push(format!(
                        "namespace {name:?}, shard {number}: acknowledged writes are lost, so its requests are refused; \
                         restore the devices, or accept the loss with --accept-stale"
                    ));
                }
                if statistics.is_index_full {
                    add(
                        &mut notes,
                        format!(
                            "namespace {name:?}: the index has no memory for new keys, which are refused; give it more \
                             (index_memory, memory_limit) or delete records"
                        ),
                    );
                }
                if statistics.is_full {
                    refusing.push(format!(
                        "namespace {name:?}, shard {number}: no segment is left for new data; delete records, or \
                         move the namespace to a larger volume"
                    ));
                }
            }
            let shards = namespace.shards.iter();
            let ahead_ms = shards.map(|shard| shard.statistics.clock_ahead_ms).max();
            if let Some(ahead_ms) = ahead_ms.filter(|ahead_ms| *ahead_ms > 0) {
                add(
                    &mut refusing,
                    format!(
                        "namespace {name:?}: the wall clock has stepped {} s ahead, and no write is taken by it; set it right, \
                         or accept it with `corelith config set node.clock_jump_max none`",
                        ahead_ms / 1000
                    ),
                );
            }
            for device in &namespace.devices {
                if device.statistics.is_fenced {
                    add(
                        &mut notes,
                        format!("device {} is fenced after a failed flush", device.name),
                    );
                }
            }
        }
        let mut with_notes = |mut lines: Vec<String>| {
            lines.append(&mut notes);
            lines
        };
        if !fenced.is_empty() {
            Self::Fenced(with_notes(fenced))
        } else if !stale.is_empty() {
            Self::Partial(with_notes(stale))
        } else if !refusing.is_empty() {
            Self::ReadOnly(with_notes(refusing))
        } else {
            Self::Serving(notes)
        }
    }

    /// True if clients are to be sent here.
    pub(crate) const fn is_ready(&self) -> bool {
        match self {
            Self::Serving(_) | Self::ReadOnly(_) => true,
            Self::Loading(_)
            | Self::Partial(_)
            | Self::Fenced(_)
            | Self::Quiesced
            | Self::Stopping
            | Self::Silent => false,
        }
    }

    /// The state in a word.
    const fn word(&self) -> &'static str {
        match self {
            Self::Loading(_) => "loading",
            Self::Serving(_) => "serving",
            Self::ReadOnly(_) => "read-only",
            Self::Partial(_) => "partial",
            Self::Fenced(_) => "fenced",
            Self::Quiesced => "quiesced",
            Self::Stopping => "stopping",
            Self::Silent => "silent",
        }
    }

    /// All words, and which one holds.
    pub(crate) fn states(&self) -> Vec<(&'static str, bool)> {
        WORDS.map(|word| (word, word == self.word())).into()
    }
}

impl From<&StateCell> for Health {
    fn from(state: &StateCell) -> Self {
        match state.get() {
            NodeState::Loading => Self::Loading(Progress::of(state)),
            NodeState::Serving => Self::Serving(Vec::new()),
            NodeState::Quiesced => Self::Quiesced,
            NodeState::Stopping => Self::Stopping,
        }
    }
}

/// The word on the first line, and why below it.
impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.word())?;
        match self {
            Self::Loading(progress) => writeln!(formatter, "{progress}"),
            Self::Serving(lines)
            | Self::ReadOnly(lines)
            | Self::Partial(lines)
            | Self::Fenced(lines) => lines
                .iter()
                .try_for_each(|line| writeln!(formatter, "{line}")),
            Self::Quiesced => writeln!(
                formatter,
                "an operator has taken the node out of service; `corelith quiesce --undo` ends that"
            ),
            Self::Stopping => writeln!(formatter, "no new work is taken"),
            Self::Silent => writeln!(formatter, "a core did not answer within two seconds"),
        }
    }
}

fn add(lines: &mut Vec<String>, line: String) {
    if !lines.contains(&line) {
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use corelith_store::{RecoveryReport, ShardStatistics};

    use super::*;
    use crate::hot_keys::HotKeysSnapshot;
    use crate::metrics::{CoreMetrics, NamespaceSnapshot, Outcomes, ShardSnapshot};

    fn health_with(change: impl Fn(&mut ShardStatistics)) -> Health {
        let mut statistics = ShardStatistics::default();
        change(&mut statistics);
        let mut snapshot = CoreMetrics::new().snapshot(0);
        let shard = |shard, statistics| ShardSnapshot {
            shard,
            statistics,
            recovery: RecoveryReport::default(),
        };
        snapshot.namespaces = vec![NamespaceSnapshot {
            name: "test".into(),
            operations: Outcomes::default().snapshot(),
            hot_keys: HotKeysSnapshot::default(),
            shards: vec![shard(0, ShardStatistics::default()), shard(1, statistics)],
            devices: Vec::new(),
        }];
        Health::of(&[snapshot])
    }

    #[track_caller]
    fn check(health: &Health, is_ready: bool, lines: &[&str]) {
        assert_eq!(health.is_ready(), is_ready, "{health}");
        let text = health.to_string();
        assert_eq!(text.lines().count(), lines.len(), "{text}");
        for (line, begin) in text.lines().zip(lines) {
            assert!(line.starts_with(begin), "{text}");
        }
    }

    #[test]
    fn the_worst_state_is_named_with_its_reason() {
        check(&health_with(|_| ()), true, &["serving"]);
        let full = [
            "read-only",
            "namespace \"test\", shard 1: no segment is left",
        ];
        check(&health_with(|shard| shard.is_full = true), true, &full);
        let ahead = [
            "read-only",
            "namespace \"test\": the wall clock has stepped 90000 s",
        ];
        let is_ahead = |shard: &mut ShardStatistics| shard.clock_ahead_ms = 90_000_000;
        check(&health_with(is_ahead), true, &ahead);
        let stale = [
            "partial",
            "namespace \"test\", shard 1: acknowledged writes are lost",
        ];
        let is_stale = |shard: &mut ShardStatistics| {
            (shard.is_full, shard.may_be_stale) = (true, true);
        };
        check(&health_with(is_stale), false, &stale);
        let fenced = ["fenced", "namespace \"test\": every device is fenced"];
        let is_fenced = |shard: &mut ShardStatistics| {
            (shard.is_fenced, shard.may_be_stale) = (true, true);
        };
        check(&health_with(is_fenced), false, &fenced);
    }

    #[test]
    fn loading_tells_how_far_it_is() {
        let loading = Health::from(&StateCell::new(8));
        check(
            &loading,
            false,
            &["loading", "0 of 8 shards recovered; 0 segments"],
        );
    }

    #[test]
    fn every_state_is_in_the_list_with_its_status() {
        let all = [
            Health::from(&StateCell::new(8)),
            Health::Serving(Vec::new()),
            Health::ReadOnly(Vec::new()),
            Health::Partial(Vec::new()),
            Health::Fenced(Vec::new()),
            Health::Quiesced,
            Health::Stopping,
            Health::Silent,
        ];
        assert_eq!(all.each_ref().map(Health::word), WORDS);
        let list = include_str!("../METRICS.md");
        for health in &all {
            let status = if health.is_ready() { 200 } else { 503 };
            let row = format!("| `{}` | {status} | ", health.word());
            assert_eq!(list.matches(&row).count(), 1, "{row}");
            let states = health.states();
            assert_eq!(states.iter().filter(|(_, holds)| *holds).count(), 1);
        }
    }
}
