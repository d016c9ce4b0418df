//! Bounds and ends: the queue of a key, closing, and operations that are given up.

use std::task::Poll;

use corelith_store::{Needs, WriteError};

use crate::harness::{NotMet, PLAIN, Rig, Shape, content, digest, put};

#[test]
fn the_queue_of_a_key_is_bounded_and_other_keys_do_not_wait() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"read by each");
    let writes: Vec<_> = (0..200_u8)
        .map(|number| {
            let shard = shard.clone();
            rig.spawn(async move {
                let key = digest(1);
                shard
                    .write::<NotMet>(&key, Needs::Content, &[number], |_, _| Ok(PLAIN))
                    .await
            })
        })
        .collect();
    rig.settle();
    let busy = writes
        .iter()
        .filter(|write| *write.borrow() == Some(Err(WriteError::KeyBusy)));
    assert_eq!(busy.count(), 200 - 1 - 128, "one reads, 128 wait");
    let other = {
        let shard = shard.clone();
        rig.spawn(async move { put(&shard, digest(2), b"").await })
    };
    rig.run_until_idle();
    assert!(other.take().unwrap().is_ok());
    let served = writes
        .iter()
        .filter(|write| matches!(*write.borrow(), Some(Ok(_))));
    assert_eq!(served.count(), 129);
    rig.check(&shard, 1, Some(&[128]));
}

#[test]
fn a_closing_shard_refuses_and_leaves_nobody_waiting() {
    for settles in 0..6 {
        let mut rig = Rig::new(
            1,
            Shape {
                segments: 8,
                ..Shape::default()
            },
        );
        let shard = rig.open_sound();
        rig.put(&shard, 1, b"there");
        let writes: Vec<_> = (0..60_u64)
            .map(|number| {
                let shard = shard.clone();
                rig.spawn(async move {
                    let needs = if number % 2 == 0 {
                        Needs::Content
                    } else {
                        Needs::Metadata
                    };
                    let bytes = content(number, 0, 6000);
                    let key = digest(number % 3);
                    shard
                        .write::<NotMet>(&key, needs, &bytes, |_, _| Ok(PLAIN))
                        .await
                })
            })
            .collect();
        for _ in 0..settles {
            rig.settle();
            let _ = rig.machine.step();
        }
        shard.close();
        assert_eq!(
            rig.run(put(&shard, digest(9), b"")),
            Err(WriteError::Closed)
        );
        rig.run_until_idle();
        let mut acknowledged = std::collections::BTreeMap::new();
        for (number, write) in (0_u64..).zip(writes) {
            match write.take().expect("nobody waits for ever") {
                Ok(written) => {
                    let newest = acknowledged
                        .entry(number % 3)
                        .or_insert((written.version, number));
                    *newest = (*newest).max((written.version, number));
                }
                Err(WriteError::Closed | WriteError::OutOfSpace) => {}
                Err(error) => panic!("{error}"),
            }
        }
        rig.close(shard);
        let shard = rig.open_sound();
        assert_eq!(shard.report().scanned, 0);
        for (key, (_, number)) in acknowledged {
            rig.check(&shard, key, Some(&content(number, 0, 6000)));
        }
    }
}

#[test]
fn a_write_that_is_given_up_after_it_was_appended_happens() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"opens a segment");
    let mut write = Box::pin(put(&shard, digest(2), b"given up"));
    rig.run(std::future::poll_fn(|context| {
        assert!(write.as_mut().poll(context).is_pending());
        Poll::Ready(())
    }));
    drop(write);
    rig.run_until_idle();
    rig.check(&shard, 2, Some(b"given up"));
}

#[test]
fn one_that_gives_up_its_turn_does_not_hold_up_the_others() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"read first");
    let append = |number: u8| {
        let shard = shard.clone();
        async move {
            shard
                .write::<NotMet>(&digest(1), Needs::Content, &[number], |_, _| Ok(PLAIN))
                .await
                .unwrap()
        }
    };
    // The first reads its record, the second waits for it; both are dropped, the third goes on.
    let (mut first, mut second) = (Box::pin(append(1)), Box::pin(append(2)));
    let third = rig.spawn(append(3));
    rig.run(std::future::poll_fn(|context| {
        assert!(first.as_mut().poll(context).is_pending());
        assert!(second.as_mut().poll(context).is_pending());
        Poll::Ready(())
    }));
    rig.settle();
    drop(second);
    drop(first);
    rig.run_until_idle();
    assert_eq!(third.take().unwrap().generation.get(), 2);
    rig.check(&shard, 1, Some(&[3]));
}
