//! A write whose time is up before its turn comes is answered so, and never happens.

use corelith_record::ContentBuilder;
use corelith_wire::{
    Answer, BinSelection, Commit, GetRequest, PutMode, PutRequest, Request, Status, Ttl,
};

use crate::peer::{Peer, content, digest};
use crate::running::Node;

/// A put that joins what is there, and so has to look at it.
fn merge(content: &[u8]) -> Request<'_> {
    Request::Put(PutRequest {
        digest: digest(1),
        mode: PutMode::Merge,
        ttl: Ttl::Never,
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set: "",
        content,
    })
}

#[test]
fn a_late_write_is_dropped_unexecuted() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    // Every join copies this: the queue for the key is far longer than a millisecond.
    assert_eq!(peer.put(1, &"x".repeat(2 << 20)), Status::Ok);
    let count = 60;
    let small = ContentBuilder::new().bin("n", 1).finish_update().unwrap();
    peer.deadline_ms = 1;
    let frames: Vec<u8> = (0..count)
        .flat_map(|_| peer.frame(&merge(&small)))
        .collect();
    peer.send(&frames);
    let mut answers: Vec<Status> = (0..count)
        .map(|_| peer.receive().unwrap().status())
        .collect();
    answers.sort_by_key(|status| status.number());
    let of = |wanted| answers.iter().filter(|status| **status == wanted).count();
    assert!(of(Status::Timeout) > 0, "{answers:?}");
    assert_eq!(of(Status::Timeout) + of(Status::Ok), count, "{answers:?}");
    peer.deadline_ms = 0;
    let answered = peer.ask(&Request::Get(GetRequest {
        digest: digest(1),
        selection: BinSelection::MetadataOnly,
    }));
    let Answer::Record(record) = answered.decode() else {
        panic!("another answer")
    };
    let generation = usize::from(record.metadata.generation.get());
    assert_eq!(
        generation,
        1 + of(Status::Ok),
        "none of the others happened"
    );
    let text = content("v", "well");
    assert_eq!(peer.ask(&merge(&text)).status(), Status::Ok);
}
