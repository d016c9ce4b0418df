//! The request that takes all cores: it is answered when every shard of the node has truncated.

use std::rc::Rc;

use corelith_wire::{Answer, FrameHeader, MessageKind, Refusal, Request, Status};

use super::Connection;
use super::requests::{answered, finish};
use crate::core::{Core, Truncation};
use crate::frames::body_of;
use crate::limits::IN_FLIGHT_PER_CONNECTION_MAX;
use crate::operation::Reply;
use crate::refusal::busy;
use crate::slow::Course;

/// Truncates, and answers.
pub(super) fn truncate(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (header, frame): (&FrameHeader, &[u8]),
    arrived_ns: u64,
) {
    let namespace = header
        .namespace()
        .filter(|id| core.namespaces.get(*id).is_some());
    let refusal = match (Request::decode(header, body_of(frame)), namespace) {
        (Err(error), _) => Refusal::new(error.status()),
        (Ok(_), None) => Refusal::new(Status::UnknownNamespace),
        (Ok(_), _) if core.takes_no_work() => Refusal::new(Status::Stopping),
        (Ok(_), _) if connection.in_flight.get() >= IN_FLIGHT_PER_CONNECTION_MAX => busy(),
        (Ok(Request::Truncate(request)), Some(namespace)) => {
            connection.in_flight.set(connection.in_flight.get() + 1);
            core.took_on();
            let truncation = Truncation {
                namespace,
                target: request.target.into(),
            };
            let (core, connection) = (Rc::clone(core), Rc::clone(connection));
            let task = run(core, connection, *header, (truncation, arrived_ns));
            glommio::spawn_local(task).detach();
            return;
        }
        (Ok(_), Some(_)) => Refusal::new(Status::Unsupported),
    };
    core.metrics.refused(refusal.status);
    connection.outbox.append(|out| {
        Reply::to(header, &mut core.encoder.borrow_mut(), out).refuse(&refusal);
    });
}

async fn run(
    core: Rc<Core>,
    connection: Rc<Connection>,
    header: FrameHeader,
    (truncation, arrived_ns): (Truncation, u64),
) {
    let id = truncation.namespace;
    let verdict = core.truncate(truncation).await;
    let status = match &verdict {
        Ok(_) => Status::Ok,
        Err(refusal) => refusal.status,
    };
    if let Some(namespace) = core.namespaces.get(id) {
        let outcomes = &namespace.shards.outcomes;
        outcomes.count(MessageKind::Truncate, status);
    }
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        let mut reply = Reply::to(&header, &mut encoder, out);
        match &verdict {
            Ok(answer) => reply.answer(&Answer::Truncated(*answer)),
            Err(refusal) => reply.refuse(refusal),
        }
    });
    let course = Course {
        arrived_ns,
        started_ns: arrived_ns,
        ended_ns: core.ring.turn_ns(),
        owner: core.number,
        answer_bytes: 0,
    };
    answered(&core, &header, &[], course);
    finish(&core, &connection);
}
