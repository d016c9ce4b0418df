//! Writes that are answered before they are durable.

use corelith_index::{PartitionId, ScanPosition};
use corelith_io::{Fault, PlannedFault, SeededRandom};
use corelith_store::{Change, Commit, Needs, Shard, WriteError, Written};

use crate::harness::{NotMet, PLAIN, Rig, Shape, content, digest, get};

type Answer = Result<Written, WriteError<NotMet>>;

async fn put(shard: &Shard, commit: Commit, key: u64, content: &[u8]) -> Answer {
    let digest = digest(key);
    shard
        .write_as(commit, (&digest, Needs::Metadata), content, |_, _| {
            Ok(PLAIN)
        })
        .await
}

async fn delete(shard: &Shard, commit: Commit, key: u64) -> Answer {
    let digest = digest(key);
    shard
        .write_as(commit, (&digest, Needs::Metadata), &[], |_, _| {
            Ok(Change::Delete)
        })
        .await
}

/// A shard whose first segment is open, so that a write needs nothing of the device.
fn started(seed: u64) -> (Rig, Shard) {
    let mut rig = Rig::new(seed, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"old");
    rig.run_until_idle();
    (rig, shard)
}

fn put_now(rig: &mut Rig, shard: &Shard, key: u64, content: &'static [u8]) -> Written {
    let shard = shard.clone();
    let answer = rig.spawn(async move { put(&shard, Commit::Buffered, key, content).await });
    rig.settle();
    answer.take().unwrap().unwrap()
}

#[test]
fn it_is_answered_and_read_before_anything_moves() {
    let (mut rig, shard) = started(1);
    assert_eq!(put_now(&mut rig, &shard, 1, b"new").generation.get(), 2);
    put_now(&mut rig, &shard, 2, b"second");
    assert_eq!(rig.machine.pending_count(), 0, "nothing is on its way");
    rig.check(&shard, 1, Some(b"new"));
    rig.check(&shard, 2, Some(b"second"));
    let metadata = rig.run(shard.metadata(&digest(1))).unwrap().unwrap();
    assert_eq!(metadata.generation.get(), 2);
    // What rests on it is answered as well, and a delete is seen as soon.
    let exists = rig.run(async {
        let second = digest(2);
        let key = (&second, Needs::Metadata);
        shard
            .write_as(Commit::Buffered, key, b"another", |current, _| {
                assert!(current.is_some(), "the decision sees it");
                Err::<Change, _>(NotMet)
            })
            .await
    });
    assert_eq!(exists, Err(WriteError::Rejected(NotMet)));
    assert!(
        rig.run(delete(&shard, Commit::Buffered, 1))
            .unwrap()
            .existed
    );
    rig.check(&shard, 1, None);
    assert_eq!(rig.run(shard.metadata(&digest(1))), Ok(None));
    assert!(
        !rig.run(delete(&shard, Commit::Buffered, 1))
            .unwrap()
            .existed
    );
    assert_eq!(
        rig.machine.pending_count(),
        0,
        "still nothing is on its way"
    );
}

#[test]
fn a_power_cut_takes_it_back_until_the_shard_is_flushed() {
    for is_flushed in [false, true] {
        let (mut rig, shard) = started(2);
        put_now(&mut rig, &shard, 1, b"new");
        put_now(&mut rig, &shard, 2, b"second");
        if is_flushed {
            shard.flush();
        }
        rig.run_until_idle();
        rig.power_cut();
        let shard = rig.open_sound();
        let expected: (&[u8], Option<&[u8]>) = match is_flushed {
            false => (b"old", None),
            true => (b"new", Some(b"second")),
        };
        rig.check(&shard, 1, Some(expected.0));
        rig.check(&shard, 2, expected.1);
    }
}

#[test]
fn a_durable_write_takes_along_what_is_buffered() {
    let (mut rig, shard) = started(3);
    put_now(&mut rig, &shard, 1, b"new");
    let batches = shard.statistics().counters.batches;
    rig.run(put(&shard, Commit::Durable, 2, b"durable"))
        .unwrap();
    assert_eq!(shard.statistics().counters.batches, batches + 1);
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(b"new"));
    rig.check(&shard, 2, Some(b"durable"));
}

#[test]
fn a_durable_write_above_a_buffered_one_is_never_passed_over() {
    for seed in 0..10 {
        let (mut rig, shard) = started(seed);
        put_now(&mut rig, &shard, 1, b"buffered");
        let durable = {
            let shard = shard.clone();
            rig.spawn(async move { put(&shard, Commit::Durable, 1, b"durable").await })
        };
        let reader = {
            let shard = shard.clone();
            rig.spawn(async move { get(&shard, digest(1)).await.unwrap() })
        };
        rig.settle();
        // What was answered may not be taken back, what is not durable may not be shown: it waits.
        assert!(reader.borrow().is_none() && durable.borrow().is_none());
        rig.run_until_idle();
        assert_eq!(durable.take().unwrap().unwrap().generation.get(), 3);
        assert_eq!(reader.take().unwrap().as_deref(), Some(&b"durable"[..]));
    }
}

#[test]
fn a_scan_and_a_clean_stop_leave_nothing_buffered() {
    let (mut rig, shard) = started(4);
    put_now(&mut rig, &shard, 2, b"scanned");
    let partition = PartitionId::new(0).unwrap();
    let page = rig
        .run(shard.scan(partition, ScanPosition::START, 64))
        .unwrap();
    let mut found: Vec<_> = page
        .records
        .into_iter()
        .map(|record| record.unwrap().content().to_vec())
        .collect();
    found.sort();
    assert_eq!(found, [b"old".to_vec(), b"scanned".to_vec()]);
    put_now(&mut rig, &shard, 3, b"stopped");
    rig.close(shard);
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 2, Some(b"scanned"));
    rig.check(&shard, 3, Some(b"stopped"));
}

#[test]
fn what_a_failing_device_takes_back_is_counted() {
    let (mut rig, shard) = started(5);
    let range = rig.segment_range(0);
    rig.faults(0)
        .plan(PlannedFault::next(Fault::WriteError).within(range));
    put_now(&mut rig, &shard, 1, b"new");
    put_now(&mut rig, &shard, 2, b"second");
    shard.flush();
    rig.run_until_idle();
    assert_eq!(shard.statistics().counters.buffered_lost, 2);
    rig.check(&shard, 1, Some(b"old"));
    rig.check(&shard, 2, None);
}

#[test]
fn full_batches_leave_by_themselves() {
    let (mut rig, shard) = started(6);
    let before = shard.statistics().counters;
    for key in 0..200 {
        rig.run(put(&shard, Commit::Buffered, key, &content(key, 1, 900)))
            .unwrap();
    }
    rig.run_until_idle();
    let after = shard.statistics().counters;
    assert!(
        after.batches > before.batches + 5,
        "batches of 16 KiB at most"
    );
    // Full ones hardly pad: without group commit each record would take a write unit of its own.
    let written = after.batch_bytes - before.batch_bytes;
    let records = after.record_bytes - before.record_bytes;
    assert!(written < records + records / 10, "{written} for {records}");
    for key in 0..200 {
        rig.check(&shard, key, Some(&content(key, 1, 900)));
    }
}

/// Random writes of both kinds, read back at once, with flushes and cuts. After a cut each key has a version
/// from its newest durable one on.
#[test]
fn each_key_is_found_as_of_its_newest_durable_write_or_later() {
    let mut lost = 0_u64;
    for seed in 0..40 {
        let mut random = SeededRandom::new(seed, 7);
        let mut rig = Rig::new(seed, Shape::default());
        // What each key held after each operation, and how many operations are durable for certain.
        let mut history: Vec<Vec<Option<Vec<u8>>>> = vec![vec![None; 12]];
        let mut durable = 0;
        for _ in 0..6 {
            let shard = rig.open_sound();
            let mut now = Vec::new();
            for place in 0..12 {
                let found = rig.get(&shard, u64::try_from(place).unwrap()).unwrap();
                let mut allowed = history[durable..].iter().map(|state| &state[place]);
                assert!(
                    allowed.any(|held| *held == found),
                    "seed {seed}, key {place}"
                );
                lost += u64::from(found != history[history.len() - 1][place]);
                now.push(found);
            }
            history = vec![now];
            durable = 0;
            for operation in 0..60 {
                let key = random.below(12);
                let place = usize::try_from(key).unwrap();
                let commit = match random.below(8) {
                    0 => Commit::Durable,
                    _ => Commit::Buffered,
                };
                let mut state = history[history.len() - 1].clone();
                let mut is_written = true;
                if random.below(5) == 0 {
                    let existed = rig.run(delete(&shard, commit, key)).unwrap().existed;
                    assert_eq!(existed, state[place].is_some());
                    is_written = existed;
                    state[place] = None;
                } else {
                    let new = content(key, operation, 40 + 60 * place);
                    rig.run(put(&shard, commit, key, &new)).unwrap();
                    state[place] = Some(new);
                }
                history.push(state);
                // What is written is written behind all that came before.
                if commit == Commit::Durable && is_written {
                    durable = history.len() - 1;
                }
                let read = random.below(12);
                let newest = history.last().unwrap()[usize::try_from(read).unwrap()].clone();
                rig.check(&shard, read, newest.as_deref());
                match random.below(10) {
                    0 => {
                        shard.flush();
                        rig.run_until_idle();
                        durable = history.len() - 1;
                    }
                    1 => shard.flush(),
                    2 => drop(rig.machine.step()),
                    _ => {}
                }
            }
            rig.power_cut();
        }
    }
    assert!(lost > 0, "some cuts took buffered writes back");
}
