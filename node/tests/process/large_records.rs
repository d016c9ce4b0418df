//! Records of as many bins, and as many bytes, as a record may have: they go through the node in pieces, and come
//! back whole.

use corelith_record::limits::BIN_COUNT_MAX;
use corelith_record::{BinList, Content, ContentBuilder, StepsBuilder, ValueRef};
use corelith_wire::{
    Answer, BinNames, BinSelection, Commit, GetRequest, OperateRequest, PartitionList, PutMode,
    PutRequest, Request, ScanRequest, Status, Ttl,
};

use crate::peer::{Peer, check_serves, content, digest, get, put};
use crate::running::{BINARY, Node, SMALL};

/// Keys enough that every core owns some: most of the requests on one connection are another core's.
const KEYS: std::ops::Range<u64> = 0..6;

fn name(index: u32) -> String {
    format!("n{:08x}", index.wrapping_mul(0x9e37_79b1))
}

/// Bins of these numbers, each with its number as the value.
fn wide(indices: impl Iterator<Item = u32>) -> ContentBuilder {
    indices.fold(ContentBuilder::new(), |builder, index| {
        builder.bin(name(index), i64::from(index))
    })
}

fn merging(key: u64, content: &[u8]) -> Request<'_> {
    match put(key, content) {
        Request::Put(put) => Request::Put(PutRequest {
            mode: PutMode::Merge,
            ..put
        }),
        other => other,
    }
}

/// Checks the bins of a record: each has its number as the value.
#[track_caller]
fn check_wide(
    peer: &mut Peer,
    key: u64,
    is_there: impl Fn(u32) -> bool,
    value: impl Fn(u32) -> i64,
) {
    let answered = peer.ask(&get(key));
    assert_eq!(answered.status(), Status::Ok, "key {key}");
    let Answer::Record(record) = answered.decode() else {
        panic!("another answer");
    };
    let content = Content::parse(record.content).unwrap();
    let all = u32::from(BIN_COUNT_MAX);
    let there = (0..all).filter(|index| is_there(*index)).count();
    assert_eq!(usize::from(content.bins().len()), there);
    for index in (0..all).step_by(7) {
        let found = content.get(&name(index)).map(|found| found.decode());
        let expected = is_there(index).then(|| ValueRef::Integer(value(index)));
        assert_eq!(found, expected, "bin {index}");
    }
}

#[test]
fn records_of_the_most_bins_are_written_merged_stepped_and_read() {
    let all = u32::from(BIN_COUNT_MAX);
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    let whole = wide(0..all).finish_update().unwrap();
    // In no order of the record's; every fifth bin goes.
    let changes = (0..all).rev().filter(|index| index.is_multiple_of(3));
    let changes = changes.fold(ContentBuilder::new(), |builder, index| {
        if index.is_multiple_of(5) {
            builder.delete(name(index))
        } else {
            builder.bin(name(index), -i64::from(index))
        }
    });
    let changes = changes.finish_update().unwrap();
    let is_there = |index: u32| !index.is_multiple_of(15);
    let value = |index: u32| {
        let value = i64::from(index);
        if index.is_multiple_of(3) {
            -value
        } else {
            value
        }
    };
    let steps = (0..500).fold(StepsBuilder::new(), |steps, index| {
        steps.add(name(index * 15 + 1), 1_000_000)
    });
    let encoded = steps.read(name(1)).finish().unwrap();
    let stepped = |index: u32| {
        let is_stepped = index % 15 == 1 && index < 7500;
        value(index) + if is_stepped { 1_000_000 } else { 0 }
    };
    for key in KEYS {
        assert_eq!(peer.ask(&put(key, &whole)).status(), Status::Ok);
        check_wide(&mut peer, key, |_| true, i64::from);
        assert_eq!(peer.ask(&merging(key, &changes)).status(), Status::Ok);
        check_wide(&mut peer, key, is_there, value);

        let answered = peer.ask(&Request::Operate(OperateRequest {
            digest: digest(key),
            steps: &encoded.codes,
            mode: PutMode::Merge,
            ttl: Ttl::Never,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
            set: "",
            arguments: &encoded.arguments,
        }));
        let Answer::Operated(operated) = answered.decode() else {
            panic!("another answer");
        };
        let seen = BinList::parse(operated.bins).unwrap();
        let seen = seen.iter().next().unwrap().value().decode();
        assert_eq!(seen, ValueRef::Integer(1_000_001));

        let names: Vec<String> = (0..1000).map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let answered = peer.ask(&Request::Get(GetRequest {
            digest: digest(key),
            selection: BinSelection::Named(BinNames::new(&names)),
        }));
        let Answer::Record(record) = answered.decode() else {
            panic!("another answer");
        };
        let content = Content::parse(record.content).unwrap();
        assert_eq!(content.bins().len(), 1000 - 67);
    }
    let folder = node.kill();
    let node = Node::start_in(folder, &[BINARY], &SMALL);
    let mut peer = Peer::greet(&node);
    for key in KEYS {
        check_wide(&mut peer, key, is_there, stepped);
    }
}

/// A content of as many bytes as a volume takes, in two bins; each key's bytes are its own.
fn long(key: u64) -> Vec<u8> {
    let text = format!("{key:08}").repeat(4 << 17);
    let bytes = text.clone().into_bytes();
    ContentBuilder::new()
        .bin("text", text)
        .bin("bytes", bytes[..(4 << 20) - 256].to_vec())
        .finish_update()
        .unwrap()
}

/// Appends a byte to the text of a long record, and reads the text.
fn append(peer: &mut Peer, key: u64) {
    let encoded = StepsBuilder::new().append("text", "!").read("text");
    let encoded = encoded.finish().unwrap();
    let answered = peer.ask(&Request::Operate(OperateRequest {
        digest: digest(key),
        steps: &encoded.codes,
        mode: PutMode::Merge,
        ttl: Ttl::Never,
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set: "",
        arguments: &encoded.arguments,
    }));
    let Answer::Operated(operated) = answered.decode() else {
        panic!("another answer");
    };
    let seen = BinList::parse(operated.bins).unwrap();
    let ValueRef::String(text) = seen.iter().next().unwrap().value().decode() else {
        panic!("another value");
    };
    assert_eq!(text.len(), (4 << 20) + 1);
    assert!(text.ends_with('!'));
}

/// Checks a long record that was appended to.
#[track_caller]
fn check_long(record: &[u8], key: u64) {
    let content = Content::parse(record).unwrap();
    let old = long(key);
    let old = Content::parse(&old).unwrap();
    let text = [old.get("text").unwrap().as_bytes(), b"!"].concat();
    assert!(content.get("text").unwrap().as_bytes() == text, "key {key}");
    assert!(content.get("bytes") == old.get("bytes"), "key {key}");
}

#[test]
fn records_of_the_most_bytes_are_written_appended_read_and_scanned() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    for key in KEYS {
        assert_eq!(peer.ask(&put(key, &long(key))).status(), Status::Ok);
        append(&mut peer, key);
    }
    let folder = node.kill();
    let node = Node::start_in(folder, &[BINARY], &SMALL);
    let mut peer = Peer::greet(&node);
    // All at once on one connection, small ones between them.
    let requests: Vec<u64> = KEYS.chain(KEYS).collect();
    let small = content("v", "small");
    assert_eq!(peer.ask(&put(1000, &small)).status(), Status::Ok);
    for (id, key) in (0..).zip(&requests) {
        assert!(peer.try_send(5000 + 2 * id, &get(*key)));
        assert!(peer.try_send(5001 + 2 * id, &get(1000)));
    }
    for _ in 0..requests.len() * 2 {
        let answered = peer.receive().unwrap();
        let Answer::Record(record) = answered.decode() else {
            panic!("another answer");
        };
        let id = answered.request() - 5000;
        match id % 2 {
            0 => check_long(record.content, requests[usize::try_from(id / 2).unwrap()]),
            _ => assert!(record.content.len() < 100),
        }
    }
    for key in KEYS {
        let partition = digest(key).partition();
        let answered = peer.ask(&Request::Scan(ScanRequest {
            partitions: PartitionList::new(&[partition]),
            resume: &[],
            set: None,
            selection: BinSelection::All,
            records_max: 0,
            payload_length_bytes_max: 0,
        }));
        let Answer::Page(page) = answered.decode() else {
            panic!("another answer");
        };
        let records: Vec<_> = page.records().collect();
        assert_eq!(records.len(), 1);
        check_long(records[0].content, key);
    }
    check_serves(&node);
}
