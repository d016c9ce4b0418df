//! One core: an executor pinned to a CPU, with a ring, devices, shards and connections of its own.
//!
//! Start: ring, listener, port reported to `boot`; the node's map comes back; shards are recovered;
//! serving begins. Stop, in two steps that `boot` orders: first no new work is taken and what was
//! accepted is answered, on all cores; only then are shards closed, because until then another core
//! may still hand work over.

#[cfg(test)]
mod allocation_tests;
mod gather;
mod hello_watch;
mod orders;
mod quiet;
mod scrub;
mod serve;
mod start;
mod truncate;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corelith_io::{Clock, Ring, to_u64};
use corelith_wire::FrameEncoder;

pub(crate) use gather::GatherBusy;
pub(crate) use orders::Order;
pub(crate) use start::{CorePlan, CoreReport, PeerLinks, Recovered, start};
pub(crate) use truncate::{Truncated, Truncation};

use crate::configuration::LiveSettings;
use crate::connection::{Batches, Connection, ConnectionKey, Job};
use crate::hop::Peer;
use crate::limits::{SPARE_VECTOR_BYTES_MAX, SPARE_VECTORS_MAX};
use crate::metrics::{CoreMetrics, CoreSnapshot, bump};
use crate::namespaces::Namespaces;
use crate::repeated::CoreMessages;
use crate::runners::Runners;
use crate::send_buffers::SendBuffers;
use crate::slow::SlowLog;
use crate::topology::Topology;
use crate::turns::Turns;
use hello_watch::HelloWatch;

/// Everything of one core that its tasks share. It never leaves the core.
pub(crate) struct Core {
    pub(crate) number: u16,
    pub(crate) topology: Topology,
    pub(crate) ring: Ring,
    pub(crate) clock: Clock,
    pub(crate) namespaces: Namespaces,
    pub(crate) metrics: CoreMetrics,
    pub(crate) encoder: RefCell<FrameEncoder>,
    /// By core number; `None` for this one.
    pub(crate) peers: Vec<Option<Peer>>,
    /// In the order in which they came, so that they can be gone through in steps.
    pub(crate) connections: RefCell<BTreeMap<ConnectionKey, Rc<Connection>>>,
    next_connection: Cell<u64>,
    /// Batches whose answers are being gathered.
    pub(crate) batches: Batches,
    /// Connections of every core, for the acceptor's choice.
    loads: Arc<Vec<AtomicUsize>>,
    /// Connections that it takes; changed while the node runs.
    pub(crate) connections_max: Cell<usize>,
    hello_watch: HelloWatch,
    pub(crate) stopping: Cell<bool>,
    /// An operator has taken the node out of service.
    quiesced: Cell<bool>,
    pub(crate) slow: SlowLog,
    pub(crate) messages: CoreMessages,
    /// Requests that this core has not answered yet, its own and other cores'.
    pub(crate) unanswered: Cell<usize>,
    spares: RefCell<Vec<Vec<u8>>>,
    pub(crate) send_buffers: Rc<SendBuffers>,
    pub(crate) turns: Turns,
    /// In which requests run.
    pub(crate) runners: Runners<Job>,
    questions: gather::Questions,
}

impl Core {
    /// A vector with the frame's bytes: from the spares, so that the request path does not allocate.
    pub(crate) fn copy_of(&self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = self.spare();
        copy.extend_from_slice(bytes);
        copy
    }

    /// An empty vector.
    pub(crate) fn spare(&self) -> Vec<u8> {
        self.spares.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a vector back.
    pub(crate) fn recycle(&self, mut vector: Vec<u8>) {
        let mut spares = self.spares.borrow_mut();
        if spares.len() < SPARE_VECTORS_MAX
            && vector.capacity() <= SPARE_VECTOR_BYTES_MAX
            && vector.capacity() > 0
        {
            vector.clear();
            spares.push(vector);
        }
    }

    /// The key of a new connection; never used twice.
    pub(crate) fn next_connection_key(&self) -> ConnectionKey {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        ConnectionKey::new(number)
    }

    /// Notes that this core has one connection more.
    pub(crate) fn connection_opened(&self) {
        bump(&self.metrics.connections);
        bump(&self.metrics.connections_accepted);
        if let Some(load) = self.loads.get(usize::from(self.number)) {
            load.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that it has one less.
    pub(crate) fn connection_closed(&self) {
        self.metrics
            .connections
            .set(self.metrics.connections.get().saturating_sub(1));
        if let Some(load) = self.loads.get(usize::from(self.number)) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The core with the fewest connections.
    fn least_loaded(&self) -> u16 {
        let least = self
            .loads
            .iter()
            .enumerate()
            .min_by_key(|(_, load)| load.load(Ordering::Relaxed));
        least
            .and_then(|(core, _)| u16::try_from(core).ok())
            .unwrap_or(self.number)
    }

    /// Takes what is to hold from now on.
    fn configure(&self, settings: &LiveSettings) {
        self.connections_max.set(settings.connections_per_core_max);
        self.hello_watch.configure(settings.hello_timeout);
        self.slow.configure(settings.slow_log);
        self.namespaces.configure(settings);
    }

    /// What this core has counted.
    pub(crate) fn snapshot(&self) -> CoreSnapshot {
        let mut snapshot = self.metrics.snapshot(self.number);
        snapshot.ring = self.ring.statistics();
        snapshot.buffers = Some(self.ring.pool().statistics());
        snapshot.slow_operations = self.slow.count();
        snapshot.requests_in_flight = to_u64(self.unanswered.get());
        snapshot.hops_in_flight = to_u64(self.peers.iter().flatten().map(Peer::out).sum());
        snapshot.outbox_bytes = to_u64(self.send_buffers.waiting_bytes());
        snapshot.namespaces = self.namespaces.snapshots();
        snapshot
    }

    /// One request more that is not answered.
    pub(crate) fn took_on(&self) {
        self.unanswered.set(self.unanswered.get() + 1);
    }

    /// One less.
    pub(crate) fn answered(&self) {
        self.unanswered.set(self.unanswered.get().saturating_sub(1));
    }
}
