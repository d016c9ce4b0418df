//! Backup and restore against real nodes: taken under writes, killed, gone on with, checked, and restored into
//! a node with other shards; every record compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use corelith_client::mock::{Fault, MockNode};
use corelith_client::{Client, ClientOptions, ScanOptions, Scanned};
use corelith_tools::backup::reader::BackupReader;
use corelith_wire::MessageKind;
use serde_json::{Value, json};

use crate::node::Node;
use crate::tool::{Ended, run, start};

/// What a restore must bring back of a record, beside the time when it expires.
type Kept = (String, Vec<u8>);

/// All records of a node by digest, and when they expire.
fn records_of(node: &Node) -> BTreeMap<String, (Kept, Option<SystemTime>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = ClientOptions {
            timeout: Duration::from_secs(10),
            ..ClientOptions::default()
        };
        let client = Client::connect(&node.address(), options).await.unwrap();
        let mut scan = client.namespace("test").scan(ScanOptions::default());
        let mut found = BTreeMap::new();
        while let Some(scanned) = scan.next().await.unwrap() {
            let Scanned::Record(record) = scanned else {
                panic!("{scanned:?}")
            };
            let content = record.record.content_bytes().to_vec();
            let kept = (record.set.to_string(), content);
            let is_new = found.insert(
                record.digest.to_string(),
                (kept, record.record.expires_at()),
            );
            assert!(is_new.is_none(), "twice: {}", record.digest);
        }
        found
    })
}

/// Rows of every kind of value and of many lengths.
fn rows(count: u32) -> String {
    let row = |number: u32| match number % 5 {
        0 => {
            json!({"id": number, "name": format!("name {number}"), "ratio": f64::from(number) / 7.0})
        }
        1 => json!({"id": number, "code": {"$bytes": "AAECAw=="}, "is_odd": true, "none": null}),
        2 => {
            json!({"id": number, "list": [number, "x", [1.5, false]], "text": "y".repeat(number as usize % 3000)})
        }
        3 => json!({"id": number, "map": {"$map": [[1, "one"], ["two", {"a": [null]}]]}}),
        _ => {
            json!({"id": number, "place": {"$geojson": "{\"type\":\"Point\",\"coordinates\":[1,2]}"},
                    "nan": {"$double": "NaN"}, "hll": {"$hyperloglog": "AAE="}})
        }
    };
    (0..count)
        .map(|number| format!("{}\n", row(number)))
        .collect()
}

fn fill(node: &Node) {
    node.write("rows.jsonl", &rows(4000));
    let load = ["load", "rows.jsonl", "--key", "id"];
    node.ask(
        &[
            &load[..],
            &["--key-type", "integer", "--set", "rows", "--store-key"],
        ]
        .concat(),
    )
    .check_done();
    node.ask(&[&load[..], &["--ttl", "30d", "--rows", "500"]].concat())
        .check_done();
    node.ask(&["put", "AAE=", "--key-type", "bytes", "x=1", "--store-key"])
        .check_done();
}

fn length_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Compares two nodes, as far as a restore brings records back, those of the set `moving` left out.
fn check_alike(one: &Node, other: &Node) {
    let is_still = |(_, ((set, _), _)): &(String, (Kept, Option<SystemTime>))| set != "moving";
    let one: BTreeMap<_, _> = records_of(one).into_iter().filter(is_still).collect();
    let other: BTreeMap<_, _> = records_of(other).into_iter().filter(is_still).collect();
    assert_eq!(one.len(), other.len());
    for (digest, (kept, expiry)) in &one {
        let (found, found_expiry) = &other[digest];
        assert!(kept == found, "{digest}");
        assert_eq!(expiry.is_some(), found_expiry.is_some(), "{digest}");
        if let (Some(expiry), Some(found)) = (expiry, found_expiry) {
            let apart = expiry.duration_since(*found);
            let apart = apart.unwrap_or_else(|error| error.duration());
            // A second is rounded off; the rest is what a loaded machine takes for one put.
            assert!(apart <= Duration::from_secs(120), "{digest}: {apart:?}");
        }
    }
}

#[test]
fn a_killed_backup_is_gone_on_with_and_restored_to_other_shards() {
    let node = Node::start(&[]);
    fill(&node);
    let folder = node.folder();
    let address = node.address();
    let unfinished = folder.join("all.backup.unfinished");
    // Slow enough to be met in its middle: the records are some MiB.
    let backup = ["backup", "--output", "all.backup", "--host", &address];
    let mut child = start(folder, &[&backup[..], &["--rate", "1M"]].concat());
    let mut writes = 0;
    while length_of(&unfinished) < 100_000 {
        assert_eq!(child.try_wait().unwrap(), None, "it was to be slow");
        let key = (writes % 50).to_string();
        node.ask(&["put", &key, "--set", "moving", "x=1"])
            .check_done();
        writes += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.join("all.backup").exists());
    // What a power cut does to the end.
    let torn = length_of(&unfinished) - 10;
    std::fs::File::options()
        .write(true)
        .open(&unfinished)
        .unwrap()
        .set_len(torn)
        .unwrap();
    run(folder, &["backup", "verify", "all.backup.unfinished"]).check_failed(
        1,
        &["all.backup.unfinished: it ends at byte", "run the same"],
    );
    run(folder, &[&backup[..], &["--set", "rows"]].concat())
        .check_failed(1, &["was begun for another", "--output"]);

    let made = node
        .ask(&["backup", "--output", "all.backup", "--json"])
        .json();
    assert_eq!(made["resumed"], true);
    assert!(!unfinished.exists());
    node.ask(&["backup", "--output", "all.backup"])
        .check_failed(1, &["is there already"]);
    let verified = run(folder, &["backup", "verify", "all.backup", "--json"]).json();
    assert_eq!(verified["records"], made["records"]);
    assert_eq!(
        (&verified["namespace"], &verified["set"]),
        (&json!("test"), &Value::Null)
    );

    // A node with four shards, where the first had eight. A restore is killed there, too.
    let other = Node::start(&["a"]);
    let file = folder.join("all.backup");
    let file = file.to_str().unwrap();
    let slow = ["--journal", "journal", "--rate", "1M", "--in-flight", "32"];
    let address = other.address();
    let restore = ["restore", file, "--host", &address, "--json"];
    let mut child = start(other.folder(), &[&restore[..], &slow].concat());
    let journal = other.folder().join("journal");
    while length_of(&journal) < 2000 {
        assert_eq!(child.try_wait().unwrap(), None, "it was to be slow");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let counts = other
        .ask(&["restore", file, "--journal", "journal", "--json"])
        .json();
    assert!(counts["skipped"].as_u64().unwrap() > 0, "{counts}");
    let sum = counts["skipped"].as_u64().unwrap() + counts["restored"].as_u64().unwrap();
    assert_eq!(json!(sum), made["records"]);
    assert!(!journal.exists());
    check_alike(&node, &other);
    let got = other.ask(&[
        "get",
        "3999",
        "--key-type",
        "integer",
        "--set",
        "rows",
        "--json",
    ]);
    assert_eq!(got.json()["generation"], 1, "it begins anew");
}

#[test]
fn what_a_restore_does_with_records_that_are_there() {
    let node = Node::start(&[]);
    let ask = |arguments: &[&str]| node.ask(arguments);
    for key in ["a", "b", "c"] {
        ask(&["put", key, "x=1"]).check_done();
    }
    for _ in 0..3 {
        ask(&["put", "c", "x=1"]).check_done();
    }
    ask(&["put", "gone", "x=1", "--ttl", "2s"]).check_done();
    ask(&["backup", "--output", "f"]).check_done();
    ask(&["delete", "a"]).check_done();
    ask(&["put", "b", "x=2"]).check_done();
    ask(&["delete", "c"]).check_done();
    ask(&["put", "c", "x=2"]).check_done();
    while ask(&["get", "gone"]).code == 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let restored = |mode: &str| ask(&["restore", "f", "--mode", mode, "--json"]).json();
    let counts = restored("create-only");
    assert_eq!(
        (&counts["restored"], &counts["kept"]),
        (&json!(1), &json!(2)),
        "{counts}"
    );
    assert_eq!(counts["expired"], 1);
    let counts = restored("newer-update");
    assert_eq!(
        (&counts["restored"], &counts["kept"]),
        (&json!(0), &json!(3)),
        "{counts}"
    );
    let x = |key: &str| ask(&["get", key, "--json"]).json()["bins"]["x"].clone();
    assert_eq!((x("a"), x("b"), x("c")), (json!(1), json!(2), json!(2)));
    // Of c there were four writes when it was backed up, and one since.
    let counts = restored("newer-generation");
    assert_eq!(
        (&counts["restored"], &counts["kept"]),
        (&json!(1), &json!(2)),
        "{counts}"
    );
    assert_eq!((x("a"), x("b"), x("c")), (json!(1), json!(2), json!(1)));
    let counts = restored("replace");
    assert_eq!(
        (&counts["restored"], &counts["kept"]),
        (&json!(3), &json!(0)),
        "{counts}"
    );
    assert_eq!((x("a"), x("b"), x("c")), (json!(1), json!(1), json!(1)));
    ask(&["get", "gone"]).check_failed(3, &["no record"]);
    ask(&["restore", "f", "--namespace", "none"]).check_failed(1, &["none"]);

    // One set, and what was written since.
    ask(&["put", "d", "x=1", "--set", "s"]).check_done();
    let made = ask(&["backup", "--output", "g", "--set", "s", "--json"]).json();
    assert_eq!(made["records"], 1);
    let made = ask(&["backup", "--output", "h", "--since-backup", "g", "--json"]).json();
    assert_eq!(made["records"], 4, "all were written within the margin");
}

#[test]
fn a_restored_record_in_doubt_is_written_again() {
    let (node, other) = (MockNode::start(), MockNode::start());
    let folder = tempfile::tempdir().unwrap();
    let ask = |node: &MockNode, arguments: &[&str]| {
        let address = node.address().to_string();
        let node = ["--host", &address, "--timeout", "1", "--json"];
        run(folder.path(), &[arguments, &node].concat())
    };
    for key in 0..20 {
        ask(&node, &["put", &key.to_string(), "x=1"]).json();
    }
    ask(&node, &["backup", "--output", "f"]).json();
    for (mode, are_there) in [
        ("create-only", false),
        ("newer-update", true),
        ("replace", false),
    ] {
        for fault in [
            Fault::CloseAfter,
            Fault::CloseBefore,
            Fault::Silence,
            Fault::CloseAfter,
        ] {
            other.inject(MessageKind::Put, fault);
        }
        let counts = ask(
            &other,
            &["restore", "f", "--mode", mode, "--in-flight", "4"],
        )
        .json();
        assert_eq!(counts["in_doubt"], 0, "{mode}: {counts}");
        assert_eq!(counts["failed"], 0, "{mode}: {counts}");
        // One whose answer was lost may be told as restored though it was there: it is the same record.
        let kept = counts["kept"].as_u64().unwrap();
        assert_eq!(json!(20 - kept), counts["restored"], "{mode}: {counts}");
        assert!(kept == 0 || are_there, "{mode}: {counts}");
    }
    assert_eq!(other.record_count(), 20);
}

#[test]
fn a_backup_that_loses_its_node_is_unfinished() {
    let node = MockNode::start();
    let folder = tempfile::tempdir().unwrap();
    let address = node.address().to_string();
    let backup = [
        "backup",
        "--output",
        "f",
        "--host",
        &address,
        "--timeout",
        "1",
    ];
    run(folder.path(), &["put", "a", "x=1", "--host", &address]).check_done();
    for _ in 0..20 {
        node.inject(MessageKind::Scan, Fault::CloseBefore);
    }
    run(folder.path(), &backup).check_failed(2, &["the same command goes on from here"]);
    assert!(folder.path().join("f.unfinished").exists());
    for _ in 0..20 {
        let ended = run(folder.path(), &backup);
        if ended.code == 0 {
            break;
        }
        ended.check_failed(2, &["the same command goes on from here"]);
    }
    let verified = run(folder.path(), &["backup", "verify", "f", "--json"]).json();
    assert_eq!(verified["records"], 1);
}

fn check_refused(folder: &Path, words: &[&str]) {
    for command in [
        &["backup", "verify", "f"][..],
        &["restore", "f", "--host", "127.0.0.1:1"],
    ] {
        let ended: Ended = run(folder, command);
        // A restore reads the file's header before it asks for the node.
        ended.check_failed(1, words);
    }
}

#[test]
fn files_that_are_no_backups_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    check_refused(folder.path(), &["f: it cannot be read"]);
    for text in ["", "id,name\n1,anna\n"] {
        std::fs::write(&path, text).unwrap();
        check_refused(
            folder.path(),
            &["not a backup of Corelith", "`corelith backup` wrote"],
        );
    }
    assert!(BackupReader::open(&path).is_err());
    let child = start(folder.path(), &["backup"]);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "--output is missing");
}
