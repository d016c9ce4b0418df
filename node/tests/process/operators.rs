//! What operators ask of a running node and change: slow operations, connections, quiescing, live keys.

use std::io::{Read, Write};
use std::net::TcpStream;

use corelith_wire::Status;
use nix::sys::signal::Signal;

use crate::peer::{Peer, check_serves, content, get, put};
use crate::running::{BINARY, Node, folder};

/// Gives a command to the control page; its status and what it says.
fn command(node: &Node, path: &str) -> (u16, String) {
    send(node, "127.0.0.1", path, "Corelith-Command: 1\r\n", "")
}

fn send(node: &Node, host: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", node.control)).unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// The IDs of all connections, oldest first.
fn connections(node: &Node) -> Vec<String> {
    let (status, text) = node.page("/connections");
    assert_eq!(status, 200, "{text}");
    let ids = text.split("\"id\":\"").skip(1);
    ids.map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

/// Changes a key of the configuration; the status and what is said.
pub(crate) fn set(node: &Node, key: &str, value: &str) -> (u16, String) {
    let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
    let header = "Corelith-Command: 1\r\n";
    send(node, "127.0.0.1", "/configuration/change", header, &body)
}

#[test]
fn a_quiesced_node_finishes_what_it_has_and_takes_nothing_new() {
    let node = Node::start();
    let mut idle = Peer::greet(&node);
    let mut busy = Peer::greet(&node);
    let text = content("v", "kept");
    let sent = 400;
    let frames: Vec<u8> = (1..=sent)
        .flat_map(|key| busy.frame_with((1, key), &put(key, &text)))
        .collect();
    busy.send(&frames);
    let first = busy.receive().unwrap();
    assert_eq!(first.status(), Status::Ok);

    let (status, said) = command(&node, "/quiesce");
    assert_eq!(status, 200, "{said}");
    let (status, ready) = node.ready();
    assert_eq!((status, ready.lines().next()), (503, Some("quiesced")));
    assert!(ready.contains("corelith quiesce --undo"), "{ready}");
    assert!(node.metric("corelith_state", &["quiesced"]) > 0.0);

    // What was accepted is answered, the rest is refused in words, and then the connection ends.
    let mut acknowledged = vec![first.request()];
    while let Some(answer) = busy.receive() {
        match answer.status() {
            Status::Ok => acknowledged.push(answer.request()),
            Status::Stopping => {}
            status => panic!("{status:?}"),
        }
    }
    assert!(idle.receive().is_none(), "nothing was to be finished here");

    let mut late = Peer::over(node.connect());
    assert_eq!(late.hello().unwrap().status(), Status::Stopping);
    assert!(late.receive().is_none());

    let (status, said) = command(&node, "/resume");
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("\"changed\":true"), "{said}");
    assert_eq!(node.ready().0, 200);
    let mut again = Peer::greet(&node);
    for key in acknowledged {
        assert_eq!(again.get(key).as_deref(), Some("kept"), "{key}");
    }
    check_serves(&node);
}

#[test]
fn a_closed_connection_has_its_answers_and_the_others_stay() {
    let node = Node::start();
    let mut witness = Peer::greet(&node);
    assert_eq!(witness.put(1, &"x".repeat(100_000)), Status::Ok);
    let before = connections(&node);
    let mut polite = Peer::greet(&node);
    assert_eq!(polite.put(2, "answered"), Status::Ok);
    let polite_id = only_new(&before, &connections(&node));
    let before = connections(&node);
    let mut deaf = Peer::greet(&node);
    let frame = deaf.frame(&get(1));
    deaf.send(&frame.repeat(500));
    node_until_deaf(&node);
    let deaf_id = only_new(&before, &connections(&node));
    let listed = node.page("/connections?by=waiting&limit=1").1;
    assert!(listed.contains(&deaf_id), "{listed}");
    assert!(listed.contains("\"client\":\"a test\""), "{listed}");
    assert!(listed.contains("\"peer\":\"127.0.0.1:"), "{listed}");

    let (status, said) = command(&node, &format!("/connections/{polite_id}/close"));
    assert_eq!(status, 200, "{said}");
    assert!(polite.receive().is_none());
    // It takes nothing: it is cut when the time for that is over.
    let (status, said) = command(&node, &format!("/connections/{deaf_id}/close"));
    assert_eq!(status, 200, "{said}");
    let mut node = node;
    node.wait_until("closed", |node| {
        let left = connections(node);
        !left.contains(&polite_id) && !left.contains(&deaf_id)
    });
    let (status, said) = command(&node, &format!("/connections/{polite_id}/close"));
    assert_eq!(status, 404, "{said}");
    assert_eq!(witness.put(3, "stays"), Status::Ok);
    check_serves(&node);
}

fn node_until_deaf(node: &Node) {
    for _ in 0..6000 {
        if node.metric("corelith_outbox_bytes", &[]) > 0.0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("nothing waits: {}", node.log());
}

#[track_caller]
fn only_new(before: &[String], after: &[String]) -> String {
    let new: Vec<_> = after.iter().filter(|id| !before.contains(id)).collect();
    assert_eq!(new.len(), 1, "{before:?} {after:?}");
    new[0].clone()
}

#[test]
fn changes_are_refused_to_what_a_browser_may_send() {
    let node = Node::start();
    let with = "Corelith-Command: 1\r\n";
    assert_eq!(send(&node, "127.0.0.1", "/quiesce", "", "").0, 403);
    assert_eq!(send(&node, "evil.example", "/quiesce", with, "").0, 403);
    assert_eq!(node.page("/quiesce").0, 405);
    let long = "x".repeat(70_000);
    assert_eq!(send(&node, "[::1]:80", "/resume", with, &long).0, 413);
    assert_eq!(node.ready().0, 200);
    check_serves(&node);
}

#[test]
fn slow_operations_are_kept_with_their_course_and_said_once() {
    let node = Node::start_small(&["--slow-log", "1us"]);
    let mut peer = Peer::greet(&node);
    for key in 0..40 {
        assert_eq!(peer.put(key, "slow"), Status::Ok);
        assert_eq!(peer.get(key).as_deref(), Some("slow"));
    }
    let (status, text) = node.page("/slow");
    assert_eq!(status, 200);
    for words in [
        "\"operation\":\"put\"",
        "\"operation\":\"get\"",
        "\"namespace\":\"test\"",
        // One connection and two cores: some keys are the other's.
        "\"crossed_cores\":true",
        "\"crossed_cores\":false",
        &crate::peer::digest(7).to_string(),
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    assert_eq!(text.matches("\"latency_us\"").count(), 80, "{text}");
    let counted = node.metric("corelith_slow_operations_total", &[]);
    assert!((counted - 80.0).abs() < 0.5, "{counted}");
    let log = node.log();
    let said = log.matches("a slow operation").count();
    assert!((1..40).contains(&said), "{said} of 80 operations: {log}");

    // Off, while it runs.
    assert_eq!(set(&node, "node.slow_log", "off").0, 200);
    assert_eq!(peer.put(50, "not slow"), Status::Ok);
    let counted = node.metric("corelith_slow_operations_total", &[]);
    assert!((counted - 80.0).abs() < 0.5, "{counted}");
}

#[test]
fn refused_connections_are_said_once_and_the_bound_changes_live() {
    let folder = folder();
    let file = "[node]\ncores = 1\nconnections_per_core_max = 2\n[namespace.test]\nfile = \"v\"\nsize = \"512 MiB\"\nshards = 4\n";
    std::fs::write(folder.path().join("node.toml"), file).unwrap();
    let mut node = Node::start_in(folder, &[BINARY], &["--config", "node.toml"]);
    let kept = [Peer::greet(&node), Peer::greet(&node)];
    for _ in 0..30 {
        let mut refused = node.connect();
        let mut nothing = Vec::new();
        drop(refused.read_to_end(&mut nothing));
        assert!(nothing.is_empty());
    }
    node.wait_until("counted", |node| {
        node.metric("corelith_connections_refused_total", &[]) >= 30.0
    });
    let log = node.log();
    let said = log.matches("connections were refused").count();
    assert!((1..15).contains(&said), "{said} for 30 connections: {log}");

    let (status, said) = set(&node, "node.connections_per_core_max", "50");
    assert_eq!(status, 200, "{said}");
    check_serves(&node);
    drop(kept);

    // What the memory plan has no room for is refused, one way and the other, and nothing changes.
    let beyond = file.replace("_max = 2", "_max = 50\nmemory_limit = \"1 GiB\"");
    check_no_room(&beyond);

    let (status, said) = set(&node, "node.listen", "127.0.0.1:1");
    assert_eq!(status, 409, "{said}");
    assert!(said.contains("restart needed"), "{said}");
    let (status, said) = set(&node, "node.slowlog", "1ms");
    assert_eq!(status, 404, "{said}");
    assert!(said.contains("node.slow_log"), "{said}");
    let page = node.page("/configuration").1;
    assert!(page.contains("\"node.connections_per_core_max\""), "{page}");
    assert!(page.contains("\"value\":\"50\""), "{page}");
}

/// A node whose memory is planned up to its limit takes no more connections than that, whoever asks for them.
fn check_no_room(file: &str) {
    let folder = folder();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, file).unwrap();
    let mut node = Node::start_in(folder, &[BINARY], &["--config", "node.toml"]);
    let (status, said) = set(&node, "node.connections_per_core_max", "400000");
    assert_eq!(status, 409, "{said}");
    for words in [
        "400000 would take 1563 MiB",
        "at most",
        "raise memory_limit",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let more = file.replace("_max = 50", "_max = 400000\nslow_log = \"1 ms\"");
    std::fs::write(&path, more).unwrap();
    node.signal(Signal::SIGHUP);
    node.wait_until("told", |node| {
        node.log()
            .contains("SIGHUP: nothing was changed: connections_per_core_max = 400000")
    });
    let page = node.page("/configuration").1;
    assert!(page.contains("\"value\":\"50\""), "{page}");
    assert!(!page.contains("1 ms"), "{page}");
    // Within it both may be changed.
    let some = file.replace("_max = 50", "_max = 60\nslow_log = \"1 ms\"");
    std::fs::write(&path, some).unwrap();
    node.signal(Signal::SIGHUP);
    node.wait_until("changed", |node| {
        node.log()
            .contains("SIGHUP: node.connections_per_core_max = 60 from now on")
    });
}
