//! The birth of a core: from a plan that crosses threads to a running executor.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender};

use corelith_io::{
    BufferPool, BufferPoolConfig, Clock, CoreWaker, Device, Listener, MailboxReceiver,
    MailboxSender, OpenDevice, PortUse, Ring, RingConfig, RingFeatures,
};
use corelith_store::limits::INDEX_BYTES_CACHED;
use corelith_store::volume::Volume;
use corelith_store::{Commit, RecoveryReport, Shard, ShardOptions};
use corelith_wire::FrameEncoder;
use glommio::{LocalExecutorBuilder, Placement};

use super::gather::Gatherings;
use super::{Core, Order, serve};
use crate::boot::{BootError, Event};
use crate::commit::CommitPolicy;
use crate::hop::{FromCore, Peer, ToCore};
use crate::idle::GlommioIdle;
use crate::limits::{ARENA_BYTES, DMA_BYTES_MAX, LISTEN_ATTEMPTS_MAX, LISTEN_PAUSE};
use crate::metrics::CoreMetrics;
use crate::operation::Shards;
use crate::topology::Topology;

/// The two mailboxes to, and the two from, one other core.
pub(crate) struct PeerLinks {
    pub(crate) requests_out: MailboxSender<ToCore>,
    pub(crate) answers_out: MailboxSender<FromCore>,
    pub(crate) requests_in: MailboxReceiver<ToCore>,
    pub(crate) answers_in: MailboxReceiver<FromCore>,
}

/// What a core needs to come to life.
pub(crate) struct CorePlan {
    pub(crate) number: u16,
    pub(crate) cpu: usize,
    pub(crate) waker: CoreWaker,
    pub(crate) volume: Volume,
    /// In slot order.
    pub(crate) devices: Arc<Vec<OpenDevice>>,
    pub(crate) listen: SocketAddr,
    /// The shared port, on the core that accepts for all.
    pub(crate) shared_listen: Option<SocketAddr>,
    /// By core number; `None` for this one.
    pub(crate) links: Vec<Option<PeerLinks>>,
    pub(crate) loads: Arc<Vec<AtomicUsize>>,
    pub(crate) orders: MailboxReceiver<Order>,
    pub(crate) reports: MailboxReceiver<Order>,
    pub(crate) index_memory_bytes: u64,
    pub(crate) accept_stale: bool,
    /// When writes are answered.
    pub(crate) commit: CommitPolicy,
    /// The node's map, when all cores have reported their ports.
    pub(crate) map: Receiver<Topology>,
    pub(crate) events: Sender<Event>,
}

/// What a core tells `boot` on its way up.
pub(crate) enum CoreReport {
    /// It listens.
    Listening {
        /// The core.
        core: u16,
        /// Its own port.
        port: u16,
        /// The shared port, if it accepts for all.
        shared_port: Option<u16>,
        /// What its ring found.
        features: Box<RingFeatures>,
    },
    /// Its shards are recovered and it serves.
    Serving {
        /// The core.
        core: u16,
        /// What recovery found, by shard.
        recovered: Vec<(u16, RecoveryReport, u64)>,
    },
    /// It cannot go on.
    Failed(BootError),
    /// It has ended.
    Ended,
}

/// Starts the core's thread.
///
/// # Errors
/// The thread or its executor could not be made.
pub(crate) fn start(plan: CorePlan) -> Result<(), BootError> {
    let placement = Placement::Fixed(plan.cpu);
    let name = format!("core-{}", plan.number);
    let builder = LocalExecutorBuilder::new(placement).name(&name);
    let started = builder.spawn(move || async move {
        let events = plan.events.clone();
        let last = match run(plan).await {
            Ok(()) => CoreReport::Ended,
            Err(error) => CoreReport::Failed(error),
        };
        // Nobody listens any more if boot has given up already.
        drop(events.send(Event::Core(last)));
    });
    started.map(drop).map_err(|error| BootError::Executor {
        reason: error.to_string(),
    })
}

async fn run(plan: CorePlan) -> Result<(), BootError> {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: ARENA_BYTES,
        limit_bytes: DMA_BYTES_MAX,
    })?;
    let config = RingConfig {
        waker: Some(plan.waker.clone()),
        ..RingConfig::default()
    };
    let ring = Ring::new(config, &pool)?;
    let listener = listen(&ring, plan.listen).await?;
    let shared = match plan.shared_listen {
        Some(address) => Some(listen(&ring, address).await?),
        None => None,
    };
    let listening = CoreReport::Listening {
        core: plan.number,
        port: listener.local_address().port(),
        shared_port: shared
            .as_ref()
            .map(|listener| listener.local_address().port()),
        features: Box::new(ring.features()),
    };
    let told = plan.events.send(Event::Core(listening));
    let Ok(topology) = plan.map.recv() else {
        // Another core failed; this one has nothing to undo.
        drop(told);
        return Ok(());
    };
    let driver = {
        let ring = ring.clone();
        glommio::spawn_local(async move { ring.drive(GlommioIdle::default()).await })
    };
    let devices = attach(&plan.devices, &ring)?;
    let clock = Clock::real();
    let (shards, recovered) = open_shards(&plan, &topology, &devices, (&pool, &clock)).await?;
    let (peers, inbound) = split_links(plan.links);
    let core = Rc::new(Core {
        number: plan.number,
        shards: Shards::new(topology.shard_count(), shards, plan.commit),
        topology,
        ring: ring.clone(),
        clock,
        metrics: CoreMetrics::new(),
        encoder: RefCell::new(FrameEncoder::new()),
        peers,
        connections: RefCell::new(HashMap::new()),
        next_connection: Cell::new(1),
        loads: plan.loads,
        stopping: Cell::new(false),
        unanswered: Cell::new(0),
        gatherings: Gatherings::default(),
        spares: RefCell::new(Vec::new()),
    });
    let serving = CoreReport::Serving {
        core: plan.number,
        recovered,
    };
    drop(plan.events.send(Event::Core(serving)));
    serve::serve(
        &core,
        (listener, shared),
        inbound,
        (plan.orders, plan.reports),
    )
    .await;
    drop(core);
    ring.stop();
    driver.await?;
    Ok(())
}

/// Listens, for a little while again and again: the ring of a killed node gives its sockets back only
/// some time after the process is gone, and a supervisor starts the next one at once.
async fn listen(ring: &Ring, address: SocketAddr) -> Result<Listener, BootError> {
    let mut attempts = 0;
    loop {
        match Listener::bind(ring, address, PortUse::Exclusive) {
            Ok(listener) => return Ok(listener),
            Err(error) if attempts >= LISTEN_ATTEMPTS_MAX => return Err(error.into()),
            Err(_) => {
                attempts += 1;
                glommio::timer::sleep(LISTEN_PAUSE).await;
            }
        }
    }
}

fn attach(devices: &[OpenDevice], ring: &Ring) -> Result<Vec<Device>, BootError> {
    devices
        .iter()
        .map(|device| device.attach(ring).map_err(BootError::from))
        .collect()
}

type Recovered = Vec<(u16, RecoveryReport, u64)>;

/// Recovers this core's shards, all at once, and starts their background tasks.
async fn open_shards(
    plan: &CorePlan,
    topology: &Topology,
    devices: &[Device],
    (pool, clock): (&BufferPool, &Clock),
) -> Result<(Vec<(u16, Shard)>, Recovered), BootError> {
    let opening = topology
        .shards_of(plan.number)
        .into_iter()
        .map(|number| async move {
            let options = ShardOptions {
                shard: number,
                index_memory_bytes: plan.index_memory_bytes,
                accept_stale: plan.accept_stale,
                index_bytes_cached: INDEX_BYTES_CACHED,
                commit: Commit::Durable,
            };
            let shard = Shard::open(&plan.volume, devices, (pool, clock), &options).await?;
            Ok::<_, BootError>((number, shard))
        });
    let opened = futures_util::future::join_all(opening).await;
    let mut shards = Vec::new();
    let mut recovered = Vec::new();
    for result in opened {
        let (number, shard) = result?;
        recovered.push((number, shard.report(), shard.statistics().records));
        shards.push((number, shard));
    }
    Ok((shards, recovered))
}

/// What comes in from one other core.
pub(crate) struct Inbound {
    pub(crate) core: u16,
    pub(crate) requests: MailboxReceiver<ToCore>,
    pub(crate) answers: MailboxReceiver<FromCore>,
}

fn split_links(links: Vec<Option<PeerLinks>>) -> (Vec<Option<Peer>>, Vec<Inbound>) {
    let mut peers = Vec::new();
    let mut inbound = Vec::new();
    for (core, links) in (0_u16..).zip(links) {
        peers.push(links.map(|links| {
            inbound.push(Inbound {
                core,
                requests: links.requests_in,
                answers: links.answers_in,
            });
            Peer::new(links.requests_out, links.answers_out)
        }));
    }
    (peers, inbound)
}
