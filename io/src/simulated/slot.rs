//! Where the outcome of a pending operation meets the future that awaits it. Either side may go first or be
//! dropped; the outcome then stays here, or goes. A dropped future cancels nothing.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The awaiting side: ready with the operation's outcome. Polled again after that, it stays pending.
#[derive(Debug)]
pub(crate) struct Submitted<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

/// The machine's side.
#[derive(Debug)]
pub(crate) struct Completer<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

#[derive(Debug)]
struct Slot<T> {
    outcome: Option<T>,
    waker: Option<Waker>,
}

impl<T> Submitted<T> {
    /// Both sides of a new pending operation.
    pub(crate) fn new() -> (Self, Completer<T>) {
        let slot = Rc::new(RefCell::new(Slot {
            outcome: None,
            waker: None,
        }));
        (
            Self {
                slot: Rc::clone(&slot),
            },
            Completer { slot },
        )
    }

    /// An operation that is over already.
    pub(crate) fn ready(outcome: T) -> Self {
        Self {
            slot: Rc::new(RefCell::new(Slot {
                outcome: Some(outcome),
                waker: None,
            })),
        }
    }
}

impl<T> Completer<T> {
    /// The machine's side of an operation that nobody awaits.
    pub(crate) fn unawaited() -> Self {
        Submitted::new().1
    }

    /// Leaves the outcome. The waker, if somebody waits, is to be called once the machine can be used again.
    #[must_use = "whoever waits must be woken"]
    pub(crate) fn complete(self, outcome: T) -> Option<Waker> {
        let mut slot = self.slot.borrow_mut();
        slot.outcome = Some(outcome);
        slot.waker.take()
    }
}

impl<T> Future for Submitted<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.slot.borrow_mut();
        if let Some(outcome) = slot.outcome.take() {
            return Poll::Ready(outcome);
        }
        match &mut slot.waker {
            Some(known) => known.clone_from(context.waker()),
            place @ None => *place = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_last_poller_is_woken_once() {
        let (mut future, completer) = Submitted::new();
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for count in [&first, &second] {
            let waker = Waker::from(Arc::clone(count));
            assert!(
                Pin::new(&mut future)
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        completer.complete(7).unwrap().wake();
        assert_eq!(
            (
                first.0.load(Ordering::Relaxed),
                second.0.load(Ordering::Relaxed)
            ),
            (0, 1)
        );
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut future).poll(&mut context), Poll::Ready(7));
        assert_eq!(Pin::new(&mut future).poll(&mut context), Poll::Pending);
    }

    #[test]
    fn either_side_may_go_first() {
        let (future, completer) = Submitted::new();
        drop(future);
        assert!(completer.complete(1).is_none());
        let mut context = Context::from_waker(Waker::noop());
        let mut ready = Submitted::ready(2);
        assert_eq!(Pin::new(&mut ready).poll(&mut context), Poll::Ready(2));
        let (mut future, completer) = Submitted::new();
        assert!(completer.complete(3).is_none());
        assert_eq!(Pin::new(&mut future).poll(&mut context), Poll::Ready(3));
    }
}
