//! Decisions that take long and let others go first: what may change meanwhile.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use corelith_index::{ExpirySeconds, SetId};
use corelith_io::{Fault, PlannedFault};
use corelith_store::{Change, Commit, Current, Needs, Shard, Truncate, WriteError, Written};

use crate::harness::{Handle, NotMet, Rig, Shape, digest, put};

/// Holds decisions back until it is opened.
#[derive(Clone, Default)]
struct Gate(Rc<(Cell<bool>, RefCell<Option<Waker>>)>);

impl Gate {
    async fn pass(&self) {
        poll_fn(|context| {
            if self.0.0.get() {
                return Poll::Ready(());
            }
            *self.0.1.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn open(&self) {
        self.0.0.set(true);
        if let Some(waker) = self.0.1.take() {
            waker.wake();
        }
    }
}

/// What decisions saw, in their order.
type Seen = Rc<RefCell<Vec<Option<Vec<u8>>>>>;

/// A write of key 7 that adds a byte to what is there, and decides when the gate is open.
fn append_slowly(
    rig: &mut Rig,
    shard: &Shard,
    (gate, seen): (&Gate, &Seen),
) -> Handle<Result<Written, WriteError<NotMet>>> {
    let (shard, gate, seen) = (shard.clone(), gate.clone(), Rc::clone(seen));
    let write = async move {
        let decide = async |current: Option<Current<'_>>, made: &mut Vec<u8>| {
            gate.pass().await;
            seen.borrow_mut()
                .push(current.map(|current| current.content.to_vec()));
            made.extend(current.map_or(&[][..], |current| current.content));
            made.push(b'!');
            Ok(Change::PutMade {
                expiry: ExpirySeconds::NEVER,
                set: SetId::NONE,
            })
        };
        let key = (&digest(7), Needs::Content);
        shard
            .write_in_pieces(Commit::Durable, key, &[], decide)
            .await
    };
    let handle = rig.spawn(write);
    rig.settle();
    handle
}

#[test]
fn writes_of_the_key_wait_for_it_and_others_do_not() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 7, b"old");
    let (gate, seen) = (Gate::default(), Seen::default());
    let slow = append_slowly(&mut rig, &shard, (&gate, &seen));
    let second = append_slowly(&mut rig, &shard, (&gate, &seen));
    rig.put(&shard, 8, b"another");
    rig.check(&shard, 7, Some(b"old"));
    rig.run_until_idle();
    assert!(slow.borrow().is_none() && second.borrow().is_none());
    gate.open();
    rig.run_until_idle();
    assert_eq!(slow.take().unwrap().unwrap().generation.get(), 2);
    assert_eq!(second.take().unwrap().unwrap().generation.get(), 3);
    rig.check(&shard, 7, Some(b"old!!"));
}

/// Story: a write looked at what it builds on only after it had waited for room. A decision that let others go
/// first would have been appended with the address of a version that had failed.
#[test]
fn what_it_saw_fails_meanwhile() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"opens a segment");
    rig.run_until_idle();
    let range = rig.segment_range(0);
    rig.faults(0)
        .plan(PlannedFault::next(Fault::WriteError).within(range));
    let pending = {
        let shard = shard.clone();
        rig.spawn(async move { put(&shard, digest(7), b"pending").await })
    };
    rig.settle();
    let (gate, seen) = (Gate::default(), Seen::default());
    let slow = append_slowly(&mut rig, &shard, (&gate, &seen));
    rig.run_until_idle();
    assert_eq!(pending.take(), Some(Err(WriteError::InDoubt)));
    gate.open();
    rig.run_until_idle();
    let written = slow.take().unwrap().unwrap();
    assert_eq!((written.generation.get(), written.existed), (1, false));
    assert_eq!(*seen.borrow(), [Some(b"pending".to_vec()), None]);
    rig.check(&shard, 7, Some(b"!"));
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 7, Some(b"!"));
}

#[test]
fn what_it_saw_is_truncated_meanwhile() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 7, b"old");
    let (gate, seen) = (Gate::default(), Seen::default());
    let slow = append_slowly(&mut rig, &shard, (&gate, &seen));
    rig.run(shard.truncate(Truncate::All)).unwrap();
    gate.open();
    rig.run_until_idle();
    let written = slow.take().unwrap().unwrap();
    assert_eq!((written.generation.get(), written.existed), (1, false));
    assert_eq!(*seen.borrow(), [Some(b"old".to_vec()), None]);
    rig.check(&shard, 7, Some(b"!"));
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 7, Some(b"!"));
}

#[test]
fn the_device_is_fenced_meanwhile() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 7, b"old");
    rig.run_until_idle();
    let (gate, seen) = (Gate::default(), Seen::default());
    let slow = append_slowly(&mut rig, &shard, (&gate, &seen));
    rig.faults(0).plan(PlannedFault::next(Fault::FlushError));
    let other = {
        let shard = shard.clone();
        rig.spawn(async move { put(&shard, digest(8), b"another").await })
    };
    rig.run_until_idle();
    assert_eq!(other.take(), Some(Err(WriteError::InDoubt)));
    gate.open();
    rig.run_until_idle();
    assert_eq!(slow.take(), Some(Err(WriteError::Fenced)));
    rig.check(&shard, 7, Some(b"old"));
}

#[test]
fn one_that_is_given_up_lets_the_next_decide() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 7, b"old");
    let (gate, seen) = (Gate::default(), Seen::default());
    let key = digest(7);
    {
        let decide = async |_: Option<Current<'_>>, _: &mut Vec<u8>| {
            gate.pass().await;
            Ok::<_, NotMet>(Change::Delete)
        };
        let key = (&key, Needs::Metadata);
        let given_up = shard.write_in_pieces(Commit::Durable, key, &[], decide);
        let mut given_up = std::pin::pin!(given_up);
        let mut context = std::task::Context::from_waker(Waker::noop());
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        let waiting = append_slowly(&mut rig, &shard, (&gate, &seen));
        assert!(waiting.borrow().is_none() && seen.borrow().is_empty());
    }
    gate.open();
    rig.run_until_idle();
    assert_eq!(*seen.borrow(), [Some(b"old".to_vec())]);
    rig.check(&shard, 7, Some(b"old!"));
}
