//! The deterministic executor: one thread, no clock, no I/O of its own. Which ready task is polled next, and
//! whether the machine takes a step first, comes from the seed.
//!
//! A moment is one poll or one step of the machine. The executor knows nothing of stores or oracles.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};

use corelith_io::{SeededRandom, SimulatedMachine};

/// What kind of work a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// A run waits for it.
    Foreground,
    /// It may run for ever.
    Background,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Every task that was waited for has finished.
    Done,
    /// The moments given were used up.
    Exhausted,
    /// Tasks that were waited for are unfinished, none of them is ready, and nothing is pending: their names.
    Deadlock(Vec<String>),
}

/// The outcome of a task, once it has one.
pub struct Handle<T> {
    outcome: Rc<RefCell<Option<T>>>,
}

/// Tasks over one machine. Dropping it drops every task, as the death of a process does.
pub struct Executor {
    machine: SimulatedMachine,
    random: SeededRandom,
    /// In 64ths: how often the machine steps although a task is ready.
    eagerness: u64,
    tasks: Vec<Option<Task>>,
    ready: Vec<usize>,
    woken: Receiver<usize>,
    waker_end: Sender<usize>,
    moments: u64,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
    signal: Arc<Signal>,
    kind: TaskKind,
    name: String,
}

/// What a task's wakers share: whether it is queued already, and where to queue it.
struct Signal {
    number: usize,
    queued: AtomicBool,
    waker_end: Sender<usize>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            // The executor is gone once its process is dead; late wakers then wake nobody.
            let _gone = self.waker_end.send(self.number);
        }
    }
}

impl<T> Handle<T> {
    /// The outcome, if the task has finished and it was not taken before.
    pub fn take(&self) -> Option<T> {
        self.outcome.borrow_mut().take()
    }
}

impl Executor {
    /// An executor without tasks, whose choices come from `random`.
    pub fn new(machine: &SimulatedMachine, mut random: SeededRandom) -> Self {
        let (waker_end, woken) = channel();
        let eagerness = [0, 1, 8, 32][usize::try_from(random.below(4)).unwrap_or(0)];
        Self {
            machine: machine.clone(),
            random,
            eagerness,
            tasks: Vec::new(),
            ready: Vec::new(),
            woken,
            waker_end,
            moments: 0,
        }
    }

    /// Adds a task; it is ready at once. The name is for messages.
    pub fn spawn<F: Future + 'static>(
        &mut self,
        kind: TaskKind,
        name: impl Into<String>,
        future: F,
    ) -> Handle<F::Output> {
        let outcome = Rc::new(RefCell::new(None));
        let place = Rc::clone(&outcome);
        let number = self.tasks.len();
        let signal = Arc::new(Signal {
            number,
            queued: AtomicBool::new(true),
            waker_end: self.waker_end.clone(),
        });
        self.tasks.push(Some(Task {
            future: Box::pin(async move {
                let finished = future.await;
                *place.borrow_mut() = Some(finished);
            }),
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            kind,
            name: name.into(),
        }));
        self.ready.push(number);
        Handle { outcome }
    }

    /// Moments so far.
    pub fn moments(&self) -> u64 {
        self.moments
    }

    /// Runs until every foreground task has finished, or `moments_max` further moments have passed.
    pub fn run(&mut self, moments_max: u64) -> Stop {
        self.run_until(moments_max, |kind| kind == TaskKind::Foreground)
    }

    /// Runs until every task has finished, background ones too, or `moments_max` further moments have passed.
    pub fn run_to_end(&mut self, moments_max: u64) -> Stop {
        self.run_until(moments_max, |_| true)
    }

    fn run_until(&mut self, moments_max: u64, waited_for: impl Fn(TaskKind) -> bool) -> Stop {
        let unfinished = |task: &&Task| waited_for(task.kind);
        let mut waiting = self.tasks.iter().flatten().filter(unfinished).count();
        for _ in 0..moments_max {
            if waiting == 0 {
                return Stop::Done;
            }
            self.ready.extend(self.woken.try_iter());
            let step_first = !self.ready.is_empty()
                && self.eagerness > 0
                && self.random.below(64) < self.eagerness;
            if self.ready.is_empty() || step_first {
                let stepped = self.machine.step();
                if !stepped && self.ready.is_empty() {
                    let stuck = self.tasks.iter().flatten().filter(unfinished);
                    return Stop::Deadlock(stuck.map(|task| task.name.clone()).collect());
                }
            } else if let Some(kind) = self.poll_one() {
                waiting -= usize::from(waited_for(kind));
            }
            self.moments += 1;
        }
        if waiting == 0 {
            Stop::Done
        } else {
            Stop::Exhausted
        }
    }

    /// Polls one ready task. Returns its kind if it finished.
    fn poll_one(&mut self) -> Option<TaskKind> {
        let choice = self
            .random
            .below(u64::try_from(self.ready.len()).unwrap_or(0));
        let number = self.ready.swap_remove(usize::try_from(choice).unwrap_or(0));
        let place = self.tasks.get_mut(number)?;
        let task = place.as_mut()?;
        // Wakes during the poll queue it again.
        task.signal.queued.store(false, Ordering::Relaxed);
        let poll = task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&task.waker));
        match poll {
            Poll::Pending => None,
            Poll::Ready(()) => place.take().map(|task| task.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn executor(seed: u64) -> (SimulatedMachine, Executor) {
        let machine = SimulatedMachine::new(seed);
        let executor = Executor::new(&machine, SeededRandom::new(seed, 1 << 33));
        (machine, executor)
    }

    /// Lets other tasks go first, once.
    async fn yield_now() {
        let mut yielded = false;
        poll_fn(|context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn interleaving(seed: u64) -> Vec<u32> {
        let (_, mut executor) = executor(seed);
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..3 {
            let order = Rc::clone(&order);
            executor.spawn(TaskKind::Foreground, "writer", async move {
                for _ in 0..2 {
                    order.borrow_mut().push(number);
                    yield_now().await;
                }
            });
        }
        assert_eq!(executor.run(1000), Stop::Done);
        order.take()
    }

    #[test]
    fn the_seed_chooses_the_interleaving() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..3000 {
            let order = interleaving(seed);
            assert_eq!(order, interleaving(seed));
            seen.insert(order);
        }
        assert_eq!(
            seen.len(),
            90,
            "every order of 3 tasks with 2 turns each: 6! / (2! 2! 2!)"
        );
    }

    #[test]
    fn timers_wake_their_tasks_and_outcomes_arrive() {
        let (machine, mut executor) = executor(1);
        let sleep = machine.sleep_ns(5_000);
        let handle = executor.spawn(TaskKind::Foreground, "sleeper", async move {
            sleep.await;
            42
        });
        assert!(handle.take().is_none());
        assert_eq!(executor.run(1000), Stop::Done);
        assert_eq!((handle.take(), machine.now_ns()), (Some(42), 5_000));
        assert!(handle.take().is_none());
    }

    #[test]
    fn a_deadlock_names_its_tasks() {
        let (_, mut executor) = executor(1);
        executor.spawn(TaskKind::Foreground, "fine", async {});
        executor.spawn(TaskKind::Foreground, "stuck", std::future::pending::<()>());
        executor.spawn(
            TaskKind::Background,
            "patient",
            std::future::pending::<()>(),
        );
        assert_eq!(executor.run(1000), Stop::Deadlock(vec!["stuck".to_owned()]));
        let all = vec!["stuck".to_owned(), "patient".to_owned()];
        assert_eq!(executor.run_to_end(1000), Stop::Deadlock(all));
    }

    #[test]
    fn a_background_task_is_not_waited_for() {
        let (_, mut executor) = executor(1);
        executor.spawn(
            TaskKind::Background,
            "patient",
            std::future::pending::<()>(),
        );
        executor.spawn(TaskKind::Foreground, "quick", yield_now());
        assert_eq!(executor.run(1000), Stop::Done);
    }

    #[test]
    fn a_spinning_task_exhausts_its_moments() {
        let (_, mut executor) = executor(1);
        executor.spawn(TaskKind::Foreground, "spinner", async {
            loop {
                yield_now().await;
            }
        });
        assert_eq!(
            (executor.run(1000), executor.moments()),
            (Stop::Exhausted, 1000)
        );
    }
}
