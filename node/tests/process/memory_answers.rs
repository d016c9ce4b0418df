//! Gets that memory answers, on the core where they arrive and on the one that owns the record: the newest version, as
//! from a device.

use corelith_wire::{DeleteRequest, Request, Status};

use crate::peer::{Peer, digest, get};
use crate::running::Node;

const KEYS: u64 = 500;

/// One connection and two cores: half of the keys are the other core's.
fn check(node: &Node) {
    let mut peer = Peer::greet(node);
    for round in 0..3 {
        for key in 0..KEYS {
            assert_eq!(peer.put(key, &format!("{round} of {key}")), Status::Ok);
        }
        // Many in one receive, some of them absent.
        let keys: Vec<u64> = (0..KEYS + 50).collect();
        for (key, answer) in keys.iter().zip(peer.ask_all(&keys, get)) {
            let expected = (*key < KEYS).then(|| format!("{round} of {key}"));
            assert_eq!(answer.value(), expected, "key {key}");
        }
    }
    let delete = |key| {
        Request::Delete(DeleteRequest {
            digest: digest(key),
            expected_generation: None,
            commit: corelith_wire::Commit::NamespaceDefault,
        })
    };
    let keys: Vec<u64> = (0..KEYS).collect();
    for answer in peer.ask_all(&keys, delete) {
        assert_eq!(answer.status(), Status::Ok);
    }
    for answer in peer.ask_all(&keys, get) {
        assert_eq!(answer.status(), Status::NotFound);
    }
    assert!(node.metric("corelith_requests_from_other_cores_total", &[]) > 1000.0);
    assert!(node.metric("corelith_ring_notices_total", &[]) > 0.0);
}

#[test]
fn the_record_cache_answers_on_both_cores() {
    let node = Node::start_small(&["--record-cache", "8M"]);
    check(&node);
    let hits = node.metric("corelith_record_cache_hits_total", &[]);
    assert!(hits >= 3.0 * 500.0, "{hits}");
    let device_reads = node.metric("corelith_device_operations_total", &["read"]);
    assert!(device_reads < 1000.0, "{device_reads}");
}

#[test]
fn a_namespace_in_memory_answers_on_both_cores() {
    let folder = crate::running::folder();
    let file = "[node]\ncores = 2\n[namespace.test]\nstorage = \"memory\"\nsize = \"512 MiB\"\nshards = 4\n";
    std::fs::write(folder.path().join("node.toml"), file).unwrap();
    let node = Node::start_in(
        folder,
        &[crate::running::BINARY],
        &["--config", "node.toml"],
    );
    check(&node);
}
