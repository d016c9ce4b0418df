//! The first exchange on a connection: our hello, the node's, and whether the two can work together.

use std::net::SocketAddr;
use std::sync::Arc;

use corelith_wire::{
    Access, Answer, Features, FrameEncoder, FrameHeader, HelloAnswer, HelloRequest,
    ProtocolVersion, Request, RequestEnvelope, RequestId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{ConnectError, Refused, Unreadable};
use crate::limits::READ_LENGTH_BYTES;
use crate::options::ClientOptions;

/// A connection whose hellos agree.
pub(crate) struct Greeted {
    pub(crate) hello: HelloAnswer,
    pub(crate) access: Access,
    /// Bytes that came behind the hello.
    pub(crate) rest: Vec<u8>,
}

/// Says hello and waits for the node's.
pub(crate) async fn greet(
    stream: &mut TcpStream,
    address: SocketAddr,
    options: &ClientOptions,
) -> Result<Greeted, ConnectError> {
    let error = |error| ConnectError::Io {
        address,
        error: Arc::new(error),
    };
    let hello = our_hello(&options.name);
    stream.write_all(&hello).await.map_err(error)?;
    let mut received = Vec::with_capacity(READ_LENGTH_BYTES);
    loop {
        if let Some(frame_length) = whole_frame(address, &received)? {
            let rest = received.split_off(frame_length);
            let (hello, access) = agree(address, &received)?;
            return Ok(Greeted {
                hello,
                access,
                rest,
            });
        }
        if stream.read_buf(&mut received).await.map_err(error)? == 0 {
            return Err(ConnectError::ClosedByNode { address });
        }
    }
}

fn our_hello(name: &str) -> Vec<u8> {
    // A name that is too long is no reason not to connect.
    let mut end = name.len().min(corelith_wire::limits::PEER_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let hello = HelloRequest {
        version_min: ProtocolVersion::OLDEST.number(),
        version_max: ProtocolVersion::NEWEST.number(),
        features: Features::KNOWN,
        client_name: &name[..end],
    };
    let envelope = RequestEnvelope {
        request_id: RequestId::new(1),
        namespace: None,
        deadline_ms: 0,
    };
    let mut frame = Vec::new();
    let written = FrameEncoder::new().request(&mut frame, &envelope, &Request::Hello(hello));
    debug_assert_eq!(written, Ok(()));
    frame
}

/// The length of the frame at the start of `received`, once it is whole.
fn whole_frame(address: SocketAddr, received: &[u8]) -> Result<Option<usize>, ConnectError> {
    match FrameHeader::parse(received) {
        Ok(Some(header)) => {
            let length = header.frame_length_bytes() as usize;
            Ok((received.len() >= length).then_some(length))
        }
        Ok(None) => Ok(None),
        Err(error) => Err(ConnectError::Unreadable {
            address,
            unreadable: error.into(),
        }),
    }
}

fn agree(address: SocketAddr, frame: &[u8]) -> Result<(HelloAnswer, Access), ConnectError> {
    let unreadable = |unreadable| ConnectError::Unreadable {
        address,
        unreadable,
    };
    let header = match FrameHeader::parse(frame) {
        Ok(Some(header)) => header,
        Ok(None) | Err(_) => unreachable!("the frame was found whole"),
    };
    let body = &frame[corelith_wire::HEADER_LENGTH_BYTES as usize..];
    let answer = Answer::decode(&header, body).map_err(|error| unreadable(error.into()))?;
    let hello = match answer {
        Answer::Hello(hello) => hello,
        Answer::Refused { refusal, .. } => {
            return Err(ConnectError::Refused {
                address,
                refused: Refused::from(&refusal),
            });
        }
        other => {
            let expected = corelith_wire::MessageKind::Hello.number();
            return Err(unreadable(Unreadable::Kind {
                expected,
                found: other.kind_number(),
            }));
        }
    };
    let version = hello.version;
    if ProtocolVersion::from_number(version).is_none() {
        return Err(ConnectError::Version { address, version });
    }
    let access = hello.features.access(&Features::KNOWN);
    let access = access.map_err(|features| ConnectError::Features { address, features })?;
    Ok((*hello, access))
}
