//! The namespaces of one core: the shards that it owns of each, and what each is told.
//! Numbered as the topology numbers them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use corelith_store::Shard;
use corelith_wire::NamespaceId;

use crate::configuration::{LiveSettings, NamespaceConfiguration};
use crate::lifetimes::Lifetimes;
use crate::metrics::NamespaceSnapshot;
use crate::operation::Shards;
use crate::refusal::Rejection;

/// What the writes of a namespace must keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Policy {
    /// How long records live.
    pub(crate) lifetimes: Lifetimes,
    /// The longest content that is written; `None` for what the volume can hold.
    pub(crate) record_bytes_max: Option<u64>,
    /// Bytes a second that its scrubs read together, on all cores; 0 for no scrub.
    pub(crate) scrub_rate_bytes: u64,
}

impl Policy {
    /// As the configuration says.
    pub(crate) const fn of(namespace: &NamespaceConfiguration) -> Self {
        Self {
            lifetimes: namespace.lifetimes,
            record_bytes_max: namespace.record_bytes_max,
            scrub_rate_bytes: namespace.scrub_rate_bytes,
        }
    }

    /// A rejection of content that is too long.
    pub(crate) fn check_length(&self, content: &[u8]) -> Result<(), Rejection> {
        let found_bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        match self.record_bytes_max {
            Some(max_bytes) if found_bytes > max_bytes => Err(Rejection::TooLong {
                max_bytes,
                found_bytes,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// One namespace, as one core has it.
pub(crate) struct ServedNamespace {
    pub(crate) name: Arc<str>,
    pub(crate) shards: Shards,
    /// What its writes must keep to; changed while the node runs.
    pub(crate) policy: Cell<Policy>,
    /// Pages of scans under way on this core, in all namespaces.
    pub(crate) scan_pages: Rc<Cell<usize>>,
}

impl ServedNamespace {
    pub(crate) fn new(name: &str, shards: Shards, policy: Policy) -> Self {
        Self {
            name: name.into(),
            shards,
            policy: Cell::new(policy),
            scan_pages: Rc::default(),
        }
    }

    fn snapshot(&self) -> NamespaceSnapshot {
        let requests = (
            self.shards.outcomes.snapshot(),
            self.shards.hot_keys.snapshot(),
        );
        NamespaceSnapshot::take(&self.name, requests, self.shards.iter())
    }
}

/// What keeps a namespace from taking writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Trouble {
    pub(crate) name: Arc<str>,
    /// A shard is full.
    pub(crate) is_full: bool,
    /// How far the wall clock is ahead, in ms, if that is too far.
    pub(crate) clock_ahead_ms: u64,
}

/// All namespaces of the node, by number; of some a core may own no shard.
pub(crate) struct Namespaces(Vec<ServedNamespace>);

impl Namespaces {
    pub(crate) fn new(mut in_order: Vec<ServedNamespace>) -> Self {
        let scan_pages = Rc::default();
        for namespace in &mut in_order {
            namespace.scan_pages = Rc::clone(&scan_pages);
        }
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

    /// Takes what is to hold from now on.
    pub(crate) fn configure(&self, settings: &LiveSettings) {
        for namespace in &self.0 {
            let mut policies = settings.policies.iter();
            let found = policies
                .find(|(name, _)| name.as_deref().is_none_or(|name| *name == *namespace.name));
            if let Some((_, policy)) = found {
                namespace.policy.set(*policy);
            }
        }
        for shard in self.shards() {
            shard.set_clock_jump_max(settings.clock_jump_max_ms);
        }
    }

    /// What keeps their shards here from taking writes.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let trouble_of = |namespace: &ServedNamespace| {
            let mut trouble = Trouble {
                name: Arc::clone(&namespace.name),
                is_full: false,
                clock_ahead_ms: 0,
            };
            for statistics in namespace.shards.iter().map(Shard::statistics) {
                trouble.is_full |= statistics.is_full;
                trouble.clock_ahead_ms = trouble.clock_ahead_ms.max(statistics.clock_ahead_ms);
            }
            trouble
        };
        self.0.iter().map(trouble_of).collect()
    }

    /// What they have counted here.
    pub(crate) fn snapshots(&self) -> Vec<NamespaceSnapshot> {
        self.0.iter().map(ServedNamespace::snapshot).collect()
    }
}
