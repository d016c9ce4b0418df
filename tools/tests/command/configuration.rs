//! `corelithd --config`: two namespaces from a file, a check beside the running node, and another look at the file.

use std::path::Path;
use std::process::{Command, Output};

use crate::node::{Node, binary};

/// A file with two namespaces; what follows is about the second.
fn file(of_second: &str) -> String {
    format!(
        "[node]\ncores = 2\n\n[namespace.test]\nfile = \"data/test\"\nsize = \"1 GiB\"\n\n\
         [namespace.carts]\nfile = \"data/carts\"\nsize = \"512 MiB\"\nshards = 3\n{of_second}"
    )
}

fn start(of_second: &str) -> Node {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("corelithd.toml"), file(of_second)).unwrap();
    Node::start_in(folder, &["--config", "corelithd.toml"])
}

fn check(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .current_dir(folder)
        .args(["--check", "--config", "corelithd.toml"])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_file_says_what_is_served_and_a_check_looks_at_it() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("corelithd.toml"), file("")).unwrap();
    let before = check(folder.path(), &[]);
    assert!(before.status.success(), "{}", text(&before.stderr));
    let said = text(&before.stdout);
    for line in [
        "namespace \"carts\" would be made in data/carts: 512 MiB, 3 shards",
        "namespace.carts.shards = 3",
        "node.cores = 2",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(
        !folder.path().join("data").exists(),
        "a check makes nothing"
    );

    let node = Node::start_in(folder, &["--config", "corelithd.toml"]);
    node.ask(&["put", "alice", "of=carts", "--namespace", "carts"])
        .check_done();
    // Nothing is named: "test" is meant, where nothing was put.
    assert_eq!(node.ask(&["get", "alice"]).code, 3);
    let beside = check(node.folder(), &[]);
    assert!(beside.status.success(), "{}", text(&beside.stderr));
    assert!(text(&beside.stdout).contains("namespace \"carts\" would be served from data/carts"));
    node.ask(&["get", "alice", "--namespace", "carts"])
        .check_done();

    node.write("corelithd.toml", &file("").replace("carts]", "wagons]"));
    let refused = check(node.folder(), &[]);
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("hold the namespace \\\"carts\\\"")
            || text(&refused.stderr).contains("hold the namespace \"carts\"")
    );
    node.write("corelithd.toml", &file("shrads = 3\n"));
    let refused = text(&check(node.folder(), &[]).stderr);
    assert!(
        refused.contains("line 12: there is no key \"shrads\": did you mean \"shards\"?"),
        "{refused}"
    );
}

#[test]
fn a_signal_changes_the_live_keys_of_a_running_node() {
    let node = start("");
    let put = |arguments: &[&str]| {
        let put = ["put", "alice", "text=some text", "--namespace", "carts"];
        node.ask(&[&put[..], arguments].concat())
    };
    let ttl_s = || {
        let get = ["get", "alice", "--json", "--namespace", "carts"];
        node.ask(&get).json()["ttl_s"].as_u64()
    };
    put(&[]).check_done();
    assert_eq!(ttl_s(), None);

    let live = "default_ttl = \"1 h\"\nttl_max = \"2 h\"\n";
    node.write("corelithd.toml", &file(live));
    node.reload_until("namespace.carts.ttl_max = \"2 h\" from now on");
    put(&[]).check_done();
    assert!((1..=3600).contains(&ttl_s().unwrap()));
    put(&["--ttl", "never"]).check_failed(1, &["ttl_max"]);
    put(&["--ttl", "2h"]).check_done();

    // A fault changes nothing.
    node.write(
        "corelithd.toml",
        &file("default_ttl = \"9 h\"\nttl_max = \"soon\"\n"),
    );
    node.reload_until("nothing was changed");
    put(&[]).check_done();
    assert!((1..=3600).contains(&ttl_s().unwrap()));

    node.write(
        "corelithd.toml",
        &file("record_size_max = \"8 B\"\ncommit = \"buffered\"\n"),
    );
    node.reload_until("namespace.carts.commit = \"buffered\" needs a restart");
    node.reload_until("needs a restart");
    put(&[]).check_failed(1, &["record_size_max"]);
    node.ask(&["put", "alice", "text=some text"]).check_done();
}

#[test]
fn a_namespace_in_memory_is_served_like_any_other_and_empty_after_a_stop() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let text = "[node]\ncores = 2\n\n[namespace.test]\nfile = \"data/test\"\nsize = \"1 GiB\"\n\n\
                [namespace.cache]\nstorage = \"memory\"\nsize = \"512 MiB\"\nshards = 4\n";
    std::fs::write(folder.path().join("corelithd.toml"), text).unwrap();
    let said = text_of_check(folder.path());
    assert!(said.contains("namespace \"cache\" would be made in memory: 512 MiB, 4 shards"));
    let mut node = Node::start_in(folder, &["--config", "corelithd.toml"]);
    let rows: Vec<serde_json::Value> = (0..2000)
        .map(|number| serde_json::json!({"id": number, "text": format!("text of {number}")}))
        .collect();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    node.write("rows.jsonl", &lines);
    for namespace in ["cache", "test"] {
        let load = [
            "load",
            "rows.jsonl",
            "--key",
            "id",
            "--namespace",
            namespace,
        ];
        node.ask(&load).check_done();
    }
    node.ask(&["delete", "7", "--namespace", "cache"])
        .check_done();
    // The same road: a get is a read of the device.
    let reads = || {
        let totals = node.ask(&["stats", "--json"]).json();
        totals["corelith_record_reads_total{namespace=\"cache\"}"].as_u64()
    };
    let before = reads().unwrap();
    node.ask(&["get", "8", "--namespace", "cache"]).check_done();
    assert_eq!(reads(), Some(before + 1));
    let export = |node: &Node, namespace| {
        let mut found = node.ask(&["export", "--namespace", namespace]).json_lines();
        found.sort_by_key(|row| row["id"].as_u64());
        found
    };
    let mut expected = rows.clone();
    expected.remove(7);
    assert_eq!(export(&node, "cache"), expected);
    assert_eq!(export(&node, "test"), rows);
    node.ask(&["truncate", "--all", "--yes", "--namespace", "cache"])
        .check_done();
    assert_eq!(export(&node, "cache"), Vec::<serde_json::Value>::new());
    assert_eq!(export(&node, "test"), rows, "the other namespace");
    node.ask(&["put", "8", "x=1", "--namespace", "cache"])
        .check_done();
    node.kill_and_start_again();
    assert_eq!(export(&node, "cache"), Vec::<serde_json::Value>::new());
    assert_eq!(export(&node, "test"), rows);
}

fn text_of_check(folder: &Path) -> String {
    text(&check(folder, &[]).stdout)
}
