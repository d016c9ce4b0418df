//! Expiry by the store's clock, which never runs backwards past what the log has seen.

use corelith_index::{ExpirySeconds, SetId};
use corelith_store::{Change, Needs, Shard, Truncate, WriteError};

use crate::harness::{NotMet, Rig, Shape, create, digest};

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
