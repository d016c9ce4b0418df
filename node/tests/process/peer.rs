//! A peer that speaks the protocol itself, frame by frame, so that it can also break it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use corelith_index::Digest;
use corelith_record::ContentBuilder;
use corelith_wire::{
    Answer, BinSelection, Commit, Features, FrameEncoder, FrameHeader, GetRequest,
    HEADER_LENGTH_BYTES, HelloRequest, NamespaceId, PutMode, PutRequest, Request, RequestEnvelope,
    RequestId, Status, Ttl,
};

use crate::running::{Node, connect};

/// Length of a frame's header, in bytes.
pub(crate) const HEADER_LENGTH: usize = HEADER_LENGTH_BYTES as usize;

/// Requests of [`Peer::ask_all`] that are sent before the first answer is awaited.
pub(crate) const WAVE: usize = 512;

/// One connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// What its requests say of the time that they may wait; 0 for ever.
    pub(crate) deadline_ms: u32,
    encoder: FrameEncoder,
    next_id: u64,
}

/// A whole answer.
pub(crate) struct Answered {
    header: FrameHeader,
    body: Vec<u8>,
}

impl Answered {
    /// The number of the request that it answers.
    pub(crate) fn request(&self) -> u64 {
        self.header.request_id().get()
    }

    pub(crate) fn status(&self) -> Status {
        self.decode().status().0
    }

    /// The bin of a record; `None` if it is not there.
    pub(crate) fn value(&self) -> Option<String> {
        match self.status() {
            Status::NotFound => None,
            Status::Ok => match self.decode() {
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

    pub(crate) fn decode(&self) -> Answer<'_> {
        Answer::decode(&self.header, &self.body).unwrap()
    }
}

impl Peer {
    /// Connects and says hello.
    pub(crate) fn greet(node: &Node) -> Self {
        Self::greet_at(node.port)
    }

    /// The same, where the node itself is not at hand.
    pub(crate) fn greet_at(port: u16) -> Self {
        let mut peer = Self::over(connect(port));
        assert_eq!(peer.hello().unwrap().status(), Status::Ok);
        peer
    }

    /// A connection that has said nothing yet.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            deadline_ms: 0,
            encoder: FrameEncoder::new(),
            next_id: 1,
        }
    }

    /// Says hello; the answer.
    pub(crate) fn hello(&mut self) -> Option<Answered> {
        let hello = self.hello_frame();
        self.send(&hello);
        self.receive()
    }

    /// The bytes of a hello.
    pub(crate) fn hello_frame(&mut self) -> Vec<u8> {
        self.frame(&Request::Hello(HelloRequest {
            version_min: 1,
            version_max: 1,
            features: Features::KNOWN,
            client_name: "a test",
        }))
    }

    /// The bytes of a request to the first namespace, under the next number.
    pub(crate) fn frame(&mut self, request: &Request<'_>) -> Vec<u8> {
        self.frame_to(1, request)
    }

    /// The bytes of a request to a namespace by its number.
    pub(crate) fn frame_to(&mut self, namespace: u16, request: &Request<'_>) -> Vec<u8> {
        let id = self.next_id;
        self.next_id += 1;
        self.frame_with((namespace, id), request)
    }

    /// The bytes of a request under a number of the caller's.
    pub(crate) fn frame_with(
        &mut self,
        (namespace, id): (u16, u64),
        request: &Request<'_>,
    ) -> Vec<u8> {
        let namespace = request
            .kind()
            .needs_namespace()
            .then(|| NamespaceId::new(namespace).unwrap());
        let envelope = RequestEnvelope {
            request_id: RequestId::new(id),
            namespace,
            deadline_ms: self.deadline_ms,
        };
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

    /// Sends a request under a number of the caller's; false if the connection is gone.
    pub(crate) fn try_send(&mut self, id: u64, request: &Request<'_>) -> bool {
        let frame = self.frame_with((1, id), request);
        self.stream.write_all(&frame).is_ok()
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Answered {
        let frame = self.frame(request);
        self.send(&frame);
        self.receive().unwrap()
    }

    /// True if bytes of an answer have come.
    pub(crate) fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let has_come = self.stream.peek(&mut [0]).is_ok_and(|count| count > 0);
        self.stream.set_nonblocking(false).unwrap();
        has_come
    }

    /// The next answer; `None` if the connection has ended.
    pub(crate) fn receive(&mut self) -> Option<Answered> {
        let mut header = [0; HEADER_LENGTH];
        if !fill(&mut self.stream, &mut header) {
            return None;
        }
        let header = FrameHeader::parse(&header).unwrap().unwrap();
        let mut body = vec![0; usize::try_from(header.body_length_bytes()).unwrap()];
        fill(&mut self.stream, &mut body).then_some(Answered { header, body })
    }

    /// Puts a record with one bin.
    pub(crate) fn put(&mut self, key: u64, value: &str) -> Status {
        let content = content("v", value);
        self.ask(&put(key, &content)).status()
    }

    /// The bin of a record; `None` if it is not there.
    pub(crate) fn get(&mut self, key: u64) -> Option<String> {
        self.ask(&get(key)).value()
    }

    /// Asks about each of `keys`, many at a time; the answers in their order.
    pub(crate) fn ask_all<'a>(
        &mut self,
        keys: &[u64],
        request: impl Fn(u64) -> Request<'a>,
    ) -> Vec<Answered> {
        let mut answers = Vec::new();
        for wave in keys.chunks(WAVE) {
            let frames: Vec<u8> = wave
                .iter()
                .flat_map(|key| self.frame(&request(*key)))
                .collect();
            self.send(&frames);
            let mut of_wave: Vec<_> = wave.iter().map(|_| self.receive().unwrap()).collect();
            of_wave.sort_by_key(Answered::request);
            answers.append(&mut of_wave);
        }
        answers
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
pub(crate) fn put(key: u64, content: &[u8]) -> Request<'_> {
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

/// A get of everything.
pub(crate) fn get<'a>(key: u64) -> Request<'a> {
    Request::Get(GetRequest {
        digest: digest(key),
        selection: BinSelection::All,
    })
}

/// A digest for each key.
pub(crate) fn digest(key: u64) -> Digest {
    let mut bytes = [7; 20];
    bytes[..8].copy_from_slice(&key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes[8..16].copy_from_slice(&key.to_le_bytes());
    Digest::from_bytes(bytes)
}

/// Reads to the end of `place`; false if the connection ends first. An answer that does not come is a failure.
fn fill(stream: &mut TcpStream, place: &mut [u8]) -> bool {
    match stream.read_exact(place) {
        Ok(()) => true,
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => false,
            _ => panic!("no answer: {error}"),
        },
    }
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
