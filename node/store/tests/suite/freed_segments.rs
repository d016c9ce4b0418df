//! Segments that were freed on the word of a drive that then turns out not to have kept it.

use corelith_io::{Fault, PlannedFault};
use corelith_store::{ReadError, Shard};

use crate::harness::{Rig, Shape, content};

/// Where a segment's header says what the segment is, and what it says of a part of the log.
const STATE: (usize, u8) = (40, 2);

/// Puts until so few segments are left to open: key 3 again and again, or keys that are new.
fn fill(rig: &mut Rig, shard: &Shard, (available, new): (u64, bool)) {
    for round in 0_u64.. {
        if shard.statistics().segments.available <= available {
            return;
        }
        let key = if new { 1000 * available + round } else { 3 };
        rig.put(shard, key, &content(key, available << 32 | round, 2500));
    }
}

/// Puts key 1 twice: version 0 in segment 0, among records that live; version 1 in segment 1, where nothing else
/// does. Reclaim moves that to segment 4, with `fault` in the batch, and segment 1 is freed on the word of that write.
fn free_on_the_word_of(rig: &mut Rig, fault: Fault) -> Shard {
    let shard = rig.open_sound();
    rig.put(&shard, 1, &content(1, 0, 600));
    fill(rig, &shard, (8, true));
    rig.put(&shard, 1, &content(1, 1, 600));
    fill(rig, &shard, (7, false));
    rig.put(&shard, 3, &content(3, 0, 2500));
    fill(rig, &shard, (6, true));
    rig.run_until_idle();
    assert_eq!(rig.find(&content(1, 1, 600)[..100]).0, 1);
    assert_eq!(rig.segment(1)[STATE.0], STATE.1);
    assert_eq!(shard.statistics().counters.segments_reclaimed, 0);
    // Behind the header and the batch of the put that opens the segment.
    let open = rig.segment_range(4);
    let behind = open.start + 4096..open.end;
    rig.faults(0).plan(PlannedFault::next(fault).within(behind));
    fill(rig, &shard, (5, true));
    rig.run_until_idle();
    assert_eq!(rig.faults(0).struck_count(fault), 1);
    // And the new key with which that segment was opened.
    assert_eq!(shard.statistics().counters.moved_records, 2);
    assert_ne!(rig.segment(1)[STATE.0], STATE.1, "it is free");
    shard
}

fn shape() -> Shape {
    Shape {
        segments: 10,
        ..Shape::default()
    }
}

#[test]
fn a_freed_segment_vouches_for_the_write_that_it_was_freed_for() {
    // Story: the drive tears or loses the last write, a copy that reclaim makes, and calls it done. On its word the
    // segment with the record is freed. After a power cut nothing vouched for the write, and the version before
    // was answered.
    for fault in [Fault::WriteLost, Fault::WriteTorn] {
        let mut told = 0;
        for seed in 0..8 {
            let mut rig = Rig::new(seed, shape());
            drop(free_on_the_word_of(&mut rig, fault));
            rig.power_cut();
            for _ in 0..2 {
                let shard = rig.open();
                match rig.get(&shard, 1) {
                    Err(ReadError::MayBeStale | ReadError::Damaged(_)) => told += 1,
                    // What was torn may have been the record beside it.
                    Ok(Some(found)) if fault == Fault::WriteTorn => {
                        assert_eq!(found, content(1, 1, 600));
                    }
                    found => panic!("{fault:?}: {found:?}, {:?}", shard.report()),
                }
                rig.close(shard);
            }
        }
        let least = if fault == Fault::WriteLost { 16 } else { 4 };
        assert!(told >= least, "{fault:?}: {told}");
    }
}

#[test]
fn nothing_is_missed_where_the_drive_kept_its_word() {
    for cut in [false, true] {
        let mut rig = Rig::new(1, shape());
        let shard = rig.open_sound();
        for round in 0..400_u64 {
            rig.put(&shard, round % 3, &content(round % 3, round, 2500));
        }
        rig.run_until_idle();
        if cut {
            drop(shard);
            rig.power_cut();
        } else {
            rig.close(shard);
        }
        let shard = rig.open_sound();
        for key in 0..3 {
            let last = (397..400).find(|round| round % 3 == key).unwrap();
            rig.check(&shard, key, Some(&content(key, last, 2500)));
        }
    }
}
