//! The straight road of a get takes no memory: a whole core, with ring, executor, a file as its device and a client
//! over TCP, allocates nothing for thousands of gets that each read the device.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Poll, Waker};
use std::time::Duration;

use corelith_index::Digest;
use corelith_io::{
    BufferPool, BufferPoolConfig, Clock, Device, Idle, OpenDevice, Ring, RingConfig, Stream, to_u64,
};
use corelith_store::volume::{FormatOptions, format_volume};
use corelith_store::{Shard, ShardOptions};
use corelith_wire::{
    Answer, BinSelection, Commit, Features, FrameEncoder, FrameHeader, GetRequest, HelloRequest,
    NamespaceId, PutMode, PutRequest, Request, RequestEnvelope, RequestId, Status, Ttl,
};
use glommio::{LocalExecutorBuilder, Placement};

use super::Core;
use super::start::CoreParts;
use crate::commit::CommitPolicy;
use crate::configuration::{Configuration, SlowThreshold};
use crate::connection;
use crate::frames::{body_of, frame_length};
use crate::namespaces::{Namespaces, Policy, ServedNamespace};
use crate::operation::Shards;
use crate::topology::Topology;

/// Records, so that reads differ: no get joins another's read.
const KEYS: u64 = 4 * 16;
/// Gets on their way together.
const PIPELINED: usize = 16;
/// Bytes of a value: with its header and bins, of a block and a bit.
const VALUE_BYTES: usize = 5000;

/// How the rings' drivers idle here: by letting the other tasks run, and not at all while nobody asks for anything. A core
/// that has nothing to do goes to sleep by way of glommio, which takes some small allocations for it; and so does the
/// executor when it looks at its timers. Neither is done for a request.
#[derive(Clone, Default)]
struct Awake(Rc<Sleepers>);

#[derive(Default)]
struct Sleepers {
    may_run: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl Awake {
    /// Runs `work` with the drivers awake.
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.may_run.set(true);
        self.0.wakers.borrow_mut().drain(..).for_each(Waker::wake);
        let done = work.await;
        self.0.may_run.set(false);
        done
    }
}

impl Idle for Awake {
    async fn yield_now(&self) {
        glommio::executor().yield_now().await;
        poll_fn(|context| {
            if self.0.may_run.get() {
                return Poll::Ready(());
            }
            self.0.wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn reactor_pass(&self) {
        self.yield_now().await;
    }

    async fn park(&self, _: BorrowedFd<'_>) {
        self.yield_now().await;
    }
}

/// A ring, and its driver at work.
fn ring(awake: &Awake) -> Ring {
    let pool = BufferPool::new(BufferPoolConfig::default()).unwrap();
    let ring = Ring::new(RingConfig::default(), &pool).unwrap();
    let (driver, awake) = (ring.clone(), awake.clone());
    glommio::spawn_local(async move { driver.drive(awake).await }).detach();
    ring
}

/// A client in the core's own executor, on a ring of its own.
struct Client {
    stream: Stream,
    frames: Vec<u8>,
    /// How many those are.
    frame_count: usize,
    answers: Vec<u8>,
}

impl Client {
    fn encode(&mut self, id: u64, request: &Request<'_>) {
        let needs_namespace = request.kind().needs_namespace();
        let envelope = RequestEnvelope {
            request_id: RequestId::new(id),
            namespace: NamespaceId::new(1).filter(|_| needs_namespace),
            deadline_ms: 0,
        };
        let mut encoder = FrameEncoder::new();
        encoder
            .request(&mut self.frames, &envelope, request)
            .unwrap();
        self.frame_count += 1;
    }

    /// Has gets of these keys stand ready.
    fn encode_gets(&mut self, keys: impl Iterator<Item = u64>) {
        self.clear();
        for key in keys {
            let get = GetRequest {
                digest: digest(key),
                selection: BinSelection::All,
            };
            self.encode(key, &Request::Get(get));
        }
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.frame_count = 0;
    }

    /// Sends what was encoded, and waits until all answers have come, all of them good.
    async fn exchange(&mut self) {
        let frames = std::mem::take(&mut self.frames);
        let range = 0..frames.len();
        let (sent, result) = self.stream.send(frames, range).await;
        result.unwrap();
        self.frames = sent.into_bytes().unwrap();
        self.answers.clear();
        loop {
            let (mut rest, mut found) = (self.answers.as_slice(), 0);
            while let Some(header) = FrameHeader::parse(rest).unwrap() {
                let Some((frame, behind)) = rest.split_at_checked(frame_length(&header)) else {
                    break;
                };
                let answer = Answer::decode(&header, body_of(frame)).unwrap();
                assert_eq!(answer.status().0, Status::Ok, "{answer:?}");
                (rest, found) = (behind, found + 1);
            }
            if found == self.frame_count {
                return assert!(rest.is_empty());
            }
            let received = self.stream.receive().await.unwrap().unwrap();
            self.answers.extend_from_slice(&received);
        }
    }

    async fn ask(&mut self, request: &Request<'_>) {
        self.clear();
        self.encode(1, request);
        self.exchange().await;
    }

    /// So many rounds of what was encoded.
    async fn run(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.exchange().await;
        }
    }
}

fn digest(key: u64) -> Digest {
    let mut bytes = [7; 20];
    bytes[..8].copy_from_slice(&key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Digest::from_bytes(bytes)
}

/// A namespace of one shard on `device`, without a record cache.
async fn namespace(device: Device, ring: &Ring, clock: &Clock) -> ServedNamespace {
    let format = FormatOptions {
        segment_bytes: 1 << 20,
        extent_bytes: Some(1 << 20),
        ..FormatOptions::new("test", 1, [1; 16], vec![[2; 16]])
    };
    let devices = [device];
    let volume = format_volume(&devices, ring.pool(), &format).await.unwrap();
    let options = ShardOptions {
        shard: 0,
        index_memory_bytes: 1 << 20,
        record_cache_bytes: 0,
        accept_stale: false,
        index_bytes_cached: 1 << 20,
        checkpoint: corelith_store::CheckpointPace::NONE,
    };
    let shard = Shard::open(&volume, &devices, (ring.pool(), clock), &options)
        .await
        .unwrap();
    glommio::spawn_local(shard.run()).detach();
    let configuration = Configuration::default();
    let namespace = configuration.namespaces.first().unwrap();
    let commit: CommitPolicy = namespace.commit;
    let shards = Shards::new(1, vec![(0, shard)], commit);
    ServedNamespace::new("test", shards, Policy::of(namespace))
}

/// A core that serves one connection: the client's.
async fn serve_one(device: &OpenDevice, awake: &Awake) -> (Rc<Core>, Client) {
    let (ring, ring_of_client) = (ring(awake), ring(awake));
    let clock = Clock::real();
    let namespace = namespace(device.attach(&ring).unwrap(), &ring, &clock).await;
    let mut settings = Configuration::default().live();
    // A machine that is busy elsewhere makes any operation slow, and saying so is off the straight road.
    settings.slow_log = SlowThreshold::Off;
    let core = Rc::new(Core::new(CoreParts {
        number: 0,
        namespaces: Namespaces::new(vec![namespace]),
        topology: Topology::new(1, &[("test".to_owned(), 1)], (0, vec![0])),
        ring,
        clock,
        peers: vec![None],
        loads: Arc::new(vec![AtomicUsize::new(0)]),
        settings: &settings,
    }));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    connection::spawn(&core, listener.accept().unwrap().0.into());
    let client = Client {
        stream: Stream::adopt(&ring_of_client, socket.into()).unwrap(),
        frames: Vec::new(),
        frame_count: 0,
        answers: Vec::new(),
    };
    (core, client)
}

/// Says hello and puts all records.
async fn set_up(client: &mut Client) {
    let hello = HelloRequest {
        version_min: 1,
        version_max: 1,
        features: Features::KNOWN,
        client_name: "a test",
    };
    client.ask(&Request::Hello(hello)).await;
    let content = corelith_record::ContentBuilder::new()
        .bin("v", vec![7_u8; VALUE_BYTES])
        .finish_update()
        .unwrap();
    for key in 0..KEYS {
        let put = PutRequest {
            digest: digest(key),
            mode: PutMode::Replace,
            ttl: Ttl::Never,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
            set: "",
            content: &content,
        };
        client.ask(&Request::Put(put)).await;
    }
}

#[test]
fn sixteen_thousand_gets_from_a_device_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let device = OpenDevice::create_file(&folder.path().join("volume"), 32 << 20).unwrap();
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .preempt_timer(Duration::from_secs(3600))
        .make()
        .unwrap();
    let awake = Awake::default();
    let (core, mut client) = executor.run(awake.during(serve_one(&device, &awake)));
    executor.run(awake.during(set_up(&mut client)));
    // Queues and buffers grow to their lengths, runners come to be: by rounds four times as large as those that are counted, so
    // that how answers happen to gather for a send makes no difference.
    client.encode_gets(0..KEYS);
    executor.run(awake.during(client.run(100)));
    client.encode_gets((0..KEYS).step_by(4));
    executor.run(awake.during(client.run(100)));
    let reads = |core: &Core| {
        let shard = core.namespaces.shards().next().unwrap();
        shard.statistics().counters.device_reads
    };
    let before = reads(&core);
    // What it takes to run anything is taken off.
    let allocations = [0, 1000].map(|rounds| {
        let run = || executor.run(awake.during(client.run(rounds)));
        allocation_counter::measure(run).count_total
    });
    assert_eq!(allocations[1].saturating_sub(allocations[0]), 0);
    let gets = 1000 * to_u64(PIPELINED);
    assert_eq!(reads(&core) - before, gets, "each read the device");
}
