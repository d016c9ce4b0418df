//! What stands in the way of a start is said with its remedy, and nothing is changed.

use std::net::TcpListener;
use std::path::Path;

use corelith_io::{BufferPool, BufferPoolConfig, OpenDevice, Ring, RingConfig};
use corelith_store::volume::{FormatOptions, format_volume};

use crate::peer::{Peer, check_serves};
use crate::running::{
    BINARY, Ended, Node, command, folder, free_ports, run_command_to_end, run_to_end,
};

#[test]
fn devices_that_cannot_be() {
    let folder = folder();
    let ended = run_to_end(folder.path(), &["--device", "/dev/there-is-none"]);
    ended.check_failed(&["/dev/there-is-none", "no such device or file"]);

    std::fs::create_dir(folder.path().join("a-folder")).unwrap();
    run_to_end(folder.path(), &["--device", "a-folder"]).check_failed(&["a-folder"]);

    let notes = folder.path().join("notes.txt");
    std::fs::write(&notes, "not a volume\n".repeat(100_000)).unwrap();
    let ended = run_to_end(folder.path(), &["--device", "notes.txt"]);
    ended.check_failed(&["notes.txt", "corelith volume create"]);
    assert_eq!(
        std::fs::read_to_string(&notes).unwrap(),
        "not a volume\n".repeat(100_000)
    );

    let ended = run_to_end(folder.path(), &["--device", "/dev/null"]);
    ended.check_failed(&["/dev/null"]);
}

/// Formats a volume of two files.
fn make_volume(folder: &Path, name: &str, identity: u8) {
    let pool = BufferPool::new(BufferPoolConfig::default()).unwrap();
    let ring = Ring::new(RingConfig::default(), &pool).unwrap();
    let files = [0, 1].map(|slot| {
        let path = folder.join(format!("{name}{slot}"));
        OpenDevice::create_file(&path, 64 << 20).unwrap()
    });
    let devices = files.map(|file| file.attach(&ring).unwrap());
    let mut options = FormatOptions::new(name, 1, [identity; 16], vec![[1; 16], [2; 16]]);
    options.segment_bytes = 1 << 20;
    let formatted = format_volume(&devices, &pool, &options);
    ring.block_on(formatted).unwrap().unwrap();
}

/// Of devices of two volumes in one list it was said that a slot was missing, and no more.
#[test]
fn devices_of_two_volumes_are_told_apart() {
    let folder = folder();
    make_volume(folder.path(), "carts", 0x11);
    make_volume(folder.path(), "users", 0x22);
    let (carts, users) = (
        "11111111-1111-1111-1111-111111111111",
        "22222222-2222-2222-2222-222222222222",
    );
    let file = "[namespace.carts]\ndevices = [\"carts0\", \"users1\"]\n";
    std::fs::write(folder.path().join("node.toml"), file).unwrap();
    let mixed = [
        carts,
        "carts0 is slot 0; slot 1 was not given",
        users,
        "users1 is slot 1; slot 0 was not given",
    ];
    let by_file: [&str; 3] = [
        "of namespace \"carts\" are of 2 volumes",
        "(namespace \"users\", 2 devices)",
        "[namespace.NAME]",
    ];
    let ended = run_to_end(folder.path(), &["--config", "node.toml"]);
    ended.check_failed(&[&mixed[..], &by_file].concat());
    std::fs::remove_file(folder.path().join("log")).unwrap();

    let flags = ["--device", "carts0", "--device", "users1"];
    let ended = run_to_end(folder.path(), &flags);
    ended.check_failed(&[&mixed[..], &["give all devices of each volume"]].concat());
    std::fs::remove_file(folder.path().join("log")).unwrap();

    let ended = run_to_end(folder.path(), &["--device", "users0"]);
    ended.check_failed(&[users, "\"users\"", "slot 1 was not given"]);
    // Whole volumes of several names are served together.
    let whole = [
        "--device", "users1", "--device", "carts0", "--device", "users0", "--device", "carts1",
        "--cores", "1",
    ];
    check_serves(&Node::start_in(folder, &[BINARY], &whole));
}

#[test]
fn a_volume_has_one_node_at_a_time() {
    let node = Node::start();
    let path = node.volume();
    let second = folder();
    let ended = run_to_end(second.path(), &["--device", path.to_str().unwrap()]);
    ended.check_failed(&["another process", "corelithd"]);
    check_serves(&node);
}

#[test]
fn a_label_that_is_newer_or_rotten_is_not_served() {
    let node = Node::start();
    let path = node.volume();
    let kept = node.kill();
    let mut bytes = std::fs::read(&path).unwrap();
    // The copy at the front, then both: one is enough to start, none is not.
    let length = bytes.len();
    bytes[64] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    let node = Node::start_in(kept, &[BINARY], &[]);
    check_serves(&node);
    let kept = node.kill();
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in &mut bytes[..256 << 10] {
        *byte ^= 0x55;
    }
    for byte in &mut bytes[length - (64 << 10)..] {
        *byte ^= 0x55;
    }
    std::fs::write(&path, &bytes).unwrap();
    let ended = run_to_end(kept.path(), &[]);
    ended.check_failed(&["volume.corelith"]);
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was written");
}

#[test]
fn ports_that_are_taken() {
    let folder = folder();
    let (port, control) = free_ports();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let ended = run_command_to_end(
        command(&[BINARY], folder.path(), (port, control))
            .args(["--size", "512M", "--shards", "4"]),
        folder.path(),
    );
    ended.check_failed(&[&port.to_string(), "in use"]);
    drop(taken);

    let second = crate::running::folder();
    let taken = TcpListener::bind(("127.0.0.1", control)).unwrap();
    let ended = run_command_to_end(
        command(&[BINARY], second.path(), (port, control))
            .args(["--size", "512M", "--shards", "4"]),
        second.path(),
    );
    ended.check_failed(&[&control.to_string(), "in use", "--control"]);
    drop(taken);
}

#[test]
fn flags_that_are_wrong() {
    let folder = folder();
    let lines: [(&[&str], &[&str]); 7] = [
        (&["--core", "2"], &["--core", "--cores"]),
        (&["--cores", "0"], &["0"]),
        (&["--size", "many"], &["many", "4 GiB"]),
        (&["--flush-interval", "5m"], &["1ms to 1s"]),
        (&["--durability", "never"], &["auto", "flush", "fua"]),
        (
            &["--size", "1M", "--shards", "4"],
            &[
                "namespace \"test\": a volume of 1 MiB is too small",
                "take 386 MiB at least",
                "--size",
                "--shards",
            ],
        ),
        (
            &["--size", "385M", "--shards", "4", "--check"],
            &["385 MiB is too small"],
        ),
    ];
    for (arguments, words) in lines {
        run_to_end(folder.path(), arguments).check_failed(words);
        assert!(
            !folder.path().join("corelith-data/volume.corelith").exists(),
            "nothing was made"
        );
        std::fs::remove_file(folder.path().join("log")).unwrap();
    }
    // What is told to be enough is.
    let enough = ["--size", "386M", "--shards", "4", "--check"];
    let ended = run_to_end(folder.path(), &enough);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let ended = run_command_to_end(
        std::process::Command::new(BINARY)
            .args(["--listen", "0.0.0.0:0"])
            .current_dir(folder.path())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap()),
        folder.path(),
    );
    ended.check_failed(&["0.0.0.0", "loopback"]);
}

/// A `--check` in a folder, with variables and flags; nothing of the environment that this test is run in.
fn check_with(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = std::process::Command::new(BINARY);
    command
        .env_clear()
        .envs(variables.iter().copied())
        .args(arguments)
        .arg("--check")
        .current_dir(folder)
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    run_command_to_end(&mut command, folder)
}

/// A variable that was exported for the command `corelith` changed where the node listens, and nothing said so.
#[test]
fn what_the_environment_changes_is_told() {
    let folder = folder();
    let here = folder.path();
    let file = "[node]\ncontrol = \"127.0.0.1:5001\"\n[namespace.a]\nfile = \"v\"\n[namespace.b]\nfile = \"w\"\n";
    std::fs::write(here.join("node.toml"), file).unwrap();
    let by_file = ["--config", "node.toml"];
    let control = [("CORELITH_CONTROL", "127.0.0.1:5002")];
    let check = |variables: &[(&str, &str)], arguments: &[&str], words: &[&str], not: &str| {
        let ended = check_with(here, variables, arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        for word in words {
            assert!(ended.text.contains(word), "{word:?}: {}", ended.text);
        }
        assert!(!ended.text.contains(not), "{not:?}: {}", ended.text);
    };
    // The environment goes before the file, with a warning.
    let said = "CORELITH_CONTROL of the environment is taken: node.control = \"127.0.0.1:5002\", where the file makes it \
                \"127.0.0.1:5001\"";
    let holds = "\nnode.control = \"127.0.0.1:5002\"\n";
    check(&control, &by_file, &["WARN", said, holds], "5003");
    // The command line goes before both, and then there is nothing to tell.
    let flag = [&by_file[..], &["--control", "127.0.0.1:5003"]].concat();
    let holds = "node.control = \"127.0.0.1:5003\"\n";
    check(&control, &flag, &[holds], "CORELITH_CONTROL");
    // Without a file it is told and no warning, and the file itself may be named so.
    let said = "CORELITH_CONTROL of the environment is taken: node.control = \"127.0.0.1:5002\"";
    check(&control, &[], &["INFO", said], "WARN");
    let named = [
        ("CORELITH_CONFIG", "node.toml"),
        ("CORELITH_LISTEN", "127.0.0.1:6000"),
    ];
    let words = [
        "CORELITH_CONFIG of the environment is taken",
        "node.listen = \"127.0.0.1:6000\", where the file makes it",
    ];
    check(&named, &[], &words, "CORELITH_CONTROL");

    // What is wrong is said by the name under which it was given.
    let for_a_tool = [("CORELITH_CONTROL", "db1")];
    check_with(here, &for_a_tool, &by_file).check_failed(&[
        "--control",
        "CORELITH_CONTROL",
        "127.0.0.1:4190",
    ]);
    let beyond = [("CORELITH_CONTROL", "10.0.0.1:4190")];
    check_with(here, &beyond, &by_file).check_failed(&[
        "CORELITH_CONTROL of the environment",
        "10.0.0.1:4190 is not a loopback",
    ]);
    let of_which = [("CORELITH_DATA_DIR", "there")];
    check_with(here, &of_which, &by_file).check_failed(&["which one CORELITH_DATA_DIR is for"]);
}

#[test]
fn a_stop_and_a_crash_keep_what_was_acknowledged() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    for key in 0..200 {
        assert_eq!(peer.put(key, &key.to_string()), corelith_wire::Status::Ok);
    }
    let folder = node.kill();
    let node = Node::start_in(folder, &[BINARY], &["--cores", "1"]);
    let mut peer = Peer::greet(&node);
    for key in 0..200 {
        assert_eq!(peer.get(key), Some(key.to_string()));
    }
}
