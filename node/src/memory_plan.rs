//! The memory plan: what the node may take, part by part, against one limit; made at the start, before anything
//! is taken.
//!
//! Everything but indexes has a most that follows from the configuration. Indexes of namespaces that are told a size
//! get that; the others share what is left by the size of their volumes, but none gets more than its volume could
//! ever need. A plan that does not fit is an error with the whole table, so that an operator sees what to lower.
//! Never knows: how much of its part anything has taken by now.

mod limit;

use std::fmt;

use corelith_index::limits::NEW_KEY_BYTES_MAX;
use corelith_io::{RingConfig, to_u64};
use corelith_store::format::record_header::RECORD_HEADER_BYTES;
use corelith_store::limits::INDEX_ADMITTED_PERCENT;

pub(crate) use limit::MemoryLimit;

use crate::boot::BootError;
use crate::configuration::Configuration;
use crate::core::Order;
use crate::hop::{FromCore, Hop, ToCore};
use crate::limits::{
    CONNECTION_BYTES, CORE_BYTES, HOP_FRAME_BYTES, HOPS_PER_PAIR_MAX, INDEX_BYTES_MIN, ORDERS_MAX,
    OUTBOXES_BYTES_MAX, PROCESS_BYTES, SEND_BUFFERS_BYTES_MAX, SPARE_VECTOR_BYTES_MAX,
    SPARE_VECTORS_MAX,
};

/// What the plan must know of a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NamespaceNeeds {
    pub(crate) name: String,
    pub(crate) shard_count: u16,
    /// Size of its volume.
    pub(crate) volume_bytes: u64,
    /// The volume is memory.
    pub(crate) is_in_memory: bool,
    /// Of all its shards.
    pub(crate) record_cache_bytes: u64,
    /// Of all its shards; `None` for a share of what is left.
    pub(crate) index_memory_bytes: Option<u64>,
}

/// What something is planned for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Buffers of device reads and writes.
    Buffers,
    /// Connections at rest.
    Connections,
    /// Answers that wait to be sent, and memory that is kept for the next ones.
    Answers,
    /// Buffers that requests arrive in.
    ReceiveRings,
    /// Mailboxes between cores, requests in them, and memory that is kept for the next ones.
    Mailboxes,
    /// The program, its threads, rings and figures.
    Process,
    /// Records of a namespace in memory.
    Records,
    /// Record caches.
    RecordCache,
    /// Indexes.
    Index,
}

impl Part {
    /// As tables and labels name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Buffers => "buffers",
            Self::Connections => "connections",
            Self::Answers => "answers",
            Self::ReceiveRings => "receive_rings",
            Self::Mailboxes => "mailboxes",
            Self::Process => "process",
            Self::Records => "records",
            Self::RecordCache => "record_cache",
            Self::Index => "index",
        }
    }
}

/// Memory that is set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reservation {
    pub(crate) part: Part,
    /// Whose it is; `None` for the node's.
    pub(crate) namespace: Option<String>,
    pub(crate) bytes: u64,
    /// The key that makes it smaller.
    key: Option<&'static str>,
}

/// More connections are asked for than memory was planned for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "connections_per_core_max = {asked} would take {} MiB of memory, and memory_limit leaves {} MiB for connections while \
     the node runs: at most {most}",
    mebibytes(*.wanted_bytes),
    *.left_bytes >> 20
)]
pub(crate) struct NoRoomForConnections {
    /// Connections of each core.
    asked: usize,
    /// How many there is room for.
    most: u64,
    wanted_bytes: u64,
    left_bytes: u64,
}

/// The plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MemoryPlan {
    core_count: u64,
    pub(crate) limit: MemoryLimit,
    pub(crate) reservations: Vec<Reservation>,
    /// For the index of each shard, by namespace.
    index_bytes_per_shard: Vec<u64>,
}

impl MemoryPlan {
    /// Plans for so many cores and these namespaces.
    ///
    /// # Errors
    /// [`BootError::MemoryPlan`] or [`BootError::IndexMemory`].
    pub(crate) fn new(
        configuration: &Configuration,
        core_count: usize,
        namespaces: &[NamespaceNeeds],
    ) -> Result<Self, BootError> {
        let mut plan = Self {
            core_count: to_u64(core_count),
            limit: MemoryLimit::of(configuration.memory_limit_bytes),
            reservations: of_node(configuration, to_u64(core_count)),
            index_bytes_per_shard: Vec::new(),
        };
        for namespace in namespaces {
            plan.reservations.extend(of_namespace(namespace));
        }
        let fixed_bytes = plan.planned_bytes();
        let mut index_bytes = Vec::new();
        for namespace in namespaces {
            let least_bytes = u64::from(namespace.shard_count) * INDEX_BYTES_MIN;
            match namespace.index_memory_bytes {
                Some(bytes) if bytes < least_bytes => {
                    return Err(BootError::IndexMemory {
                        namespace: namespace.name.clone(),
                        shard_count: namespace.shard_count,
                        least_bytes,
                    });
                }
                told => index_bytes.push(told.unwrap_or(least_bytes)),
            }
        }
        let least_bytes = index_bytes
            .iter()
            .copied()
            .fold(fixed_bytes, u64::saturating_add);
        if let Some(left_bytes) = plan.limit.bytes.checked_sub(least_bytes) {
            share_out(left_bytes, namespaces, &mut index_bytes);
        }
        for (namespace, bytes) in namespaces.iter().zip(index_bytes) {
            let shard_count = u64::from(namespace.shard_count).max(1);
            plan.index_bytes_per_shard.push(bytes / shard_count);
            plan.reservations.push(Reservation {
                part: Part::Index,
                namespace: Some(namespace.name.clone()),
                bytes,
                key: namespace.index_memory_bytes.map(|_| "index_memory"),
            });
        }
        if plan.limit.bytes < least_bytes {
            return Err(BootError::MemoryPlan {
                least_bytes,
                plan: Box::new(plan),
            });
        }
        Ok(plan)
    }

    /// Bytes for the index of each shard of a namespace, by its place.
    pub(crate) fn index_bytes_per_shard(&self, namespace: usize) -> u64 {
        self.index_bytes_per_shard
            .get(namespace)
            .copied()
            .unwrap_or(INDEX_BYTES_MIN)
    }

    /// Whether there is room for so many connections of each core, with everything else as it was planned.
    ///
    /// # Errors
    /// [`NoRoomForConnections`].
    pub(crate) fn check_connections(&self, per_core: usize) -> Result<(), NoRoomForConnections> {
        let of_connections = |reservation: &&Reservation| reservation.part == Part::Connections;
        let planned = self.reservations.iter().find(of_connections);
        let planned_bytes = planned.map_or(0, |reservation| reservation.bytes);
        let others_bytes = self.planned_bytes().saturating_sub(planned_bytes);
        let left_bytes = self.limit.bytes.saturating_sub(others_bytes);
        let of_one_each = CONNECTION_BYTES.saturating_mul(self.core_count.max(1));
        let wanted_bytes = to_u64(per_core).saturating_mul(of_one_each);
        if wanted_bytes <= left_bytes {
            return Ok(());
        }
        Err(NoRoomForConnections {
            asked: per_core,
            most: left_bytes / of_one_each,
            wanted_bytes,
            left_bytes,
        })
    }

    /// All parts together.
    pub(crate) fn planned_bytes(&self) -> u64 {
        let parts = self
            .reservations
            .iter()
            .map(|reservation| reservation.bytes);
        parts.fold(0, u64::saturating_add)
    }

    /// Keys that make the plan smaller, what takes most first.
    pub(crate) fn keys_to_lower(&self) -> String {
        let mut parts: Vec<&Reservation> = self.reservations.iter().collect();
        parts.sort_by_key(|reservation| std::cmp::Reverse(reservation.bytes));
        let mut keys: Vec<String> = Vec::new();
        for reservation in parts {
            let Some(key) = reservation.key else { continue };
            let key = match &reservation.namespace {
                Some(namespace) => format!("{key} of {namespace:?}"),
                None => key.to_owned(),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.join(", ")
    }
}

/// A table: what is planned for what, and which key makes it smaller.
impl fmt::Display for MemoryPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reservation in &self.reservations {
            let part = reservation.part.name();
            let what = match &reservation.namespace {
                Some(namespace) => format!("{part} of {namespace:?}"),
                None => part.to_owned(),
            };
            let key = reservation.key.unwrap_or_default();
            let row = format!("{:>10} MiB  {what:<40} {key}", mebibytes(reservation.bytes));
            writeln!(formatter, "{}", row.trim_end())?;
        }
        let together = mebibytes(self.planned_bytes());
        write!(
            formatter,
            "{together:>10} MiB  of memory_limit {}",
            self.limit
        )
    }
}

/// Rounded up: a part never seems to take nothing.
pub(crate) const fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// What the node takes whatever it serves.
fn of_node(configuration: &Configuration, core_count: u64) -> Vec<Reservation> {
    let connections = to_u64(configuration.connections_per_core_max);
    let ring = RingConfig::default();
    let receive_bytes = u64::from(ring.receive_buffer_count) * u64::from(ring.receive_buffer_bytes);
    let spare_bytes = to_u64(SPARE_VECTORS_MAX * SPARE_VECTOR_BYTES_MAX);
    let orders_bytes = to_u64(2 * ORDERS_MAX * size_of::<Order>());
    let of_pair = (HOPS_PER_PAIR_MAX + ORDERS_MAX) * size_of::<ToCore>()
        + HOPS_PER_PAIR_MAX * (size_of::<FromCore>() + size_of::<Hop>() + HOP_FRAME_BYTES);
    let peers = core_count.saturating_sub(1);
    let per_core = [
        (
            Part::Buffers,
            configuration.buffers_per_core_bytes,
            Some("buffers_per_core"),
        ),
        (
            Part::Connections,
            connections.saturating_mul(CONNECTION_BYTES),
            Some("connections_per_core_max"),
        ),
        (
            Part::Answers,
            to_u64(OUTBOXES_BYTES_MAX + SEND_BUFFERS_BYTES_MAX),
            Some("cores"),
        ),
        (Part::ReceiveRings, receive_bytes, Some("cores")),
        (
            Part::Mailboxes,
            to_u64(of_pair) * peers + orders_bytes + spare_bytes,
            Some("cores"),
        ),
        (Part::Process, CORE_BYTES, Some("cores")),
    ];
    let parts = per_core.into_iter().map(|(part, bytes_per_core, key)| {
        let of_all = if part == Part::Process {
            PROCESS_BYTES
        } else {
            0
        };
        Reservation {
            part,
            namespace: None,
            bytes: bytes_per_core
                .saturating_mul(core_count)
                .saturating_add(of_all),
            key,
        }
    });
    parts.collect()
}

/// What a namespace takes beside its index.
fn of_namespace(namespace: &NamespaceNeeds) -> impl Iterator<Item = Reservation> {
    let in_memory_bytes = if namespace.is_in_memory {
        namespace.volume_bytes
    } else {
        0
    };
    let parts = [
        (Part::Records, in_memory_bytes, "size"),
        (
            Part::RecordCache,
            namespace.record_cache_bytes,
            "record_cache",
        ),
    ];
    parts
        .into_iter()
        .filter(|(_, bytes, _)| *bytes > 0)
        .map(|(part, bytes, key)| Reservation {
            part,
            namespace: Some(namespace.name.clone()),
            bytes,
            key: Some(key),
        })
}

/// Gives what is left to the indexes of namespaces that are told no size.
fn share_out(left_bytes: u64, namespaces: &[NamespaceNeeds], index_bytes: &mut [u64]) {
    let is_shared = |namespace: &&NamespaceNeeds| namespace.index_memory_bytes.is_none();
    let shared = namespaces.iter().filter(is_shared);
    let all: u128 = shared
        .map(|namespace| u128::from(namespace.volume_bytes))
        .sum();
    for (namespace, bytes) in namespaces.iter().zip(index_bytes) {
        if !is_shared(&namespace) {
            continue;
        }
        let share = u128::from(left_bytes) * u128::from(namespace.volume_bytes) / all.max(1);
        let share_bytes = u64::try_from(share).unwrap_or(left_bytes);
        *bytes = bytes.saturating_add(share_bytes.min(most_bytes(namespace.volume_bytes)));
    }
}

/// What the index of a volume could take if nothing but the shortest records were on it.
fn most_bytes(volume_bytes: u64) -> u64 {
    let records = volume_bytes / to_u64(RECORD_HEADER_BYTES);
    let entries_bytes = records.saturating_mul(NEW_KEY_BYTES_MAX);
    entries_bytes / INDEX_ADMITTED_PERCENT * 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn configuration(limit_bytes: u64) -> Configuration {
        Configuration {
            memory_limit_bytes: Some(limit_bytes),
            connections_per_core_max: 1024,
            ..Configuration::default()
        }
    }

    fn namespace(name: &str, volume_bytes: u64) -> NamespaceNeeds {
        NamespaceNeeds {
            name: name.to_owned(),
            shard_count: 8,
            volume_bytes,
            is_in_memory: false,
            record_cache_bytes: 0,
            index_memory_bytes: None,
        }
    }

    fn planned(limit_bytes: u64, namespaces: &[NamespaceNeeds]) -> MemoryPlan {
        MemoryPlan::new(&configuration(limit_bytes), 2, namespaces).unwrap()
    }

    fn bytes_of(plan: &MemoryPlan, part: Part) -> u64 {
        let parts = plan.reservations.iter();
        let parts = parts.filter(|reservation| reservation.part == part);
        parts.map(|reservation| reservation.bytes).sum()
    }

    #[test]
    fn indexes_get_what_the_limit_leaves() {
        let plan = planned(4 * GIB, &[namespace("a", 1 << 40)]);
        assert_eq!(bytes_of(&plan, Part::Buffers), 2 * (288 << 20));
        assert_eq!(bytes_of(&plan, Part::Connections), 2 * (4 << 20));
        assert_eq!(bytes_of(&plan, Part::Answers), 2 * (80 << 20));
        assert_eq!(plan.planned_bytes(), 4 * GIB);
        assert_eq!(
            plan.index_bytes_per_shard(0),
            bytes_of(&plan, Part::Index) / 8
        );
        let cached = NamespaceNeeds {
            record_cache_bytes: GIB,
            ..namespace("a", 1 << 40)
        };
        let with_cache = planned(4 * GIB, &[cached]);
        let less = bytes_of(&plan, Part::Index) - bytes_of(&with_cache, Part::Index);
        assert_eq!(less, GIB);
        let in_memory = NamespaceNeeds {
            is_in_memory: true,
            ..namespace("b", GIB)
        };
        let with_memory = planned(4 * GIB, &[namespace("a", 1 << 40), in_memory]);
        assert_eq!(bytes_of(&with_memory, Part::Records), GIB);
        assert!(with_memory.planned_bytes() <= 4 * GIB);
    }

    #[test]
    fn indexes_share_by_size_unless_they_are_told_one() {
        let told = NamespaceNeeds {
            index_memory_bytes: Some(GIB),
            ..namespace("told", 1 << 44)
        };
        let namespaces = [namespace("a", 3 << 40), told, namespace("b", 1 << 40)];
        let plan = planned(8 * GIB, &namespaces);
        assert_eq!(plan.index_bytes_per_shard(1), GIB / 8);
        let (a, b) = (plan.index_bytes_per_shard(0), plan.index_bytes_per_shard(2));
        let beyond = |bytes: u64| (bytes - INDEX_BYTES_MIN) / 1024;
        assert!(beyond(a).abs_diff(3 * beyond(b)) < 8, "{a} {b}");
        assert!(plan.planned_bytes() <= 8 * GIB && plan.planned_bytes() > 8 * GIB - 64);
    }

    #[test]
    fn a_small_volume_does_not_take_what_it_cannot_use() {
        let plan = planned(64 * GIB, &[namespace("a", GIB)]);
        let index_bytes = bytes_of(&plan, Part::Index);
        assert!(
            (GIB / 3..GIB / 3 * 2).contains(&index_bytes),
            "{index_bytes}"
        );
    }

    #[test]
    fn a_plan_that_does_not_fit_says_what_takes_what() {
        let cached = NamespaceNeeds {
            record_cache_bytes: 3 * GIB,
            ..namespace("a", 1 << 40)
        };
        let namespaces = [cached, namespace("b", 1 << 40)];
        let refused = MemoryPlan::new(&configuration(2 * GIB), 2, &namespaces).unwrap_err();
        let text = refused.to_string();
        for part in [
            "3072 MiB  record_cache of \"a\"",
            "576 MiB  buffers",
            "index of \"b\"",
            "lower record_cache of \"a\", buffers_per_core, ",
            "of memory_limit 2048 MiB",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // What it asks for is enough.
        let BootError::MemoryPlan { least_bytes, .. } = refused else {
            panic!("{text}")
        };
        let least = MemoryPlan::new(&configuration(least_bytes), 2, &namespaces).unwrap();
        assert_eq!(least.planned_bytes(), least_bytes);
        assert_eq!(least.index_bytes_per_shard(1), INDEX_BYTES_MIN);
        let raise = format!("at least {} MiB", mebibytes(least_bytes));
        assert!(text.contains(&raise), "{text}");
    }

    #[test]
    fn connections_grow_into_what_nothing_else_was_planned_for() {
        // The index has all that the limit leaves.
        let full = planned(4 * GIB, &[namespace("a", 1 << 40)]);
        assert_eq!(full.check_connections(1024), Ok(()), "as at the start");
        assert_eq!(full.check_connections(1), Ok(()));
        let refused = full.check_connections(1025).unwrap_err().to_string();
        for words in [
            "connections_per_core_max = 1025",
            "at most 1024",
            "leaves 8 MiB",
        ] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
        // A small volume's index leaves some: 4 KiB on each of two cores.
        let roomy = planned(64 * GIB, &[namespace("a", GIB)]);
        let left_bytes = 64 * GIB - roomy.planned_bytes();
        let more = usize::try_from(left_bytes / (2 * CONNECTION_BYTES)).unwrap();
        assert_eq!(roomy.check_connections(1024 + more), Ok(()));
        let refused = roomy.check_connections(1024 + more + 1).unwrap_err();
        assert_eq!(refused.most, to_u64(1024 + more));
    }

    #[test]
    fn an_index_needs_room_for_its_shards() {
        let told = NamespaceNeeds {
            index_memory_bytes: Some(8 * INDEX_BYTES_MIN - 1),
            ..namespace("a", GIB)
        };
        let refused = MemoryPlan::new(&configuration(8 * GIB), 2, &[told]).unwrap_err();
        assert!(refused.to_string().contains("index_memory"), "{refused}");
    }
}
