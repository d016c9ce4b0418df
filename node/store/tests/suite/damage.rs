//! Bit rot, lost, torn and misdirected writes, misdirected reads: errors, never old data.

use corelith_io::{DeviceOffset, Fault, PlannedFault};
use corelith_store::{Needs, ReadError, RecordError, Shard, WriteError};

use crate::harness::{NotMet, PLAIN, Rig, Shape, content, create, digest, get};

#[test]
fn bit_rot_in_a_content_is_an_error_for_that_record_only() {
    let mut rig = Rig::new(1, Shape::default());
    let mut shard = rig.open_sound();
    rig.put(&shard, 1, b"the first content");
    rig.put(&shard, 2, b"the second content");
    let (segment, at) = rig.find(b"the first content");
    rig.flip_bit(segment, at + 5);
    for _ in 0..3 {
        let found = rig.get(&shard, 1);
        assert!(
            matches!(
                found,
                Err(ReadError::Damaged(RecordError::ContentChecksum { .. }))
            ),
            "{found:?}"
        );
        rig.check(&shard, 2, Some(b"the second content"));
        rig.close(shard);
        shard = rig.open_sound();
    }
}

#[test]
fn bit_rot_in_a_header_is_an_error_too() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"the first content");
    let (segment, at) = rig.find(b"the first content");
    for byte in 1..=56 {
        rig.flip_bit(segment, at - byte);
        let found = rig.get(&shard, 1);
        assert!(
            matches!(
                found,
                Err(ReadError::Damaged(RecordError::HeaderChecksum { .. }))
            ),
            "byte {byte} before the content: {found:?}"
        );
        rig.flip_bit(segment, at - byte);
    }
    rig.check(&shard, 1, Some(b"the first content"));
}

#[test]
fn damage_is_counted_each_time_and_noted_once() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"the first content");
    rig.put(&shard, 2, b"the second content");
    let (segment, at) = rig.find(b"the first content");
    rig.flip_bit(segment, at);
    let key = digest(1);
    assert!(rig.run(shard.metadata(&key)).unwrap().is_some());
    for _ in 0..3 {
        assert!(rig.get(&shard, 1).is_err());
    }
    let counters = shard.statistics().counters;
    assert_eq!((counters.damaged_reads, counters.records_damaged), (3, 1));
    // What needed no read is not answered any more as if nothing were wrong.
    assert!(rig.run(shard.metadata(&key)).is_err());
    assert!(rig.run(shard.metadata(&digest(2))).unwrap().is_some());
    rig.put(&shard, 1, b"mended");
    assert!(rig.run(shard.metadata(&key)).unwrap().is_some());
    assert_eq!(shard.statistics().counters.records_damaged, 1);
}

#[test]
fn damage_that_has_passed_is_forgotten() {
    for fault in [Fault::ReadError, Fault::ReadMisdirected] {
        let mut rig = Rig::new(1, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 1, b"the first content");
        rig.faults(0).plan(PlannedFault::next(fault));
        assert!(rig.get(&shard, 1).is_err(), "{fault:?}");
        let noted = |shard: &Shard| {
            let counters = shard.statistics().counters;
            (counters.records_damaged, counters.records_readable_again)
        };
        assert_eq!(noted(&shard), (1, 0));
        for _ in 0..2 {
            rig.check(&shard, 1, Some(b"the first content"));
            assert_eq!(noted(&shard), (1, 1));
        }
    }
}

#[test]
fn a_put_or_a_delete_repairs_a_damaged_record() {
    for crash in [false, true] {
        let mut rig = Rig::new(1, Shape::default());
        let mut shard = rig.open_sound();
        for key in 1..=3 {
            rig.put(&shard, key, &content(key, 0, 50));
        }
        rig.put(&shard, 4, b"vouches for what was before");
        rig.run_until_idle();
        if crash {
            rig.power_cut();
        }
        for key in 1..=3 {
            let (segment, at) = rig.find(&content(key, 0, 50));
            rig.flip_bit(segment, at);
        }
        if crash {
            shard = rig.open();
            assert_eq!(shard.report().records_damaged, 3);
            assert!(!shard.report().may_be_stale());
            assert!(
                rig.run(shard.metadata(&digest(1))).is_err(),
                "known to be damaged"
            );
        }
        let key = digest(3);
        let merge = shard.write::<NotMet>(&key, Needs::Content, b"", |_, _| Ok(PLAIN));
        assert!(matches!(
            rig.run(merge),
            Err(WriteError::Read(ReadError::Damaged(_)))
        ));
        assert_eq!(rig.put(&shard, 1, b"mended").generation.get(), 2);
        assert!(rig.delete(&shard, 2).existed);
        rig.check(&shard, 1, Some(b"mended"));
        rig.check(&shard, 2, None);
        assert!(rig.get(&shard, 3).is_err());
        rig.close(shard);
        let shard = rig.open_sound();
        rig.check(&shard, 1, Some(b"mended"));
        rig.check(&shard, 2, None);
        assert!(rig.get(&shard, 3).is_err());
    }
}

#[test]
fn a_read_that_fails_or_goes_elsewhere_fails_alone() {
    for fault in [Fault::ReadError, Fault::ReadMisdirected] {
        let mut rig = Rig::new(1, Shape::default());
        let shard = rig.open_sound();
        for key in 0..20 {
            rig.put(&shard, key, &content(key, 0, 300));
        }
        rig.faults(0).plan(PlannedFault::next(fault));
        let found = rig.get(&shard, 3);
        assert!(found.is_err(), "{fault:?}: {found:?}");
        rig.check(&shard, 3, Some(&content(3, 0, 300)));
    }
}

/// Puts version 0 of key 1, then version 1 with a fault in its batch, then some more; returns the shard.
fn put_with_fault(rig: &mut Rig, fault: Fault) -> Shard {
    let shard = rig.open_sound();
    rig.put(&shard, 1, &content(1, 0, 3000));
    rig.put(&shard, 2, b"before");
    rig.run_until_idle();
    let range = rig.segment_range(0);
    rig.faults(0).plan(PlannedFault::next(fault).within(range));
    rig.put(&shard, 1, &content(1, 1, 3000));
    assert_eq!(rig.faults(0).struck_count(fault), 1);
    rig.put(&shard, 3, b"after");
    rig.put(&shard, 4, b"after that");
    shard
}

#[test]
fn a_write_that_did_not_happen_is_an_error_and_never_the_old_version() {
    for fault in [Fault::WriteLost, Fault::WriteTorn, Fault::WriteMisdirected] {
        for seed in 0..8 {
            let mut rig = Rig::new(seed, Shape::default());
            let shard = put_with_fault(&mut rig, fault);
            let found = rig.get(&shard, 1);
            assert!(found.is_err(), "{fault:?}: {found:?}");
            let created = rig.run(create(&shard, digest(1), b""));
            assert_eq!(created, Err(WriteError::Rejected(NotMet)), "it is there");
            rig.close(shard);
            let shard = rig.open();
            let found = rig.get(&shard, 1);
            assert!(found.is_err(), "{fault:?}, sealed: {found:?}");
        }
    }
}

#[test]
fn a_lost_batch_that_others_vouch_for_makes_the_shard_stale_until_that_is_accepted() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = put_with_fault(&mut rig, Fault::WriteLost);
    rig.run_until_idle();
    drop(shard);
    rig.power_cut();
    for _ in 0..3 {
        let shard = rig.open();
        assert_eq!(shard.report().batches_lost, 1, "{:?}", shard.report());
        assert!(shard.may_be_stale());
        assert_eq!(rig.get(&shard, 3), Err(ReadError::MayBeStale));
        let refused = rig.run(crate::harness::put(&shard, digest(9), b""));
        assert_eq!(refused, Err(WriteError::Read(ReadError::MayBeStale)));
        assert!(rig.run(shard.metadata(&digest(3))).is_err());
        rig.close(shard);
    }
    rig.shape.accept_stale = true;
    let shard = rig.open();
    assert!(shard.report().may_be_stale() && !shard.may_be_stale());
    rig.check(&shard, 1, Some(&content(1, 0, 3000)));
    rig.check(&shard, 3, Some(b"after"));
    rig.put(&shard, 1, b"anew");
    rig.close(shard);
    rig.shape.accept_stale = false;
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(b"anew"));
    rig.check(&shard, 4, Some(b"after that"));
}

#[test]
fn a_torn_batch_at_the_end_that_nothing_vouches_for_is_no_loss() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"before");
    rig.put(&shard, 2, &content(2, 0, 3000));
    rig.run_until_idle();
    rig.power_cut();
    let (segment, at) = rig.find(&content(2, 0, 3000)[1000..1100]);
    rig.flip_bit(segment, at);
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(b"before"));
    rig.check(&shard, 2, None);
    rig.close(shard);
    let shard = rig.open_sound();
    rig.check(&shard, 2, None);
}

#[test]
fn a_block_that_cannot_be_read_hides_no_neighbour() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    for key in 0..10 {
        rig.put(&shard, key, &content(key, 0, 700));
    }
    rig.run_until_idle();
    rig.power_cut();
    let (segment, at) = rig.find(&content(4, 0, 700)[..100]);
    let block = (at + 500) / 512 * 512;
    rig.overwrite_segment(segment, block, &[0xee; 512]);
    let shard = rig.open();
    assert_eq!(shard.report().records_damaged, 1);
    for key in (0..10).filter(|key| *key != 4) {
        rig.check(&shard, key, Some(&content(key, 0, 700)));
    }
    assert!(rig.get(&shard, 4).is_err());
    let page = rig
        .run(shard.scan(
            corelith_index::PartitionId::new(0).unwrap(),
            corelith_index::ScanPosition::START,
            100,
        ))
        .unwrap();
    assert_eq!(page.records.len(), 10);
    let damaged: Vec<_> = page.records.into_iter().filter_map(Result::err).collect();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].digest.whole(), Some(digest(4)));
}

#[test]
fn random_media_faults_never_show_an_older_version() {
    use corelith_io::FaultRates;
    let rates = FaultRates {
        read_error_per_million: 20_000,
        read_misdirected_per_million: 20_000,
        bit_rot_per_million: 10_000,
        write_torn_per_million: 10_000,
        write_lost_per_million: 10_000,
        write_misdirected_per_million: 10_000,
        ..FaultRates::NONE
    };
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..12 {
        let mut rig = Rig::new(
            seed,
            Shape {
                segments: 30,
                ..Shape::default()
            },
        );
        let mut shard = rig.open_sound();
        let mut versions = [0_u64; 8];
        for life in 0..5 {
            rig.faults(0).set_rates(rates);
            for round in 0..60 {
                let key = (round * 5 + seed) % 8;
                versions[usize::try_from(key).unwrap()] += 1;
                let bytes = content(key, versions[usize::try_from(key).unwrap()], 900);
                match rig.run(crate::harness::put(&shard, digest(key), &bytes)) {
                    Ok(_) => {}
                    Err(WriteError::OutOfSpace) => versions[usize::try_from(key).unwrap()] -= 1,
                    Err(error) => panic!("{error}"),
                }
                let other = round % 8;
                match rig.run(get(&shard, digest(other))) {
                    Err(_) => wrong += 1,
                    Ok(found) => {
                        let version = versions[usize::try_from(other).unwrap()];
                        let expected = (version > 0).then(|| content(other, version, 900));
                        assert_eq!(found, expected, "seed {seed}, life {life}, key {other}");
                        right += 1;
                    }
                }
            }
            rig.faults(0).set_rates(FaultRates::NONE);
            rig.close(shard);
            shard = rig.open();
            if shard.may_be_stale() {
                break;
            }
        }
    }
    assert!(
        right > 1000 && wrong > 50,
        "{right} right answers, {wrong} errors"
    );
}

#[test]
fn a_buffer_that_is_used_again_does_not_complete_a_short_record() {
    // The pool gives buffers back with their last bytes in them; a record that claims to be longer than
    // what was read must not find its end there.
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, &content(1, 0, 2000));
    rig.check(&shard, 1, Some(&content(1, 0, 2000)));
    let (segment, at) = rig.find(&content(1, 0, 2000)[..64]);
    let zeros = vec![0; 512];
    let block = (at + 1024) / 512 * 512;
    let offset = rig.segment_offset(segment) + block;
    rig.faults(0).overwrite(DeviceOffset::new(offset), &zeros);
    assert!(matches!(rig.get(&shard, 1), Err(ReadError::Damaged(_))));
}

#[test]
fn a_misdirected_read_at_a_start_does_not_empty_the_open_segment() {
    // Story: the scan of the segment that a cut had left open was answered with other blocks. It found
    // nothing, nothing else says what such a segment holds, and it was sealed as empty.
    for seed in 0..10 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        for key in 0..5 {
            rig.put(&shard, key, &content(key, 0, 600));
        }
        drop(shard);
        rig.power_cut();
        let middle = rig.segment_offset(0) + rig.shape.segment_bytes / 2;
        let fault = PlannedFault::next(Fault::ReadMisdirected).within(middle..middle + 1);
        rig.faults(0).plan(fault);
        for _ in 0..2 {
            let shard = rig.open_sound();
            assert_eq!(rig.faults(0).planned_count(), 0);
            for key in 0..5 {
                rig.check(&shard, key, Some(&content(key, 0, 600)));
            }
            rig.close(shard);
        }
    }
}
