//! What a core does while it serves, and how it stops.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use corelith_io::{Listener, Mailbox, MailboxReceiver};
use corelith_store::Shard;
use corelith_wire::NamespaceId;
use glommio::Task;

use super::start::Inbound;
use super::{Core, Order, hello_watch, quiet, scrub};
use crate::connection::{self, Connection};
use crate::hop::{FromCore, ToCore};
use crate::limits::{HOPS_PER_STEP, REPEATED_AFTER_NS};
use crate::metrics::bump;
use crate::pace::yield_now;

/// How often a stopping core looks whether it is done, and an acceptor without descriptors tries again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How often shards are told that time has passed.
const TICK: Duration = Duration::from_secs(1);

/// Serves until ordered to finish.
pub(super) async fn serve(
    core: &Rc<Core>,
    (own, shared): (Listener, Option<Listener>),
    inbound: Vec<Inbound>,
    (orders, reports): (MailboxReceiver<Order>, MailboxReceiver<Order>),
) {
    let committers: Vec<Task<()>> = core
        .namespaces
        .shards()
        .map(|shard| glommio::spawn_local(shard.run()))
        .collect();
    let in_background = run_in_background(core);
    let mut acceptors = vec![glommio::spawn_local(accept_own(Rc::clone(core), own))];
    if let Some(shared) = shared {
        acceptors.push(glommio::spawn_local(accept_for_all(
            Rc::clone(core),
            shared,
        )));
    }
    let mut readers = read_links(core, inbound);
    let reports = reports.attach(&core.ring);
    readers.push(glommio::spawn_local(report(Rc::clone(core), reports)));
    readers.push(glommio::spawn_local(say_rest(Rc::clone(core))));
    readers.push(glommio::spawn_local(hello_watch::watch(Rc::clone(core))));
    let orders = orders.attach(&core.ring);
    while let Some(order) = orders.receive().await {
        match order {
            Order::Drain {
                done,
                client_patience,
                report_after,
            } => {
                for acceptor in acceptors.drain(..) {
                    acceptor.cancel().await;
                }
                glommio::spawn_local(report_wait(Rc::clone(core), report_after)).detach();
                drain(core, client_patience).await;
                // The main thread has stopped waiting only if the process is ending.
                if done.send(core.number).is_err() {
                    break;
                }
            }
            Order::Configure(settings) => core.configure(&settings),
            Order::Finish => break,
            order @ (Order::Report(_)
            | Order::Troubles(_)
            | Order::Live(_)
            | Order::Connections { .. }
            | Order::Slow(_)
            | Order::Close { .. }
            | Order::Quiesce { .. }) => answer(core, order),
        }
    }
    for reader in readers {
        reader.cancel().await;
    }
    for task in in_background {
        task.cancel().await;
    }
    for shard in core.namespaces.shards() {
        shard.close();
    }
    for committer in committers {
        committer.await;
    }
}

/// What goes on beside requests until the core finishes.
fn run_in_background(core: &Rc<Core>) -> Vec<Task<()>> {
    let scrubs = core.namespaces.ids();
    let scrubs = scrubs.flat_map(|id| scrub::of_namespace(core, id));
    let flushes = core.namespaces.ids();
    let flushes = flushes.filter_map(|id| flush(Rc::clone(core), id));
    let flushes = flushes.map(glommio::spawn_local);
    let ticks = glommio::spawn_local(tick(Rc::clone(core)));
    flushes.chain(scrubs).chain([ticks]).collect()
}

/// Reads what the other cores send.
fn read_links(core: &Rc<Core>, inbound: Vec<Inbound>) -> Vec<Task<()>> {
    let mut readers = Vec::new();
    for link in inbound {
        let requests = link.requests.attach(&core.ring);
        let answers = link.answers.attach(&core.ring);
        readers.push(glommio::spawn_local(take_requests(
            Rc::clone(core),
            link.core,
            requests,
        )));
        readers.push(glommio::spawn_local(take_answers(
            Rc::clone(core),
            link.core,
            answers,
        )));
    }
    readers
}

/// Sends to the devices, again and again, what a namespace answered before it was durable. `None` if it never
/// does.
fn flush(core: Rc<Core>, id: NamespaceId) -> Option<impl Future<Output = ()>> {
    let commit = core.namespaces.get(id)?.shards.commit;
    let task = async move {
        while let Some(namespace) = core.namespaces.get(id) {
            glommio::timer::sleep(commit.flush_interval).await;
            for shard in namespace.shards.iter() {
                shard.flush();
            }
        }
    };
    commit.may_buffer().then_some(task)
}

/// Tells the shards that time has passed: they remove what has expired.
async fn tick(core: Rc<Core>) {
    loop {
        glommio::timer::sleep(TICK).await;
        core.namespaces.shards().for_each(Shard::tick);
    }
}

/// Connections to this core's own port.
async fn accept_own(core: Rc<Core>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(socket) => connection::spawn(&core, socket),
            Err(error) => wait_after(&core, &error).await,
        }
    }
}

/// Connections to the shared port go to the core with the fewest, before their first read.
async fn accept_for_all(core: Rc<Core>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(socket) => place(&core, socket),
            Err(error) => wait_after(&core, &error).await,
        }
    }
}

fn place(core: &Rc<Core>, socket: OwnedFd) {
    let chosen = core.least_loaded();
    match core.peers.get(usize::from(chosen)) {
        Some(Some(peer)) => {
            if let Err(socket) = peer.give(socket) {
                connection::spawn(core, socket);
            }
        }
        Some(None) | None => connection::spawn(core, socket),
    }
}

async fn wait_after(core: &Core, error: &corelith_io::ListenError) {
    bump(&core.metrics.accept_failures);
    if let Some(unsaid) = core.messages.not_accepted.due(core.ring.turn_ns()) {
        tracing::warn!(
            %error,
            others = unsaid,
            "connections could not be accepted, and others since the last message: they wait until some are closed; \
             raise the limit of descriptors (LimitNOFILE=, `ulimit -n`) if that is the reason"
        );
    }
    glommio::timer::sleep(LOOK_AGAIN * 5).await;
}

/// The next messages from another core, as many as one takes in one go; false when none are to come. After a full
/// load the core's other tasks go first.
async fn next_of<T: Send>(mailbox: &Mailbox<T>, messages: &mut Vec<T>, taken: &mut usize) -> bool {
    if *taken == HOPS_PER_STEP {
        yield_now().await;
    }
    let Some(message) = mailbox.receive().await else {
        return false;
    };
    messages.push(message);
    let more = std::iter::from_fn(|| mailbox.try_receive());
    messages.extend(more.take(HOPS_PER_STEP - 1));
    *taken = messages.len();
    true
}

/// Requests and connections that another core hands over, and its questions.
async fn take_requests(core: Rc<Core>, from: u16, mailbox: Mailbox<ToCore>) {
    let (mut messages, mut taken) = (Vec::with_capacity(HOPS_PER_STEP), 0);
    while next_of(&mailbox, &mut messages, &mut taken).await {
        connection::fetch_for(&core, &messages);
        for message in messages.drain(..) {
            match message {
                ToCore::Request(hop) => connection::run_for(&core, from, hop),
                ToCore::Part(part) => connection::run_part_for(&core, from, part),
                ToCore::Count(number) => core.count_for(from, number),
                ToCore::Truncate(number, truncation) => {
                    core.truncate_for(from, number, truncation);
                }
                ToCore::Connection(socket) => connection::spawn(&core, socket),
            }
        }
    }
}

/// Answers that come back from another core.
async fn take_answers(core: Rc<Core>, from: u16, mailbox: Mailbox<FromCore>) {
    let (mut messages, mut taken) = (Vec::with_capacity(HOPS_PER_STEP), 0);
    while next_of(&mailbox, &mut messages, &mut taken).await {
        for message in messages.drain(..) {
            if let Some(Some(peer)) = core.peers.get(usize::from(from)) {
                peer.returned();
            }
            match message {
                FromCore::Answer(hop) => connection::deliver(&core, *hop),
                FromCore::Part(part) => connection::take_back(&core, *part),
                FromCore::Count(count) => core.gathered(count.number, count.snapshot),
                FromCore::Truncated(number, outcome) => core.truncated(number, *outcome),
            }
        }
    }
}

/// Says from time to time how often messages came up that were not said.
async fn say_rest(core: Rc<Core>) {
    loop {
        glommio::timer::sleep(Duration::from_nanos(REPEATED_AFTER_NS)).await;
        core.messages
            .say_rest(core.number, core.clock.monotonic_ns());
    }
}

async fn report(core: Rc<Core>, mailbox: Mailbox<Order>) {
    while let Some(order) = mailbox.receive().await {
        answer(&core, order);
    }
}

/// Does what the control thread wants, which may have stopped waiting for the answer.
fn answer(core: &Rc<Core>, order: Order) {
    match order {
        Order::Report(answer) => drop(answer.send(core.snapshot())),
        Order::Troubles(answer) => drop(answer.send(core.namespaces.troubles())),
        Order::Live(answer) => drop(answer.send(())),
        Order::Connections { after, answer } => {
            drop(answer.send(core.connection_reports(after)));
        }
        Order::Slow(answer) => drop(answer.send(core.slow.kept())),
        Order::Close { number, answer } => drop(answer.send(quiet::close(core, number))),
        Order::Quiesce {
            is_quiesced,
            answer,
        } => {
            answer.send(quiet::set_quiesced(core, is_quiesced)).ok();
        }
        // Orders of the main thread.
        Order::Configure(_) | Order::Drain { .. } | Order::Finish => {}
    }
}

/// Takes no new work, waits until everything accepted is answered and sent, then closes what is left. A
/// client that does not take its answers is waited for as long as `patience` says, and then cut.
async fn drain(core: &Rc<Core>, patience: Duration) {
    core.stopping.set(true);
    let began_ns = core.clock.monotonic_ns();
    let is_patient = || {
        let waited_ns = core.clock.monotonic_ns().saturating_sub(began_ns);
        Duration::from_nanos(waited_ns) < patience
    };
    // Accepted requests are always answered: the store settles them all.
    while core.unanswered.get() > 0 || (core.send_buffers.waiting_bytes() > 0 && is_patient()) {
        glommio::timer::sleep(LOOK_AGAIN).await;
    }
    for connection in all(core) {
        connection.end();
    }
    while !core.connections.borrow().is_empty() && is_patient() {
        glommio::timer::sleep(LOOK_AGAIN).await;
    }
    let cut = all(core);
    if !cut.is_empty() {
        tracing::warn!(
            core = core.number,
            connections = cut.len(),
            "connections were cut: their clients did not take their last answers"
        );
    }
    for connection in cut {
        connection.cut();
    }
    while !core.connections.borrow().is_empty() {
        glommio::timer::sleep(LOOK_AGAIN).await;
    }
}

fn all(core: &Core) -> Vec<Rc<Connection>> {
    core.connections.borrow().values().cloned().collect()
}

/// Says what a core that does not come to its end waits for, shortly before the stop gives up.
async fn report_wait(core: Rc<Core>, after: Duration) {
    glommio::timer::sleep(after).await;
    let snapshot = core.snapshot();
    let devices = snapshot
        .namespaces
        .iter()
        .flat_map(|namespace| &namespace.devices);
    for device in devices {
        let statistics = &device.statistics;
        let (reads, writes, flushes) = (
            statistics.reads.in_flight_count,
            statistics.writes.in_flight_count,
            statistics.flushes.in_flight_count,
        );
        if reads + writes + flushes > 0 {
            tracing::error!(
                core = core.number,
                device = &*device.name,
                reads,
                writes,
                flushes,
                "the stop waits for a device that does not answer: see the kernel's log"
            );
        }
    }
    tracing::error!(
        core = core.number,
        unanswered = snapshot.requests_in_flight,
        "the core has not come to its end"
    );
}
