//! A client of one blocking socket, as small as the protocol allows.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use corelith_index::Digest;
use corelith_record::ContentBuilder;
use corelith_wire::{
    BinSelection, Commit, Features, FrameEncoder, FrameHeader, GetRequest, HEADER_LENGTH_BYTES,
    HelloRequest, NamespaceId, PutMode, PutRequest, Request, RequestEnvelope, RequestId, Status,
    Ttl,
};

/// The longest wait for an answer: past it a test has hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection that has said hello.
pub(crate) struct Client {
    stream: TcpStream,
    encoder: FrameEncoder,
}

/// An answer: whose, and how the request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answered {
    pub(crate) request: u64,
    pub(crate) status: Status,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::named(port, "test")
    }

    /// A connection of a client that calls itself `name`.
    pub(crate) fn named(port: u16, name: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self {
            stream,
            encoder: FrameEncoder::new(),
        };
        client.send(
            0,
            &Request::Hello(HelloRequest {
                version_min: 1,
                version_max: 1,
                features: Features::KNOWN,
                client_name: name,
            }),
        );
        let hello = client.receive().expect("an answer to the hello");
        assert_eq!(hello.status, Status::Ok);
        client
    }

    /// Sends a request; false if the connection is gone.
    pub(crate) fn send(&mut self, id: u64, request: &Request<'_>) -> bool {
        let mut frame = Vec::new();
        self.append(&mut frame, id, request);
        self.stream.write_all(&frame).is_ok()
    }

    /// Writes a request's frame behind others.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, id: u64, request: &Request<'_>) {
        let envelope = RequestEnvelope {
            request_id: RequestId::new(id),
            namespace: NamespaceId::new(1),
            deadline_ms: 0,
        };
        self.encoder.request(out, &envelope, request).unwrap();
    }

    /// The next answer; `None` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<Answered> {
        let mut header = [0; HEADER_LENGTH_BYTES as usize];
        self.stream.read_exact(&mut header).ok()?;
        let header = FrameHeader::parse(&header).unwrap().unwrap();
        let mut body = vec![0; usize::try_from(header.body_length_bytes()).unwrap()];
        self.stream.read_exact(&mut body).ok()?;
        Some(Answered {
            request: header.request_id().get(),
            status: Status::from_number(header.status_number()).unwrap(),
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The status of a get.
    pub(crate) fn get(&mut self, key: u64) -> Status {
        assert!(self.send(key, &get(key)));
        self.receive().expect("an answer").status
    }
}

pub(crate) fn digest(key: u64) -> Digest {
    let mut bytes = [7; 20];
    bytes[..8].copy_from_slice(&key.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    bytes[8..16].copy_from_slice(&key.to_le_bytes());
    Digest::from_bytes(bytes)
}

pub(crate) fn get(key: u64) -> Request<'static> {
    Request::Get(GetRequest {
        digest: digest(key),
        selection: BinSelection::All,
    })
}

pub(crate) fn put(key: u64, content: &[u8]) -> Request<'_> {
    Request::Put(PutRequest {
        digest: digest(key),
        mode: PutMode::Replace,
        ttl: Ttl::Never,
        expected_generation: None,
        commit: Commit::Durable,
        set: "",
        content,
    })
}

/// A content of one bin of so many characters.
pub(crate) fn content(length: usize) -> Vec<u8> {
    ContentBuilder::new()
        .bin("text", "x".repeat(length))
        .finish_content()
        .unwrap()
}
