//! Requests about records on their way: done on this core or handed to their owner, and their answers put into the
//! outbox of the connection that waits for them.

use std::borrow::Cow;
use std::rc::Rc;

use corelith_wire::{Answer, FrameHeader, MessageKind, Status};

use super::Connection;
use super::order::WriteMark;
use super::pay::{is_write, paid_back};
use crate::core::Core;
use crate::hop::Hop;
use crate::limits::PIECE_BYTES;
use crate::metrics::bump;
use crate::namespaces::ServedNamespace;
use crate::operation::{self, Context, Deadline, Reply};
use crate::pace::yield_now;
use crate::refusal::busy;
use crate::runners::{Desk, next_job};
use crate::slow::Course;
use crate::turns::cost_units;

/// Answers a get from memory, where it stands: no task, no copy of the frame. False if it needs more.
fn run_at_once(
    core: &Core,
    connection: &Connection,
    (header, frame): (&FrameHeader, &[u8]),
    arrived_ns: u64,
) -> bool {
    let namespace = header.namespace().and_then(|id| core.namespaces.get(id));
    let Some(namespace) = namespace.filter(|namespace| namespace.shards.may_answer_at_once) else {
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
        let mut reply = Reply::to(header, &mut encoder, out);
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

/// A request that has been taken on.
pub(crate) struct Arrived {
    pub(crate) header: FrameHeader,
    pub(crate) frame: Vec<u8>,
    pub(crate) arrived_ns: u64,
    /// If it is a write: how its connection knows it.
    pub(crate) write: Option<WriteMark>,
}

/// A request that a runner of this core is to run.
pub(crate) struct Job {
    core: Rc<Core>,
    work: Work,
}

enum Work {
    /// For a connection of this core.
    Here {
        connection: Rc<Connection>,
        arrived: Arrived,
    },
    /// For a connection of another one.
    Hop { from: u16, hop: Box<Hop> },
}

/// Has a runner do a job.
fn start(core: &Rc<Core>, work: Work) {
    let job = Job {
        core: Rc::clone(core),
        work,
    };
    if let Err(job) = core.runners.give(job) {
        glommio::spawn_local(run_jobs(job)).detach();
    }
}

/// A runner: does one job after another.
async fn run_jobs(first: Job) {
    let desk = Desk::default();
    let mut job = first;
    loop {
        let Job { core, work } = job;
        match work {
            Work::Here {
                connection,
                arrived,
            } => answer_here(&core, &connection, arrived).await,
            Work::Hop { from, hop } => answer_for(&core, from, hop).await,
        }
        if !core.runners.rest(&desk).await {
            return;
        }
        drop(core);
        job = next_job(&desk).await;
    }
}

/// Takes on a request about a record of `owner`. True if that gives back what the connection's turn has paid for it.
pub(super) fn take_on(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    owner: u16,
    (header, whole): (&FrameHeader, Cow<'_, [u8]>),
    arrived_ns: u64,
) -> bool {
    let frame: &[u8] = &whole;
    let behind = connection.order.holds_back(header, frame);
    if behind.is_none()
        && owner == core.number
        && header.kind() == Some(MessageKind::Get)
        && run_at_once(core, connection, (header, frame), arrived_ns)
    {
        return false;
    }
    connection.in_flight.set(connection.in_flight.get() + 1);
    core.took_on();
    let write = connection.order.begin(header, frame);
    let frame = match whole {
        Cow::Borrowed(frame) => core.copy_of(frame),
        Cow::Owned(frame) => frame,
    };
    let arrived = Arrived {
        header: *header,
        frame,
        arrived_ns,
        write,
    };
    match behind {
        None => send_off(core, connection, (owner, arrived)),
        // While it waits, others may use what it has paid.
        Some(behind) => {
            connection.order.hold(behind, (owner, arrived));
            false
        }
    }
}

/// Runs a request, or sends it to its owner. True if that gives back what was paid for it.
fn send_off(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (owner, arrived): (u16, Arrived),
) -> bool {
    if owner != core.number {
        return hand_over(core, connection, (owner, arrived));
    }
    let work = Work::Here {
        connection: Rc::clone(connection),
        arrived,
    };
    start(core, work);
    true
}

/// A write has been answered: what waited for it goes on, and pays again.
fn end_write(core: &Rc<Core>, connection: &Rc<Connection>, write: Option<WriteMark>) {
    let Some(write) = write else { return };
    connection.order.end(write);
    while let Some((owner, arrived)) = connection.order.next_behind(write) {
        let cost_units = cost_units(&arrived.header, arrived.frame.len());
        core.turns.pay_late(cost_units);
        if !send_off(core, connection, (owner, arrived)) {
            core.turns.release(cost_units);
        }
    }
}

/// Runs a request on this core, for a connection of this core.
async fn answer_here(core: &Rc<Core>, connection: &Rc<Connection>, arrived: Arrived) {
    let Arrived {
        header,
        frame,
        arrived_ns,
        write,
    } = arrived;
    let started_ns = core.ring.turn_ns();
    let outcome = {
        let work = run(core, &frame, (arrived_ns, started_ns));
        paid_back(&core.turns, (&header, frame.len()), work).await
    };
    let ended_ns = core.ring.turn_ns();
    let mut answer_bytes = 0;
    if outcome.payload_bytes() > PIECE_BYTES {
        let answer = Box::pin(write_in_pieces(core, &frame, &outcome)).await;
        answer_bytes = answer.len();
        connection.outbox.append_whole(answer);
    } else {
        connection.outbox.append(|out| {
            let before = out.len();
            write_answer(core, &frame, &outcome, out);
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
    answered(core, &header, &frame, course);
    finish(core, connection);
    end_write(core, connection, write);
    core.recycle(frame);
}

/// Sends a request to its owner.
fn hand_over(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (owner, arrived): (u16, Arrived),
) -> bool {
    let Arrived {
        header,
        frame,
        arrived_ns,
        write,
    } = arrived;
    let hop = Hop {
        connection: connection.key,
        arrived_ns,
        started_ns: arrived_ns,
        ended_ns: arrived_ns,
        owner,
        write,
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
        return !is_write(&header);
    }
    metrics.refused(Status::Busy);
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        Reply::to(&header, &mut encoder, out).refuse(&busy());
    });
    finish(core, connection);
    end_write(core, connection, write);
    false
}

/// Runs a request on this core that arrived at another one, and sends the answer back there.
pub(crate) fn run_for(core: &Rc<Core>, from: u16, mut hop: Box<Hop>) {
    bump(&core.metrics.requests_from_other_cores);
    let peer = core.peers.get(usize::from(from)).and_then(Option::as_ref);
    if let Some(peer) = peer
        && hop_at_once(core, &mut hop)
    {
        peer.answer(hop);
        return;
    }
    core.took_on();
    start(core, Work::Hop { from, hop });
}

async fn answer_for(core: &Core, from: u16, mut hop: Box<Hop>) {
    let now_ns = core.clock.monotonic_ns();
    let outcome = run(core, &hop.frame, (hop.arrived_ns, now_ns)).await;
    (hop.started_ns, hop.ended_ns) = (now_ns, core.ring.turn_ns());
    if outcome.payload_bytes() > PIECE_BYTES {
        hop.answer = Box::pin(write_in_pieces(core, &hop.frame, &outcome)).await;
    } else {
        let Hop { frame, answer, .. } = &mut *hop;
        write_answer(core, frame, &outcome, answer);
    }
    if let Some(Some(peer)) = core.peers.get(usize::from(from)) {
        peer.answer(hop);
    }
    core.answered();
}

/// [`run_at_once`] for another core: the answer goes into the envelope.
fn hop_at_once(core: &Core, hop: &mut Hop) -> bool {
    let Ok(Some(header)) = FrameHeader::parse(&hop.frame) else {
        return false;
    };
    let namespace = header.namespace().and_then(|id| core.namespaces.get(id));
    // Whether a write that was answered before it is durable went ahead on the connection is not known here.
    let Some(namespace) = namespace.filter(|namespace| {
        header.kind() == Some(MessageKind::Get)
            && namespace.shards.may_answer_at_once
            && !namespace.shards.commit.may_buffer()
    }) else {
        return false;
    };
    let now_ns = core.ring.turn_ns();
    if Deadline::new(&core.clock, hop.arrived_ns, header.deadline_ms()).is_past(now_ns) {
        return false;
    }
    hop.answer.clear();
    let mut encoder = core.encoder.borrow_mut();
    let mut reply = Reply::to(&header, &mut encoder, &mut hop.answer);
    let is_answered = operation::run_at_once(&namespace.shards, (&header, &hop.frame), &mut reply);
    if is_answered {
        (hop.started_ns, hop.ended_ns) = (now_ns, now_ns);
    }
    is_answered
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
            end_write(core, &connection, hop.write);
        }
        None => core.answered(),
    }
    core.recycle(hop.frame);
    core.recycle(hop.answer);
}

pub(super) async fn run(
    core: &Core,
    frame: &[u8],
    (arrived_ns, now_ns): (u64, u64),
) -> operation::Outcome {
    let context = Context {
        namespaces: &core.namespaces,
        clock: &core.clock,
        now_ns,
        arrived_ns,
    };
    operation::run(&context, frame).await
}

/// Writes an outcome as the answer to the request in `frame`.
fn write_answer(core: &Core, frame: &[u8], outcome: &operation::Outcome, out: &mut Vec<u8>) {
    if let Ok(Some(header)) = FrameHeader::parse(frame) {
        outcome.write(&mut Reply::to(&header, &mut core.encoder.borrow_mut(), out));
    }
}

/// [`write_answer`] of a large one into memory of its own: its payload is copied in pieces.
pub(super) async fn write_in_pieces(
    core: &Core,
    frame: &[u8],
    outcome: &operation::Outcome,
) -> Vec<u8> {
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
        write_answer(core, frame, outcome, &mut out);
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
pub(super) fn answered(core: &Core, header: &FrameHeader, frame: &[u8], course: Course) {
    if let Some(namespace) = header.namespace().and_then(|id| core.namespaces.get(id)) {
        took(core, namespace, (header, frame), course);
    }
}

/// [`answered`], where the namespace is at hand.
pub(super) fn took(
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
pub(super) fn finish(core: &Core, connection: &Connection) {
    finish_rows(core, connection, 1);
}

/// [`finish`] of a request that counted for several.
pub(super) fn finish_rows(core: &Core, connection: &Connection, row_count: u32) {
    connection
        .in_flight
        .set(connection.in_flight.get().saturating_sub(row_count));
    connection.outbox.made_room();
    core.answered();
}
