//! The smallest executor that can run a core as the node's does: the driver is one task among others, and
//! parking puts the thread to sleep only if no other task is ready.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use corelith_io::{Idle, Ring};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// What the driver did with its idle time.
#[derive(Default)]
pub(crate) struct IdleCounts {
    pub(crate) yields: Cell<u64>,
    pub(crate) passes: Cell<u64>,
    pub(crate) parks: Cell<u64>,
    /// The eventfd that the driver is parked on, while it is.
    parked_on: RefCell<Option<OwnedFd>>,
}

/// The driver's view of the executor.
struct ExecutorIdle {
    counts: Rc<IdleCounts>,
}

impl Idle for ExecutorIdle {
    async fn yield_now(&self) {
        self.counts.yields.set(self.counts.yields.get() + 1);
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    async fn reactor_pass(&self) {
        self.counts.passes.set(self.counts.passes.get() + 1);
    }

    async fn park(&self, eventfd: BorrowedFd<'_>) {
        self.counts.parks.set(self.counts.parks.get() + 1);
        *self.counts.parked_on.borrow_mut() = Some(eventfd.try_clone_to_owned().unwrap());
        // The executor polls this again when its sleep ends.
        std::future::poll_fn(|_| {
            if is_readable(eventfd, PollTimeout::ZERO) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        self.counts.parked_on.take();
    }
}

fn is_readable(eventfd: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
    let mut descriptors = [PollFd::new(eventfd, PollFlags::POLLIN)];
    poll(&mut descriptors, timeout).unwrap() > 0
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs the ring's driver and `tasks` until the driver ends. Sleeps at most ten seconds at a time, after
/// which a lost wake-up is a failure.
pub(crate) fn run(ring: &Ring, tasks: Vec<Task>) -> Rc<IdleCounts> {
    let counts = Rc::new(IdleCounts::default());
    let done = Rc::new(RefCell::new(None));
    let driver = {
        let (ring, done) = (ring.clone(), Rc::clone(&done));
        let idle = ExecutorIdle {
            counts: Rc::clone(&counts),
        };
        async move {
            let ended = ring.drive(idle).await;
            *done.borrow_mut() = Some(ended);
        }
    };
    let driver: Task = Box::pin(driver);
    let mut tasks: Vec<(Option<Task>, Arc<Flag>)> = std::iter::once(driver)
        .chain(tasks)
        .map(|task| (Some(task), Arc::new(Flag(AtomicBool::new(true)))))
        .collect();
    loop {
        let mut any_ready = false;
        for (task, flag) in &mut tasks {
            if !flag.0.swap(false, Ordering::Acquire) {
                continue;
            }
            any_ready = true;
            let waker = Waker::from(Arc::clone(flag));
            let ready = task.as_mut().is_some_and(|task| {
                task.as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready()
            });
            if ready {
                *task = None;
            }
        }
        if let Some(ended) = done.borrow_mut().take() {
            ended.unwrap();
            return counts;
        }
        if !any_ready {
            let parked_on = counts.parked_on.borrow();
            let eventfd = parked_on
                .as_ref()
                .expect("no task is ready, and the driver not parked");
            assert!(
                is_readable(eventfd.as_fd(), PollTimeout::from(10_000_u16)),
                "parked for good"
            );
            drop(parked_on);
            tasks
                .iter()
                .take(1)
                .for_each(|(_, driver)| driver.0.store(true, Ordering::Release));
        }
    }
}
