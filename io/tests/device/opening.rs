//! What is opened and what is refused, and what the refusal says.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corelith_io::{
    Access, DeviceKind, Durability, DurabilityChoice, Holder, OpenDevice, OpenError, OpenOptions,
    RingConfig,
};

use crate::rig::{LoopDevice, Scratch, open, open_once_free, ring, run};

const MIB: u64 = 1 << 20;

fn refusal(path: &Path) -> OpenError {
    match OpenDevice::open(path, OpenOptions::default()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(&path.display().to_string()), "{message}");
            error
        }
    }
}

/// The flags of all descriptors of this process that lead to `path`.
fn descriptor_flags(path: &Path) -> Vec<u32> {
    let wanted = std::fs::metadata(path).unwrap();
    let mut flags = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(metadata) = std::fs::metadata(entry.path()) else {
            continue;
        };
        if (metadata.dev(), metadata.ino()) != (wanted.dev(), wanted.ino()) {
            continue;
        }
        let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
        let info = std::fs::read_to_string(info).unwrap();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        flags.push(u32::from_str_radix(line.trim(), 8).unwrap());
    }
    flags
}

const O_DIRECT: u32 = 0o40000;

#[test]
#[ignore = "needs root and loop devices"]
fn a_loop_device_is_what_the_kernel_says_and_passes_the_page_cache() {
    for block_bytes in [512, 4096] {
        let device = LoopDevice::new(&format!("facts-{block_bytes}"), 16 * MIB, block_bytes);
        let opened = open(device.path());
        let geometry = opened.geometry().clone();
        assert_eq!(geometry.size_bytes, 16 * MIB);
        assert_eq!(geometry.logical_block_bytes, block_bytes);
        assert!(geometry.write_unit_bytes >= block_bytes);
        assert_eq!(geometry.kind, DeviceKind::Block);
        let queue = Path::new("/sys/block")
            .join(device.path().file_name().unwrap())
            .join("queue");
        let cache = std::fs::read_to_string(queue.join("write_cache")).unwrap();
        let expected = if cache.trim() == "write through" {
            Durability::WriteThrough
        } else {
            Durability::Fua
        };
        assert_eq!(geometry.durability, expected);
        let (ring, _pool) = ring(RingConfig::default());
        let attached = opened.attach(&ring).unwrap();
        assert_eq!(attached.name(), device.path().to_str().unwrap());
        let flags = descriptor_flags(device.path());
        assert_eq!(flags.len(), 2, "the claim and this core's own");
        assert!(flags.iter().all(|flags| flags & O_DIRECT != 0), "{flags:?}");
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_held_loop_device_is_refused_and_can_be_looked_at() {
    let device = LoopDevice::new("held", 4 * MIB, 512);
    let opened = open(device.path());
    let error = refusal(device.path());
    assert!(
        matches!(
            &error,
            OpenError::Held {
                holder: Holder::Unknown,
                ..
            }
        ),
        "{error:?}"
    );
    let look = OpenOptions {
        access: Access::ReadOnly,
        ..OpenOptions::default()
    };
    let looked_at = OpenDevice::open(device.path(), look).unwrap();
    assert_eq!(looked_at.geometry(), opened.geometry());
    drop(looked_at);
    // Another process is kept out as well: mkfs asks for the device exclusively.
    let made = run("mkfs.ext4", &["-q", device.path().to_str().unwrap()]);
    assert!(!made, "another process could take the device");
    drop(opened);
    drop(open_once_free(device.path()));
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_core_keeps_a_loop_device_claimed_after_the_open_handle_is_gone() {
    let device = LoopDevice::new("kept", 4 * MIB, 512);
    let (ring, _pool) = ring(RingConfig::default());
    let attached = open(device.path()).attach(&ring).unwrap();
    assert!(matches!(refusal(device.path()), OpenError::Held { .. }));
    drop(attached);
    drop(open_once_free(device.path()));
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_mounted_loop_device_is_refused_with_its_mount_point() {
    let device = LoopDevice::new("mounted", 16 * MIB, 512);
    let path = device.path().to_str().unwrap();
    assert!(run("mkfs.ext4", &["-q", path]));
    let folder = Scratch::new("/tmp", "mount point");
    std::fs::create_dir(folder.path()).unwrap();
    let mount_point = folder.path().to_str().unwrap();
    assert!(run("mount", &[path, mount_point]));
    let error = refusal(device.path());
    assert!(run("umount", &[mount_point]));
    let OpenError::Held { holder, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        *holder,
        Holder::Mount {
            mount_point: folder.path().to_owned()
        }
    );
    assert!(error.to_string().contains("unmount"), "{error}");
    drop(open(device.path()));
}

#[test]
fn a_created_file_is_preallocated_locked_and_opens_again() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "created");
    let created = OpenDevice::create_file(scratch.path(), 4 * MIB).unwrap();
    let geometry = created.geometry().clone();
    assert_eq!(geometry.size_bytes, 4 * MIB);
    assert_eq!(geometry.kind, DeviceKind::File);
    assert_eq!(geometry.durability, Durability::Flush);
    assert!(!geometry.discard);
    let metadata = std::fs::metadata(scratch.path()).unwrap();
    assert!(metadata.blocks() * 512 >= 4 * MIB, "not preallocated");
    assert!(
        descriptor_flags(scratch.path())
            .iter()
            .all(|flags| flags & O_DIRECT != 0)
    );

    assert!(matches!(refusal(scratch.path()), OpenError::Locked { .. }));
    let locked = run("flock", &["-n", scratch.path().to_str().unwrap(), "true"]);
    assert!(!locked, "another process could lock the file");
    let again = OpenDevice::create_file(scratch.path(), 4 * MIB);
    assert!(matches!(again, Err(OpenError::Exists { .. })));
    assert!(scratch.path().exists(), "somebody else's file was removed");
    drop(created);
    assert_eq!(*open(scratch.path()).geometry(), geometry);
}

#[test]
fn a_file_that_cannot_be_made_leaves_nothing_behind() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "unmade");
    let create = |size_bytes| match OpenDevice::create_file(scratch.path(), size_bytes) {
        Ok(_) => panic!("{size_bytes} bytes were made"),
        Err(error) => error,
    };
    assert!(matches!(create(4 * MIB + 512), OpenError::Size { .. }));
    assert!(matches!(create(4096), OpenError::Size { .. }));
    assert!(matches!(create(u64::MAX - 4095), OpenError::Size { .. }));
    assert!(matches!(create(1 << 55), OpenError::NoSpace { .. }));
    assert!(!scratch.path().exists());
}

#[test]
fn what_is_no_device_is_refused_by_name() {
    assert!(matches!(
        refusal(Path::new("/dev/null")),
        OpenError::CharacterDevice { .. }
    ));
    assert!(matches!(
        refusal(Path::new("/tmp")),
        OpenError::Directory { .. }
    ));
    assert!(matches!(
        refusal(Path::new("/dev/no such thing")),
        OpenError::NotFound { .. }
    ));
    let pipe = Scratch::new("/tmp", "pipe");
    assert!(run("mkfifo", &[pipe.path().to_str().unwrap()]));
    assert!(matches!(refusal(pipe.path()), OpenError::WrongType { .. }));
    let small = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "small");
    std::fs::write(small.path(), vec![0; 8192]).unwrap();
    let error = refusal(small.path());
    assert!(
        matches!(
            error,
            OpenError::TooSmall {
                size_bytes: 8192,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_file_system_without_direct_io_is_refused() {
    // Files of procfs are regular and have no O_DIRECT.
    let error = refusal(Path::new("/proc/self/status"));
    assert!(matches!(error, OpenError::NoDirectIo { .. }), "{error:?}");
}

#[test]
fn the_way_to_durability_can_be_chosen_to_compare() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "choice");
    drop(OpenDevice::create_file(scratch.path(), MIB).unwrap());
    for (durability, expected) in [
        (DurabilityChoice::Kernel, Durability::Flush),
        (DurabilityChoice::Flush, Durability::Flush),
        (DurabilityChoice::Fua, Durability::Fua),
    ] {
        let options = OpenOptions {
            durability,
            ..OpenOptions::default()
        };
        let opened = OpenDevice::open(scratch.path(), options).unwrap();
        assert_eq!(opened.geometry().durability, expected);
    }
}
