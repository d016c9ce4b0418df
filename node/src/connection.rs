//! A connection: bytes in, requests to their owners, answers out in the order in which they come up.
//!
//! Two tasks serve it: one reads and hands requests on, one sends what is in the outbox. A connection
//! is read only while it has few enough requests unanswered and little enough to send, so a slow
//! client costs no more than its bounds. A stream that is no sequence of frames gets one last answer
//! and is closed.

mod about;
mod batch;
mod greet;
mod pay;
mod truncate;

pub(crate) use about::ConnectionReport;

use std::borrow::Cow;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;

use corelith_io::{Received, SendBuffer, Stream, to_u64};
use corelith_wire::{Answer, FrameError, FrameHeader, MessageKind, Refusal, Request, Status};

pub(crate) use batch::{BatchKey, Batches, run_part_for, take_back};

use crate::core::Core;
use crate::frames::{FrameAssembler, body_of};
use crate::hop::Hop;
use crate::limits::{IN_FLIGHT_PER_CONNECTION_MAX, PIECE_BYTES};
use crate::metrics::bump;
use crate::namespaces::ServedNamespace;
use crate::operation::{self, Context, Reply};
use crate::outbox::Outbox;
use crate::pace::yield_now;
use crate::refusal::busy;
use crate::slow::Course;
use crate::turns::{Share, Turns, cost_units};
use about::Account;
use pay::{is_write, paid_back};

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
    while let Some((header, frame)) = assembler.next(&mut received)? {
        let cost_units = cost_units(&header, frame.len());
        std::future::poll_fn(|context| turns.poll_pay(share, cost_units, context)).await;
        let is_under_way = dispatch(core, connection, (&header, frame), arrived_ns);
        if !is_under_way {
            turns.release(cost_units);
        }
    }
    Ok(())
}

/// The last answer on a connection, to no request in particular.
fn say_goodbye(core: &Core, connection: &Connection, refusal: &Refusal<'_>) {
    core.metrics.refused(refusal.status);
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
            reply(&mut encoder, out, header).refuse(refusal);
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
    if owner == core.number
        && header.kind() == Some(MessageKind::Get)
        && run_at_once(core, connection, (header, frame), arrived_ns)
    {
        return false;
    }
    connection.in_flight.set(connection.in_flight.get() + 1);
    core.took_on();
    let bytes = match whole {
        Cow::Borrowed(frame) => core.copy_of(frame),
        Cow::Owned(frame) => frame,
    };
    if owner == core.number {
        run_here(core, connection, (header, bytes), arrived_ns);
        true
    } else {
        hand_over(core, connection, owner, (header, bytes, arrived_ns))
    }
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

fn reply<'a>(
    encoder: &'a mut corelith_wire::FrameEncoder,
    out: &'a mut Vec<u8>,
    header: &FrameHeader,
) -> Reply<'a> {
    Reply {
        encoder,
        out,
        request_id: header.request_id(),
        kind_number: header.kind_number(),
    }
}

/// Answers a get from memory, where it stands: no task, no copy of the frame. False if it needs more.
fn run_at_once(
    core: &Core,
    connection: &Connection,
    (header, frame): (&FrameHeader, &[u8]),
    arrived_ns: u64,
) -> bool {
    let namespace = header.namespace().and_then(|id| core.namespaces.get(id));
    let Some(namespace) = namespace.filter(|namespace| namespace.shards.have_record_caches) else {
        return false;
    };
    // A write that is answered before it is durable may have arrived on this connection just before.
    let may_pass = !namespace.shards.commit.may_buffer() || connection.in_flight.get() == 0;
    // Past the outbox's bound an answer waits as a request, of which a connection has few.
    if !may_pass || !connection.outbox.has_room() {
        return false;
    }
    let (mut is_answered, mut answer_bytes) = (false, 0);
    connection.outbox.append(|out| {
        let before = out.len();
        let mut encoder = core.encoder.borrow_mut();
        let mut reply = reply(&mut encoder, out, header);
        is_answered = operation::run_at_once(&namespace.shards, (header, frame), &mut reply);
        answer_bytes = out.len() - before;
    });
    if is_answered {
        let turn_ns = core.ring.turn_ns();
        let course = Course {
            arrived_ns,
            started_ns: turn_ns,
            ended_ns: turn_ns,
            owner: core.number,
            answer_bytes,
        };
        took(core, namespace, (header, frame), course);
    }
    is_answered
}

/// Runs a request on this core, for a connection of this core.
fn run_here(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (header, frame): (&FrameHeader, Vec<u8>),
    arrived_ns: u64,
) {
    let (core, connection) = (Rc::clone(core), Rc::clone(connection));
    let header = *header;
    glommio::spawn_local(async move {
        let started_ns = core.ring.turn_ns();
        let outcome = {
            let work = run(&core, &frame, (arrived_ns, started_ns));
            paid_back(&core.turns, (&header, frame.len()), work).await
        };
        let ended_ns = core.ring.turn_ns();
        let mut answer_bytes = 0;
        if outcome.payload_bytes() > PIECE_BYTES {
            let answer = Box::pin(write_in_pieces(&core, &frame, &outcome)).await;
            answer_bytes = answer.len();
            connection.outbox.append_whole(answer);
        } else {
            connection.outbox.append(|out| {
                let before = out.len();
                write(&core, &frame, &outcome, out);
                answer_bytes = out.len() - before;
            });
        }
        let course = Course {
            arrived_ns,
            started_ns,
            ended_ns,
            owner: core.number,
            answer_bytes,
        };
        answered(&core, &header, &frame, course);
        finish(&core, &connection);
        core.recycle(frame);
    })
    .detach();
}

/// Sends a request to its owner.
fn hand_over(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    owner: u16,
    (header, frame, arrived_ns): (&FrameHeader, Vec<u8>, u64),
) -> bool {
    let hop = Hop {
        connection: connection.key,
        arrived_ns,
        started_ns: arrived_ns,
        ended_ns: arrived_ns,
        owner,
        frame,
        answer: core.spare(),
    };
    let metrics = &core.metrics;
    let peer = core.peers.get(usize::from(owner)).and_then(Option::as_ref);
    let sent = match peer {
        Some(peer) => peer.send(Box::new(hop)).is_ok(),
        None => false,
    };
    if sent {
        bump(&metrics.requests_to_other_cores);
        return !is_write(header);
    }
    metrics.refused(Status::Busy);
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        reply(&mut encoder, out, header).refuse(&busy());
    });
    finish(core, connection);
    false
}

/// Runs a request on this core that arrived at another one, and sends the answer back there.
pub(crate) fn run_for(core: &Rc<Core>, from: u16, mut hop: Box<Hop>) {
    bump(&core.metrics.requests_from_other_cores);
    core.took_on();
    let core = Rc::clone(core);
    glommio::spawn_local(async move {
        let now_ns = core.clock.monotonic_ns();
        let outcome = run(&core, &hop.frame, (hop.arrived_ns, now_ns)).await;
        (hop.started_ns, hop.ended_ns) = (now_ns, core.ring.turn_ns());
        if outcome.payload_bytes() > PIECE_BYTES {
            hop.answer = Box::pin(write_in_pieces(&core, &hop.frame, &outcome)).await;
        } else {
            let Hop { frame, answer, .. } = &mut *hop;
            write(&core, frame, &outcome, answer);
        }
        if let Some(Some(peer)) = core.peers.get(usize::from(from)) {
            peer.answer(hop);
        }
        core.answered();
    })
    .detach();
}

/// Puts an answer that came back from another core into its connection's outbox.
pub(crate) fn deliver(core: &Rc<Core>, mut hop: Hop) {
    let header = FrameHeader::parse(&hop.frame).ok().flatten();
    if let Some(header) = header.as_ref().filter(|header| !is_write(header)) {
        core.turns.release(cost_units(header, hop.frame.len()));
    }
    let connection = core.connections.borrow().get(&hop.connection).cloned();
    match connection {
        Some(connection) => {
            let answer_bytes = hop.answer.len();
            if answer_bytes > PIECE_BYTES {
                connection
                    .outbox
                    .append_whole(std::mem::take(&mut hop.answer));
            } else {
                connection
                    .outbox
                    .append(|out| out.extend_from_slice(&hop.answer));
            }
            let course = Course {
                arrived_ns: hop.arrived_ns,
                started_ns: hop.started_ns,
                ended_ns: hop.ended_ns,
                owner: hop.owner,
                answer_bytes,
            };
            if let Some(header) = header {
                answered(core, &header, &hop.frame, course);
            }
            finish(core, &connection);
        }
        None => core.answered(),
    }
    core.recycle(hop.frame);
    core.recycle(hop.answer);
}

async fn run(core: &Core, frame: &[u8], (arrived_ns, now_ns): (u64, u64)) -> operation::Outcome {
    let context = Context {
        namespaces: &core.namespaces,
        clock: &core.clock,
        now_ns,
        arrived_ns,
    };
    operation::run(&context, frame).await
}

/// Writes an outcome as the answer to the request in `frame`.
fn write(core: &Core, frame: &[u8], outcome: &operation::Outcome, out: &mut Vec<u8>) {
    if let Ok(Some(header)) = FrameHeader::parse(frame) {
        outcome.write(&mut reply(&mut core.encoder.borrow_mut(), out, &header));
    }
}

/// [`write`] of a large one into memory of its own: its payload is copied in pieces.
async fn write_in_pieces(core: &Core, frame: &[u8], outcome: &operation::Outcome) -> Vec<u8> {
    let mut out = Vec::new();
    let Ok(Some(header)) = FrameHeader::parse(frame) else {
        return out;
    };
    let answer = outcome.answer();
    let payload = answer.as_ref().map_or(&[][..], Answer::payload);
    let head = answer.as_ref().map(|answer| {
        let mut encoder = core.encoder.borrow_mut();
        encoder.answer_head(&mut out, header.request_id(), answer, payload.len())
    });
    let Some(Ok(padding_bytes)) = head else {
        // What cannot be answered is refused, in the words of the straight way.
        write(core, frame, outcome, &mut out);
        return out;
    };
    out.reserve_exact(payload.len() + padding_bytes);
    for piece in payload.chunks(PIECE_BYTES) {
        yield_now().await;
        out.extend_from_slice(piece);
    }
    out.resize(out.len() + padding_bytes, 0);
    out
}

/// An operation has its answer in the outbox: it is timed, and kept if it was slow.
fn answered(core: &Core, header: &FrameHeader, frame: &[u8], course: Course) {
    if let Some(namespace) = header.namespace().and_then(|id| core.namespaces.get(id)) {
        took(core, namespace, (header, frame), course);
    }
}

/// [`answered`], where the namespace is at hand.
fn took(
    core: &Core,
    namespace: &ServedNamespace,
    (header, frame): (&FrameHeader, &[u8]),
    course: Course,
) {
    let now_ns = core.clock.monotonic_ns();
    let latency_ns = now_ns.saturating_sub(course.arrived_ns);
    if let Some(kind) = header.kind() {
        namespace.shards.outcomes.took(kind, latency_ns);
    }
    if core.slow.is_slow(latency_ns) {
        let place = (core.number, &namespace.name, &core.messages.slow);
        core.slow.note(place, (header, frame), course, now_ns);
    }
}

/// A request of this connection has its answer in the outbox.
fn finish(core: &Core, connection: &Connection) {
    finish_rows(core, connection, 1);
}

/// [`finish`] of a request that counted for several.
fn finish_rows(core: &Core, connection: &Connection, row_count: u32) {
    connection
        .in_flight
        .set(connection.in_flight.get().saturating_sub(row_count));
    connection.outbox.made_room();
    core.answered();
}
