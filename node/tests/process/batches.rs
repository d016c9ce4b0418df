//! Batches over both cores: every row is answered, in the order of its key, within the answer's length.

use std::collections::HashMap;

use corelith_record::{Content, StepsBuilder, ValueRef};
use corelith_wire::limits::{BATCH_ROWS_MAX, PAYLOAD_LENGTH_BYTES_MAX};
use corelith_wire::{
    Answer, BatchRequest, BatchRows, BinSelection, Commit, DeleteRequest, FrameEncoder, GetRequest,
    OperateRequest, PutMode, PutRequest, Request, Status, Ttl,
};

use crate::peer::{Answered, Peer, check_serves, content, digest, get, put};
use crate::running::Node;

/// The frames of rows.
pub(crate) fn rows<'a>(requests: impl IntoIterator<Item = Request<'a>>) -> Vec<u8> {
    let mut encoder = FrameEncoder::new();
    let mut rows = Vec::new();
    for (number, request) in (0..).zip(requests) {
        encoder.batch_row(&mut rows, number, &request).unwrap();
    }
    rows
}

pub(crate) fn batch(rows: &[u8]) -> Request<'_> {
    Request::Batch(BatchRequest {
        rows: BatchRows::new(rows),
    })
}

/// What became of one row: its status, and the text or number that it read.
type Seen = (Status, Option<String>);

fn seen(answer: &Answer<'_>) -> Seen {
    let first = |value: ValueRef<'_>| match value {
        ValueRef::String(text) => text.to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let read = match answer {
        Answer::Record(record) if !record.content.is_empty() => {
            let content = Content::parse(record.content).unwrap();
            content
                .bins()
                .iter()
                .next()
                .map(|bin| first(bin.value().decode()))
        }
        Answer::Operated(operated) => {
            let list = corelith_record::BinList::parse(operated.bins).unwrap();
            list.iter().next().map(|bin| first(bin.value().decode()))
        }
        _ => None,
    };
    (answer.status().0, read)
}

/// Asks for a batch; what became of each row, in their order.
#[track_caller]
fn ask(peer: &mut Peer, rows: &[u8]) -> Vec<Seen> {
    let answered = peer.ask(&batch(rows));
    let by_row = by_row(&answered);
    let count = BatchRows::new(rows).iter().count();
    assert_eq!(by_row.len(), count, "one answer for each row");
    (0..count).map(|row| by_row[&row].clone()).collect()
}

#[track_caller]
fn by_row(answered: &Answered) -> HashMap<usize, Seen> {
    let Answer::Batch(answers) = answered.decode() else {
        panic!("{:?}", answered.decode());
    };
    assert!(answers.as_bytes().len() <= PAYLOAD_LENGTH_BYTES_MAX as usize);
    let mut by_row = HashMap::new();
    for row in answers.iter() {
        let answer = Answer::decode(&row.header, row.body).unwrap();
        let before = by_row.insert(row.number(), seen(&answer));
        assert_eq!(before, None, "row {} twice", row.number());
    }
    by_row
}

fn ok(text: impl Into<Option<&'static str>>) -> Seen {
    (Status::Ok, text.into().map(str::to_owned))
}

fn delete<'a>(key: u64) -> Request<'a> {
    Request::Delete(DeleteRequest {
        digest: digest(key),
        expected_generation: None,
        commit: Commit::NamespaceDefault,
    })
}

#[test]
fn every_row_of_every_core_is_answered() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    let texts: Vec<Vec<u8>> = (0..BATCH_ROWS_MAX)
        .map(|key| content("v", &format!("text {key}")))
        .collect();
    let puts = rows((0..).zip(&texts).map(|(key, text)| put(key, text)));
    assert!(ask(&mut peer, &puts).iter().all(|seen| *seen == ok(None)));
    // Every second one is there.
    let gets = rows((0..1024).map(|key| get(key * 2)));
    for (row, seen) in ask(&mut peer, &gets).into_iter().enumerate() {
        let expected = if row < 512 {
            (Status::Ok, Some(format!("text {}", row * 2)))
        } else {
            (Status::NotFound, None)
        };
        assert_eq!(seen, expected, "row {row}");
    }
    let metadata = rows((0..100).map(|key| {
        Request::Get(GetRequest {
            digest: digest(key),
            selection: BinSelection::MetadataOnly,
        })
    }));
    assert_eq!(ask(&mut peer, &metadata), vec![ok(None); 100]);
    assert_eq!(node.metric("corelith_batch_rows_total", &[]), 2148.0);
    let operations = |operation: &str| {
        let label = format!("operation=\"{operation}\"");
        node.metric("corelith_operations_total", &[&label])
    };
    assert_eq!((operations("batch"), operations("put")), (3.0, 1024.0));
    for core in ["core=\"0\"", "core=\"1\""] {
        let puts = node.metric("corelith_operations_total", &["operation=\"put\"", core]);
        assert_eq!(puts, 512.0, "{core}");
    }
    check_serves(&node);
}

/// Writes of one key share batches of the log; a read waits for those before it and holds back those behind.
#[test]
fn rows_of_one_key_run_in_their_order() {
    check_order(&Node::start());
}

/// A row from memory is answered without a look at who else is under way: those of its key are not among them.
#[test]
fn so_they_do_where_records_come_from_memory() {
    let node = Node::start_small(&["--record-cache", "64M"]);
    check_order(&node);
    assert!(node.metric("corelith_record_cache_hits_total", &[]) > 0.0);
}

fn check_order(node: &Node) {
    let mut peer = Peer::greet(node);
    let steps = StepsBuilder::new().add("n", 1).read("n").finish().unwrap();
    let count = |key, set| {
        Request::Operate(OperateRequest {
            digest: digest(key),
            steps: &steps.codes,
            mode: PutMode::Merge,
            ttl: Ttl::NamespaceDefault,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
            set,
            arguments: &steps.arguments,
        })
    };
    for round in 0..5 {
        let set = format!("set {round}");
        let (one, two) = (content("v", "one"), content("v", "two"));
        let in_new_set = |key| {
            Request::Put(PutRequest {
                digest: digest(key),
                mode: PutMode::CreateOnly,
                ttl: Ttl::NamespaceDefault,
                expected_generation: None,
                commit: Commit::NamespaceDefault,
                set: &set,
                content: &one,
            })
        };
        // Ten rows a key, one key's among the other keys'.
        let keys = 1000 * round..1000 * round + 100;
        let mut requests: Vec<Request<'_>> = Vec::new();
        requests.extend(keys.clone().map(in_new_set));
        requests.extend(keys.clone().map(delete));
        requests.extend(keys.clone().map(get));
        requests.extend(keys.clone().map(|key| put(key, &one)));
        requests.extend(keys.clone().map(get));
        requests.extend(keys.clone().map(|key| put(key, &two)));
        requests.extend(keys.clone().map(get));
        requests.extend(keys.clone().map(delete));
        requests.extend(keys.clone().map(|key| count(key, "")));
        requests.extend(keys.clone().map(|key| count(key, "")));
        let answers = ask(&mut peer, &rows(requests));
        let expected = [
            ok(None),
            ok(None),
            (Status::NotFound, None),
            ok(None),
            ok("one"),
            ok(None),
            ok("two"),
            ok(None),
            ok("1"),
            ok("2"),
        ];
        for (row, seen) in answers.iter().enumerate() {
            assert_eq!(*seen, expected[row / 100], "round {round}, row {row}");
        }
    }
    // A thousand counts of one key.
    let counts = rows((0..1000).map(|_| count(999_999, "")));
    for (row, seen) in ask(&mut peer, &counts).into_iter().enumerate() {
        assert_eq!(seen, (Status::Ok, Some((row + 1).to_string())));
    }
}

#[test]
fn an_answer_that_has_no_room_for_a_row_says_so_and_that_row_is_not_carried_out() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    let large = "x".repeat(1 << 20);
    for key in 0..20 {
        assert_eq!(peer.put(key, &large), Status::Ok);
    }
    assert_eq!(peer.put(100, "small"), Status::Ok);
    let read_and_write = StepsBuilder::new()
        .read("v")
        .write("w", 1)
        .finish()
        .unwrap();
    let operate = |key| {
        Request::Operate(OperateRequest {
            digest: digest(key),
            steps: &read_and_write.codes,
            mode: PutMode::Merge,
            ttl: Ttl::NamespaceDefault,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
            set: "",
            arguments: &read_and_write.arguments,
        })
    };
    let requests = (0..10)
        .map(get)
        .chain((10..20).map(operate))
        .chain([get(100)]);
    let answers = ask(&mut peer, &rows(requests));
    let of = |wanted| answers.iter().filter(|seen| seen.0 == wanted).count();
    assert_eq!(of(Status::Ok) + of(Status::BatchFull), 21, "{answers:?}");
    // Half a core's share of 8 MiB is lost at most where it does not divide by a record.
    assert!(
        (6..=8).contains(&(of(Status::Ok) - 1)),
        "{}",
        of(Status::Ok)
    );
    assert_eq!(answers[20], ok("small"), "one that is small has room");
    for (key, seen) in (10..20).zip(&answers[10..20]) {
        let metadata = peer.ask(&Request::Get(GetRequest {
            digest: digest(key),
            selection: BinSelection::MetadataOnly,
        }));
        let Answer::Record(record) = metadata.decode() else {
            panic!("{:?}", metadata.decode());
        };
        let expected = if seen.0 == Status::Ok { 2 } else { 1 };
        assert_eq!(record.metadata.generation.get(), expected, "key {key}");
        // By itself it is answered.
        assert_eq!(peer.ask(&get(key)).status(), Status::Ok);
    }
}

#[test]
fn what_is_wrong_refuses_its_row_or_the_whole() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    let text = content("v", "well");
    let mut mixed = rows([
        put(1, &text),
        Request::Ping,
        put(2, b"no content"),
        get(1),
        put(3, &text),
        delete(4),
    ]);
    // The table of the fifth row is damaged: its first word leads nowhere.
    let starts: Vec<usize> = BatchRows::new(&mixed)
        .iter()
        .scan(0, |at, row| {
            let start = *at;
            *at += row.frame.len();
            Some(start)
        })
        .collect();
    mixed[starts[4] + 32..][..4].fill(0xff);
    let statuses: Vec<Status> = ask(&mut peer, &mixed).iter().map(|seen| seen.0).collect();
    let expected = [
        Status::Ok,
        Status::Unsupported,
        Status::Malformed,
        Status::Ok,
        Status::Malformed,
        Status::NotFound,
    ];
    assert_eq!(statuses, expected);
    assert_eq!(peer.get(3), None);
    // A row that is cut off: nothing of the batch is begun.
    let whole = rows([put(5, &text), put(6, &text)]);
    let cut = batch(&whole[..whole.len() - 8]);
    assert_eq!(peer.ask(&cut).status(), Status::Malformed);
    assert_eq!(peer.get(5), None);
    let frame = peer.frame_to(9, &batch(&whole));
    peer.send(&frame);
    let answered = peer.receive().unwrap();
    assert_eq!(answered.status(), Status::UnknownNamespace);
    check_serves(&node);
}

/// A batch counts as many requests as it has rows: with one of the most there is room for no other.
#[test]
fn rows_count_as_requests_in_flight() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    let text = content("v", "well");
    // All of one key, whose writes wait for each other's place.
    let most = rows((0..1024).map(|_| put(1, &text)));
    let one = rows([get(2)]);
    loop {
        let frames = [peer.frame(&batch(&most)), peer.frame(&batch(&one))].concat();
        peer.send(&frames);
        let mut statuses: Vec<Status> = (0..2).map(|_| peer.receive().unwrap().status()).collect();
        statuses.sort_by_key(|status| status.number());
        assert_eq!(statuses[0], Status::Ok);
        // Until it happens that the second comes while the first is under way.
        if statuses[1] == Status::Busy {
            break;
        }
        assert_eq!(statuses[1], Status::Ok);
    }
    let again = ask(&mut peer, &one);
    assert_eq!(again, [(Status::NotFound, None)]);
}
