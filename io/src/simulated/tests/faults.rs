//! Each fault, one test: it does what its description says, and nothing else.

use std::collections::BTreeSet;

use super::super::{DriveConfig, Fault, FaultRates, PlannedFault};
use super::*;
use crate::geometry::Durability;

const SEEDS: std::ops::Range<u64> = 0..200;

fn rig_with(seed: u64, durability: Durability, fault: Fault) -> Rig {
    let rig = Rig::new(
        seed,
        DriveConfig {
            durability,
            ..Rig::config(256)
        },
    );
    rig.write_durable(100, 3, 1).unwrap();
    rig.machine
        .faults(rig.drive)
        .plan(PlannedFault::next(fault));
    rig
}

fn assert_struck(rig: &Rig, fault: Fault) {
    let faults = rig.machine.faults(rig.drive);
    assert_eq!((faults.struck_count(fault), faults.planned_count()), (1, 0));
}

/// Every byte that the drive shows now, one for a block.
fn all_blocks(rig: &Rig) -> Vec<u8> {
    let mut bytes = vec![0; 256 * 512];
    rig.machine
        .faults(rig.drive)
        .inspect(DeviceOffset::START, &mut bytes);
    bytes.chunks(512).map(|block| block[0]).collect()
}

fn others_unharmed(blocks: &[u8]) -> bool {
    blocks
        .iter()
        .enumerate()
        .all(|(block, byte)| (100..103).contains(&block) || *byte == 0)
}

#[test]
fn read_error_fails_once_and_leaves_the_drive_alone() {
    let mut errnos = BTreeSet::new();
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Flush, Fault::ReadError);
        let error = rig.read(100, 3).unwrap_err();
        assert!(matches!(
            error,
            DeviceError::Read {
                length_bytes: 1536,
                ..
            }
        ));
        errnos.insert(errno_of(&error).unwrap());
        assert_eq!(rig.read(100, 3), Ok(vec![1; 3]));
        assert!(!rig.device.is_fenced());
        assert_struck(&rig, Fault::ReadError);
    }
    assert_eq!(errnos, BTreeSet::from([libc::EIO, libc::ENODATA]));
}

#[test]
fn read_misdirected_gives_other_blocks() {
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Flush, Fault::ReadMisdirected);
        assert_ne!(rig.read(100, 3), Ok(vec![1; 3]));
        assert_eq!(rig.read(100, 3), Ok(vec![1; 3]));
        assert_struck(&rig, Fault::ReadMisdirected);
    }
}

#[test]
fn bit_rot_flips_one_stored_bit_for_good() {
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Flush, Fault::BitRot);
        let found = rig.read(100, 3).unwrap();
        assert_eq!(
            found.iter().filter(|&&byte| byte != 1).count(),
            1,
            "{found:?}"
        );
        assert_eq!(rig.read(100, 3), Ok(found));
        let mut bytes = vec![0; 3 * 512];
        rig.machine
            .faults(rig.drive)
            .inspect(offset_of(100), &mut bytes);
        let flipped: u32 = bytes.iter().map(|byte| (byte ^ 1).count_ones()).sum();
        assert_eq!(flipped, 1);
        assert_struck(&rig, Fault::BitRot);
    }
}

#[test]
fn write_error_leaves_nothing_or_all_or_a_part() {
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Flush, Fault::WriteError);
        assert!(matches!(
            rig.write(100, 3, 2),
            Err(DeviceError::Write { .. })
        ));
        let blocks = all_blocks(&rig);
        assert!(others_unharmed(&blocks));
        seen.insert(blocks[100..103].to_vec());
        assert!(!rig.device.is_fenced(), "a plain write promises nothing");
        assert_struck(&rig, Fault::WriteError);
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn write_error_of_a_forced_write_fences() {
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Fua, Fault::WriteError);
        assert!(matches!(
            rig.write_durable(100, 3, 2),
            Err(DeviceError::Write { .. })
        ));
        assert!(rig.device.is_fenced());
        assert_eq!(rig.write_durable(100, 3, 3), Err(DeviceError::Fenced));
        assert!(all_blocks(&rig)[100..103].iter().all(|byte| *byte < 3));
    }
}

#[test]
fn write_torn_succeeds_without_at_least_one_block() {
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Flush, Fault::WriteTorn);
        rig.write(100, 3, 2).unwrap();
        let blocks = all_blocks(&rig);
        assert!(others_unharmed(&blocks));
        assert!(blocks[100..103].contains(&1));
        seen.insert(blocks[100..103].to_vec());
        assert_struck(&rig, Fault::WriteTorn);
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[test]
fn write_lost_succeeds_without_effect_even_across_a_cut() {
    for seed in SEEDS {
        let mut rig = rig_with(seed, Durability::Flush, Fault::WriteLost);
        rig.write_durable(100, 3, 2).unwrap();
        assert_eq!(rig.read(100, 3), Ok(vec![1; 3]));
        rig.machine.power_cut();
        rig.reopen();
        assert_eq!(rig.read(100, 3), Ok(vec![1; 3]));
        assert_struck(&rig, Fault::WriteLost);
    }
}

#[test]
fn write_lost_has_no_effect_when_the_power_fails_before_it_completes() {
    for seed in SEEDS {
        let mut rig = rig_with(seed, Durability::Flush, Fault::WriteLost);
        let (buffer, range) = rig.filled(3, 2);
        let write = rig.device.write(offset_of(100), buffer, range);
        rig.machine.power_cut();
        drop(write);
        rig.reopen();
        assert_eq!(rig.read(100, 3), Ok(vec![1; 3]));
    }
}

#[test]
fn misdirection_never_hits_the_target_even_on_the_smallest_drive() {
    for seed in SEEDS {
        let rig = Rig::new(seed, Rig::config(4));
        let faults = rig.machine.faults(rig.drive);
        faults.plan(PlannedFault::next(Fault::WriteMisdirected));
        rig.write(0, 3, 2).unwrap();
        assert_eq!(rig.read(0, 4), Ok(vec![0, 2, 2, 2]));
    }
}

#[test]
fn write_misdirected_lands_whole_somewhere_else() {
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Flush, Fault::WriteMisdirected);
        rig.write(100, 3, 2).unwrap();
        let blocks = all_blocks(&rig);
        let places: Vec<usize> = (0..256).filter(|&block| blocks[block] == 2).collect();
        assert_eq!(places.len(), 3);
        assert_eq!(places[2] - places[0], 2);
        assert_ne!(places[0], 100);
        assert!(places[0].abs_diff(100) <= 64);
        assert_struck(&rig, Fault::WriteMisdirected);
    }
}

#[test]
fn flush_error_fences_and_later_flushes_do_not_bring_the_data_back() {
    let (mut kept, mut lost_at_once, mut lost_later) = (0, 0, 0);
    for seed in SEEDS {
        let mut rig = rig_with(seed, Durability::Flush, Fault::FlushError);
        rig.write(100, 1, 2).unwrap();
        let error = rig.flush().unwrap_err();
        assert_eq!(errno_of(&error), Some(libc::EIO));
        assert!(rig.device.is_fenced() && rig.machine.device(rig.drive).is_fenced());
        assert_eq!(rig.flush(), Err(DeviceError::Fenced));
        let visible = rig.read(100, 1).unwrap();
        // The next process finds no fence and a flush that succeeds, as it would on Linux.
        rig.machine.process_kill();
        rig.reopen();
        assert!(!rig.device.is_fenced());
        rig.flush().unwrap();
        assert_eq!(rig.read(100, 1).unwrap(), visible);
        rig.machine.power_cut();
        rig.reopen();
        match (visible[0], rig.read(100, 1).unwrap()[0]) {
            (2, 2) => kept += 1,
            (2, 1) => lost_later += 1,
            (1, 1) => lost_at_once += 1,
            other => panic!("{other:?}"),
        }
        assert_struck(&rig, Fault::FlushError);
    }
    assert!(
        kept > 20 && lost_at_once > 20 && lost_later > 20,
        "{kept} {lost_at_once} {lost_later}"
    );
}

#[test]
fn delays_take_virtual_time_and_nothing_else() {
    for seed in SEEDS {
        for (fault, range_ns) in [
            (Fault::DelayShort, 1_000_000..10_400_000),
            (Fault::DelayLong, 6_000_000_000..60_000_400_000),
        ] {
            let rig = rig_with(seed, Durability::Flush, fault);
            let before_ns = rig.machine.now_ns();
            assert_eq!(rig.read(100, 3), Ok(vec![1; 3]));
            assert!(range_ns.contains(&(rig.machine.now_ns() - before_ns)));
            assert_struck(&rig, fault);
        }
    }
}

#[test]
fn device_gone_answers_gone_until_it_is_plugged_in() {
    for seed in SEEDS {
        let rig = rig_with(seed, Durability::Flush, Fault::DeviceGone);
        let (buffer, range) = rig.filled(2, 5);
        rig.machine
            .faults(rig.drive)
            .plan(PlannedFault::next(Fault::DelayLong).after(1));
        assert_eq!(rig.write(100, 3, 2), Err(DeviceError::Gone));
        let mut late = rig.device.write(offset_of(10), buffer, range);
        assert_eq!(rig.read(100, 3), Err(DeviceError::Gone));
        assert_eq!(rig.flush(), Err(DeviceError::Gone));
        rig.machine.faults(rig.drive).restore();
        assert!(
            rig.read(100, 3)
                .unwrap()
                .iter()
                .all(|byte| [1, 2].contains(byte))
        );
        assert_eq!(
            rig.run(std::pin::Pin::new(&mut late)),
            Err(DeviceError::Gone)
        );
        assert_eq!(
            rig.read(10, 2),
            Ok(vec![0; 2]),
            "a write to an absent drive has no effect"
        );
    }
}

#[test]
fn removal_loses_the_cache_and_what_is_in_flight() {
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let rig = Rig::new(seed, Rig::config(16));
        rig.write(0, 1, 1).unwrap();
        let (buffer, range) = rig.filled(1, 2);
        let mut write = rig.device.write(offset_of(1), buffer, range);
        rig.machine.faults(rig.drive).remove();
        rig.machine.faults(rig.drive).restore();
        let before = rig.read(0, 2).unwrap();
        assert_eq!(
            rig.run(std::pin::Pin::new(&mut write)),
            Err(DeviceError::Gone)
        );
        assert_eq!(
            rig.read(0, 2),
            Ok(before.clone()),
            "nothing comes after the removal"
        );
        seen.insert(before);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn rates_strike_about_as_often_as_they_say() {
    let fault_rates = FaultRates {
        read_error_per_million: 200_000,
        ..FaultRates::NONE
    };
    let rig = Rig::new(
        3,
        DriveConfig {
            fault_rates,
            ..Rig::config(16)
        },
    );
    let failed = (0..5000).filter(|_| rig.read(0, 1).is_err()).count();
    assert!((850..1150).contains(&failed), "{failed}");
    let faults = rig.machine.faults(rig.drive);
    assert_eq!(
        faults.struck_count(Fault::ReadError),
        u64::try_from(failed).unwrap()
    );
    faults.set_rates(FaultRates::NONE);
    assert!((0..500).all(|_| rig.read(0, 1).is_ok()));
}

#[test]
fn flip_bit_and_overwrite_reach_behind_the_cache() {
    let mut rig = Rig::new(5, Rig::config(16));
    let faults = rig.machine.faults(rig.drive);
    rig.write_durable(3, 1, 8).unwrap();
    rig.write(4, 1, 8).unwrap();
    for block in [3, 4] {
        faults.flip_bit(DeviceOffset::new(block * 512 + 17), 1);
        assert_eq!(rig.read(block, 1), Ok(vec![255]), "mixed bytes");
    }
    faults.overwrite(offset_of(3), &[6; 1024]);
    assert_eq!(rig.read(3, 2), Ok(vec![6; 2]));
    rig.machine.power_cut();
    rig.reopen();
    assert_eq!(rig.read(3, 2), Ok(vec![6; 2]));
}
