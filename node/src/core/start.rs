//! The birth of a core: from a plan that crosses threads to a running executor.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender};

use corelith_io::{
    BufferPool, BufferPoolConfig, Clock, CoreWaker, Device, Listener, MailboxReceiver,
    MailboxSender, PortUse, Ring, RingConfig, RingFeatures,
};
use corelith_store::limits::INDEX_BYTES_CACHED;
use corelith_store::{RecoveryReport, Shard, ShardOptions};
use corelith_wire::FrameEncoder;
use glommio::{LocalExecutorBuilder, Placement};

use super::gather::Questions;
use super::hello_watch::HelloWatch;
use super::{Core, Order, serve};
use crate::boot::{BootError, Event};
use crate::configuration::LiveSettings;
use crate::connection::Batches;
use crate::health::StateCell;
use crate::hop::{FromCore, Peer, ToCore};
use crate::idle::GlommioIdle;
use crate::limits::{
    ARENA_BYTES, EXECUTOR_BUFFER_BYTES, EXECUTOR_RING_DEPTH, LISTEN_ATTEMPTS_MAX, LISTEN_PAUSE,
    RING_SLOTS,
};
use crate::memory_plan::MemoryPlan;
use crate::metrics::CoreMetrics;
use crate::namespaces::{Namespaces, ServedNamespace};
use crate::operation::Shards;
use crate::repeated::CoreMessages;
use crate::runners::Runners;
use crate::slow::SlowLog;
use crate::topology::Topology;
use crate::turns::Turns;
use crate::volume_setup::OpenVolume;

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
    /// One for each namespace, in the order of their numbers.
    pub(crate) volumes: Arc<Vec<OpenVolume>>,
    pub(crate) listen: SocketAddr,
    /// The shared port, on the core that accepts for all.
    pub(crate) shared_listen: Option<SocketAddr>,
    /// By core number; `None` for this one.
    pub(crate) links: Vec<Option<PeerLinks>>,
    pub(crate) loads: Arc<Vec<AtomicUsize>>,
    pub(crate) orders: MailboxReceiver<Order>,
    pub(crate) reports: MailboxReceiver<Order>,
    pub(crate) memory: Arc<MemoryPlan>,
    /// Of its pool of buffers.
    pub(crate) buffers_bytes: u64,
    pub(crate) accept_stale: bool,
    /// What it keeps to until it is told anew.
    pub(crate) settings: LiveSettings,
    /// Where the progress of recovery is told.
    pub(crate) state: StateCell,
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
        /// What recovery found in each of its shards.
        recovered: Vec<Recovered>,
    },
    /// It cannot go on.
    Failed {
        /// The core.
        core: u16,
        /// Why.
        error: BootError,
    },
    /// It has ended.
    Ended {
        /// The core.
        core: u16,
    },
}

/// What recovery found in one shard.
pub(crate) struct Recovered {
    /// Place of the namespace in the node's order.
    pub(crate) namespace: usize,
    pub(crate) shard: u16,
    pub(crate) report: RecoveryReport,
    /// Records that are there.
    pub(crate) records: u64,
}

/// Starts the core's thread.
///
/// # Errors
/// The thread or its executor could not be made.
pub(crate) fn start(plan: CorePlan) -> Result<(), BootError> {
    let placement = Placement::Fixed(plan.cpu);
    let name = format!("core-{}", plan.number);
    // The executor's own rings only park the core: they need neither depth nor memory, both of which count
    // against the limit of locked memory.
    let builder = LocalExecutorBuilder::new(placement)
        .name(&name)
        .ring_depth(EXECUTOR_RING_DEPTH)
        .io_memory(EXECUTOR_BUFFER_BYTES);
    let mut last_word = LastWord {
        events: plan.events.clone(),
        word: Some(CoreReport::Failed {
            core: plan.number,
            error: BootError::NoExecutor { core: plan.number },
        }),
    };
    let started = builder.spawn(move || async move {
        let core = plan.number;
        last_word.is(match run(plan).await {
            Ok(()) => CoreReport::Ended { core },
            Err(error) => CoreReport::Failed { core, error },
        });
    });
    started.map(drop).map_err(|error| BootError::Executor {
        reason: error.to_string(),
    })
}

/// What a core tells `boot` at its end, even if its executor never comes to life.
struct LastWord {
    events: Sender<Event>,
    word: Option<CoreReport>,
}

impl LastWord {
    fn is(&mut self, word: CoreReport) {
        self.word = Some(word);
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(word) = self.word.take() {
            // Nobody listens any more if boot has given up already.
            drop(self.events.send(Event::Core(word)));
        }
    }
}

/// What a core is made of.
pub(super) struct CoreParts<'a> {
    pub(super) number: u16,
    pub(super) namespaces: Namespaces,
    pub(super) topology: Topology,
    pub(super) ring: Ring,
    pub(super) clock: Clock,
    pub(super) peers: Vec<Option<Peer>>,
    pub(super) loads: Arc<Vec<AtomicUsize>>,
    pub(super) settings: &'a LiveSettings,
}

impl Core {
    /// A core that has no connections yet.
    pub(super) fn new(parts: CoreParts<'_>) -> Self {
        Self {
            number: parts.number,
            namespaces: parts.namespaces,
            topology: parts.topology,
            ring: parts.ring,
            clock: parts.clock,
            metrics: CoreMetrics::new(),
            encoder: RefCell::new(FrameEncoder::new()),
            peers: parts.peers,
            connections: RefCell::new(BTreeMap::new()),
            next_connection: Cell::new(1),
            batches: Batches::default(),
            loads: parts.loads,
            connections_max: Cell::new(parts.settings.connections_per_core_max),
            hello_watch: HelloWatch::new(parts.settings.hello_timeout),
            stopping: Cell::new(false),
            quiesced: Cell::new(false),
            slow: SlowLog::new(parts.settings.slow_log),
            messages: CoreMessages::default(),
            unanswered: Cell::new(0),
            questions: Questions::default(),
            spares: RefCell::new(Vec::new()),
            send_buffers: Rc::default(),
            turns: Turns::new(),
            runners: Runners::new(),
        }
    }
}

async fn run(plan: CorePlan) -> Result<(), BootError> {
    let ring = make_ring(&plan)?;
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
    let clock = Clock::real();
    let (namespaces, recovered) = open_namespaces(&plan, &topology, (&ring, &clock)).await?;
    let (peers, inbound) = split_links(plan.links);
    let core = Core::new(CoreParts {
        number: plan.number,
        namespaces,
        topology,
        ring: ring.clone(),
        clock,
        peers,
        loads: plan.loads,
        settings: &plan.settings,
    });
    core.namespaces.configure(&plan.settings);
    let core = Rc::new(core);
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

/// The core's ring, with its buffers.
fn make_ring(plan: &CorePlan) -> Result<Ring, BootError> {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: ARENA_BYTES,
        limit_bytes: usize::try_from(plan.buffers_bytes).unwrap_or(usize::MAX),
    })?;
    let config = RingConfig {
        waker: Some(plan.waker.clone()),
        slot_count: RING_SLOTS,
        ..RingConfig::default()
    };
    Ok(Ring::new(config, &pool)?)
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

/// Recovers this core's shards of all namespaces, all at once.
async fn open_namespaces(
    plan: &CorePlan,
    topology: &Topology,
    (ring, clock): (&Ring, &Clock),
) -> Result<(Namespaces, Vec<Recovered>), BootError> {
    let volumes = plan.volumes.iter().enumerate();
    let opening = volumes.map(|(position, volume)| {
        open_namespace(plan, (position, volume), topology, (ring, clock))
    });
    let opened = futures_util::future::try_join_all(opening).await?;
    let (namespaces, recovered): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
    let recovered = recovered.into_iter().flatten().collect();
    Ok((Namespaces::new(namespaces), recovered))
}

/// Recovers this core's shards of one namespace.
async fn open_namespace(
    plan: &CorePlan,
    (position, volume): (usize, &OpenVolume),
    topology: &Topology,
    (ring, clock): (&Ring, &Clock),
) -> Result<(ServedNamespace, Vec<Recovered>), BootError> {
    let devices: Vec<Device> = volume
        .devices
        .iter()
        .map(|device| device.attach(ring).map_err(BootError::from))
        .collect::<Result<_, _>>()?;
    let opening = topology
        .shards_of(plan.number, position)
        .into_iter()
        .map(async |number| {
            let options = ShardOptions {
                shard: number,
                index_memory_bytes: plan.memory.index_bytes_per_shard(position),
                record_cache_bytes: volume.record_cache_bytes
                    / u64::from(volume.shard_count().max(1)),
                checkpoint: volume.checkpoint,
                accept_stale: plan.accept_stale,
                index_bytes_cached: INDEX_BYTES_CACHED,
            };
            let watched = (&options, plan.state.progress());
            let pool_and_clock = (ring.pool(), clock);
            let shard =
                Shard::open_watched(&volume.volume, &devices, pool_and_clock, watched).await?;
            Ok::<_, BootError>((number, shard))
        });
    let shards = futures_util::future::try_join_all(opening).await?;
    let recovered = shards
        .iter()
        .map(|(number, shard)| Recovered {
            namespace: position,
            shard: *number,
            report: shard.report(),
            records: shard.statistics().records,
        })
        .collect();
    let shards = Shards::new(volume.shard_count(), shards, volume.commit);
    let namespace = ServedNamespace::new(&volume.namespace(), shards, volume.policy);
    Ok((namespace, recovered))
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
