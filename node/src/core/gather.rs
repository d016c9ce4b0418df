//! What all cores have counted, for a request that arrived at one of them: it asks the others by mailbox and
//! answers when all have said. No core waits: each puts its snapshot into the mailbox and goes on.
//!
//! Invariant: a question takes a credit like a request that is handed over, so its answer has its place.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Poll, Waker};

use super::Core;
use crate::hop::{Count, Peer};
use crate::limits::GATHERINGS_MAX;
use crate::metrics::CoreSnapshot;

/// The gatherings of one core.
#[derive(Default)]
pub(crate) struct Gatherings {
    next_number: Cell<u64>,
    under_way: RefCell<HashMap<u64, Gathering>>,
}

/// One of them.
#[derive(Default)]
struct Gathering {
    snapshots: Vec<CoreSnapshot>,
    waker: Option<Waker>,
}

/// Too much is on its way to another core, or too many gatherings are under way.
pub(crate) struct GatherBusy;

impl Core {
    /// What every core has counted, in their order.
    pub(crate) async fn gather(&self) -> Result<Vec<CoreSnapshot>, GatherBusy> {
        let number = self.gatherings.begin()?;
        let ending = Ending {
            gatherings: &self.gatherings,
            number,
        };
        let peers: Vec<&Peer> = self.peers.iter().flatten().collect();
        if peers.iter().any(|peer| peer.ask(number).is_err()) {
            return Err(GatherBusy);
        }
        self.gathered(number, self.snapshot());
        let mut snapshots = self.gatherings.all(number, peers.len() + 1).await;
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

    /// A core has said what it counted; nobody may want to know any more.
    pub(crate) fn gathered(&self, number: u64, snapshot: CoreSnapshot) {
        let mut under_way = self.gatherings.under_way.borrow_mut();
        if let Some(gathering) = under_way.get_mut(&number) {
            gathering.snapshots.push(snapshot);
            if let Some(waker) = gathering.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Gatherings {
    fn begin(&self) -> Result<u64, GatherBusy> {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= GATHERINGS_MAX {
            return Err(GatherBusy);
        }
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        under_way.insert(number, Gathering::default());
        Ok(number)
    }

    /// Waits until there are `count` snapshots, and takes them.
    async fn all(&self, number: u64, count: usize) -> Vec<CoreSnapshot> {
        std::future::poll_fn(|context| {
            let mut under_way = self.under_way.borrow_mut();
            let Some(gathering) = under_way.get_mut(&number) else {
                return Poll::Ready(Vec::new());
            };
            if gathering.snapshots.len() < count {
                gathering.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut gathering.snapshots))
        })
        .await
    }
}

/// Forgets a gathering, however it ends.
struct Ending<'a> {
    gatherings: &'a Gatherings,
    number: u64,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.gatherings.under_way.borrow_mut().remove(&self.number);
    }
}
