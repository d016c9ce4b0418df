//! Scans: pages of a partition, resumed, while it changes.

use std::collections::BTreeMap;

use corelith_index::{Digest, ExpirySeconds, PartitionId, ScanPosition, SetId};
use corelith_store::{Change, Needs, Shard};

use crate::harness::{NotMet, Rig, Shape, content, digest};

fn partition() -> PartitionId {
    digest(0).partition()
}

/// Reads the partition in pages, with `between` after each.
fn scan(
    rig: &mut Rig,
    shard: &Shard,
    count_max: usize,
    mut between: impl FnMut(&mut Rig, &Shard),
) -> BTreeMap<Digest, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut from = Some(ScanPosition::START);
    while let Some(position) = from {
        let page = rig
            .run(shard.scan(partition(), position, count_max))
            .unwrap();
        assert!(page.records.len() <= count_max.max(1));
        for record in page.records {
            let record = record.unwrap();
            let twice = found.insert(*record.digest(), record.content().to_vec());
            assert!(twice.is_none(), "{} came twice", record.digest());
        }
        from = page.next;
        between(rig, shard);
    }
    found
}

#[test]
fn pages_of_every_length_make_the_same_whole() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let expected: BTreeMap<_, _> = (0..200)
        .map(|key| (digest(key), content(key, 0, 90)))
        .collect();
    for key in 0..200 {
        rig.put(&shard, key, &content(key, 0, 90));
    }
    for count_max in [0, 1, 7, 199, 200, 5000] {
        assert_eq!(
            scan(&mut rig, &shard, count_max, |_, _| {}),
            expected,
            "{count_max} a page"
        );
    }
    let other = PartitionId::new(5).unwrap();
    let page = rig
        .run(shard.scan(other, ScanPosition::START, 100))
        .unwrap();
    assert!(page.records.is_empty());
}

#[test]
fn what_is_there_throughout_comes_once_whatever_else_happens() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 12,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    for key in 0..40 {
        rig.put(&shard, key, &content(key, 0, 900));
    }
    let mut round = 1;
    let found = scan(&mut rig, &shard, 5, |rig, shard| {
        // Everything is rewritten several times over: segments are freed and used again.
        for key in 0..40 {
            rig.put(shard, key, &content(key, round, 900));
        }
        rig.put(shard, 1000 + round, b"comes and goes");
        rig.delete(shard, 999 + round);
        round += 1;
    });
    for key in 0..40 {
        let bytes = &found[&digest(key)];
        assert!(
            (0..round).any(|round| *bytes == content(key, round, 900)),
            "key {key}"
        );
    }
}

#[test]
fn expired_records_and_definitions_of_sets_are_left_out() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let set = rig.run(shard.set_id("users")).unwrap();
    let now = shard.now_ms() / 1000 - ExpirySeconds::UNIX_OFFSET_SECONDS;
    for key in 0..10_u32 {
        let expiry = ExpirySeconds::new(u32::try_from(now).unwrap() + 10 + 100 * (key % 2));
        let set = if key == 1 { set } else { SetId::NONE };
        let put = Change::PutInput { expiry, set };
        rig.run(shard.write::<NotMet>(&digest(key.into()), Needs::Metadata, b"x", |_, _| Ok(put)))
            .unwrap();
    }
    assert_eq!(scan(&mut rig, &shard, 3, |_, _| {}).len(), 10);
    rig.sleep_ms(50_000);
    let found = scan(&mut rig, &shard, 3, |_, _| {});
    assert_eq!(found.len(), 5);
    assert!(found.contains_key(&digest(1)));
}

#[test]
fn the_next_page_may_come_after_a_restart() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    for key in 0..50 {
        rig.put(&shard, key, b"x");
    }
    let first = rig
        .run(shard.scan(partition(), ScanPosition::START, 20))
        .unwrap();
    rig.power_cut();
    let shard = rig.open_sound();
    let rest = rig
        .run(shard.scan(partition(), first.next.unwrap(), 100))
        .unwrap();
    assert_eq!(
        (first.records.len(), rest.records.len(), rest.next),
        (20, 30, None)
    );
}
