//! Checkpoints: a start from pages ends where a scan of the whole log does, whatever became of the pages.

use std::collections::BTreeMap;

use corelith_index::{ExpirySeconds, SetId};
use corelith_io::{DeviceOffset, Fault, PlannedFault};
use corelith_store::{
    Change, CheckpointPace, Needs, RecoveryReport, SegmentCounts, Shard, Truncate, Version,
};

use crate::harness::{NotMet, Rig, Shape, check_sound, content, digest};

/// A round for every few batches.
const OFTEN: CheckpointPace = CheckpointPace {
    interval_bytes: 4 << 10,
    share_percent: 100,
};

fn shape() -> Shape {
    Shape {
        segments: 40,
        checkpoint: OFTEN,
        ..Shape::default()
    }
}

type Model = BTreeMap<u64, Option<Vec<u8>>>;

/// What a start has to get right beside the records.
#[derive(Debug, PartialEq)]
struct Found {
    records: u64,
    live_bytes: u64,
    tombstones: u64,
    dead_records: u64,
    dead_copies: u64,
    /// Tombstones below it may go.
    pin: Version,
    sets: Vec<(SetId, String)>,
}

fn found(shard: &Shard) -> Found {
    let statistics = shard.statistics();
    let SegmentCounts {
        live_bytes,
        tombstones,
        dead_records,
        dead_copies,
        pin,
        ..
    } = statistics.segments;
    Found {
        records: statistics.records,
        live_bytes,
        tombstones,
        dead_records,
        dead_copies,
        pin,
        sets: shard.sets(),
    }
}

/// Starts a copy of the machine twice, once with its pages and once without, and compares. Returns the report of the
/// first.
fn check_both_ways(rig: &Rig, model: &Model) -> RecoveryReport {
    let mut outcomes = Vec::new();
    for uses_pages in [true, false] {
        let mut copy = rig.fork(u64::from(uses_pages));
        copy.power_cut();
        if !uses_pages {
            spoil_pages(&mut copy, |_, _| true);
        }
        let shard = copy.try_open(0).unwrap();
        let report = shard.report();
        check_sound(&report);
        if !uses_pages {
            assert_eq!(report.checkpoint_pages, 0);
        }
        for (key, expected) in model {
            copy.check(&shard, *key, expected.as_deref());
        }
        let statistics = found(&shard);
        copy.stop_tasks();
        drop(shard);
        // What is written next rests on the accounts.
        let shard = copy.open_sound();
        for key in model.keys() {
            copy.put(&shard, *key, b"afterwards");
        }
        for key in model.keys() {
            copy.delete(&shard, *key);
        }
        outcomes.push((report, statistics));
        copy.close(shard);
    }
    let [(with, found_with), (_, found_without)] = outcomes.as_slice() else {
        panic!("two starts")
    };
    assert_eq!(found_with, found_without, "{with:?}");
    *with
}

/// Where pages stand on drive 0: segment, and offset in it.
fn pages(rig: &mut Rig) -> Vec<(u64, u64)> {
    let mut pages = Vec::new();
    for number in 0..rig.shape.segments {
        let bytes = rig.segment(number);
        if bytes[40] != 4 {
            continue;
        }
        let units = bytes.chunks_exact(512).enumerate();
        let here = units.filter(|(_, unit)| unit.starts_with(b"PAGE"));
        pages.extend(here.map(|(place, _)| (number, u64::try_from(place).unwrap() * 512)));
    }
    pages
}

/// Damages the content of the pages that are chosen by segment and offset. Returns how many.
fn spoil_pages(rig: &mut Rig, is_chosen: impl Fn(u64, u64) -> bool) -> usize {
    let mut pages = pages(rig);
    pages.retain(|(number, offset)| is_chosen(*number, *offset));
    for (number, offset) in &pages {
        let at = rig.segment_offset(*number) + offset;
        rig.faults(0).overwrite(DeviceOffset::new(at), &[0; 512]);
    }
    pages.len()
}

/// Writes, deletes and overwrites, each key with a content of its own, and remembers them.
fn churn(rig: &mut Rig, shard: &Shard, model: &mut Model, rounds: std::ops::Range<u64>) {
    for round in rounds {
        for key in 0..40 {
            match (key + round) % 7 {
                0 => {
                    rig.delete(shard, key);
                    model.insert(key, None);
                }
                1..=4 => {
                    let content = content(key, round, 500);
                    rig.put(shard, key, &content);
                    model.insert(key, Some(content));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_start_from_pages_ends_where_a_scan_does() {
    let mut rig = Rig::new(1, shape());
    let shard = rig.open();
    let mut model = Model::new();
    let mut from_pages = 0;
    for round in 0..40 {
        churn(&mut rig, &shard, &mut model, round..round + 1);
        if round % 5 == 4 {
            let report = check_both_ways(&rig, &model);
            from_pages += u64::from(report.checkpoint_pages > 0);
            assert!(!report.checkpoint_unusable, "{report:?}");
        }
    }
    let counters = shard.statistics().counters;
    assert!(counters.checkpoint_rounds > 20, "{counters:?}");
    assert_eq!(counters.checkpoint_failures, 0);
    assert_eq!(from_pages, 8);
}

/// Between what is overwritten all the time lies what is not: it is moved again and again.
#[test]
fn a_start_from_pages_tells_copies_from_others() {
    let mut rig = Rig::new(
        9,
        Shape {
            segments: 14,
            ..shape()
        },
    );
    let shard = rig.open();
    let mut model = Model::new();
    let (mut from_pages, mut with_dead_copies) = (0, 0);
    for round in 0..160 {
        // One cold key after another, so that each segment has some.
        let cold = 1000 + round;
        let kept = content(cold, round, 700);
        rig.put(&shard, cold, &kept);
        model.insert(cold, Some(kept));
        // What was moved dies one by one, by deletes and by overwrites.
        if round % 3 == 0 && round > 60 {
            let old = 1000 + round - 60;
            rig.delete(&shard, old);
            model.insert(old, None);
        }
        churn(&mut rig, &shard, &mut model, round..round + 1);
        if round % 8 == 7 {
            let report = check_both_ways(&rig, &model);
            from_pages += u64::from(report.checkpoint_pages > 0);
            assert!(!report.checkpoint_unusable, "{report:?}");
            let counts = shard.statistics().segments;
            with_dead_copies += u64::from(counts.dead_copies > 0);
        }
    }
    let counters = shard.statistics().counters;
    assert!(counters.moved_records > 50, "{counters:?}");
    assert!(counters.segments_reclaimed > 10, "{counters:?}");
    assert!(with_dead_copies > 5, "{with_dead_copies}");
    assert!(from_pages > 10, "{from_pages}");
}

#[test]
fn segments_that_pages_hold_are_not_read() {
    let mut rig = Rig::new(2, shape());
    let shard = rig.open();
    let mut model = Model::new();
    churn(&mut rig, &shard, &mut model, 0..30);
    rig.close(shard);
    let shard = rig.open_sound();
    let report = shard.report();
    assert!(report.checkpoint_pages > 0, "{report:?}");
    assert!(report.in_pages > 0, "{report:?}");
    assert!(
        report.in_pages + report.sealed + report.scanned == report.segments,
        "{report:?}"
    );
    for (key, expected) in &model {
        rig.check(&shard, *key, expected.as_deref());
    }
}

#[test]
fn without_an_interval_there_are_no_pages() {
    let mut rig = Rig::new(3, Shape::default());
    let shard = rig.open();
    churn(&mut rig, &shard, &mut Model::new(), 0..10);
    assert_eq!(shard.statistics().counters.checkpoint_bytes, 0);
    assert!(pages(&mut rig).is_empty());
}

#[test]
fn pages_keep_to_their_share() {
    let pace = CheckpointPace {
        interval_bytes: 1,
        share_percent: 12,
    };
    let mut rig = Rig::new(
        4,
        Shape {
            checkpoint: pace,
            segments: 60,
            ..shape()
        },
    );
    let shard = rig.open();
    churn(&mut rig, &shard, &mut Model::new(), 0..120);
    let counters = shard.statistics().counters;
    assert!(counters.checkpoint_rounds > 5, "{counters:?}");
    // The header of a segment takes two units of 512 bytes for 63 KiB of pages.
    assert!(
        counters.checkpoint_bytes * 100 <= counters.batch_bytes * 15 + (100 << 12),
        "{counters:?}"
    );
}

#[test]
fn a_damaged_page_costs_nothing_but_an_older_one() {
    let mut rig = Rig::new(5, shape());
    let shard = rig.open();
    let mut model = Model::new();
    churn(&mut rig, &shard, &mut model, 0..30);
    let newest = pages(&mut rig);
    let mut by_older = 0;
    for (number, offset) in newest {
        let mut copy = rig.fork(number ^ offset);
        copy.power_cut();
        assert_eq!(spoil_pages(&mut copy, |n, o| (n, o) == (number, offset)), 1);
        let shard = copy.open_sound();
        let report = shard.report();
        assert!(!report.checkpoint_unusable, "{report:?}");
        for (key, expected) in &model {
            copy.check(&shard, *key, expected.as_deref());
        }
        by_older += 1;
    }
    assert!(by_older > 4, "{by_older} pages");
    let mut copy = rig.fork(77);
    copy.power_cut();
    // The content of all of them: headers stay.
    for (number, offset) in pages(&mut copy) {
        copy.flip_bit(number, offset + 96);
    }
    let shard = copy.open_sound();
    let report = shard.report();
    assert!(report.checkpoint_unusable, "{report:?}");
    assert!(report.checkpoint_pages_damaged > 0, "{report:?}");
    for (key, expected) in &model {
        copy.check(&shard, *key, expected.as_deref());
    }
}

#[test]
fn sets_truncations_and_tombstones_come_back() {
    let mut rig = Rig::new(6, shape());
    let shard = rig.open();
    let mut model = Model::new();
    let set = |rig: &mut Rig, name: &str| rig.run(shard.set_id(name)).unwrap();
    for round in 0..24_u64 {
        let (first, second) = (set(&mut rig, "first"), set(&mut rig, "second"));
        for key in 0..30 {
            let content = content(key, round, 400);
            let in_set = if key % 2 == 0 { first } else { second };
            let put = Change::PutInput {
                expiry: ExpirySeconds::NEVER,
                set: in_set,
            };
            let digest = digest(key);
            let written = shard.write(&digest, Needs::Metadata, &content, |_, _| {
                Ok::<_, NotMet>(put)
            });
            rig.run(written).unwrap();
            model.insert(key, Some(content));
        }
        match round % 6 {
            1 => {
                rig.run(shard.truncate(Truncate::Set("first"))).unwrap();
                for (_, kept) in model.iter_mut().filter(|(key, _)| *key % 2 == 0) {
                    *kept = None;
                }
            }
            3 => {
                rig.run(shard.truncate(Truncate::All)).unwrap();
                model.values_mut().for_each(|kept| *kept = None);
            }
            5 => {
                for key in 0..5 {
                    rig.delete(&shard, key);
                    model.insert(key, None);
                }
            }
            _ => {}
        }
        let report = check_truncated_both_ways(&rig, &model);
        assert!(!report.checkpoint_unusable, "{report:?}");
        assert!(round < 2 || report.checkpoint_pages > 0, "{report:?}");
    }
}

/// The same as [`check_both_ways`] where sweeps may be under way, so that counts differ for a while.
fn check_truncated_both_ways(rig: &Rig, model: &Model) -> RecoveryReport {
    let mut outcomes = Vec::new();
    for uses_pages in [true, false] {
        let mut copy = rig.fork(u64::from(uses_pages));
        copy.power_cut();
        if !uses_pages {
            spoil_pages(&mut copy, |_, _| true);
        }
        let shard = copy.open_sound();
        copy.run_until_idle();
        for (key, expected) in model {
            copy.check(&shard, *key, expected.as_deref());
        }
        assert_eq!(shard.statistics().truncations_unswept, 0);
        outcomes.push((shard.report(), found(&shard)));
    }
    let [(with, found_with), (_, found_without)] = outcomes.as_slice() else {
        panic!("two starts")
    };
    assert_eq!(found_with.records, found_without.records, "{with:?}");
    assert_eq!(found_with.live_bytes, found_without.live_bytes, "{with:?}");
    assert_eq!(found_with.sets, found_without.sets, "{with:?}");
    *with
}

#[test]
fn the_log_gets_its_segments_back() {
    let mut rig = Rig::new(
        7,
        Shape {
            segments: 10,
            ..shape()
        },
    );
    let shard = rig.open();
    let mut key = 0;
    let plain = {
        let mut plain = Rig::new(
            7,
            Shape {
                segments: 10,
                checkpoint: CheckpointPace::NONE,
                ..shape()
            },
        );
        let shard = plain.open();
        let mut key = 0;
        while plain
            .run(crate::harness::put(
                &shard,
                digest(key),
                &content(key, 0, 3000),
            ))
            .is_ok()
        {
            key += 1;
        }
        (key, shard.statistics().is_full)
    };
    while rig
        .run(crate::harness::put(
            &shard,
            digest(key),
            &content(key, 0, 3000),
        ))
        .is_ok()
    {
        key += 1;
    }
    let statistics = shard.statistics();
    assert!(statistics.counters.checkpoint_rounds > 0, "{statistics:?}");
    assert_eq!(statistics.segments.checkpoints, 0, "{statistics:?}");
    assert!(statistics.counters.checkpoint_segments_given_back > 0);
    assert_eq!(
        (key, statistics.is_full),
        plain,
        "a full volume is as full as without pages"
    );
    // What was a page yesterday is log today, and tells of nothing else.
    rig.power_cut();
    let shard = rig.open_sound();
    for key in 0..key {
        rig.check(&shard, key, Some(&content(key, 0, 3000)));
    }
}

#[test]
fn a_failing_device_breaks_a_round_off_and_nothing_else() {
    let mut rig = Rig::new(8, shape());
    let shard = rig.open();
    let mut model = Model::new();
    churn(&mut rig, &shard, &mut model, 0..10);
    let (number, offset) = pages(&mut rig).pop().unwrap();
    let start = rig.segment_offset(number) + offset;
    let end = rig.segment_offset(number) + rig.shape.segment_bytes;
    rig.faults(0)
        .plan(PlannedFault::next(Fault::WriteError).within(start..end));
    churn(&mut rig, &shard, &mut model, 10..30);
    let counters = shard.statistics().counters;
    assert_eq!(counters.checkpoint_failures, 1, "{counters:?}");
    assert_eq!(counters.batches_in_doubt, 0, "{counters:?}");
    let rounds = counters.checkpoint_rounds;
    churn(&mut rig, &shard, &mut model, 30..50);
    assert!(shard.statistics().counters.checkpoint_rounds > rounds + 5);
    check_both_ways(&rig, &model);
}
