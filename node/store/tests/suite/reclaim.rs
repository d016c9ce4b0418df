//! Reclaim: space comes back while what lives stays readable, across restarts; what cannot be moved is not hidden.

use corelith_index::{ExpirySeconds, SetId};
use corelith_store::{Change, Current, Needs, Shard, Truncate, WriteError};

use crate::harness::{NotMet, Rig, Shape, content, delete, digest, put};

/// Twelve segments of 128 KiB, and every lone write takes a unit of 4 KiB.
fn padded() -> Shape {
    Shape {
        segments: 12,
        segment_bytes: 128 << 10,
        unit_bytes: 4096,
        ..Shape::default()
    }
}

/// Puts new keys, many at a time, until the shard refuses; returns how many it holds.
fn fill_densely(rig: &mut Rig, shard: &Shard, length: usize) -> u64 {
    for first in (0_u64..).step_by(500) {
        let puts: Vec<_> = (first..first + 500)
            .map(|key| {
                let shard = shard.clone();
                let content = content(key, 0, length);
                rig.spawn(async move { put(&shard, digest(key), &content).await })
            })
            .collect();
        rig.run_until_idle();
        let refused = puts.iter().filter(|put| {
            let Some(result) = put.take() else {
                panic!("nobody waits for ever");
            };
            assert!(
                matches!(result, Ok(_) | Err(WriteError::OutOfSpace)),
                "{result:?}"
            );
            result.is_err()
        });
        if refused.count() > 0 {
            return shard.statistics().records;
        }
    }
    unreachable!("a shard has an end")
}

/// The keys that are there, of those below `end`.
fn keys_there(rig: &mut Rig, shard: &Shard, end: u64) -> Vec<u64> {
    (0..end)
        .filter(|key| rig.get(shard, *key).unwrap().is_some())
        .collect()
}

#[test]
fn one_client_overwrites_a_full_volume_five_times() {
    let mut rig = Rig::new(1, padded());
    let shard = rig.open_sound();
    let count = fill_densely(&mut rig, &shard, 256);
    assert!(count > 1_800, "{count} records of 320 bytes in 8 segments");
    // Nine tenths of that.
    let (mut keys, mut deleted) = (Vec::new(), Vec::new());
    for (number, key) in keys_there(&mut rig, &shard, count + 1000)
        .into_iter()
        .enumerate()
    {
        if number % 10 == 0 {
            rig.delete(&shard, key);
            deleted.push(key);
        } else {
            keys.push(key);
        }
    }
    for key in &keys {
        rig.check(&shard, *key, Some(&content(*key, 0, 256)));
    }
    let before = shard.statistics().counters;
    for round in 1..=5 {
        for key in &keys {
            let result = rig.run(put(&shard, digest(*key), &content(*key, round, 256)));
            assert!(result.is_ok(), "round {round}, key {key}: {result:?}");
        }
    }
    let counters = shard.statistics().counters;
    assert!(
        counters.segments_reclaimed > before.segments_reclaimed + 100,
        "{counters:?}"
    );
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(
        shard.statistics().records,
        u64::try_from(keys.len()).unwrap()
    );
    for key in keys.iter().step_by(7) {
        rig.check(&shard, *key, Some(&content(*key, 5, 256)));
    }
    for key in deleted {
        rig.check(&shard, key, None);
    }
}

#[test]
fn deletes_one_by_one_make_a_full_volume_take_data_again() {
    let mut rig = Rig::new(2, padded());
    let shard = rig.open_sound();
    let count = fill_densely(&mut rig, &shard, 256);
    let refused = rig.run(put(&shard, digest(1 << 40), &content(1 << 40, 0, 256)));
    assert_eq!(refused, Err(WriteError::OutOfSpace));
    let mut new = 0_u64;
    let keys = keys_there(&mut rig, &shard, count + 1000);
    let (half, rest) = keys.split_at(keys.len() / 2);
    for (number, key) in half.iter().enumerate() {
        assert!(rig.delete(&shard, *key).existed, "key {key}");
        if number % 50 == 49 {
            rig.run_until_idle();
            new += u64::from(
                rig.run(put(&shard, digest(new + (1 << 40)), &content(new, 0, 256)))
                    .is_ok(),
            );
        }
    }
    assert!(
        new > 10,
        "{new} new keys were taken while {count} were halved"
    );
    assert!(!shard.statistics().is_full);
    rig.power_cut();
    let shard = rig.open_sound();
    for key in half {
        rig.check(&shard, *key, None);
    }
    for key in rest.iter().step_by(11) {
        rig.check(&shard, *key, Some(&content(*key, 0, 256)));
    }
}

#[test]
fn a_full_volume_takes_overwrites_that_do_not_grow() {
    let mut rig = Rig::new(
        3,
        Shape {
            segments: 10,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    let count = fill_densely(&mut rig, &shard, 1000);
    let keys = keys_there(&mut rig, &shard, 2000);
    assert_eq!(u64::try_from(keys.len()).unwrap(), count);
    let grown = rig.run(put(&shard, digest(keys[0]), &content(0, 1, 4000)));
    assert_eq!(grown, Err(WriteError::OutOfSpace));
    for round in 1..20 {
        for key in &keys {
            rig.put(&shard, *key, &content(*key, round, 1000));
        }
    }
    for key in &keys {
        rig.put(&shard, *key, &content(*key, 20, 300));
    }
    let grown = rig.run(put(&shard, digest(keys[0]), &content(0, 1, 4000)));
    assert!(grown.is_ok(), "{grown:?}");
    rig.power_cut();
    let shard = rig.open_sound();
    for key in keys.iter().skip(1) {
        rig.check(&shard, *key, Some(&content(*key, 20, 300)));
    }
}

#[test]
fn a_move_changes_nothing_that_a_reader_sees() {
    let mut rig = Rig::new(
        4,
        Shape {
            segments: 8,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    for key in 0..12 {
        for round in 0..=key {
            rig.put(&shard, key, &content(key, round, 700));
        }
    }
    let seen = |rig: &mut Rig, shard: &Shard| -> Vec<_> {
        (0..12)
            .map(|key| {
                let record = rig.run(shard.get(&digest(key))).unwrap().unwrap();
                let (version, updated_ms) = (record.version(), record.updated_ms());
                (
                    record.metadata(),
                    version,
                    updated_ms,
                    record.content().to_vec(),
                )
            })
            .collect()
    };
    let before = seen(&mut rig, &shard);
    for round in 0..600 {
        rig.put(&shard, 500, &content(500, round, 2500));
    }
    let counters = shard.statistics().counters;
    assert!(counters.moved_records > 100, "{counters:?}");
    assert_eq!(seen(&mut rig, &shard), before);
    rig.power_cut();
    let shard = rig.open_sound();
    assert_eq!(seen(&mut rig, &shard), before);
}

#[test]
fn a_record_that_cannot_be_moved_is_answered_with_an_error() {
    let mut rig = Rig::new(
        5,
        Shape {
            segments: 8,
            ..Shape::default()
        },
    );
    let mut shard = rig.open_sound();
    rig.put(&shard, 1, &content(1, 0, 600));
    for round in 0..20 {
        rig.put(&shard, 500, &content(500, round, 2500));
    }
    // The newest version stands in the second segment, the older one in the first.
    rig.put(&shard, 1, b"the newest version of key one");
    rig.put(&shard, 2, b"a neighbour");
    let (segment, at) = rig.find(b"the newest version of key one");
    rig.flip_bit(segment, at);
    for round in 20..600 {
        rig.put(&shard, 500, &content(500, round, 2500));
    }
    let counters = shard.statistics().counters;
    assert!(
        counters.reclaim_damaged > 0 && counters.segments_reclaimed > 10,
        "{counters:?}"
    );
    for _ in 0..2 {
        assert!(rig.get(&shard, 1).is_err(), "never the older version");
        rig.check(&shard, 2, Some(b"a neighbour"));
        rig.power_cut();
        shard = rig.open();
    }
    // Healed, its segment is taken like any other.
    rig.put(&shard, 1, b"healed");
    for round in 600..900 {
        rig.put(&shard, 500, &content(500, round, 2500));
    }
    rig.check(&shard, 1, Some(b"healed"));
    assert!(
        rig.segment(segment)
            .windows(11)
            .all(|window| window != b"a neighbour")
    );
}

#[test]
fn deletes_beside_cold_records_reach_a_steady_amount_of_tombstones() {
    let mut rig = Rig::new(
        6,
        Shape {
            segments: 24,
            ..Shape::default()
        },
    );
    let mut shard = rig.open_sound();
    // Each cold record lies among ones that die: without moving it, its segment would pin all that follows.
    let mut most = 0;
    for round in 0..60_u64 {
        if round < 30 {
            rig.put(&shard, 10_000 + round, &content(round, 0, 900));
        }
        for key in 0..40 {
            rig.put(&shard, key, &content(key, round, 400));
        }
        for key in 0..40 {
            assert!(rig.run(delete(&shard, digest(key))).unwrap().existed);
        }
        if round % 20 == 19 {
            rig.power_cut();
            shard = rig.open_sound();
            for key in 0..40 {
                rig.check(&shard, key, None);
            }
        }
        if round > 30 {
            most = most.max(shard.statistics().segments.tombstones);
        }
    }
    assert!(most < 400, "{most} tombstones of 2,400 deletes");
    for round in 0..30 {
        rig.check(&shard, 10_000 + round, Some(&content(round, 0, 900)));
    }
}

async fn put_in(shard: &Shard, key: u64, set: SetId) -> Result<(), WriteError<NotMet>> {
    let change = Change::PutInput {
        expiry: ExpirySeconds::NEVER,
        set,
    };
    let (digest, content) = (digest(key), content(key, 0, 500));
    let written = shard.write(&digest, Needs::Metadata, &content, |_, _| Ok(change));
    written.await.map(drop)
}

#[test]
fn definitions_of_sets_and_truncations_are_moved() {
    let mut rig = Rig::new(
        7,
        Shape {
            segments: 8,
            ..Shape::default()
        },
    );
    let mut shard = rig.open_sound();
    let users = rig.run(shard.set_id("users")).unwrap();
    let others = rig.run(shard.set_id("others")).unwrap();
    for key in 0..4 {
        rig.run(put_in(&shard, key, users)).unwrap();
        rig.run(put_in(&shard, 100 + key, others)).unwrap();
    }
    rig.run(shard.truncate(Truncate::Set("users"))).unwrap();
    for key in 4..8 {
        rig.run(put_in(&shard, key, users)).unwrap();
    }
    for life in 0..4 {
        for round in 0..250 {
            rig.put(&shard, 500, &content(500, 1000 * life + round, 2500));
        }
        let counters = shard.statistics().counters;
        assert!(counters.moved_records >= 10, "life {life}: {counters:?}");
        if life % 2 == 0 {
            rig.power_cut();
        } else {
            rig.close(shard);
        }
        shard = rig.open_sound();
        assert_eq!(shard.known_set("users"), Some(users));
        assert_eq!(shard.set_name(others), "others");
        for key in 0..4 {
            rig.check(&shard, key, None);
            rig.check(&shard, 100 + key, Some(&content(100 + key, 0, 500)));
            rig.check(&shard, 4 + key, Some(&content(4 + key, 0, 500)));
        }
        // One more, so that truncations of several ages are there.
        rig.run(put_in(&shard, 1, users)).unwrap();
        rig.check(&shard, 1, Some(&content(1, 0, 500)));
        rig.run(shard.truncate(Truncate::Set("nobody's"))).unwrap();
        rig.delete(&shard, 1);
    }
    rig.run(shard.truncate(Truncate::All)).unwrap();
    for round in 0..400 {
        rig.put(&shard, 500, &content(500, round, 2500));
    }
    rig.power_cut();
    let shard = rig.open_sound();
    for key in (0..8).chain(100..104) {
        rig.check(&shard, key, None);
    }
    assert_eq!(shard.known_set("users"), Some(users));
}

#[test]
fn writers_meet_moves_and_lose_nothing() {
    let mut rig = Rig::new(
        8,
        Shape {
            segments: 8,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    // Two clients go round the same keys, a third one keeps reclaim at work.
    let client = |shard: Shard, first: u64, count: u64| async move {
        for number in 0..count {
            let key = (first + number) % 9;
            let adds = |current: Option<Current<'_>>, made: &mut Vec<u8>| {
                let before = current.map_or(&[][..], |current| current.content);
                let sum = before
                    .first_chunk()
                    .map_or(0, |bytes| u64::from_le_bytes(*bytes));
                made.extend((sum + 1).to_le_bytes());
                made.resize(300, 7);
                Ok::<_, NotMet>(Change::PutMade {
                    expiry: ExpirySeconds::NEVER,
                    set: SetId::NONE,
                })
            };
            let key = digest(key);
            let written = shard.write(&key, Needs::Content, &[], adds).await;
            assert!(written.is_ok(), "{written:?}");
        }
    };
    let clients = [
        rig.spawn(client(shard.clone(), 0, 900)),
        rig.spawn(client(shard.clone(), 4, 900)),
    ];
    let churn = shard.clone();
    let churn = rig.spawn(async move {
        for round in 0..900 {
            put(&churn, digest(500), &content(500, round, 2500))
                .await
                .unwrap();
        }
    });
    rig.run_until_idle();
    assert!(churn.take().is_some() && clients.iter().all(|client| client.take().is_some()));
    let counters = shard.statistics().counters;
    assert!(counters.moved_records > 10, "{counters:?}");
    rig.power_cut();
    let shard = rig.open_sound();
    let sums = (0..9).map(|key| {
        let content = rig.get(&shard, key).unwrap().unwrap();
        u64::from_le_bytes(content[..8].try_into().unwrap())
    });
    assert_eq!(sums.sum::<u64>(), 1800);
}
