//! Tombstones: kept as long as a stale copy could come back, and not longer.

use corelith_store::Shard;

use crate::harness::{Rig, Shape, content};

/// Overwrites one key until the log has gone round several times.
fn go_round(rig: &mut Rig, shard: &Shard, rounds: u64) {
    for round in 0..rounds {
        rig.put(shard, 500, &content(500, round, 2500));
    }
}

#[test]
fn a_deleted_record_stays_deleted_while_a_neighbour_keeps_its_segment() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 8,
            ..Shape::default()
        },
    );
    let mut shard = rig.open_sound();
    rig.put(&shard, 1, b"deleted later");
    rig.put(&shard, 2, b"keeps the segment");
    go_round(&mut rig, &shard, 20);
    rig.delete(&shard, 1);
    assert_eq!(shard.statistics().counters.segments_reclaimed, 0);
    assert_eq!(shard.statistics().segments.tombstones, 1);
    for _ in 0..3 {
        go_round(&mut rig, &shard, 200);
        rig.power_cut();
        shard = rig.open_sound();
        rig.check(&shard, 1, None);
        rig.check(&shard, 2, Some(b"keeps the segment"));
    }
    // When reclaim has moved the neighbour, the stale copy is gone, and so may be the tombstone.
    assert_eq!(shard.statistics().segments.tombstones, 0);
    rig.delete(&shard, 2);
    go_round(&mut rig, &shard, 400);
    rig.close(shard);
    let shard = rig.open_sound();
    rig.check(&shard, 1, None);
    rig.check(&shard, 2, None);
    assert_eq!(shard.statistics().segments.tombstones, 0);
}

#[test]
fn many_deletes_among_live_records_do_not_bring_anything_back() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 40,
            ..Shape::default()
        },
    );
    let mut shard = rig.open_sound();
    for key in 0..60 {
        rig.put(&shard, key, &content(key, 0, 1200));
        go_round(&mut rig, &shard, 1);
    }
    for key in (0..60).filter(|key| key % 4 != 0) {
        rig.delete(&shard, key);
        go_round(&mut rig, &shard, 10);
        if key % 10 == 1 {
            rig.power_cut();
            shard = rig.open_sound();
        }
    }
    for _ in 0..2 {
        for key in 0..60 {
            let expected = (key % 4 == 0).then(|| content(key, 0, 1200));
            rig.check(&shard, key, expected.as_deref());
        }
        rig.close(shard);
        shard = rig.open_sound();
    }
    assert_eq!(shard.statistics().records, 16);
}
