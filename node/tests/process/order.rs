//! What a connection sends about one key is done in its order, reads that are sent behind unanswered writes included.

use corelith_wire::{PutRequest, Request, Status};

use crate::peer::{Peer, content, get, put};
use crate::running::Node;

/// Two writes of a key, each with a read behind it, in one go: what the reads found.
fn write_and_read(peer: &mut Peer, key: u64, values: [&str; 2], set: &str) -> [String; 2] {
    let mut bytes = Vec::new();
    for value in values {
        let content = content("v", value);
        let Request::Put(of_no_set) = put(key, &content) else {
            panic!("a put")
        };
        let put = Request::Put(PutRequest { set, ..of_no_set });
        bytes.extend(peer.frame(&put));
        bytes.extend(peer.frame(&get(key)));
    }
    peer.send(&bytes);
    let mut answers: Vec<_> = (0..4).map(|_| peer.receive().unwrap()).collect();
    answers.sort_by_key(|answered| answered.request());
    let statuses = answers.iter().map(|answered| answered.status());
    assert!(statuses.eq([Status::Ok; 4]), "key {key}");
    [1, 3].map(|read: usize| answers[read].value().unwrap())
}

fn check(node: &Node) {
    let mut peer = Peer::greet(node);
    let long = "x".repeat(300_000);
    for round in 0..300_u64 {
        // Small ones, long ones that are looked through in pieces, and some of sets that are new.
        let filling = if round % 20 == 7 { long.as_str() } else { "" };
        let values = [0, 1].map(|half| format!("{round} {half} {filling}"));
        let set = format!("set {}", round / 10);
        let set = if round % 10 == 3 { set.as_str() } else { "" };
        let [first, second] = write_and_read(&mut peer, round % 8, [&values[0], &values[1]], set);
        let is_first = first == values[0] || first == values[1];
        assert!(is_first, "round {round}: {:.20}", first);
        assert!(second == values[1], "round {round}: {:.20}", second);
    }
}

#[test]
fn a_read_behind_a_write_of_its_key_has_its_version() {
    // On the shared port of two cores, where half of the keys are the other core's.
    for more in [&[][..], &["--record-cache", "16M"]] {
        check(&Node::start_small(more));
    }
}
