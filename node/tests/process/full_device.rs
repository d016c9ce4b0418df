//! A volume without room refuses what needs room, keeps what it has, and takes deletes.

use corelith_wire::{Commit, DeleteRequest, Request, Status};

use crate::peer::{Peer, content, digest, put};
use crate::running::{BINARY, Node};

#[test]
fn a_full_volume_says_so_and_loses_nothing() {
    let mut node = Node::start_with(&["--size", "512M", "--cores", "1", "--shards", "1"]);
    let mut peer = Peer::greet(&node);
    let text = "z".repeat(1 << 20);
    let mut written = 0;
    let status = loop {
        let content = content("v", &text);
        let status = peer.ask(&put(written, &content)).status();
        if status != Status::Ok {
            break status;
        }
        written += 1;
        assert!(written < 600, "more than the volume can hold");
    };
    assert_eq!(status, Status::OutOfSpace);
    assert!(written > 300, "only {written} MiB of 512 could be used");
    // What is left takes shorter records still.
    let mut short = 1_000_000;
    for length in [100_000, 1_000, 1] {
        let content = content("v", &text[..length]);
        while peer.ask(&put(short, &content)).status() == Status::Ok {
            short += 1;
        }
    }
    let full = "namespace \"test\" is full: new data is refused with \"out of space\"";
    let room = "namespace \"test\" has room again";
    node.wait_until("said to be full", |node| node.log().contains(full));
    assert!(node.log().contains("delete records, or move the namespace"));
    assert!(!node.log().contains(room), "{}", node.log());
    assert_eq!(peer.get(0).unwrap().len(), text.len());
    for key in 0..20 {
        let deleted = peer.ask(&Request::Delete(DeleteRequest {
            digest: digest(key),
            expected_generation: None,
            commit: Commit::NamespaceDefault,
        }));
        assert_eq!(deleted.status(), Status::Ok);
    }
    // What was whole segments of deleted records is room again.
    let small = content("v", "room again");
    let mut status = peer.ask(&put(0, &small)).status();
    for _ in 0..200 {
        if status == Status::Ok {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        status = peer.ask(&put(0, &small)).status();
    }
    assert_eq!(status, Status::Ok);
    node.wait_until("said to have room", |node| node.log().contains(room));
    for said in [full, room] {
        assert_eq!(node.log().matches(said).count(), 1, "{}", node.log());
    }
    let folder = node.kill();
    let node = Node::start_in(folder, &[BINARY], &[]);
    let mut peer = Peer::greet(&node);
    assert_eq!(peer.get(0).as_deref(), Some("room again"));
    for key in 1..20 {
        assert_eq!(peer.get(key), None);
    }
    for key in 20..written {
        assert_eq!(peer.get(key).unwrap().len(), text.len(), "key {key}");
    }
}
