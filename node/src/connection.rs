//! A connection: bytes in, requests to their owners, answers out in the order in which they come up.
//!
//! Two tasks serve it: one reads and hands requests on, one sends what is in the outbox. A connection
//! is read only while it has few enough requests unanswered and little enough to send, so a slow
//! client costs no more than its bounds. A stream that is no sequence of frames gets one last answer
//! and is closed.

mod about;
mod ahead;
mod batch;
mod greet;
mod order;
mod pay;
mod requests;
mod truncate;

pub(crate) use about::ConnectionReport;
pub(crate) use ahead::fetch_for;

use std::borrow::Cow;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;

use corelith_io::{Received, SendBuffer, Stream, to_u64};
use corelith_wire::{FrameError, FrameHeader, MessageKind, Refusal, Request, Status};

pub(crate) use batch::{BatchKey, Batches, run_part_for, take_back};
pub(crate) use order::WriteMark;
pub(crate) use requests::{Job, deliver, run_for};

use crate::core::Core;
use crate::frames::{FrameAssembler, body_of};
use crate::limits::{IN_FLIGHT_PER_CONNECTION_MAX, PIECE_BYTES};
use crate::metrics::bump;
use crate::operation::Reply;
use crate::outbox::Outbox;
use crate::refusal::busy;
use crate::turns::{Share, Turns, cost_units};
use about::Account;
use order::KeyOrder;
use requests::take_on;

/// Number of a connection on its core; never used twice, so a late answer meets nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ConnectionKey(u64);

impl ConnectionKey {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// One client's connection.
pub(crate) struct Connection {
    key: ConnectionKey,
    stream: Stream,
    outbox: Outbox,
    in_flight: Cell<u32>,
    greeted: Cell<bool>,
    /// Nothing more is read.
    ending: Cell<bool>,
    share: Rc<Share>,
    order: KeyOrder,
    account: Account,
}

impl Connection {
    /// Bytes of answers that wait to be sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    pub(crate) const fn key(&self) -> ConnectionKey {
        self.key
    }

    /// Reads no more, and ends when all its requests are answered and the answers sent.
    pub(crate) fn end(&self) {
        self.ending.set(true);
        self.outbox.wake_reader();
    }

    /// True until its hello, unless it ends without one.
    pub(crate) fn owes_hello(&self) -> bool {
        !self.greeted.get() && !self.outbox.is_closed()
    }

    /// Ends with a word to the peer: its hello has not come in time.
    pub(crate) fn miss_hello(&self, core: &Core) {
        let refusal = Refusal::new(Status::HelloExpected)
            .explained("no whole hello came within hello_timeout");
        refuse_all(core, self, &refusal);
        self.outbox.close();
    }

    /// Ends at once: the peer gets no more answers.
    pub(crate) fn cut(&self) {
        self.outbox.abandon();
    }

    /// The next bytes; `None` when there are none to come or none are wanted any more.
    async fn receive(&self, turns: &Turns) -> Option<Received> {
        std::future::poll_fn(|context| {
            if self.ending.get() || self.outbox.is_closed() {
                return Poll::Ready(None);
            }
            let full = self.in_flight.get() >= IN_FLIGHT_PER_CONNECTION_MAX;
            if full || !self.outbox.has_room() {
                self.outbox.wait_for_room(context.waker());
                turns.rest(&self.share);
                return Poll::Pending;
            }
            self.outbox.wait_for_end(context.waker());
            match self.stream.poll_receive(context) {
                Poll::Ready(Ok(received)) => Poll::Ready(received),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a connection broke");
                    Poll::Ready(None)
                }
                Poll::Pending => {
                    turns.rest(&self.share);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits until every request has been answered.
    async fn until_answered(&self) {
        std::future::poll_fn(|context| {
            if self.in_flight.get() == 0 {
                return Poll::Ready(());
            }
            self.outbox.wait_for_room(context.waker());
            Poll::Pending
        })
        .await;
    }
}

/// Serves a new connection on this core.
pub(crate) fn spawn(core: &Rc<Core>, socket: OwnedFd) {
    let count = core.connections.borrow().len();
    if core.stopping.get() || count >= core.connections_max.get() {
        // Dropping the socket closes it: the client sees a refused connection.
        bump(&core.metrics.connections_refused);
        if let Some(unsaid) = core.messages.refused.due(core.ring.turn_ns()) {
            tracing::warn!(
                core = core.number,
                connections = count,
                most = core.connections_max.get(),
                others = unsaid,
                "connections were refused, and others since the last message: this core has as many as it takes, or is \
                 stopping; `corelith connections` lists who holds them"
            );
        }
        return;
    }
    let stream = match Stream::adopt(&core.ring, socket) {
        Ok(stream) => stream,
        Err(error) => {
            if let Some(unsaid) = core.messages.not_served.due(core.ring.turn_ns()) {
                tracing::warn!(
                    %error,
                    others = unsaid,
                    "connections could not be served, and others since the last message: their clients went at once, \
                     or the core's ring is full"
                );
            }
            return;
        }
    };
    let key = core.next_connection_key();
    let account = Account::new(core.clock.monotonic_ns(), stream.peer_address());
    let connection = Rc::new(Connection {
        key,
        stream,
        outbox: Outbox::new(&core.send_buffers),
        in_flight: Cell::new(0),
        greeted: Cell::new(false),
        ending: Cell::new(false),
        share: Rc::default(),
        order: KeyOrder::default(),
        account,
    });
    core.connections
        .borrow_mut()
        .insert(key, Rc::clone(&connection));
    core.connection_opened();
    let core = Rc::clone(core);
    glommio::spawn_local(async move {
        let sender = glommio::spawn_local(send_all(Rc::clone(&core), Rc::clone(&connection)));
        read_all(&core, &connection).await;
        connection.until_answered().await;
        connection.outbox.close();
        sender.await;
        core.connections.borrow_mut().remove(&key);
        core.connection_closed();
    })
    .detach();
}

/// Sends what is in the outbox until it is closed and empty.
async fn send_all(core: Rc<Core>, connection: Rc<Connection>) {
    while let Some(bytes) = connection.outbox.next().await {
        let length = bytes.len();
        let mut buffer = SendBuffer::from(bytes);
        for start in (0..length).step_by(PIECE_BYTES) {
            let end = length.min(start + PIECE_BYTES);
            let send = connection.stream.send(buffer, start..end);
            let Some((sent, result)) = connection.outbox.unless_abandoned(send).await else {
                return;
            };
            if let Err(error) = result {
                tracing::debug!(%error, "answers could not be sent");
                connection.outbox.abandon();
                return;
            }
            buffer = sent;
        }
        connection
            .outbox
            .sent(buffer.into_bytes().unwrap_or_default());
        let sent = core.metrics.sent_bytes.get();
        core.metrics.sent_bytes.set(sent + to_u64(length));
        connection.account.sent(to_u64(length));
    }
    // The peer sees the end after the last answer; a failure means that it is gone already.
    drop(connection.stream.shutdown().await);
}

async fn read_all(core: &Rc<Core>, connection: &Rc<Connection>) {
    let mut assembler = FrameAssembler::default();
    while let Some(received) = connection.receive(&core.turns).await {
        // The time of the turn that brought the bytes: one reading serves all that it brought.
        let arrived_ns = core.ring.turn_ns();
        let metrics = &core.metrics;
        let length = to_u64(received.len());
        connection.account.received(length);
        metrics
            .received_bytes
            .set(metrics.received_bytes.get() + length);
        assembler.lend(|| core.spare());
        let dispatched = dispatch_all(core, connection, (&mut assembler, &received), arrived_ns);
        if let Err(error) = dispatched.await {
            bump(&metrics.broken_streams);
            let text = error.to_string();
            let refusal = Refusal::new(Status::Malformed).explained(&text);
            say_goodbye(core, connection, &refusal);
            break;
        }
        if let Some(spare) = assembler.spare() {
            core.recycle(spare);
        }
    }
    core.turns.rest(&connection.share);
}

/// Takes the frames of what was received to whoever answers them, in the connection's turns.
async fn dispatch_all(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (assembler, mut received): (&mut FrameAssembler, &[u8]),
    arrived_ns: u64,
) -> Result<(), FrameError> {
    let (turns, share) = (&core.turns, &connection.share);
    let mut ahead_count = 0_usize;
    loop {
        if ahead_count == 0 && assembler.is_between_frames() {
            ahead_count = ahead::fetch(core, received);
        }
        let Some((header, frame)) = assembler.next(&mut received)? else {
            return Ok(());
        };
        ahead_count = ahead_count.saturating_sub(1);
        let cost_units = cost_units(&header, frame.len());
        let paid_for = (header.namespace(), cost_units);
        std::future::poll_fn(|context| turns.poll_pay(share, paid_for, context)).await;
        let is_under_way = dispatch(core, connection, (&header, frame), arrived_ns);
        if !is_under_way {
            turns.release(cost_units);
        }
    }
}

/// The last answer on a connection, to no request in particular.
fn say_goodbye(core: &Core, connection: &Connection, refusal: &Refusal<'_>) {
    core.metrics.refused(refusal.status);
    refuse_all(core, connection, refusal);
}

/// An answer to no request in particular.
fn refuse_all(core: &Core, connection: &Connection, refusal: &Refusal<'_>) {
    connection.outbox.append(|out| {
        let written = core.encoder.borrow_mut().connection_refusal(out, refusal);
        if let Err(error) = written {
            tracing::error!(%error, "a refusal could not be encoded");
        }
    });
}

/// Takes one whole frame to whoever answers it. True if that gives back what the connection's turn has paid for it.
fn dispatch(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (header, whole): (&FrameHeader, Cow<'_, [u8]>),
    arrived_ns: u64,
) -> bool {
    let frame: &[u8] = &whole;
    let metrics = &core.metrics;
    bump(&metrics.requests);
    bump(&connection.account.requests);
    let refuse = |refusal: &Refusal<'_>| {
        metrics.refused(refusal.status);
        connection.outbox.append(|out| {
            let mut encoder = core.encoder.borrow_mut();
            Reply::to(header, &mut encoder, out).refuse(refusal);
        });
        false
    };
    if connection.outbox.is_closed() {
        return false;
    }
    let answered = dispatch_of_node(core, connection, (header, frame), arrived_ns);
    if let Some(is_under_way) = answered {
        return is_under_way;
    }
    let Some(partition) = header.partition().filter(|_| !header.is_answer()) else {
        // No record request, or one without a partition: decoding says what is wrong with it.
        let error = Request::decode(header, body_of(frame)).err();
        return refuse(&Refusal::new(
            error.map_or(Status::Unsupported, |error| error.status()),
        ));
    };
    let owner = header
        .namespace()
        .and_then(|namespace| core.topology.core_of(namespace, partition));
    let Some(owner) = owner else {
        return refuse(&Refusal::new(Status::UnknownNamespace));
    };
    if core.takes_no_work() {
        return refuse(&Refusal::new(Status::Stopping));
    }
    if connection.in_flight.get() >= IN_FLIGHT_PER_CONNECTION_MAX {
        return refuse(&busy());
    }
    take_on(core, connection, owner, (header, whole), arrived_ns)
}

/// As [`dispatch`], for a request that is not about one record; `None` if it is.
fn dispatch_of_node(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (header, frame): (&FrameHeader, &[u8]),
    arrived_ns: u64,
) -> Option<bool> {
    match header.kind() {
        Some(MessageKind::Hello) => greet::hello(core, connection, header, frame),
        _ if !connection.greeted.get() => greet::refuse_stranger(core, connection),
        Some(MessageKind::Statistics) => greet::statistics(core, connection, header, frame),
        Some(MessageKind::Topology | MessageKind::Ping) => {
            greet::about_node(core, connection, header, frame);
        }
        Some(MessageKind::Truncate) if !header.is_answer() => {
            truncate::truncate(core, connection, (header, frame), arrived_ns);
        }
        Some(MessageKind::Batch) if !header.is_answer() => {
            return Some(batch::batch(core, connection, (header, frame), arrived_ns));
        }
        _ => return None,
    }
    Some(false)
}
