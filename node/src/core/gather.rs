//! What takes all cores, for a request that arrived at one of them: it asks the others by mailbox and answers
//! when all have said. What they have counted, each puts into the mailbox and goes on; what they have
//! truncated follows when it is durable.
//!
//! Invariant: a question takes a credit like a request that is handed over, so its answer has its place.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Poll, Waker};

use super::{Core, Truncated};
use crate::hop::{Count, Peer};
use crate::limits::GATHERINGS_MAX;
use crate::metrics::CoreSnapshot;

/// What one core has asked the others.
#[derive(Default)]
pub(crate) struct Questions {
    counts: Gatherings<CoreSnapshot>,
    pub(super) truncations: Gatherings<Truncated>,
}

/// The gatherings of one core for which the others answer with a `T`.
pub(crate) struct Gatherings<T> {
    next_number: Cell<u64>,
    under_way: RefCell<HashMap<u64, Gathering<T>>>,
}

/// One of them.
struct Gathering<T> {
    answers: Vec<T>,
    waker: Option<Waker>,
}

impl<T> Default for Gatherings<T> {
    fn default() -> Self {
        Self {
            next_number: Cell::new(0),
            under_way: RefCell::default(),
        }
    }
}

/// Too much is on its way to another core, or too many gatherings are under way.
pub(crate) struct GatherBusy;

impl Core {
    /// What every core has counted, in their order.
    pub(crate) async fn gather(&self) -> Result<Vec<CoreSnapshot>, GatherBusy> {
        let ending = self.questions.counts.begin()?;
        let number = ending.number;
        let peers: Vec<&Peer> = self.peers.iter().flatten().collect();
        if peers.iter().any(|peer| peer.ask(number).is_err()) {
            return Err(GatherBusy);
        }
        self.questions.counts.add(number, self.snapshot());
        let mut snapshots = self.questions.counts.all(number, peers.len() + 1).await;
        drop(ending);
        snapshots.sort_by_key(|snapshot| snapshot.core);
        Ok(snapshots)
    }

    /// Another core asks.
    pub(crate) fn count_for(&self, from: u16, number: u64) {
        if let Some(Some(peer)) = self.peers.get(usize::from(from)) {
            let snapshot = self.snapshot();
            peer.tell(Count { number, snapshot });
        }
    }

    /// A core has said what it counted.
    pub(crate) fn gathered(&self, number: u64, snapshot: CoreSnapshot) {
        self.questions.counts.add(number, snapshot);
    }
}

impl<T> Gatherings<T> {
    pub(crate) fn begin(&self) -> Result<Ending<'_, T>, GatherBusy> {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= GATHERINGS_MAX {
            return Err(GatherBusy);
        }
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let gathering = Gathering {
            answers: Vec::new(),
            waker: None,
        };
        under_way.insert(number, gathering);
        Ok(Ending {
            gatherings: self,
            number,
        })
    }

    /// A core has answered; nobody may want to know any more.
    pub(crate) fn add(&self, number: u64, answer: T) {
        let mut under_way = self.under_way.borrow_mut();
        if let Some(gathering) = under_way.get_mut(&number) {
            gathering.answers.push(answer);
            if let Some(waker) = gathering.waker.take() {
                waker.wake();
            }
        }
    }

    /// Waits until there are `count` answers, and takes them.
    pub(crate) async fn all(&self, number: u64, count: usize) -> Vec<T> {
        std::future::poll_fn(|context| {
            let mut under_way = self.under_way.borrow_mut();
            let Some(gathering) = under_way.get_mut(&number) else {
                return Poll::Ready(Vec::new());
            };
            if gathering.answers.len() < count {
                gathering.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut gathering.answers))
        })
        .await
    }
}

/// Forgets a gathering, however it ends.
pub(crate) struct Ending<'a, T> {
    gatherings: &'a Gatherings<T>,
    pub(crate) number: u64,
}

impl<T> Drop for Ending<'_, T> {
    fn drop(&mut self) {
        self.gatherings.under_way.borrow_mut().remove(&self.number);
    }
}
