//! Scrubs: everything is read, damage is found before anybody asks, and nobody else is concerned.

use corelith_io::{DeviceOffset, Fault, PlannedFault};
use corelith_store::{Scrub, Shard};

use crate::harness::{Rig, Shape, content, digest};

/// One pass. Returns the bytes that it read.
fn pass(rig: &mut Rig, shard: &Shard) -> u64 {
    let mut scrub = Scrub::new(shard);
    go_on(rig, &mut scrub)
}

fn go_on(rig: &mut Rig, scrub: &mut Scrub) -> u64 {
    let mut read_bytes = 0;
    loop {
        let step = rig.run(scrub.step()).unwrap();
        assert!(step.read_bytes <= 256 << 10, "{step:?}");
        read_bytes += step.read_bytes;
        if step.is_pass_over {
            return read_bytes;
        }
    }
}

/// A shard with keys in several segments, sealed ones and an open one.
fn filled(rig: &mut Rig) -> Shard {
    let shard = rig.open_sound();
    for key in 0..60 {
        rig.put(&shard, key, &content(key, 0, 2500));
    }
    for key in 0..20 {
        rig.put(&shard, key, &content(key, 1, 2500));
    }
    rig.run_until_idle();
    shard
}

fn damage(shard: &Shard) -> (u64, u64) {
    let counters = shard.statistics().counters;
    (counters.records_damaged, counters.scrub_structures_damaged)
}

#[test]
fn a_sound_shard_is_read_whole_and_nothing_is_found() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = filled(&mut rig);
    let mut scrub = Scrub::new(&shard);
    for passes in 1..=2 {
        assert!(go_on(&mut rig, &mut scrub) >= 60 * 2500);
        let counters = shard.statistics().counters;
        assert_eq!(counters.scrub_passes, passes);
        assert_eq!(counters.scrub_records, passes * 60);
        assert_eq!(damage(&shard), (0, 0));
    }
    rig.close(shard);
    let shard = rig.open_sound();
    pass(&mut rig, &shard);
    assert_eq!(damage(&shard), (0, 0));
}

#[test]
fn records_that_have_decayed_are_found_before_anybody_asks() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = filled(&mut rig);
    for key in [3, 30] {
        let version = u64::from(key < 20);
        let (segment, at) = rig.find(&content(key, version, 2500)[1000..1100]);
        rig.flip_bit(segment, at);
    }
    let (segment, at) = rig.find(&content(40, 0, 2500)[..64]);
    rig.flip_bit(segment, at - 10);
    let mut scrub = Scrub::new(&shard);
    for _ in 0..2 {
        go_on(&mut rig, &mut scrub);
        assert_eq!(damage(&shard), (3, 0), "each is counted once");
    }
    for key in 0..60 {
        let known = rig.run(shard.metadata(&digest(key)));
        assert_eq!(known.is_err(), [3, 30, 40].contains(&key), "key {key}");
    }
    rig.put(&shard, 3, b"mended");
    rig.delete(&shard, 30);
    go_on(&mut rig, &mut scrub);
    assert_eq!(damage(&shard), (3, 0));
    rig.check(&shard, 3, Some(b"mended"));
}

#[test]
fn every_copy_and_block_of_a_sealed_segment_is_verified() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = filled(&mut rig);
    let size = rig.shape.segment_bytes;
    // Segment 0 is sealed: its headers, its footers, and all that the summary between batches and footers has.
    let summary = {
        let bytes = rig.segment(0);
        let mut blocks = bytes.chunks(512).enumerate();
        let first = blocks.position(|(_, block)| block.starts_with(b"SUMM"));
        u64::try_from(first.unwrap()).unwrap() * 512
    };
    let mut places = vec![0, 512];
    places.extend((summary..size).step_by(512));
    assert!(places.len() >= 6, "{places:?}");
    for at in places {
        let mut other = rig.fork(at);
        let shard = other.open();
        other.flip_bit(0, at + 40);
        let mut scrub = Scrub::new(&shard);
        for _ in 0..2 {
            go_on(&mut other, &mut scrub);
            assert_eq!(damage(&shard), (0, 1), "at {at}");
        }
    }
    drop(shard);
}

#[test]
fn a_read_that_fails_once_is_no_damage_and_one_that_fails_again_is() {
    for (times, expected) in [(1, 0), (2, 1)] {
        let mut rig = Rig::new(1, Shape::default());
        let shard = filled(&mut rig);
        let (segment, at) = rig.find(&content(50, 0, 2500)[1000..1100]);
        let place = rig.segment_offset(segment) + at;
        for _ in 0..times {
            let fault = PlannedFault::next(Fault::ReadError).within(place..place + 1);
            rig.faults(0).plan(fault);
        }
        pass(&mut rig, &shard);
        assert_eq!(damage(&shard), (expected, 0));
        // It passes, and the next scrub takes it back.
        pass(&mut rig, &shard);
        let counters = shard.statistics().counters;
        assert_eq!(counters.records_readable_again, expected);
        assert!(rig.run(shard.metadata(&digest(50))).unwrap().is_some());
    }
}

#[test]
fn a_scrub_beside_writers_finds_nothing_that_is_not_there() {
    let shape = Shape {
        segments: 8,
        ..Shape::default()
    };
    for seed in 0..4 {
        let mut rig = Rig::new(seed, shape.clone());
        let shard = rig.open_sound();
        let mut scrub = Scrub::new(&shard);
        for round in 0..400_u64 {
            rig.put(&shard, round % 3, &content(round % 3, round, 2500));
            for _ in 0..round % 4 {
                rig.run(scrub.step()).unwrap();
            }
        }
        let counters = shard.statistics().counters;
        assert!(counters.scrub_passes >= 2, "{counters:?}");
        assert_eq!(damage(&shard), (0, 0));
    }
}

#[test]
fn a_scrub_ends_with_its_shard_and_holds_still_while_that_may_be_stale() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = filled(&mut rig);
    let mut scrub = Scrub::new(&shard);
    assert!(rig.run(scrub.step()).is_some());
    shard.close();
    assert_eq!(rig.run(scrub.step()), None);
    rig.run_until_idle();
    drop(scrub);
    rig.close(shard);
    let offset = rig.segment_offset(0);
    rig.faults(0)
        .overwrite(DeviceOffset::new(offset), &[0xee; 1024]);
    let shard = rig.open();
    assert!(shard.may_be_stale());
    assert_eq!(rig.run(Scrub::new(&shard).step()), None);
}
