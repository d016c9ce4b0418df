//! What a core does while it serves, and how it stops.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use corelith_io::{Listener, Mailbox, MailboxReceiver};
use corelith_wire::NamespaceId;
use glommio::Task;

use super::start::Inbound;
use super::{Core, Order};
use crate::connection;
use crate::hop::{FromCore, ToCore};
use crate::limits::STOP_DRAIN;
use crate::metrics::bump;

/// How often a stopping core looks whether it is done, and an acceptor without descriptors tries again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

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
    let flushers: Vec<Task<()>> = core
        .namespaces
        .ids()
        .filter_map(|id| flush(Rc::clone(core), id))
        .map(glommio::spawn_local)
        .collect();
    let mut acceptors = vec![glommio::spawn_local(accept_own(Rc::clone(core), own))];
    if let Some(shared) = shared {
        acceptors.push(glommio::spawn_local(accept_for_all(
            Rc::clone(core),
            shared,
        )));
    }
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
    let reports = reports.attach(&core.ring);
    readers.push(glommio::spawn_local(report(Rc::clone(core), reports)));
    let orders = orders.attach(&core.ring);
    while let Some(order) = orders.receive().await {
        match order {
            Order::Report(answer) => drop(answer.send(core.snapshot())),
            Order::Configure(settings) => core.configure(&settings),
            Order::Drain(done) => {
                for acceptor in acceptors.drain(..) {
                    acceptor.cancel().await;
                }
                drain(core).await;
                // The main thread has stopped waiting only if the process is ending.
                if done.send(()).is_err() {
                    break;
                }
            }
            Order::Finish => break,
        }
    }
    for reader in readers {
        reader.cancel().await;
    }
    for flusher in flushers {
        flusher.cancel().await;
    }
    for shard in core.namespaces.shards() {
        shard.close();
    }
    for committer in committers {
        committer.await;
    }
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
    tracing::warn!(%error, "a connection could not be accepted");
    glommio::timer::sleep(LOOK_AGAIN * 5).await;
}

/// Requests and connections that another core hands over, and its questions.
async fn take_requests(core: Rc<Core>, from: u16, mailbox: Mailbox<ToCore>) {
    while let Some(message) = mailbox.receive().await {
        match message {
            ToCore::Request(hop) => connection::run_for(&core, from, hop),
            ToCore::Count(number) => core.count_for(from, number),
            ToCore::Connection(socket) => connection::spawn(&core, socket),
        }
    }
}

/// Answers that come back from another core.
async fn take_answers(core: Rc<Core>, from: u16, mailbox: Mailbox<FromCore>) {
    while let Some(message) = mailbox.receive().await {
        if let Some(Some(peer)) = core.peers.get(usize::from(from)) {
            peer.returned();
        }
        match message {
            FromCore::Answer(hop) => connection::deliver(&core, *hop),
            FromCore::Count(count) => core.gathered(count.number, count.snapshot),
        }
    }
}

async fn report(core: Rc<Core>, mailbox: Mailbox<Order>) {
    while let Some(order) = mailbox.receive().await {
        if let Order::Report(answer) = order {
            drop(answer.send(core.snapshot()));
        }
    }
}

/// Takes no new work, waits until everything accepted is answered and sent, then closes what is left.
async fn drain(core: &Rc<Core>) {
    core.stopping.set(true);
    let mut waited = Duration::ZERO;
    loop {
        let busy = core.unanswered.get() > 0
            || core
                .connections
                .borrow()
                .values()
                .any(|connection| connection.has_answers());
        // Accepted requests are always answered: the store settles them all. Only a client that
        // does not take its answers is not waited for.
        if !busy || (core.unanswered.get() == 0 && waited >= STOP_DRAIN) {
            break;
        }
        glommio::timer::sleep(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
    let connections: Vec<_> = core.connections.borrow().values().cloned().collect();
    for connection in connections {
        connection.close();
    }
    while !core.connections.borrow().is_empty() {
        glommio::timer::sleep(LOOK_AGAIN).await;
    }
}
