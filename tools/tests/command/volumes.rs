//! `volume create` and `volume show` on files.

use std::path::Path;

use corelith_io::{OpenDevice, OpenOptions};
use serde_json::json;
use tempfile::TempDir;

use crate::tool::run;

/// A folder on a file system with O_DIRECT: the tests' own, not one in memory.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

const SMALL: [&str; 8] = [
    "volume",
    "create",
    "--segment-size",
    "64K",
    "--extent-size",
    "64K",
    "--shards",
    "4",
];

fn create<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SMALL[..], more].concat()
}

/// A file of this size that holds these bytes at these offsets.
fn write_file(path: &Path, size_bytes: usize, parts: &[(usize, &[u8])]) {
    let mut bytes = vec![0; size_bytes];
    for (offset, part) in parts {
        bytes[*offset..*offset + part.len()].copy_from_slice(part);
    }
    std::fs::write(path, bytes).unwrap();
}

const SIZE: usize = 16 << 20;

#[test]
fn made_and_shown() {
    let folder = folder();
    let here = folder.path();
    let made = run(
        here,
        &create(&[
            "--json",
            "--namespace",
            "payments",
            "--size",
            "16M",
            "a",
            "b",
        ]),
    );
    let made = made.json();
    assert_eq!(made["namespace"], "payments");
    assert_eq!(made["shards"], 4);
    assert_eq!(made["segment_bytes"], 65536);
    assert_eq!(made["size_bytes"], 2 * SIZE);
    assert_eq!(made["devices"][1]["path"], "b");
    assert_eq!(
        std::fs::metadata(here.join("a")).unwrap().len(),
        SIZE as u64
    );

    let shown = run(here, &["volume", "show", "b", "a", "--json"]).json();
    assert_eq!(
        shown["volumes"],
        json!([{
            "volume": made["volume"],
            "namespace": "payments",
            "shards": 4,
            "devices": 2,
            "missing_slots": [],
            "doubled_slots": [],
            "is_whole": true,
        }])
    );
    let (b, a) = (&shown["devices"][0], &shown["devices"][1]);
    assert_eq!((&b["path"], &b["slot"]), (&json!("b"), &json!(1)));
    assert_eq!((&a["path"], &a["slot"]), (&json!("a"), &json!(0)));
    assert_ne!(a["device"], b["device"]);
    let by_shard = a["extents_by_shard"].as_array().unwrap();
    let sum: u64 = by_shard
        .iter()
        .map(|extents| extents.as_u64().unwrap())
        .sum();
    assert_eq!((by_shard.len(), &json!(sum)), (4, &a["extents"]));
    let segments: u64 = [a, b]
        .iter()
        .map(|device| device["extents"].as_u64().unwrap())
        .sum();
    assert_eq!(made["segments"], segments);
}

#[test]
fn a_part_of_a_volume_is_told_from_the_whole() {
    let folder = folder();
    let here = folder.path();
    run(here, &create(&["--size", "16M", "a", "b"])).check_done();
    let shown = run(here, &["volume", "show", "b"]);
    shown.check_failed(1, &["a volume is not whole"]);
    assert!(
        shown.stdout.contains("slot 0 of 2 was not given"),
        "{shown:?}"
    );
    std::fs::copy(here.join("a"), here.join("copy")).unwrap();
    let shown = run(here, &["volume", "show", "b", "a", "copy"]);
    shown.check_failed(1, &["a volume is not whole"]);
    assert!(shown.stdout.contains("slot 0 was given twice"), "{shown:?}");
}

#[test]
fn what_is_not_ours_is_named() {
    let folder = folder();
    write_file(&folder.path().join("xfs"), SIZE, &[(0, b"XFSB")]);
    write_file(&folder.path().join("zeros"), SIZE, &[]);
    let shown = run(folder.path(), &["volume", "show", "xfs", "zeros", "none"]);
    shown.check_failed(1, &["3 of 3 devices have no usable label"]);
    for words in [
        "an XFS file system",
        "zeros: no Corelith label; it holds nothing",
        "none: there is no such",
    ] {
        assert!(shown.stdout.contains(words), "{shown:?}");
    }
    let devices = run(folder.path(), &["--json", "volume", "show", "xfs"]);
    assert!(
        devices
            .stdout
            .contains(r#""error":"xfs: no Corelith label"#),
        "{devices:?}"
    );
}

#[test]
fn what_is_not_plainly_free_is_refused_unless_forced() {
    for (parts, words) in [
        (&[(1080, &b"\x53\xef"[..])][..], "ext2, ext3 or ext4"),
        (
            &[(512, b"EFI PART"), (SIZE - 512, b"EFI PART")],
            "GPT partition table",
        ),
        (&[(SIZE - 65536, b"\xfc\x4e\x2b\xa9")], "Linux RAID member"),
        (
            &[(777_777, b"x")],
            "data of an unknown kind (at byte 777777)",
        ),
    ] {
        let folder = folder();
        let path = folder.path().join("used");
        write_file(&path, SIZE, parts);
        let before = std::fs::read(&path).unwrap();
        run(folder.path(), &create(&["used"])).check_failed(1, &["used holds", words, "--force"]);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            before,
            "a refused device was written to"
        );

        run(folder.path(), &create(&["--force", "used"])).check_done();
        run(folder.path(), &["volume", "show", "used"]).check_done();
        let after = std::fs::read(&path).unwrap();
        for (offset, part) in parts {
            assert_ne!(
                &after[*offset..*offset + part.len()],
                *part,
                "{words} is still there"
            );
        }
    }
}

#[test]
fn one_used_device_spares_all_others() {
    let folder = folder();
    write_file(&folder.path().join("free"), SIZE, &[]);
    write_file(&folder.path().join("used"), SIZE, &[(0, b"LUKS\xba\xbe")]);
    run(folder.path(), &create(&["free", "used"])).check_failed(1, &["used holds a LUKS"]);
    assert_eq!(
        std::fs::read(folder.path().join("free")).unwrap(),
        vec![0; SIZE]
    );
}

#[test]
fn our_own_label_is_a_reason_to_refuse() {
    let folder = folder();
    let here = folder.path();
    let first = run(
        here,
        &create(&["--json", "--namespace", "old", "--size", "16M", "a"]),
    )
    .json();
    let identity = first["volume"].as_str().unwrap();
    let refused = run(here, &create(&["a"]));
    refused.check_failed(
        1,
        &["slot 0 of 1 of the Corelith volume", identity, "\"old\""],
    );
    let second = run(here, &create(&["--json", "--force", "a"])).json();
    assert_ne!(first["volume"], second["volume"]);
}

#[test]
fn a_volume_too_small_leaves_nothing_behind() {
    let folder = folder();
    let refused = run(
        folder.path(),
        &[
            "volume", "create", "--shards", "8", "--size", "64M", "a", "b",
        ],
    );
    let words = [
        "too small: 128 MiB",
        "8 shards with segments of 16 MiB on 2 device(s)",
    ];
    refused.check_failed(1, &words);
    refused.check_failed(
        1,
        &["--segment-size", "fewer --shards", "files with --size "],
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // What it says to give is enough.
    let said = refused.stderr.split("--size ").nth(1).unwrap();
    let size = said.split(' ').next().unwrap();
    let enough = [
        "volume", "create", "--shards", "8", "--size", size, "a", "b",
    ];
    run(folder.path(), &enough).check_done();
}

#[test]
fn the_minimum_that_is_told_is_enough_and_less_is_not() {
    for (shards, devices, extent) in [
        ("4", 1, "64K"),
        ("8", 3, "64K"),
        ("7", 2, "256K"),
        ("1", 1, "1M"),
        ("16", 5, "128K"),
    ] {
        let folder = folder();
        let make = |size: &str, name: &str| {
            let names: Vec<String> = (0..devices)
                .map(|number| format!("{name}{number}"))
                .collect();
            let base = ["volume", "create", "--json", "--segment-size", "64K"];
            let more = ["--extent-size", extent, "--shards", shards, "--size", size];
            let names = names.iter().map(String::as_str);
            let arguments: Vec<&str> = base.into_iter().chain(more).chain(names).collect();
            run(folder.path(), &arguments)
        };
        let made = make("64M", "large").json();
        let least = made["size_bytes_min"].as_u64().unwrap() / devices;
        make(&least.to_string(), "least").json();
        if least > 1 << 20 {
            make(&(least - 4096).to_string(), "less").check_failed(1, &["too small"]);
        }
    }
}

#[test]
fn a_file_in_use_is_refused_but_can_be_looked_at() {
    let folder = folder();
    let here = folder.path();
    run(here, &create(&["--size", "16M", "a"])).check_done();
    let held = OpenDevice::open(&here.join("a"), OpenOptions::default()).unwrap();
    run(here, &create(&["--force", "a"])).check_failed(1, &["locked"]);
    run(here, &["volume", "show", "a"]).check_done();
    drop(held);
    run(here, &create(&["--force", "a"])).check_done();
}

#[test]
fn paths_that_cannot_be() {
    let folder = folder();
    let here = folder.path();
    write_file(&here.join("a"), SIZE, &[]);
    std::os::unix::fs::symlink("a", here.join("link")).unwrap();
    for (arguments, words) in [
        (&["a", "./a"][..], "are the same device"),
        (&["a", "link"], "are the same device"),
        (&["--size", "16M", "new", "./new"], "are the same device"),
        (&["none"], "--size to make a file"),
        (
            &["--size", "16M", "a"],
            "--size is for files that are to be made",
        ),
        (
            &["--size", "16M", "/dev/no-such-drive"],
            "there is no such device",
        ),
        (&["--size", "16M", "no-such-folder/a"], "no-such-folder/a"),
        (&["."], "this is a directory"),
        (&["/dev/null"], "character device"),
        (
            &["--segment-size", "100000", "a"],
            "segment_bytes is 100000",
        ),
    ] {
        let arguments: Vec<&str> = ["volume", "create"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(here, &arguments).check_failed(1, &[words]);
    }
    let usage = run(here, &["volume", "create", "--shards", "0", "a"]);
    assert_eq!(usage.code, 2, "{usage:?}");
    let usage = run(here, &["volume", "create", "--segment-size", "x", "a"]);
    assert_eq!(usage.code, 2, "{usage:?}");
    assert_eq!(std::fs::read(here.join("a")).unwrap(), vec![0; SIZE]);
}
