//! One connection to the mock: frames in, answers out, and the harm that was ordered.

use std::sync::Arc;

use corelith_record::Reads;
use corelith_wire::{
    Answer, BatchRequest, BatchRows, BinCounts, Features, FrameEncoder, FrameHeader, HelloAnswer,
    MessageKind, Namespace, NamespaceId, OperateAnswer, RecordAnswer, Refusal, Request,
    ScanPageBuilder, Status, TopologyAnswer, TruncateAnswer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::records::namespace_of;
use super::{Fault, State};
use crate::lock::Lock;

/// What becomes of an answer.
enum Delivery {
    Now,
    After(std::time::Duration),
    Never,
    Close,
}

/// Where answers are written.
#[derive(Default)]
struct Answers {
    encoder: FrameEncoder,
    out: Vec<u8>,
}

/// Serves until the peer is gone or a fault ends the connection.
pub(crate) async fn serve(state: Arc<Lock<State>>, stream: TcpStream, port: u16) {
    drop(stream.set_nodelay(true));
    let (mut read_half, write_half) = stream.into_split();
    let write_half = Arc::new(tokio::sync::Mutex::new(write_half));
    let mut received = Vec::new();
    let mut answers = Answers::default();
    loop {
        let mut read_bytes = 0;
        while let Some(frame) = whole_frame(&received[read_bytes..]) {
            let (header, body) = frame;
            read_bytes += header.frame_length_bytes() as usize;
            let start = answers.out.len();
            let delivery = state.with(|state| answer(state, port, &header, body, &mut answers));
            match delivery {
                Delivery::Now => {}
                Delivery::Never => answers.out.truncate(start),
                Delivery::After(pause) => {
                    let late = answers.out.split_off(start);
                    let write_half = Arc::clone(&write_half);
                    tokio::spawn(async move {
                        tokio::time::sleep(pause).await;
                        drop(send(&write_half, &late).await);
                    });
                }
                Delivery::Close => {
                    answers.out.truncate(start);
                    drop(send(&write_half, &answers.out).await);
                    return;
                }
            }
        }
        received.drain(..read_bytes);
        if send(&write_half, &answers.out).await.is_err() {
            return;
        }
        answers.out.clear();
        if !matches!(read_half.read_buf(&mut received).await, Ok(length) if length > 0) {
            return;
        }
    }
}

async fn send(half: &tokio::sync::Mutex<OwnedWriteHalf>, bytes: &[u8]) -> std::io::Result<()> {
    half.lock().await.write_all(bytes).await
}

/// The frame at the start of `received`. A mock takes no nonsense: a header that is wrong is never whole,
/// and the client's test runs into its timeout.
fn whole_frame(received: &[u8]) -> Option<(FrameHeader, &[u8])> {
    let header = FrameHeader::parse(received).ok()??;
    let frame = received.get(..header.frame_length_bytes() as usize)?;
    Some((
        header,
        &frame[corelith_wire::HEADER_LENGTH_BYTES as usize..],
    ))
}

fn answer(
    state: &mut State,
    port: u16,
    header: &FrameHeader,
    body: &[u8],
    answers: &mut Answers,
) -> Delivery {
    if header.kind().is_some_and(MessageKind::needs_namespace) {
        match state.served.iter_mut().find(|(served, _)| *served == port) {
            Some((_, count)) => *count += 1,
            None => state.served.push((port, 1)),
        }
    }
    let fault = match state.faults.front() {
        Some((kind, _)) if header.kind() == Some(*kind) => state.faults.pop_front(),
        _ => None,
    };
    let delivery = match fault {
        None => Delivery::Now,
        Some((_, Fault::CloseBefore)) => return Delivery::Close,
        Some((_, Fault::CloseAfter)) => Delivery::Close,
        Some((_, Fault::Silence)) => Delivery::Never,
        Some((_, Fault::Delay(pause))) => Delivery::After(pause),
        Some((_, Fault::Garbage)) => {
            answers
                .out
                .extend_from_slice(b"this is no frame of the protocol");
            return Delivery::Now;
        }
        Some((_, Fault::Refuse(status, retry_after_ms))) => {
            let refusal = Refusal::new(status).retry_after(retry_after_ms);
            refuse(answers, header, &refusal);
            return Delivery::Now;
        }
    };
    match Request::decode(header, body) {
        Ok(Request::Batch(batch)) => execute_rows(state, (port, header), &batch, answers),
        Ok(request) => {
            let namespace = header.namespace();
            execute(state, (port, namespace), header, &request, answers);
        }
        Err(error) => {
            let text = error.to_string();
            let refusal = Refusal::new(error.status()).explained(&text);
            refuse(answers, header, &refusal);
        }
    }
    delivery
}

fn execute(
    state: &mut State,
    (port, namespace): (u16, Option<NamespaceId>),
    header: &FrameHeader,
    request: &Request<'_>,
    answers: &mut Answers,
) {
    let id = header.request_id();
    let mut content = Vec::new();
    let mut page = ScanPageBuilder::new();
    let mut reads = Reads::default();
    let names = state.options.namespaces.clone();
    let name = match namespace {
        Some(id) => namespace_of(&names, id, state.map_generation),
        None => None,
    };
    let empty = String::new();
    if name.is_none() && request.kind().needs_namespace() {
        return refuse(answers, header, &Refusal::new(Status::UnknownNamespace));
    }
    let name = name.unwrap_or(&empty);
    let records = &mut state.records;
    let outcome = match request {
        Request::Hello(_) => Ok(Answer::Hello(Box::new(hello(state, port)))),
        Request::Topology => Ok(Answer::Topology(Box::new(topology(state)))),
        Request::Ping => Ok(Answer::Pong {
            map_generation: state.map_generation,
        }),
        Request::Statistics(_) => Ok(Answer::Statistics("mock_up 1\n")),
        Request::Get(request) => {
            records
                .get(name, request.digest, &request.selection)
                .map(|(metadata, bytes)| {
                    content = bytes;
                    Answer::Record(RecordAnswer {
                        metadata,
                        content: &content,
                    })
                })
        }
        Request::Put(request) => records.put(name, request).map(Answer::Written),
        Request::Delete(request) => records.delete(name, request).map(|()| Answer::Deleted),
        Request::Touch(request) => records.touch(name, request).map(Answer::Touched),
        Request::Truncate(request) => {
            records.truncate(name, request.target);
            let shard_count = state.options.shard_count;
            Ok(Answer::Truncated(TruncateAnswer { shard_count }))
        }
        Request::Scan(request) => records
            .scan(name, request, &mut page)
            .map(|()| Answer::Page(page.page())),
        Request::Operate(request) => records.operate(name, request, &mut reads).map(|metadata| {
            Answer::Operated(OperateAnswer {
                metadata,
                bin_counts: BinCounts::new(&reads.bin_counts),
                bins: &reads.bins,
            })
        }),
        // No batch is a row of another.
        Request::Batch(_) => Err(Refusal::new(Status::Unsupported)),
    };
    match outcome {
        Ok(answer) => {
            let written = answers.encoder.answer(&mut answers.out, id, &answer);
            debug_assert_eq!(written, Ok(()));
        }
        Err(refusal) => refuse(answers, header, &refusal),
    }
}

/// Carries out the rows of a batch. Their answers come last row first, since any order is allowed. A refusal
/// that was ordered for a kind meets the next row of it.
fn execute_rows(
    state: &mut State,
    (port, header): (u16, &FrameHeader),
    batch: &BatchRequest<'_>,
    answers: &mut Answers,
) {
    let namespace = header.namespace();
    let mut done = Vec::new();
    for row in batch.rows.iter() {
        let mut of_row = Answers::default();
        let kind = row.header.kind();
        let ordered = match state.faults.front() {
            Some((of, Fault::Refuse(status, after_ms))) if kind == Some(*of) => {
                Some(Refusal::new(*status).retry_after(*after_ms))
            }
            _ => None,
        };
        match (ordered, Request::decode_row(&row.header, row.body)) {
            (Some(refusal), _) => {
                state.faults.pop_front();
                refuse(&mut of_row, &row.header, &refusal);
            }
            (None, Ok(request)) => {
                execute(state, (port, namespace), &row.header, &request, &mut of_row);
            }
            (None, Err(error)) => {
                refuse(&mut of_row, &row.header, &Refusal::new(error.status()));
            }
        }
        done.push(of_row.out);
    }
    let rows: Vec<u8> = done.into_iter().rev().flatten().collect();
    let answer = Answer::Batch(BatchRows::new(&rows));
    let id = header.request_id();
    let written = answers.encoder.answer(&mut answers.out, id, &answer);
    debug_assert_eq!(written, Ok(()));
}

fn refuse(answers: &mut Answers, header: &FrameHeader, refusal: &Refusal<'_>) {
    let (id, kind_number) = (header.request_id(), header.kind_number());
    let written = answers
        .encoder
        .refusal(&mut answers.out, id, kind_number, refusal);
    debug_assert_eq!(written, Ok(()));
}

fn hello(state: &State, port: u16) -> HelloAnswer {
    let core = state.core_ports.iter().position(|core| *core == port);
    HelloAnswer {
        version: state.options.version,
        features: Features {
            compatible: 0,
            read_only_compatible: state.options.features_read_only,
            incompatible: state.options.features_incompatible,
        },
        payload_length_bytes_max: corelith_wire::limits::PAYLOAD_LENGTH_BYTES_MAX,
        in_flight_max: state.options.in_flight_max,
        record_length_bytes_max: corelith_wire::limits::PAYLOAD_LENGTH_BYTES_MAX,
        node_id: 42,
        map_generation: state.map_generation,
        core: core.and_then(|core| u16::try_from(core).ok()).unwrap_or(0),
        server_name: "mock".to_owned(),
        namespaces: namespaces(state, false),
    }
}

fn topology(state: &State) -> TopologyAnswer {
    // A node without ports of its cores still has a core.
    let core_ports = if state.core_ports.is_empty() {
        vec![0]
    } else {
        state.core_ports.clone()
    };
    TopologyAnswer {
        node_id: 42,
        map_generation: state.map_generation,
        shared_port: state.shared_port,
        core_ports,
        namespaces: namespaces(state, true),
    }
}

fn namespaces(state: &State, with_cores: bool) -> Vec<Namespace> {
    let shard_count = state.options.shard_count;
    let core_count = u16::try_from(state.core_ports.len().max(1)).unwrap_or(1);
    let first = u16::try_from(state.map_generation).unwrap_or(1);
    let numbered = (first..).zip(&state.options.namespaces);
    numbered
        .filter_map(|(number, name)| {
            let shard_cores = if with_cores {
                (0..shard_count).map(|shard| shard % core_count).collect()
            } else {
                Vec::new()
            };
            let id = NamespaceId::new(number)?;
            Some(Namespace {
                id,
                name: name.clone(),
                shard_count,
                shard_cores,
            })
        })
        .collect()
}
