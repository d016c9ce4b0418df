//! The ways to durability: the fence of a device, and the gate through which its flushes go. At most one flush is in flight and one
//! waits; a flush covers exactly what had completed before it was submitted, so whoever arrives while one is in flight waits for the
//! next. A failed flush raises the fence, and is never tried again. Real and simulated devices run this very code.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use crate::device::DeviceError;

/// The mark of a device whose flush (or forced write) failed: nothing is acknowledged as durable on it any more. Shared by all cores'
/// handles on the device; never lowered.
#[derive(Clone, Default)]
pub(crate) struct Fence {
    raised: Arc<AtomicBool>,
}

impl Fence {
    /// A lowered fence.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Fences the device for good.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
    }

    /// Whether the device is fenced.
    #[must_use]
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }
}

/// Whether a write must pass the volatile cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Force {
    /// Complete when the device has it.
    Plain,
    /// Complete when it is on the medium.
    UnitAccess,
}

/// Which flush covers a caller: flushes are numbered from 1 in the order of their submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(u64);

/// The gate of one core's handle on one device. `F` is the back end's flush.
pub(crate) struct FlushGate<F> {
    submitted: u64,
    completed: u64,
    in_flight: Option<F>,
    /// The flush that failed, if one did: the last that was ever submitted.
    failure: Option<(Ticket, DeviceError)>,
    /// Those who wait, for any flush. The in-flight flush wakes the one that polled last, and that one wakes all.
    waiters: Vec<(WaiterId, Waker)>,
    /// Those whom the caller is to wake.
    woken: Vec<(WaiterId, Waker)>,
    waiter_next: u64,
}

/// Tells the waiters of a gate apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaiterId(u64);

/// One caller's place at a gate. The gate must be told (`FlushGate::leave`) when it is given up.
pub(crate) struct Waiter {
    id: WaiterId,
    ticket: Ticket,
    yielded: bool,
}

impl Waiter {
    pub(crate) fn id(&self) -> WaiterId {
        self.id
    }
}

impl<F: Future<Output = Result<(), DeviceError>> + Unpin> FlushGate<F> {
    pub(crate) fn new() -> Self {
        Self {
            submitted: 0,
            completed: 0,
            in_flight: None,
            failure: None,
            waiters: Vec::new(),
            woken: Vec::new(),
            waiter_next: 0,
        }
    }

    /// A place for one whose writes have all completed: the next flush to be submitted covers them.
    pub(crate) fn join(&mut self) -> Waiter {
        self.waiter_next += 1;
        Waiter {
            id: WaiterId(self.waiter_next),
            ticket: Ticket(self.submitted + 1),
            yielded: false,
        }
    }

    /// Ready when the waiter's flush is over. `submit` submits a flush to the back end, at once. The caller wakes those that
    /// `take_woken` then gives, after it has let go of the gate.
    ///
    /// A waiter whose turn it is to submit yields once before, so that all that completed in the same turn of the ring shares one
    /// flush instead of waiting for a second.
    pub(crate) fn poll(
        &mut self,
        waiter: &mut Waiter,
        fence: &Fence,
        submit: impl Fn() -> F,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), DeviceError>> {
        loop {
            if let Some(outcome) = self.outcome(waiter.ticket, fence) {
                return Poll::Ready(outcome);
            }
            let Some(flush) = self.in_flight.as_mut() else {
                if !waiter.yielded {
                    waiter.yielded = true;
                    self.remember(waiter.id, context.waker());
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.submitted += 1;
                self.in_flight = Some(submit());
                continue;
            };
            let Poll::Ready(outcome) = Pin::new(flush).poll(context) else {
                self.remember(waiter.id, context.waker());
                return Poll::Pending;
            };
            self.in_flight = None;
            self.completed += 1;
            if let Err(error) = outcome {
                if error != DeviceError::Gone {
                    fence.raise();
                }
                self.failure = Some((Ticket(self.completed), error));
            }
            self.woken.append(&mut self.waiters);
        }
    }

    /// Forgets a waiter, ready or given up. If it had still to be woken, the flush in flight may count on it: another takes its
    /// place, to be found in `take_woken`.
    pub(crate) fn leave(&mut self, id: WaiterId) {
        let count_before = self.waiters.len();
        self.waiters.retain(|(waiting, _)| *waiting != id);
        if self.waiters.len() < count_before
            && let Some(heir) = self.waiters.pop()
        {
            self.woken.push(heir);
        }
    }

    /// One that is to be woken, until there is none.
    pub(crate) fn take_woken(&mut self) -> Option<Waker> {
        self.woken.pop().map(|(_, waker)| waker)
    }

    /// What became of the flush with this number, if that is known.
    fn outcome(&self, ticket: Ticket, fence: &Fence) -> Option<Result<(), DeviceError>> {
        if let Some((failed, error)) = &self.failure
            && ticket >= *failed
        {
            let is_for_all = ticket == *failed || *error == DeviceError::Gone;
            let error = if is_for_all {
                error.clone()
            } else {
                DeviceError::Fenced
            };
            return Some(Err(error));
        }
        if Ticket(self.completed) >= ticket {
            return Some(Ok(()));
        }
        // Another core's flush of the same device failed: what the cache held then is lost, and this core's writes may be among
        // it. A flush that is in flight is waited for all the same, so that nothing is left behind.
        (fence.is_raised() && self.in_flight.is_none()).then_some(Err(DeviceError::Fenced))
    }

    fn remember(&mut self, id: WaiterId, waker: &Waker) {
        match self.waiters.iter_mut().find(|(waiting, _)| *waiting == id) {
            Some((_, known)) => known.clone_from(waker),
            None => self.waiters.push((id, waker.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Fence, FlushGate, Waiter};
    use crate::device::DeviceError;
    use crate::errno::Errno;

    const FAILED: DeviceError = DeviceError::Flush { errno: Errno::EIO };

    type Decided = Option<Result<(), DeviceError>>;

    /// The flushes that were submitted, each with its outcome once the test has decided it.
    #[derive(Clone, Default)]
    struct Drive {
        outcomes: Rc<RefCell<Vec<Decided>>>,
    }

    impl Drive {
        fn submit(&self) -> DriveFlush {
            let mut outcomes = self.outcomes.borrow_mut();
            outcomes.push(None);
            DriveFlush {
                drive: self.clone(),
                number: outcomes.len() - 1,
            }
        }

        fn submitted_count(&self) -> usize {
            self.outcomes.borrow().len()
        }

        fn complete(&self, outcome: Result<(), DeviceError>) {
            let last = self.submitted_count() - 1;
            self.outcomes.borrow_mut()[last] = Some(outcome);
        }
    }

    struct DriveFlush {
        drive: Drive,
        number: usize,
    }

    impl Future for DriveFlush {
        type Output = Result<(), DeviceError>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            let outcome = self.drive.outcomes.borrow()[self.number].clone();
            outcome.map_or(Poll::Pending, Poll::Ready)
        }
    }

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Bell {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One caller at the gate.
    struct Caller {
        waiter: Waiter,
        bell: Arc<Bell>,
    }

    #[derive(Default)]
    struct Scene {
        drive: Drive,
        fence: Fence,
    }

    impl Scene {
        fn join(&self, gate: &mut FlushGate<DriveFlush>) -> Caller {
            Caller {
                waiter: gate.join(),
                bell: Arc::default(),
            }
        }

        fn poll(
            &self,
            gate: &mut FlushGate<DriveFlush>,
            caller: &mut Caller,
        ) -> Poll<Result<(), DeviceError>> {
            let waker = Waker::from(Arc::clone(&caller.bell));
            let mut context = Context::from_waker(&waker);
            let submit = || self.drive.submit();
            let outcome = gate.poll(&mut caller.waiter, &self.fence, submit, &mut context);
            while let Some(woken) = gate.take_woken() {
                woken.wake();
            }
            outcome
        }
    }

    #[test]
    fn whoever_joins_before_the_flush_shares_it() {
        let (scene, mut gate) = (Scene::default(), FlushGate::new());
        let mut first = scene.join(&mut gate);
        assert!(scene.poll(&mut gate, &mut first).is_pending());
        assert_eq!(
            scene.drive.submitted_count(),
            0,
            "it yields before it submits"
        );
        assert_eq!(first.bell.count(), 1, "and has itself woken");
        let mut second = scene.join(&mut gate);
        assert!(scene.poll(&mut gate, &mut first).is_pending());
        assert!(scene.poll(&mut gate, &mut second).is_pending());
        assert_eq!(scene.drive.submitted_count(), 1);
        scene.drive.complete(Ok(()));
        assert_eq!(scene.poll(&mut gate, &mut first), Poll::Ready(Ok(())));
        assert_eq!(
            second.bell.count(),
            1,
            "the one that saw the end wakes the other"
        );
        assert_eq!(scene.poll(&mut gate, &mut second), Poll::Ready(Ok(())));
        assert_eq!(scene.drive.submitted_count(), 1);
    }

    #[test]
    fn whoever_joins_during_a_flush_waits_for_the_one_after() {
        let (scene, mut gate) = (Scene::default(), FlushGate::new());
        let mut first = scene.join(&mut gate);
        assert!(scene.poll(&mut gate, &mut first).is_pending());
        assert!(scene.poll(&mut gate, &mut first).is_pending());
        let mut late: Vec<_> = (0..3).map(|_| scene.join(&mut gate)).collect();
        for caller in &mut late {
            assert!(scene.poll(&mut gate, caller).is_pending());
        }
        assert_eq!(scene.drive.submitted_count(), 1, "one flush in flight");
        scene.drive.complete(Ok(()));
        for caller in &mut late {
            assert!(
                scene.poll(&mut gate, caller).is_pending(),
                "the first flush does not cover it"
            );
        }
        assert_eq!(scene.poll(&mut gate, &mut first), Poll::Ready(Ok(())));
        for caller in &mut late {
            assert!(scene.poll(&mut gate, caller).is_pending());
        }
        assert_eq!(scene.drive.submitted_count(), 2, "one for all that waited");
        scene.drive.complete(Ok(()));
        for caller in &mut late {
            assert_eq!(scene.poll(&mut gate, caller), Poll::Ready(Ok(())));
        }
        assert_eq!(scene.drive.submitted_count(), 2);
    }

    #[test]
    fn a_caller_that_leaves_hands_its_watch_over() {
        let (scene, mut gate) = (Scene::default(), FlushGate::new());
        let mut callers: Vec<_> = (0..2).map(|_| scene.join(&mut gate)).collect();
        for _round in 0..2 {
            for caller in &mut callers {
                assert!(scene.poll(&mut gate, caller).is_pending());
            }
        }
        let watching = callers.pop().unwrap();
        let mut heir = callers.pop().unwrap();
        let rung_before = heir.bell.count();
        gate.leave(watching.waiter.id());
        while let Some(woken) = gate.take_woken() {
            woken.wake();
        }
        assert_eq!(heir.bell.count(), rung_before + 1);
        assert!(scene.poll(&mut gate, &mut heir).is_pending());
        scene.drive.complete(Ok(()));
        assert_eq!(scene.poll(&mut gate, &mut heir), Poll::Ready(Ok(())));
        assert_eq!(scene.drive.submitted_count(), 1);
    }

    #[test]
    fn a_failed_flush_fences_and_is_never_tried_again() {
        let (scene, mut gate) = (Scene::default(), FlushGate::new());
        let mut covered = scene.join(&mut gate);
        assert!(scene.poll(&mut gate, &mut covered).is_pending());
        assert!(scene.poll(&mut gate, &mut covered).is_pending());
        let mut late = scene.join(&mut gate);
        assert!(scene.poll(&mut gate, &mut late).is_pending());
        scene.drive.complete(Err(FAILED));
        assert_eq!(
            scene.poll(&mut gate, &mut late),
            Poll::Ready(Err(DeviceError::Fenced))
        );
        assert!(scene.fence.is_raised());
        assert_eq!(
            scene.poll(&mut gate, &mut covered),
            Poll::Ready(Err(FAILED))
        );
        let mut later = scene.join(&mut gate);
        assert_eq!(
            scene.poll(&mut gate, &mut later),
            Poll::Ready(Err(DeviceError::Fenced))
        );
        assert_eq!(scene.drive.submitted_count(), 1);
    }

    #[test]
    fn another_cores_failure_fences_this_one() {
        let (scene, mut gate) = (Scene::default(), FlushGate::new());
        let mut caller = scene.join(&mut gate);
        assert!(scene.poll(&mut gate, &mut caller).is_pending());
        scene.fence.raise();
        assert_eq!(
            scene.poll(&mut gate, &mut caller),
            Poll::Ready(Err(DeviceError::Fenced))
        );
        assert_eq!(scene.drive.submitted_count(), 0);
    }

    #[test]
    fn a_device_that_is_gone_stays_so_without_a_fence() {
        let (scene, mut gate) = (Scene::default(), FlushGate::new());
        let mut first = scene.join(&mut gate);
        assert!(scene.poll(&mut gate, &mut first).is_pending());
        assert!(scene.poll(&mut gate, &mut first).is_pending());
        scene.drive.complete(Err(DeviceError::Gone));
        assert_eq!(
            scene.poll(&mut gate, &mut first),
            Poll::Ready(Err(DeviceError::Gone))
        );
        let mut later = scene.join(&mut gate);
        assert_eq!(
            scene.poll(&mut gate, &mut later),
            Poll::Ready(Err(DeviceError::Gone))
        );
        assert!(!scene.fence.is_raised());
    }
}
