//! Answers that no order of the operations explains, and that are not held against a store all the same: losses
//! that nothing vouches against, first news of keys that nobody could tell, writes on damaged keys.

use super::acknowledged::Acknowledged;
use super::possibility::ClockSpan;
use super::{Event, Oracle, Span};
use crate::subject::{Answer, Key, Operation, Stored, ValueId};

impl Oracle {
    /// Whether a read that no order explains is a loss that the drives' faults excuse. The key then holds
    /// what was read.
    pub(super) fn tolerates(&mut self, key: Key, answer: &Answer) -> bool {
        let (Answer::Found(state), Some(record)) = (answer, self.keys.get_mut(&key)) else {
            return false;
        };
        let clock = self.clocks.get(&record.log).copied().unwrap_or_default();
        let now = ClockSpan::at(clock.now);
        let position = record
            .acknowledged
            .iter()
            .rposition(|known| now.seen(known.state).any(|seen| seen == *state));
        let kept = match (position, state) {
            // A read has told that this was gone by then.
            (Some(position), _) if record.emptied_after > Some(position) => return false,
            (Some(position), _) => position + 1,
            (None, None) => record.emptied_after.unwrap_or(0),
            (None, Some(stored)) => match record.attempted.get(&stored.value) {
                Some(kept) => *kept,
                None => return false,
            },
        };
        // A delete and a put that were under way together may have gone either way.
        let found = position.and_then(|position| record.acknowledged.get(position));
        let is_later =
            |change: &&Acknowledged| !found.is_some_and(|found| change.is_unordered(found));
        let behind = record.acknowledged.get(kept..).unwrap_or_default();
        let lost: Vec<_> = behind.iter().filter(is_later).collect();
        let (harmed, log) = (self.tolerance.batches_harmed, record.log);
        let vouched = |change: &Acknowledged| {
            let vouchers = self.vouchers.get(&(change.life, log));
            vouchers.and_then(|vouchers| vouchers.get(change.number).copied())
        };
        // One of the batches is the lost write's own.
        let excused = |lost: &&Acknowledged| vouched(lost).is_some_and(|count| count < harmed);
        // What is lost was never acknowledged: another answer has told that it had happened, a condition not
        // met for instance. What vouches for it vouches for the last that is kept, too.
        let last_is_excused = || {
            let count = found.and_then(&vouched);
            harmed > 0 && count.is_some_and(|count| count <= harmed)
        };
        // If all of them may have gone before, one did not, since no order explains the answer.
        let is_excused = match lost.as_slice() {
            [] if behind.is_empty() => last_is_excused(),
            [] => behind.iter().any(|change| excused(&change)),
            lost => lost.iter().all(excused),
        };
        if kept < record.confirmed_count || !is_excused {
            return false;
        }
        // What was found may be nothing because that has expired.
        let found_state = found.map_or(*state, |found| found.state);
        record.acknowledged.truncate(kept);
        record.emptied_after = record.emptied_after.filter(|after| *after <= kept);
        record.settle(found_state);
        self.totals.stale += 1;
        true
    }

    /// Whether this is the first news of a key that nobody could tell.
    pub(super) fn tells(&mut self, key: Key, answer: &Answer) -> bool {
        let Some(record) = self.keys.get_mut(&key).filter(|record| record.is_untold) else {
            return false;
        };
        match answer {
            Answer::Found(state) => {
                let is_known = |stored: Stored| record.attempted.contains_key(&stored.value);
                if !state.is_none_or(is_known) {
                    return false;
                }
                // An older value that has expired is not told from nothing: the clock may show it again.
                let expires = |value: &ValueId| value.expiry().is_some();
                if state.is_none() && record.attempted.keys().any(expires) {
                    return true;
                }
                record.is_untold = false;
                record.acknowledged.clear();
                record.confirmed_count = 0;
                record.emptied_after = None;
                record.attempted.values_mut().for_each(|kept| *kept = 0);
                record.settle(*state);
                true
            }
            Answer::Unreadable(_) => self.tolerance.excuses_errors(),
            Answer::Seen(_)
            | Answer::Written(_)
            | Answer::Deleted(_)
            | Answer::Truncated
            | Answer::Refused
            | Answer::NotDone(_)
            | Answer::InDoubt
            | Answer::Mangled(_) => false,
        }
    }

    /// Whether this is a write on a damaged key: the error has told that nobody knows what the key held, so
    /// nobody can say which generation follows. From then on it holds what was written.
    ///
    /// Writes that were under way together may be answered in any order; the generations tell which came first.
    pub(super) fn heals(
        &mut self,
        key: Key,
        (operation, span): (Operation, Span),
        answer: &Answer,
    ) -> bool {
        let record = self.keys.entry(key).or_default();
        let state = match (operation, answer) {
            _ if !record.is_damaged || record.is_untold => return false,
            (
                Operation::Put(value) | Operation::Create(value) | Operation::PutIf { value, .. },
                Answer::Written(generation),
            ) => {
                let healed = record.healed.filter(|(at, _)| *at > span.began);
                let later = healed.filter(|(_, stored)| stored.generation > *generation);
                let stored = Stored {
                    value,
                    generation: *generation,
                };
                let stored = later.map_or(stored, |(_, later)| later);
                record.healed = Some((span.answered, stored));
                Some(stored)
            }
            (Operation::Delete, Answer::Deleted(_)) | (Operation::Truncate, Answer::Truncated) => {
                None
            }
            _ => return false,
        };
        record.remember(Event::LoseTrack);
        record.settle(state);
        self.totals.untold += 1;
        true
    }

    /// Whether a key that a scan returned may hold what it held before a change that is lost: a get of it was
    /// answered with an error, and one that had found the older value would have been tolerated.
    pub(super) fn may_be_back(&self, key: Key) -> bool {
        let Some(record) = self.keys.get(&key).filter(|record| record.is_damaged) else {
            return false;
        };
        let older = record.acknowledged.iter().filter_map(|known| known.state);
        older
            .map(|stored| Answer::Found(Some(stored)))
            .any(|answer| self.clone().tolerates(key, &answer))
    }
}
