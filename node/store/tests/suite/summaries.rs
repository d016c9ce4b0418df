//! Summaries: any one block of a group may be lost; what is lost beyond that is read from the data.

use corelith_store::Shard;

use crate::harness::{Rig, Shape, content, digest, put};

const KEYS: u64 = 150;

/// A closed volume whose first segment is sealed and full.
fn sealed(rig: &mut Rig) {
    let shard = rig.open_sound();
    for key in 0..KEYS {
        rig.put(&shard, key, &content(key, 0, 200));
    }
    rig.close(shard);
}

fn check_all(rig: &mut Rig, shard: &Shard) {
    for key in 0..KEYS {
        rig.check(shard, key, Some(&content(key, 0, 200)));
    }
}

/// Where the summary's blocks of segment 0 stand, by their marks: data and parity.
fn summary_blocks(rig: &mut Rig) -> (Vec<u64>, Vec<u64>) {
    let bytes = rig.segment(0);
    let (mut data, mut parity) = (Vec::new(), Vec::new());
    for (number, block) in (0_u64..).zip(bytes.chunks(512)) {
        if block.starts_with(b"SUMM") {
            let blocks = if block[14] == 1 {
                &mut data
            } else {
                &mut parity
            };
            blocks.push(number * 512);
        }
    }
    (data, parity)
}

#[test]
fn any_one_block_of_a_summary_may_be_lost() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 32,
            ..Shape::default()
        },
    );
    sealed(&mut rig);
    let (data, parity) = summary_blocks(&mut rig);
    assert!(
        parity.len() >= 2,
        "{} blocks in {} groups",
        data.len(),
        parity.len()
    );
    for lost in data.into_iter().chain(parity) {
        let mut other = rig.fork(lost);
        other.overwrite_segment(0, lost, &[0xee; 512]);
        let shard = other.open_sound();
        assert_eq!(
            (shard.report().scanned, shard.report().sealed > 0),
            (0, true)
        );
        check_all(&mut other, &shard);
    }
}

#[test]
fn a_summary_that_is_lost_is_made_again_from_the_data() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 32,
            ..Shape::default()
        },
    );
    sealed(&mut rig);
    let (data, parity) = summary_blocks(&mut rig);
    let same_group = [data[0], data[parity.len()]];
    for at in same_group {
        rig.overwrite_segment(0, at, &[0xee; 512]);
    }
    let shard = rig.open_sound();
    assert_eq!(shard.report().scanned, 1);
    check_all(&mut rig, &shard);
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(shard.report().scanned, 0, "it has been sealed again");
    check_all(&mut rig, &shard);
}

#[test]
fn a_record_that_a_cut_left_torn_stays_dropped_when_the_summary_is_lost() {
    // Story: a cut left a record torn, the next start dropped it and sealed the segment without it. When
    // the summary was lost, the scan took the footer for proof that the record had been durable: a key
    // that had been read since was damaged, and its generation counted a write that never happened.
    let mut torn = 0;
    for seed in 0..60 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 1, &content(1, 0, 200));
        let (writer, newer) = (shard.clone(), content(1, 1, 6000));
        rig.spawn(async move { put(&writer, digest(1), &newer).await });
        rig.settle();
        drop(shard);
        rig.power_cut();
        let shard = rig.open_sound();
        let found = rig.get(&shard, 1).unwrap().unwrap();
        rig.close(shard);
        let bytes = rig.segment(0);
        let part = &content(1, 1, 6000)[..64];
        let has_begun = bytes.windows(part.len()).any(|window| window == part);
        torn += u64::from(has_begun && found == content(1, 0, 200));
        let (data, parity) = summary_blocks(&mut rig);
        for at in data.into_iter().chain(parity) {
            rig.overwrite_segment(0, at, &[0xee; 512]);
        }
        let shard = rig.open_sound();
        assert_eq!(shard.report().scanned, 1);
        rig.check(&shard, 1, Some(&found));
    }
    assert!(torn > 3, "{torn} of 60 were torn");
}

#[test]
fn one_footer_is_enough_and_none_means_scanning() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 32,
            ..Shape::default()
        },
    );
    sealed(&mut rig);
    let footers = [(64 << 10) - 1024, (64 << 10) - 512];
    for lost in footers {
        let mut other = rig.fork(lost);
        other.overwrite_segment(0, lost, &[0xee; 512]);
        let shard = other.open_sound();
        assert_eq!(shard.report().scanned, 0);
        check_all(&mut other, &shard);
    }
    for lost in footers {
        rig.overwrite_segment(0, lost, &[0xee; 512]);
    }
    let shard = rig.open_sound();
    assert_eq!(shard.report().scanned, 1);
    check_all(&mut rig, &shard);
}

#[test]
fn a_batch_that_is_lost_together_with_the_summary_is_reported() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 32,
            ..Shape::default()
        },
    );
    sealed(&mut rig);
    let (data, parity) = summary_blocks(&mut rig);
    for at in [data[0], data[parity.len()]] {
        rig.overwrite_segment(0, at, &[0xee; 512]);
    }
    let (segment, at) = rig.find(&content(7, 0, 200));
    assert_eq!(segment, 0);
    rig.overwrite_segment(0, at / 512 * 512, &[0xee; 512]);
    let shard = rig.open();
    assert_eq!(shard.report().batches_lost, 1);
    assert!(shard.may_be_stale());
}

#[test]
fn damage_in_a_sealed_segment_costs_its_records_only() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 32,
            ..Shape::default()
        },
    );
    sealed(&mut rig);
    let (segment, at) = rig.find(&content(7, 0, 200));
    rig.overwrite_segment(segment, at / 512 * 512, &[0xee; 512]);
    let shard = rig.open_sound();
    assert!(
        rig.get(&shard, 7).is_err(),
        "known from the summary, and not there"
    );
    for key in (0..KEYS).filter(|key| *key != 7) {
        rig.check(&shard, key, Some(&content(key, 0, 200)));
    }
}
