//! An operation that a future waits for. Dropped before its time it lets the operation go on by itself:
//! the slot keeps the buffer until the kernel is done.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::RingInner;
use super::tracker::Tracker;
use crate::errno::Errno;
use crate::sys::operation::Operation;
use crate::sys::slots::Key;

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Completely; the last result of the kernel, never negative.
    Done(u32),
    /// With an error of the kernel.
    Failed(Errno),
    /// The other side stopped before the whole was transferred.
    Short,
}

/// The future's end of an operation.
pub(crate) struct Pending {
    ring: Rc<RingInner>,
    /// `None` once the outcome was taken.
    key: Option<Key>,
}

impl Pending {
    pub(super) fn new(ring: Rc<RingInner>, key: Key) -> Self {
        Self {
            ring,
            key: Some(key),
        }
    }

    /// The operation's name, while it has not been taken.
    pub(crate) fn key(&self) -> Option<Key> {
        self.key
    }

    /// The operation and how it ended; once.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<(Operation, Outcome)> {
        let Some(key) = self.key else {
            return Poll::Pending;
        };
        let mut uring = self.ring.uring.borrow_mut();
        let slots = uring.slots_mut();
        match slots.tracker_mut(key) {
            Some(Tracker::Over(outcome)) => {
                let outcome = *outcome;
                let Some((operation, _)) = slots.take(key) else {
                    return Poll::Pending;
                };
                self.key = None;
                Poll::Ready((operation, outcome))
            }
            Some(Tracker::Single { waker, .. }) => {
                match waker {
                    Some(known) => known.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            Some(
                Tracker::Nobody
                | Tracker::Stream(_)
                | Tracker::Listener(_)
                | Tracker::Place(_)
                | Tracker::Bell,
            )
            | None => Poll::Pending,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.ring.abandon(key);
        }
    }
}
