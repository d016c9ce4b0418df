//! Truncation: of a set or of all, at once, for ever, without a read or a rewrite.

use corelith_index::{Digest, ExpirySeconds, PartitionId, ScanPosition, SetId};
use corelith_io::{Durability, Fault, PlannedFault, SeededRandom};
use corelith_store::{Change, Needs, Shard, Truncate, WriteError, Written};

use crate::harness::{NotMet, Rig, Shape, content, digest, get};

async fn put_in(
    shard: &Shard,
    set: SetId,
    key: u64,
    content: &[u8],
) -> Result<Written, WriteError<NotMet>> {
    let expiry = ExpirySeconds::NEVER;
    shard
        .write(&digest(key), Needs::Metadata, content, |_, _| {
            Ok(Change::PutInput { expiry, set })
        })
        .await
}

/// Puts `key` into one of the two sets or none, by its number.
fn put(rig: &mut Rig, shard: &Shard, key: u64, version: u64) -> Written {
    let set = set_of(rig, shard, key);
    rig.run(put_in(shard, set, key, &content(key, version, 600)))
        .unwrap()
}

fn set_of(rig: &mut Rig, shard: &Shard, key: u64) -> SetId {
    match name_of(key) {
        "" => SetId::NONE,
        name => rig.run(shard.set_id(name)).unwrap(),
    }
}

fn name_of(key: u64) -> &'static str {
    ["", "users", "events"][usize::try_from(key % 3).unwrap()]
}

fn truncate(rig: &mut Rig, shard: &Shard, target: Truncate<'_>) {
    rig.run(shard.truncate(target)).unwrap();
}

/// Asserts what every one of `count` keys answers, in each way in which it can be asked.
fn check(rig: &mut Rig, shard: &Shard, count: u64, version_of: impl Fn(u64) -> Option<u64>) {
    let mut expected = Vec::new();
    for key in 0..count {
        let version = version_of(key);
        let bytes = version.map(|version| content(key, version, 600));
        rig.check(shard, key, bytes.as_deref());
        let metadata = rig.run(shard.metadata(&digest(key))).unwrap();
        assert_eq!(metadata.is_some(), version.is_some(), "key {key}");
        expected.extend(version.map(|_| digest(key)));
    }
    let partition = PartitionId::new(0).unwrap();
    let (mut found, mut from) = (Vec::new(), Some(ScanPosition::START));
    while let Some(position) = from {
        let page = rig.run(shard.scan(partition, position, 4)).unwrap();
        let records = page.records.into_iter();
        found.extend(records.map(|record| *record.unwrap().digest()));
        from = page.next;
    }
    expected.sort_by_key(|digest| digest.as_bytes().to_vec());
    found.sort_by_key(|digest| digest.as_bytes().to_vec());
    assert_eq!(found, expected, "the scan");
}

#[test]
fn a_set_is_gone_at_once_and_stays_gone() {
    for cut in [false, true] {
        let mut rig = Rig::new(1, Shape::default());
        let mut shard = rig.open_sound();
        for key in 0..30 {
            put(&mut rig, &shard, key, 0);
        }
        truncate(&mut rig, &shard, Truncate::Set("users"));
        let after = |key| (name_of(key) != "users").then_some(0);
        check(&mut rig, &shard, 30, after);
        // What comes later lives, as a new record.
        let written = put(&mut rig, &shard, 4, 1);
        assert_eq!((written.generation.get(), written.existed), (1, false));
        let later = |key| if key == 4 { Some(1) } else { after(key) };
        for _ in 0..3 {
            check(&mut rig, &shard, 30, later);
            if cut {
                rig.power_cut();
            } else {
                rig.close(shard);
            }
            shard = rig.open_sound();
        }
        rig.run_until_idle();
        assert_eq!(shard.statistics().truncations_unswept, 0);
        assert_eq!(shard.statistics().records, 21);
        check(&mut rig, &shard, 30, later);
    }
}

#[test]
fn all_means_records_without_a_set_too() {
    let mut rig = Rig::new(1, Shape::default());
    let mut shard = rig.open_sound();
    for key in 0..12 {
        put(&mut rig, &shard, key, 0);
    }
    truncate(&mut rig, &shard, Truncate::Set("users"));
    truncate(&mut rig, &shard, Truncate::All);
    put(&mut rig, &shard, 3, 1);
    for _ in 0..2 {
        check(&mut rig, &shard, 12, |key| (key == 3).then_some(1));
        rig.power_cut();
        shard = rig.open_sound();
    }
    // The names of sets are no records.
    assert_eq!(shard.sets().len(), 2);
}

#[test]
fn a_set_that_nobody_knows_costs_nothing() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    put(&mut rig, &shard, 0, 0);
    let before = shard.statistics().counters.records;
    truncate(&mut rig, &shard, Truncate::Set("nobody"));
    truncate(&mut rig, &shard, Truncate::Set(""));
    assert_eq!(shard.statistics().counters.records, before);
    check(&mut rig, &shard, 1, |_| Some(0));
}

/// A sweep begins with partition 0, in the turn in which the truncation becomes durable. The last partition
/// is far behind, so these look-ups come before it.
#[test]
fn before_the_sweep_nothing_is_there_and_nothing_is_read() {
    let late = |key| {
        let mut bytes = *digest(key).as_bytes();
        bytes[..2].copy_from_slice(&4095_u16.to_le_bytes());
        Digest::from_bytes(bytes)
    };
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let users = rig.run(shard.set_id("users")).unwrap();
    let expiry = ExpirySeconds::NEVER;
    let change = Change::PutInput { expiry, set: users };
    for key in 0..20 {
        let digest = late(key);
        let put = shard.write(&digest, Needs::Metadata, b"old", |_, _| {
            Ok::<_, NotMet>(change)
        });
        rig.run(put).unwrap();
    }
    rig.run_until_idle();
    let before = shard.statistics().counters.device_reads;
    let task = shard.clone();
    let looked = rig.spawn(async move {
        task.truncate(Truncate::Set("users")).await.unwrap();
        assert_eq!(task.statistics().truncations_unswept, 1);
        assert_eq!(task.statistics().records, 20);
        assert_eq!(get(&task, late(1)).await.unwrap(), None);
        assert!(task.metadata(&late(2)).await.unwrap().is_none());
        let partition = PartitionId::new(4095).unwrap();
        let page = task
            .scan(partition, ScanPosition::START, 100)
            .await
            .unwrap();
        assert!(page.records.is_empty());
        // Decided at once; durable later.
        let mut seen = Vec::new();
        for needs in [Needs::Metadata, Needs::Content] {
            let digest = late(3);
            let deleted = task.write(&digest, needs, &[], |current, _| {
                seen.push(current.is_some());
                Ok::<_, NotMet>(Change::Delete)
            });
            assert!(!deleted.await.unwrap().existed);
        }
        assert_eq!(seen, [false, false]);
        assert_eq!(
            task.statistics().truncations_unswept,
            1,
            "all that came before the sweep"
        );
        let digest = late(4);
        let put = task.write(&digest, Needs::Content, b"new", |current, _| {
            assert!(current.is_none());
            Ok::<_, NotMet>(change)
        });
        put.await.unwrap()
    });
    rig.run_until_idle();
    let written = looked.take().unwrap();
    assert_eq!((written.generation.get(), written.existed), (1, false));
    assert_eq!(shard.statistics().counters.device_reads, before);
    assert_eq!(shard.statistics().records, 1);
    assert_eq!(
        rig.run(get(&shard, late(4))).unwrap().as_deref(),
        Some(&b"new"[..])
    );
    rig.power_cut();
    let shard = rig.open_sound();
    assert_eq!(
        rig.run(get(&shard, late(4))).unwrap().as_deref(),
        Some(&b"new"[..])
    );
    assert_eq!(rig.run(get(&shard, late(5))).unwrap(), None);
}

/// Power cuts after each step of the machine while a truncation is on its way among puts: either every
/// record that was there before is there, or none of the set; and none once it has been answered.
#[test]
fn a_power_cut_at_any_step_leaves_all_or_nothing() {
    for durability in [Durability::Flush, Durability::Fua, Durability::WriteThrough] {
        let shape = Shape {
            durability,
            ..Shape::default()
        };
        let (mut kept, mut gone) = (0, 0);
        for seed in 0..12 {
            // Until the machine comes to rest before the cut.
            for steps in 0.. {
                let (is_gone, is_idle) = cut_after(seed, shape.clone(), steps);
                gone += u64::from(is_gone);
                kept += u64::from(!is_gone);
                if is_idle {
                    break;
                }
            }
        }
        assert!(kept > 0 && gone > 0, "{kept} kept, {gone} gone");
    }
}

/// Cuts the power `steps` steps after a truncation was asked for and then a put of a key of the set. Returns
/// whether the set was gone, and whether there was nothing left to do.
fn cut_after(seed: u64, shape: Shape, steps: u64) -> (bool, bool) {
    let mut rig = Rig::new(seed, shape);
    let shard = rig.open_sound();
    for key in 0..9 {
        put(&mut rig, &shard, key, 0);
    }
    let users = set_of(&mut rig, &shard, 1);
    rig.run_until_idle();
    let task = shard.clone();
    let truncated = rig.spawn(async move { task.truncate(Truncate::Set("users")).await });
    rig.settle();
    let task = shard.clone();
    let written = rig.spawn(async move { put_in(&task, users, 1, &content(1, 1, 600)).await });
    rig.settle();
    let mut is_idle = false;
    for _ in 0..steps {
        is_idle = !rig.machine.step();
        rig.settle();
    }
    let is_answered = truncated.borrow().is_some();
    let is_written = written.borrow().is_some();
    rig.power_cut();
    let shard = rig.open_sound();
    let what = format!("seed {seed}, step {steps}");
    let is_gone = rig.get(&shard, 4).unwrap().is_none();
    assert!(is_gone || !is_answered, "{what}");
    let is_new = rig.get(&shard, 1).unwrap() == Some(content(1, 1, 600));
    assert!(is_new || !is_written, "{what}");
    assert!(!is_new || is_gone, "a later write survived alone, {what}");
    let expected = |key| match key {
        1 if is_new => Some(1),
        _ => (name_of(key) != "users" || !is_gone).then_some(0),
    };
    check(&mut rig, &shard, 9, expected);
    rig.power_cut();
    let shard = rig.open_sound();
    check(&mut rig, &shard, 9, expected);
    (is_gone, is_idle)
}

/// A conditional write that has seen the old record must not survive the truncation that came after it saw it.
#[test]
fn what_was_decided_before_is_truncated_and_what_was_decided_after_lives() {
    for seed in 0..40 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        for key in 0..6 {
            put(&mut rig, &shard, key, 0);
        }
        let users = set_of(&mut rig, &shard, 1);
        let mut random = SeededRandom::new(seed, 0);
        let writes: Vec<_> = (0..12)
            .map(|number| {
                if number == 6 {
                    let task = shard.clone();
                    rig.spawn(async move { task.truncate(Truncate::Set("users")).await });
                }
                let task = shard.clone();
                let written = rig.spawn(async move {
                    let key = [1, 4][number % 2];
                    let bytes = content(key, 10 + u64::try_from(number).unwrap(), 600);
                    let expiry = ExpirySeconds::NEVER;
                    task.write(&digest(key), Needs::Content, &bytes, |current, _| {
                        let there = current.ok_or(NotMet)?;
                        assert_eq!(there.set, users);
                        Ok(Change::PutInput { expiry, set: users })
                    })
                    .await
                });
                for _ in 0..random.below(4) {
                    rig.settle();
                    let _ = rig.machine.step();
                }
                written
            })
            .collect();
        rig.run_until_idle();
        for written in &writes {
            let result = written.take().unwrap();
            assert!(
                matches!(result, Ok(_) | Err(WriteError::Rejected(NotMet))),
                "{result:?}"
            );
        }
        // Updates never make a record: whatever their order with the truncation, nothing is left.
        let expected = |key| (name_of(key) != "users").then_some(0);
        check(&mut rig, &shard, 6, expected);
        rig.power_cut();
        let shard = rig.open_sound();
        check(&mut rig, &shard, 6, expected);
    }
}

#[test]
fn a_truncation_that_failed_leaves_everything_there() {
    for seed in 0..20 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        for key in 0..9 {
            put(&mut rig, &shard, key, 0);
        }
        rig.run_until_idle();
        let range = rig.segment_range(0);
        rig.faults(0)
            .plan(PlannedFault::next(Fault::WriteError).within(range));
        let task = shard.clone();
        let truncated = rig.spawn(async move { task.truncate(Truncate::All).await });
        rig.settle();
        // Rests on the truncation, and is decided again when that has failed.
        let task = shard.clone();
        let created = rig.spawn(async move {
            let expiry = ExpirySeconds::NEVER;
            let set = SetId::NONE;
            task.write(
                &digest(3),
                Needs::Metadata,
                b"new",
                |current, _| match current {
                    None => Ok(Change::PutInput { expiry, set }),
                    Some(_) => Err(NotMet),
                },
            )
            .await
        });
        let task = shard.clone();
        let deleted = rig.spawn(async move {
            task.write(&digest(4), Needs::Metadata, &[], |_, _| {
                Ok::<_, NotMet>(Change::Delete)
            })
            .await
        });
        rig.run_until_idle();
        assert_eq!(truncated.take().unwrap(), Err(WriteError::InDoubt));
        let created = created.take().unwrap();
        assert!(
            matches!(
                created,
                Err(WriteError::Rejected(_) | WriteError::InDoubt | WriteError::NotWritten)
            ),
            "{created:?}"
        );
        // Either it failed with the truncation, or it found the record.
        let deleted = deleted.take().unwrap().map(|written| written.existed);
        assert_ne!(deleted, Ok(false), "seed {seed}");
        let expected = |key| (key != 4 || deleted != Ok(true)).then_some(0);
        check(&mut rig, &shard, 9, expected);
        // The log goes on behind what has failed, and then it is settled for ever.
        put(&mut rig, &shard, 9, 0);
        rig.run_until_idle();
        rig.power_cut();
        let shard = rig.open_sound();
        check(&mut rig, &shard, 10, expected);
        truncate(&mut rig, &shard, Truncate::All);
        check(&mut rig, &shard, 10, |_| None);
    }
}

#[test]
fn one_who_gives_up_waiting_does_not_stop_the_next() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    put(&mut rig, &shard, 1, 0);
    let mut first = Box::pin(shard.truncate(Truncate::Set("users")));
    rig.run(std::future::poll_fn(|context| {
        let _ = first.as_mut().poll(context);
        std::task::Poll::Ready(())
    }));
    drop(first);
    put(&mut rig, &shard, 0, 0);
    truncate(&mut rig, &shard, Truncate::All);
    check(&mut rig, &shard, 3, |_| None);
}

/// The volume is filled and truncated again and again: space comes back, and truncations go with it.
#[test]
fn truncated_space_is_used_again() {
    let shape = Shape {
        segments: 10,
        ..Shape::default()
    };
    let mut rig = Rig::new(1, shape);
    let mut shard = rig.open_sound();
    for round in 0..30 {
        let mut count = 0;
        loop {
            let key = 1000 * round + count;
            let users = rig.run(shard.set_id("users")).unwrap();
            match rig.run(put_in(&shard, users, key, &content(key, 0, 3000))) {
                Ok(_) => count += 1,
                Err(WriteError::OutOfSpace) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(count > 80, "round {round}: {count}");
        let all = round % 2 == 0;
        let target = if all {
            Truncate::All
        } else {
            Truncate::Set("users")
        };
        truncate(&mut rig, &shard, target);
        if round % 5 == 4 {
            rig.power_cut();
            shard = rig.open_sound();
            assert_eq!(rig.get(&shard, 1000 * round).unwrap(), None);
        }
    }
    rig.run_until_idle();
    let statistics = shard.statistics();
    assert_eq!(statistics.records, 0);
    assert!(statistics.segments.tombstones < 12, "{statistics:?}");
}

/// A start replays records of before and after a truncation, though the index never held both.
#[test]
fn a_start_needs_no_more_memory_than_the_life_before() {
    let count = 3000;
    let shape = Shape {
        segments: 60,
        ..Shape::default()
    };
    let mut rig = Rig::new(1, shape);
    let shard = rig.open_sound();
    let users = rig.run(shard.set_id("users")).unwrap();
    let mut used_bytes = 0;
    for round in 0..4 {
        for first in (0..count).step_by(50) {
            let handles: Vec<_> = (first..first + 50)
                .map(|number| {
                    let task = shard.clone();
                    let key = round * count + number;
                    rig.spawn(async move { put_in(&task, users, key, b"short").await })
                })
                .collect();
            rig.run_until_idle();
            for handle in handles {
                handle.take().unwrap().unwrap();
            }
        }
        used_bytes = used_bytes.max(shard.statistics().index_bytes);
        if round < 3 {
            truncate(&mut rig, &shard, Truncate::Set("users"));
            rig.run_until_idle();
        }
    }
    rig.close(shard);
    rig.shape.index_memory_bytes = used_bytes;
    let shard = rig.open_sound();
    rig.run_until_idle();
    assert_eq!(shard.statistics().records, count);
    for number in 0..count {
        rig.check(&shard, 3 * count + number, Some(b"short"));
        rig.check(&shard, 2 * count + number, None);
    }
}

#[test]
fn a_power_cut_in_the_middle_of_a_sweep_changes_nothing() {
    let mut rig = Rig::new(3, Shape::default());
    let mut shard = rig.open_sound();
    for key in 0..600 {
        let set = set_of(&mut rig, &shard, key);
        rig.run(put_in(&shard, set, key, b"short")).unwrap();
    }
    truncate(&mut rig, &shard, Truncate::Set("events"));
    for round in 0..5 {
        for key in (0..600).step_by(7) {
            let expected = (name_of(key) != "events").then_some(&b"short"[..]);
            rig.check(&shard, key, expected);
        }
        if round < 3 {
            rig.power_cut();
        } else {
            rig.run_until_idle();
            rig.close(shard);
        }
        shard = rig.open_sound();
    }
}
