//! What breaks the protocol gets an error or a closed connection, and harms nobody else.

use std::io::Write;
use std::net::Shutdown;

use corelith_record::ContentBuilder;
use corelith_wire::{BinNames, BinSelection, GetRequest, Request, Status};

use crate::peer::{HEADER_LENGTH, Peer, check_serves, content, digest, put};
use crate::running::{BINARY, Node, folder};

#[test]
fn garbage_half_frames_and_impossible_lengths_end_their_connection_only() {
    let node = Node::start();
    let mut witness = Peer::greet(&node);
    assert_eq!(witness.put(1, "kept"), Status::Ok);

    let mut garbage = Peer::greet(&node);
    garbage.send(&[0xa5; 4096]);
    let last = garbage.receive().unwrap();
    assert_eq!(last.status(), Status::Malformed);
    assert!(garbage.receive().is_none(), "the connection is closed");

    // Before any hello as well: then it may end without a word.
    let mut stranger = node.connect();
    stranger
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut unread = Vec::new();
    drop(std::io::Read::read_to_end(&mut stranger, &mut unread));

    for cut in [1, HEADER_LENGTH - 1, HEADER_LENGTH, 40] {
        let mut half = Peer::greet(&node);
        let text = content("v", "half");
        let frame = half.frame(&put(1, &text));
        half.send(&frame[..cut]);
        half.stream.shutdown(Shutdown::Write).unwrap();
        while half.receive().is_some() {}
    }

    // A length that nobody would send: refused when the header is there, not when the bytes are.
    let mut liar = Peer::greet(&node);
    let text = content("v", "long");
    let mut frame = liar.frame(&put(1, &text));
    let claimed = liar_length(&frame);
    frame[claimed..claimed + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    liar.send(&frame[..HEADER_LENGTH]);
    assert_eq!(liar.receive().unwrap().status(), Status::Malformed);
    assert!(liar.receive().is_none());

    assert_eq!(witness.get(1).as_deref(), Some("kept"));
    check_serves(&node);
}

/// Where the header says how long the payload is: the only four bytes that hold its length.
fn liar_length(frame: &[u8]) -> usize {
    let payload = u32::try_from(content("v", "long").len())
        .unwrap()
        .to_le_bytes();
    let places: Vec<usize> = (0..HEADER_LENGTH - 3)
        .filter(|at| frame[*at..*at + 4] == payload)
        .collect();
    assert_eq!(places.len(), 1, "the payload's length stands once");
    places[0]
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let node = Node::start();
    let mut slow = Peer::greet(&node);
    slow.stream.set_nodelay(true).unwrap();
    let text = content("v", "drop by drop");
    let frame = slow.frame(&put(3, &text));
    for byte in &frame {
        slow.send(std::slice::from_ref(byte));
    }
    assert_eq!(slow.receive().unwrap().status(), Status::Ok);
    assert_eq!(slow.get(3).as_deref(), Some("drop by drop"));
}

/// A connection that only connected held a descriptor and one of the core's places for as long as its peer liked, and so
/// did one that stopped in the middle of its hello.
#[test]
fn who_does_not_say_hello_is_closed_and_who_has_said_it_may_rest() {
    let folder = folder();
    let file = "[node]\ncores = 2\nhello_timeout = \"200 ms\"\n[namespace.test]\nfile = \"v\"\nsize = \"512 MiB\"\nshards = 4\n";
    std::fs::write(folder.path().join("node.toml"), file).unwrap();
    let node = Node::start_in(folder, &[BINARY], &["--config", "node.toml"]);
    // Older than all that follow: what makes an end of those could make one of it too.
    let mut resting = Peer::greet(&node);
    let mut silent: Vec<Peer> = (0..20).map(|_| Peer::over(node.connect())).collect();
    for (number, peer) in silent.iter_mut().enumerate() {
        let hello = peer.hello_frame();
        let cut = [0, 1, HEADER_LENGTH, hello.len() - 1][number % 4];
        peer.send(&hello[..cut]);
    }
    for peer in &mut silent {
        let last = peer.receive().unwrap();
        assert_eq!(last.status(), Status::HelloExpected);
        assert!(peer.receive().is_none(), "the connection is closed");
    }
    assert_eq!(node.metric("corelith_hello_timeouts_total", &[]), 20.0);
    assert_eq!(node.metric("corelith_requests_refused_total", &[]), 0.0);
    let log = node.log();
    let said = log.matches("no whole hello came").count();
    assert!((1..=2).contains(&said), "once a core: {log}");
    assert_eq!(resting.put(1, "rested"), Status::Ok);
    assert_eq!(resting.get(1).as_deref(), Some("rested"));
    check_serves(&node);
}

#[test]
fn requests_that_cannot_be_are_refused_one_by_one() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    assert_eq!(peer.put(1, "kept"), Status::Ok);

    let text = content("v", "elsewhere");
    let elsewhere = peer.frame_to(9, &put(1, &text));
    peer.send(&elsewhere);
    assert_eq!(peer.receive().unwrap().status(), Status::UnknownNamespace);

    // A name of 256 bytes cannot be written down; one with a zero in the middle of a valid content can.
    let mut named = content("abc", "x");
    let at = named
        .windows(3)
        .position(|window| window == b"abc")
        .unwrap();
    named[at + 1] = 0;
    assert_eq!(peer.ask(&put(1, &named)).status(), Status::Malformed);
    let none = ContentBuilder::new().finish_update().unwrap();
    assert_eq!(peer.ask(&put(1, &none)).status(), Status::InvalidArgument);
    let names = ["\0"];
    let odd = peer.ask(&Request::Get(GetRequest {
        digest: digest(1),
        selection: BinSelection::Named(BinNames::new(&names)),
    }));
    assert_ne!(odd.status(), Status::Internal);

    // Half a segment of 16 MiB is as long as a record may be; a frame may be a little longer.
    // With the record's header it is longer than half a segment, by itself it is not.
    let long = "x".repeat((8 << 20) - 60);
    let too_long = content("v", &long);
    assert_eq!(peer.ask(&put(1, &too_long)).status(), Status::TooLarge);
    let longest = content("v", &long[..(8 << 20) - 4096]);
    assert_eq!(peer.ask(&put(2, &longest)).status(), Status::Ok);
    assert_eq!(peer.get(2).unwrap().len(), (8 << 20) - 4096);

    assert_eq!(peer.get(1).as_deref(), Some("kept"));
    check_serves(&node);
}

#[test]
fn who_does_not_read_is_not_waited_for_by_others() {
    let node = Node::start();
    let mut deaf = Peer::greet(&node);
    let text = "y".repeat(64 << 10);
    assert_eq!(deaf.put(5, &text), Status::Ok);
    // As much as the node and the kernel take from it; then it blocks, or has said all.
    deaf.stream
        .set_write_timeout(Some(std::time::Duration::from_millis(500)))
        .unwrap();
    let get = deaf.frame(&Request::Get(GetRequest {
        digest: digest(5),
        selection: BinSelection::All,
    }));
    let many = get.repeat(64);
    let mut asked = 0;
    while asked < 2_000 && deaf.stream.write_all(&many).is_ok() {
        asked += 1;
    }
    assert!(asked < 2_000, "the node does not take requests without end");
    check_serves(&node);
    let memory = node.resident_bytes();
    assert!(memory < 1 << 30, "{memory} bytes for one deaf client");
}
