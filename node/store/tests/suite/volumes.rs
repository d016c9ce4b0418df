//! Volumes: labels and extent tables that are damaged, torn, missing or foreign; formatting.

use corelith_io::{DeviceOffset, DriveConfig, Fault, PlannedFault, SimulatedMachine};
use corelith_store::format::superblock::{Superblock, SuperblockError};
use corelith_store::volume::{
    FormatOptions, VolumeError, default_extent_bytes, display_identity, format_volume,
    inspect_device, open_volume,
};
use corelith_store::{DeviceLayout, Shard};

use crate::harness::{Rig, Shape};

fn error_of(rig: &mut Rig) -> VolumeError {
    let (devices, pool) = (rig.devices(), rig.pool.clone());
    rig.run(open_volume(&devices, &pool))
        .map(|_| ())
        .unwrap_err()
}

fn labels(rig: &Rig, drive: usize) -> [u64; 3] {
    DeviceLayout::label_offsets(rig.devices()[drive].geometry().size_bytes)
}

fn smear(rig: &Rig, drive: usize, offset: u64) {
    rig.faults(drive)
        .overwrite(DeviceOffset::new(offset), &[0xee; 4096]);
}

#[test]
fn any_one_label_and_either_table_is_enough() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"kept");
    rig.close(shard);
    let offsets = labels(&rig, 0);
    for kept in offsets {
        for table in [128 << 10, (128 << 10) + 4096] {
            let mut other = rig.fork(kept);
            for lost in offsets.into_iter().filter(|offset| *offset != kept) {
                smear(&other, 0, lost);
            }
            smear(&other, 0, table);
            let (volume, _) = other.open_volume();
            let copies = volume.devices()[0].damaged_copies.iter();
            let mut found: Vec<u64> = copies.map(|copy| copy.offset_bytes).collect();
            found.sort_unstable();
            let mut expected: Vec<u64> = offsets.into_iter().filter(|at| *at != kept).collect();
            expected.push(table);
            expected.sort_unstable();
            assert_eq!(found, expected, "each is told");
            let shard = other.open_sound();
            other.check(&shard, 1, Some(b"kept"));
        }
    }
}

#[test]
fn a_device_without_a_whole_label_or_table_is_refused_with_the_reason() {
    let rig = Rig::new(1, Shape::default());
    let offsets = labels(&rig, 0);
    let mut zeroed = rig.fork(1);
    for offset in offsets {
        zeroed
            .faults(0)
            .overwrite(DeviceOffset::new(offset), &[0; 4096]);
    }
    let error = error_of(&mut zeroed);
    assert!(
        matches!(
            error,
            VolumeError::Label {
                error: SuperblockError::NotALabel,
                ..
            }
        ),
        "{error}"
    );

    let mut rotten = rig.fork(2);
    for offset in offsets {
        rotten
            .faults(0)
            .flip_bit(DeviceOffset::new(offset + 100), 1);
    }
    let error = error_of(&mut rotten);
    assert!(
        matches!(
            error,
            VolumeError::Label {
                error: SuperblockError::Checksum { .. },
                ..
            }
        ),
        "{error}"
    );

    let mut no_table = rig.fork(3);
    smear(&no_table, 0, 128 << 10);
    smear(&no_table, 0, (128 << 10) + 4096);
    let error = error_of(&mut no_table);
    assert!(matches!(error, VolumeError::Extents { .. }), "{error}");
}

#[test]
fn a_label_that_an_update_has_passed_by_is_told_and_not_believed() {
    let mut rig = Rig::new(1, Shape::default());
    assert_eq!(rig.open_volume().0.devices()[0].damaged_copies, []);
    // An update has written the first copy; then the power went.
    let offset = DeviceOffset::new(labels(&rig, 0)[0]);
    let mut block = [0; 4096];
    rig.faults(0).inspect(offset, &mut block);
    let mut label = Superblock::decode(block.first_chunk().unwrap()).unwrap();
    label.generation += 1;
    label.namespace = "renamed".to_owned();
    let encoded = label.encode();
    block[..encoded.len()].copy_from_slice(&encoded);
    rig.faults(0).overwrite(offset, &block);
    let (volume, _) = rig.open_volume();
    let device = &volume.devices()[0];
    assert_eq!(device.label.namespace, "renamed");
    let told: Vec<u64> = device
        .damaged_copies
        .iter()
        .map(|copy| copy.offset_bytes)
        .collect();
    assert_eq!(told, labels(&rig, 0)[1..]);
    // A torn write of the newer one leaves the older to serve.
    rig.faults(0).flip_bit(offset, 1);
    let (volume, _) = rig.open_volume();
    let device = &volume.devices()[0];
    assert_eq!(device.label.namespace, "test");
    assert_eq!(device.damaged_copies.len(), 1);
}

#[test]
fn a_device_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let mut rig = Rig::new(1, Shape::default());
    for offset in labels(&rig, 0) {
        let planned = PlannedFault::next(Fault::ReadError).within(offset..offset + 4096);
        rig.faults(0).plan(planned);
    }
    let error = error_of(&mut rig);
    assert!(matches!(error, VolumeError::Device { .. }), "{error}");
    rig.open_sound();
}

#[test]
fn devices_must_be_one_whole_volume() {
    let mut rig = Rig::new(
        1,
        Shape {
            drives: 3,
            ..Shape::default()
        },
    );
    let drives = rig.drives.clone();

    let identity = rig.open_volume().0.label().unwrap().volume;
    rig.drives = vec![drives[2]];
    let error = error_of(&mut rig);
    let VolumeError::Missing {
        volume,
        expected,
        ref slots,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((volume, expected, &slots[..]), (identity, 3, &[0, 1][..]));
    let (text, shown) = (error.to_string(), display_identity(&identity));
    assert!(
        text.contains(&shown) && text.contains("slot 0, 1"),
        "{text}"
    );

    rig.drives = vec![drives[0], drives[1], drives[1]];
    let error = error_of(&mut rig);
    assert!(
        matches!(error, VolumeError::Duplicate { slot: 1, .. }),
        "{error}"
    );

    let size = rig.devices()[0].geometry().size_bytes;
    let foreign = rig.machine.add_drive(DriveConfig {
        logical_block_bytes: 512,
        physical_block_bytes: 512,
        ..DriveConfig::new(size)
    });
    let (device, pool) = (rig.machine.device(foreign), rig.pool.clone());
    let options = FormatOptions {
        segment_bytes: 64 << 10,
        ..FormatOptions::new("other", 1, [0x88; 16], vec![[9; 16]])
    };
    rig.run(format_volume(&[device], &pool, &options)).unwrap();
    rig.drives = vec![drives[0], foreign, drives[2]];
    let error = error_of(&mut rig);
    let VolumeError::Mixed {
        first_volume,
        volume,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((first_volume, volume), (identity, [0x88; 16]));
    let (text, shown) = (error.to_string(), display_identity(&[0x88; 16]));
    assert!(text.contains(&shown), "{text}");

    rig.drives = drives;
    rig.open_sound();
}

/// The volume of `rig` on another drive of `size_bytes` with blocks of `block_bytes`.
fn copied(rig: &Rig, size_bytes: u64, block_bytes: u32) -> Rig {
    let machine = SimulatedMachine::new(9);
    let drive = machine.add_drive(DriveConfig {
        logical_block_bytes: block_bytes,
        physical_block_bytes: block_bytes,
        ..DriveConfig::new(size_bytes)
    });
    let length = size_bytes.min(rig.devices()[0].geometry().size_bytes) / 4096 * 4096;
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    rig.faults(0).inspect(DeviceOffset::new(0), &mut bytes);
    machine
        .faults(drive)
        .overwrite(DeviceOffset::new(0), &bytes);
    Rig::on(machine, vec![drive], rig.shape.clone())
}

#[test]
fn a_device_that_has_changed_is_refused() {
    let rig = Rig::new(1, Shape::default());
    let size = rig.devices()[0].geometry().size_bytes;
    let error = error_of(&mut copied(&rig, size - (64 << 10), 512));
    assert!(matches!(error, VolumeError::Shrunk { .. }), "{error}");
    let error = error_of(&mut copied(&rig, size.next_multiple_of(4096), 4096));
    assert!(
        matches!(
            error,
            VolumeError::BlockSize {
                found_bytes: 4096,
                ..
            }
        ),
        "{error}"
    );
    copied(&rig, size + (1 << 20), 512).open_sound();
}

#[test]
fn formatting_again_forgets_everything() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"old");
    rig.close(shard);
    let (devices, pool) = (rig.devices(), rig.pool.clone());
    let options = FormatOptions {
        volume: [0x99; 16],
        ..rig.format_options()
    };
    rig.run(format_volume(&devices, &pool, &options)).unwrap();
    let shard = rig.open_sound();
    rig.check(&shard, 1, None);
    rig.put(&shard, 2, b"new");
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 1, None);
    rig.check(&shard, 2, Some(b"new"));
}

#[test]
fn a_cut_while_formatting_leaves_the_old_volume_none_or_the_new_one() {
    let mut rig = Rig::new(
        1,
        Shape {
            drives: 2,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"old");
    rig.close(shard);
    let (devices, pool) = (rig.devices(), rig.pool.clone());
    let options = FormatOptions {
        volume: [0x99; 16],
        ..rig.format_options()
    };
    rig.spawn(async move { format_volume(&devices, &pool, &options).await.map(drop) });
    let (mut old, mut none, mut new) = (0, 0, 0);
    for step in 0.. {
        rig.settle();
        let mut other = rig.fork(step);
        other.power_cut();
        let (devices, pool) = (other.devices(), other.pool.clone());
        match other.run(open_volume(&devices, &pool)) {
            Err(_) => none += 1,
            Ok((volume, _)) => {
                let shard: Shard = other.open_sound();
                let is_old = volume.label().unwrap().volume == [0x77; 16];
                let expected = is_old.then_some(&b"old"[..]);
                other.check(&shard, 1, expected);
                *(if is_old { &mut old } else { &mut new }) += 1;
            }
        }
        if !rig.machine.step() {
            break;
        }
    }
    assert!(
        old > 0 && none > 0 && new > 0,
        "{old} old, {none} none, {new} new"
    );
}

#[test]
fn what_cannot_be_formatted_is_refused_before_anything_is_written() {
    let mut rig = Rig::new(1, Shape::default());
    let (devices, pool) = (rig.devices(), rig.pool.clone());
    let good = rig.format_options();
    let refused: Vec<(&str, FormatOptions)> = vec![
        (
            "the number of devices",
            FormatOptions {
                devices: vec![],
                ..good.clone()
            },
        ),
        (
            "the length of the namespace's name",
            FormatOptions {
                namespace: String::new(),
                ..good.clone()
            },
        ),
        (
            "the length of the namespace's name",
            FormatOptions {
                namespace: "x".repeat(32),
                ..good.clone()
            },
        ),
        (
            "shard_count",
            FormatOptions {
                shard_count: 0,
                ..good.clone()
            },
        ),
        (
            "shard_count",
            FormatOptions {
                shard_count: 257,
                ..good.clone()
            },
        ),
        (
            "segment_bytes",
            FormatOptions {
                segment_bytes: 32 << 10,
                ..good.clone()
            },
        ),
        (
            "segment_bytes",
            FormatOptions {
                segment_bytes: 100 << 10,
                ..good.clone()
            },
        ),
        (
            "segment_bytes",
            FormatOptions {
                segment_bytes: 128 << 20,
                ..good.clone()
            },
        ),
        (
            "extent_bytes",
            FormatOptions {
                extent_bytes: Some(32 << 10),
                ..good.clone()
            },
        ),
        (
            "extent_bytes",
            FormatOptions {
                extent_bytes: Some(2 << 30),
                ..good.clone()
            },
        ),
    ];
    for (name, options) in refused {
        match rig.run(format_volume(&devices, &pool, &options)) {
            Err(VolumeError::Option { option, .. }) => assert_eq!(option, name),
            other => panic!("{name}: {:?}", other.map(|_| ())),
        }
    }
    for shard_count in [4, 100] {
        let options = FormatOptions {
            shard_count,
            ..good.clone()
        };
        match rig.run(format_volume(&devices, &pool, &options)) {
            Err(VolumeError::TooSmall { needed_bytes, .. }) => {
                assert_eq!(needed_bytes, options.bytes_min(), "{shard_count} shards");
            }
            other => panic!("{shard_count} shards: {:?}", other.map(|_| ())),
        }
    }
    rig.open_sound();
}

/// With the extents that a format chooses by itself: as large as the size allows.
#[test]
fn the_least_size_is_enough_and_less_is_not() {
    for shard_count in [1, 2, 4, 7, 64, 256] {
        for device_count in [1, 3] {
            let devices = (0..device_count).map(|slot| [slot; 16]).collect();
            let options = FormatOptions {
                segment_bytes: 64 << 10,
                ..FormatOptions::new("test", shard_count, [7; 16], devices)
            };
            let each = options.bytes_min() / u64::from(device_count);
            let format_at = |size_bytes| {
                let mut machine = Rig::new(1, Shape::default());
                let drives: Vec<_> = (0..device_count)
                    .map(|_| machine.machine.add_drive(DriveConfig::new(size_bytes)))
                    .collect();
                let drives = drives
                    .into_iter()
                    .map(|drive| machine.machine.device(drive));
                let (devices, pool) = (drives.collect::<Vec<_>>(), machine.pool.clone());
                machine
                    .run(format_volume(&devices, &pool, &options))
                    .is_ok()
            };
            assert!(
                format_at(each),
                "{shard_count} shards, {device_count} devices"
            );
            // A device has a mebibyte at least, whatever is on it.
            if each > 1 << 20 {
                assert!(!format_at(each - 4096), "{shard_count}, {device_count}");
            }
        }
    }
}

#[test]
fn a_device_tells_what_it_is_without_its_volume() {
    let mut rig = Rig::new(
        1,
        Shape {
            drives: 2,
            ..Shape::default()
        },
    );
    let (device, pool) = (rig.devices()[1].clone(), rig.pool.clone());
    let found = rig.run(inspect_device(&device, &pool)).unwrap();
    assert_eq!((found.label.slot, found.label.device_count), (1, 2));
    assert_eq!(found.label.namespace, "test");
}

#[test]
fn extents_are_as_large_as_leaves_every_shard_eight() {
    assert_eq!(default_extent_bytes(4 << 30, 8, 16 << 20), 64 << 20);
    assert_eq!(default_extent_bytes(1 << 40, 8, 16 << 20), 1 << 30);
    assert_eq!(default_extent_bytes(100 << 20, 8, 16 << 20), 16 << 20);
    assert_eq!(default_extent_bytes(0, 1, 16 << 20), 16 << 20);
}
