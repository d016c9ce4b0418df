//! Writes that are answered ahead of the device: what a crash may take back, and what vouches that it does not.

use super::possibility::{Open, Ticket};
use super::{KeyRecord, LogNumber, Oracle};
use crate::subject::{Answer, Key};

impl Oracle {
    /// Clients may ask for buffered writes from now on.
    pub fn expect_buffered(&mut self) {
        self.is_buffered = true;
    }

    /// The store says that nothing of a log is on its way: what has been answered is durable.
    pub fn note_settled(&mut self, log: LogNumber) {
        let now = self.mint();
        self.vouch(log, now);
    }

    /// The store has stopped in good order: all that has been answered is durable.
    pub fn note_all_settled(&mut self) {
        let now = self.mint();
        let records = self.keys.values_mut();
        records.for_each(|record| record.vouch(now, None));
    }

    /// Every write of a log that was answered before `moment` is durable.
    fn vouch(&mut self, log: LogNumber, moment: Ticket) {
        let of_log = self.keys.values_mut().filter(|record| record.log == log);
        of_log.for_each(|record| record.vouch(moment, None));
    }

    /// What an answer says of earlier buffered writes.
    pub(super) fn vouch_by(&mut self, key: Key, (ticket, open): (Ticket, Open), answer: &Answer) {
        let record = self.keys.entry(key).or_default();
        let changes = matches!(answer, Answer::Written(_) | Answer::Deleted(true));
        if !self.is_buffered || !open.operation.is_write() {
            return;
        }
        if changes {
            let now = self.ticket_next;
            record.answered.insert(ticket, Ticket(now));
        }
        match answer {
            _ if open.is_buffered => {}
            // It waited for its own batch, and batches settle in the order of their log.
            Answer::Written(_) | Answer::Deleted(true) => {
                record.vouch(ticket, Some(ticket));
                let log = record.log;
                self.vouch(log, ticket);
            }
            // It waited for the version that it rests on.
            Answer::Refused | Answer::Deleted(false) => record.vouch(ticket, None),
            _ => {}
        }
    }
}

impl KeyRecord {
    /// What was answered before `moment`, and the write `own`, is durable.
    fn vouch(&mut self, moment: Ticket, own: Option<Ticket>) {
        let answered = &self.answered;
        let is_durable = |change: Ticket| {
            Some(change) == own || answered.get(&change).is_some_and(|at| *at < moment)
        };
        let possible = std::mem::take(&mut self.possible).into_iter();
        self.possible = possible.map(|way| way.forget_past(is_durable)).collect();
    }
}
