//! The core's io_uring: everything that one core asks of the kernel's devices and sockets goes through
//! it, batched by turns. It has no thread and never blocks by itself: whoever runs the core makes its
//! turns, through `drive`, `block_on` or `turn`. One ring belongs to one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::task::Waker;

use crate::buffer::BufferPool;
use crate::clock::Clock;
use crate::descriptor::{Descriptor, FixedFile, Graveyard};
use crate::errno::Errno;
use crate::limits::{
    RECEIVE_BUFFER_BYTES_DEFAULT, RECEIVE_BUFFER_COUNT_DEFAULT, RECEIVED_PENDING_MAX,
    RING_DEVICES_MAX, RING_ENTRIES_DEFAULT, RING_SLOTS_DEFAULT, SPIN_NS_DEFAULT,
};
use crate::listener::Arrivals;
use crate::preflight::Refusal;
use crate::stream::Inbox;
use crate::sys::operation::Operation;
use crate::sys::receive_ring::ReceiveRing;
use crate::sys::ring::{Completion, Enter, Uring};
use crate::sys::slots::Key;
use crate::tasks::LocalTasks;
use crate::wake::CoreWaker;
use tracker::Tracker;

#[cfg(test)]
mod allocation_tests;
pub(crate) mod device;
mod dispatch;
mod driver;
mod features;
mod pending;
mod set_up;
mod tracker;

pub use driver::Idle;
pub use features::{FeatureMask, Lack, RingFeatures};
pub(crate) use pending::{Outcome, Pending};

/// What a ring is made of.
#[derive(Clone)]
pub struct RingConfig {
    /// Submission entries, a power of two; more operations are queued.
    pub entries: u32,
    /// Operations in flight or queued at once; beyond it they are refused as busy.
    pub slot_count: u32,
    /// Buffers for multishot receives, a power of two up to 32,768; 0 for a core without sockets.
    pub receive_buffer_count: u16,
    /// Size of each; a multiple of 4096 up to 1 MiB.
    pub receive_buffer_bytes: u32,
    /// How long `drive` and `block_on` spin without work before they park.
    pub spin_ns: u64,
    /// The waker that other cores already know this core by; a new one if there is none.
    pub waker: Option<CoreWaker>,
    /// Features to do without, as if the kernel lacked them.
    pub without: FeatureMask,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            entries: RING_ENTRIES_DEFAULT,
            slot_count: RING_SLOTS_DEFAULT,
            receive_buffer_count: RECEIVE_BUFFER_COUNT_DEFAULT,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES_DEFAULT,
            spin_ns: SPIN_NS_DEFAULT,
            waker: None,
            without: FeatureMask::default(),
        }
    }
}

/// Why a ring could not be made or used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel gives no ring; the message says what to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A configured figure is out of its bounds.
    #[error("{what} of {value} is not within {min} to {max}")]
    Configuration {
        /// Which figure.
        what: &'static str,
        /// As configured.
        value: u64,
        /// The smallest that is possible.
        min: u64,
        /// The largest that is possible.
        max: u64,
    },
    /// A descriptor or memory for the ring could not be had.
    #[error("the system has no {what} for the ring: {errno}")]
    Exhausted {
        /// Which resource.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The kernel broke off: the ring is unusable from here on.
    #[error("the ring failed: {errno}")]
    Enter {
        /// What the kernel said.
        errno: Errno,
    },
    /// More devices than the ring keeps flushes free for.
    #[error("a ring serves at most {max} devices")]
    TooManyDevices {
        /// The bound.
        max: u32,
    },
    /// A core's own descriptor on an open device could not be had.
    #[error("the device could not be opened once more for this core: {errno}")]
    Attach {
        /// What the kernel said.
        errno: Errno,
    },
}

/// Counters of a ring, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingStatistics {
    /// Operations that the kernel has or will get.
    pub in_flight_count: u64,
    /// Completions since the start.
    pub completion_count: u64,
    /// System calls since the start.
    pub enter_count: u64,
    /// Transfers that were interrupted or short and went on.
    pub resumed_count: u64,
    /// Receives that ended for want of a buffer.
    pub starved_count: u64,
    /// Receives that were stopped because their connection was read too slowly.
    pub held_back_count: u64,
    /// Turns in which other threads had given notice.
    pub notice_count: u64,
    /// Time that the driver has spun for want of work: between turns of which the first brought nothing and before the
    /// second nothing was started. A task that computes for longer than one turn and starts nothing counts as well.
    pub spun_ns: u64,
}

/// The core's ring. Clone is cheap.
#[derive(Clone)]
pub struct Ring {
    pub(crate) inner: Rc<RingInner>,
}

impl Ring {
    /// A ring for the calling thread, with every feature that the kernel has; the pool's arena is
    /// registered if memlock allows.
    ///
    /// # Errors
    /// No io_uring or too old a kernel (with the remedy), a configuration out of bounds, no memory.
    pub fn new(config: RingConfig, pool: &BufferPool) -> Result<Self, RingError> {
        Ok(Self {
            inner: Rc::new(RingInner::new(config, pool)?),
        })
    }

    /// What was found and what was done without, for the boot log.
    #[must_use]
    pub fn features(&self) -> RingFeatures {
        self.inner.features.borrow().clone()
    }

    /// The pool that this ring has registered.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        &self.inner.pool
    }

    /// The handle by which other threads wake this core.
    #[must_use]
    pub fn waker(&self) -> CoreWaker {
        self.inner.waker.clone()
    }

    /// Counters since the start.
    #[must_use]
    pub fn statistics(&self) -> RingStatistics {
        let mut statistics = self.inner.statistics.get();
        let uring = self.inner.uring.borrow();
        statistics.in_flight_count = crate::width::to_u64(uring.slots().in_kernel_count());
        statistics.enter_count = uring.enter_count();
        statistics
    }

    /// The time of this turn, by the monotonic clock, in ns: read once, for all that the turn completes and
    /// sets off. It lags by what the core has done since.
    #[must_use]
    pub fn turn_ns(&self) -> u64 {
        self.inner.turn_ns()
    }

    /// One turn: submits what is queued, takes what has completed, wakes whoever waited for it. Never
    /// blocks.
    ///
    /// # Errors
    /// The kernel broke off; operations in flight stay unanswered.
    pub fn turn(&self) -> Result<usize, RingError> {
        self.inner.turn(Enter::IfNeeded)
    }

    /// Runs one future on this thread with the ring as the only source of events; blocks in the
    /// kernel when nothing is ready. For tools, benches and tests.
    ///
    /// # Errors
    /// The kernel broke off.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RingError> {
        LocalTasks::new(self).block_on(future)
    }

    /// Has `drive` end as soon as nothing is in flight. Streams and listeners are to be dropped before:
    /// their receives and accepts are operations in flight.
    pub fn stop(&self) {
        self.inner.stopping.set(true);
        self.inner.waker.wake_if_parked();
    }
}

/// What the ring, its operations and its connections share.
pub(crate) struct RingInner {
    uring: RefCell<Uring<Tracker>>,
    /// Kept for its memory.
    completions: RefCell<Vec<Completion>>,
    woken: RefCell<Vec<Waker>>,
    graveyard: Rc<Graveyard>,
    /// Cancellations that found no slot.
    cancels: RefCell<Vec<Key>>,
    files_free: RefCell<Vec<FixedFile>>,
    /// Connections whose receive is to be armed again when there are buffers and slots.
    starved: RefCell<VecDeque<Rc<Inbox>>>,
    /// What is to be looked at when another core has given notice.
    watched: RefCell<Vec<Weak<dyn Watched>>>,
    receive: Option<Rc<ReceiveRing>>,
    receive_buffer_bytes: u32,
    features: RefCell<RingFeatures>,
    statistics: Cell<RingStatistics>,
    clock: Clock,
    /// When this turn's completions were seen, by the monotonic clock; 0 if nobody has asked yet.
    turn_ns: Cell<u64>,
    waker: CoreWaker,
    spin_ns: u64,
    stopping: Cell<bool>,
    /// A turn is about to enter the kernel.
    entering: Cell<bool>,
    /// Whether an operation of this ring waits for the core's own eventfd.
    bell_watched: Cell<bool>,
    device_count: Cell<u32>,
    slot_count: u32,
    /// Last: the arena outlives the ring that has it registered.
    pool: BufferPool,
}

/// A queue that other cores put work into.
pub(crate) trait Watched {
    /// Wakes the queue's reader if there is work.
    fn look(&self);
}

impl RingInner {
    pub(crate) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    pub(crate) fn spin_ns(&self) -> u64 {
        self.spin_ns
    }

    pub(crate) fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// Whether receives take buffers of the ring's own and go on until cancelled.
    pub(crate) fn multishot_receive(&self) -> bool {
        self.features.borrow().multishot_receive
    }

    pub(crate) fn multishot_accept(&self) -> bool {
        self.features.borrow().multishot_accept
    }

    /// Receive buffers that the kernel has; as good as infinite without a receive ring.
    pub(crate) fn offered_count(&self) -> u16 {
        self.receive
            .as_ref()
            .map_or(u16::MAX, |receive| receive.offered_count())
    }

    pub(crate) fn receive_buffer_bytes(&self) -> u32 {
        self.receive_buffer_bytes
    }

    /// After how many bytes a multishot receive ends by itself; 0 if the kernel knows no such bound.
    pub(crate) fn receive_limit_bytes(&self) -> u32 {
        if !self.features.borrow().receive_limit {
            return 0;
        }
        let count = u32::try_from(RECEIVED_PENDING_MAX).unwrap_or(u32::MAX);
        self.receive_buffer_bytes.saturating_mul(count)
    }

    /// The kernel refused a multishot receive: one with a bound if `limited`, else any. From here on
    /// without.
    pub(crate) fn do_with_less_in_receives(&self, limited: bool) {
        let mut features = self.features.borrow_mut();
        features.receive_limit = false;
        features.multishot_receive &= limited;
    }

    /// The kernel refused a multishot accept: from here on one by one.
    pub(crate) fn do_without_multishot_accept(&self) {
        self.features.borrow_mut().multishot_accept = false;
    }

    /// The time of this turn of the ring, by the monotonic clock, in ns: one reading of the clock serves all
    /// that the turn completes and sets off.
    pub(crate) fn turn_ns(&self) -> u64 {
        match self.turn_ns.get() {
            0 => {
                let now_ns = self.clock.monotonic_ns();
                self.turn_ns.set(now_ns);
                now_ns
            }
            turn_ns => turn_ns,
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut RingStatistics)) {
        let mut statistics = self.statistics.get();
        change(&mut statistics);
        self.statistics.set(statistics);
    }

    /// Makes a descriptor usable by operations of this ring; closed by it when nobody uses it any
    /// more.
    pub(crate) fn adopt(&self, descriptor: OwnedFd) -> Rc<Descriptor> {
        let fixed = self.register(&descriptor);
        Rc::new(Descriptor::new(
            descriptor,
            fixed,
            Rc::clone(&self.graveyard),
        ))
    }

    fn register(&self, descriptor: &OwnedFd) -> Option<FixedFile> {
        let place = self.files_free.borrow_mut().pop()?;
        match self.uring.borrow_mut().set_file(place, descriptor) {
            Ok(()) => Some(place),
            Err(_) => {
                self.files_free.borrow_mut().push(place);
                None
            }
        }
    }

    /// Counts a device in, up to the bound on flushes at once.
    pub(crate) fn enter_device(&self) -> Result<(), RingError> {
        let count = self.device_count.get();
        if count >= RING_DEVICES_MAX {
            return Err(RingError::TooManyDevices {
                max: RING_DEVICES_MAX,
            });
        }
        self.device_count.set(count + 1);
        Ok(())
    }

    pub(crate) fn leave_device(&self) {
        self.device_count
            .set(self.device_count.get().saturating_sub(1));
    }

    /// Has `queue` looked at whenever another core has given notice.
    pub(crate) fn watch(&self, queue: Weak<dyn Watched>) {
        let mut watched = self.watched.borrow_mut();
        watched.retain(|known| known.strong_count() > 0);
        watched.push(queue);
    }

    /// Submits an operation whose outcome a future will ask for; gives it back if all slots are in use.
    pub(crate) fn start(self: &Rc<Self>, operation: Operation) -> Result<Pending, Operation> {
        let key = self.start_tracked(operation, Tracker::awaited())?;
        Ok(Pending::new(Rc::clone(self), key))
    }

    /// The same from the reserved slots.
    pub(crate) fn start_reserved(
        self: &Rc<Self>,
        operation: Operation,
    ) -> Result<Pending, Operation> {
        let key = self
            .uring
            .borrow_mut()
            .start_reserved(operation, Tracker::awaited())?;
        self.see_to_submission();
        Ok(Pending::new(Rc::clone(self), key))
    }

    /// Submits a connection's receive; `None` if all slots are in use.
    pub(crate) fn start_receive(&self, receive: Operation, inbox: &Rc<Inbox>) -> Option<Key> {
        self.start_tracked(receive, Tracker::Stream(Rc::clone(inbox)))
            .ok()
    }

    /// Submits a listener's accept; `None` if all slots are in use.
    pub(crate) fn start_accept(&self, accept: Operation, to: &Rc<Arrivals>) -> Option<Key> {
        self.start_tracked(accept, Tracker::Listener(Rc::clone(to)))
            .ok()
    }

    /// Has `inbox` revived when there are buffers and slots.
    pub(crate) fn wait_for_buffer(&self, inbox: Rc<Inbox>) {
        self.starved.borrow_mut().push_back(inbox);
    }

    /// Cancels an operation; it completes as cancelled, or as if nothing had been said.
    pub(crate) fn cancel(&self, target: Key) {
        let mut uring = self.uring.borrow_mut();
        if let Some(tracker) = uring.slots_mut().tracker_mut(target) {
            tracker.forbid_retries();
        }
        let cancel = Operation::Cancel { target };
        let started = uring.start_reserved(cancel, Tracker::unawaited());
        drop(uring);
        match started {
            Ok(_) => self.see_to_submission(),
            Err(_) => self.cancels.borrow_mut().push(target),
        }
    }

    pub(crate) fn is_in_kernel(&self, key: Key) -> bool {
        self.uring.borrow().slots().is_in_kernel(key)
    }

    fn start_tracked(&self, operation: Operation, tracker: Tracker) -> Result<Key, Operation> {
        let key = self.uring.borrow_mut().start(operation, tracker)?;
        self.see_to_submission();
        Ok(key)
    }

    /// While the core is parked nobody makes turns: a task that submits something then (a timer's, of the
    /// executor) has to have it woken. What a turn itself submits goes out with it.
    fn see_to_submission(&self) {
        if !self.entering.get() {
            self.waker.wake_if_parked();
        }
    }
}
