//! Determinism, order, time, lives, forks and the log.

use std::collections::BTreeSet;
use std::pin::Pin;

use super::super::{DriveConfig, FaultRates, PlannedFault};
use super::*;
use crate::geometry::Durability;
use crate::simulated::Fault;

/// A run with a bit of everything. Returns its fingerprint and the bytes at its end.
fn run(seed: u64, log_entries: usize) -> (u64, Vec<u8>, String) {
    let fault_rates = FaultRates {
        read_error_per_million: 50_000,
        write_torn_per_million: 50_000,
        flush_error_per_million: 20_000,
        delay_short_per_million: 100_000,
        ..FaultRates::NONE
    };
    let mut rig = Rig::new(
        seed,
        DriveConfig {
            fault_rates,
            ..Rig::config(64)
        },
    );
    rig.machine.keep_log(log_entries);
    for round in 0..40_u8 {
        rig.machine.note(|| format!("round {round}"));
        let writes: Vec<_> = (0..5)
            .map(|place| {
                let (buffer, range) = rig.filled(3, round * 5 + place);
                rig.device.write(
                    offset_of(u64::from(place) * 7 + u64::from(round % 20)),
                    buffer,
                    range,
                )
            })
            .collect();
        for mut write in writes {
            let _may_fail = rig.run(Pin::new(&mut write));
        }
        let _may_fail = (rig.flush(), rig.read(u64::from(round), 4));
        if round % 8 == 7 {
            rig.machine.power_cut();
            rig.reopen();
        }
    }
    let mut bytes = vec![0; 64 * 512];
    rig.machine
        .faults(rig.drive)
        .inspect(DeviceOffset::START, &mut bytes);
    (rig.machine.fingerprint(), bytes, rig.machine.log_text())
}

#[test]
fn the_same_seed_gives_the_same_run_with_or_without_a_log() {
    for seed in 0..20 {
        let (fingerprint, bytes, log) = run(seed, 1000);
        let (again, bytes_again, log_again) = run(seed, 1000);
        assert_eq!(
            (fingerprint, &bytes, &log),
            (again, &bytes_again, &log_again)
        );
        let (unlogged, bytes_unlogged, log_unlogged) = run(seed, 0);
        assert_eq!((fingerprint, bytes), (unlogged, bytes_unlogged));
        assert!(log_unlogged.lines().count() <= 1);
        assert_ne!(fingerprint, run(seed + 1000, 0).0);
    }
}

#[test]
fn operations_complete_in_every_order() {
    let mut orders = BTreeSet::new();
    for seed in 0..200 {
        let rig = Rig::new(seed, Rig::config(16));
        let mut writes: Vec<_> = (0..3)
            .map(|block| {
                let (buffer, range) = rig.filled(1, 1);
                Some(rig.device.write(offset_of(block), buffer, range))
            })
            .collect();
        let mut order = Vec::new();
        while rig.machine.step() {
            for (number, write) in writes.iter_mut().enumerate() {
                let ready = write
                    .as_mut()
                    .is_some_and(|write| poll_once(Pin::new(write)).is_ready());
                if ready {
                    *write = None;
                    order.push(number);
                }
            }
        }
        orders.insert(order);
    }
    assert_eq!(orders.len(), 6, "{orders:?}");
}

#[test]
fn time_moves_only_with_steps() {
    let rig = Rig::new(1, Rig::config(16));
    let clock = rig.machine.clock();
    let start_ms = clock.wall_ms();
    let mut timer = Box::pin(rig.machine.sleep_ns(5_000_000_000));
    assert!(poll_once(timer.as_mut()).is_pending());
    assert_eq!((clock.monotonic_ns(), rig.machine.pending_count()), (0, 1));
    assert!(rig.machine.step());
    assert!(poll_once(timer.as_mut()).is_ready());
    assert_eq!(
        (clock.monotonic_ns(), clock.wall_ms()),
        (5_000_000_000, start_ms + 5000)
    );
    assert!(!rig.machine.step());
    rig.machine.set_wall_ms(1000);
    assert_eq!(
        (clock.monotonic_ns(), clock.wall_ms()),
        (5_000_000_000, 1000)
    );
    rig.machine.power_cut();
    assert!(clock.monotonic_ns() < 1000 && rig.machine.now_ns() > 5_000_000_000);
}

#[test]
fn handles_die_with_their_life() {
    let mut rig = Rig::new(1, Rig::config(16));
    for crash in [SimulatedMachine::power_cut, SimulatedMachine::process_kill] {
        rig.reopen();
        let old = rig.device.clone();
        let mut timer = Box::pin(rig.machine.sleep_ns(1));
        crash(&rig.machine);
        assert!(poll_once(timer.as_mut()).is_ready());
        let (buffer, range) = rig.filled(1, 1);
        let outcome = rig.run(old.write(offset_of(0), buffer, range));
        assert_eq!(outcome, Err(DeviceError::Gone));
        assert_eq!(rig.flush(), Err(DeviceError::Gone));
        assert_eq!(rig.read(0, 1), Err(DeviceError::Gone));
        assert_eq!(
            rig.run(old.discard(offset_of(0), 512)),
            Err(DeviceError::Gone)
        );
        assert_eq!(rig.machine.pending_count(), 0);
    }
}

#[test]
fn a_dropped_future_cancels_nothing_and_its_buffer_stays_lent() {
    let rig = Rig::new(1, Rig::config(16));
    let (buffer, range) = rig.filled(2, 3);
    drop(rig.device.write(offset_of(0), buffer.clone(), range));
    let buffer = buffer.try_thaw().unwrap_err();
    let reading = rig.pool.take(4096).unwrap();
    drop(rig.device.read(offset_of(8), reading, 512));
    let lent_bytes = rig.pool.statistics().outside_bytes;
    while rig.machine.step() {}
    assert!(buffer.try_thaw().is_ok());
    assert!(rig.pool.statistics().outside_bytes < lent_bytes);
    assert_eq!(rig.read(0, 2), Ok(vec![3; 2]));
}

#[test]
fn forks_cut_from_one_moment_end_differently_and_leave_the_original_alone() {
    let mut ends = BTreeSet::new();
    let rig = Rig::new(1, Rig::config(16));
    rig.write_durable(0, 1, 1).unwrap();
    rig.write(0, 1, 2).unwrap();
    let (buffer, range) = rig.filled(1, 3);
    let mut write = rig.device.write(offset_of(1), buffer, range);
    for seed in 0..100 {
        let end = |machine: SimulatedMachine| {
            machine.power_cut();
            let mut bytes = vec![0; 1024];
            machine
                .faults(rig.drive)
                .inspect(DeviceOffset::START, &mut bytes);
            (bytes[0], bytes[512])
        };
        let first = end(rig.machine.fork(seed));
        assert_eq!(
            first,
            end(rig.machine.fork(seed)),
            "the same fork ends the same way"
        );
        ends.insert(first);
    }
    assert_eq!(ends, BTreeSet::from([(1, 0), (1, 3), (2, 0), (2, 3)]));
    rig.run(Pin::new(&mut write)).unwrap();
    assert_eq!(rig.read(0, 2), Ok(vec![2, 3]));
}

#[test]
fn the_log_tells_the_story() {
    let rig = Rig::new(1, Rig::config(16));
    rig.machine.keep_log(SimulatedMachine::LOG_ENTRIES_DEFAULT);
    rig.machine
        .faults(rig.drive)
        .plan(PlannedFault::next(Fault::WriteTorn));
    rig.machine.note(|| "client 3 puts".to_owned());
    rig.write(2, 2, 1).unwrap();
    rig.machine.power_cut();
    let log = rig.machine.log_text();
    let parts = [
        "-- client 3 puts",
        "#1 simulated-0 Write 1024..2048 !WriteTorn",
        "#1 done",
        "power cut",
    ];
    let mut position = 0;
    for part in parts {
        let found = log[position..].find(part);
        position += found.unwrap_or_else(|| panic!("{part:?} is not in its place in\n{log}"));
    }
}

#[test]
fn several_drives_and_a_large_empty_one_are_cheap() {
    let machine = SimulatedMachine::new(1);
    let small = machine.add_drive(Rig::config(16));
    let large = machine.add_drive(DriveConfig::new(16 << 30));
    assert_eq!(machine.drive_count(), 2);
    assert_eq!(machine.device(large).name(), "simulated-1");
    assert_eq!(machine.device(large).geometry().size_bytes, 16 << 30);
    let end = DeviceOffset::new((16 << 30) - 4096);
    machine.faults(large).overwrite(end, &[7; 4096]);
    let mut found = [0; 4096];
    machine.faults(large).inspect(end, &mut found);
    assert_eq!(found, [7; 4096]);
    assert!(machine.faults(large).resident_bytes() < 100_000);
    assert_eq!(machine.faults(small).resident_bytes(), 0);
}

#[test]
fn discard_zeros_or_keeps_and_may_be_undone_by_a_cut() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let mut rig = Rig::new(seed, Rig::config(16));
        rig.write_durable(0, 2, 1).unwrap();
        rig.run(rig.device.discard(offset_of(0), 1024)).unwrap();
        let before = rig.read(0, 2).unwrap();
        rig.machine.power_cut();
        rig.reopen();
        let after = rig.read(0, 2).unwrap();
        assert!(
            before
                .iter()
                .chain(&after)
                .all(|byte| [0, 1].contains(byte))
        );
        seen.insert((before, after));
    }
    let case = |before: [u8; 2], after: [u8; 2]| seen.contains(&(before.to_vec(), after.to_vec()));
    assert!(
        case([1, 1], [1, 1]) && case([0, 0], [0, 0]) && case([0, 1], [1, 1]),
        "{seen:?}"
    );
}

#[test]
fn discard_takes_what_is_only_cached_too() {
    let zeroed = (0..200).filter(|&seed| {
        let rig = Rig::new(seed, Rig::config(16));
        rig.write(0, 2, 1).unwrap();
        rig.run(rig.device.discard(offset_of(0), 1024)).unwrap();
        rig.read(0, 2) == Ok(vec![0, 0])
    });
    let count = zeroed.count();
    assert!((55..110).contains(&count), "five in twelve: {count}");
}

#[test]
fn an_invalid_configuration_is_refused_at_once() {
    let refused = |config: DriveConfig| {
        let add = std::panic::AssertUnwindSafe(|| SimulatedMachine::new(1).add_drive(config));
        std::panic::catch_unwind(add).is_err()
    };
    let good = Rig::config(16);
    assert!(!refused(good.clone()));
    assert!(refused(DriveConfig {
        logical_block_bytes: 500,
        ..good.clone()
    }));
    assert!(refused(DriveConfig {
        logical_block_bytes: 4096,
        ..good.clone()
    }));
    assert!(refused(DriveConfig {
        size_bytes: 1000,
        ..good.clone()
    }));
    assert!(refused(DriveConfig {
        latency_ns_min: u64::MAX,
        ..good.clone()
    }));
    assert!(!refused(DriveConfig {
        durability: Durability::Fua,
        ..good
    }));
}
