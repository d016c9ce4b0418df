//! The cores, as the control thread sees them: mailboxes for orders, and answers that may stay out.

use std::cell::RefCell;
use std::time::Duration;

use corelith_io::MailboxSender;
use tokio::sync::oneshot;

use crate::connection::ConnectionReport;
use crate::core::Order;
use crate::metrics::CoreSnapshot;

/// How long a core may take to say what it is asked.
pub(super) const CORE_ANSWER: Duration = Duration::from_secs(2);

/// The mailboxes of all cores, by number.
pub(crate) struct Cores(RefCell<Vec<MailboxSender<Order>>>);

impl Cores {
    pub(crate) const fn new(mailboxes: Vec<MailboxSender<Order>>) -> Self {
        Self(RefCell::new(mailboxes))
    }

    fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Gives one core an order, and waits for its answer; `None` if there is none in time, or no such core.
    pub(super) async fn ask_one<T>(
        &self,
        core: usize,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        let given = match self.0.borrow_mut().get_mut(core) {
            Some(mailbox) => mailbox.try_send(order(sender)),
            None => return None,
        };
        given.ok()?;
        tokio::time::timeout(CORE_ANSWER, answer).await.ok()?.ok()
    }

    /// Gives every core an order, and waits for what they answer; `None` if one does not in time.
    pub(super) async fn ask<T>(
        &self,
        order: impl Fn(oneshot::Sender<T>) -> Order,
        patience: Duration,
    ) -> Option<Vec<T>> {
        let mut waiting = Vec::new();
        for core in self.0.borrow_mut().iter_mut() {
            let (sender, receiver) = oneshot::channel();
            core.try_send(order(sender)).ok()?;
            waiting.push(receiver);
        }
        let mut answers = Vec::new();
        for receiver in waiting {
            answers.push(tokio::time::timeout(patience, receiver).await.ok()?.ok()?);
        }
        Some(answers)
    }

    /// What all cores have counted.
    pub(super) async fn snapshots(&self) -> Option<Vec<CoreSnapshot>> {
        self.ask(Order::Report, CORE_ANSWER).await
    }

    /// All connections, asked for in steps so that no core is held by many of them.
    pub(super) async fn connections(&self) -> Option<Vec<ConnectionReport>> {
        let mut all = Vec::new();
        for core in 0..self.count() {
            let mut after = 0;
            loop {
                let order = |answer| Order::Connections { after, answer };
                let mut step = self.ask_one(core, order).await?;
                let Some(last) = step.last() else {
                    break;
                };
                after = last.number;
                all.append(&mut step);
            }
        }
        Some(all)
    }
}
