//! Who owns what: partition to shard to core. Fixed while the node runs; every core has a clone.

use std::sync::Arc;

use corelith_index::PartitionId;
use corelith_wire::{Namespace, NamespaceId, TopologyAnswer};

/// The number of the one namespace that a node serves, on every connection.
pub(crate) const NAMESPACE: Option<NamespaceId> = NamespaceId::new(1);

/// The node's map.
#[derive(Clone, Debug)]
pub(crate) struct Topology(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node_id: u64,
    namespace: String,
    shard_cores: Vec<u16>,
    shared_port: u16,
    core_ports: Vec<u16>,
}

impl Topology {
    /// Spreads `shard_count` shards over `core_ports.len()` cores, evenly.
    pub(crate) fn new(
        node_id: u64,
        namespace: String,
        shard_count: u16,
        (shared_port, core_ports): (u16, Vec<u16>),
    ) -> Self {
        let core_count = u16::try_from(core_ports.len()).unwrap_or(u16::MAX).max(1);
        let shard_cores = (0..shard_count).map(|shard| shard % core_count).collect();
        Self(Arc::new(Inner {
            node_id,
            namespace,
            shard_cores,
            shared_port,
            core_ports,
        }))
    }

    /// Identity of the node, the same over restarts: from its volume.
    pub(crate) fn node_id(&self) -> u64 {
        self.0.node_id
    }

    /// The map's number. It does not change while a node runs.
    pub(crate) const fn generation() -> u64 {
        1
    }

    /// Shards of the volume.
    pub(crate) fn shard_count(&self) -> u16 {
        u16::try_from(self.0.shard_cores.len()).unwrap_or(u16::MAX)
    }

    /// The shard that owns a partition.
    pub(crate) fn shard_of(&self, partition: PartitionId) -> u16 {
        partition.get() % self.shard_count().max(1)
    }

    /// The core that owns a partition.
    pub(crate) fn core_of(&self, partition: PartitionId) -> u16 {
        let shard = self.shard_of(partition);
        self.0
            .shard_cores
            .get(usize::from(shard))
            .copied()
            .unwrap_or(0)
    }

    /// The shards of a core.
    pub(crate) fn shards_of(&self, core: u16) -> Vec<u16> {
        (0_u16..)
            .zip(&self.0.shard_cores)
            .filter(|(_, owner)| **owner == core)
            .map(|(shard, _)| shard)
            .collect()
    }

    /// The namespace as hellos (without owners) and maps (with them) describe it.
    pub(crate) fn namespaces(&self, with_owners: bool) -> Vec<Namespace> {
        let shard_cores = if with_owners {
            self.0.shard_cores.clone()
        } else {
            Vec::new()
        };
        NAMESPACE
            .map(|id| Namespace {
                id,
                name: self.0.namespace.clone(),
                shard_count: self.shard_count(),
                shard_cores,
            })
            .into_iter()
            .collect()
    }

    /// The answer to a request for the map.
    pub(crate) fn answer(&self) -> TopologyAnswer {
        TopologyAnswer {
            node_id: self.0.node_id,
            map_generation: Self::generation(),
            shared_port: self.0.shared_port,
            core_ports: self.0.core_ports.clone(),
            namespaces: self.namespaces(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_one_core_and_cores_differ_by_one_shard_at_most() {
        for cores in 1..9_u16 {
            let ports = (0..cores).map(|core| 4101 + core).collect();
            let map = Topology::new(7, "test".into(), 8, (4100, ports));
            let per_core: Vec<usize> = (0..cores).map(|core| map.shards_of(core).len()).collect();
            assert_eq!(per_core.iter().sum::<usize>(), 8);
            let (most, least) = (
                per_core.iter().max().unwrap(),
                per_core.iter().min().unwrap(),
            );
            assert!(most - least <= 1, "{per_core:?}");
            let partition = PartitionId::new(4095).unwrap();
            assert!(
                map.shards_of(map.core_of(partition))
                    .contains(&map.shard_of(partition))
            );
        }
    }
}
