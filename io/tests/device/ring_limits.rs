//! The ring at its bounds: more operations than entries, than slots; too little lockable memory.

use std::process::Command;

use corelith_io::{DeviceError, DeviceOffset, OpenDevice, Ring, RingConfig, RingError};

use crate::rig::{LoopDevice, Scratch, open, ring};

const MIB: u64 = 1 << 20;

#[test]
#[ignore = "needs root and loop devices"]
fn more_operations_than_entries_all_complete_on_a_loop_device() {
    let loop_device = LoopDevice::new("entries", 4 * MIB, 512);
    let opened = open(loop_device.path());
    let config = RingConfig {
        entries: 4,
        slot_count: 1024,
        ..RingConfig::default()
    };
    let (ring, pool) = ring(config);
    let device = opened.attach(&ring).unwrap();
    let reads: Vec<_> = (0..1024_u64)
        .map(|number| {
            let buffer = pool.take(4096).unwrap();
            device.read(DeviceOffset::new(number * 4096), buffer, 4096)
        })
        .collect();
    let all = async {
        for read in reads {
            assert_eq!(read.await.1, Ok(()));
        }
    };
    ring.block_on(all).unwrap();
}

#[test]
#[ignore = "needs root and loop devices"]
fn more_operations_than_slots_on_a_loop_device_are_refused_with_their_buffers() {
    let loop_device = LoopDevice::new("slots", 4 * MIB, 512);
    let opened = open(loop_device.path());
    let (ring, pool) = ring(RingConfig {
        slot_count: 8,
        ..RingConfig::default()
    });
    let device = opened.attach(&ring).unwrap();
    let read = |number: u64| {
        device.read(
            DeviceOffset::new(number * 4096),
            pool.take(4096).unwrap(),
            4096,
        )
    };
    let reads: Vec<_> = (0..12).map(read).collect();
    let all = async {
        let mut outcomes = Vec::new();
        for read in reads {
            let (buffer, outcome) = read.await;
            assert_eq!(buffer.capacity(), 4096);
            outcomes.push(outcome);
        }
        // A flush is not refused: it has a slot of its own.
        assert_eq!(device.flush().await, Ok(()));
        outcomes
    };
    let outcomes = ring.block_on(all).unwrap();
    assert!(outcomes[..8].iter().all(|outcome| *outcome == Ok(())));
    let busy = Err(DeviceError::Busy { slot_count: 8 });
    assert!(
        outcomes[8..].iter().all(|outcome| *outcome == busy),
        "{outcomes:?}"
    );
    assert_eq!(
        ring.block_on(read(0)).unwrap().1,
        Ok(()),
        "slots are free again"
    );
}

#[test]
fn absurd_configurations_are_refused() {
    let (_ring, pool) = ring(RingConfig::default());
    for config in [
        RingConfig {
            entries: 0,
            ..RingConfig::default()
        },
        RingConfig {
            slot_count: 0,
            ..RingConfig::default()
        },
        RingConfig {
            slot_count: u32::MAX,
            ..RingConfig::default()
        },
        RingConfig {
            receive_buffer_bytes: 100,
            ..RingConfig::default()
        },
    ] {
        assert!(matches!(
            Ring::new(config, &pool),
            Err(RingError::Configuration { .. })
        ));
    }
}

#[test]
fn devices_beyond_the_bound_are_refused() {
    let scratch = Scratch::new(env!("CARGO_TARGET_TMPDIR"), "many-devices");
    let opened = OpenDevice::create_file(scratch.path(), MIB).unwrap();
    let (ring, _pool) = ring(RingConfig::default());
    let mut attached: Vec<_> = (0..64).map(|_| opened.attach(&ring).unwrap()).collect();
    assert!(matches!(
        opened.attach(&ring),
        Err(RingError::TooManyDevices { max: 64 })
    ));
    attached.pop();
    assert!(opened.attach(&ring).is_ok());
}

const CHILD: &str = "CORELITH_TEST_LOW_MEMLOCK";

/// Runs itself again as an unprivileged user who may lock 64 KiB: the arena cannot be registered, the ring
/// says so with the remedy, and works.
#[test]
fn low_memlock_degrades() {
    if std::env::var_os(CHILD).is_some() {
        let (ring, pool) = ring(RingConfig::default());
        let features = ring.features();
        assert_eq!(features.registered_bytes(), 0);
        let reasons: Vec<_> = features.lacking().iter().map(ToString::to_string).collect();
        let reason = reasons
            .iter()
            .find(|reason| reason.contains("registered buffers"));
        assert!(
            reason.is_some_and(|reason| reason.contains("LimitMEMLOCK")),
            "{reasons:?}"
        );
        let scratch = Scratch::new("/tmp", "low-memlock");
        let device = OpenDevice::create_file(scratch.path(), MIB)
            .unwrap()
            .attach(&ring)
            .unwrap();
        let bytes = pool.take(4096).unwrap().freeze();
        let write = device.write_durable(DeviceOffset::START, bytes, 0..4096);
        assert_eq!(ring.block_on(write).unwrap(), Ok(()));
        println!("degraded as it should");
        return;
    }
    // The test binary may lie where the other user cannot reach it.
    let copy = Scratch::new("/tmp", "low-memlock-test");
    std::fs::copy(std::env::current_exe().unwrap(), copy.path()).unwrap();
    let output = Command::new("prlimit")
        .args([
            "--memlock=65536:65536",
            "setpriv",
            "--reuid=65534",
            "--clear-groups",
        ])
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(copy.path())
        .args([
            "--exact",
            "ring_limits::low_memlock_degrades",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .current_dir("/tmp")
        .output();
    let Ok(output) = output else {
        println!("skipped: no prlimit");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("setpriv:") || errors.contains("prlimit:") {
        println!("skipped: no unprivileged child: {errors}");
        return;
    }
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("degraded as it should"), "{said}{errors}");
}
