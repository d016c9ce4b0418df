//! The namespaces of one core: the shards that it owns of each, and what each is told.
//! Numbered as the topology numbers them.

use std::cell::Cell;
use std::sync::Arc;

use corelith_store::Shard;
use corelith_wire::NamespaceId;

use crate::lifetimes::Lifetimes;
use crate::metrics::NamespaceSnapshot;
use crate::operation::Shards;

/// One namespace, as one core has it.
pub(crate) struct ServedNamespace {
    name: Arc<str>,
    pub(crate) shards: Shards,
    /// How long its records live; changed while the node runs.
    pub(crate) lifetimes: Cell<Lifetimes>,
}

impl ServedNamespace {
    pub(crate) fn new(name: &str, shards: Shards, lifetimes: Lifetimes) -> Self {
        Self {
            name: name.into(),
            shards,
            lifetimes: Cell::new(lifetimes),
        }
    }

    fn snapshot(&self) -> NamespaceSnapshot {
        let operations = self.shards.outcomes.snapshot();
        NamespaceSnapshot::take(&self.name, operations, self.shards.iter())
    }
}

/// All namespaces of the node, by number; of some a core may own no shard.
pub(crate) struct Namespaces(Vec<ServedNamespace>);

impl Namespaces {
    pub(crate) const fn new(in_order: Vec<ServedNamespace>) -> Self {
        Self(in_order)
    }

    /// The one of this number.
    pub(crate) fn get(&self, id: NamespaceId) -> Option<&ServedNamespace> {
        self.0.get(usize::from(id.get()) - 1)
    }

    /// The numbers of all of them.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NamespaceId> {
        (1..).map_while(NamespaceId::new).take(self.0.len())
    }

    /// The shards of all of them that this core owns.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.0.iter().flat_map(|namespace| namespace.shards.iter())
    }

    /// What they have counted here.
    pub(crate) fn snapshots(&self) -> Vec<NamespaceSnapshot> {
        self.0.iter().map(ServedNamespace::snapshot).collect()
    }
}
