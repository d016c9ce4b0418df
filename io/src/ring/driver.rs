//! The ring's driver as a plain future, run by whatever executor the core has, and what it asks of
//! that executor. It spins a little while before it parks, and parks only after it has made sure that
//! nothing came in between.

use std::future::Future;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{Ordering, fence};

use super::tracker::Tracker;
use super::{Ring, RingError, RingInner};
use crate::clock::Clock;
use crate::errno::Errno;
use crate::limits::REACTOR_PASS_NS;
use crate::sys::operation::Operation;
use crate::sys::ring::{Completion, Enter};

/// What the driver asks of whoever runs it.
pub trait Idle {
    /// Lets the other tasks of this core run, and comes back.
    fn yield_now(&self) -> impl Future<Output = ()>;

    /// Has the executor look at its own timers and channels, and comes back. Called at least every
    /// 500 us of a busy core.
    fn reactor_pass(&self) -> impl Future<Output = ()>;

    /// Comes back when `eventfd` is readable, or earlier; lets the other tasks run meanwhile, and the
    /// thread sleep if there are none. Whether it reads the eventfd does not matter. The descriptor
    /// is a blocking one, and is the same at every call.
    fn park(&self, eventfd: BorrowedFd<'_>) -> impl Future<Output = ()>;
}

impl Ring {
    /// Makes turns for as long as the core runs: the one task that every core has. Ends after `stop`,
    /// when nothing is in flight.
    ///
    /// # Errors
    /// The kernel broke off: the core cannot go on.
    pub async fn drive<I: Idle>(&self, idle: I) -> Result<(), RingError> {
        let ring = &self.inner;
        ring.register_bell()?;
        let clock = Clock::real();
        let mut work_ns = clock.monotonic_ns();
        let mut pass_ns = work_ns;
        let mut turn_ns = work_ns;
        let mut started_count = 0;
        let mut notice_count = 0;
        let mut spins = false;
        // The turn before brought nothing, from other threads neither.
        let mut was_empty = false;
        loop {
            let completed_count = ring.turn(Enter::of_turn(spins))?;
            if ring.is_done() {
                return Ok(());
            }
            let now_ns = clock.monotonic_ns();
            let started_before = std::mem::replace(&mut started_count, ring.started_count());
            let starts_nothing = started_before == started_count;
            if was_empty && starts_nothing {
                ring.count(|statistics| statistics.spun_ns += now_ns.saturating_sub(turn_ns));
            }
            turn_ns = now_ns;
            spins = completed_count == 0 && starts_nothing;
            let notices_before = std::mem::replace(&mut notice_count, ring.notice_count());
            was_empty = spins && notices_before == notice_count;
            if !spins {
                work_ns = now_ns;
            }
            if now_ns.saturating_sub(pass_ns) >= REACTOR_PASS_NS {
                idle.reactor_pass().await;
                pass_ns = clock.monotonic_ns();
            } else if now_ns.saturating_sub(work_ns) >= ring.spin_ns {
                if ring.prepare_to_park()? {
                    idle.park(ring.waker.eventfd()).await;
                }
                ring.end_of_park()?;
                work_ns = clock.monotonic_ns();
                (pass_ns, turn_ns) = (work_ns, work_ns);
            } else {
                idle.yield_now().await;
            }
        }
    }
}

impl RingInner {
    /// Has the kernel ring the core's eventfd at completions, once per ring.
    fn register_bell(&self) -> Result<(), RingError> {
        let registered = self
            .uring
            .borrow_mut()
            .register_eventfd(self.waker.eventfd());
        match registered {
            Ok(()) | Err(Errno::EBUSY) => Ok(()),
            Err(errno) => Err(RingError::Exhausted {
                what: "eventfd registration",
                errno,
            }),
        }
    }

    fn is_done(&self) -> bool {
        // The watch over the core's own eventfd never ends by itself.
        let endless_count = usize::from(self.bell_watched.get());
        self.stopping.get()
            && self.uring.borrow().slots().in_kernel_count() == endless_count
            && self.graveyard.is_empty()
    }

    fn notice_count(&self) -> u64 {
        self.statistics.get().notice_count
    }

    fn started_count(&self) -> u64 {
        self.uring.borrow().started_count()
    }

    /// True if there is nothing to do, and whatever comes from now on rings the eventfd.
    fn prepare_to_park(&self) -> Result<bool, RingError> {
        if !self.waker.park() {
            return Ok(false);
        }
        self.uring.borrow_mut().set_eventfd_enabled(true);
        // The kernel first queues a completion and then looks whether to ring; this side first
        // switches the bell on and then looks for completions. One of the two sees the other.
        fence(Ordering::SeqCst);
        let completed_count = self.turn(Enter::Always)?;
        let settled = self.uring.borrow_mut().is_settled();
        Ok(completed_count == 0 && settled && self.waker.is_parked())
    }

    fn end_of_park(&self) -> Result<(), RingError> {
        self.waker.unpark();
        self.uring.borrow_mut().set_eventfd_enabled(false);
        self.silence_bell()
    }

    fn silence_bell(&self) -> Result<(), RingError> {
        self.waker.silence().map_err(|errno| RingError::Exhausted {
            what: "eventfd",
            errno,
        })
    }

    /// Has the core's eventfd complete an operation of this ring whenever it is rung, so that waiting
    /// for completions is waiting for other threads too. For `block_on`; once per ring.
    pub(crate) fn watch_bell(&self) -> Result<(), RingError> {
        if self.bell_watched.replace(true) {
            return Ok(());
        }
        let watch = Operation::Watch {
            waker: self.waker.clone(),
        };
        let started = self.uring.borrow_mut().start_reserved(watch, Tracker::Bell);
        match started {
            Ok(_) => Ok(()),
            Err(_) => Err(RingError::Exhausted {
                what: "slot",
                errno: Errno::EBUSY,
            }),
        }
    }

    /// Another thread rang while this one waited in the kernel.
    pub(super) fn answer_bell(&self, completion: &Completion) {
        let silenced = self.silence_bell();
        if completion.is_last {
            drop(self.retire(completion));
            self.bell_watched.set(false);
        }
        if silenced.is_err() {
            tracing::error!(?silenced, "the core's eventfd cannot be read");
        }
    }

    /// Waits in the kernel until something completes or another thread gives notice.
    pub(crate) fn sleep(&self) -> Result<(), RingError> {
        self.watch_bell()?;
        if self.waker.park() {
            let turned = self.turn(Enter::Wait);
            self.waker.unpark();
            turned?;
        }
        Ok(())
    }
}
