//! A turn of the ring: what is submitted, and who is told of what completed. Wakers run only after all
//! books are closed, since waking may drop tasks, and those come back to the ring.

use std::os::fd::IntoRawFd;
use std::rc::Rc;

use super::pending::Outcome;
use super::tracker::{Retries, Tracker};
use super::{RingError, RingInner};
use crate::errno::Errno;
use crate::limits::RETRIES_MAX;
use crate::listener::Arrivals;
use crate::stream::Inbox;
use crate::sys::operation::Operation;
use crate::sys::ring::{Completion, Enter};
use crate::sys::slots::Key;
use crate::width::{index, to_u64};

/// What becomes of an operation after a completion.
enum Next {
    /// What remains is submitted; as planned, or because the kernel did less than it was asked for.
    Resume {
        is_planned: bool,
    },
    Over(Outcome),
}

impl RingInner {
    /// One turn. The number of completions.
    pub(crate) fn turn(&self, how: Enter) -> Result<usize, RingError> {
        self.entering.set(true);
        self.work_off_leftovers();
        self.entering.set(false);
        let noticed = self.waker.take_notification();
        if noticed {
            self.count(|statistics| statistics.notice_count += 1);
            self.look_at_queues();
        }
        // Who has been given notice does not sleep: there may be work that no completion announces.
        let how = if noticed && how == Enter::Wait {
            Enter::Always
        } else {
            how
        };
        let mut completions = self.completions.take();
        {
            let mut uring = self.uring.borrow_mut();
            uring
                .enter(how)
                .map_err(|errno| RingError::Enter { errno })?;
            uring.reap(&mut completions);
        }
        // Whoever asks for the time of this turn reads the clock; a turn without work does not.
        self.turn_ns.set(0);
        let count = completions.len();
        if count > 0 {
            // Awake: what the completions set off needs no bell.
            self.waker.unpark();
        }
        for completion in completions.drain(..) {
            self.dispatch(completion);
        }
        self.completions.replace(completions);
        self.wake_all();
        self.count(|statistics| statistics.completion_count += to_u64(count));
        Ok(count)
    }

    /// Has a waker called at the end of this turn.
    pub(crate) fn wake_later(&self, waker: std::task::Waker) {
        self.woken.borrow_mut().push(waker);
    }

    /// Forgets a future that was dropped: its operation goes on by itself.
    pub(super) fn abandon(&self, key: Key) {
        let mut uring = self.uring.borrow_mut();
        let Some(tracker) = uring.slots_mut().tracker_mut(key) else {
            return;
        };
        let retries = tracker.retries();
        let goes_on = Tracker::Single {
            waker: None,
            retries,
            abandoned: true,
        };
        let before = std::mem::replace(tracker, goes_on);
        let is_over = matches!(before, Tracker::Over(_));
        let taken = if is_over {
            uring.slots_mut().take(key)
        } else {
            None
        };
        // What is dropped may come back to the ring: a waker's task, a buffer, a descriptor.
        drop(uring);
        drop((before, taken));
    }

    /// Looks at every queue that other cores put work into.
    pub(super) fn look_at_queues(&self) {
        let watched = self.watched.take();
        for queue in watched.iter().filter_map(std::rc::Weak::upgrade) {
            queue.look();
        }
        let added = self.watched.replace(watched);
        self.watched.borrow_mut().extend(added);
    }

    fn wake_all(&self) {
        let mut woken = self.woken.take();
        for waker in woken.drain(..) {
            waker.wake();
        }
        let added = self.woken.replace(woken);
        self.woken.borrow_mut().extend(added);
    }

    /// Closes, cancellations and receives that waited for a slot or a buffer.
    fn work_off_leftovers(&self) {
        while self.uring.borrow().has_reserved_slots()
            && let Some((descriptor, fixed)) = self.graveyard.exhume()
        {
            let close = Operation::Close {
                descriptor: descriptor.into_raw_fd(),
            };
            self.start_unawaited(close, Tracker::unawaited());
            if let Some(file) = fixed {
                self.start_unawaited(Operation::CloseFixed { file }, Tracker::Place(file));
            }
        }
        while self.uring.borrow().has_reserved_slots() {
            let Some(target) = self.cancels.borrow_mut().pop() else {
                break;
            };
            self.start_unawaited(Operation::Cancel { target }, Tracker::unawaited());
        }
        let waiting = self.starved.borrow().len();
        for _ in 0..waiting.min(usize::from(self.offered_count())) {
            let Some(inbox) = self.starved.borrow_mut().pop_front() else {
                break;
            };
            Inbox::revive(&inbox, self);
        }
    }

    /// `has_reserved_slots` has been asked before.
    fn start_unawaited(&self, operation: Operation, tracker: Tracker) {
        let started = self.uring.borrow_mut().start_reserved(operation, tracker);
        assert!(started.is_ok(), "a slot was reserved");
        self.see_to_submission();
    }

    fn dispatch(&self, completion: Completion) {
        let mut uring = self.uring.borrow_mut();
        let Some(tracker) = uring.slots_mut().tracker_mut(completion.key) else {
            return;
        };
        match tracker {
            Tracker::Single { .. } | Tracker::Place(_) => {
                drop(uring);
                self.conclude(&completion);
            }
            Tracker::Stream(inbox) => {
                let inbox = Rc::clone(inbox);
                drop(uring);
                let operation = self.retire(&completion);
                Inbox::deliver(&inbox, self, completion, operation);
            }
            Tracker::Listener(arrivals) => {
                let arrivals = Rc::clone(arrivals);
                drop(uring);
                drop(self.retire(&completion));
                Arrivals::deliver(&arrivals, self, completion);
            }
            Tracker::Bell => {
                drop(uring);
                self.answer_bell(&completion);
            }
            Tracker::Nobody | Tracker::Over(_) => (),
        }
    }

    /// The end of an operation with one completion, or its continuation.
    fn conclude(&self, completion: &Completion) {
        let key = completion.key;
        let mut uring = self.uring.borrow_mut();
        let Some((operation, tracker)) = uring.slots_mut().finished_mut(key) else {
            return;
        };
        let outcome = match judge(operation, completion.result, tracker.retries()) {
            Next::Resume { is_planned } => {
                tracker.note_attempt(completion.result > 0);
                uring.resume(key);
                drop(uring);
                if !is_planned {
                    self.count(|statistics| statistics.resumed_count += 1);
                }
                return;
            }
            Next::Over(outcome) => of_removed(operation, outcome),
        };
        match (outcome, operation.fence()) {
            // A drive that is gone has nothing that could be acknowledged.
            (Outcome::Failed(Errno::ENODEV), _) => (),
            (Outcome::Failed(_) | Outcome::Short, Some(fence)) => fence.raise(),
            (Outcome::Failed(_) | Outcome::Short | Outcome::Done(_), _) => (),
        }
        if let Tracker::Single {
            waker,
            abandoned: false,
            ..
        } = tracker
        {
            let waker = waker.take();
            *tracker = Tracker::Over(outcome);
            drop(uring);
            if let Some(waker) = waker {
                self.wake_later(waker);
            }
            return;
        }
        let taken = uring.slots_mut().take(key);
        drop(uring);
        if let Some((operation, tracker)) = taken {
            if let Tracker::Place(place) = tracker {
                self.files_free.borrow_mut().push(place);
            }
            drop(operation);
        }
    }

    /// Frees the slot of a receive or accept after its last completion.
    pub(super) fn retire(&self, completion: &Completion) -> Option<Operation> {
        if !completion.is_last {
            return None;
        }
        let taken = self.uring.borrow_mut().slots_mut().take(completion.key);
        taken.map(|(operation, _)| operation)
    }
}

/// The outcome, or that there is no such device any more. What the kernel answers once a drive was taken out depends on the
/// operation and the moment: no space for writes, the device's end for reads, an I/O error for what was in flight. It is known by
/// what is left of the device: nothing.
fn of_removed(operation: &Operation, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Done(_) => outcome,
        Outcome::Failed(_) | Outcome::Short if operation.is_of_removed_device() => {
            Outcome::Failed(Errno::ENODEV)
        }
        Outcome::Failed(_) | Outcome::Short => outcome,
    }
}

/// Whether an operation has come to its end.
fn judge(operation: &mut Operation, result: i32, retries: Retries) -> Next {
    let Ok(count) = u32::try_from(result) else {
        let errno = Errno::new(result.saturating_neg());
        let transient = errno == Errno::EINTR || errno == Errno::EAGAIN;
        return match retries {
            Retries::Count(count) if transient && count < RETRIES_MAX => {
                Next::Resume { is_planned: false }
            }
            Retries::Count(_) | Retries::Forbidden => Next::Over(Outcome::Failed(errno)),
        };
    };
    let Some(progress) = operation.progress_mut() else {
        return Next::Over(Outcome::Done(count));
    };
    let before = progress.done();
    // The next piece of a long transfer, and not the rest of one that was cut short.
    let is_planned = count == progress.remaining();
    progress.advance(index(count));
    if progress.is_over() {
        Next::Over(Outcome::Done(count))
    } else if progress.done() == before {
        // Nothing, or less than a block: the end of the device, or a peer that is gone.
        Next::Over(Outcome::Short)
    } else if retries == Retries::Forbidden {
        Next::Over(Outcome::Failed(Errno::ECANCELED))
    } else {
        Next::Resume { is_planned }
    }
}
