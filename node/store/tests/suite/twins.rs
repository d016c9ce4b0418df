//! Twins: keys with the same partition and the same tag, which only their records tell apart.

use corelith_index::Digest;
use corelith_store::{Change, Needs, Shard, WriteError, Written};

use crate::harness::{NotMet, PLAIN, Rig, Shape, digest, get};

/// Twin `number` of the family: equal in the first ten bytes.
fn twin(number: u8) -> Digest {
    let mut bytes = *digest(77).as_bytes();
    bytes[19] = number;
    Digest::from_bytes(bytes)
}

async fn put(shard: &Shard, number: u8, content: &[u8]) -> Result<Written, WriteError<NotMet>> {
    shard
        .write(&twin(number), Needs::Content, content, |_, _| Ok(PLAIN))
        .await
}

async fn delete(shard: &Shard, number: u8) -> Result<Written, WriteError<NotMet>> {
    shard
        .write(&twin(number), Needs::Content, &[], |_, _| {
            Ok(Change::Delete)
        })
        .await
}

fn check(rig: &mut Rig, shard: &Shard, expected: &[(u8, Option<&[u8]>)]) {
    for (number, content) in expected {
        let found = rig.run(get(shard, twin(*number))).unwrap();
        assert_eq!(found.as_deref(), *content, "twin {number}");
    }
}

#[test]
fn twins_live_side_by_side_through_restarts() {
    let mut rig = Rig::new(1, Shape::default());
    let mut shard = rig.open_sound();
    assert!(!rig.run(put(&shard, 1, b"one")).unwrap().existed);
    assert!(!rig.run(put(&shard, 2, b"two")).unwrap().existed);
    let again = rig.run(put(&shard, 1, b"one again")).unwrap();
    assert_eq!((again.existed, again.generation.get()), (true, 2));
    let mut expected: Vec<(u8, Option<&[u8]>)> =
        vec![(1, Some(b"one again")), (2, Some(b"two")), (3, None)];
    for round in 0..6 {
        check(&mut rig, &shard, &expected);
        let metadata = rig.run(shard.metadata(&twin(2))).unwrap().unwrap();
        assert_eq!(metadata.generation.get(), 1);
        if round == 2 {
            assert!(rig.run(delete(&shard, 1)).unwrap().existed);
            expected[0] = (1, None);
            check(&mut rig, &shard, &expected);
        }
        if round == 4 {
            assert!(!rig.run(put(&shard, 1, b"one anew")).unwrap().existed);
            expected[0] = (1, Some(b"one anew"));
        }
        if round % 2 == 0 {
            rig.close(shard);
        } else {
            rig.power_cut();
        }
        shard = rig.open_sound();
    }
    check(&mut rig, &shard, &expected);
}

#[test]
fn twins_that_come_together_do_not_take_each_other_for_themselves() {
    for seed in 0..20 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        let handles: Vec<_> = [(1, 0), (2, 0), (1, 1), (3, 0), (2, 1), (1, 2)]
            .map(|(number, round): (u8, u8)| {
                let shard = shard.clone();
                rig.spawn(async move { put(&shard, number, &[number, round]).await.unwrap() })
            })
            .into_iter()
            .collect();
        rig.run_until_idle();
        let generations: Vec<u16> = handles
            .iter()
            .map(|handle| handle.take().unwrap().generation.get())
            .collect();
        assert_eq!(
            generations.iter().sum::<u16>(),
            1 + 1 + 2 + 1 + 2 + 3,
            "{generations:?}"
        );
        let counts = [(1, 3), (2, 2), (3, 1)];
        for (number, generation) in counts {
            let record = rig.run(shard.get(&twin(number))).unwrap().unwrap();
            assert_eq!(record.metadata().generation.get(), generation);
        }
        rig.power_cut();
        let shard = rig.open_sound();
        assert_eq!(shard.statistics().records, 3);
        for (number, generation) in counts {
            let record = rig.run(shard.get(&twin(number))).unwrap().unwrap();
            assert_eq!(record.metadata().generation.get(), generation);
        }
    }
}

#[test]
fn a_damaged_twin_does_not_stand_in_the_way_of_the_other() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.run(put(&shard, 1, b"the first twin")).unwrap();
    rig.run(put(&shard, 2, b"the second twin")).unwrap();
    let (segment, at) = rig.find(b"the first twin");
    rig.flip_bit(segment, at);
    assert!(rig.run(get(&shard, twin(1))).is_err());
    assert_eq!(
        rig.run(get(&shard, twin(2))).unwrap().as_deref(),
        Some(&b"the second twin"[..])
    );
}

#[test]
fn made_up_families_are_refused_before_they_are_lost() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 32,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    for number in 0..64 {
        rig.run(put(&shard, number, &[number])).unwrap();
    }
    assert_eq!(rig.run(put(&shard, 64, b"")), Err(WriteError::IndexFull));
    rig.run(put(&shard, 63, b"overwritten")).unwrap();
    rig.run(delete(&shard, 0)).unwrap();
    rig.run(put(&shard, 64, b"in its place")).unwrap();
    rig.close(shard);
    let shard = rig.open_sound();
    check(
        &mut rig,
        &shard,
        &[
            (0, None),
            (63, Some(b"overwritten")),
            (64, Some(b"in its place")),
        ],
    );
}

#[test]
fn a_get_of_a_lone_twin_of_another_key_finds_nothing() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.run(put(&shard, 1, b"one")).unwrap();
    check(&mut rig, &shard, &[(1, Some(b"one")), (2, None)]);
}

/// FORMAT.md section 9: one matching tag is taken for the key by metadata, which reads no record; a get
/// always compares the whole digest; and from the second key on, metadata reads records as well.
#[test]
fn metadata_takes_a_lone_tag_for_the_key_and_a_get_does_not() {
    let mut rig = Rig::new(1, Shape::default());
    let mut shard = rig.open_sound();
    rig.run(put(&shard, 1, b"one")).unwrap();
    rig.run(put(&shard, 1, b"one again")).unwrap();
    let generation = |rig: &mut Rig, shard: &Shard, number| {
        let found = rig.run(shard.metadata(&twin(number))).unwrap();
        found.map(|metadata| metadata.generation.get())
    };
    for round in 0..2 {
        let reads = shard.statistics().counters.device_reads;
        assert_eq!(generation(&mut rig, &shard, 2), Some(2), "its twin's");
        assert_eq!(shard.statistics().counters.device_reads, reads);
        // Not even after that, or after another get, is the absent key's record there.
        for _ in 0..2 {
            check(&mut rig, &shard, &[(2, None), (1, Some(b"one again"))]);
        }
        if round == 0 {
            rig.close(shard);
            shard = rig.open_sound();
        }
    }
    rig.run(put(&shard, 3, b"three")).unwrap();
    for _ in 0..2 {
        assert_eq!(generation(&mut rig, &shard, 1), Some(2));
        assert_eq!(generation(&mut rig, &shard, 2), None, "told by the records");
        assert_eq!(generation(&mut rig, &shard, 3), Some(1));
        check(&mut rig, &shard, &[(2, None)]);
        rig.close(shard);
        shard = rig.open_sound();
    }
}

#[test]
fn twins_are_moved_and_told_apart() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 8,
            ..Shape::default()
        },
    );
    let mut shard = rig.open_sound();
    let mut expected: [Option<Vec<u8>>; 4] = [const { None }; 4];
    let mut moved_records = 0;
    // Twins come and go in every order while reclaim moves those that stay, and restarts tell them apart by
    // what is left.
    for round in 0..60_u64 {
        let number = u8::try_from(round * 7 % 4).unwrap();
        let place = &mut expected[usize::from(number)];
        if round % 5 < 3 {
            let content = crate::harness::content(number.into(), round, 300);
            rig.run(put(&shard, number, &content)).unwrap();
            *place = Some(content);
        } else {
            let deleted = rig.run(delete(&shard, number)).unwrap();
            assert_eq!(deleted.existed, place.take().is_some());
        }
        for churn in 0..50 {
            let content = crate::harness::content(500, round * 100 + churn, 2500);
            rig.put(&shard, 500, &content);
        }
        if round % 4 == 3 {
            moved_records += shard.statistics().counters.moved_records;
            rig.power_cut();
            shard = rig.open_sound();
        }
        for (number, content) in (0..).zip(&expected) {
            check(&mut rig, &shard, &[(number, content.as_deref())]);
        }
    }
    assert!(moved_records > 20, "{moved_records}");
}
