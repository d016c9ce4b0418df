//! Volumes of several devices and several shards.

use corelith_index::Digest;
use corelith_io::DeviceOffset;
use corelith_store::OpenError;

use crate::harness::{Rig, Shape, content, digest, get, put};

#[test]
fn a_shard_takes_segments_from_every_device() {
    let mut rig = Rig::new(
        1,
        Shape {
            drives: 4,
            segments: 6,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    for key in 0..200 {
        rig.put(&shard, key, &content(key, 0, 2500));
    }
    rig.run_until_idle();
    for number in 0..4 {
        let mut bytes = vec![0; 6 * (64 << 10)];
        rig.faults(number)
            .inspect(DeviceOffset::new(192 << 10), &mut bytes);
        let headers = bytes
            .chunks(64 << 10)
            .filter(|segment| segment.starts_with(b"SEGH"));
        assert!(headers.count() >= 2, "device {number}");
    }
    rig.power_cut();
    // Whatever order the devices are given in.
    rig.drives.reverse();
    let shard = rig.open_sound();
    for key in 0..200 {
        rig.check(&shard, key, Some(&content(key, 0, 2500)));
    }
}

#[test]
fn devices_with_different_blocks_are_written_in_the_largest_unit() {
    use corelith_io::{DriveConfig, Durability, SimulatedMachine};
    let machine = SimulatedMachine::new(1);
    let drives = [512_u32, 4096]
        .map(|block_bytes| {
            machine.add_drive(DriveConfig {
                logical_block_bytes: block_bytes,
                physical_block_bytes: block_bytes,
                durability: if block_bytes == 512 {
                    Durability::Fua
                } else {
                    Durability::Flush
                },
                ..DriveConfig::new(2 << 20)
            })
        })
        .to_vec();
    let shape = Shape {
        drives: 2,
        ..Shape::default()
    };
    let mut rig = Rig::on(machine, drives, shape);
    let (devices, pool, options) = (rig.devices(), rig.pool.clone(), rig.format_options());
    let volume = rig
        .run(corelith_store::volume::format_volume(
            &devices, &pool, &options,
        ))
        .unwrap();
    assert!(
        volume
            .devices()
            .iter()
            .all(|device| device.label.write_unit_bytes == 4096)
    );
    let shard = rig.open_sound();
    for key in 0..150 {
        rig.put(&shard, key, &content(key, 0, 2500));
    }
    rig.power_cut();
    let shard = rig.open_sound();
    for key in 0..150 {
        rig.check(&shard, key, Some(&content(key, 0, 2500)));
    }
}

/// A digest of partition `partition`.
fn digest_in(partition: u16, key: u64) -> Digest {
    let mut bytes = *digest(key).as_bytes();
    bytes[..2].copy_from_slice(&partition.to_le_bytes());
    Digest::from_bytes(bytes)
}

#[test]
fn shards_of_one_volume_do_not_see_each_other() {
    let mut rig = Rig::new(
        1,
        Shape {
            shard_count: 3,
            segments: 24,
            drives: 2,
            ..Shape::default()
        },
    );
    for life in 0..3_u16 {
        let shards: Vec<_> = (0..3).map(|number| rig.try_open(number).unwrap()).collect();
        for shard in &shards {
            assert!(!shard.report().may_be_stale());
            rig.spawn(shard.run());
        }
        for (number, shard) in (0_u16..).zip(&shards) {
            if life > 0 {
                let key = digest_in(number + 3 * (life - 1), 1);
                let found = rig.run(get(shard, key)).unwrap();
                assert_eq!(found, Some(content(1, u64::from(number), 500)));
            }
            let key = digest_in(number + 3 * life, 1);
            rig.run(put(shard, key, &content(1, u64::from(number), 500)))
                .unwrap();
            assert_eq!(shard.statistics().records, u64::from(life) + 1);
        }
        rig.power_cut();
    }
    assert!(matches!(
        rig.try_open(3),
        Err(OpenError::NoSuchShard { shard: 3 })
    ));
}
