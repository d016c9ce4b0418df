//! Notify: tasks of one core wait for "something changed", and look again when woken.
//!
//! Invariant: a wait that was begun before a notification ends with it, so a change between the look
//! and the wait is not lost as long as the wait is created before the look.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A level of change that tasks can wait on.
#[derive(Default)]
pub(crate) struct Notify {
    changes: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Ends every wait begun so far.
    pub(crate) fn notify_all(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
        let mut waiting = self.waiting.take();
        for waker in waiting.drain(..) {
            waker.wake();
        }
        // Its memory is kept for the next wait, unless waking has begun one already.
        let mut kept = self.waiting.borrow_mut();
        if kept.is_empty() {
            *kept = waiting;
        }
    }

    /// Begins a wait for the next notification.
    pub(crate) fn wait(&self) -> Notified<'_> {
        Notified {
            notify: self,
            seen: self.changes.get(),
        }
    }
}

/// A begun wait.
pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    seen: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.notify.changes.get() != self.seen {
            return Poll::Ready(());
        }
        let mut waiting = self.notify.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_begun_before_the_notification_ends_with_it() {
        let notify = Notify::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut before = std::pin::pin!(notify.wait());
        assert_eq!(before.as_mut().poll(&mut context), Poll::Pending);
        notify.notify_all();
        assert_eq!(before.poll(&mut context), Poll::Ready(()));
        let after = std::pin::pin!(notify.wait());
        assert_eq!(after.poll(&mut context), Poll::Pending);
    }
}
