//! Requests that are about the node and not about records: hello, map, ping, counters.

use std::rc::Rc;

use corelith_wire::{
    Access, Answer, Features, FrameHeader, HelloAnswer, HelloRequest, ProtocolVersion, Refusal,
    Request, Status, limits::PAYLOAD_LENGTH_BYTES_MAX,
};

use super::requests::finish;
use super::{Connection, say_goodbye};
use crate::core::{Core, GatherBusy};
use crate::frames::body_of;
use crate::limits::IN_FLIGHT_PER_CONNECTION_MAX;
use crate::metrics::Page;
use crate::operation::Reply;
use crate::refusal::busy;
use crate::topology::Topology;

/// Answers a hello, or says why there is no agreement and closes.
pub(super) fn hello(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    header: &FrameHeader,
    frame: &[u8],
) {
    let agreed = match Request::decode(header, body_of(frame)) {
        Ok(Request::Hello(hello)) => {
            hello
                .client_name
                .clone_into(&mut connection.account.client_name.borrow_mut());
            if core.takes_no_work() {
                Err(Refusal::new(Status::Stopping).explained(
                    "the node is out of service: it stops, or an operator has quiesced it",
                ))
            } else {
                agree(&hello)
            }
        }
        Ok(_) => Err(Refusal::new(Status::Malformed)),
        Err(error) => Err(Refusal::new(error.status())),
    };
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        let mut reply = Reply::to(header, &mut encoder, out);
        match &agreed {
            Ok(version) => reply.answer(&Answer::Hello(Box::new(answer_of(core, *version)))),
            Err(refusal) => {
                core.metrics.refused(refusal.status);
                reply.refuse(refusal);
            }
        }
    });
    match agreed {
        Ok(_) => connection.greeted.set(true),
        Err(_) => connection.outbox.close(),
    }
}

/// A first frame that is no hello gets its answer, and the connection ends.
pub(super) fn refuse_stranger(core: &Rc<Core>, connection: &Rc<Connection>) {
    let refusal =
        Refusal::new(Status::HelloExpected).explained("the first frame of a connection is a hello");
    say_goodbye(core, connection, &refusal);
    connection.outbox.close();
}

/// Answers a request about the node.
pub(super) fn about_node(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    header: &FrameHeader,
    frame: &[u8],
) {
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        let mut reply = Reply::to(header, &mut encoder, out);
        match Request::decode(header, body_of(frame)) {
            Ok(Request::Topology) => {
                reply.answer(&Answer::Topology(Box::new(core.topology.answer())));
            }
            Ok(Request::Ping) => {
                reply.answer(&Answer::Pong {
                    map_generation: Topology::generation(),
                });
            }
            Ok(_) => reply.refuse(&Refusal::new(Status::Unsupported)),
            Err(error) => reply.refuse(&Refusal::new(error.status())),
        }
    });
}

/// Answers with the counters of all cores, when the others have said theirs.
pub(super) fn statistics(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    header: &FrameHeader,
    frame: &[u8],
) {
    let refusal = match Request::decode(header, body_of(frame)) {
        Err(error) => Refusal::new(error.status()),
        Ok(_) if core.takes_no_work() => Refusal::new(Status::Stopping),
        Ok(_) if connection.in_flight.get() >= IN_FLIGHT_PER_CONNECTION_MAX => busy(),
        Ok(Request::Statistics(request)) => {
            connection.in_flight.set(connection.in_flight.get() + 1);
            core.took_on();
            let task = gather(
                Rc::clone(core),
                Rc::clone(connection),
                *header,
                request.prefix.to_owned(),
            );
            glommio::spawn_local(task).detach();
            return;
        }
        Ok(_) => Refusal::new(Status::Unsupported),
    };
    core.metrics.refused(refusal.status);
    connection.outbox.append(|out| {
        Reply::to(header, &mut core.encoder.borrow_mut(), out).refuse(&refusal);
    });
}

async fn gather(core: Rc<Core>, connection: Rc<Connection>, header: FrameHeader, prefix: String) {
    let gathered = match core.gather().await {
        Ok(snapshots) => {
            let mut page = Page::new(&snapshots, &prefix);
            while page.step() {
                glommio::executor().yield_now().await;
            }
            Ok(page.into_text())
        }
        Err(busy) => Err(busy),
    };
    connection.outbox.append(|out| {
        let mut encoder = core.encoder.borrow_mut();
        let mut reply = Reply::to(&header, &mut encoder, out);
        match gathered {
            Ok(page) => reply.answer(&Answer::Statistics(&page)),
            Err(GatherBusy) => reply.refuse(&busy()),
        }
    });
    finish(&core, &connection);
}

fn agree(hello: &HelloRequest<'_>) -> Result<ProtocolVersion, Refusal<'static>> {
    let version =
        ProtocolVersion::agree(hello.version_min, hello.version_max).ok_or_else(|| {
            Refusal::new(Status::Incompatible)
                .disagreement(
                    ProtocolVersion::NEWEST.number().into(),
                    hello.version_max.into(),
                )
                .explained("no version of the protocol is known to both sides")
        })?;
    match hello.features.access(&Features::KNOWN) {
        Ok(Access::ReadWrite | Access::ReadOnly) => Ok(version),
        Err(unknown) => Err(Refusal::new(Status::Incompatible)
            .disagreement(unknown.known, unknown.unknown)
            .explained("the client needs a feature that this node does not have")),
    }
}

fn answer_of(core: &Core, version: ProtocolVersion) -> HelloAnswer {
    let record_bytes_max = core
        .namespaces
        .shards()
        .map(corelith_store::Shard::record_bytes_max)
        .min()
        .unwrap_or(0);
    HelloAnswer {
        version: version.number(),
        features: Features::KNOWN,
        payload_length_bytes_max: PAYLOAD_LENGTH_BYTES_MAX,
        in_flight_max: IN_FLIGHT_PER_CONNECTION_MAX,
        record_length_bytes_max: u32::try_from(record_bytes_max).unwrap_or(u32::MAX),
        node_id: core.topology.node_id(),
        map_generation: Topology::generation(),
        core: core.number,
        server_name: concat!("corelithd ", env!("CARGO_PKG_VERSION")).to_owned(),
        namespaces: core.topology.namespaces(false),
    }
}
