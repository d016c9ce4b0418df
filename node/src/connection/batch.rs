//! A batch: its rows go to the cores that own them, one message to each, and their answers are gathered here.
//! No row waits for one of another core; the answer goes out when the last part is back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use corelith_wire::{
    Answer, BatchRows, FrameHeader, MessageKind, NamespaceId, Refusal, Request, Status,
};

use super::Connection;
use super::requests::{answered, finish_rows};
use crate::core::Core;
use crate::frames::body_of;
use crate::limits::{BATCH_ROW_ANSWER_BYTES, IN_FLIGHT_PER_CONNECTION_MAX, PAYLOAD_BYTES};
use crate::metrics::add;
use crate::operation::Reply;
use crate::operation::{BatchPart, Context, run_part};
use crate::refusal::busy;
use crate::slow::Course;
use crate::turns::cost_units;

/// Number of a batch on the core where it arrived; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct BatchKey(u64);

/// The batches of one core whose answers are being gathered.
#[derive(Default)]
pub(crate) struct Batches {
    under_way: RefCell<HashMap<BatchKey, Batch>>,
    next_number: Cell<u64>,
}

impl Batches {
    fn next_key(&self) -> BatchKey {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        BatchKey(number)
    }
}

/// One of them.
struct Batch {
    connection: Rc<Connection>,
    header: FrameHeader,
    arrived_ns: u64,
    row_count: u32,
    /// What its connection's turn has paid.
    paid_units: u32,
    parts_out: usize,
    /// The answers' frames that are there.
    answers: Vec<u8>,
}

/// Takes on a batch: every row is on its way to its owner, or refused, when this returns. True if the answer will give
/// back what the connection's turn has paid for it.
pub(super) fn batch(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (header, frame): (&FrameHeader, &[u8]),
    arrived_ns: u64,
) -> bool {
    let namespace = header
        .namespace()
        .filter(|id| core.namespaces.get(*id).is_some());
    let in_flight = connection.in_flight.get();
    let refusal = match (Request::decode(header, body_of(frame)), namespace) {
        (Err(error), _) => Refusal::new(error.status()),
        (Ok(_), None) => Refusal::new(Status::UnknownNamespace),
        (Ok(_), _) if core.takes_no_work() => Refusal::new(Status::Stopping),
        (Ok(Request::Batch(request)), Some(namespace)) => {
            let row_count = u32::try_from(request.rows.iter().count()).unwrap_or(u32::MAX);
            // A batch counts as many requests as it has rows, or it would be a way around the bound.
            if in_flight.saturating_add(row_count) <= IN_FLIGHT_PER_CONNECTION_MAX {
                connection.in_flight.set(in_flight + row_count);
                core.took_on();
                add(&core.metrics.batch_rows, row_count.into());
                let batch = Batch {
                    connection: Rc::clone(connection),
                    header: *header,
                    arrived_ns,
                    row_count,
                    paid_units: cost_units(header, frame.len()),
                    parts_out: 0,
                    answers: core.spare(),
                };
                send_out(core, batch, (namespace, request.rows));
                return true;
            }
            busy()
        }
        (Ok(_), Some(_)) => Refusal::new(Status::Unsupported),
    };
    core.metrics.refused(refusal.status);
    connection.outbox.append(|out| {
        Reply::to(header, &mut core.encoder.borrow_mut(), out).refuse(&refusal);
    });
    false
}

/// Splits the rows by owner and sends them there.
fn send_out(core: &Rc<Core>, mut batch: Batch, (namespace, rows): (NamespaceId, BatchRows<'_>)) {
    let key = core.batches.next_key();
    let mut parts: Vec<Option<Box<BatchPart>>> = Vec::new();
    for row in rows.iter() {
        let owner = row
            .header
            .partition()
            .and_then(|partition| core.topology.core_of(namespace, partition));
        let Some(owner) = owner else {
            // It is about no record: reading it says what is wrong with it.
            let error = Request::decode_row(&row.header, row.body).err();
            let status = error.map_or(Status::Unsupported, |error| error.status());
            core.metrics.refused(status);
            Reply::to(
                &row.header,
                &mut core.encoder.borrow_mut(),
                &mut batch.answers,
            )
            .refuse(&Refusal::new(status));
            continue;
        };
        let owner = usize::from(owner);
        if parts.len() <= owner {
            parts.resize_with(owner + 1, || None);
        }
        if let Some(place) = parts.get_mut(owner) {
            let part = place.get_or_insert_with(|| {
                Box::new(BatchPart {
                    batch: key,
                    namespace,
                    deadline_ms: batch.header.deadline_ms(),
                    arrived_ns: batch.arrived_ns,
                    rows: core.spare(),
                    row_count: 0,
                    room_bytes: 0,
                    answers: core.spare(),
                })
            });
            part.rows.extend_from_slice(row.frame);
            part.row_count += 1;
        }
    }
    // What no row needs to say how it ended is shared by what they read: each part has its rows' share.
    let row_count = usize::try_from(batch.row_count)
        .unwrap_or(usize::MAX)
        .max(1);
    let room_bytes = (PAYLOAD_BYTES / row_count).saturating_sub(BATCH_ROW_ANSWER_BYTES);
    batch.parts_out = parts.iter().flatten().count();
    let is_over = batch.parts_out == 0;
    core.batches.under_way.borrow_mut().insert(key, batch);
    for (owner, mut part) in (0_u16..)
        .zip(parts)
        .filter_map(|(owner, part)| Some((owner, part?)))
    {
        part.room_bytes = part.row_count.saturating_mul(room_bytes);
        send(core, owner, part);
    }
    if is_over {
        answer(core, key);
    }
}

/// Sends rows to their owner, which may be this core; refuses them if it takes no more.
fn send(core: &Rc<Core>, owner: u16, part: Box<BatchPart>) {
    if owner == core.number {
        let core = Rc::clone(core);
        glommio::spawn_local(async move {
            let mut part = part;
            // It begins in the turn in which it arrived: the clock is not asked again.
            let now_ns = part.arrived_ns;
            run(&core, &mut part, now_ns).await;
            take_back(&core, *part);
        })
        .detach();
        return;
    }
    let row_count = u64::try_from(part.row_count).unwrap_or(0);
    let peer = core.peers.get(usize::from(owner)).and_then(Option::as_ref);
    let sent = match peer {
        Some(peer) => peer.send_part(part),
        None => Err(part),
    };
    match sent {
        Ok(()) => add(&core.metrics.requests_to_other_cores, row_count),
        Err(mut part) => {
            for _ in 0..row_count {
                core.metrics.refused(Status::Busy);
            }
            part.refuse(&mut core.encoder.borrow_mut(), &busy());
            take_back(core, *part);
        }
    }
}

/// Runs rows on this core that arrived at another one, and sends their answers back there.
pub(crate) fn run_part_for(core: &Rc<Core>, from: u16, mut part: Box<BatchPart>) {
    let row_count = u64::try_from(part.row_count).unwrap_or(0);
    add(&core.metrics.requests_from_other_cores, row_count);
    core.took_on();
    let core = Rc::clone(core);
    glommio::spawn_local(async move {
        let now_ns = core.clock.monotonic_ns();
        run(&core, &mut part, now_ns).await;
        if let Some(Some(peer)) = core.peers.get(usize::from(from)) {
            peer.return_part(part);
        }
        core.answered();
    })
    .detach();
}

async fn run(core: &Core, part: &mut BatchPart, now_ns: u64) {
    let context = Context {
        namespaces: &core.namespaces,
        clock: &core.clock,
        now_ns,
        arrived_ns: part.arrived_ns,
    };
    run_part(&context, &core.encoder, part).await;
}

/// Takes the answers of a part; the last one completes the batch.
pub(crate) fn take_back(core: &Rc<Core>, part: BatchPart) {
    let BatchPart {
        batch: key,
        rows,
        mut answers,
        ..
    } = part;
    let is_last = {
        let mut batches = core.batches.under_way.borrow_mut();
        let Some(batch) = batches.get_mut(&key) else {
            return;
        };
        // The first part's bytes are kept rather than copied.
        if batch.answers.is_empty() {
            std::mem::swap(&mut batch.answers, &mut answers);
        } else {
            batch.answers.extend_from_slice(&answers);
        }
        batch.parts_out = batch.parts_out.saturating_sub(1);
        batch.parts_out == 0
    };
    core.recycle(rows);
    core.recycle(answers);
    if is_last {
        answer(core, key);
    }
}

/// Puts the answer of a batch whose rows have all ended into its connection's outbox.
fn answer(core: &Rc<Core>, key: BatchKey) {
    let Some(batch) = core.batches.under_way.borrow_mut().remove(&key) else {
        return;
    };
    let Batch {
        connection,
        header,
        arrived_ns,
        row_count,
        paid_units,
        answers,
        ..
    } = batch;
    core.turns.release(paid_units);
    if let Some(namespace) = header.namespace().and_then(|id| core.namespaces.get(id)) {
        let outcomes = &namespace.shards.outcomes;
        outcomes.count(MessageKind::Batch, Status::Ok);
    }
    let mut answer_bytes = 0;
    connection.outbox.append(|out| {
        let before = out.len();
        let mut encoder = core.encoder.borrow_mut();
        let rows = BatchRows::new(&answers);
        Reply::to(&header, &mut encoder, out).answer(&Answer::Batch(rows));
        answer_bytes = out.len() - before;
    });
    core.recycle(answers);
    // Its rows may have several owners: where it waited is told of no single one.
    let course = Course {
        arrived_ns,
        started_ns: arrived_ns,
        ended_ns: core.ring.turn_ns(),
        owner: core.number,
        answer_bytes,
    };
    answered(core, &header, &[], course);
    finish_rows(core, &connection, row_count);
}
