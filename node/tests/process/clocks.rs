//! A machine whose clock was wrong: what the volume has seen of time is far ahead of the node's own clock, or far
//! behind it. The clock of this machine is left alone; the store is run on the node's volume with another one.

use std::path::{Path, PathBuf};
use std::pin::pin;

use corelith_index::{ExpirySeconds, SetId};
use corelith_io::{
    BufferPool, BufferPoolConfig, Clock, OpenDevice, OpenOptions, Ring, RingConfig,
    SimulatedMachine,
};
use corelith_store::volume::{FormatOptions, format_volume, open_volume};
use corelith_store::{Change, Current, Needs, Shard, ShardOptions};
use corelith_wire::{PutRequest, Request, Status, Ttl};
use futures_util::future::{Either, select};
use nix::sys::signal::Signal;

use crate::operators::set;
use crate::peer::{Peer, check_serves, content, digest, get, put};
use crate::running::{BINARY, Node, SMALL, folder};

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// Shards of the volume.
const SHARDS: u16 = 4;

fn now_s() -> u64 {
    Clock::real().wall_ms() / 1000
}

/// Writes keys with how long they live, in seconds (0 for ever), into a volume that no node serves, and which is made if it is
/// not there, when it is `wall_s`.
fn write_at(volume: &Path, wall_s: u64, keys: &[(u64, u64)]) {
    let pool = BufferPool::new(BufferPoolConfig::default()).unwrap();
    let ring = Ring::new(RingConfig::default(), &pool).unwrap();
    let machine = SimulatedMachine::new(1);
    machine.set_wall_ms(wall_s * 1000);
    let clock = machine.clock();
    let is_new = !volume.exists();
    let opened = if is_new {
        std::fs::create_dir_all(volume.parent().unwrap()).unwrap();
        OpenDevice::create_file(volume, 512 << 20).unwrap()
    } else {
        OpenDevice::open(volume, OpenOptions::default()).unwrap()
    };
    let devices = [opened.attach(&ring).unwrap()];
    let work = async {
        if is_new {
            let format = FormatOptions::new("test", SHARDS, [1; 16], vec![[2; 16]]);
            format_volume(&devices, &pool, &format).await.unwrap();
        }
        let (volume, _) = open_volume(&devices, &pool).await.unwrap();
        for number in 0..SHARDS {
            let options = ShardOptions {
                shard: number,
                index_memory_bytes: 4 << 20,
                record_cache_bytes: 0,
                checkpoint: corelith_store::CheckpointPace::NONE,
                accept_stale: false,
                index_bytes_cached: 4 << 20,
            };
            let shard = Shard::open(&volume, &devices, (&pool, &clock), &options)
                .await
                .unwrap();
            let keys = keys.iter();
            let of_shard = keys.filter(|(key, _)| {
                let partition = digest(*key).partition();
                partition.get() % SHARDS == number
            });
            let writer = shard.clone();
            let writes = async move {
                for (key, lives_s) in of_shard {
                    write(&writer, *key, *lives_s).await;
                }
                writer.close();
            };
            match select(pin!(writes), pin!(shard.run())).await {
                Either::Left(((), background)) => background.await,
                Either::Right(_) => panic!("the shard ended"),
            }
        }
    };
    ring.block_on(work).unwrap();
}

async fn write(shard: &Shard, key: u64, lives_s: u64) {
    let now_s = shard.now_ms() / 1000 - ExpirySeconds::UNIX_OFFSET_SECONDS;
    let expiry = match lives_s {
        0 => ExpirySeconds::NEVER,
        lives_s => ExpirySeconds::new(u32::try_from(now_s + lives_s).unwrap()),
    };
    let set = SetId::NONE;
    let change = Change::PutInput { expiry, set };
    let decide = |_: Option<Current<'_>>, _: &mut Vec<u8>| Ok::<_, ()>(change);
    let (digest, content) = (digest(key), content("v", &key.to_string()));
    let written = shard.write(&digest, Needs::Metadata, &content, decide);
    written.await.unwrap();
}

/// Puts a key by way of the node, to live so long.
fn put_for(peer: &mut Peer, key: u64, lives_s: u64) {
    let content = content("v", &key.to_string());
    let Request::Put(for_ever) = put(key, &content) else {
        panic!("a put")
    };
    let ttl = Ttl::Seconds(u32::try_from(lives_s).unwrap());
    let put = Request::Put(PutRequest { ttl, ..for_ever });
    assert_eq!(peer.ask(&put).status(), Status::Ok);
}

/// Asserts which keys are there.
fn check(node: &Node, living: &[u64], gone: &[u64]) {
    let mut peer = Peer::greet(node);
    for key in living {
        let value = peer.ask(&get(*key)).value();
        assert_eq!(value, Some(key.to_string()), "{}", node.log());
    }
    for key in gone {
        assert_eq!(peer.get(*key), None, "key {key}");
    }
}

#[test]
fn a_clock_that_was_ahead_costs_nothing_that_lives() {
    let mut node = Node::start_with(&SMALL);
    let mut peer = Peer::greet(&node);
    assert_eq!(peer.put(1, "1"), Status::Ok);
    put_for(&mut peer, 2, HOUR_S);
    put_for(&mut peer, 3, 10 * DAY_S);
    drop(peer);
    assert_eq!(node.stop(), 0, "{}", node.log());

    // Three days from now something is written, to each shard; the machine is then set right.
    let ahead: Vec<(u64, u64)> = (100..140).map(|key| (key, 0)).collect();
    write_at(&node.volume(), now_s() + 3 * DAY_S, &ahead);
    node.start_again();
    let mut living: Vec<u64> = [1, 3].into_iter().chain(100..140).collect();
    // By the time that the store has seen, the second one's hour is over.
    check(&node, &living, &[2]);

    // It goes on: what is written now lives as long as it is to, by that same time.
    check_serves(&node);
    put_for(&mut Peer::greet(&node), 4, HOUR_S);
    living.push(4);
    check(&node, &living, &[2]);
    node.signal(Signal::SIGKILL);
    node.wait_killed();
    node.start_again();
    check(&node, &living, &[2]);
    check_serves(&node);
    assert_eq!(node.stop(), 0, "{}", node.log());
}

#[test]
fn a_clock_that_was_behind_ends_only_what_is_over() {
    // A year ago, as the machine thought: what has no end or a far one lives on when it is set right.
    let keys = [(1, 0), (2, DAY_S), (3, 1000 * DAY_S)];
    let others: Vec<(u64, u64)> = (100..140).map(|key| (key, 0)).collect();
    let keys = [&keys[..], &others].concat();
    let folder = folder();
    let volume = folder.path().join("corelith-data/volume.corelith");
    write_at(&volume, now_s() - 365 * DAY_S, &keys);
    let living: Vec<u64> = [1, 3].into_iter().chain(100..140).collect();
    let mut node = Node::start_in(folder, &[BINARY], &SMALL);
    let log = node.log();
    let said = log
        .matches("nothing was written for longer than a day")
        .count();
    assert_eq!(said, 1, "once for all shards: {log}");
    for _ in 0..2 {
        check(&node, &living, &[2]);
        check_serves(&node);
        assert_eq!(node.stop(), 0, "{}", node.log());
        node.start_again();
    }
}

/// Adds to the wall clock of a process, and to that alone, the seconds that a file says.
const AHEAD: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, id, now);
    const char *path = getenv("CLOCK_AHEAD");
    int file = id == CLOCK_REALTIME && path ? open(path, O_RDONLY) : -1;
    char text[32] = {0};
    if (file >= 0 && read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    if (file >= 0) close(file);
    return (int)result;
}
"#;

/// Makes the library that does it.
fn make_library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("ahead.c"), folder.join("ahead.so"));
    std::fs::write(&source, AHEAD).unwrap();
    let mut compiler = std::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
    let status = compiler.arg(&source).status().unwrap();
    assert!(status.success(), "{status}");
    library
}

/// One write by a clock that was a year ahead was enough: the store never went back behind it.
#[test]
fn a_clock_that_steps_while_the_node_runs_is_not_written_down() {
    let folder = folder();
    let library = make_library(folder.path());
    let ahead = folder.path().join("ahead");
    // In one step, so that the node never reads half of it.
    let step_to = |seconds: u64| {
        let next = ahead.with_extension("next");
        std::fs::write(&next, seconds.to_string()).unwrap();
        std::fs::rename(&next, &ahead).unwrap();
    };
    step_to(0);
    let variables = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("CLOCK_AHEAD", ahead.to_str().unwrap()),
    ];
    let mut node = Node::spawn(folder, (&[BINARY], &SMALL), &variables);
    node.wait_until_ready();
    let mut peer = Peer::greet(&node);
    assert_eq!(peer.put(1, "1"), Status::Ok);
    put_for(&mut peer, 2, HOUR_S);
    put_for(&mut peer, 3, 10 * DAY_S);
    let family = "corelith_shard_clock_ahead_seconds";
    assert_eq!(node.metric(family, &[]), 0.0);

    step_to(3 * DAY_S);
    node.wait_until("refusing", |node| {
        node.log().contains("the wall clock has stepped further")
    });
    assert_eq!(peer.put(4, "4"), Status::ReadOnly);
    check(&node, &[1, 2, 3], &[4]);
    let (status, ready) = node.ready();
    assert_eq!((status, ready.lines().next()), (200, Some("read-only")));
    assert!(
        ready.contains("config set node.clock_jump_max none"),
        "{ready}"
    );
    assert!(node.metric(family, &[]) > 0.0);

    // Set right by whoever sets clocks: nothing has to be said to the node.
    step_to(0);
    assert_eq!(peer.put(4, "4"), Status::Ok);
    node.wait_until("told", |node| {
        node.log().contains("the wall clock is believed again")
    });
    check(&node, &[1, 2, 3, 4], &[]);

    // Right as it is now, and an operator says so: then the bound holds from there.
    step_to(3 * DAY_S);
    assert_eq!(peer.put(5, "5"), Status::ReadOnly);
    for value in ["none", "1 d"] {
        let (status, said) = set(&node, "node.clock_jump_max", value);
        assert_eq!(status, 200, "{said}");
    }
    node.wait_until("believed", |node| node.metric(family, &[]) < 1.0);
    assert_eq!(peer.put(5, "5"), Status::Ok);
    check(&node, &[1, 3, 4, 5], &[2]);
    step_to(6 * DAY_S);
    assert_eq!(peer.put(6, "6"), Status::ReadOnly);
    // A start takes the clock as it is.
    assert_eq!(node.stop(), 0, "{}", node.log());
    node.start_again();
    assert!(
        node.log()
            .contains("nothing was written for longer than a day")
    );
    check(&node, &[1, 3, 4, 5], &[2, 6]);
    check_serves(&node);
}
