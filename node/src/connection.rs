//! A connection: bytes in, requests to their owners, answers out in the order in which they come up.
//!
//! Two tasks serve it: one reads and hands requests on, one sends what is in the outbox. A connection
//! is read only while it has few enough requests unanswered and little enough to send, so a slow
//! client costs no more than its bounds. A stream that is no sequence of frames gets one last answer
//! and is closed.

mod batch;
mod greet;
mod truncate;

use std::borrow::Cow;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;

use corelith_io::{Received, SendBuffer, Stream};
use corelith_wire::{Answer, FrameHeader, MessageKind, Refusal, Request, Status};

pub(crate) use batch::{BatchKey, Batches, run_part_for, take_back};

use crate::core::Core;
use crate::frames::{FrameAssembler, body_of};
use crate::hop::Hop;
use crate::limits::{IN_FLIGHT_PER_CONNECTION_MAX, PIECE_BYTES, TURN_BYTES};
use crate::metrics::bump;
use crate::operation::{self, Context, Reply};
use crate::outbox::Outbox;
use crate::pace::yield_now;
use crate::refusal::busy;

/// Number of a connection on its core; never used twice, so a late answer meets nobody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
}

impl Connection {
    /// True while answers wait to be sent or taken.
    pub(crate) fn has_answers(&self) -> bool {
        self.waiting_bytes() > 0
    }

    /// Bytes of answers that wait to be sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    /// Reads no more, and ends when the answers have been sent.
    pub(crate) fn close(&self) {
        self.outbox.close();
    }

    /// Ends at once: the peer gets no more answers.
    pub(crate) fn cut(&self) {
        self.outbox.abandon();
    }

    /// The next bytes; `None` when there are none to come or none are wanted any more.
    async fn receive(&self) -> Option<Received> {
        std::future::poll_fn(|context| {
            if self.outbox.is_closed() {
                return Poll::Ready(None);
            }
            let full = self.in_flight.get() >= IN_FLIGHT_PER_CONNECTION_MAX;
            if full || !self.outbox.has_room() {
                self.outbox.wait_for_room(context.waker());
                return Poll::Pending;
            }
            self.outbox.wait_for_end(context.waker());
            match self.stream.poll_receive(context) {
                Poll::Ready(Ok(received)) => Poll::Ready(received),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a connection broke");
                    Poll::Ready(None)
                }
                Poll::Pending => Poll::Pending,
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
    if core.stopping.get() || core.connections.borrow().len() >= core.connections_max.get() {
        // Dropping the socket closes it: the client sees a refused connection.
        bump(&core.metrics.connections_refused);
        tracing::warn!(
            core = core.number,
            "a connection was refused: this core has as many as it takes, or is stopping"
        );
        return;
    }
    let stream = match Stream::adopt(&core.ring, socket) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be served");
            return;
        }
    };
    let key = core.next_connection_key();
    let connection = Rc::new(Connection {
        key,
        stream,
        outbox: Outbox::default(),
        in_flight: Cell::new(0),
        greeted: Cell::new(false),
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
    let mut spare = core.spare();
    while let Some(bytes) = connection.outbox.next(spare).await {
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
        spare = buffer.into_bytes().unwrap_or_default();
        spare.clear();
        spare.shrink_to(crate::limits::OUTBOX_BYTES_MAX);
        let sent = core.metrics.sent_bytes.get();
        core.metrics
            .sent_bytes
            .set(sent + u64::try_from(length).unwrap_or(0));
    }
    // The peer sees the end after the last answer; a failure means that it is gone already.
    drop(connection.stream.shutdown().await);
}

async fn read_all(core: &Rc<Core>, connection: &Rc<Connection>) {
    let mut assembler = FrameAssembler::default();
    while let Some(received) = connection.receive().await {
        let arrived_ns = core.clock.monotonic_ns();
        let metrics = &core.metrics;
        let length = u64::try_from(received.len()).unwrap_or(0);
        metrics
            .received_bytes
            .set(metrics.received_bytes.get() + length);
        // A turn is a piece of what came: then the others' tasks have theirs, however much a peer sends.
        let mut fed = Ok(());
        for piece in received.chunks(TURN_BYTES) {
            fed = assembler.feed(piece, |header, frame| {
                dispatch(core, connection, (header, frame), arrived_ns);
            });
            if fed.is_err() {
                break;
            }
            yield_now().await;
        }
        if let Err(error) = fed {
            bump(&metrics.broken_streams);
            let text = error.to_string();
            let refusal = Refusal::new(Status::Malformed).explained(&text);
            say_goodbye(core, connection, &refusal);
            return;
        }
    }
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

/// Takes one whole frame to whoever answers it.
fn dispatch(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (header, whole): (&FrameHeader, Cow<'_, [u8]>),
    arrived_ns: u64,
) {
    let frame: &[u8] = &whole;
    let metrics = &core.metrics;
    bump(&metrics.requests);
    let refuse = |refusal: &Refusal<'_>| {
        metrics.refused(refusal.status);
        connection.outbox.append(|out| {
            let mut encoder = core.encoder.borrow_mut();
            reply(&mut encoder, out, header).refuse(refusal);
        });
    };
    if connection.outbox.is_closed() {
        return;
    }
    match header.kind() {
        Some(MessageKind::Hello) => return greet::hello(core, connection, header, frame),
        _ if !connection.greeted.get() => return greet::refuse_stranger(core, connection),
        Some(MessageKind::Statistics) => {
            return greet::statistics(core, connection, header, frame);
        }
        Some(MessageKind::Topology | MessageKind::Ping) => {
            return greet::about_node(core, connection, header, frame);
        }
        Some(MessageKind::Truncate) if !header.is_answer() => {
            return truncate::truncate(core, connection, (header, frame), arrived_ns);
        }
        Some(MessageKind::Batch) if !header.is_answer() => {
            return batch::batch(core, connection, (header, frame), arrived_ns);
        }
        _ => {}
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
    if core.stopping.get() {
        return refuse(&Refusal::new(Status::Stopping));
    }
    if connection.in_flight.get() >= IN_FLIGHT_PER_CONNECTION_MAX {
        return refuse(&busy());
    }
    if owner == core.number
        && header.kind() == Some(MessageKind::Get)
        && run_at_once(core, connection, (header, frame), arrived_ns)
    {
        return;
    }
    connection.in_flight.set(connection.in_flight.get() + 1);
    core.took_on();
    let bytes = match whole {
        Cow::Borrowed(frame) => core.copy_of(frame),
        Cow::Owned(frame) => frame,
    };
    if owner == core.number {
        run_here(core, connection, (header, bytes), arrived_ns);
    } else {
        hand_over(core, connection, owner, (header, bytes, arrived_ns));
    }
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
    let mut is_answered = false;
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        let mut reply = reply(&mut encoder, out, header);
        is_answered = operation::run_at_once(&namespace.shards, (header, frame), &mut reply);
    });
    if is_answered {
        let took_ns = core.clock.monotonic_ns().saturating_sub(arrived_ns);
        namespace.shards.outcomes.took(MessageKind::Get, took_ns);
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
        // It begins in the turn in which it arrived: the clock is not asked again.
        let outcome = run(&core, &frame, (arrived_ns, arrived_ns)).await;
        if outcome.payload_bytes() > PIECE_BYTES {
            let answer = Box::pin(write_in_pieces(&core, &frame, &outcome)).await;
            connection.outbox.append_whole(answer);
        } else {
            connection
                .outbox
                .append(|out| write(&core, &frame, &outcome, out));
        }
        finish(&core, &connection, Some(&header), arrived_ns);
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
) {
    let hop = Hop {
        connection: connection.key,
        arrived_ns,
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
        return;
    }
    metrics.refused(Status::Busy);
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        reply(&mut encoder, out, header).refuse(&busy());
    });
    finish(core, connection, None, arrived_ns);
}

/// Runs a request on this core that arrived at another one, and sends the answer back there.
pub(crate) fn run_for(core: &Rc<Core>, from: u16, mut hop: Box<Hop>) {
    bump(&core.metrics.requests_from_other_cores);
    core.took_on();
    let core = Rc::clone(core);
    glommio::spawn_local(async move {
        let now_ns = core.clock.monotonic_ns();
        let outcome = run(&core, &hop.frame, (hop.arrived_ns, now_ns)).await;
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
    let connection = core.connections.borrow().get(&hop.connection).cloned();
    match connection {
        Some(connection) => {
            if hop.answer.len() > PIECE_BYTES {
                connection
                    .outbox
                    .append_whole(std::mem::take(&mut hop.answer));
            } else {
                connection
                    .outbox
                    .append(|out| out.extend_from_slice(&hop.answer));
            }
            let header = FrameHeader::parse(&hop.frame).ok().flatten();
            finish(core, &connection, header.as_ref(), hop.arrived_ns);
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

/// A request of this connection has its answer in the outbox. One that is about records is given with its
/// header, and timed.
fn finish(core: &Core, connection: &Connection, header: Option<&FrameHeader>, arrived_ns: u64) {
    finish_rows(core, connection, (header, 1), arrived_ns);
}

/// [`finish`] of a request that counted for several.
fn finish_rows(
    core: &Core,
    connection: &Connection,
    (header, row_count): (Option<&FrameHeader>, u32),
    arrived_ns: u64,
) {
    let namespace = header.and_then(|header| core.namespaces.get(header.namespace()?));
    if let (Some(namespace), Some(kind)) = (namespace, header.and_then(FrameHeader::kind)) {
        let latency_ns = core.clock.monotonic_ns().saturating_sub(arrived_ns);
        namespace.shards.outcomes.took(kind, latency_ns);
    }
    connection
        .in_flight
        .set(connection.in_flight.get().saturating_sub(row_count));
    connection.outbox.made_room();
    core.answered();
}
