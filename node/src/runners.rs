//! Runners: the tasks in which requests run, each one request after another. A request takes one that rests, and the
//! one that came to rest last, whose memory is still in the cache; a new task is made only while all are busy. So
//! a request costs no memory of its own for a task, and no copy of its future into it.
//!
//! Invariant: a runner that rests holds nothing of its core, so that it goes when the core does.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits::RUNNERS_RESTING_MAX;

/// The runners of a core that rest.
pub(crate) struct Runners<J>(RefCell<Vec<Resting<J>>>);

/// Where a runner finds its next job.
pub(crate) type Desk<J> = Rc<Cell<Option<J>>>;

/// One that rests.
struct Resting<J> {
    desk: Desk<J>,
    waker: Waker,
}

impl<J> Runners<J> {
    /// None yet; the memory to list them is taken now.
    pub(crate) fn new() -> Self {
        Self(RefCell::new(Vec::with_capacity(RUNNERS_RESTING_MAX)))
    }

    /// Gives a job to a runner that rests.
    ///
    /// # Errors
    /// The job, if there is none: it takes a new one.
    pub(crate) fn give(&self, job: J) -> Result<(), J> {
        let Some(resting) = self.0.borrow_mut().pop() else {
            return Err(job);
        };
        resting.desk.set(Some(job));
        resting.waker.wake();
        Ok(())
    }

    /// Notes that the calling task rests; false if enough do, and it is to end. Its next job is on its desk when
    /// [`next_job`] says so.
    pub(crate) async fn rest(&self, desk: &Desk<J>) -> bool {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let mut resting = self.0.borrow_mut();
        let has_place = resting.len() < RUNNERS_RESTING_MAX;
        if has_place {
            let desk = Rc::clone(desk);
            resting.push(Resting { desk, waker });
        }
        has_place
    }
}

/// Waits for a job.
pub(crate) async fn next_job<J>(desk: &Desk<J>) -> J {
    poll_fn(|_| desk.take().map_or(Poll::Pending, Poll::Ready)).await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn the_last_that_came_to_rest_has_the_next_job() {
        let runners = Runners::new();
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(runners.give(1), Err(1), "nobody rests");
        let desks: [Desk<u32>; 2] = Default::default();
        for desk in &desks {
            let rested = pin!(runners.rest(desk)).poll(&mut context);
            assert_eq!(rested, Poll::Ready(true));
            assert!(pin!(next_job(desk)).poll(&mut context).is_pending());
        }
        assert_eq!(runners.give(2), Ok(()));
        assert!(pin!(next_job(&desks[0])).poll(&mut context).is_pending());
        assert_eq!(pin!(next_job(&desks[1])).poll(&mut context), Poll::Ready(2));
        assert_eq!(runners.give(3), Ok(()));
        assert_eq!(runners.give(4), Err(4), "both are busy");
    }

    #[test]
    fn beyond_the_bound_runners_end() {
        let runners: Runners<u32> = Runners::new();
        let mut context = Context::from_waker(Waker::noop());
        let mut rest = || pin!(runners.rest(&Desk::default())).poll(&mut context);
        for _ in 0..RUNNERS_RESTING_MAX {
            assert_eq!(rest(), Poll::Ready(true));
        }
        assert_eq!(rest(), Poll::Ready(false));
    }
}
