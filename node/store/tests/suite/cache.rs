//! The record cache through the shard: what it spares, and that nothing stale comes out of it.

use corelith_index::{ExpirySeconds, ScanPosition};
use corelith_store::{Change, Needs, Shard, Truncate, fetch_ahead};

use crate::harness::{NotMet, PLAIN, Rig, Shape, content, digest};

fn cached(record_cache_bytes: u64) -> Shape {
    Shape {
        record_cache_bytes,
        ..Shape::default()
    }
}

fn device_reads(shard: &Shard) -> u64 {
    shard.statistics().counters.device_reads
}

#[test]
fn what_was_written_is_read_from_memory_and_after_a_restart_read_once() {
    let mut rig = Rig::new(1, cached(256 << 10));
    let shard = rig.open_sound();
    let bytes = content(1, 1, 700);
    rig.put(&shard, 1, &bytes);
    for _ in 0..3 {
        rig.check(&shard, 1, Some(&bytes));
    }
    assert_eq!(device_reads(&shard), 0);
    let statistics = shard.statistics().record_cache;
    assert_eq!((statistics.hits, statistics.misses), (3, 0));
    rig.close(shard);
    let shard = rig.open_sound();
    assert!(shard.get_at_once(&digest(1)).is_none());
    for _ in 0..3 {
        rig.check(&shard, 1, Some(&bytes));
    }
    assert_eq!(device_reads(&shard), 1);
    let record = shard.get_at_once(&digest(1)).unwrap().unwrap();
    assert_eq!(record.content(), bytes);
    assert_eq!(record.metadata().generation.get(), 1);
    // Two gets share one memory: nothing was copied for either.
    let again = shard.get_at_once(&digest(1)).unwrap().unwrap();
    assert_eq!(again.content().as_ptr(), record.content().as_ptr());
    assert!(shard.get_at_once(&digest(2)).unwrap().is_none());
}

/// Keys in the cache, on the device only, and absent: to fetch ahead for them counts as no use, and changes no answer.
#[test]
fn fetching_ahead_changes_nothing() {
    let mut rig = Rig::new(1, cached(64 << 10));
    let shard = rig.open_sound();
    for key in 0..200 {
        rig.put(&shard, key, &content(key, 1, 600));
    }
    let keys: Vec<_> = (0..250).map(digest).collect();
    let before = shard.statistics();
    assert!(shard.is_worth_fetching() && before.record_cache.evictions > 0);
    for some in [&keys[..0], &keys[..1], &keys[180..220], &keys[..]] {
        fetch_ahead(some.iter().map(|digest| (&shard, digest)));
        assert_eq!(shard.statistics(), before);
    }
    for key in 0..200 {
        rig.check(&shard, key, Some(&content(key, 1, 600)));
    }
    rig.check(&shard, 220, None);
}

#[test]
fn without_a_cache_nothing_is_known_at_once() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"on the device");
    assert!(shard.get_at_once(&digest(1)).is_none());
    assert!(shard.get_at_once(&digest(2)).is_none());
    rig.check(&shard, 1, Some(b"on the device"));
    assert_eq!(device_reads(&shard), 1);
    assert_eq!(shard.statistics().record_cache.limit_bytes, 0);
}

#[test]
fn a_version_that_is_not_durable_is_not_seen_and_an_old_one_is_not_kept() {
    let mut rig = Rig::new(1, cached(256 << 10));
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"first");
    let writer = shard.clone();
    let written = rig.spawn(async move {
        writer
            .write(&digest(1), Needs::Metadata, b"second", |_, _| {
                Ok::<_, NotMet>(PLAIN)
            })
            .await
    });
    rig.settle();
    let record = shard.get_at_once(&digest(1)).unwrap().unwrap();
    assert_eq!(record.content(), b"first");
    rig.run_until_idle();
    assert!(written.borrow_mut().take().unwrap().is_ok());
    let record = shard.get_at_once(&digest(1)).unwrap().unwrap();
    assert_eq!(record.content(), b"second");
    assert_eq!(shard.statistics().record_cache.records, 1);
    rig.delete(&shard, 1);
    assert!(shard.get_at_once(&digest(1)).unwrap().is_none());
    assert_eq!(shard.statistics().record_cache.records, 0);
    rig.check(&shard, 1, None);
}

#[test]
fn a_truncated_record_is_absent_at_once() {
    let mut rig = Rig::new(1, cached(256 << 10));
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"before");
    assert!(shard.get_at_once(&digest(1)).unwrap().is_some());
    rig.run(shard.truncate(Truncate::All)).unwrap();
    assert!(
        shard
            .get_at_once(&digest(1))
            .is_none_or(|found| found.is_none())
    );
    rig.check(&shard, 1, None);
    rig.put(&shard, 1, b"after");
    let record = shard.get_at_once(&digest(1)).unwrap().unwrap();
    assert_eq!(record.content(), b"after");
}

#[test]
fn an_expired_record_is_absent_at_once() {
    let mut rig = Rig::new(1, cached(256 << 10));
    let shard = rig.open_sound();
    let now = shard.now_ms() / 1000 - ExpirySeconds::UNIX_OFFSET_SECONDS;
    let expiry = ExpirySeconds::new(u32::try_from(now + 10).unwrap());
    let set = corelith_index::SetId::NONE;
    let key = digest(1);
    let put = shard.write(&key, Needs::Metadata, b"short", |_, _| {
        Ok::<_, NotMet>(Change::PutInput { expiry, set })
    });
    assert!(rig.run(put).is_ok());
    assert!(shard.get_at_once(&digest(1)).unwrap().is_some());
    rig.sleep_ms(20_000);
    // The store's clock follows what is written.
    rig.put(&shard, 2, b"later");
    assert!(
        shard
            .get_at_once(&digest(1))
            .is_none_or(|found| found.is_none())
    );
    rig.check(&shard, 1, None);
}

/// A scan of everything neither fills the cache nor throws anything out of it.
#[test]
fn a_scan_leaves_the_cache_as_it_is() {
    let mut rig = Rig::new(1, cached(64 << 10));
    let shard = rig.open_sound();
    for key in 0..200 {
        rig.put(&shard, key, &content(key, 1, 600));
    }
    let before = shard.statistics().record_cache;
    assert!(before.evictions > 0);
    let (reads_before, mut count) = (device_reads(&shard), 0);
    for partition in 0..4096 {
        let partition = corelith_index::PartitionId::new(partition).unwrap();
        let page = rig.run(shard.scan(partition, ScanPosition::START, 4096));
        count += page.unwrap().records.len();
    }
    assert_eq!(count, 200);
    assert_eq!(shard.statistics().record_cache, before);
    let reads = device_reads(&shard) - reads_before;
    assert_eq!(reads, 200 - before.records);
}

/// The log goes round and round in few segments, so that places are given again and again: a get must find
/// the version of today and nothing that stood there before.
#[test]
fn places_that_are_used_again_give_today_s_record() {
    let mut rig = Rig::new(7, cached(48 << 10));
    let shard = rig.open_sound();
    for round in 0..400_u64 {
        for key in 0..12 {
            rig.put(
                &shard,
                key,
                &content(key, round, 500 + usize::try_from(key * 40).unwrap()),
            );
            let asked = (round + key * 5) % 12;
            let wrote_now = asked <= key;
            let of_round = if wrote_now {
                Some(round)
            } else {
                round.checked_sub(1)
            };
            let length = 500 + usize::try_from(asked * 40).unwrap();
            let expected = of_round.map(|round| content(asked, round, length));
            rig.check(&shard, asked, expected.as_deref());
        }
    }
    let statistics = shard.statistics();
    assert!(statistics.record_cache.hits > 1000);
    assert!(statistics.record_cache.used_bytes <= 48 << 10);
}
