//! Expiry by the store's clock, which never runs backwards past what the log has seen.

use corelith_index::{ExpirySeconds, SetId};
use corelith_store::{Change, Needs, Shard};

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
