//! Who owns what: namespace and partition to shard to core. Fixed while the node runs; every core has a
//! clone.
//!
//! A namespace's number is its place in the configuration, from 1. Clients learn it anew with each hello.

use std::sync::Arc;

use corelith_index::PartitionId;
use corelith_wire::{Namespace, NamespaceId, TopologyAnswer};

/// The node's map.
#[derive(Clone, Debug)]
pub(crate) struct Topology(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node_id: u64,
    namespaces: Vec<MappedNamespace>,
    shared_port: u16,
    core_ports: Vec<u16>,
}

#[derive(Debug)]
struct MappedNamespace {
    id: NamespaceId,
    name: String,
    shard_cores: Vec<u16>,
}

impl Topology {
    /// Spreads the shards of `namespaces` (name and number of shards, in order) over `core_ports.len()`
    /// cores: evenly within each, and evenly over all of them together.
    pub(crate) fn new(
        node_id: u64,
        namespaces: &[(String, u16)],
        (shared_port, core_ports): (u16, Vec<u16>),
    ) -> Self {
        let core_count = core_ports.len().max(1);
        // One deal for all: the next namespace goes on where the last one ended.
        let mut cores = (0..core_count)
            .cycle()
            .map(|core| u16::try_from(core).unwrap_or(u16::MAX));
        let namespaces = (1..)
            .map_while(NamespaceId::new)
            .zip(namespaces)
            .map(|(id, (name, shard_count))| MappedNamespace {
                id,
                name: name.clone(),
                shard_cores: cores.by_ref().take(usize::from(*shard_count)).collect(),
            })
            .collect();
        Self(Arc::new(Inner {
            node_id,
            namespaces,
            shared_port,
            core_ports,
        }))
    }

    /// Identity of the node, the same over restarts: from the volume of its first namespace.
    pub(crate) fn node_id(&self) -> u64 {
        self.0.node_id
    }

    /// The map's number. It does not change while a node runs.
    pub(crate) const fn generation() -> u64 {
        1
    }

    /// The core that owns a partition of a namespace; `None` if there is no such namespace.
    pub(crate) fn core_of(&self, namespace: NamespaceId, partition: PartitionId) -> Option<u16> {
        let mapped = self.0.namespaces.get(usize::from(namespace.get()) - 1)?;
        let shard_count = mapped.shard_cores.len().max(1);
        let shard = usize::from(partition.get()) % shard_count;
        mapped.shard_cores.get(shard).copied()
    }

    /// The shards of a core, of the namespace at `position` in their order.
    pub(crate) fn shards_of(&self, core: u16, position: usize) -> Vec<u16> {
        let shard_cores = self
            .0
            .namespaces
            .get(position)
            .map(|mapped| &mapped.shard_cores);
        (0_u16..)
            .zip(shard_cores.into_iter().flatten())
            .filter(|(_, owner)| **owner == core)
            .map(|(shard, _)| shard)
            .collect()
    }

    /// The namespaces as hellos (without owners) and maps (with them) describe them.
    pub(crate) fn namespaces(&self, with_owners: bool) -> Vec<Namespace> {
        self.0
            .namespaces
            .iter()
            .map(|mapped| Namespace {
                id: mapped.id,
                name: mapped.name.clone(),
                shard_count: u16::try_from(mapped.shard_cores.len()).unwrap_or(u16::MAX),
                shard_cores: if with_owners {
                    mapped.shard_cores.clone()
                } else {
                    Vec::new()
                },
            })
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

    fn spread(values: &[usize]) -> usize {
        values.iter().max().unwrap() - values.iter().min().unwrap()
    }

    #[test]
    fn every_shard_has_one_core_and_cores_differ_by_one_shard_at_most() {
        let namespaces = [
            ("test".to_owned(), 8),
            ("fast".to_owned(), 5),
            ("one".to_owned(), 1),
        ];
        for cores in 1..9_u16 {
            let ports = (0..cores).map(|core| 4101 + core).collect();
            let map = Topology::new(7, &namespaces, (4100, ports));
            let mut of_all = vec![0; usize::from(cores)];
            for (position, (name, shard_count)) in namespaces.iter().enumerate() {
                let per_core: Vec<usize> = (0..cores)
                    .map(|core| map.shards_of(core, position).len())
                    .collect();
                assert_eq!(per_core.iter().sum::<usize>(), usize::from(*shard_count));
                assert!(spread(&per_core) <= 1, "{name}: {per_core:?}");
                for (sum, shards) in of_all.iter_mut().zip(&per_core) {
                    *sum += shards;
                }
            }
            assert!(spread(&of_all) <= 1, "{of_all:?}");
        }
    }

    #[test]
    fn a_partition_belongs_to_another_core_in_another_namespace() {
        let namespaces = [("three".to_owned(), 3), ("two".to_owned(), 2)];
        let map = Topology::new(7, &namespaces, (4100, vec![4101, 4102]));
        let id = |number| NamespaceId::new(number).unwrap();
        let partition = |number| PartitionId::new(number).unwrap();
        // Shards 0, 1, 2 on cores 0, 1, 0; then 0, 1 on cores 1, 0.
        assert_eq!(map.core_of(id(1), partition(4)), Some(1));
        assert_eq!(map.core_of(id(2), partition(4)), Some(1));
        assert_eq!(map.core_of(id(1), partition(5)), Some(0));
        assert_eq!(map.core_of(id(2), partition(5)), Some(0));
        assert_eq!(map.core_of(id(1), partition(3)), Some(0));
        assert_eq!(map.core_of(id(3), partition(3)), None);
        assert_eq!(map.shards_of(0, 1), [1]);
        assert_eq!(map.shards_of(0, 2), Vec::<u16>::new());
    }
}
