//! A peer that speaks the protocol itself, frame by frame, so that it can also break it.

use std::io::{Read, Write};
use std::net::TcpStream;

use corelith_index::Digest;
use corelith_record::ContentBuilder;
use corelith_wire::{
    Answer, BinSelection, Commit, Features, FrameEncoder, FrameHeader, GetRequest, HelloRequest,
    NamespaceId, PutMode, PutRequest, Request, RequestEnvelope, RequestId, Status, Ttl,
};

use crate::running::Node;

/// Length of a frame's header, in bytes.
pub(crate) const HEADER_LENGTH_BYTES: usize = 32;

/// One connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    encoder: FrameEncoder,
    next_id: u64,
}

/// A whole answer.
pub(crate) struct Answered {
    header: FrameHeader,
    body: Vec<u8>,
}

impl Answered {
    pub(crate) fn status(&self) -> Status {
        self.decode().status().0
    }

    pub(crate) fn decode(&self) -> Answer<'_> {
        Answer::decode(&self.header, &self.body).unwrap()
    }
}

impl Peer {
    /// Connects and says hello.
    pub(crate) fn greet(node: &Node) -> Self {
        let mut peer = Self {
            stream: node.connect(),
            encoder: FrameEncoder::new(),
            next_id: 1,
        };
        let hello = peer.hello();
        peer.stream.write_all(&hello).unwrap();
        assert_eq!(peer.receive().unwrap().status(), Status::Ok);
        peer
    }

    /// The bytes of a hello.
    pub(crate) fn hello(&mut self) -> Vec<u8> {
        self.frame(&Request::Hello(HelloRequest {
            version_min: 1,
            version_max: 1,
            features: Features::default(),
            client_name: "a test",
        }))
    }

    /// The bytes of a request to the first namespace.
    pub(crate) fn frame(&mut self, request: &Request<'_>) -> Vec<u8> {
        self.frame_to(1, request)
    }

    /// The bytes of a request to a namespace by its number.
    pub(crate) fn frame_to(&mut self, namespace: u16, request: &Request<'_>) -> Vec<u8> {
        let namespace = request
            .kind()
            .needs_namespace()
            .then(|| NamespaceId::new(namespace).unwrap());
        let envelope = RequestEnvelope {
            request_id: RequestId::new(self.next_id),
            namespace,
            deadline_ms: 0,
        };
        self.next_id += 1;
        let mut bytes = Vec::new();
        self.encoder
            .request(&mut bytes, &envelope, request)
            .unwrap();
        bytes
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Answered {
        let frame = self.frame(request);
        self.send(&frame);
        self.receive().unwrap()
    }

    /// The next answer; `None` if the node has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Answered> {
        let mut header = [0; HEADER_LENGTH_BYTES];
        let mut read = 0;
        while read < header.len() {
            match self.stream.read(&mut header[read..]) {
                Ok(0) => {
                    assert_eq!(read, 0, "the connection ends within a frame");
                    return None;
                }
                Ok(count) => read += count,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
        let header = FrameHeader::parse(&header).unwrap().unwrap();
        let length = usize::try_from(header.frame_length_bytes()).unwrap();
        let mut body = vec![0; length - HEADER_LENGTH_BYTES];
        self.stream.read_exact(&mut body).unwrap();
        Some(Answered { header, body })
    }

    /// Puts a record with one bin.
    pub(crate) fn put(&mut self, key: u32, value: &str) -> Status {
        let content = content("v", value);
        self.ask(&put(key, &content)).status()
    }

    /// The bin of a record; `None` if it is not there.
    pub(crate) fn get(&mut self, key: u32) -> Option<String> {
        let answered = self.ask(&Request::Get(GetRequest {
            digest: digest(key),
            selection: BinSelection::All,
        }));
        match answered.status() {
            Status::NotFound => None,
            Status::Ok => match answered.decode() {
                Answer::Record(record) => {
                    let content = corelith_record::Content::parse(record.content).unwrap();
                    let value = content.get("v").unwrap().decode();
                    match value {
                        corelith_record::ValueRef::String(text) => Some(text.to_owned()),
                        other => panic!("another value: {other:?}"),
                    }
                }
                _ => panic!("another answer"),
            },
            status => panic!("not answered: {status}"),
        }
    }
}

/// A content of one bin.
#[track_caller]
pub(crate) fn content(name: &str, value: &str) -> Vec<u8> {
    ContentBuilder::new()
        .bin(name, value)
        .finish_update()
        .unwrap()
}

/// A replacing put.
pub(crate) fn put(key: u32, content: &[u8]) -> Request<'_> {
    Request::Put(PutRequest {
        digest: digest(key),
        mode: PutMode::Replace,
        ttl: Ttl::Never,
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set: "",
        content,
    })
}

/// A digest for each key.
pub(crate) fn digest(key: u32) -> Digest {
    let mut bytes = [0x21; 20];
    let mixed = key.wrapping_mul(0x9e37_79b9);
    bytes[..4].copy_from_slice(&mixed.to_le_bytes());
    bytes[4..8].copy_from_slice(&key.to_le_bytes());
    Digest::from_bytes(bytes)
}

/// Asserts that the node serves a new client as ever.
#[track_caller]
pub(crate) fn check_serves(node: &Node) {
    let mut peer = Peer::greet(node);
    assert_eq!(peer.put(7_777_777, "well"), Status::Ok);
    assert_eq!(peer.get(7_777_777).as_deref(), Some("well"));
    let log = node.log();
    assert!(!log.contains("panicked"), "{log}");
}
