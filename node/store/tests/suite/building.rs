//! Writers that build on a version which is not durable yet, and answers that rest on one.

use corelith_index::{ExpirySeconds, SetId};
use corelith_io::{Fault, PlannedFault};
use corelith_store::{Change, Needs, Shard, WriteError, Written};

use crate::harness::{Handle, NotMet, Rig, Shape, content, create, delete, digest, get, put};

/// Adds a byte to what key 7 holds.
async fn append(shard: Shard, byte: u8) -> Result<Written, WriteError<NotMet>> {
    shard
        .write(&digest(7), Needs::Content, &[], |current, made| {
            made.extend(current.map_or(&[][..], |current| current.content));
            made.push(byte);
            Ok(Change::PutMade {
                expiry: ExpirySeconds::NEVER,
                set: SetId::NONE,
            })
        })
        .await
}

#[test]
fn writers_of_one_key_build_on_each_other_without_waiting() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"opens a segment");
    rig.run_until_idle();
    let batches = shard.statistics().counters.batches;
    let writes: Vec<_> = (0..50)
        .map(|byte| rig.spawn(append(shard.clone(), byte)))
        .collect();
    rig.run_until_idle();
    for (number, write) in (1_u16..).zip(&writes) {
        assert_eq!(write.take().unwrap().unwrap().generation.get(), number);
    }
    assert_eq!(shard.statistics().counters.batches - batches, 1);
    assert_eq!(shard.statistics().counters.device_reads, 0);
    rig.check(&shard, 7, Some(&(0..50).collect::<Vec<u8>>()));
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 7, Some(&(0..50).collect::<Vec<u8>>()));
}

/// A put of key 7 on its way, then `other`; the first batch of `range` ends with `fault` if there is one.
fn beside_a_pending_put<T: 'static, F: Future<Output = T> + 'static>(
    rig: &mut Rig,
    shard: &Shard,
    fault: Option<Fault>,
    other: F,
) -> (Handle<Result<Written, WriteError<NotMet>>>, Handle<T>) {
    rig.put(shard, 1, b"opens a segment");
    rig.run_until_idle();
    if let Some(fault) = fault {
        let range = rig.segment_range(0);
        rig.faults(0).plan(PlannedFault::next(fault).within(range));
    }
    let pending = {
        let shard = shard.clone();
        rig.spawn(async move { put(&shard, digest(7), b"pending").await })
    };
    rig.settle();
    let other = rig.spawn(other);
    rig.settle();
    assert!(pending.borrow().is_none(), "on its way");
    (pending, other)
}

#[test]
fn an_answer_that_rests_on_a_pending_version_waits_for_it() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let other = {
        let shard = shard.clone();
        async move { create(&shard, digest(7), b"second").await }
    };
    let (pending, rejected) = beside_a_pending_put(&mut rig, &shard, None, other);
    while rejected.borrow().is_none() {
        assert!(rig.machine.step());
        rig.settle();
        assert!(rejected.borrow().is_none() || pending.borrow().is_some());
    }
    assert_eq!(rejected.take(), Some(Err(WriteError::Rejected(NotMet))));
    assert!(pending.take().unwrap().is_ok());
}

#[test]
fn a_decision_whose_ground_fails_is_taken_again() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let other = {
        let shard = shard.clone();
        async move { create(&shard, digest(7), b"second").await }
    };
    let fault = Some(Fault::WriteError);
    let (pending, created) = beside_a_pending_put(&mut rig, &shard, fault, other);
    rig.run_until_idle();
    assert_eq!(pending.take(), Some(Err(WriteError::InDoubt)));
    assert!(!created.take().unwrap().unwrap().existed);
    rig.check(&shard, 7, Some(b"second"));
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 7, Some(b"second"));
}

#[test]
fn a_write_that_builds_on_one_that_fails_fails_with_it() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let other = append(shard.clone(), b'!');
    let fault = Some(Fault::WriteError);
    let (pending, built) = beside_a_pending_put(&mut rig, &shard, fault, other);
    rig.run_until_idle();
    assert_eq!(pending.take(), Some(Err(WriteError::InDoubt)));
    assert_eq!(built.take(), Some(Err(WriteError::InDoubt)));
    rig.check(&shard, 7, None);
    rig.put(&shard, 8, b"later");
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 7, None);
}

#[test]
fn a_delete_that_finds_a_pending_delete_waits_for_it_and_does_its_work_if_that_fails() {
    for fails in [false, true] {
        let mut rig = Rig::new(1, Shape::default());
        let shard = rig.open_sound();
        rig.put(&shard, 7, b"there");
        rig.run_until_idle();
        if fails {
            let range = rig.segment_range(0);
            rig.faults(0)
                .plan(PlannedFault::next(Fault::WriteError).within(range));
        }
        let deletes: Vec<_> = (0..2)
            .map(|_| {
                let shard = shard.clone();
                let handle = rig.spawn(async move { delete(&shard, digest(7)).await });
                rig.settle();
                handle
            })
            .collect();
        assert!(deletes[1].borrow().is_none(), "nothing is sure yet");
        rig.run_until_idle();
        let existed: Vec<_> = deletes
            .iter()
            .map(|delete| delete.take().unwrap().map(|written| written.existed))
            .collect();
        let expected = if fails {
            [Err(WriteError::InDoubt), Ok(true)]
        } else {
            [Ok(true), Ok(false)]
        };
        assert_eq!(existed, expected);
        rig.check(&shard, 7, None);
        rig.power_cut();
        let shard = rig.open_sound();
        rig.check(&shard, 7, None);
    }
}

#[test]
fn a_write_that_waits_for_room_while_its_ground_fails_decides_again() {
    // Story: such a write kept the address of the failed version as the one to replace, and stopped the
    // process when it was settled.
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 40,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"opens a segment");
    rig.run_until_idle();
    let range = rig.segment_range(0);
    rig.faults(0)
        .plan(PlannedFault::next(Fault::WriteError).within(range));
    // Each of these is a batch of its own: eight in flight, four queued, the rest wait for room.
    let puts: Vec<_> = (0..16_u64)
        .map(|number| {
            let shard = shard.clone();
            let key = if number == 15 { 0 } else { number };
            let handle = rig.spawn(async move {
                shard
                    .write::<NotMet>(
                        &digest(key),
                        Needs::Metadata,
                        &content(key, number, 16_000),
                        |_, _| Ok(crate::harness::PLAIN),
                    )
                    .await
            });
            rig.settle();
            handle
        })
        .collect();
    assert!(puts[15].borrow().is_none());
    rig.run_until_idle();
    assert_eq!(puts[0].take(), Some(Err(WriteError::InDoubt)));
    let last = puts[15].take().unwrap().unwrap();
    assert_eq!(
        (last.existed, last.generation.get()),
        (false, 1),
        "what it would have replaced failed"
    );
    rig.check(&shard, 0, Some(&content(0, 15, 16_000)));
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(
        rig.run(get(&shard, digest(0))).unwrap(),
        Some(content(0, 15, 16_000))
    );
}
