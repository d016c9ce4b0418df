//! The life of a node: checks, volume, cores, serving, and a stop that loses nothing.
//!
//! The only place that starts threads: one executor a core (through glommio), one for the control
//! page, one that waits for signals.

mod check;
mod error;
mod reload;
mod stop;
mod wiring;

pub(crate) use check::check;
pub(crate) use error::BootError;
use reload::Cores;
pub(crate) use reload::Settings;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use corelith_io::{Access, Clock, CoreWaker, Lack, MailboxSender, Preflight};
use corelith_store::limits::CLOCK_JUMP_MAX_DEFAULT_MS;
use nix::sys::signal::Signal;

use crate::configuration::{Changed, Configuration, CoreChoice, Setting, Unchanged};
use crate::control;
use crate::core::{self, CorePlan, CoreReport, Order, Recovered};
use crate::cpus::allowed_cpus;
use crate::descriptors;
use crate::health::{NodeState, Progress, StateCell};
use crate::limits::{
    MEMLOCK_BYTES_MIN, PROGRESS_EVERY, PROGRESS_PATIENCE, SECOND_SIGNAL_AFTER_NS, SUPERVISOR_SLACK,
};
use crate::memory_plan::{MemoryPlan, NamespaceNeeds};
use crate::signals::OperatorSignals;
use crate::supervisor::Supervisor;
use crate::topology::Topology;
use crate::volume_setup::{self, OpenVolume};
use stop::stop_cores;
use wiring::{Wires, wire};

/// What the main thread waits for.
pub(crate) enum Event {
    /// A core says something.
    Core(CoreReport),
    /// The operator wants a stop.
    Stop,
    /// The operator wants the configuration read again.
    Reload,
    /// The operator wants to see it.
    Show(tokio::sync::oneshot::Sender<Vec<Setting>>),
    /// The operator wants a key changed.
    Change {
        /// Its whole name.
        key: String,
        /// As written on a command line.
        value: String,
        /// Gets what came of it.
        answer: tokio::sync::oneshot::Sender<Result<Changed, Unchanged>>,
    },
}

/// Runs a node from start to stop.
///
/// # Errors
/// Why it could not start, or what made it end.
pub(crate) fn run(settings: Settings) -> Result<(), BootError> {
    let configuration = &settings.current.clone();
    let found = Preflight::run()?;
    check_locked_memory(&found)?;
    let signals = OperatorSignals::block().map_err(BootError::Signals)?;
    // Before a volume is made for cores or memory that there are not.
    let cpus = chosen_cpus(&configuration.cores, usize::MAX)?;
    plan_for_new(configuration, cpus.len())?;
    let volumes = Arc::new(volume_setup::open(configuration, Access::Exclusive)?);
    let shard_count = volume_setup::shards_of_all(&volumes);
    let cpus = chosen_cpus(&configuration.cores, shard_count)?;
    let needs: Vec<_> = volumes.iter().map(OpenVolume::needs).collect();
    let memory = Arc::new(MemoryPlan::new(configuration, cpus.len(), &needs)?);
    let device_count = volumes.iter().map(|volume| volume.devices.len()).sum();
    descriptors::raise_limit(
        cpus.len(),
        (configuration.connections_per_core_max, device_count),
    );
    let page = TcpListener::bind(configuration.control).map_err(|error| BootError::Control {
        address: configuration.control,
        error,
    })?;
    let control_address = page.local_addr().unwrap_or(configuration.control);
    let stop_timeout = configuration.stop_timeout;
    let state = StateCell::new(corelith_io::to_u64(shard_count));
    let supervisor = Arc::new(Supervisor::from_environment());
    let watchers = (&state, &supervisor);
    let mut node = Node::start(settings, (&volumes, &memory), &cpus, watchers)?;
    let reports = std::mem::take(&mut node.reports);
    spawn_thread("control", {
        let speaks_for = control::Node {
            state: state.clone(),
            cores: control::Cores::new(reports),
            main: node.events_in.clone(),
            memory,
        };
        let supervisor = Arc::clone(&supervisor);
        move || control::serve(page, &supervisor, speaks_for)
    })?;
    spawn_thread("signals", {
        let events = node.events_in.clone();
        move || watch_signals(&signals, &events)
    })?;
    let topology = match node.until_serving() {
        Err(BootError::StoppedEarly) => {
            tracing::info!("stopped before the node was ready: nothing had been accepted");
            return Ok(());
        }
        served => served?,
    };
    state.set(NodeState::Serving);
    supervisor.is_ready("serving");
    say_hello(
        configuration.listen,
        &volumes,
        (&topology, cpus.len()),
        (control_address, &found),
    );
    let ended = node.until_stop();
    state.set(NodeState::Stopping);
    supervisor.is_stopping(stop_timeout + SUPERVISOR_SLACK);
    tracing::info!(timeout = ?stop_timeout, "stopping: finishing what was accepted");
    node.stop(stop_timeout)?;
    tracing::info!("stopped: everything that was acknowledged is durable");
    ended
}

/// Whether the memory plan fits with those volumes alone that a start would make. If not, the error tells of all
/// volumes: what it says to be enough is.
fn plan_for_new(configuration: &Configuration, core_count_max: usize) -> Result<(), BootError> {
    let new = volume_setup::needs_of_all_new(configuration);
    if plan(configuration, core_count_max, &new).is_ok() {
        return Ok(());
    }
    let there = volume_setup::open(configuration, Access::ReadOnly)?;
    let all = volume_setup::needs_of_all(configuration, &there);
    plan(configuration, core_count_max, &all)
}

/// Whether the memory plan fits with these volumes on as many cores as they can have.
fn plan(
    configuration: &Configuration,
    core_count_max: usize,
    needs: &[NamespaceNeeds],
) -> Result<(), BootError> {
    let shards = needs.iter().map(|needs| usize::from(needs.shard_count));
    let core_count = shards.sum::<usize>().clamp(1, core_count_max);
    MemoryPlan::new(configuration, core_count, needs).map(drop)
}

fn check_locked_memory(found: &Preflight) -> Result<(), BootError> {
    match found.memlock_bytes {
        Some(found_bytes) if found_bytes < MEMLOCK_BYTES_MIN => Err(BootError::LockedMemory {
            found_bytes,
            needed_bytes: MEMLOCK_BYTES_MIN,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The CPUs of the cores: as many as asked for or allowed, and not more than there are shards.
fn chosen_cpus(choice: &CoreChoice, shard_count: usize) -> Result<Vec<usize>, BootError> {
    let mut allowed = allowed_cpus();
    let asked = match choice {
        CoreChoice::All => {
            allowed.truncate(shard_count.max(1));
            return Ok(allowed);
        }
        CoreChoice::Count(count) => usize::from(*count),
        CoreChoice::Cpus(cpus) => {
            if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(BootError::ForeignCpu { cpu: *cpu, allowed });
            }
            allowed.clone_from(cpus);
            cpus.len()
        }
    };
    if asked == 0 || asked > allowed.len() {
        let cpus = allowed.len();
        return Err(BootError::TooManyCores { asked, cpus });
    }
    if asked > shard_count {
        return Err(BootError::MoreCoresThanShards { asked, shard_count });
    }
    allowed.truncate(asked);
    Ok(allowed)
}

/// The running node, as the main thread sees it.
struct Node {
    events: Receiver<Event>,
    events_in: Sender<Event>,
    orders: Vec<MailboxSender<Order>>,
    reports: Vec<MailboxSender<Order>>,
    maps: Vec<Sender<Topology>>,
    settings: Settings,
    /// Cores that run no more.
    ended: Vec<u16>,
    state: StateCell,
    supervisor: Arc<Supervisor>,
    volumes: Arc<Vec<OpenVolume>>,
    memory: Arc<MemoryPlan>,
}

impl Node {
    /// Starts all cores.
    fn start(
        settings: Settings,
        (volumes, memory): (&Arc<Vec<OpenVolume>>, &Arc<MemoryPlan>),
        cpus: &[usize],
        (state, supervisor): (&StateCell, &Arc<Supervisor>),
    ) -> Result<Self, BootError> {
        let configuration = &settings.current;
        let core_count = u16::try_from(cpus.len()).unwrap_or(u16::MAX);
        let (events_in, events) = channel();
        let wakers = (0..core_count)
            .map(|_| CoreWaker::new())
            .collect::<Result<Vec<_>, _>>();
        let wakers = wakers.map_err(|errno| BootError::Executor {
            reason: errno.to_string(),
        })?;
        let Wires {
            links,
            orders,
            order_readers,
            reports,
            report_readers,
        } = wire(&wakers);
        let loads: Arc<Vec<AtomicUsize>> =
            Arc::new((0..core_count).map(|_| AtomicUsize::new(0)).collect());
        let mut maps = Vec::new();
        let cores = (0..core_count).zip(cpus).zip(wakers).zip(links);
        let readers = order_readers.into_iter().zip(report_readers);
        for ((((number, cpu), waker), links), (orders, reports)) in cores.zip(readers) {
            let (map_in, map) = channel();
            maps.push(map_in);
            core::start(CorePlan {
                number,
                cpu: *cpu,
                waker,
                volumes: Arc::clone(volumes),
                listen: port_after(configuration.listen, u32::from(number) + 1)?,
                shared_listen: (number == 0).then_some(configuration.listen),
                links,
                loads: Arc::clone(&loads),
                orders,
                reports,
                memory: Arc::clone(memory),
                buffers_bytes: configuration.buffers_per_core_bytes,
                accept_stale: configuration.accept_stale,
                settings: configuration.live(),
                state: state.clone(),
                map,
                events: events_in.clone(),
            })?;
        }
        Ok(Self {
            events,
            events_in,
            orders,
            reports,
            ended: Vec::new(),
            state: state.clone(),
            supervisor: Arc::clone(supervisor),
            maps,
            volumes: Arc::clone(volumes),
            memory: Arc::clone(memory),
            settings,
        })
    }

    /// Collects the ports, hands out the map, and waits for every core's recovery.
    fn until_serving(&mut self) -> Result<Topology, BootError> {
        let mut ports = vec![0; self.maps.len()];
        let mut shared = 0;
        for _ in 0..self.maps.len() {
            if let CoreReport::Listening {
                core,
                port,
                shared_port,
                features,
            } = self.next_report()?
            {
                shared = shared_port.unwrap_or(shared);
                if let Some(slot) = ports.get_mut(usize::from(core)) {
                    *slot = port;
                }
                if core == 0 {
                    tracing::info!("io_uring: {features}");
                    for lack in features.lacking() {
                        // Of the limit of locked memory the ring has warned already.
                        if !matches!(lack, Lack::Entries { .. } | Lack::RegisteredBuffers { .. }) {
                            tracing::warn!("io_uring does without: {lack}");
                        }
                    }
                }
            }
        }
        let namespaces: Vec<(String, u16)> = self
            .volumes
            .iter()
            .map(|volume| (volume.namespace(), volume.shard_count()))
            .collect();
        // A volume in memory is another one after each start.
        let mut lasting = self.volumes.iter().filter(|volume| volume.is_lasting());
        let first = lasting.next().or(self.volumes.first());
        let node_id = first.map_or(0, OpenVolume::node_id);
        let topology = Topology::new(node_id, &namespaces, (shared, ports));
        for map in &self.maps {
            // A core that has died meanwhile has said so in its report.
            drop(map.send(topology.clone()));
        }
        let mut records = vec![0; namespaces.len()];
        let mut gaps_ms = vec![None; namespaces.len()];
        for _ in 0..self.maps.len() {
            if let CoreReport::Serving { core, recovered } = self.next_report()? {
                for found in recovered {
                    if let Some((name, _)) = namespaces.get(found.namespace) {
                        log_recovery(core, name, &found);
                    }
                    if let Some(records) = records.get_mut(found.namespace) {
                        *records += found.records;
                    }
                    if let Some(gap_ms) = gaps_ms.get_mut(found.namespace) {
                        // What any of its shards has seen, the volume has.
                        let gaps = [*gap_ms, found.report.clock_gap_ms];
                        *gap_ms = gaps.into_iter().flatten().min();
                    }
                }
            }
        }
        for (((namespace, _), records), gap_ms) in namespaces.iter().zip(records).zip(gaps_ms) {
            tracing::info!(namespace, records, "recovered");
            warn_of_gap(namespace, gap_ms.unwrap_or(0));
        }
        Ok(topology)
    }

    /// The next report; an error if a core failed or a stop was asked for.
    fn next_report(&mut self) -> Result<CoreReport, BootError> {
        loop {
            return match self.events.recv_timeout(PROGRESS_EVERY) {
                Ok(Event::Core(CoreReport::Failed { core, error })) => {
                    self.ended.push(core);
                    Err(error)
                }
                Ok(Event::Core(report)) => Ok(report),
                Ok(Event::Reload) => {
                    tracing::warn!(
                        "SIGHUP: the node is still starting; send the signal again when it serves"
                    );
                    continue;
                }
                // Nobody asks before the node serves.
                Ok(Event::Show(_) | Event::Change { .. }) => continue,
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    Err(BootError::StoppedEarly)
                }
                Err(RecvTimeoutError::Timeout) => {
                    let progress = Progress::of(&self.state).to_string();
                    tracing::info!("loading: {progress}");
                    self.supervisor
                        .is_busy(&format!("loading: {progress}"), PROGRESS_PATIENCE);
                    continue;
                }
            };
        }
    }

    /// Lets every core finish what it has accepted, and end.
    fn stop(mut self, timeout: std::time::Duration) -> Result<(), BootError> {
        let core_count = self.orders.len();
        let orders = &mut self.orders;
        let mut give = |core: u16, order| {
            if let Some(mailbox) = orders.get_mut(usize::from(core)) {
                // A core whose mailbox is gone has ended already.
                drop(mailbox.try_send(order));
            }
        };
        let ends = (self.ended, timeout);
        stop_cores(core_count, &mut give, &self.events, ends)
    }

    /// Waits for a stop, or for a core that cannot go on.
    fn until_stop(&mut self) -> Result<(), BootError> {
        loop {
            match self.events.recv() {
                Ok(Event::Stop) | Err(_) => return Ok(()),
                Ok(Event::Reload) => {
                    let cores = Cores {
                        orders: &mut self.orders,
                        memory: &self.memory,
                    };
                    self.settings.reload(cores);
                }
                // Whoever asked may have stopped waiting.
                Ok(Event::Show(answer)) => drop(answer.send(self.settings.current.settings())),
                Ok(Event::Change { key, value, answer }) => {
                    let cores = Cores {
                        orders: &mut self.orders,
                        memory: &self.memory,
                    };
                    drop(answer.send(self.settings.change((&key, &value), cores)));
                }
                Ok(Event::Core(CoreReport::Failed { core, error })) => {
                    self.ended.push(core);
                    return Err(error);
                }
                Ok(Event::Core(CoreReport::Ended { core })) => self.ended.push(core),
                Ok(Event::Core(_)) => {}
            }
        }
    }
}

/// The port that follows the listening one by `distance`; any free one if that is 0.
fn port_after(listen: SocketAddr, distance: u32) -> Result<SocketAddr, BootError> {
    let port = match listen.port() {
        0 => 0,
        port => u16::try_from(u32::from(port) + distance)
            .map_err(|_| BootError::PortRange { address: listen })?,
    };
    Ok(SocketAddr::new(listen.ip(), port))
}

fn watch_signals(signals: &OperatorSignals, events: &Sender<Event>) {
    let clock = Clock::real();
    let mut asked_ns = None;
    while let Ok(signal) = signals.wait() {
        if signal == Signal::SIGHUP {
            if events.send(Event::Reload).is_err() {
                return;
            }
            continue;
        }
        let now_ns = clock.monotonic_ns();
        match asked_ns {
            None => {
                asked_ns = Some(now_ns);
                if events.send(Event::Stop).is_err() {
                    return;
                }
            }
            // A terminal and a supervisor often both signal at once: that is one wish, not two.
            Some(asked_ns) if now_ns.saturating_sub(asked_ns) < SECOND_SIGNAL_AFTER_NS => {}
            Some(_) => {
                tracing::warn!("stopping at once: unacknowledged requests are dropped");
                std::process::exit(130);
            }
        }
    }
}

fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), BootError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder
        .spawn(body)
        .map(drop)
        .map_err(|error| BootError::Executor {
            reason: error.to_string(),
        })
}

fn log_recovery(core: u16, namespace: &str, found: &Recovered) {
    let Recovered { shard, report, .. } = found;
    if report.may_be_stale() {
        tracing::error!(
            namespace,
            shard,
            batches_lost = report.batches_lost,
            segments_unreadable = report.segments_unreadable,
            "acknowledged writes of this shard cannot be read: it answers \"may be stale\" until the \
             node is started with --accept-stale"
        );
    }
    if report.records_damaged > 0 {
        tracing::error!(
            namespace,
            shard,
            records = report.records_damaged,
            "records are damaged: they are answered with errors"
        );
    }
    tracing::debug!(core, namespace, shard, ?report, "shard recovered");
}

/// Says that nothing was written for so long that the clock may be wrong.
fn warn_of_gap(namespace: &str, gap_ms: u64) {
    if gap_ms > CLOCK_JUMP_MAX_DEFAULT_MS {
        tracing::warn!(
            namespace,
            gap_s = gap_ms / 1000,
            "by this machine's clock nothing was written for longer than a day: if the clock is wrong, stop the node and set it \
             right before anything is written by it"
        );
    }
}

/// The few lines that say where, on what, and how to say hello.
fn say_hello(
    listen: SocketAddr,
    volumes: &[OpenVolume],
    (topology, core_count): (&Topology, usize),
    (control, found): (SocketAddr, &Preflight),
) {
    let map = topology.answer();
    let listen = SocketAddr::new(listen.ip(), map.shared_port);
    tracing::info!(
        "serving on {listen} ({core_count} cores, ports {:?}), Linux {}",
        map.core_ports,
        found.kernel_release,
    );
    for volume in volumes {
        tracing::info!("namespace {:?}: {}", volume.namespace(), volume.describe());
    }
    tracing::info!("metrics and health: http://{control}/metrics, /live, /ready, /hot");
    let place = match volumes {
        // The command takes the only namespace or "test" by itself.
        [first, _, ..] if volumes.iter().all(|volume| volume.namespace() != "test") => {
            format!("--host {listen} --namespace {}", first.namespace())
        }
        _ => format!("--host {listen}"),
    };
    tracing::info!(
        "say hello: corelith put alice city=Berlin {place} && corelith get alice {place}"
    );
}
