//! Against `corelithd` itself: the binary that `CORELITHD` names, or the one built beside this test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corelith_client::{Key, digest_of};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tool::{Ended, run};

/// Longest time that a start may take, in steps of 50 ms: a loaded machine is slow, not broken.
const READY_STEPS_MAX: u32 = 1200;

/// A running node on files of its own.
pub struct Node {
    process: Child,
    folder: TempDir,
    port: u16,
    control: u16,
    arguments: Vec<String>,
}

/// The node's binary. Missing, it is a failure: these tests never pass without it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CORELITHD") {
        return PathBuf::from(path);
    }
    let beside = Path::new(env!("CARGO_BIN_EXE_corelith")).with_file_name("corelithd");
    assert!(
        beside.exists(),
        "{} is missing: `cargo build --bin corelithd`, or name one in CORELITHD",
        beside.display()
    );
    beside
}

impl Node {
    pub fn start(devices: &[&'static str]) -> Node {
        Node::start_with(devices, &[])
    }

    fn start_with(devices: &[&'static str], options: &[&'static str]) -> Node {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        if !devices.is_empty() {
            let create = [
                "volume",
                "create",
                "--size",
                "256M",
                "--shards",
                "4",
                "--segment-size",
                "1M",
            ];
            run(folder.path(), &[&create[..], devices].concat()).check_done();
        }
        let mut arguments = vec!["--data-dir", "data", "--size", "1G", "--cores", "2"];
        arguments.extend(devices.iter().flat_map(|device| ["--device", device]));
        arguments.extend(options);
        Node::start_in(folder, &arguments)
    }

    /// A node in a folder with what is in it already.
    pub fn start_in(folder: TempDir, arguments: &[&str]) -> Node {
        let (port, control) = free_ports();
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let process = spawn(folder.path(), port, control, &arguments);
        let mut node = Node {
            process,
            folder,
            port,
            control,
            arguments,
        };
        node.wait_until_ready();
        node
    }

    fn wait_until_ready(&mut self) {
        for _ in 0..READY_STEPS_MAX {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the node ended with {status}: {}", self.log());
            }
            if is_ready(self.control) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the node is not ready: {}", self.log());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn kill_and_start_again(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(self.folder.path(), self.port, self.control, &self.arguments);
        self.wait_until_ready();
    }

    pub fn ask(&self, arguments: &[&str]) -> Ended {
        let address = self.address();
        run(
            self.folder.path(),
            &[arguments, &["--host", &address]].concat(),
        )
    }

    /// Runs a command that speaks to the control page.
    pub fn command(&self, arguments: &[&str]) -> Ended {
        let address = self.control_address();
        run(
            self.folder.path(),
            &[arguments, &["--control", &address]].concat(),
        )
    }

    /// The ID of the connection whose client is at this address, as soon as the node has accepted it.
    pub fn connection_of(&self, peer: &str) -> String {
        for _ in 0..READY_STEPS_MAX {
            let listed = self.command(&["connections", "--json"]).json();
            let listed = listed["connections"].as_array().unwrap();
            let found = listed.iter().find(|connection| connection["peer"] == peer);
            if let Some(found) = found {
                return found["id"].as_str().unwrap().to_owned();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{peer} is not connected: {}", self.log());
    }

    pub fn control_address(&self) -> String {
        format!("127.0.0.1:{}", self.control)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends SIGHUP and waits until the log has `word` once more.
    pub fn reload_until(&self, word: &str) {
        let before = self.log().matches(word).count();
        let process = self.process.id().to_string();
        let kill = Command::new("kill").args(["-HUP", &process]).status();
        assert!(kill.unwrap().success());
        for _ in 0..READY_STEPS_MAX {
            if self.log().matches(word).count() > before {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no {word:?}: {}", self.log());
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn spawn(folder: &Path, port: u16, control: u16, arguments: &[String]) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let mut command = Command::new(binary());
    command
        .current_dir(folder)
        .args(arguments)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--control", &format!("127.0.0.1:{control}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command.spawn().unwrap()
}

/// A port with two free ones behind it for the cores, and one for control: below those that the kernel gives out by
/// itself, where connections of other tests that have just ended linger, and of no other test of this process.
fn free_ports() -> (u16, u16) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..4_000 {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 37;
        let port = 10_000 + u16::try_from(turn % 4_000).unwrap() * 5;
        let mut all = (0..4).map(|offset| TcpListener::bind(("127.0.0.1", port + offset)));
        if all.all(|bound| bound.is_ok()) {
            return (port, port + 3);
        }
    }
    panic!("no free ports");
}

fn is_ready(control: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", control)) else {
        return false;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let request = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).is_ok()
        && BufReader::new(stream.take(4096))
            .read_line(&mut answer)
            .is_ok()
        && answer.contains(" 200 ")
}

#[test]
fn a_record_outlives_the_node() {
    let mut node = Node::start(&[]);
    assert_eq!(
        node.ask(&["ping", "--json"]).json()["namespaces"],
        json!(["test"])
    );
    node.ask(&[
        "put",
        "alice",
        "city=Berlin",
        "age=31",
        "tags:json=[1,{\"x\":null}]",
    ])
    .check_done();
    node.ask(&["put", "alice", "age=32", "--generation", "1"])
        .check_done();
    node.ask(&["put", "bob", "city=Bern", "--ttl", "1h", "--store-key"])
        .check_done();
    node.ask(&["put", "carol", "x=1"]).check_done();
    node.ask(&["delete", "carol"]).check_done();
    node.ask(&["put", "alice", "x=1", "--create-only"])
        .check_failed(1, &["exists"]);
    for _ in 0..2 {
        let alice = node.ask(&["get", "alice", "--json"]).json();
        assert_eq!(
            alice["bins"],
            json!({"city": "Berlin", "age": 32, "tags": [1, {"x": null}]})
        );
        assert_eq!(alice["generation"], 2);
        let metadata = node.ask(&["get", "alice", "--metadata", "--json"]).json();
        assert_eq!(
            (&metadata["generation"], &metadata["updated_at"]),
            (&json!(2), &json!(null))
        );
        node.ask(&["get", "carol"]).check_failed(3, &["no record"]);
        assert_eq!(node.ask(&["scan", "--json"]).json_lines().len(), 2);
        assert!(
            node.ask(&["get", "bob", "--json"]).json()["ttl_s"]
                .as_u64()
                .unwrap()
                <= 3600
        );
        node.kill_and_start_again();
    }
    // Of operations there is a figure once there was one.
    node.ask(&["get", "alice"]).check_done();
    let shown = node.ask(&["stats"]).check_done().to_owned();
    for line in [
        "NODE",
        "requests",
        "NAMESPACE test",
        "operations",
        "records",
    ] {
        let is_there = shown.lines().any(|shown| shown.starts_with(line));
        assert!(is_there, "{line}: {shown}");
    }
    assert!(!shown.contains("corelith_"), "{shown}");
    let none = ["stats", "--prefix", "no_such_counter"];
    let said = "the node has no figures whose names begin with \"no_such_counter\"";
    node.ask(&none).check_nothing(said);
    node.ask(&[&none[..], &["--raw"]].concat())
        .check_nothing(said);
    let object = node.ask(&[&none[..], &["--json"]].concat());
    assert_eq!(object.check_done(), "{}\n");
}

/// Two cores with two shards each: every one of them truncates, whichever was asked.
#[test]
fn a_truncated_set_is_gone_on_every_core() {
    let mut node = Node::start(&["a"]);
    let rows: String = (0..200).map(|key| format!("{key},x\n")).collect();
    node.write("rows.csv", &format!("key,bin\n{rows}"));
    for set in ["users", "events", ""] {
        let load = ["--json", "load", "rows.csv", "--key", "key", "--set", set];
        node.ask(&load).json();
    }
    let count = |node: &Node, set: &[&str]| {
        let scan = [&["scan", "--json"], set].concat();
        node.ask(&scan).json_lines().len()
    };
    assert_eq!(count(&node, &[]), 600);
    node.ask(&["truncate", "--set", "users"])
        .check_failed(1, &["no terminal", "--yes"]);
    assert_eq!(count(&node, &[]), 600, "nothing happens unconfirmed");
    let truncate = ["truncate", "--set", "users", "--yes", "--json"];
    assert_eq!(node.ask(&truncate).json(), json!({"shards": 4}));
    node.ask(&["put", "new", "x=1", "--set", "users"])
        .check_done();
    for _ in 0..2 {
        assert_eq!(count(&node, &[]), 401);
        assert_eq!(count(&node, &["--set", "users"]), 1);
        assert_eq!(count(&node, &["--set", "events"]), 200);
        node.kill_and_start_again();
    }
    node.ask(&["truncate", "--set", "nobody", "--yes"])
        .check_done();
    node.ask(&["truncate", "--all", "--yes"]).check_done();
    for _ in 0..2 {
        assert_eq!(count(&node, &[]), 0);
        node.kill_and_start_again();
    }
}

#[test]
fn rows_come_back_as_they_were_loaded() {
    let mut node = Node::start(&["a", "b"]);
    let show = run(node.folder.path(), &["--json", "volume", "show", "a", "b"]).json();
    assert_eq!(
        show["volumes"][0]["is_whole"], true,
        "a volume can be shown while it is served"
    );
    let create = run(node.folder.path(), &["volume", "create", "--force", "a"]);
    create.check_failed(1, &["locked"]);

    let rows: Vec<Value> = (0..5000)
        .map(|number| match number % 3 {
            0 => json!({"id": number, "name": format!("name {number}"), "ratio": number as f64 / 7.0}),
            1 => json!({"id": number, "code": format!("{number:09}"), "is_odd": number % 2 == 1}),
            _ => json!({"id": number, "list": [number, "x"], "text": "y".repeat(number % 2000)}),
        })
        .collect();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    node.write("rows.jsonl", &lines);
    let load = [
        "load",
        "rows.jsonl",
        "--set",
        "rows",
        "--key",
        "id",
        "--key-type",
        "integer",
        "--json",
    ];
    let summary = node
        .ask(&[&load[..], &["--acknowledged", "ack"]].concat())
        .json();
    assert_eq!(
        (&summary["acknowledged"], &summary["failed"]),
        (&json!(5000), &json!(0))
    );
    for _ in 0..2 {
        let mut found = node.ask(&["export", "--set", "rows"]).json_lines();
        found.sort_by_key(|row| row["id"].as_u64());
        assert_eq!(found, rows);
        let got = node.ask(&[
            "get",
            "4999",
            "--key-type",
            "integer",
            "--set",
            "rows",
            "--json",
        ]);
        assert_eq!(got.json()["bins"], rows[4999]);
        node.kill_and_start_again();
    }
}

/// The figures are the whole node's, on whichever core the connection is.
fn check_statistics(node: &Node, records: u64) {
    for _ in 0..4 {
        let totals = node.ask(&["stats", "--json"]).json();
        assert_eq!(totals["corelith_records{namespace=\"test\"}"], records);
        let put = "corelith_operations_total{namespace=\"test\",operation=\"put\",status=\"ok\"}";
        assert_eq!(totals[put], records);
    }
    let each = node
        .ask(&["stats", "--each", "--raw"])
        .check_done()
        .to_owned();
    let of_records: u64 = each
        .lines()
        .filter(|line| line.starts_with("corelith_records{namespace=\"test\",shard="))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(of_records, records);
    for core in 0..2 {
        let label = format!("corelith_requests_total{{core=\"{core}\"}}");
        assert_eq!(each.matches(&label).count(), 1, "{each}");
    }
}

/// Where `pattern` stands in what is zeros for the most part.
fn find(bytes: &[u8], pattern: &[u8]) -> u64 {
    const STEP: usize = 4096;
    let mut found = Vec::new();
    for start in (0..bytes.len()).step_by(STEP) {
        let end = bytes.len().min(start + STEP);
        if bytes[start..end] == [0; STEP][..end - start] {
            continue;
        }
        let end = bytes.len().min(end + pattern.len() - 1);
        let windows = bytes[start..end].windows(pattern.len());
        let here = windows.enumerate().filter(|(_, window)| *window == pattern);
        found.extend(here.map(|(at, _)| u64::try_from(start + at).unwrap()));
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn a_damaged_record_is_named_and_the_others_are_exported() {
    let node = Node::start(&["a"]);
    let rows: String = (0..300)
        .map(|number| {
            format!(
                "{}\n",
                json!({"id": number, "text": format!("text of {number:04}")})
            )
        })
        .collect();
    node.write("rows.jsonl", &rows);
    node.ask(&["load", "rows.jsonl", "--key", "id"])
        .check_done();
    assert_eq!(node.ask(&["export"]).json_lines().len(), 300);
    check_statistics(&node, 300);

    let device = node.folder.path().join("a");
    let pattern = b"text of 0077";
    let at = find(&std::fs::read(&device).unwrap(), pattern);
    let file = std::fs::File::options().write(true).open(&device).unwrap();
    file.write_all_at(b"!", at).unwrap();
    file.sync_all().unwrap();

    let digest = digest_of("", &Key::from("77").as_key_ref().unwrap());
    let words = format!("the record {digest} is damaged: its content fails its checksum");
    for command in ["scan", "export"] {
        let ended = node.ask(&[command]);
        ended.check_failed(2, &[&words, "corelith: 1 record is damaged"]);
        assert_eq!(ended.stdout.lines().count(), 299, "{command}");
    }
    node.ask(&["get", "77"]).check_failed(1, &["damaged"]);
    node.ask(&["put", "77", "text=mended", "--replace"])
        .check_done();
    assert_eq!(node.ask(&["export"]).json_lines().len(), 300);
}

#[test]
fn a_write_is_answered_ahead_of_the_device_only_where_that_is_allowed() {
    let node = Node::start(&[]);
    let refused = node.ask(&["put", "views", "count=1", "--commit", "buffered"]);
    refused.check_failed(1, &["takes durable writes only", "--commit optional"]);
    node.ask(&["put", "views", "count=1", "--commit", "durable"])
        .check_done();

    // An interval that cannot pass while the test looks.
    let options = ["--commit", "optional", "--flush-interval", "1s"];
    let mut node = Node::start_with(&[], &options);
    node.ask(&["put", "views", "count=1"]).check_done();
    node.ask(&["put", "views", "count=2", "--commit", "buffered"])
        .check_done();
    let seen = node.ask(&["get", "views", "--json"]).json();
    assert_eq!(seen["bins"], json!({"count": 2}));
    // Behind a durable write of every shard nothing is left to lose.
    for key in 0..200 {
        node.ask(&["put", &key.to_string(), "a=1"]).check_done();
    }
    node.kill_and_start_again();
    let found = node.ask(&["get", "views", "--json"]).json();
    assert_eq!(found["bins"], json!({"count": 2}));
}

/// Reads of records from devices since the node's start.
fn record_reads(node: &Node) -> u64 {
    let name = "corelith_record_reads_total";
    let totals = node.ask(&["stats", "--json", "--prefix", name]).json();
    totals[format!("{name}{{namespace=\"test\"}}")]
        .as_u64()
        .unwrap()
}

#[test]
fn steps_are_carried_out_as_one_and_outlive_the_node() {
    let mut node = Node::start(&["a", "b"]);
    node.ask(&["exists", "k"])
        .check_failed(3, &["no record \"k\""]);
    node.ask(&["operate", "k", "read-all"])
        .check_failed(3, &["no record \"k\""]);
    node.ask(&["operate", "k", "touch"])
        .check_failed(3, &["no record \"k\""]);
    let steps = [
        "operate",
        "k",
        "add",
        "n=5",
        "append",
        "s=x",
        "read-all",
        "--store-key",
        "--json",
    ];
    for (generation, n, s) in [(1, 5, "x"), (2, 10, "xx"), (3, 15, "xxx")] {
        let before = record_reads(&node);
        let done = node.ask(&steps).json();
        let expected = json!({"generation": generation, "reads": [{"n": n, "s": s}]});
        assert_eq!(done, expected);
        // One read of the record that is there at most, none of one that is not.
        assert!(record_reads(&node) - before <= u64::from(generation > 1));
    }
    node.ask(&[
        "operate", "k", "add", "n=1", "write", "t=1", "append", "n=x",
    ])
    .check_failed(
        1,
        &["step 3, bin \"n\"", "append of kind string to kind integer"],
    );
    node.ask(&["operate", "k", "add", "n=1", "touch", "--replace"])
        .check_failed(1, &["a touch keeps the record"]);
    node.ask(&["put", "k", "n=1", "--create-only"])
        .check_failed(1, &["exists"]);
    node.kill_and_start_again();

    let before = record_reads(&node);
    node.ask(&["exists", "k"]).check_done();
    let known = node.ask(&["operate", "k", "metadata", "--json"]).json();
    assert_eq!(known, json!({"generation": 3, "reads": [{}]}));
    assert_eq!(record_reads(&node), before, "the index knows");
    let got = node.ask(&["get", "k", "--json"]).json();
    assert_eq!(got["bins"], json!({"n": 15, "s": "xxx"}));

    let touched = node.ask(&[
        "operate", "k", "touch", "read", "n", "--ttl", "1h", "--json",
    ]);
    assert_eq!(
        touched.json(),
        json!({"generation": 4, "reads": [{"n": 15}]})
    );
    assert_ne!(
        node.ask(&["get", "k", "--json"]).json()["ttl_s"],
        json!(null)
    );
    let begun = [
        "operate", "k", "delete", "write", "only=1", "read-all", "--json",
    ];
    let before = record_reads(&node);
    let begun = node.ask(&begun).json();
    assert_eq!(begun, json!({"generation": 5, "reads": [{"only": 1}]}));
    assert_eq!(
        record_reads(&node),
        before,
        "what was there does not matter"
    );
    node.ask(&["put", "k", "other=2", "--replace-only"])
        .check_done();
    let gone = node.ask(&["operate", "k", "read", "other", "delete", "--json"]);
    assert_eq!(
        gone.json(),
        json!({"generation": null, "reads": [{"other": 2}]})
    );
    node.ask(&["exists", "k"]).check_failed(3, &["no record"]);
    node.ask(&["put", "k", "other=2", "--replace-only"])
        .check_failed(3, &["there is no record \"k\""]);
}
