//! Group commit: a lone write leaves at once, what arrives meanwhile shares a batch, answers come in the
//! order of the log.

use std::cell::RefCell;
use std::rc::Rc;

use corelith_store::limits::BATCH_RECORDS_MAX;

use crate::harness::{Rig, Shape, digest, get, put};

#[test]
fn puts_that_come_together_share_a_batch() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1000, b"opens a segment");
    let before = shard.statistics().counters;
    let puts: Vec<_> = (0..64)
        .map(|key| {
            let shard = shard.clone();
            rig.spawn(async move { put(&shard, digest(key), b"together").await })
        })
        .collect();
    rig.run_until_idle();
    assert!(puts.iter().all(|put| put.take().unwrap().is_ok()));
    let after = shard.statistics().counters;
    assert_eq!(after.records - before.records, 64);
    assert_eq!(after.batches - before.batches, 1);
    assert_eq!(after.record_bytes - before.record_bytes, 64 * 64);
    assert_eq!(
        after.batch_bytes - before.batch_bytes,
        64 * 65_u64.next_multiple_of(8)
    );
}

/// However short records are, so many and no more enter the index in one step.
#[test]
fn a_batch_closes_at_its_bound_of_records() {
    let shape = Shape {
        segment_bytes: 1 << 20,
        ..Shape::default()
    };
    let mut rig = Rig::new(1, shape);
    let shard = rig.open_sound();
    rig.put(&shard, 10_000, b"opens a segment");
    let before = shard.statistics().counters;
    let count = 2 * u64::try_from(BATCH_RECORDS_MAX).unwrap() + 1;
    let puts: Vec<_> = (0..count)
        .map(|key| {
            let shard = shard.clone();
            rig.spawn(async move { put(&shard, digest(key), b"short").await })
        })
        .collect();
    rig.run_until_idle();
    assert!(puts.iter().all(|put| put.take().unwrap().is_ok()));
    let after = shard.statistics().counters;
    assert_eq!(after.records - before.records, count);
    assert_eq!(after.batches - before.batches, 3);
}

#[test]
fn a_lone_put_leaves_at_once() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1000, b"opens a segment");
    rig.run_until_idle();
    let before_ns = rig.machine.now_ns();
    let handle = {
        let shard = shard.clone();
        rig.spawn(async move { put(&shard, digest(1), b"alone").await })
    };
    rig.settle();
    assert_eq!(
        (rig.machine.pending_count(), rig.machine.now_ns()),
        (1, before_ns)
    );
    rig.run_until_idle();
    assert!(handle.take().unwrap().is_ok());
}

#[test]
fn what_comes_while_all_places_are_taken_forms_the_next_batch() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1000, b"opens a segment");
    rig.run_until_idle();
    let before = shard.statistics().counters;
    let order = Rc::new(RefCell::new(Vec::new()));
    for key in 0..40_u64 {
        let (shard, order) = (shard.clone(), Rc::clone(&order));
        rig.spawn(async move {
            put(&shard, digest(key), b"one by one").await.unwrap();
            order.borrow_mut().push(key);
        });
        rig.settle();
    }
    assert_eq!(rig.machine.pending_count(), 8, "batches in flight");
    rig.run_until_idle();
    let after = shard.statistics().counters;
    assert_eq!(
        after.batches - before.batches,
        9,
        "eight lone ones, and all the others in one"
    );
    assert_eq!(
        *order.borrow(),
        (0..40).collect::<Vec<_>>(),
        "answers come in log order"
    );
}

#[test]
fn nobody_sees_a_write_before_it_is_durable() {
    let mut seen_before = 0;
    for seed in 0..10 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 1, b"old");
        let handle = {
            let shard = shard.clone();
            rig.spawn(async move { put(&shard, digest(1), b"new").await.unwrap() })
        };
        while handle.borrow().is_none() {
            let reader = {
                let shard = shard.clone();
                rig.spawn(async move { get(&shard, digest(1)).await.unwrap() })
            };
            rig.settle();
            while reader.borrow().is_none() && handle.borrow().is_none() {
                assert!(rig.machine.step());
                rig.settle();
            }
            if handle.borrow().is_none() {
                assert_eq!(reader.take().flatten().as_deref(), Some(&b"old"[..]));
                seen_before += 1;
            }
        }
        rig.check(&shard, 1, Some(b"new"));
    }
    assert!(seen_before > 0, "a read came in between");
}
