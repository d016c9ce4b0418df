//! Expiry by the store's clock, which never runs backwards past what the log has seen.

use corelith_index::{ExpirySeconds, SetId};
use corelith_store::{Change, CheckpointPace, Needs, Shard, Truncate, WriteError, Written};

use crate::harness::{NotMet, Rig, Shape, content, create, digest, put};

/// Puts key 7 so that it expires `seconds` from now.
fn put_for(rig: &mut Rig, shard: &Shard, seconds: u64) {
    let now = shard.now_ms() / 1000 - ExpirySeconds::UNIX_OFFSET_SECONDS;
    let expiry = ExpirySeconds::new(u32::try_from(now + seconds).unwrap());
    let put = Change::PutInput {
        expiry,
        set: SetId::NONE,
    };
    rig.run(shard.write::<NotMet>(&digest(7), Needs::Metadata, b"brief", |_, _| Ok(put)))
        .unwrap();
}

#[test]
fn a_record_is_gone_when_its_time_has_come() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    put_for(&mut rig, &shard, 100);
    rig.sleep_ms(98_000);
    rig.check(&shard, 7, Some(b"brief"));
    rig.sleep_ms(3_000);
    let reads = shard.statistics().counters.device_reads;
    rig.check(&shard, 7, None);
    assert_eq!(rig.run(shard.metadata(&digest(7))).unwrap(), None);
    assert!(!rig.delete(&shard, 7).existed);
    assert_eq!(
        shard.statistics().counters.device_reads,
        reads,
        "an expired record is not read"
    );
}

#[test]
fn what_replaces_an_expired_record_begins_anew() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    put_for(&mut rig, &shard, 10);
    put_for(&mut rig, &shard, 10);
    rig.sleep_ms(20_000);
    let created = rig.run(create(&shard, digest(7), b"new")).unwrap();
    assert_eq!((created.generation.get(), created.existed), (1, false));
    rig.check(&shard, 7, Some(b"new"));
    assert_eq!(
        shard.statistics().records,
        1,
        "it takes the old one's place"
    );
}

#[test]
fn an_expired_record_stays_gone_when_the_wall_clock_is_set_back() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    put_for(&mut rig, &shard, 10);
    rig.sleep_ms(20_000);
    rig.put(&shard, 8, b"carries the time");
    let now_ms = shard.now_ms();
    rig.check(&shard, 7, None);
    rig.machine.set_wall_ms(now_ms - 3_600_000);
    rig.check(&shard, 7, None);
    rig.close(shard);
    let shard = rig.open_sound();
    assert!(shard.now_ms() >= now_ms, "the log has seen the later time");
    rig.check(&shard, 7, None);
    rig.check(&shard, 8, Some(b"carries the time"));
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Sets the wall clock so far ahead of where it is.
fn step(rig: &Rig, ahead_ms: u64) {
    let now_ms = rig.machine.clock().wall_ms();
    rig.machine.set_wall_ms(now_ms + ahead_ms);
}

fn check_refused(rig: &mut Rig, shard: &Shard) {
    let is_clock = |error: &WriteError<NotMet>| matches!(error, WriteError::Clock { .. });
    let created = rig.run(create(shard, digest(50), b"new"));
    assert!(created.as_ref().is_err_and(is_clock), "{created:?}");
    let deleted =
        rig.run(shard.write::<NotMet>(&digest(8), Needs::Metadata, b"", |_, _| Ok(Change::Delete)));
    assert!(deleted.as_ref().is_err_and(is_clock), "{deleted:?}");
    let truncated = rig.run(shard.truncate(Truncate::All));
    assert!(
        matches!(truncated, Err(WriteError::Clock { .. })),
        "{truncated:?}"
    );
    let set = rig.run(shard.set_id("another"));
    assert!(matches!(set, Err(WriteError::Clock { .. })), "{set:?}");
    assert!(shard.statistics().clock_ahead_ms > DAY_MS);
}

/// A clock that stepped ahead by a year was written into the log by the first write, and what was written after it was set
/// right expired by that time.
#[test]
fn a_clock_that_steps_too_far_ahead_is_not_written_down() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    put_for(&mut rig, &shard, 100 * 3600);
    rig.put(&shard, 8, b"kept");
    let before_ms = shard.now_ms();
    // Far, and not too far.
    step(&rig, 20 * HOUR_MS);
    rig.put(&shard, 9, b"by a clock that is believed");
    step(&rig, 365 * DAY_MS);
    check_refused(&mut rig, &shard);
    // Reads go on, by the time as it was.
    rig.check(&shard, 7, Some(b"brief"));
    rig.check(&shard, 8, Some(b"kept"));
    rig.sleep_ms(2 * HOUR_MS);
    let now_ms = shard.now_ms();
    assert!((before_ms + 22 * HOUR_MS..before_ms + 23 * HOUR_MS).contains(&now_ms));
    check_refused(&mut rig, &shard);
    // Set right, it is believed without anybody's word; nothing of the other time is left.
    rig.machine.set_wall_ms(now_ms);
    rig.put(&shard, 10, b"right again");
    assert_eq!(shard.statistics().clock_ahead_ms, 0);
    rig.close(shard);
    let shard = rig.open_sound();
    assert!(shard.now_ms() < now_ms + HOUR_MS);
    rig.check(&shard, 7, Some(b"brief"));
}

#[test]
fn an_operator_says_that_the_clock_is_right() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 8, b"kept");
    step(&rig, 30 * DAY_MS);
    check_refused(&mut rig, &shard);
    let now_ms = rig.machine.clock().wall_ms();
    shard.set_clock_jump_max(u64::MAX);
    shard.set_clock_jump_max(DAY_MS);
    rig.put(&shard, 9, b"by the new time");
    assert!(shard.now_ms() >= now_ms);
    // The bound holds from there on.
    step(&rig, 2 * DAY_MS);
    check_refused(&mut rig, &shard);
    // A step back is not one ahead, and neither is the way from there.
    rig.machine.set_wall_ms(now_ms - 50 * DAY_MS);
    rig.put(&shard, 10, b"behind");
    rig.machine.set_wall_ms(now_ms + HOUR_MS);
    rig.put(&shard, 11, b"right again");
}

#[test]
fn what_rested_is_opened_and_written_and_a_shard_at_rest_is_too() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    assert_eq!(shard.report().clock_gap_ms, None, "a new volume");
    rig.put(&shard, 8, b"kept");
    // Nobody asks it for anything for a month.
    rig.sleep_ms(30 * DAY_MS);
    rig.put(&shard, 9, b"a month later");
    rig.close(shard);
    step(&rig, 100 * DAY_MS);
    let shard = rig.open_sound();
    let gap_ms = shard.report().clock_gap_ms.unwrap();
    assert!((100 * DAY_MS..101 * DAY_MS).contains(&gap_ms), "{gap_ms}");
    rig.put(&shard, 10, b"after a rest");
    rig.check(&shard, 8, Some(b"kept"));
}

/// Puts a key so that it expires `seconds` from now.
async fn put_until(
    shard: Shard,
    key: u64,
    (seconds, content): (u64, Vec<u8>),
) -> Result<Written, WriteError<NotMet>> {
    let now = shard.now_ms() / 1000 - ExpirySeconds::UNIX_OFFSET_SECONDS;
    let expiry = ExpirySeconds::new(u32::try_from(now + seconds).unwrap());
    let put = Change::PutInput {
        expiry,
        set: SetId::NONE,
    };
    shard
        .write::<NotMet>(&digest(key), Needs::Metadata, &content, |_, _| Ok(put))
        .await
}

/// Puts many keys at once, so that batches are full.
fn put_all(rig: &mut Rig, shard: &Shard, keys: std::ops::Range<u64>, seconds: u64) {
    let puts: Vec<_> = keys
        .map(|key| {
            let content = content(key, 0, 1000);
            rig.spawn(put_until(shard.clone(), key, (seconds, content)))
        })
        .collect();
    rig.run_until_idle();
    assert!(puts.iter().all(|put| matches!(put.take(), Some(Ok(_)))));
}

/// Gives the shard ticks until a sweep has ended.
fn sweep(rig: &mut Rig, shard: &Shard) {
    let before = shard.statistics().counters.expiry_sweeps;
    for _ in 0..100 {
        shard.tick();
        rig.run_until_idle();
        if shard.statistics().counters.expiry_sweeps > before {
            return;
        }
        rig.sleep_ms(1000);
    }
    panic!("no sweep: {:?}", shard.statistics());
}

/// The shape of a shard that is short of segments as soon as some are full.
fn crowded() -> Shape {
    Shape {
        segments: 10,
        ..Shape::default()
    }
}

#[test]
fn what_has_expired_leaves_the_index_and_its_space_though_nobody_touches_it() {
    let mut rig = Rig::new(5, crowded());
    let shard = rig.open_sound();
    put_all(&mut rig, &shard, 0..200, 100);
    put_all(&mut rig, &shard, 1000..1010, 1_000_000);
    let before = shard.statistics();
    assert_eq!((before.records, before.counters.expired_records), (210, 0));
    rig.sleep_ms(99_000);
    shard.tick();
    rig.run_until_idle();
    assert_eq!(shard.statistics().counters.expired_records, 0, "not yet");
    rig.sleep_ms(2_000);
    sweep(&mut rig, &shard);
    let after = shard.statistics();
    assert_eq!((after.records, after.counters.expired_records), (10, 200));
    assert!(after.counters.expired_bytes >= 200 * 1000);
    assert!(after.segments.live_bytes < before.segments.live_bytes / 10);
    // Their segments are used again, by what does not fit beside them.
    put_all(&mut rig, &shard, 2000..2300, 1_000_000);
    let end = shard.statistics();
    assert_eq!(end.records, 310);
    assert_eq!(
        end.counters.expired_headers_moved, 0,
        "no older version is left anywhere"
    );
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 7, None);
    rig.check(&shard, 2299, Some(&content(2299, 0, 1000)));
}

#[test]
fn a_full_shard_has_room_again_when_records_have_expired() {
    let mut rig = Rig::new(6, crowded());
    let shard = rig.open_sound();
    let mut keys = 0..1000;
    let refused = keys.find_map(|key| {
        let put = put_until(shard.clone(), key, (100, content(key, 0, 1000)));
        rig.run(put).err()
    });
    assert_eq!(refused, Some(WriteError::OutOfSpace));
    assert!(keys.start > 100, "{keys:?}");
    rig.sleep_ms(200_000);
    // Nobody has given it a tick: who finds no room has it made.
    let written = rig.run(put(&shard, digest(5000), &content(5000, 0, 1000)));
    assert!(written.is_ok(), "{written:?}");
    assert!(shard.statistics().counters.expired_records > 0);
}

/// Key 1 has an old version that never expires, in a segment that is kept by its neighbours, and a newer one that
/// expires, in a segment of which nothing else is left.
fn with_an_older_version(rig: &mut Rig, shard: &Shard) {
    rig.put(shard, 1, b"older, for ever");
    put_all(rig, shard, 100..150, 1_000_000);
    put_all(rig, shard, 200..245, 100);
    rig.run(put_until(shard.clone(), 1, (100, b"newer, brief".to_vec())))
        .unwrap();
    put_all(rig, shard, 250..300, 100);
    rig.check(shard, 1, Some(b"newer, brief"));
}

#[test]
fn an_older_version_never_comes_back() {
    let mut rig = Rig::new(7, crowded());
    let shard = rig.open_sound();
    with_an_older_version(&mut rig, &shard);
    rig.sleep_ms(200_000);
    sweep(&mut rig, &shard);
    rig.check(&shard, 1, None);
    for round in 0..12 {
        // What fills the log has the segments with expired records reclaimed.
        let keys = 1000 + round * 60..1060 + round * 60;
        put_all(&mut rig, &shard, keys, 15);
        rig.sleep_ms(20_000);
        sweep(&mut rig, &shard);
        rig.check(&shard, 1, None);
        let mut copy = rig.fork(round);
        copy.power_cut();
        let restarted = copy.open_sound();
        copy.check(&restarted, 1, None);
        copy.check(&restarted, 100, Some(&content(100, 0, 1000)));
    }
    let counters = shard.statistics().counters;
    assert!(counters.segments_reclaimed > 0, "{counters:?}");
    assert!(counters.expired_headers_moved > 0, "{counters:?}");
}

#[test]
fn a_start_from_pages_keeps_the_header_of_what_had_expired() {
    let mut rig = Rig::new(
        8,
        Shape {
            segments: 16,
            checkpoint: CheckpointPace {
                interval_bytes: 16 << 10,
                share_percent: 60,
            },
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    with_an_older_version(&mut rig, &shard);
    rig.sleep_ms(200_000);
    sweep(&mut rig, &shard);
    let rounds = shard.statistics().counters.checkpoint_rounds;
    let mut key = 1000;
    while shard.statistics().counters.checkpoint_rounds < rounds + 3 {
        put_all(&mut rig, &shard, key..key + 20, 15);
        rig.sleep_ms(20_000);
        sweep(&mut rig, &shard);
        key += 20;
    }
    rig.power_cut();
    let shard = rig.open_sound();
    assert!(shard.report().checkpoint_pages > 0, "{:?}", shard.report());
    rig.check(&shard, 1, None);
    let before = shard.statistics().counters.segments_reclaimed;
    for round in 0..15 {
        put_all(&mut rig, &shard, 5000 + round * 60..5060 + round * 60, 15);
        rig.sleep_ms(20_000);
        sweep(&mut rig, &shard);
    }
    assert!(shard.statistics().counters.segments_reclaimed > before);
    rig.power_cut();
    // The pages are gone with the power, or so: a scan finds whatever the log still holds.
    rig.shape.checkpoint = CheckpointPace::NONE;
    let shard = rig.open_sound();
    rig.check(&shard, 1, None);
    rig.check(&shard, 120, Some(&content(120, 0, 1000)));
}

#[test]
fn a_clock_that_jumps_removes_nothing_and_what_was_hidden_comes_back() {
    let mut rig = Rig::new(9, crowded());
    let shard = rig.open_sound();
    put_all(&mut rig, &shard, 0..50, 36_000);
    let right_ms = rig.machine.clock().wall_ms();
    rig.machine.set_wall_ms(right_ms + 20 * HOUR_MS);
    rig.check(&shard, 7, None);
    for _ in 0..50 {
        rig.sleep_ms(1000);
        shard.tick();
        rig.run_until_idle();
    }
    let statistics = shard.statistics();
    assert!(statistics.is_clock_doubtful);
    assert_eq!(
        (statistics.records, statistics.counters.expired_records),
        (50, 0)
    );
    // Nothing was written by the wrong time.
    rig.power_cut();
    rig.machine.set_wall_ms(right_ms + 50_000);
    let shard = rig.open_sound();
    rig.check(&shard, 7, Some(&content(7, 0, 1000)));
    rig.sleep_ms(36_000_000);
    sweep(&mut rig, &shard);
    assert_eq!(shard.statistics().records, 0);
}

#[test]
fn a_start_long_after_the_last_write_removes_nothing_until_the_clock_is_confirmed() {
    let mut rig = Rig::new(10, crowded());
    let shard = rig.open_sound();
    put_all(&mut rig, &shard, 0..50, 100);
    rig.close(shard);
    rig.sleep_ms(2 * DAY_MS);
    let shard = rig.open_sound();
    shard.tick();
    rig.run_until_idle();
    rig.check(&shard, 7, None);
    assert!(shard.statistics().is_clock_doubtful);
    assert_eq!(shard.statistics().records, 50);
    shard.confirm_clock();
    sweep(&mut rig, &shard);
    assert_eq!(shard.statistics().records, 0);
}

#[test]
fn a_scan_of_the_log_does_not_bring_expired_records_back_into_the_index() {
    let mut rig = Rig::new(11, Shape::default());
    let shard = rig.open_sound();
    put_all(&mut rig, &shard, 0..200, 100);
    rig.sleep_ms(200_000);
    sweep(&mut rig, &shard);
    rig.put(&shard, 5000, b"carries the time");
    rig.power_cut();
    let shard = rig.open_sound();
    let statistics = shard.statistics();
    assert_eq!(statistics.records, 1);
    assert_eq!(statistics.segments.expired_headers, 200);
}
