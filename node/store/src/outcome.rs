//! Outcome of a batch: what every write in it waits for.
//!
//! Set once, when the batch is durable and everything before it in the log is settled, or when it failed.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How a batch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BatchEnd {
    /// On the device, and applied to the index.
    Durable,
    /// Given to the device, which failed: it may or may not be there.
    InDoubt,
    /// Never given to the device: it is not there.
    NotWritten,
}

/// Shared by a batch and its writers.
#[derive(Default)]
pub(crate) struct Outcome {
    end: Cell<Option<BatchEnd>>,
    /// Somebody waits: the batch is to leave as soon as there is a place in flight.
    wanted: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Outcome {
    /// Settles the batch and wakes its writers.
    pub(crate) fn settle(&self, end: BatchEnd) {
        assert!(self.end.get().is_none(), "a batch is settled once");
        self.end.set(Some(end));
        for waker in std::mem::take(&mut *self.waiting.borrow_mut()) {
            waker.wake();
        }
    }

    /// The end, if it has come.
    pub(crate) fn end(&self) -> Option<BatchEnd> {
        self.end.get()
    }

    /// Has the batch leave; true if nobody had wanted that before.
    pub(crate) fn want(&self) -> bool {
        !self.wanted.replace(true)
    }

    /// True if somebody waits for the batch.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    /// Waits for the end.
    pub(crate) fn wait(self: Rc<Self>) -> Settled {
        Settled {
            outcome: self,
            slot: None,
        }
    }
}

/// Wait for the end of a batch.
pub(crate) struct Settled {
    outcome: Rc<Outcome>,
    /// Where this wait's waker stands in the list, once it does.
    slot: Option<usize>,
}

impl Future for Settled {
    type Output = BatchEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<BatchEnd> {
        if let Some(end) = self.outcome.end.get() {
            return Poll::Ready(end);
        }
        let slot = self.slot;
        let mut waiting = self.outcome.waiting.borrow_mut();
        let known = slot.and_then(|slot| waiting.get_mut(slot));
        match known {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                let slot = waiting.len();
                waiting.push(context.waker().clone());
                drop(waiting);
                self.slot = Some(slot);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_sees_the_end() {
        let outcome = Rc::new(Outcome::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut first = std::pin::pin!(Rc::clone(&outcome).wait());
        let mut second = std::pin::pin!(Rc::clone(&outcome).wait());
        assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
        outcome.settle(BatchEnd::InDoubt);
        assert_eq!(first.poll(&mut context), Poll::Ready(BatchEnd::InDoubt));
        assert_eq!(second.poll(&mut context), Poll::Ready(BatchEnd::InDoubt));
    }
}
