//! Single records, scans, counters and pings against a node in memory.

use corelith_client::mock::{Fault, MockNode};
use corelith_client::{Damage, Key, KnownDigest, Status, digest_of};
use corelith_index::ScanPosition;
use corelith_wire::MessageKind;
use serde_json::json;

use crate::tool::{Ended, run, run_with};

/// Runs a command against a node.
fn ask(node: &MockNode, arguments: &[&str]) -> Ended {
    let address = node.address().to_string();
    let arguments = [arguments, &["--host", &address]].concat();
    run(&std::env::temp_dir(), &arguments)
}

#[test]
fn a_record_from_put_to_delete() {
    let node = MockNode::start();
    let put = ask(
        &node,
        &[
            "put",
            "alice",
            "city=Berlin",
            "age=31",
            "zip:string=10115",
            "tags:json=[1,{\"x\":null}]",
        ],
    );
    assert_eq!(put.check_done(), "written, generation 1\n");
    let got = ask(&node, &["get", "alice", "--json"]).json();
    assert_eq!(
        got["bins"],
        json!({"city": "Berlin", "age": 31, "zip": "10115", "tags": [1, {"x": null}]})
    );
    assert_eq!(
        (&got["key"], &got["generation"], &got["ttl_s"]),
        (&json!("alice"), &json!(1), &json!(null))
    );
    assert_eq!(got["digest"].as_str().unwrap().len(), 40);

    let text = ask(&node, &["get", "alice"]);
    let text = text.check_done();
    assert!(text.starts_with("generation 1, updated 20"), "{text}");
    assert!(text.contains("  city = \"Berlin\"\n  age = 31\n"), "{text}");
    let bins = ask(&node, &["get", "alice", "--bins", "age,none", "--json"]).json();
    assert_eq!(bins["bins"], json!({"age": 31}));
    let metadata = ask(&node, &["get", "alice", "--metadata", "--json"]).json();
    assert_eq!(metadata.get("bins"), None);
    assert_eq!(
        metadata["updated_at"],
        json!(null),
        "the index does not keep it"
    );
    let text = ask(&node, &["get", "alice", "--metadata"]);
    let text = text.check_done();
    assert!(!text.contains("updated"), "{text}");
    assert_eq!(metadata["generation"], 1);

    // Bins join the record; nil removes one.
    assert_eq!(
        ask(&node, &["put", "alice", "city:nil=", "age=32", "--json"]).json()["generation"],
        2
    );
    let got = ask(&node, &["get", "alice", "--bins", "city,age", "--json"]).json();
    assert_eq!(got["bins"], json!({"age": 32}));
    assert_eq!(ask(&node, &["put", "alice", "only=1", "--replace"]).code, 0);
    assert_eq!(
        ask(&node, &["get", "alice", "--json"]).json()["bins"],
        json!({"only": 1})
    );

    assert_eq!(ask(&node, &["delete", "alice"]).check_done(), "deleted\n");
    ask(&node, &["get", "alice"]).check_failed(3, &["there is no record \"alice\""]);
    ask(&node, &["delete", "alice"]).check_failed(3, &["there is no record"]);
    ask(&node, &["touch", "alice"]).check_failed(3, &["there is no record"]);
    assert_eq!(node.record_count(), 0);
}

#[test]
fn a_set_s_name_that_is_too_long_is_refused_before_it_is_sent() {
    let node = MockNode::start();
    let long = "s".repeat(64);
    let sent = [
        &["put", "a", "x=1"][..],
        &["get", "a"],
        &["delete", "a"],
        &["scan"],
        &["truncate", "--yes"],
    ];
    for command in sent {
        let ended = ask(&node, &[command, &["--set", &long]].concat());
        assert_eq!(ended.code, 2, "{ended:?}");
        for words in ["--set", "at most 63 bytes, and this one has 64"] {
            assert!(ended.stderr.contains(words), "{ended:?}");
        }
    }
    let longest = &long[1..];
    ask(&node, &["put", "a", "x=1", "--set", longest]).check_done();
    ask(&node, &["get", "a", "--set", longest]).check_done();
    let nameless = ask(&node, &["truncate", "--yes", "--set", ""]);
    assert_eq!(nameless.code, 2, "{nameless:?}");
    assert!(
        nameless.stderr.contains("give the name of a set"),
        "{nameless:?}"
    );
}

#[test]
fn conditions() {
    let node = MockNode::start();
    ask(&node, &["put", "a", "x=1", "--update-only"])
        .check_failed(3, &["there is no record \"a\"", "--namespace"]);
    ask(&node, &["put", "a", "x=1", "--create-only"]).check_done();
    ask(&node, &["put", "a", "x=1", "--create-only"]).check_failed(1, &["exists", "--create-only"]);
    ask(&node, &["put", "a", "x=2", "--generation", "1"]).check_done();
    ask(&node, &["put", "a", "x=3", "--generation", "1"])
        .check_failed(1, &["generation 2, not 1", "read it again"]);
    ask(&node, &["delete", "a", "--generation", "1"]).check_failed(1, &["generation 2, not 1"]);
    assert_eq!(
        ask(&node, &["get", "a", "--json"]).json()["bins"],
        json!({"x": 2})
    );
}

#[test]
fn a_record_is_there_or_not() {
    let node = MockNode::start();
    ask(&node, &["exists", "a"]).check_failed(3, &["there is no record \"a\""]);
    ask(&node, &["put", "a", "x=1", "--replace-only"])
        .check_failed(3, &["there is no record \"a\""]);
    ask(&node, &["put", "a", "x=1", "y=2"]).check_done();
    ask(&node, &["exists", "a"]).check_done();
    let there = ask(&node, &["exists", "a", "--json"]).json();
    assert_eq!(there, json!({"exists": true}));
    ask(&node, &["put", "a", "z=3", "--replace-only"]).check_done();
    ask(&node, &["put", "a", "z=4", "--replace", "--update-only"]).check_done();
    let got = ask(&node, &["get", "a", "--json"]).json();
    assert_eq!(
        (&got["bins"], &got["generation"]),
        (&json!({"z": 4}), &json!(3))
    );
}

#[test]
fn several_records_at_once() {
    let node = MockNode::start();
    for (key, city) in [("anna", "Bern"), ("ben", "Oslo"), ("carl", "Rome")] {
        ask(&node, &["put", key, &format!("city={city}")]).check_done();
    }
    let got = ask(&node, &["get", "carl", "anna", "--json"]).json_lines();
    assert_eq!(
        (&got[0]["key"], &got[1]["key"]),
        (&json!("carl"), &json!("anna"))
    );
    assert_eq!(got[0]["bins"], json!({"city": "Rome"}));
    let text = ask(&node, &["get", "anna", "ben", "--bins", "city"]);
    let text = text.check_done();
    assert!(text.contains("\"anna\": generation 1"), "{text}");
    assert!(text.contains("  city = \"Oslo\"\n"), "{text}");

    // What is not there is told, and the others come all the same.
    let got = ask(&node, &["get", "nobody", "ben"]);
    got.check_failed(
        3,
        &[
            "there is no record \"nobody\"",
            "1 of 2 records are not there",
        ],
    );
    assert!(got.stdout.starts_with("\"ben\": generation 1"), "{got:?}");
    let there = ask(&node, &["exists", "anna", "nobody", "--json"]);
    assert_eq!(there.code, 3);
    let lines: Vec<&str> = there.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "{\"key\":\"anna\",\"exists\":true}",
            "{\"key\":\"nobody\",\"exists\":false}"
        ]
    );
    ask(&node, &["exists", "anna", "ben"]).check_done();

    let address = node.address().to_string();
    let from_stdin = |command: &[&str], input: &str| {
        let arguments = [command, &["--keys", "-", "--host", &address]].concat();
        run_with(&std::env::temp_dir(), &arguments, input)
    };
    assert_eq!(
        from_stdin(&["get", "--json"], "ben\ncarl\n\n")
            .json_lines()
            .len(),
        2
    );
    assert_eq!(from_stdin(&["exists"], "").check_done(), "");
    node.inject(MessageKind::Delete, Fault::Refuse(Status::Damaged, 0));
    let deleted = from_stdin(&["delete", "--json"], "anna\nnobody\nben\n");
    deleted.check_failed(2, &["\"anna\"", "1 of 3 keys failed"]);
    let lines: Vec<&str> = deleted.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "{\"key\":\"nobody\",\"deleted\":false}",
            "{\"key\":\"ben\",\"deleted\":true}"
        ]
    );
    assert_eq!(
        ask(&node, &["delete", "anna", "carl"]).check_done(),
        "\"anna\" deleted\n\"carl\" deleted\n"
    );
    assert_eq!(node.record_count(), 0);
    ask(&node, &["delete", "a", "b", "--generation", "1"]).check_failed(1, &["one by one"]);
    ask(&node, &["get", "--keys", "no such file"])
        .check_failed(1, &["no such file", "standard input"]);
}

/// A mistyped flag was once taken for the key.
#[test]
fn what_begins_with_a_hyphen_is_a_number_or_a_flag() {
    let node = MockNode::start();
    ask(&node, &["put", "-17", "x=1", "--key-type", "integer"]).check_done();
    let got = ask(&node, &["get", "-17", "--key-type", "integer", "--json"]).json();
    assert_eq!(got["key"], json!(-17));
    ask(&node, &["exists", "-17", "-17", "--key-type", "integer"]).check_done();
    for command in ["get", "exists", "delete", "touch"] {
        let wrong = ask(&node, &[command, "--host-name", "alice"]);
        assert_eq!(wrong.code, 2, "{wrong:?}");
        assert!(wrong.stderr.contains("--host-name"), "{wrong:?}");
        assert!(wrong.stderr.contains("'--host'"), "{wrong:?}");
    }
    let address = node.address().to_string();
    let in_folder = |arguments: &[&str]| run(&std::env::temp_dir(), arguments);
    in_folder(&["put", "--host", &address, "--", "-x", "a=1"]).check_done();
    in_folder(&["get", "--host", &address, "--", "-x", "-x"]).check_done();
}

#[test]
fn steps_on_a_record() {
    let node = MockNode::start();
    ask(&node, &["operate", "a", "read", "n"]).check_failed(3, &["there is no record"]);
    let first = ask(
        &node,
        &["operate", "a", "add", "n=2", "append", "s=7", "read", "n"],
    );
    assert_eq!(first.check_done(), "generation 1\n  n = 2\n");
    let line = [
        "operate", "a", "prepend", "s=x", "read", "s", "read-all", "metadata", "--json",
    ];
    let done = ask(&node, &line).json();
    let reads = json!([{"s": "x7"}, {"n": 2, "s": "x7"}, {}]);
    assert_eq!(done, json!({"generation": 2, "reads": reads}));
    ask(&node, &["operate", "a", "write", "n=9", "add", "s=1"])
        .check_failed(1, &["does not fit", "nothing was changed"]);
    ask(&node, &["operate", "a", "add"]).check_failed(2, &["needs a bin", "--help"]);
    let gone = ask(&node, &["operate", "a", "read", "n", "delete"]);
    assert_eq!(gone.check_done(), "the record is no more\n  n = 2\n");
    ask(&node, &["operate", "a", "add", "n=1", "--update-only"]).check_failed(3, &[]);
    assert_eq!(node.record_count(), 0);
}

#[test]
fn keys_of_different_types_are_different_keys() {
    let node = MockNode::start();
    ask(&node, &["put", "17", "is=string"]).check_done();
    ask(&node, &["put", "17", "--key-type", "integer", "is=integer"]).check_done();
    ask(
        &node,
        &["put", "-17", "--key-type", "integer", "is=negative"],
    )
    .check_done();
    ask(&node, &["put", "AAE=", "--key-type", "bytes", "is=bytes"]).check_done();
    ask(&node, &["put", "17", "--set", "s", "is=set"]).check_done();
    assert_eq!(node.record_count(), 5);
    let is = |arguments: &[&str]| {
        let got = ask(&node, &[&["get", "--json"], arguments].concat()).json();
        (got["key"].clone(), got["bins"]["is"].clone())
    };
    assert_eq!(is(&["17"]), (json!("17"), json!("string")));
    assert_eq!(
        is(&["17", "--key-type", "integer"]),
        (json!(17), json!("integer"))
    );
    assert_eq!(
        is(&["-17", "--key-type", "integer"]),
        (json!(-17), json!("negative"))
    );
    assert_eq!(
        is(&["AAE=", "--key-type", "bytes"]),
        (json!({"$bytes": "AAE="}), json!("bytes"))
    );
    assert_eq!(is(&["17", "--set", "s"]), (json!("17"), json!("set")));
    ask(&node, &["get", "x", "--key-type", "integer"])
        .check_failed(1, &["not of the type integer"]);
}

#[test]
fn times_to_live() {
    let node = MockNode::start();
    ask(&node, &["put", "a", "x=1", "--ttl", "10m"]).check_done();
    let ttl_s = ask(&node, &["get", "a", "--json"]).json()["ttl_s"]
        .as_u64()
        .unwrap();
    assert!((590..=600).contains(&ttl_s), "{ttl_s}");
    assert_eq!(
        ask(&node, &["touch", "a", "--ttl", "never", "--json"]).json()["generation"],
        2
    );
    assert_eq!(
        ask(&node, &["get", "a", "--json"]).json()["ttl_s"],
        json!(null)
    );
}

#[test]
fn scans() {
    let node = MockNode::start();
    for (key, set) in [("a", "s"), ("b", "s"), ("c", "")] {
        ask(
            &node,
            &["put", key, "--set", set, "x=1", "y=2", "--store-key"],
        )
        .check_done();
    }
    ask(&node, &["put", "d", "x=1"]).check_done();
    let keys = |arguments: &[&str]| {
        let lines = ask(&node, &[&["scan", "--json"], arguments].concat()).json_lines();
        let mut keys: Vec<String> = lines.iter().map(|line| line["key"].to_string()).collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(keys(&[]), r#""a" "b" "c" null"#);
    assert_eq!(keys(&["--set", "s"]), r#""a" "b""#);
    assert_eq!(keys(&["--set", ""]), r#""c" null"#);
    assert_eq!(
        ask(&node, &["scan", "--limit", "2"])
            .check_done()
            .lines()
            .count(),
        2
    );
    assert_eq!(ask(&node, &["scan", "--limit", "0"]).check_done(), "");
    let line = &ask(
        &node,
        &[
            "scan", "--set", "s", "--bins", "y", "--limit", "1", "--json",
        ],
    )
    .json_lines()[0];
    assert_eq!(
        (&line["bins"], &line["set"]),
        (&json!({"y": 2}), &json!("s"))
    );
    for (set, said) in [
        (&["--set", "t"][..], "of the set \"t\" in the namespace"),
        (
            &["--set", "t", "--namespace", "test"],
            "of the set \"t\" in the namespace \"test\"",
        ),
    ] {
        let scan = [&["scan"], set].concat();
        ask(&node, &scan).check_nothing(&format!("there are no records {said}"));
        let for_programs = [&scan[..], &["--json"]].concat();
        assert_eq!(ask(&node, &for_programs).check_done(), "");
    }
    let text = ask(&node, &["scan", "--set", "s"]);
    let mut lines: Vec<&str> = text.check_done().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [r#""a" {"x":1,"y":2}"#, r#""b" {"x":1,"y":2}"#]);
    let text = ask(&node, &["scan", "--set", "", "--bins", "x"]);
    assert!(
        text.stdout
            .lines()
            .any(|line| line.starts_with('[') && line.ends_with(r#"] {"x":1}"#)),
        "{text:?}"
    );
}

#[test]
fn damaged_records_are_told_and_the_others_read() {
    let node = MockNode::start();
    for key in ["a", "b", "c", "d"] {
        ask(&node, &["put", key, "--set", "s", "x=1", "--store-key"]).check_done();
    }
    let digest = |key: &str| digest_of("s", &Key::from(key).as_key_ref().unwrap());
    assert!(node.damage("test", digest("a"), Damage::Content));
    assert!(node.damage("test", digest("b"), Damage::Header));
    let whole = digest("a").to_string();
    let part = KnownDigest::of_position(digest("b").partition(), ScanPosition::of(&digest("b")));
    let words = [
        &*format!("in set \"s\", the record {whole} is damaged: its content"),
        &*format!("in set \"s\", the record {part} is damaged: its header"),
        "corelith: 2 records are damaged and were left out\n",
    ];
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let ended = ask(&node, &["scan"]);
    ended.check_failed(2, &words);
    assert_eq!(sorted(&ended.stdout), [r#""c" {"x":1}"#, r#""d" {"x":1}"#]);
    for format in ["jsonl", "csv"] {
        let ended = ask(&node, &["export", "--format", format]);
        ended.check_failed(2, &words);
        // Once each, though CSV reads twice.
        assert_eq!(ended.stderr.matches("is damaged").count(), 2, "{ended:?}");
        let header = usize::from(format == "csv");
        assert_eq!(ended.stdout.lines().count(), 2 + header, "{ended:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    let ended = ask(
        &node,
        &["export", "--json", "--output", file.to_str().unwrap()],
    );
    ended.check_failed(2, &words);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(summary, json!({"records": 2, "damaged": 2}));
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 2);

    ask(&node, &["get", "a", "--set", "s"]).check_failed(1, &["damaged"]);
    ask(&node, &["put", "a", "--set", "s", "x=2", "--replace"]).check_done();
    ask(&node, &["delete", "b", "--set", "s"]).check_done();
    let text = ask(&node, &["scan"]).check_done().to_owned();
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn pings_and_counters() {
    let node = MockNode::start();
    let pong = ask(&node, &["ping", "--json"]).json();
    assert_eq!(pong["namespaces"], json!(["test"]));
    assert_eq!(pong["address"], node.address().to_string());
    assert!(
        ask(&node, &["hello"])
            .check_done()
            .contains("namespaces: test")
    );
    let text = ask(&node, &["stats", "--raw"]).check_done().to_owned();
    let object = ask(&node, &["stats", "--json"]).json();
    let first = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let (name, value) = first.rsplit_once(' ').unwrap();
    assert_eq!(object[name].to_string(), value);
}

#[test]
fn a_node_that_is_not_there_is_told_from_one_that_refuses() {
    let mut node = MockNode::start();
    ask(&node, &["get", "a", "--namespace", "none"])
        .check_failed(1, &["no namespace \"none\"", "--namespace: test"]);
    node.inject(MessageKind::Put, Fault::CloseAfter);
    ask(&node, &["put", "a", "x=1"]).check_failed(2, &["in doubt", "read the record"]);
    node.inject(MessageKind::Put, Fault::Refuse(Status::OutOfSpace, 0));
    ask(&node, &["put", "a", "x=1"]).check_failed(1, &["the volume is full", "deletes work"]);
    node.stop();
    ask(&node, &["get", "a"]).check_failed(2, &["no connection", "--host"]);
}

#[test]
fn usage() {
    let folder = std::env::temp_dir();
    for arguments in [
        &["put", "a"][..],
        &["put", "a", "x"],
        &["put", "a", "x:int=1"],
        &["put", "a", "x=1", "--ttl", "1.5h"],
        &["put", "a", "x=1", "--create-only", "--replace"],
        &["put", "a", "x=1", "--generation", "0"],
        &["get", "a", "--bins", "x", "--metadata"],
        &["nonsense"],
        &["load", "f.csv"],
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {ended:?}"
        );
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
    for command in [
        "",
        "volume create",
        "put",
        "exists",
        "operate",
        "load",
        "export",
        "scan",
        "stats",
    ] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = run(&folder, &arguments);
        assert!(help.check_done().contains("Examples:"), "{command}");
    }
}
