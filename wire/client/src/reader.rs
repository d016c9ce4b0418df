//! Reads answers and hands each to the slot of its request: all that arrived together under one lock, their
//! callers woken after it.

use std::sync::Arc;
use std::task::Waker;

use corelith_wire::{Answer, FrameHeader, HEADER_LENGTH_BYTES};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

use crate::connection::{Connection, State};
use crate::error::{ConnectError, Refused, Unreadable};
use crate::limits::{BUFFER_KEPT_LENGTH_BYTES_MAX, READ_LENGTH_BYTES};
use crate::slots::Arrival;

/// Runs until the connection closes. `received` holds what came behind the hello.
pub(crate) async fn run(connection: Arc<Connection>, half: OwnedReadHalf, received: Vec<u8>) {
    let reason = read(&connection, half, received).await;
    connection.close(reason);
}

async fn read(
    connection: &Connection,
    mut half: OwnedReadHalf,
    mut received: Vec<u8>,
) -> ConnectError {
    let address = connection.address();
    let mut wakers = Vec::new();
    loop {
        let handed = connection.with_state(|state| hand_out(state, &received, &mut wakers));
        wakers.drain(..).for_each(Waker::wake);
        let handed = match handed {
            Ok(handed) => handed,
            Err(Stop::Unreadable(unreadable)) => {
                return ConnectError::Unreadable {
                    address,
                    unreadable,
                };
            }
            Err(Stop::Refused(refused)) => return ConnectError::Refused { address, refused },
        };
        connection.room.add_permits(handed.freed_count);
        received.drain(..handed.read_bytes);
        if received.is_empty() && received.capacity() > BUFFER_KEPT_LENGTH_BYTES_MAX {
            received = Vec::new();
        }
        received.reserve(handed.missing_bytes.max(READ_LENGTH_BYTES));
        match half.read_buf(&mut received).await {
            Ok(0) => return ConnectError::ClosedByNode { address },
            Ok(_) => {}
            Err(error) => {
                return ConnectError::Io {
                    address,
                    error: Arc::new(error),
                };
            }
        }
    }
}

/// Why nothing more can be read.
enum Stop {
    Unreadable(Unreadable),
    Refused(Refused),
}

#[derive(Default)]
struct Handed {
    read_bytes: usize,
    /// Bytes that the last, incomplete frame still lacks.
    missing_bytes: usize,
    /// Places of answers that nobody waited for any more.
    freed_count: usize,
}

fn hand_out(state: &mut State, received: &[u8], wakers: &mut Vec<Waker>) -> Result<Handed, Stop> {
    let mut handed = Handed::default();
    loop {
        let rest = &received[handed.read_bytes..];
        let parsed = FrameHeader::parse(rest);
        let Some(header) = parsed.map_err(|error| Stop::Unreadable(error.into()))? else {
            return Ok(handed);
        };
        let frame_length = header.frame_length_bytes() as usize;
        let Some(frame) = rest.get(..frame_length) else {
            handed.missing_bytes = frame_length - rest.len();
            return Ok(handed);
        };
        let body = &frame[HEADER_LENGTH_BYTES as usize..];
        match state.slots.answer(&header, body) {
            Arrival::Awaited(waker) => wakers.extend(waker),
            Arrival::Freed(weight) => handed.freed_count += weight as usize,
            Arrival::Late => {}
            Arrival::Unasked => return Err(unasked(&header, body)),
        }
        handed.read_bytes += frame_length;
    }
}

/// An answer to no request: the node's last word on the connection, or a fault.
fn unasked(header: &FrameHeader, body: &[u8]) -> Stop {
    match Answer::decode(header, body) {
        Ok(Answer::Refused { ref refusal, .. }) if header.request_id().get() == 0 => {
            Stop::Refused(Refused::from(refusal))
        }
        Ok(_) => Stop::Unreadable(Unreadable::Unasked {
            request_id: header.request_id().get(),
        }),
        Err(error) => Stop::Unreadable(error.into()),
    }
}
