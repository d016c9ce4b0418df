//! Stops: under load, with clients that do not read, by a second signal; nothing acknowledged is lost.

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use corelith_io::{BufferPool, BufferPoolConfig, OpenDevice, OpenOptions, Ring, RingConfig};
use corelith_store::volume::{FormatOptions, format_volume};
use corelith_wire::Status;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::peer::{Peer, content, get, put};
use crate::running::{BINARY, Node, folder};

/// Requests that a loading client keeps unanswered.
const DEPTH: u64 = 64;

/// Puts keys of its own until the node takes no more, and says which were acknowledged. Every request that was
/// taken in is answered, by what it did or by a refusal; only what the node never read goes without.
pub(crate) fn load(port: u16, first_key: u64, progress: &Sender<u64>) -> Vec<u64> {
    let mut client = Peer::greet_at(port);
    let content = content("v", &"x".repeat(300));
    let (mut acknowledged, mut next) = (Vec::new(), first_key);
    while next < first_key + DEPTH {
        assert!(client.try_send(next, &put(next, &content)));
        next += 1;
    }
    let mut is_stopping = false;
    while let Some(answer) = client.receive() {
        match answer.status() {
            Status::Ok => {
                acknowledged.push(answer.request());
                progress.send(answer.request()).ok();
            }
            Status::Stopping => is_stopping = true,
            Status::Busy | Status::OutOfSpace => {}
            status => panic!("{status:?}"),
        }
        if !is_stopping {
            // The connection may be gone: what was answered before is still there to be read.
            client.try_send(next, &put(next, &content));
            next += 1;
        }
    }
    acknowledged
}

#[test]
fn a_stop_under_load_loses_nothing() {
    let mut node = Node::start_small(&["--stop-timeout", "60s"]);
    let (progress_in, progress) = channel();
    let acknowledged: Vec<u64> = std::thread::scope(|scope| {
        let port = node.port;
        let clients: Vec<_> = (0..4_u64)
            .map(|number| {
                let progress = progress_in.clone();
                scope.spawn(move || load(port, number << 32, &progress))
            })
            .collect();
        drop(progress_in);
        assert_eq!(progress.iter().take(2000).count(), 2000);
        assert_eq!(node.stop(), 0, "{}", node.log());
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    assert!(acknowledged.len() >= 2000);
    assert!(
        node.log()
            .contains("everything that was acknowledged is durable")
    );
    node.start_again();
    let mut client = Peer::greet(&node);
    for key in acknowledged {
        assert_eq!(client.ask(&get(key)).status(), Status::Ok, "{key}");
    }
    assert_eq!(node.stop(), 0);
}

/// A connection that asks for more than sockets hold, and takes no answer. It is held until the test is over.
fn deaf_client(port: u16) -> Peer {
    let mut client = Peer::greet_at(port);
    assert_eq!(client.put(1, &"x".repeat(100_000)), Status::Ok);
    // 50 MB of answers: more than both sockets and the outbox take.
    let frame = client.frame(&get(1));
    client.send(&frame.repeat(500));
    client
}

#[test]
fn clients_that_do_not_read_are_cut() {
    let mut node = Node::start_small(&["--stop-timeout", "4s"]);
    let clients = [deaf_client(node.port), deaf_client(node.port)];
    node.wait_until("full", |node| {
        node.metric("corelith_outbox_bytes", &[]) > 0.0
    });
    assert_eq!(node.stop(), 0, "{}", node.log());
    assert!(
        node.log().contains("connections were cut"),
        "{}",
        node.log()
    );
    drop(clients);
}

#[test]
fn a_second_signal_ends_the_node_at_once() {
    // A quarter of an hour for the client that does not read: only the second signal can end this.
    let mut node = Node::start_small(&["--stop-timeout", "1h"]);
    let client = deaf_client(node.port);
    node.wait_until("full", |node| {
        node.metric("corelith_outbox_bytes", &[]) > 0.0
    });
    // Either signal is the first and the second.
    node.signal(Signal::SIGINT);
    node.wait_until("stopping", |node| node.ready().1.starts_with("stopping\n"));
    // Signals that follow each other within a second are one wish.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait(), 130, "{}", node.log());
    drop(client);
}

#[test]
fn idle_connections_do_not_hold_a_stop_up() {
    let mut node = Node::start_small(&["--stop-timeout", "1h"]);
    let mut clients: Vec<Peer> = (0..50).map(|_| Peer::greet(&node)).collect();
    assert_eq!(node.stop(), 0, "{}", node.log());
    assert!(
        !node.log().contains("connections were cut"),
        "{}",
        node.log()
    );
    for client in &mut clients {
        assert!(client.receive().is_none());
    }
}

/// A loop device over a file on a file system of its own: while that is frozen, no write to the device ends.
struct Freezable {
    folder: TempDir,
    outer: String,
    inner: String,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Freezable {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let image = folder.path().join("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(200 << 20).unwrap();
        let image = image.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-F", image]);
        let mount = folder.path().join("mount");
        std::fs::create_dir(&mount).unwrap();
        let outer = run("losetup", &["--show", "-f", image]);
        let mut made = Self {
            folder,
            outer,
            inner: String::new(),
        };
        run("mount", &[&made.outer, mount.to_str().unwrap()]);
        let device = mount.join("device");
        let size = ["-l", "128M", device.to_str().unwrap()];
        run("fallocate", &size);
        let show = ["--show", "-f", "--direct-io=on", device.to_str().unwrap()];
        made.inner = run("losetup", &show);
        made
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn freeze(&self) {
        run("fsfreeze", &["-f", self.mount().to_str().unwrap()]);
    }

    fn format(&self) {
        let pool = BufferPool::new(BufferPoolConfig::default()).unwrap();
        let ring = Ring::new(RingConfig::default(), &pool).unwrap();
        let opened = OpenDevice::open(self.inner.as_ref(), OpenOptions::default()).unwrap();
        let mut options = FormatOptions::new("test", 2, [1; 16], vec![[2; 16]]);
        options.segment_bytes = 1 << 20;
        let devices = [opened.attach(&ring).unwrap()];
        let formatted = format_volume(&devices, &pool, &options);
        ring.block_on(formatted).unwrap().unwrap();
    }
}

impl Drop for Freezable {
    fn drop(&mut self) {
        let mount = self.mount();
        let mount = mount.to_str().unwrap_or_default();
        for (program, arguments) in [
            ("fsfreeze", ["-u", mount]),
            ("losetup", ["-d", &self.inner]),
            ("umount", ["-l", mount]),
            ("losetup", ["-d", &self.outer]),
        ] {
            // What a test did not come to do fails here.
            drop(Command::new(program).args(arguments).output());
        }
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_stop_gives_up_on_a_loop_device_that_does_not_answer() {
    let device = Freezable::new();
    device.format();
    let mut node = Node::start_in(
        folder(),
        &[BINARY],
        &[
            "--device",
            &device.inner,
            "--cores",
            "1",
            "--stop-timeout",
            "2s",
        ],
    );
    let mut client = Peer::greet(&node);
    assert_eq!(client.put(1, "durable"), Status::Ok);
    device.freeze();
    let content = content("v", "in doubt");
    assert!(client.try_send(2, &put(2, &content)));
    node.wait_until("stuck", |node| {
        node.metric("corelith_device_in_flight", &["write"]) > 0.0
    });
    assert_eq!(node.stop(), 3, "{}", node.log());
    let log = node.log();
    for said in [
        "the stop waits for a device that does not answer",
        &device.inner,
        "the stop was given up after 2s: core(s) [0]",
        "writes that were not answered are in doubt",
    ] {
        assert!(log.contains(said), "{said:?}: {log}");
    }
    // The kernel keeps the ring of a process that has ended, and with it the sockets registered there, until the device
    // answers: no answer comes, and no end either.
    assert!(!client.has_answer(), "nothing was acknowledged");
    drop(node);
}
