//! Volumes on block devices: loop devices over tmpfs. They need root, so they run only when asked for.

use std::path::PathBuf;
use std::process::Command;

use crate::tool::run;

const SIZE_BYTES: u64 = 64 << 20;

/// A loop device over a file in memory; gone when it is dropped.
struct LoopDevice {
    path: String,
    backing: PathBuf,
}

impl LoopDevice {
    fn make(name: &str) -> LoopDevice {
        let backing = PathBuf::from(format!(
            "/dev/shm/corelith-tools-{name}-{}",
            std::process::id()
        ));
        std::fs::File::create(&backing)
            .unwrap()
            .set_len(SIZE_BYTES)
            .unwrap();
        let path = output_of(
            "losetup",
            &[
                "--show",
                "--find",
                "--direct-io=on",
                backing.to_str().unwrap(),
            ],
        );
        LoopDevice {
            path: path.trim().to_owned(),
            backing,
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(
            Command::new("losetup")
                .args(["--detach", &self.path])
                .status(),
        );
        drop(std::fs::remove_file(&self.backing));
    }
}

#[track_caller]
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs root and loop devices: ci/test devices"]
fn loop_device_made_shown_and_refused() {
    let device = LoopDevice::make("made");
    let here = std::env::temp_dir();
    let create = |more: &[&str]| {
        let base = ["volume", "create", "--shards", "2", "--segment-size", "1M"];
        run(&here, &[&base[..], more, &[&device.path]].concat())
    };
    create(&[]).check_done();
    let shown = run(&here, &["--json", "volume", "show", &device.path]).json();
    assert_eq!(shown["devices"][0]["size_bytes"], SIZE_BYTES);
    assert_eq!(shown["volumes"][0]["is_whole"], true);
    create(&[]).check_failed(1, &["Corelith volume"]);
    create(&["--force"]).check_done();

    // Nothing that others look for is left of what was there.
    assert_eq!(output_of("wipefs", &["--noheadings", &device.path]), "");
    output_of("mkfs.ext4", &["-q", "-F", &device.path]);
    create(&[]).check_failed(1, &["ext2, ext3 or ext4"]);
    create(&["--force"]).check_done();
    assert_eq!(output_of("wipefs", &["--noheadings", &device.path]), "");
}

#[test]
#[ignore = "needs root and loop devices: ci/test devices"]
fn loop_device_that_is_mounted_is_refused_even_by_force() {
    let device = LoopDevice::make("mounted");
    let folder = tempfile::tempdir().unwrap();
    let mount_point = folder.path().to_str().unwrap();
    output_of("mkfs.ext4", &["-q", "-F", &device.path]);
    output_of("mount", &[&device.path, mount_point]);
    let refused = run(
        folder.path(),
        &["volume", "create", "--force", &device.path],
    );
    let shown = run(folder.path(), &["volume", "show", &device.path]);
    output_of("umount", &[mount_point]);
    refused.check_failed(1, &["mounted at", mount_point]);
    shown.check_failed(1, &["no usable label"]);
    assert!(shown.stdout.contains("ext2, ext3 or ext4"), "{shown:?}");
}
