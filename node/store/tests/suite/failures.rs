//! Devices that refuse writes or flushes, and devices that are gone.

use corelith_io::{Durability, Fault, FaultRates, PlannedFault};
use corelith_store::{Shard, WriteError};

use crate::harness::{Handle, NotMet, Rig, Shape, content, digest, get, put};

type PutResult = Result<corelith_store::Written, WriteError<NotMet>>;

fn spawn_put(rig: &mut Rig, shard: &Shard, key: u64, version: u64) -> Handle<PutResult> {
    let shard = shard.clone();
    rig.spawn(async move { put(&shard, digest(key), &content(key, version, 600)).await })
}

#[test]
fn a_failed_write_is_in_doubt_and_the_log_goes_on_elsewhere() {
    for seed in 0..20 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        for key in 0..8 {
            rig.put(&shard, key, &content(key, 0, 600));
        }
        rig.run_until_idle();
        // Eight lone batches in flight; the fourth fails.
        let range = rig.segment_range(0);
        rig.faults(0)
            .plan(PlannedFault::next(Fault::WriteError).within(range).after(3));
        let puts: Vec<_> = (0..12)
            .map(|key| {
                let handle = spawn_put(&mut rig, &shard, key, 1);
                rig.settle();
                handle
            })
            .collect();
        rig.run_until_idle();
        let results: Vec<_> = puts.iter().map(|put| put.take().unwrap()).collect();
        for (key, result) in (0_u64..).zip(&results) {
            let expected = match key {
                0..3 => result.is_ok(),
                3..8 => *result == Err(WriteError::InDoubt),
                // These left if one of the first had landed by then.
                _ => matches!(result, Err(WriteError::NotWritten | WriteError::InDoubt)),
            };
            assert!(expected, "seed {seed}, key {key}: {result:?}");
        }
        // Until the next write, what is in doubt is as it was; then for ever.
        for key in 0..8 {
            rig.check(&shard, key, Some(&content(key, u64::from(key < 3), 600)));
        }
        rig.put(&shard, 100, b"the log goes on");
        rig.run_until_idle();
        rig.power_cut();
        for _ in 0..2 {
            let shard = rig.open_sound();
            for key in 0..12 {
                let version = u64::from(key < 3);
                let expected = (key < 8).then(|| content(key, version, 600));
                rig.check(&shard, key, expected.as_deref());
            }
            rig.check(&shard, 100, Some(b"the log goes on"));
            rig.close(shard);
        }
    }
}

#[test]
fn what_is_in_doubt_may_be_found_after_a_cut_and_then_stays() {
    let (mut found_new, mut found_old) = (0, 0);
    for seed in 0..40 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 1, &content(1, 0, 600));
        rig.run_until_idle();
        let range = rig.segment_range(0);
        rig.faults(0)
            .plan(PlannedFault::next(Fault::WriteError).within(range));
        let result = rig.run(put(&shard, digest(1), &content(1, 1, 600)));
        assert_eq!(result, Err(WriteError::InDoubt));
        rig.power_cut();
        let shard = rig.open_sound();
        let found = rig.get(&shard, 1).unwrap().unwrap();
        match found == content(1, 1, 600) {
            true => found_new += 1,
            false => {
                assert_eq!(found, content(1, 0, 600));
                found_old += 1;
            }
        }
        rig.power_cut();
        let shard = rig.open_sound();
        rig.check(&shard, 1, Some(&found));
    }
    assert!(
        found_new > 0 && found_old > 0,
        "{found_new} new, {found_old} old"
    );
}

#[test]
fn a_write_that_lands_late_harms_nobody() {
    // Story: the batch after a failed one is given up while the device still has it, and lands a minute
    // later. Its segment must not be in use again by then.
    for seed in 0..10 {
        let mut rig = Rig::new(
            seed,
            Shape {
                segments: 7,
                ..Shape::default()
            },
        );
        let shard = rig.open_sound();
        rig.put(&shard, 1, &content(1, 0, 600));
        rig.run_until_idle();
        let range = rig.segment_range(0);
        let faults = rig.faults(0);
        faults.plan(PlannedFault::next(Fault::WriteError).within(range.clone()));
        faults.plan(PlannedFault::next(Fault::DelayLong).within(range).after(1));
        let first = spawn_put(&mut rig, &shard, 2, 0);
        rig.settle();
        let second = spawn_put(&mut rig, &shard, 3, 0);
        while second.borrow().is_none() {
            rig.settle();
            assert!(rig.machine.step());
        }
        assert!(
            rig.machine.now_ns() < 1_000_000_000,
            "the second is still on its way"
        );
        let mut round = 0;
        while rig.faults(0).struck_count(Fault::DelayLong) == 0 || round < 150 {
            rig.put(&shard, 4, &content(4, round, 2500));
            if round == 20 {
                rig.put(&shard, 1, &content(1, 1, 600));
            }
            round += 1;
        }
        assert_eq!(first.take(), Some(Err(WriteError::InDoubt)));
        assert_eq!(second.take(), Some(Err(WriteError::InDoubt)));
        rig.run_until_idle();
        for _ in 0..40 {
            rig.put(&shard, 4, &content(4, round, 2500));
            rig.check(&shard, 4, Some(&content(4, round, 2500)));
            round += 1;
        }
        rig.close(shard);
        let shard = rig.open_sound();
        rig.check(&shard, 1, Some(&content(1, 1, 600)));
        rig.check(&shard, 2, None);
        rig.check(&shard, 3, None);
        rig.check(&shard, 4, Some(&content(4, round - 1, 2500)));
    }
}

#[test]
fn a_write_on_top_of_a_failed_one_builds_on_the_one_before_it() {
    // Story: of two versions of a key on their way the newer one failed, and the older was forgotten with
    // it. The next write built on the version before both and, when the older one had landed, did not
    // find what it was to replace: an acknowledged delete was undone, or the process stopped.
    for delete in [false, true] {
        let mut rig = Rig::new(1, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 1, &content(1, 0, 600));
        rig.run_until_idle();
        let range = rig.segment_range(0);
        let faults = rig.faults(0);
        faults.plan(PlannedFault::next(Fault::DelayShort).within(range.clone()));
        faults.plan(PlannedFault::next(Fault::WriteError).within(range).after(1));
        let older = spawn_put(&mut rig, &shard, 1, 1);
        rig.settle();
        let newer = spawn_put(&mut rig, &shard, 1, 2);
        while newer.borrow().is_none() {
            rig.settle();
            assert!(rig.machine.step());
        }
        assert_eq!(newer.take(), Some(Err(WriteError::InDoubt)));
        assert!(
            older.borrow().is_none(),
            "the older one is still on its way"
        );
        if delete {
            assert!(rig.delete(&shard, 1).existed);
        } else {
            let third = spawn_put(&mut rig, &shard, 1, 3);
            rig.run_until_idle();
            assert_eq!(third.take().unwrap().unwrap().generation.get(), 3);
        }
        rig.run_until_idle();
        assert_eq!(older.take().unwrap().unwrap().generation.get(), 2);
        let expected = (!delete).then(|| content(1, 3, 600));
        rig.check(&shard, 1, expected.as_deref());
        rig.power_cut();
        let shard = rig.open_sound();
        rig.check(&shard, 1, expected.as_deref());
    }
}

#[test]
fn a_failed_flush_fences_the_device() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"durable");
    rig.run_until_idle();
    rig.faults(0).plan(PlannedFault::next(Fault::FlushError));
    let puts: Vec<_> = (2..5)
        .map(|key| spawn_put(&mut rig, &shard, key, 0))
        .collect();
    rig.run_until_idle();
    for put in puts {
        assert_eq!(put.take(), Some(Err(WriteError::InDoubt)));
    }
    assert!(shard.is_fenced());
    assert_eq!(
        rig.run(put(&shard, digest(9), b"")),
        Err(WriteError::Fenced)
    );
    rig.check(&shard, 1, Some(b"durable"));
    rig.check(&shard, 2, None);
    rig.close(shard);
    rig.machine.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(b"durable"));
    rig.put(&shard, 9, b"again");
}

#[test]
fn a_forced_write_that_fails_fences_too() {
    let mut rig = Rig::new(
        1,
        Shape {
            durability: Durability::Fua,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"durable");
    rig.run_until_idle();
    rig.faults(0).plan(PlannedFault::next(Fault::WriteError));
    assert_eq!(
        rig.run(put(&shard, digest(2), b"")),
        Err(WriteError::InDoubt)
    );
    assert_eq!(
        rig.run(put(&shard, digest(2), b"")),
        Err(WriteError::Fenced)
    );
}

#[test]
fn with_one_of_two_devices_fenced_the_log_goes_on_on_the_other() {
    for seed in 0..10 {
        let mut rig = Rig::new(
            seed,
            Shape {
                drives: 2,
                segments: 10,
                ..Shape::default()
            },
        );
        let shard = rig.open_sound();
        for key in 0..30 {
            rig.put(&shard, key, &content(key, 0, 2500));
        }
        rig.run_until_idle();
        rig.faults(0).plan(PlannedFault::next(Fault::FlushError));
        let mut in_doubt = 0;
        for key in 30..90 {
            match rig.run(put(&shard, digest(key), &content(key, 0, 2500))) {
                Ok(_) => {}
                Err(WriteError::InDoubt) => in_doubt += 1,
                Err(error) => panic!("key {key}: {error}"),
            }
        }
        assert!(in_doubt <= 1, "one failure, then never again: {in_doubt}");
        assert!(!shard.is_fenced());
        rig.close(shard);
        rig.machine.power_cut();
        let shard = rig.open_sound();
        let held = (0..90)
            .filter(|key| rig.get(&shard, *key).unwrap().is_some())
            .count();
        assert!(held >= 90 - in_doubt, "{held} of 90");
    }
}

#[test]
fn a_device_that_is_gone_answers_errors_and_comes_back() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"there");
    rig.run_until_idle();
    rig.faults(0).remove();
    assert!(rig.get(&shard, 1).is_err());
    assert_eq!(
        rig.run(put(&shard, digest(2), b"")),
        Err(WriteError::InDoubt)
    );
    rig.power_cut();
    rig.faults(0).restore();
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(b"there"));
}

#[test]
fn a_device_that_vanishes_during_a_start_is_not_a_loss_that_anyone_accepts() {
    // Story: the device vanished while its shard was opened, with a loss accepted. What could not be read was
    // taken for lost, and every key was answered with "nothing there" until the device came back. On a device
    // without a cache not even a flush told of it.
    for steps in 0..60 {
        let durability = Durability::WriteThrough;
        let mut rig = Rig::new(
            1,
            Shape {
                durability,
                ..Shape::default()
            },
        );
        let shard = rig.open_sound();
        rig.put(&shard, 1, b"there");
        rig.close(shard);
        rig.shape.accept_stale = true;
        let (volume, devices) = rig.open_volume();
        let (pool, clock) = (rig.pool.clone(), rig.machine.clock());
        let opened = rig.spawn(async move {
            let options = corelith_store::ShardOptions {
                shard: 0,
                index_memory_bytes: 1 << 20,
                checkpoint: corelith_store::CheckpointPace::NONE,
                record_cache_bytes: 0,
                accept_stale: true,
                index_bytes_cached: 0,
            };
            corelith_store::Shard::open(&volume, &devices, (&pool, &clock), &options).await
        });
        rig.settle();
        for _ in 0..steps {
            let _ = rig.machine.step();
            rig.settle();
        }
        rig.faults(0).remove();
        rig.run_until_idle();
        match opened.take().unwrap() {
            Ok(shard) => assert_ne!(rig.get(&shard, 1), Ok(None), "after {steps} steps"),
            Err(error) => assert!(error.to_string().contains("gone"), "{error}"),
        }
        rig.power_cut();
        rig.faults(0).restore();
        let shard = rig.open_sound();
        rig.check(&shard, 1, Some(b"there"));
    }
}

#[test]
fn random_write_errors_leave_every_key_old_or_new() {
    let mut doubts = 0;
    for seed in 0..15_u64 {
        let mut rig = Rig::new(
            seed,
            Shape {
                segments: 40,
                ..Shape::default()
            },
        );
        let mut shard = rig.open_sound();
        // For each key the versions that it may hold.
        let mut may_be: Vec<Vec<u64>> = vec![vec![]; 6];
        for life in 0..4_u64 {
            let write_error_per_million = 30_000;
            rig.faults(0).set_rates(FaultRates {
                write_error_per_million,
                ..FaultRates::NONE
            });
            for round in 0..60 {
                let key = usize::try_from((round * 7 + seed) % 6).unwrap();
                let version = life * 1000 + round + 1;
                let number = u64::try_from(key).unwrap();
                let bytes = content(number, version, 900);
                match rig.run(put(&shard, digest(number), &bytes)) {
                    Ok(_) => may_be[key] = vec![version],
                    Err(WriteError::InDoubt) => {
                        may_be[key].push(version);
                        doubts += 1;
                    }
                    Err(WriteError::NotWritten | WriteError::OutOfSpace) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            rig.faults(0).set_rates(FaultRates::NONE);
            rig.run_until_idle();
            if life % 2 == 0 {
                rig.power_cut();
            } else {
                rig.close(shard);
            }
            shard = rig.open_sound();
            for (number, versions) in (0..).zip(&mut may_be) {
                let found = rig.run(get(&shard, digest(number))).unwrap();
                let is = |version: &u64| found.as_ref() == Some(&content(number, *version, 900));
                let Some(version) = versions.iter().copied().find(is) else {
                    panic!("seed {seed}, life {life}, key {number}: none of {versions:?}");
                };
                *versions = vec![version];
            }
        }
    }
    assert!(doubts > 20, "{doubts} writes were in doubt");
}

#[test]
fn a_batch_that_the_device_refuses_to_return_is_missed_though_nothing_vouches_for_it() {
    // Story: the device vanished while the open segment was scanned. What it did not return was taken for
    // what a cut leaves unfinished, and every key of the segment was answered with "nothing there".
    for keys in [1, 3] {
        let mut rig = Rig::new(1, Shape::default());
        let shard = rig.open_sound();
        for key in 1..=keys {
            rig.put(&shard, key, &content(key, 0, 1500));
        }
        rig.power_cut();
        let (segment, at) = rig.find(&content(keys, 0, 1500));
        let start = rig.segment_offset(segment) + at;
        // One for the whole piece and all that are tried for one block.
        let refuse = |rig: &mut Rig, start: u64, count| {
            for _ in 0..count {
                let fault = PlannedFault::next(Fault::ReadError).within(start..start + 1);
                rig.faults(0).plan(fault);
            }
        };
        // The block with the batch's header.
        refuse(&mut rig, start - 100, 9);
        let shard = rig.open();
        assert!(shard.report().may_be_stale(), "{:?}", shard.report());
        assert_eq!(
            rig.get(&shard, keys),
            Err(corelith_store::ReadError::MayBeStale)
        );
        assert_eq!(rig.faults(0).planned_count(), 0);
        drop(shard);
        rig.power_cut();
        // An error that passes is none.
        let mut other = rig.fork(1);
        refuse(&mut other, start - 100, 8);
        let shard = other.open_sound();
        for key in 1..=keys {
            other.check(&shard, key, Some(&content(key, 0, 1500)));
        }
        // A block in the middle of a content: that key alone.
        refuse(&mut rig, start + 1000, 9);
        let shard = rig.open();
        assert_eq!(shard.report().records_damaged, 1, "{:?}", shard.report());
        assert!(!shard.report().may_be_stale(), "{:?}", shard.report());
    }
}

#[test]
fn what_a_failed_flush_left_in_a_cache_is_durable_before_it_is_served() {
    // Story: a flush failed, the process was restarted without a power cut, and the next process read the
    // batch from the drive's cache. Its own flush succeeded and made nothing durable, since a failed flush
    // is reported once: what was served was gone after the next power cut.
    let mut served = 0;
    for seed in 0..40 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 1, &content(1, 0, 600));
        rig.run_until_idle();
        rig.faults(0).plan(PlannedFault::next(Fault::FlushError));
        assert_eq!(
            rig.run(put(&shard, digest(1), &content(1, 1, 600))),
            Err(WriteError::InDoubt)
        );
        drop(shard);
        rig.stop_tasks();
        rig.machine.process_kill();
        let shard = rig.open_sound();
        let found = rig.get(&shard, 1).unwrap().unwrap();
        served += u64::from(found == content(1, 1, 600));
        drop(shard);
        rig.power_cut();
        let shard = rig.open_sound();
        rig.check(&shard, 1, Some(&found));
    }
    assert!(served > 5, "{served} of 40 found what was in doubt");
}

#[test]
fn records_of_a_batch_that_is_not_whole_are_durable_before_they_are_served() {
    // Story: of a batch whose flush failed one record was gone. The others were served from the drive's cache
    // without being written again, since only whole batches were, and the next power cut took them.
    let (mut served, mut torn) = (0, 0);
    for seed in 0..100 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 9, &content(9, 0, 600));
        rig.run_until_idle();
        rig.faults(0).plan(PlannedFault::next(Fault::FlushError));
        // The first leaves alone and holds the flush up; the others share a batch.
        for key in 1..=4 {
            spawn_put(&mut rig, &shard, key, 0);
        }
        rig.run_until_idle();
        drop(shard);
        rig.stop_tasks();
        rig.machine.process_kill();
        let shard = rig.open_sound();
        let found: Vec<_> = (1..=4).map(|key| rig.get(&shard, key).unwrap()).collect();
        let here = found.iter().flatten().count();
        served += here;
        torn += u64::from((1..4).contains(&here));
        drop(shard);
        rig.power_cut();
        let shard = rig.open_sound();
        for (key, found) in (1..=4).zip(&found) {
            rig.check(&shard, key, found.as_deref());
        }
    }
    assert!(served > 20, "{served} records of 400 were found");
    assert!(torn > 5, "{torn} of 100 batches were torn");
}

#[test]
fn a_start_that_cannot_seal_what_a_crash_left_open_fails() {
    // Story: a start dropped what a cut had left unfinished, could not seal the segment, and went on. Its
    // own batches then vouched for what it had dropped, and the next start missed it: the shard answered
    // nothing, though nothing was lost.
    for seed in 0..20 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 1, &content(1, 0, 600));
        // Lone batches, of which the cut takes any.
        for key in 2..8 {
            spawn_put(&mut rig, &shard, key, 0);
            rig.settle();
        }
        drop(shard);
        rig.power_cut();
        let end = rig.segment_range(0).end;
        rig.faults(0)
            .plan(PlannedFault::next(Fault::WriteError).within(end - 1..end));
        let result = rig.try_open(0);
        assert!(
            matches!(result, Err(corelith_store::OpenError::Device { .. })),
            "seed {seed}: the start went on"
        );
        rig.stop_tasks();
        rig.machine.process_kill();
        let shard = rig.open_sound();
        rig.check(&shard, 1, Some(&content(1, 0, 600)));
        rig.put(&shard, 9, b"vouches for what was before");
        drop(shard);
        rig.power_cut();
        let shard = rig.open_sound();
        rig.check(&shard, 1, Some(&content(1, 0, 600)));
    }
}
