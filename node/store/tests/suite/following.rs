//! Following the log: every change once and in order, up to the watermark, and a clear answer where it is gone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use corelith_index::{ExpirySeconds, SetId};
use corelith_io::{Fault, FaultRates, PlannedFault, SeededRandom};
use corelith_store::{
    Change, ChangeBatch, ChangeKind, CheckpointPace, FollowError, Follower, LogChange, Lsn, Needs,
    Shard, Truncate, Version, WriteError,
};

use crate::harness::{NotMet, Rig, Shape, content, digest, put};

/// What a change came to: kind, version and content.
type Seen = (ChangeKind, Version, Vec<u8>);

fn seen(change: &LogChange) -> Seen {
    let record = &change.record;
    (change.kind, record.version(), record.content().to_vec())
}

/// Everything from `follower`'s position to the watermark.
fn drain(rig: &mut Rig, follower: &mut Follower) -> Vec<ChangeBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = rig.run(follower.step()).unwrap() {
        assert!(!batch.changes.is_empty());
        batches.push(batch);
    }
    batches
}

/// The same, with the promises of order checked.
fn changes(rig: &mut Rig, shard: &Shard, from: Lsn) -> Vec<Seen> {
    let mut follower = shard.follow(from).unwrap();
    let batches = drain(rig, &mut follower);
    let lsns: Vec<Lsn> = batches.iter().map(|batch| batch.lsn).collect();
    assert!(lsns.is_sorted_by(|one, other| one < other), "{lsns:?}");
    assert!(
        lsns.iter()
            .all(|lsn| *lsn >= from && *lsn <= shard.durable_lsn())
    );
    let changes: Vec<Seen> = batches
        .iter()
        .flat_map(|batch| batch.changes.iter().map(seen))
        .collect();
    assert!(
        changes.is_sorted_by(|one, other| one.1 < other.1),
        "versions grow"
    );
    changes
}

/// Writes versions of the keys below `keys` until `done` says so; returns what must be seen of it.
fn overwrite(rig: &mut Rig, shard: &Shard, keys: u64, done: impl Fn(&Shard) -> bool) -> Vec<Seen> {
    let mut expected = Vec::new();
    for round in 0_u64.. {
        if done(shard) {
            break;
        }
        let bytes = content(round % keys, round, 2500);
        let written = rig.put(shard, round % keys, &bytes);
        expected.push((ChangeKind::Put, written.version, bytes));
    }
    expected
}

#[test]
fn every_kind_of_change_is_seen_once_and_in_order() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let first = rig.put(&shard, 1, b"one");
    let set = rig.run(shard.set_id("users")).unwrap();
    let expiry = ExpirySeconds::new(2_000_000_000);
    let decide = |_: Option<corelith_store::Current<'_>>, _: &mut Vec<u8>| {
        Ok::<_, NotMet>(Change::PutInput { expiry, set })
    };
    let second = rig.run(shard.write(&digest(2), Needs::Metadata, b"two", decide));
    let second = second.unwrap();
    let gone = rig.delete(&shard, 1);
    let nothing = rig.delete(&shard, 77);
    assert_eq!(nothing.version, Version::NONE);
    rig.run(shard.truncate(Truncate::Set("users"))).unwrap();
    rig.run(shard.truncate(Truncate::All)).unwrap();
    let mut follower = shard.follow(Lsn::NONE).unwrap();
    let batches = drain(&mut rig, &mut follower);
    let found: Vec<&LogChange> = batches.iter().flat_map(|batch| &batch.changes).collect();
    let kinds: Vec<ChangeKind> = found.iter().map(|change| change.kind).collect();
    let expected = [
        ChangeKind::Put,
        ChangeKind::DefineSet,
        ChangeKind::Put,
        ChangeKind::Delete,
        ChangeKind::Truncate,
        ChangeKind::Truncate,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(found[0].record.version(), first.version);
    assert_eq!(found[0].record.digest(), &digest(1));
    assert_eq!(found[0].record.content(), b"one");
    assert_eq!(found[1].record.content(), b"users");
    assert_eq!(found[1].record.metadata().set, set);
    let metadata = found[2].record.metadata();
    assert_eq!((metadata.expiry, metadata.set), (expiry, set));
    assert_eq!(metadata.generation, second.generation);
    assert!(found[2].record.updated_ms() > 0);
    assert_eq!(found[3].record.version(), gone.version);
    assert_eq!(found[4].record.metadata().set, set);
    assert_eq!(found[5].record.metadata().set, SetId::NONE);
    // From the middle on, and from behind the last.
    let middle = batches[2].lsn;
    assert_eq!(changes(&mut rig, &shard, middle).len(), 4);
    assert_eq!(follower.position(), batches[5].lsn.advanced(1));
    assert_eq!(changes(&mut rig, &shard, follower.position()), []);
    rig.close(shard);
}

#[test]
fn a_follower_waits_at_the_watermark_and_sees_the_log_while_it_is_written() {
    for seed in 0..10 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        let found: Rc<RefCell<Vec<Seen>>> = Rc::default();
        let (place, watched) = (Rc::clone(&found), shard.clone());
        let ended = rig.spawn(async move {
            let mut follower = watched.follow(Lsn::NONE).unwrap();
            loop {
                match follower.next().await {
                    Ok(batch) => {
                        assert!(batch.lsn <= watched.durable_lsn());
                        place.borrow_mut().extend(batch.changes.iter().map(seen));
                    }
                    Err(error) => return error,
                }
            }
        });
        rig.run_until_idle();
        assert!(found.borrow().is_empty() && ended.borrow().is_none());
        let written: Rc<RefCell<Vec<Seen>>> = Rc::default();
        for key in 0..6 {
            let (shard, written) = (shard.clone(), Rc::clone(&written));
            rig.spawn(async move {
                for round in 0..30 {
                    let bytes = content(key, round, 900);
                    let done = put(&shard, digest(key), &bytes).await.unwrap();
                    let change = (ChangeKind::Put, done.version, bytes);
                    written.borrow_mut().push(change);
                }
            });
        }
        rig.run_until_idle();
        let mut written = written.take();
        written.sort_by_key(|change| change.1);
        assert_eq!(written.len(), 180);
        assert_eq!(*found.borrow(), written, "seed {seed}");
        rig.close(shard);
        assert_eq!(ended.take(), Some(FollowError::Closed));
    }
}

#[test]
fn nothing_is_seen_before_it_is_durable() {
    let mut rig = Rig::new(3, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"durable");
    let mut follower = shard.follow(Lsn::NONE).unwrap();
    assert_eq!(drain(&mut rig, &mut follower).len(), 1);
    let writer = shard.clone();
    let answered = rig.spawn(async move { put(&writer, digest(2), b"on its way").await });
    let mut looks = 0;
    while answered.borrow().is_none() {
        rig.settle();
        if answered.borrow().is_none() {
            let mut look = std::pin::pin!(follower.step());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let poll = look.as_mut().poll(&mut context);
            assert!(matches!(poll, std::task::Poll::Ready(Ok(None))), "{poll:?}");
            looks += 1;
            assert!(rig.machine.step());
        }
    }
    assert!(looks > 1, "{looks}");
    assert_eq!(drain(&mut rig, &mut follower).len(), 1);
    rig.close(shard);
}

#[test]
fn a_restart_changes_nothing_for_a_follower() {
    for (seed, cut) in (0..10).flat_map(|seed| [(seed, false), (seed, true)]) {
        let shape = Shape {
            segments: 40,
            ..Shape::default()
        };
        let mut rig = Rig::new(seed, shape);
        let mut expected = Vec::new();
        let mut position = Lsn::NONE;
        for life in 0..4 {
            let shard = rig.open_sound();
            expected.extend(overwrite(&mut rig, &shard, 40, |shard| {
                shard.statistics().counters.records >= 25 + 30 * life
            }));
            let found = changes(&mut rig, &shard, Lsn::NONE);
            assert_eq!(found, expected, "life {life}");
            let mut follower = shard.follow(position).unwrap();
            let new = drain(&mut rig, &mut follower);
            let new: usize = new.iter().map(|batch| batch.changes.len()).sum();
            assert_eq!(u64::try_from(new).unwrap(), 25 + 30 * life);
            position = follower.position();
            drop(follower);
            if cut {
                drop(shard);
                rig.power_cut();
            } else {
                rig.close(shard);
            }
        }
    }
}

/// Overwrites a few keys for so long that segments are freed and used again, with followers at every distance.
#[test]
fn what_is_reclaimed_is_said_and_nothing_else() {
    for (seed, checkpoint) in [
        (1, CheckpointPace::NONE),
        (2, CheckpointPace::every(16 << 10)),
    ] {
        let shape = Shape {
            segments: 10,
            checkpoint,
            ..Shape::default()
        };
        let mut rig = Rig::new(seed, shape);
        let shard = rig.open_sound();
        let mut expected: Vec<Seen> = Vec::new();
        let mut random = SeededRandom::new(seed, 0);
        let mut stored = shard.follow(Lsn::NONE).unwrap();
        let (mut found, mut reclaimed, mut compared) = (Vec::new(), 0, 0);
        for round in 0..1200_u64 {
            let key = match round {
                // What is written once lives among what dies, and has to be moved.
                _ if round % 40 == 0 => 100 + round / 40,
                _ => random.below(8),
            };
            let bytes = content(key, round, 2500);
            let written = rig.put(&shard, key, &bytes);
            expected.push((ChangeKind::Put, written.version, bytes));
            if random.below(16) == 0 {
                match rig.run(stored.step()) {
                    Ok(None) => {}
                    Ok(Some(batch)) => found.extend(batch.changes.iter().map(seen)),
                    Err(FollowError::Reclaimed { oldest }) => {
                        reclaimed += 1;
                        assert!(oldest > stored.position());
                        assert_eq!(oldest, shard.oldest_lsn());
                        drop(stored);
                        stored = shard.follow(oldest).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            if random.below(32) == 0 {
                // All that is said to be there is there.
                rig.run_until_idle();
                let there = changes(&mut rig, &shard, shard.oldest_lsn());
                let (_, end) = expected.split_at(expected.len() - there.len());
                assert!(there == end, "round {round}");
                compared += there.len();
            }
        }
        assert!(reclaimed > 3 && compared > 1000, "{reclaimed}, {compared}");
        let counters = shard.statistics().counters;
        assert!(counters.moved_records > 100, "{counters:?}");
        assert!(found.is_sorted_by(|one, other| one.1 < other.1));
        let known: BTreeSet<Version> = expected.iter().map(|change| change.1).collect();
        assert!(found.iter().all(|change| known.contains(&change.1)));
        let oldest = shard.oldest_lsn();
        let there = changes(&mut rig, &shard, oldest).len();
        drop(stored);
        // A start finds what was there.
        rig.close(shard);
        let shard = rig.open_sound();
        assert!(shard.oldest_lsn() <= oldest);
        let (_, end) = expected.split_at(expected.len() - there);
        assert_eq!(changes(&mut rig, &shard, oldest), end);
        rig.close(shard);
    }
}

#[test]
fn who_stands_where_a_freed_segment_ended_has_lost_nothing() {
    let shape = Shape {
        segments: 8,
        ..Shape::default()
    };
    let mut rig = Rig::new(1, shape);
    let shard = rig.open_sound();
    let mut follower = shard.follow(Lsn::NONE).unwrap();
    let mut count = 0;
    for round in 0..600_u64 {
        rig.put(&shard, round % 4, &content(round % 4, round, 2500));
        rig.run_until_idle();
        // Whenever the oldest has moved, whoever has got so far may go on.
        let batches = drain(&mut rig, &mut follower);
        count += batches.len();
        assert!(follower.position() >= shard.oldest_lsn());
        assert!(shard.follow(shard.oldest_lsn()).is_ok());
        let before = Lsn::new(shard.oldest_lsn().get() - 1);
        if before > Lsn::NONE {
            let refused = shard.follow(before).err();
            let oldest = shard.oldest_lsn();
            assert_eq!(refused, Some(FollowError::Reclaimed { oldest }));
        }
    }
    assert_eq!(count, 600);
    assert!(shard.oldest_lsn() > Lsn::new(300));
    drop(follower);
    rig.close(shard);
}

#[test]
fn a_segment_that_is_freed_while_it_is_read_is_no_damage() {
    let mut told = 0;
    for seed in 0..40 {
        let shape = Shape {
            segments: 8,
            ..Shape::default()
        };
        let mut rig = Rig::new(seed, shape);
        let shard = rig.open_sound();
        // Reads that take so long that a segment is freed, prepared and written again meanwhile.
        rig.faults(0).set_rates(FaultRates {
            delay_long_per_million: 20_000,
            ..FaultRates::NONE
        });
        overwrite(&mut rig, &shard, 4, |shard| {
            shard.statistics().segments.available <= 5
        });
        let slow = shard.clone();
        let ended = rig.spawn(async move {
            let mut follower = slow.follow(slow.oldest_lsn()).unwrap();
            let mut last = Version::NONE;
            loop {
                match follower.next().await {
                    Ok(batch) => {
                        for change in &batch.changes {
                            assert!(change.record.version() > last);
                            last = change.record.version();
                        }
                    }
                    Err(error) => return error,
                }
            }
        });
        // Many writers, so that the log turns over faster than one read at a time goes through it.
        for key in 0..16 {
            let writer = shard.clone();
            rig.spawn(async move {
                for round in 0..60 {
                    // Where freeing takes so long, some are refused.
                    let _ = put(&writer, digest(key), &content(key, round, 2500)).await;
                }
            });
        }
        rig.run_until_idle();
        match ended.take() {
            None => {}
            Some(FollowError::Reclaimed { .. }) => told += 1,
            Some(error) => panic!("seed {seed}: {error}"),
        }
        rig.close(shard);
    }
    assert!(told > 10, "{told}");
}

#[test]
fn a_failed_write_is_seen_only_if_it_turns_out_to_count() {
    let (mut surfaced, mut never) = (0, 0);
    for seed in 0..40 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        let first = rig.put(&shard, 1, b"one");
        rig.run_until_idle();
        let range = rig.segment_range(0);
        rig.faults(0)
            .plan(PlannedFault::next(Fault::WriteError).within(range));
        let result = rig.run(put(&shard, digest(1), b"in doubt"));
        assert_eq!(result, Err(WriteError::InDoubt));
        // If the process lives on, it seals the segment without what failed.
        let goes_on = seed % 2 == 0;
        if goes_on {
            let found = changes(&mut rig, &shard, Lsn::NONE);
            assert_eq!(found, [(ChangeKind::Put, first.version, b"one".to_vec())]);
            rig.put(&shard, 2, b"the log goes on");
            rig.run_until_idle();
            assert_eq!(changes(&mut rig, &shard, Lsn::NONE).len(), 2);
        }
        drop(shard);
        rig.power_cut();
        let shard = rig.open_sound();
        let counts = rig.get(&shard, 1).unwrap().unwrap() == b"in doubt";
        let found = changes(&mut rig, &shard, Lsn::NONE);
        let shown = found.iter().any(|change| change.2 == b"in doubt");
        assert_eq!(shown, counts, "seed {seed}");
        assert!(!(goes_on && counts));
        surfaced += u64::from(counts);
        never += u64::from(!counts && !goes_on);
        rig.close(shard);
    }
    assert!(surfaced > 3 && never > 3, "{surfaced}, {never}");
}

#[test]
fn a_damaged_change_is_told_and_passed_over_only_by_order() {
    for sealed in [false, true] {
        let mut rig = Rig::new(5, Shape::default());
        let mut shard = rig.open_sound();
        for key in 0..5 {
            rig.put(&shard, key, &content(key, 0, 600));
        }
        rig.run_until_idle();
        if sealed {
            rig.close(shard);
            shard = rig.open_sound();
        }
        let (segment, at) = rig.find(&content(2, 0, 600)[..100]);
        rig.flip_bit(segment, at + 50);
        let mut follower = shard.follow(Lsn::NONE).unwrap();
        let mut keys = Vec::new();
        for _ in 0..2 {
            let batch = rig.run(follower.step()).unwrap().unwrap();
            keys.extend(batch.changes.iter().map(|change| *change.record.digest()));
        }
        let lsn = follower.position();
        for _ in 0..3 {
            let damaged = rig.run(follower.step()).unwrap_err();
            let (first, last) = (lsn, lsn);
            assert_eq!(damaged, FollowError::Damaged { first, last });
            assert_eq!(follower.position(), lsn);
        }
        follower.accept_damage();
        let batch = rig.run(follower.step()).unwrap().unwrap();
        assert_eq!((batch.lsn, batch.damaged, batch.changes.len()), (lsn, 1, 0));
        let rest = drain(&mut rig, &mut follower);
        let rest = rest.iter().flat_map(|batch| &batch.changes);
        keys.extend(rest.map(|change| *change.record.digest()));
        assert_eq!(keys, [0, 1, 3, 4].map(digest));
        drop(follower);
        rig.close(shard);
    }
}

#[test]
fn a_fault_that_passes_is_no_damage() {
    let mut rig = Rig::new(6, Shape::default());
    let shard = rig.open_sound();
    for key in 0..5 {
        rig.put(&shard, key, &content(key, 0, 600));
    }
    rig.run_until_idle();
    let range = rig.segment_range(0);
    for fault in [Fault::ReadError, Fault::ReadMisdirected] {
        rig.faults(0)
            .plan(PlannedFault::next(fault).within(range.clone()));
    }
    assert_eq!(changes(&mut rig, &shard, Lsn::NONE).len(), 5);
    assert_eq!(rig.faults(0).planned_count(), 0);
    rig.close(shard);
}

#[test]
fn a_segment_without_a_summary_is_told_as_a_range() {
    let mut rig = Rig::new(7, Shape::default());
    let shard = rig.open_sound();
    overwrite(&mut rig, &shard, 1000, |shard| {
        shard.statistics().segments.available <= 12
    });
    rig.run_until_idle();
    let all = changes(&mut rig, &shard, Lsn::NONE);
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(changes(&mut rig, &shard, Lsn::NONE), all);
    // A block of the summary: its neighbours bring it back.
    let end = rig.shape.segment_bytes;
    let footer_bytes = 2 * 512;
    let bytes = rig.segment(1);
    let first_block = (0..bytes.len() - footer_bytes)
        .step_by(512)
        .find(|at| bytes[*at..*at + 4] == *b"SUMM")
        .unwrap();
    rig.overwrite_segment(1, u64::try_from(first_block).unwrap(), &[0; 512]);
    assert_eq!(changes(&mut rig, &shard, Lsn::NONE), all);
    // Both footers: nothing says what the segment holds.
    rig.overwrite_segment(1, end - 1024, &[0; 1024]);
    let mut follower = shard.follow(Lsn::NONE).unwrap();
    let (mut found, mut ranges) = (Vec::new(), Vec::new());
    loop {
        match rig.run(follower.step()) {
            Ok(None) => break,
            Ok(Some(batch)) => found.extend(batch.changes.iter().map(seen)),
            Err(FollowError::Damaged { first, last }) => {
                assert_eq!(first, follower.position());
                ranges.push((first, last));
                follower.accept_damage();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ranges.len(), 1);
    let (first, last) = ranges[0];
    // Each put was a batch of its own.
    let missing = usize::try_from(last.get() + 1 - first.get()).unwrap();
    assert!(missing > 10);
    let at = usize::try_from(first.get() - 1).unwrap();
    let expected: Vec<Seen> = [&all[..at], &all[at + missing..]].concat();
    assert_eq!(found, expected);
    // The last segment before the start: behind it are positions that were never given.
    let last = rig.put(&shard, 5, b"behind the gap").version;
    rig.overwrite_segment(3, end - 1024, &[0; 1024]);
    // Each put was a batch of its own.
    let last_lsn = Lsn::new(u64::try_from(all.len()).unwrap());
    let mut follower = shard.follow(last_lsn).unwrap();
    let damaged = rig.run(follower.step()).unwrap_err();
    assert!(matches!(damaged, FollowError::Damaged { .. }), "{damaged}");
    follower.accept_damage();
    let batch = rig.run(follower.step()).unwrap().unwrap();
    assert_eq!(batch.changes[0].record.version(), last);
    assert!(rig.run(follower.step()).unwrap().is_none());
    drop(follower);
    rig.close(shard);
}

#[test]
fn a_follower_that_gives_up_in_the_middle_of_a_read_skips_nothing() {
    let mut rig = Rig::new(8, Shape::default());
    let shard = rig.open_sound();
    overwrite(&mut rig, &shard, 1000, |shard| {
        shard.statistics().segments.available <= 11
    });
    rig.close(shard);
    let shard = rig.open_sound();
    let all = changes(&mut rig, &shard, Lsn::NONE);
    let mut follower = shard.follow(Lsn::NONE).unwrap();
    let mut random = SeededRandom::new(8, 1);
    let mut found = Vec::new();
    loop {
        if random.coin() {
            // Polled a few times, then dropped.
            let mut step = std::pin::pin!(follower.step());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let mut ready = None;
            for _ in 0..random.below(6) {
                if let std::task::Poll::Ready(result) = step.as_mut().poll(&mut context) {
                    ready = Some(result);
                    break;
                }
                let _ = rig.machine.step();
            }
            match ready {
                None => continue,
                Some(Ok(None)) => break,
                Some(result) => {
                    found.extend(
                        result
                            .unwrap()
                            .iter()
                            .flat_map(|batch| batch.changes.iter().map(seen)),
                    );
                }
            }
            continue;
        }
        match rig.run(follower.step()).unwrap() {
            None => break,
            Some(batch) => found.extend(batch.changes.iter().map(seen)),
        }
    }
    assert_eq!(found, all);
    drop(follower);
    rig.close(shard);
}

#[test]
fn followers_are_bounded_and_must_not_be_ahead() {
    let mut rig = Rig::new(9, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"one");
    let next = shard.durable_lsn().advanced(1);
    assert!(shard.follow(next).is_ok());
    let ahead = shard.follow(next.advanced(1)).err();
    assert_eq!(ahead, Some(FollowError::Ahead { next }));
    let limit = corelith_store::limits::FOLLOWERS_MAX;
    let mut followers: Vec<Follower> = (0..limit)
        .map(|_| shard.follow(Lsn::NONE).unwrap())
        .collect();
    let refused = shard.follow(Lsn::NONE).err();
    assert_eq!(refused, Some(FollowError::TooMany { limit }));
    for follower in &mut followers {
        assert_eq!(drain(&mut rig, follower).len(), 1);
    }
    followers.pop();
    assert!(shard.follow(Lsn::NONE).is_ok());
    drop(followers);
    rig.close(shard);
}

#[test]
fn the_last_segment_may_be_freed_and_is_not_forgotten() {
    // Story: at a start every segment is sealed, the last one too. If nothing in it is needed it is freed before anything
    // is written behind it. The next start must not take the one before it for the end of the log.
    let mut freed_last = 0;
    for seed in 0..4 {
        let shape = Shape {
            segments: 8,
            segment_bytes: 1 << 20,
            ..Shape::default()
        };
        let mut rig = Rig::new(seed, shape);
        let mut random = SeededRandom::new(seed, 2);
        // Two segments of records that live, so full that it is not worth while to move them.
        let shard = rig.open_sound();
        for key in 1000..1008 {
            rig.put(&shard, key, &content(key, 0, 261_000));
        }
        assert_eq!(shard.statistics().segments.available, 6);
        rig.close(shard);
        let mut oldest = Lsn::new(1);
        for life in 0..24 {
            let shard = rig.open_sound();
            assert_eq!(shard.oldest_lsn(), oldest, "seed {seed}, life {life}");
            let before = shard.durable_lsn();
            rig.run_until_idle();
            // Nothing was written, and the end of the log is gone.
            let is_gone = oldest <= before && shard.oldest_lsn() > before;
            freed_last += u64::from(is_gone && shard.durable_lsn() == before);
            if random.coin() {
                for key in 0..random.below(6) {
                    rig.put(&shard, key, &content(key, 0, 2500));
                    if key > 0 || random.coin() {
                        rig.delete(&shard, key);
                    }
                }
                rig.run_until_idle();
            }
            let from = shard.oldest_lsn();
            let there = changes(&mut rig, &shard, from);
            assert!(there.is_empty() || from <= shard.durable_lsn());
            let watched = shard.clone();
            rig.close(shard);
            oldest = watched.oldest_lsn();
            assert!(oldest >= from);
        }
    }
    assert!(freed_last > 5, "{freed_last}");
}
