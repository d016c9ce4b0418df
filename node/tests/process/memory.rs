//! A node whose index is used up refuses new keys, does everything else, and loses nothing.

use corelith_wire::{Commit, DeleteRequest, Request, Status};

use crate::peer::{Answered, Peer, WAVE, content, digest, get, put};
use crate::running::{BINARY, Node, folder, run_to_end};

/// One core and two shards with little beside the plan's fixed parts: 4 MiB for the index.
const LITTLE: [&str; 8] = [
    "--size",
    "512M",
    "--cores",
    "1",
    "--shards",
    "2",
    "--memory-limit",
    "453M",
];

/// Statuses of many requests.
fn statuses(answers: &[Answered]) -> Vec<Status> {
    answers.iter().map(Answered::status).collect()
}

#[test]
fn a_full_index_refuses_new_keys_alone_and_loses_nothing() {
    let node = Node::start_with(&LITTLE);
    let mut peer = Peer::greet(&node);
    let small = content("v", "1");
    let mut there: Vec<u64> = Vec::new();
    let mut refused: Vec<u64> = Vec::new();
    while refused.len() < 600 {
        let first = u64::try_from(there.len() + refused.len()).unwrap();
        let keys: Vec<u64> = (first..).take(WAVE).collect();
        let answers = peer.ask_all(&keys, |key| put(key, &small));
        for (key, status) in keys.iter().zip(statuses(&answers)) {
            match status {
                Status::Ok => there.push(*key),
                Status::OutOfMemory => refused.push(*key),
                other => panic!("{other:?}"),
            }
        }
        assert!(first < 1_000_000, "more than the limit can hold");
    }
    assert!(there.len() > 50_000, "only {} keys", there.len());
    let index_bytes = node.metric("corelith_index_bytes", &[]);
    let limit_bytes = node.metric("corelith_index_limit_bytes", &[]);
    assert!(index_bytes < limit_bytes && index_bytes > limit_bytes * 0.8);
    assert!(node.metric("corelith_index_full", &[]) > 0.0);
    assert!(
        node.ready().1.contains("index_memory"),
        "{}",
        node.ready().1
    );
    assert!(node.log().contains("no memory for new keys"));

    // Overwrites and deletes go on, and then there is room again.
    let changed = content("v", "2");
    let are_ok = |answers: &[Answered]| statuses(answers).iter().all(|found| *found == Status::Ok);
    let (over, rest) = there.split_at(2_000);
    let (gone, rest) = rest.split_at(20_000);
    assert!(are_ok(&peer.ask_all(over, |key| put(key, &changed))));
    let delete = |key| {
        Request::Delete(DeleteRequest {
            digest: digest(key),
            expected_generation: None,
            commit: Commit::NamespaceDefault,
        })
    };
    assert!(are_ok(&peer.ask_all(gone, delete)));
    assert!(node.metric("corelith_index_full", &[]) < 1.0);
    assert!(are_ok(&peer.ask_all(&refused, |key| put(key, &small))));

    // After a crash every acknowledged row is there, with the same limit.
    let kept = node.kill();
    let node = Node::start_in(kept, &[BINARY], &LITTLE);
    let mut peer = Peer::greet(&node);
    let mut check = |keys: &[u64], value: Option<&str>| {
        for (key, answer) in keys.iter().zip(peer.ask_all(keys, get)) {
            assert_eq!(answer.value().as_deref(), value, "key {key}");
        }
    };
    check(over, Some("2"));
    check(gone, None);
    check(rest, Some("1"));
    check(&refused, Some("1"));
}

#[test]
fn a_plan_that_does_not_fit_is_a_table_with_its_remedy() {
    let folder = folder();
    let ended = run_to_end(folder.path(), &["--memory-limit", "64M", "--cores", "1"]);
    ended.check_failed(&[
        "memory plan does not fit",
        "288 MiB  buffers",
        "raise memory_limit",
        "or lower buffers_per_core",
    ]);
    assert!(
        !folder.path().join("corelith-data").exists(),
        "a volume was made"
    );
    let ended = run_to_end(
        folder.path(),
        &["--memory-limit", "1G", "--cores", "1", "--check"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    for part in [
        "of memory_limit 1024 MiB",
        "index of \"test\"",
        "288 MiB  buffers",
    ] {
        assert!(ended.text.contains(part), "{part}: {}", ended.text);
    }
}

/// The figure of the last "at least ... MiB" in a log.
fn said_to_be_enough(log: &str) -> String {
    let (_, said) = log.rsplit_once("--memory-limit) to at least ").unwrap();
    let (mebibytes, _) = said.split_once(" MiB").unwrap();
    format!("{mebibytes}M")
}

#[test]
fn the_limit_that_is_said_to_be_enough_is() {
    let folder = folder();
    // A volume that is there takes memory beside the one that would be made.
    let there = "[namespace.there]\nfile = \"there\"\nsize = \"512 MiB\"\nshards = 4\nrecord_cache = \"64 MiB\"\n";
    let new = "[namespace.new]\nsize = \"128 MiB\"\nstorage = \"memory\"\nshards = 1\n";
    let file = folder.path().join("corelithd.toml");
    std::fs::write(&file, there).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let mut node = Node::start_in(folder, &[BINARY], &["--config", &file]);
    assert_eq!(node.stop(), 0);
    let folder = node.kill();
    std::fs::write(&file, format!("{there}{new}")).unwrap();
    let little = ["--config", &file, "--memory-limit", "100M"];
    let mut said = [&["--check"][..], &[]].map(|more: &[&str]| {
        let refused = run_to_end(folder.path(), &[&little[..], more].concat());
        refused.check_failed(&["record_cache of \"there\"", "records of \"new\""]);
        said_to_be_enough(&refused.text)
    });
    assert_eq!(said[0], said[1], "a check and a start say the same");
    let enough = std::mem::take(&mut said[1]);
    let arguments = ["--config", &file, "--memory-limit", &enough];
    let checked = run_to_end(folder.path(), &[&arguments[..], &["--check"]].concat());
    assert_eq!(checked.code, Some(0), "{}", checked.text);
    let mut node = Node::start_in(folder, &[BINARY], &arguments);
    assert_eq!(node.stop(), 0);
}
