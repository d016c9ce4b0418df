//! Bad days that come together: what is said, that the node goes on, and that nothing acknowledged is lost.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::channel;

use corelith_store::format::superblock::{SUPERBLOCK_BYTES, Superblock};
use corelith_wire::Status;

use crate::peer::{Peer, check_serves, get};
use crate::running::{BINARY, Node, SMALL, folder, run_to_end};
use crate::stopping::load;

/// What an unknown key of a file is told with: the file, the line, and the key that was meant.
#[test]
fn a_configuration_with_an_unknown_key_is_refused() {
    let folder = folder();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "[node]\ncores = 1\nconections_per_core_max = 5\n").unwrap();
    let ended = run_to_end(folder.path(), &["--config", "node.toml"]);
    ended.check_failed(&[
        "node.toml",
        "3",
        "conections_per_core_max",
        "connections_per_core_max",
    ]);
    assert!(
        !folder.path().join("corelith-data").exists(),
        "nothing was made"
    );
}

/// Somebody else's file system is not served, and not written to.
#[test]
fn a_device_with_a_foreign_signature_is_left_alone() {
    let folder = folder();
    let mut bytes = vec![0; 8 << 20];
    // ext4 says so 1,080 bytes behind its begin, XFS at it.
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    bytes[..4].copy_from_slice(b"XFSB");
    let device = folder.path().join("device");
    std::fs::write(&device, &bytes).unwrap();
    let ended = run_to_end(folder.path(), &["--device", "device"]);
    ended.check_failed(&["device", "corelith volume create"]);
    assert!(
        std::fs::read(&device).unwrap() == bytes,
        "it was written to"
    );
}

/// Changes every label on a volume.
fn relabel(volume: &Path, change: impl Fn(&mut Superblock)) {
    let mut bytes = std::fs::read(volume).unwrap();
    let mut labels = 0;
    for block in bytes.chunks_exact_mut(4096) {
        let Some(block) = block.first_chunk_mut::<SUPERBLOCK_BYTES>() else {
            continue;
        };
        if let Ok(mut label) = Superblock::decode(block) {
            change(&mut label);
            *block = label.encode();
            labels += 1;
        }
    }
    assert!(labels >= 2, "{labels} labels");
    std::fs::write(volume, &bytes).unwrap();
}

#[test]
fn a_volume_of_a_newer_format_is_refused_and_served_again_by_its_own() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    assert_eq!(peer.put(1, "kept"), Status::Ok);
    let volume = node.volume();
    let kept = node.kill();
    let ours = std::fs::read(&volume).unwrap();
    relabel(&volume, |label| label.features_incompatible = 4);
    let before = std::fs::read(&volume).unwrap();
    let ended = run_to_end(kept.path(), &[]);
    ended.check_failed(&["volume.corelith", "newer"]);
    assert!(
        std::fs::read(&volume).unwrap() == before,
        "it was written to"
    );
    std::fs::write(&volume, &ours).unwrap();
    let node = Node::start_in(kept, &[BINARY], &SMALL);
    assert_eq!(Peer::greet(&node).get(1).as_deref(), Some("kept"));
}

/// A device of one volume beside a device of another is no volume.
#[test]
fn devices_of_two_volumes_are_not_mixed() {
    let first = Node::start();
    let (first_volume, first_kept) = (first.volume(), first.kill());
    let second = Node::start();
    let (second_volume, second_kept) = (second.volume(), second.kill());
    let paths = [
        first_volume.to_str().unwrap(),
        second_volume.to_str().unwrap(),
    ];
    let third = folder();
    let ended = run_to_end(third.path(), &["--device", paths[0], "--device", paths[1]]);
    ended.check_failed(&["volume"]);
    for (kept, path) in [(first_kept, paths[0]), (second_kept, paths[1])] {
        let node = Node::start_in(kept, &[BINARY], &["--device", path]);
        check_serves(&node);
    }
}

/// Killed under load, with strangers at the door, and in the middle of the start after it: what was answered
/// is there.
#[test]
fn kills_at_any_time_lose_nothing_that_was_acknowledged() {
    let mut acknowledged = Vec::new();
    let mut kept = folder();
    for round in 0..4_u64 {
        // Killed before it serves, at another point of its start in each round.
        let started = Node::spawn(kept, (&[BINARY], &SMALL), &[]);
        for _ in 0..round * 3 {
            drop(started.ready());
        }
        kept = started.kill();
        let node = Node::start_in(kept, &[BINARY], &SMALL);
        let (progress_in, progress) = channel();
        let port = node.port;
        let answered: Vec<u64>;
        (kept, answered) = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..2)
                .map(|number| {
                    let progress = progress_in.clone();
                    let first = (round * 2 + number) << 32;
                    scope.spawn(move || load(port, first, &progress))
                })
                .collect();
            drop(progress_in);
            scope.spawn(move || {
                let mut garbage = Peer::greet_at(port);
                garbage.stream.write_all(&[0x5a; 70_000]).ok();
                let mut half = Peer::greet_at(port);
                let frame = half.frame(&get(1));
                half.stream.write_all(&frame[..20]).ok();
                half.stream.write_all(&[0xff; 20]).ok();
            });
            assert_eq!(progress.iter().take(800).count(), 800);
            let kept = node.kill();
            let clients = clients.into_iter();
            let answered = clients.flat_map(|client| client.join().unwrap());
            (kept, answered.collect())
        });
        acknowledged.extend(answered);
    }
    let node = Node::start_in(kept, &[BINARY], &SMALL);
    let mut client = Peer::greet(&node);
    assert!(acknowledged.len() >= 3200);
    for key in acknowledged {
        assert_eq!(client.ask(&get(key)).status(), Status::Ok, "{key}");
    }
    check_serves(&node);
}
