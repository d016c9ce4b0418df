//! Waking a core from another thread. A core that has nothing to do parks on its eventfd; whoever
//! gives it work (a mailbox, a waker) notifies it, and pays a system call only if it was parked.
//! A notification given at any moment is never lost.
//!
//! Why not: the state is one atomic word, changed by read-modify-writes, so all changes of it have
//! one order.
//! - The giver first publishes its work (a release store into a queue), then passes a sequentially
//!   consistent fence, then notifies: if the word says NOTIFIED already it leaves it, else it swaps
//!   NOTIFIED in, and writes the eventfd if PARKED came out.
//! - The core takes notifications by swapping RUNNING in, then passes a fence, then looks at its
//!   queues. It parks only by changing RUNNING to PARKED, which fails if a giver came first.
//! - A giver that swapped: the core's next take, or its attempt to park, comes after the swap and
//!   sees it. If the core was parked, the eventfd is readable.
//! - A giver that saw NOTIFIED and left it: that value is yet to be taken. Either the giver's fence
//!   comes before the fence of that take, and then the core's look after it sees the work; or it
//!   comes after, and then the giver's load would have had to see the take's RUNNING, not NOTIFIED.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::errno::Errno;

const RUNNING: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// The handle by which any thread wakes one core. Cheap to clone.
#[derive(Clone)]
pub struct CoreWaker {
    shared: Arc<Shared>,
}

struct Shared {
    /// Alone on its cache line: other cores read it at every hop.
    state: CacheLine,
    eventfd: EventFd,
}

#[repr(align(128))]
struct CacheLine(AtomicU32);

impl CoreWaker {
    /// A waker for a core that is running.
    ///
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn new() -> Result<Self, Errno> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        let state = CacheLine(AtomicU32::new(RUNNING));
        Ok(Self {
            shared: Arc::new(Shared { state, eventfd }),
        })
    }

    /// Makes the core look at its queues: at its next turn if it runs, by a wake-up if it is parked.
    /// Whatever the caller published before is seen by that look.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        let state = &self.shared.state.0;
        if state.load(Ordering::Relaxed) == NOTIFIED {
            return;
        }
        if state.swap(NOTIFIED, Ordering::SeqCst) == PARKED {
            self.ring_the_bell();
        }
    }

    /// The same from the core's own thread, where a running core needs no notification: it makes
    /// its next turn anyway.
    pub(crate) fn wake_if_parked(&self) {
        let state = &self.shared.state.0;
        if state.load(Ordering::Relaxed) == PARKED {
            self.wake();
        }
    }

    /// Core only: takes a pending notification, if there is one. The queues are to be looked at
    /// after this.
    pub(crate) fn take_notification(&self) -> bool {
        let state = &self.shared.state.0;
        if state.load(Ordering::Relaxed) != NOTIFIED {
            return false;
        }
        let taken = state.swap(RUNNING, Ordering::SeqCst) == NOTIFIED;
        fence(Ordering::SeqCst);
        taken
    }

    /// Core only: from here on every notification rings the eventfd. False if one came before:
    /// then the core is not parked and must take it.
    pub(crate) fn park(&self) -> bool {
        let state = &self.shared.state.0;
        state
            .compare_exchange(RUNNING, PARKED, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    /// Core only: whether notifications still ring the eventfd, that is, whether none came since `park`.
    pub(crate) fn is_parked(&self) -> bool {
        self.shared.state.0.load(Ordering::Relaxed) == PARKED
    }

    /// Core only: no longer parked. A notification that came meanwhile stays to be taken.
    pub(crate) fn unpark(&self) {
        let state = &self.shared.state.0;
        match state.compare_exchange(PARKED, RUNNING, Ordering::SeqCst, Ordering::Relaxed) {
            // A notification that came stays, to be taken by the next turn.
            Ok(_) | Err(_) => (),
        }
    }

    /// What to wait on while parked.
    pub(crate) fn eventfd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }

    /// Core only: makes the eventfd unreadable again. Never blocks: reads only what is there.
    pub(crate) fn silence(&self) -> Result<(), Errno> {
        let mut descriptors = [PollFd::new(self.eventfd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, PollTimeout::ZERO) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Ok(_) => match self.shared.eventfd.read() {
                Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
            Err(errno) => Err(errno.into()),
        }
    }

    fn ring_the_bell(&self) {
        // The counter cannot overflow: it is raised by at most one per parking, and by the kernel.
        let written = self.shared.eventfd.write(1);
        assert!(
            written.is_ok(),
            "writing an eventfd of our own failed: {written:?}"
        );
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the subject is another thread")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::CoreWaker;

    fn readable(waker: &CoreWaker, timeout: PollTimeout) -> bool {
        let mut descriptors = [PollFd::new(waker.eventfd(), PollFlags::POLLIN)];
        poll(&mut descriptors, timeout).unwrap() == 1
    }

    #[test]
    fn a_running_core_costs_no_eventfd() {
        let waker = CoreWaker::new().unwrap();
        waker.wake();
        waker.wake();
        assert!(!readable(&waker, PollTimeout::ZERO));
        assert!(!waker.park(), "a notification is pending");
        assert!(waker.take_notification());
        assert!(!waker.take_notification());
        assert!(waker.park());
    }

    #[test]
    fn a_parked_core_is_rung_once_and_can_be_silenced() {
        let waker = CoreWaker::new().unwrap();
        assert!(waker.park());
        waker.wake();
        waker.wake();
        assert!(readable(&waker, PollTimeout::ZERO));
        waker.unpark();
        waker.silence().unwrap();
        assert!(!readable(&waker, PollTimeout::ZERO));
        waker.silence().unwrap();
        assert!(
            waker.take_notification(),
            "the notification survives unparking"
        );
    }

    #[test]
    fn waking_oneself_rings_only_when_parked() {
        let waker = CoreWaker::new().unwrap();
        waker.wake_if_parked();
        assert!(!waker.take_notification());
        assert!(waker.park());
        waker.wake_if_parked();
        assert!(readable(&waker, PollTimeout::ZERO));
    }

    /// One thread gives numbered work, the other parks whenever it sees none. A lost notification
    /// leaves the core parked with work waiting, which the timeout turns into a failure.
    #[test]
    fn no_notification_is_lost_between_two_threads() {
        const ROUNDS: u64 = 100_000;
        let waker = CoreWaker::new().unwrap();
        let given = Arc::new(AtomicU64::new(0));
        let seen = Arc::new(AtomicU64::new(0));
        let giver = {
            let (waker, given, seen) = (waker.clone(), Arc::clone(&given), Arc::clone(&seen));
            std::thread::spawn(move || {
                for round in 1..=ROUNDS {
                    given.store(round, Ordering::Release);
                    waker.wake();
                    // Every third piece is given only after the core has seen the one before, so
                    // that it is parked, or just about to be, when the next comes.
                    while round % 3 == 0 && seen.load(Ordering::Acquire) < round {
                        std::hint::spin_loop();
                    }
                }
            })
        };
        let mut parked_count = 0_u64;
        while seen.load(Ordering::Relaxed) < ROUNDS {
            waker.take_notification();
            let now = given.load(Ordering::Acquire);
            if now > seen.load(Ordering::Relaxed) {
                seen.store(now, Ordering::Release);
                continue;
            }
            if waker.park() {
                parked_count += 1;
                let woken = readable(&waker, PollTimeout::from(10_000_u16));
                assert!(woken, "parked for good at {now} of {ROUNDS}");
                waker.unpark();
                waker.silence().unwrap();
            }
        }
        giver.join().unwrap();
        assert!(parked_count > 0, "the test never parked");
    }
}
