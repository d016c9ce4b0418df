//! A small executor over one ring, for tools, benches and tests: several tasks on one thread, with the
//! ring as the source of events. Wakers may be used from any thread. It is fair by rounds: every ready
//! task is polled once, then the ring makes a turn.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::clock::Clock;
use crate::limits::LOCAL_TASKS_MAX;
use crate::ring::{Ring, RingError, RingInner};
use crate::sys::ring::Enter;
use crate::wake::CoreWaker;

/// Tasks of one thread, run by `block_on`. Clone is cheap: all clones are the same set of tasks.
#[derive(Clone)]
pub struct LocalTasks {
    shared: Rc<Shared>,
}

/// More tasks at once than the set was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at most {max} tasks run at once")]
pub struct TasksFull {
    /// The bound.
    pub max: usize,
}

impl LocalTasks {
    /// An empty set over a ring.
    #[must_use]
    pub fn new(ring: &Ring) -> Self {
        let ready = Arc::new(ReadySet::new(ring.waker()));
        let shared = Shared {
            ring: Rc::clone(&ring.inner),
            ready,
            tasks: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// Adds a task; it runs inside `block_on`. Dropping the handle lets the task go on.
    ///
    /// # Errors
    /// As many tasks as the set holds are running already.
    pub fn spawn<F>(&self, future: F) -> Result<LocalTask<F::Output>, TasksFull>
    where
        F: Future + 'static,
    {
        let output = Rc::new(RefCell::new(TaskOutput {
            value: None,
            waker: None,
        }));
        let place = Rc::clone(&output);
        let task = async move {
            let value = future.await;
            let waker = {
                let mut output = place.borrow_mut();
                output.value = Some(value);
                output.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        self.shared.add(Box::pin(task))?;
        Ok(LocalTask { output })
    }

    /// Runs the set until `future` is ready; tasks that are not keep for the next call.
    ///
    /// # Errors
    /// The kernel broke off.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RingError> {
        let Shared { ring, ready, .. } = &*self.shared;
        let mut future = pin!(future);
        let waker = ready.waker(MAIN);
        let mut context = Context::from_waker(&waker);
        let clock = Clock::real();
        let mut work_ns = clock.monotonic_ns();
        let mut spins = false;
        ready.set(MAIN);
        loop {
            let mut busy = false;
            let mut output = None;
            // A round is always finished: what it has taken out of the ready set would be lost.
            for number in ready.take() {
                busy = true;
                if number != MAIN {
                    self.shared.run(number);
                } else if let Poll::Ready(ready) = future.as_mut().poll(&mut context) {
                    output = Some(ready);
                }
            }
            if let Some(output) = output {
                return Ok(output);
            }
            busy |= ring.turn(Enter::of_turn(spins))? > 0;
            let now_ns = clock.monotonic_ns();
            spins = !busy && !ready.is_set();
            if !spins {
                work_ns = now_ns;
            } else if now_ns.saturating_sub(work_ns) >= ring.spin_ns() {
                ring.sleep()?;
                work_ns = clock.monotonic_ns();
            }
        }
    }
}

/// A spawned task's outcome, to await or to drop.
#[must_use = "drop it on purpose if the outcome does not matter"]
pub struct LocalTask<T> {
    output: Rc<RefCell<TaskOutput<T>>>,
}

impl<T> Future for LocalTask<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut output = self.output.borrow_mut();
        if let Some(value) = output.value.take() {
            return Poll::Ready(value);
        }
        output.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

struct TaskOutput<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

struct Shared {
    ring: Rc<RingInner>,
    ready: Arc<ReadySet>,
    tasks: RefCell<Vec<Place>>,
    free: RefCell<Vec<usize>>,
}

struct Place {
    /// `None` while it runs, and when the place is free.
    task: Option<BoxedTask>,
    waker: Waker,
}

impl Shared {
    fn add(&self, task: BoxedTask) -> Result<(), TasksFull> {
        let mut tasks = self.tasks.borrow_mut();
        let free = self.free.borrow_mut().pop();
        let number = match free {
            Some(number) => number,
            // Number 0 is the main future's.
            None if tasks.len() + 1 < LOCAL_TASKS_MAX => {
                let number = tasks.len() + 1;
                tasks.push(Place {
                    task: None,
                    waker: self.ready.waker(number),
                });
                number
            }
            None => {
                return Err(TasksFull {
                    max: LOCAL_TASKS_MAX - 1,
                });
            }
        };
        if let Some(place) = tasks.get_mut(number - 1) {
            place.task = Some(task);
        }
        self.ready.set(number);
        Ok(())
    }

    /// Polls one task. It is out of its place meanwhile, so that it may add others.
    fn run(&self, number: usize) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(place) = tasks.get_mut(number - 1) else {
                return;
            };
            let Some(task) = place.task.take() else {
                return;
            };
            (task, place.waker.clone())
        };
        let (mut task, waker) = taken;
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            drop(task);
            self.free.borrow_mut().push(number);
        } else if let Some(place) = self.tasks.borrow_mut().get_mut(number - 1) {
            place.task = Some(task);
        }
    }
}

/// The number of the future that `block_on` was given.
const MAIN: usize = 0;

const WORD_BITS: usize = 64;
const WORD_COUNT: usize = LOCAL_TASKS_MAX / WORD_BITS;
const _: () = assert!(WORD_COUNT * WORD_BITS == LOCAL_TASKS_MAX && WORD_COUNT <= WORD_BITS);

/// Which tasks are ready: a bit for each, and a summary with a bit for each word that may have some.
struct ReadySet {
    summary: AtomicU64,
    words: [AtomicU64; WORD_COUNT],
    core: CoreWaker,
}

impl ReadySet {
    fn new(core: CoreWaker) -> Self {
        let words = std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            summary: AtomicU64::new(0),
            words,
            core,
        }
    }

    fn waker(self: &Arc<Self>, number: usize) -> Waker {
        Waker::from(Arc::new(ReadyBit {
            set: Arc::clone(self),
            number,
        }))
    }

    /// From any thread.
    fn set(&self, number: usize) {
        let Some(word) = self.words.get(number / WORD_BITS) else {
            return;
        };
        word.fetch_or(1 << (number % WORD_BITS), Ordering::Release);
        self.summary
            .fetch_or(1 << (number / WORD_BITS), Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.summary.load(Ordering::Relaxed) != 0
    }

    /// The tasks that are ready now, unset by this; those set meanwhile are for the next round. A bit
    /// whose summary was taken before it was set has its summary set after, so that none is lost.
    fn take(&self) -> impl Iterator<Item = usize> + '_ {
        let summary = if self.is_set() {
            self.summary.swap(0, Ordering::Acquire)
        } else {
            0
        };
        bits(summary).flat_map(|word_number| {
            let word = self
                .words
                .get(word_number)
                .map_or(0, |word| word.swap(0, Ordering::Acquire));
            bits(word).map(move |bit| word_number * WORD_BITS + bit)
        })
    }
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        usize::try_from(lowest).ok().filter(|bit| *bit < WORD_BITS)
    })
}

/// The waker of one task.
struct ReadyBit {
    set: Arc<ReadySet>,
    number: usize,
}

impl Wake for ReadyBit {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set.set(self.number);
        self.set.core.wake();
    }
}
