//! Out of space: said clearly, harmless, deletes still work; emptied segments are used again.

use corelith_store::{Shard, WriteError};

use crate::harness::{Rig, Shape, content, delete, digest, put};

/// Puts new keys until the shard refuses; returns how many it took.
fn fill(rig: &mut Rig, shard: &Shard, length: usize) -> u64 {
    for key in 0.. {
        match rig.run(put(shard, digest(key), &content(key, 0, length))) {
            Ok(_) => {}
            Err(WriteError::OutOfSpace) => return key,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("a shard has an end")
}

#[test]
fn a_full_shard_refuses_new_data_and_keeps_what_it_has() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 8,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    let count = fill(&mut rig, &shard, 3000);
    assert!(
        (60..100).contains(&count),
        "4 of 8 segments of 64 KiB hold {count} times 3 KiB"
    );
    for round in 0..3 {
        for key in 0..count {
            rig.check(&shard, key, Some(&content(key, 0, 3000)));
        }
        let new = rig.run(put(&shard, digest(count), &content(count, 0, 3000)));
        assert_eq!(new, Err(WriteError::OutOfSpace), "round {round}");
        let grown = rig.run(put(&shard, digest(0), &content(0, 1, 9000)));
        assert_eq!(grown, Err(WriteError::OutOfSpace), "round {round}");
    }
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(
        rig.run(put(&shard, digest(0), &content(0, 1, 9000))),
        Err(WriteError::OutOfSpace)
    );
    rig.check(&shard, 0, Some(&content(0, 0, 3000)));
}

#[test]
fn deletes_work_when_nothing_else_does_and_make_room() {
    for restart in [false, true] {
        let mut rig = Rig::new(
            1,
            Shape {
                segments: 8,
                ..Shape::default()
            },
        );
        let mut shard = rig.open_sound();
        let count = fill(&mut rig, &shard, 3000);
        if restart {
            rig.power_cut();
            shard = rig.open_sound();
        }
        for key in 0..count {
            assert!(rig.delete(&shard, key).existed, "key {key}");
        }
        rig.run_until_idle();
        let again = fill(&mut rig, &shard, 3000);
        assert!(again >= count / 2, "{again} after {count}");
        rig.close(shard);
        let shard = rig.open_sound();
        assert_eq!(shard.statistics().records, again);
    }
}

#[test]
fn a_small_shard_is_written_over_and_over() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 6,
            ..Shape::default()
        },
    );
    let mut shard = rig.open_sound();
    for round in 0..1500_u64 {
        rig.put(&shard, round % 5, &content(round % 5, round, 2500));
        if round % 400 == 399 {
            rig.power_cut();
            shard = rig.open_sound();
        }
    }
    for key in 0..5 {
        rig.check(&shard, key, Some(&content(key, 1495 + key, 2500)));
    }
    let segments = shard.statistics().segments;
    assert_eq!((segments.total, segments.lost), (6, 0));
}

#[test]
fn writers_that_wait_for_a_segment_are_served() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 12,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    let handles: Vec<_> = (0..200_u64)
        .map(|number| {
            let shard = shard.clone();
            let key = number % 20;
            rig.spawn(async move { put(&shard, digest(key), &content(key, number, 1500)).await })
        })
        .collect();
    rig.run_until_idle();
    for handle in handles {
        handle.take().expect("nobody waits for ever").unwrap();
    }
    for key in 0..20 {
        rig.check(&shard, key, Some(&content(key, 180 + key, 1500)));
    }
}

#[test]
fn a_full_index_takes_overwrites_and_deletes_only() {
    let index_memory_bytes = 6 << 20;
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 40,
            segment_bytes: 4 << 20,
            index_memory_bytes,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    let refused = (0_u64..400_000).step_by(500).find_map(|first| {
        let puts: Vec<_> = (first..first + 500)
            .map(|key| {
                let shard = shard.clone();
                rig.spawn(async move { put(&shard, digest(key), b"").await })
            })
            .collect();
        rig.run_until_idle();
        let results = puts.iter().map(|put| put.take().unwrap());
        (first..).zip(results).find(|(_, result)| result.is_err())
    });
    let (_, result) = refused.expect("the index is full at some time");
    assert_eq!(result, Err(WriteError::IndexFull));
    // What was on its way was counted as dear as it may become: a few more fit.
    let mut more = 400_000..410_000;
    let key = more.find(|key| rig.run(put(&shard, digest(*key), b"")).is_err());
    let key = key.expect("the index is full at some time");
    // At nine parts in ten, but for a few slabs.
    let statistics = shard.statistics();
    assert!(statistics.is_index_full);
    assert_eq!(statistics.index_limit_bytes, index_memory_bytes);
    let (used_bytes, ninth) = (statistics.index_bytes, index_memory_bytes / 10 * 9);
    assert!(
        (ninth - 100_000..ninth + 100_000).contains(&used_bytes),
        "{used_bytes}"
    );
    rig.put(&shard, 0, b"overwritten");
    rig.check(&shard, 0, Some(b"overwritten"));
    assert!(rig.run(delete(&shard, digest(1))).unwrap().existed);
    rig.check(&shard, key, None);
    rig.close(shard);
    let shard = rig.open_sound();
    rig.check(&shard, 0, Some(b"overwritten"));
    rig.check(&shard, 2, Some(b""));
    // Where keys go others may come.
    for key in 2..20_000 {
        assert!(rig.run(delete(&shard, digest(key))).unwrap().existed);
    }
    assert!(!shard.statistics().is_index_full);
    rig.put(&shard, key, b"new");
    rig.check(&shard, key, Some(b"new"));
}
