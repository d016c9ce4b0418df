//! Many connections: what each costs at rest, that it comes back, and what there is when descriptors run out.

use std::io::Read;
use std::net::TcpStream;

use corelith_wire::Status;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::peer::{Peer, check_serves, content, get, put};
use crate::running::{BINARY, Node, SMALL, connect, folder};

/// As many as the goal says, where this process may open so many descriptors.
const WANTED: u64 = 10_000;

/// What the node's memory grows by for each, in bytes: the figure that its memory limit reckons with.
const CONNECTION_BYTES: u64 = 4 << 10;

/// So many connections as this process can hold beside what the other tests open.
fn possible() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let count = WANTED.min(hard.saturating_sub(1000));
    assert!(
        count >= 2000,
        "raise `ulimit -n`: {hard} descriptors are too few for this test"
    );
    usize::try_from(count).unwrap()
}

/// Connections that are made at a time: with two CPUs for everything a round trip is long, but what thousands have in
/// flight would be counted to them when they rest.
const STEP: usize = 50;

/// Connections that have said hello, written a record of their own and read it again.
fn open(node: &Node, count: usize) -> Vec<Peer> {
    let text = content("v", &"x".repeat(2000));
    let mut peers: Vec<Peer> = Vec::with_capacity(count);
    while peers.len() < count {
        let step = peers.len();
        for number in step..count.min(step + STEP) {
            let mut peer = Peer::over(node.connect());
            let key = u64::try_from(number % 100).unwrap();
            let hello = peer.hello_frame();
            let frames = [hello, peer.frame(&put(key, &text)), peer.frame(&get(key))];
            peer.send(&frames.concat());
            peers.push(peer);
        }
        for peer in &mut peers[step..] {
            for _ in 0..3 {
                let status = peer.receive().unwrap().status();
                let is_right = matches!(status, Status::Ok | Status::NotFound);
                assert!(is_right, "{status:?}");
            }
        }
    }
    peers
}

fn check_many(cores: &str) {
    let count = possible();
    let folder = folder();
    let file = format!(
        "[node]\ncores = {cores}\nconnections_per_core_max = 12000\n[namespace.test]\nfile = \"v\"\nsize = \"512 MiB\"\nshards = 4\n"
    );
    std::fs::write(folder.path().join("node.toml"), file).unwrap();
    let mut node = Node::start_in(folder, &[BINARY], &["--config", "node.toml"]);
    check_serves(&node);
    let before = node.resident_bytes();
    let connected = u64::try_from(count).unwrap();
    let mut rounds = Vec::new();
    for _ in 0..2 {
        let mut peers = open(&node, count);
        let held = node.resident_bytes();
        let each = held.saturating_sub(before) / connected;
        assert!(
            each <= CONNECTION_BYTES,
            "{each} bytes a connection at rest"
        );
        check_serves(&node);
        // The first, the last and some between are as good as ever.
        for peer in peers.iter_mut().step_by(count / 10) {
            assert_eq!(peer.put(5, "among many"), Status::Ok);
        }
        drop(peers);
        node.wait_until("rid of them", |node| {
            node.metric("corelith_connections", &[]) < 1.0
        });
        rounds.push(held);
    }
    let [first, second] = rounds[..] else {
        panic!("two rounds")
    };
    // The same memory serves the second round.
    let grown = second.saturating_sub(first);
    assert!(
        grown < connected * 512,
        "{grown} bytes more in the second round"
    );
    assert!(
        !node.log().contains("connections were refused"),
        "{}",
        node.log()
    );
    assert_eq!(node.stop(), 0, "{}", node.log());
}

#[test]
fn many_idle_connections_cost_little_and_harm_nobody() {
    // One after the other: together they would need twice the descriptors.
    for cores in ["1", "2"] {
        check_many(cores);
    }
}

#[test]
fn connections_beyond_the_descriptors_wait_until_some_are_free() {
    let program = ["prlimit", "--nofile=300:300", BINARY];
    let folder = folder();
    // Connections that say nothing are to stay, however long this takes.
    let patient = "[node]\nhello_timeout = \"1 h\"\n";
    std::fs::write(folder.path().join("node.toml"), patient).unwrap();
    let arguments = [&SMALL[..], &["--config", "node.toml"]].concat();
    let mut node = Node::start_in(folder, &program, &arguments);
    let log = node.log();
    assert!(log.contains("fewer descriptors may be opened"), "{log}");
    let mut early = Peer::greet(&node);
    // More than it can accept: the kernel completes them and keeps them for the listener.
    let mut rest: Vec<TcpStream> = (0..400).map(|_| connect(node.port)).collect();
    node.wait_until("out of descriptors", |node| {
        node.log().contains("connections could not be accepted")
    });
    assert_eq!(early.put(1, "served meanwhile"), Status::Ok);
    let said = node.log().matches("could not be accepted").count();
    assert!(said < 8, "said {said} times: {}", node.log());
    // Those that wait are served when there are descriptors again.
    let mut last = Peer::over(rest.pop().unwrap());
    drop(rest);
    assert_eq!(last.hello().unwrap().status(), Status::Ok);
    assert_eq!(last.get(1).as_deref(), Some("served meanwhile"));
    check_serves(&node);
}

#[test]
fn buffers_of_a_burst_are_given_back() {
    let mut node = Node::start();
    let mut first = Peer::greet(&node);
    let text = "y".repeat(64 << 10);
    assert_eq!(first.put(5, &text), Status::Ok);
    let bursts = |node: &Node| {
        let mut peers: Vec<Peer> = (0..100).map(|_| Peer::greet(node)).collect();
        for peer in &mut peers {
            let frame = peer.frame(&get(5));
            peer.send(&frame.repeat(40));
            for _ in 0..40 {
                assert_eq!(peer.receive().unwrap().status(), Status::Ok);
            }
        }
        peers
    };
    let held = bursts(&node);
    let resident = node.resident_bytes();
    // A buffer of its own for each burst would be 100 times 2.5 MiB.
    assert!(resident < 200 << 20, "{resident} bytes");
    drop(held);
    node.wait_until("empty", |node| {
        node.metric("corelith_outbox_bytes", &[]) < 1.0
    });
    let mut rest = Vec::new();
    drop(first.stream.shutdown(std::net::Shutdown::Both));
    drop(first.stream.read_to_end(&mut rest));
    check_serves(&node);
}
