//! Several namespaces on one `corelithd`: apart in records, statistics, policies and volumes.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::node::{Node, binary};
use crate::tool::run;

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn create(folder: &Path, namespace: &str, shards: &str, devices: &[&str]) {
    let create = [
        ["volume", "create", "--size", "128M", "--segment-size", "1M"].as_slice(),
        &["--namespace", namespace, "--shards", shards],
        devices,
    ];
    run(folder, &create.concat()).check_done();
}

/// What a node says that does not start.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .current_dir(folder)
        .args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn one_node_serves_several_namespaces_and_keeps_them_apart() {
    let folder = folder();
    create(folder.path(), "payments", "4", &["a", "b"]);
    create(folder.path(), "carts", "3", &["c"]);
    let devices = ["--device", "b", "--device", "c", "--device", "a"];
    let ttl = ["--cores", "2", "--default-ttl", "86400"];
    let mut node = Node::start_in(folder, &[&devices[..], &ttl].concat());
    let keys: Vec<String> = (0..20).map(|number| format!("key{number}")).collect();
    for key in &keys {
        node.ask(&["put", key, "of=payments", "--namespace", "payments"])
            .check_done();
        node.ask(&["put", key, "of=carts", "--namespace", "carts"])
            .check_done();
    }
    node.ask(&["delete", "key7", "--namespace", "carts"])
        .check_done();
    for _ in 0..2 {
        for key in &keys {
            let ask = |namespace| node.ask(&["get", key, "--json", "--namespace", namespace]);
            assert_eq!(ask("payments").json()["bins"]["of"], "payments");
            if key == "key7" {
                assert_eq!(ask("carts").code, 3);
            } else {
                assert_eq!(ask("carts").json()["bins"]["of"], "carts");
            }
        }
        let totals = node.ask(&["stats", "--json"]).json();
        assert_eq!(totals["corelith_records{namespace=\"payments\"}"], 20);
        assert_eq!(totals["corelith_records{namespace=\"carts\"}"], 19);
        let scanned = node.ask(&["scan", "--json", "--namespace", "carts"]);
        assert_eq!(scanned.json_lines().len(), 19);
        // Several namespaces, and none called "test": one must be named.
        node.ask(&["get", "key1"]).check_failed(1, &["--namespace"]);
        node.kill_and_start_again();
    }
    let ttl_s = |ttl: &[&str]| {
        let put = ["put", "kept", "x=1", "--namespace", "carts"];
        node.ask(&[&put[..], ttl].concat()).check_done();
        let get = ["get", "kept", "--json", "--namespace", "carts"];
        node.ask(&get).json()["ttl_s"].as_u64()
    };
    assert!((1..=86_400).contains(&ttl_s(&[]).unwrap()));
    assert!((86_401..=172_800).contains(&ttl_s(&["--ttl", "2d"]).unwrap()));
    assert_eq!(ttl_s(&["--ttl", "never"]), None);
}

#[test]
fn the_only_namespace_need_not_be_named() {
    let folder = folder();
    create(folder.path(), "payments", "2", &["a"]);
    let node = Node::start_in(folder, &["--device", "a", "--namespace", "payments"]);
    node.ask(&["put", "alice", "age:integer=31"]).check_done();
    assert_eq!(
        node.ask(&["get", "alice", "--json"]).json()["bins"]["age"],
        31
    );
}

#[test]
fn volumes_that_are_not_what_was_asked_for_are_refused() {
    let folder = folder();
    create(folder.path(), "payments", "2", &["a"]);
    create(folder.path(), "payments", "2", &["b"]);
    create(folder.path(), "carts", "2", &["c", "d"]);
    std::fs::copy(folder.path().join("a"), folder.path().join("copy")).unwrap();
    for (arguments, problem) in [
        (
            ["--device", "a", "--namespace", "carts"].as_slice(),
            "hold the namespace \"payments\"",
        ),
        (
            &["--device", "a", "--device", "b"],
            "two volumes hold a namespace \"payments\": a and b",
        ),
        (&["--device", "a", "--device", "c"], "slot 1"),
        (
            &[
                "--device",
                "a",
                "--device",
                "c",
                "--device",
                "d",
                "--namespace",
                "payments",
            ],
            "c",
        ),
        (&["--device", "a", "--device", "copy"], "copy"),
    ] {
        let said = refused(folder.path(), arguments);
        assert!(said.contains(problem), "{arguments:?}: {said}");
    }
}
