//! A node's map as the client uses it: which link leads to the core that owns a partition.

use std::net::SocketAddr;
use std::sync::Arc;

use corelith_index::PartitionId;
use corelith_wire::{Namespace, TopologyAnswer};

use crate::link::Link;
use crate::options::ClientOptions;

/// The map and the links that it leads to.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) node_id: u64,
    pub(crate) map_generation: u64,
    namespaces: Vec<Namespace>,
    /// By core number; `None` for a core without a port of its own.
    cores: Vec<Option<Arc<Link>>>,
}

impl Routes {
    /// The routes of a map. Links that the old routes had to the same ports are kept.
    pub(crate) fn new(
        map: TopologyAnswer,
        node: SocketAddr,
        options: &Arc<ClientOptions>,
        old: Option<&Routes>,
    ) -> Self {
        let link = |port: u16| {
            if port == 0 || !options.shard_aware {
                return None;
            }
            let address = SocketAddr::new(node.ip(), port);
            let known = old.into_iter().flat_map(|old| old.cores.iter().flatten());
            let known = known
                .into_iter()
                .find(|link| link.address() == address)
                .cloned();
            Some(known.unwrap_or_else(|| Arc::new(Link::new(address, Arc::clone(options)))))
        };
        Routes {
            node_id: map.node_id,
            map_generation: map.map_generation,
            namespaces: map.namespaces,
            cores: map.core_ports.into_iter().map(link).collect(),
        }
    }

    /// The namespace of this name.
    pub(crate) fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces
            .iter()
            .find(|namespace| namespace.name == name)
    }

    /// The link to the owner of a partition; `None` where the shared port must do.
    pub(crate) fn owner(&self, namespace: &str, partition: PartitionId) -> Option<&Arc<Link>> {
        let core = usize::from(self.core(namespace, partition)?);
        self.cores.get(core)?.as_ref()
    }

    /// The core that owns a partition, if the map says so.
    pub(crate) fn core(&self, namespace: &str, partition: PartitionId) -> Option<u16> {
        let namespace = self.namespace(namespace)?;
        let shard = usize::from(partition.get().checked_rem(namespace.shard_count)?);
        namespace.shard_cores.get(shard).copied()
    }

    /// The link to another core than the owner of a partition; `None` where there is none.
    pub(crate) fn another(&self, namespace: &str, partition: PartitionId) -> Option<&Arc<Link>> {
        let owner = self.owner(namespace, partition)?;
        let place = self
            .cores
            .iter()
            .position(|link| link.as_ref().is_some_and(|link| Arc::ptr_eq(link, owner)))?;
        let others = self.cores.iter().cycle().skip(place + 1);
        let mut others = others.take(self.cores.len().saturating_sub(1)).flatten();
        others.next()
    }

    /// Ends every connection to a core.
    pub(crate) fn close(&self) {
        self.cores.iter().flatten().for_each(|link| link.close());
    }
}
