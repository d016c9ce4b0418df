//! Records of every length: around the edges of blocks and granules, larger than a batch, too large.

use corelith_store::WriteError;

use crate::harness::{Rig, Shape, content, digest, put};

#[test]
fn lengths_around_every_edge_survive_a_restart() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 64,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    let lengths: Vec<u64> = (0..40)
        .chain(380..=460)
        .chain(900..=1000)
        .step_by(3)
        .collect();
    for length in &lengths {
        rig.put(
            &shard,
            *length,
            &content(*length, 1, usize::try_from(*length).unwrap()),
        );
    }
    rig.power_cut();
    for _ in 0..2 {
        let shard = rig.open_sound();
        for length in &lengths {
            let expected = content(*length, 1, usize::try_from(*length).unwrap());
            rig.check(&shard, *length, Some(&expected));
        }
        rig.close(shard);
    }
}

#[test]
fn a_record_larger_than_a_batch_is_a_batch_of_its_own() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 8,
            segment_bytes: 4 << 20,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    let large = content(1, 1, 1_300_001);
    let handles: Vec<_> = (0..5_u64)
        .map(|key| {
            let (shard, large) = (shard.clone(), large.clone());
            let bytes = if key == 2 {
                large
            } else {
                content(key, 1, 100)
            };
            rig.spawn(async move { put(&shard, digest(key), &bytes).await.unwrap() })
        })
        .collect();
    rig.run_until_idle();
    assert!(handles.iter().all(|handle| handle.borrow().is_some()));
    assert_eq!(
        shard.statistics().counters.batches,
        3,
        "before it, itself, after it"
    );
    rig.check(&shard, 2, Some(&large));
    rig.check(&shard, 3, Some(&content(3, 1, 100)));
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 2, Some(&large));
}

fn check_largest(unit_bytes: u32, segment_bytes: u64) {
    let block_bytes = unit_bytes.min(4096);
    let mut rig = Rig::new(
        1,
        Shape {
            block_bytes,
            unit_bytes,
            segment_bytes,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    let limit = shard.record_bytes_max();
    assert_eq!(limit, segment_bytes / 2);
    let length = usize::try_from(limit - 56).unwrap();
    let largest = content(1, 1, length);
    rig.put(&shard, 1, &largest);
    rig.put(&shard, 1, &largest);
    let too_large = rig.run(put(&shard, digest(1), &content(2, 1, length + 1)));
    assert_eq!(
        too_large,
        Err(WriteError::TooLarge {
            found_bytes: limit + 16,
            limit_bytes: limit
        })
    );
    rig.check(&shard, 1, Some(&largest));
    rig.close(shard);
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(&largest));
}

#[test]
fn the_largest_record_fits_whatever_the_block() {
    check_largest(512, 64 << 10);
    check_largest(4096, 64 << 10);
    check_largest(8192, 128 << 10);
    check_largest(16_384, 256 << 10);
    check_largest(4096, 1 << 20);
}

#[test]
fn no_record_is_larger_than_eight_mebibytes() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 6,
            segment_bytes: 64 << 20,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    assert_eq!(shard.record_bytes_max(), 8 << 20);
    let largest = content(1, 1, (8 << 20) - 56);
    rig.put(&shard, 1, &largest);
    rig.check(&shard, 1, Some(&largest));
}
