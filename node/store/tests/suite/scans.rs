//! Scans: pages of a partition, resumed, while it changes.

use std::collections::BTreeMap;

use corelith_index::{Digest, ExpirySeconds, KnownDigest, PartitionId, ScanPosition, SetId};
use corelith_io::{BufferPool, BufferPoolConfig, Fault, PlannedFault};
use corelith_store::{Change, DamagedRecord, Needs, ReadError, RecordError, ScanBounds, Shard};

use crate::harness::{NotMet, Rig, Shape, content, digest};

fn partition() -> PartitionId {
    digest(0).partition()
}

/// Reads the partition in pages, with `between` after each.
fn scan(
    rig: &mut Rig,
    shard: &Shard,
    count_max: usize,
    mut between: impl FnMut(&mut Rig, &Shard),
) -> BTreeMap<Digest, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut from = Some(ScanPosition::START);
    while let Some(position) = from {
        let page = rig
            .run(shard.scan(partition(), position, count_max))
            .unwrap();
        assert!(page.records.len() <= count_max.max(1));
        for record in page.records {
            let record = record.unwrap();
            let twice = found.insert(*record.digest(), record.content().to_vec());
            assert!(twice.is_none(), "{} came twice", record.digest());
        }
        from = page.next;
        between(rig, shard);
    }
    found
}

#[test]
fn pages_of_every_length_make_the_same_whole() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let expected: BTreeMap<_, _> = (0..200)
        .map(|key| (digest(key), content(key, 0, 90)))
        .collect();
    for key in 0..200 {
        rig.put(&shard, key, &content(key, 0, 90));
    }
    for count_max in [0, 1, 7, 199, 200, 5000] {
        assert_eq!(
            scan(&mut rig, &shard, count_max, |_, _| {}),
            expected,
            "{count_max} a page"
        );
    }
    let other = PartitionId::new(5).unwrap();
    let page = rig
        .run(shard.scan(other, ScanPosition::START, 100))
        .unwrap();
    assert!(page.records.is_empty());
}

#[test]
fn what_is_there_throughout_comes_once_whatever_else_happens() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 12,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    for key in 0..40 {
        rig.put(&shard, key, &content(key, 0, 900));
    }
    let mut round = 1;
    let found = scan(&mut rig, &shard, 5, |rig, shard| {
        // Everything is rewritten several times over: segments are freed and used again.
        for key in 0..40 {
            rig.put(shard, key, &content(key, round, 900));
        }
        rig.put(shard, 1000 + round, b"comes and goes");
        rig.delete(shard, 999 + round);
        round += 1;
    });
    for key in 0..40 {
        let bytes = &found[&digest(key)];
        assert!(
            (0..round).any(|round| *bytes == content(key, round, 900)),
            "key {key}"
        );
    }
}

#[test]
fn expired_records_and_definitions_of_sets_are_left_out() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let set = rig.run(shard.set_id("users")).unwrap();
    let now = shard.now_ms() / 1000 - ExpirySeconds::UNIX_OFFSET_SECONDS;
    for key in 0..10_u32 {
        let expiry = ExpirySeconds::new(u32::try_from(now).unwrap() + 10 + 100 * (key % 2));
        let set = if key == 1 { set } else { SetId::NONE };
        let put = Change::PutInput { expiry, set };
        rig.run(shard.write::<NotMet>(&digest(key.into()), Needs::Metadata, b"x", |_, _| Ok(put)))
            .unwrap();
    }
    assert_eq!(scan(&mut rig, &shard, 3, |_, _| {}).len(), 10);
    rig.sleep_ms(50_000);
    let found = scan(&mut rig, &shard, 3, |_, _| {});
    assert_eq!(found.len(), 5);
    assert!(found.contains_key(&digest(1)));
}

#[test]
fn the_next_page_may_come_after_a_restart() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    for key in 0..50 {
        rig.put(&shard, key, b"x");
    }
    let first = rig
        .run(shard.scan(partition(), ScanPosition::START, 20))
        .unwrap();
    rig.power_cut();
    let shard = rig.open_sound();
    let rest = rig
        .run(shard.scan(partition(), first.next.unwrap(), 100))
        .unwrap();
    assert_eq!(
        (first.records.len(), rest.records.len(), rest.next),
        (20, 30, None)
    );
}

/// All of the partition in pages of `count_max`: readable keys, and what cannot be read.
fn scan_damaged(
    rig: &mut Rig,
    shard: &Shard,
    count_max: usize,
) -> (Vec<Digest>, Vec<DamagedRecord>) {
    let (mut readable, mut damaged) = (Vec::new(), Vec::new());
    let mut from = Some(ScanPosition::START);
    while let Some(position) = from {
        let page = rig
            .run(shard.scan(partition(), position, count_max))
            .unwrap();
        for met in page.records {
            match met {
                Ok(record) => readable.push(*record.digest()),
                Err(record) => damaged.push(record),
            }
        }
        from = page.next;
    }
    readable.sort_unstable();
    damaged.sort_by_key(|record| record.digest);
    (readable, damaged)
}

#[test]
fn damaged_records_are_named_and_the_scan_goes_on() {
    let mut rig = Rig::new(1, Shape::default());
    let mut shard = rig.open_sound();
    let set = rig.run(shard.set_id("users")).unwrap();
    let of_set = Change::PutInput {
        expiry: ExpirySeconds::NEVER,
        set,
    };
    for key in 0..40 {
        let bytes = content(key, 0, 700);
        rig.run(shard.write::<NotMet>(&digest(key), Needs::Metadata, &bytes, |_, _| Ok(of_set)))
            .unwrap();
    }
    // A block under the content of one record; the header of another.
    let (segment, at) = rig.find(&content(4, 0, 700)[..100]);
    rig.overwrite_segment(segment, (at + 500) / 512 * 512, &[0xee; 512]);
    let (segment, at) = rig.find(&content(30, 0, 700)[..100]);
    rig.flip_bit(segment, at - 20);
    let expected: Vec<Digest> = {
        let mut whole: Vec<_> = (0..40)
            .filter(|key| ![4, 30].contains(key))
            .map(digest)
            .collect();
        whole.sort_unstable();
        whole
    };
    let part = KnownDigest::of_position(partition(), ScanPosition::of(&digest(30)));
    for count_max in [1, 7, 40, 100] {
        let reads = shard.statistics().counters.damaged_reads;
        let (readable, damaged) = scan_damaged(&mut rig, &shard, count_max);
        // The record that shares the block with the rotten content may be lost with it.
        assert_eq!(
            shard.statistics().counters.damaged_reads - reads,
            u64::try_from(damaged.len()).unwrap()
        );
        assert_eq!(readable, expected, "{count_max} a page");
        assert_eq!(damaged.len(), 2, "{damaged:?}");
        assert!(damaged.iter().all(|record| record.set == set));
        let find = |digest| damaged.iter().find(|record| record.digest == digest);
        let content = find(KnownDigest::of(&digest(4))).unwrap();
        assert!(matches!(
            content.error,
            ReadError::Damaged(RecordError::ContentChecksum { .. })
        ));
        let header = find(part).unwrap();
        assert!(matches!(
            header.error,
            ReadError::Damaged(RecordError::HeaderChecksum { .. })
        ));
        if count_max == 7 {
            rig.close(shard);
            shard = rig.open_sound();
        }
    }
    // Both keys can be mended by a put or a delete, and are in no later scan's way.
    rig.put(&shard, 4, b"mended");
    rig.delete(&shard, 30);
    let (readable, damaged) = scan_damaged(&mut rig, &shard, 7);
    assert_eq!((readable.len(), damaged.len()), (39, 0), "{damaged:?}");
}

#[test]
fn what_a_device_does_not_return_is_named_too() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    for key in 0..3 {
        rig.put(&shard, key, &content(key, 0, 700));
    }
    rig.faults(0).plan(PlannedFault::next(Fault::ReadError));
    let (readable, damaged) = scan_damaged(&mut rig, &shard, 1);
    assert_eq!((readable.len(), damaged.len()), (2, 1));
    assert!(matches!(damaged[0].error, ReadError::Device(_)));
    assert!(damaged[0].digest.is_whole(), "the header was read alone");
    assert_eq!(scan_damaged(&mut rig, &shard, 1).0.len(), 3);
}

#[test]
fn a_page_ends_where_memory_does_and_drops_no_record() {
    let mut rig = Rig::new(1, Shape::default());
    rig.pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 0,
        limit_bytes: 4 << 20,
    })
    .unwrap();
    let shard = rig.open_sound();
    for key in 0..40 {
        rig.put(&shard, key, &content(key, 0, 700));
    }
    rig.run_until_idle();
    let mut held = Vec::new();
    for length in [64 << 10, 4 << 10] {
        // Room for one more of the larger ones becomes room for small ones.
        held.pop();
        held.extend(std::iter::from_fn(|| rig.pool.take(length).ok()));
    }
    let none = rig.run(shard.scan(partition(), ScanPosition::START, 40));
    assert!(matches!(none, Err(ReadError::Buffer(_))), "{none:?}");
    held.truncate(held.len() - 4);
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut from = Some(ScanPosition::START);
    while let Some(position) = from {
        let page = rig.run(shard.scan(partition(), position, 40)).unwrap();
        found.extend(
            page.records
                .iter()
                .map(|met| *met.as_ref().unwrap().digest()),
        );
        pages += 1;
        from = page.next;
    }
    assert!(pages > 1, "memory was never short");
    let mut expected: Vec<_> = (0..40).map(digest).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// The index tells the set of a record: one of another set costs no read.
#[test]
fn a_step_keeps_to_its_bounds_and_reads_only_what_it_returns() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let few = rig.run(shard.set_id("few")).unwrap();
    let mut expected = BTreeMap::new();
    for key in 0..200 {
        let content = content(key, 0, 90);
        let set = if key % 10 == 0 {
            expected.insert(digest(key), content.clone());
            few
        } else {
            SetId::NONE
        };
        let change = Change::PutInput {
            expiry: ExpirySeconds::NEVER,
            set,
        };
        let digest = digest(key);
        let written = rig.run(shard.write(&digest, Needs::Metadata, &content, |_, _| {
            Ok::<_, NotMet>(change)
        }));
        written.unwrap();
    }
    for (entries_max, records_max, read_bytes_max) in [
        (1, 1, 0),
        (3, 100, 5000),
        (50, 2, 5000),
        (200, 200, 400),
        (5000, 5000, u64::MAX),
    ] {
        let bounds = ScanBounds {
            set: Some(few),
            entries_max,
            records_max,
            read_bytes_max,
        };
        let reads_before = shard.statistics().counters.device_reads;
        let mut found = BTreeMap::new();
        let mut entries = 0;
        let mut from = Some(ScanPosition::START);
        while let Some(position) = from {
            let page = rig
                .run(shard.scan_within(partition(), position, &bounds))
                .unwrap();
            // No two keys share a position here.
            assert!(page.entries <= entries_max);
            assert!(page.records.len() <= records_max);
            assert!(page.read_bytes <= read_bytes_max || page.records.len() == 1);
            entries += page.entries;
            for record in page.records {
                let record = record.unwrap();
                assert_eq!(record.metadata().set, few);
                found.insert(*record.digest(), record.content().to_vec());
            }
            assert!(page.next != from, "a step leads on");
            from = page.next;
        }
        assert_eq!(found, expected, "{bounds:?}");
        assert!(entries >= 200, "each was looked at");
        let reads = shard.statistics().counters.device_reads - reads_before;
        assert_eq!(reads, 20, "{bounds:?}");
    }
}
