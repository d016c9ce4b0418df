//! `slow`, `connections`, `quiesce` and `config` against a real node.

use std::io::Write;
use std::net::TcpStream;

use crate::node::Node;

fn start() -> Node {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = "[node]\ncores = 2\nslow_log = \"1 us\"\n\n[namespace.test]\nfile = \"v\"\nsize = \"512 MiB\"\nshards = 4\n";
    std::fs::write(folder.path().join("node.toml"), file).unwrap();
    Node::start_in(folder, &["--config", "node.toml"])
}

#[test]
fn slow_operations_are_shown() {
    let node = start();
    node.ask(&["put", "alice", "city=Berlin"]).check_done();
    let shown = node.command(&["slow"]);
    let text = shown.check_done();
    let (heads, rest) = text.split_once('\n').unwrap();
    assert!(heads.starts_with("AGO"), "{text}");
    assert!(rest.contains("put") && rest.contains("test"), "{text}");
    let listed = node.command(&["slow", "--limit", "1", "--json"]).json();
    assert_eq!(listed["slow"].as_array().unwrap().len(), 1);
    assert_eq!(listed["slow"][0]["operation"], "put");
    assert_eq!(listed["slow"][0]["digest"].as_str().unwrap().len(), 40);

    let quiet = Node::start(&[]);
    let none = quiet.command(&["slow"]);
    assert_eq!(none.check_done(), "no operation was slow\n");
}

#[test]
fn connections_are_shown_and_closed() {
    let node = start();
    let mut stranger = TcpStream::connect(node.address()).unwrap();
    let peer = stranger.local_addr().unwrap().to_string();
    let id = node.connection_of(&peer);
    let listed = node.command(&["connections", "--json"]).json();
    assert_eq!(listed["total"], 1, "{listed}");
    let text = node.command(&["connections"]);
    let text = text.check_done();
    assert!(text.starts_with("ID") && text.contains(&id), "{text}");
    assert!(text.contains(&peer), "{text}");
    let cut = node.command(&["connections", "--limit", "0"]);
    assert!(cut.check_done().contains("0 of 1; --limit shows more"));

    node.command(&["connections", "close", &id]).check_done();
    let mut end = [0];
    assert_eq!(std::io::Read::read(&mut stranger, &mut end).unwrap(), 0);
    drop(stranger.write_all(b"late"));
    node.command(&["connections", "close", "1-99999"])
        .check_failed(1, &["no connection 1-99999", "corelith connections"]);
    let wrong = node.command(&["connections", "close", "alice"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[test]
fn a_quiesced_node_says_so_to_clients_and_is_resumed() {
    let node = start();
    let quiesced = node.command(&["quiesce"]);
    assert!(quiesced.check_done().starts_with("the node is quiesced: "));
    node.ask(&["put", "alice", "x=1"])
        .check_failed(2, &["out of service", "corelith quiesce --undo"]);
    let again = node.command(&["quiesce", "--json"]).json();
    assert_eq!(
        (&again["changed"], &again["quiesced"]),
        (&false.into(), &true.into())
    );
    let resumed = node.command(&["quiesce", "--undo"]);
    assert_eq!(resumed.check_done(), "the node takes work\n");
    node.ask(&["put", "alice", "x=1"]).check_done();
}

#[test]
fn live_keys_are_changed_until_the_file_is_read_again() {
    let node = start();
    let all = node.command(&["config", "get"]);
    let all = all.check_done();
    assert!(all.contains("node.slow_log = \"1 us\"  (live)\n"), "{all}");
    assert!(all.contains("node.cores = 2\n"), "{all}");
    let one = |key: &str| {
        let got = node.command(&["config", "get", key]);
        got.check_done().trim_end().to_owned()
    };
    assert_eq!(one("node.slow_log"), "1 us");
    let one_json = |key: &str| node.command(&["config", "get", key, "--json"]).json();
    let slow_log = serde_json::json!({"key": "node.slow_log", "value": "1 us", "live": true});
    assert_eq!(one_json("node.slow_log"), slow_log);
    assert_eq!(one_json("node.cores")["value"], 2);
    let all_json = node.command(&["config", "get", "--json"]).json();
    let listed = all_json["settings"].as_array().unwrap();
    assert!(listed.contains(&slow_log), "{all_json}");

    let set = node.command(&["config", "set", "node.slow_log", "20ms"]);
    let said = set.check_done();
    for words in [
        "\"20 ms\" from now on",
        "it was \"1 us\"",
        "write it into the file",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(one("node.slow_log"), "20 ms");
    let set = [
        "config",
        "set",
        "namespace.test.default_ttl",
        "30d",
        "--json",
    ];
    assert_eq!(node.command(&set).json()["value"], "30 d");
    node.ask(&["put", "short", "x=1"]).check_done();
    let ttl_s = node.ask(&["get", "short", "--json"]).json()["ttl_s"].clone();
    assert!(
        ttl_s.as_u64().is_some_and(|ttl_s| ttl_s > 2_500_000),
        "{ttl_s}"
    );

    node.reload_until("node.slow_log = \"1 us\" from now on");
    assert_eq!(one("node.slow_log"), "1 us");
    assert_eq!(one("namespace.test.default_ttl"), "never");

    for (key, value, words) in [
        ("node.cores", "1", ["node.cores", "restart needed"]),
        ("slow_log", "1ms", ["no key", "node.slow_log"]),
        ("node.slow_log", "10", ["node.slow_log", "\"500 us\""]),
        ("namespace.test.ttl_max", "1d", ["ttl", "other key"]),
    ] {
        let set = node.command(&["config", "set", key, value]);
        set.check_failed(1, &words);
    }
    node.command(&["config", "get", "slow_log"])
        .check_failed(1, &["did you mean \"node.slow_log\"?"]);
}

#[test]
fn a_control_page_that_is_not_there_is_told() {
    let node = start();
    let folder = node.folder();
    let nobody = crate::tool::run(folder, &["slow", "--control", "127.0.0.1:1"]);
    nobody.check_failed(2, &["127.0.0.1:1 cannot be reached", "--control"]);
    // The native port speaks another language.
    let other = crate::tool::run(folder, &["slow", "--control", &node.address()]);
    other.check_failed(2, &["no corelithd", "--control"]);
    let wrong = crate::tool::run(folder, &["slow", "--control", "127.0.0.1:x"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
}
