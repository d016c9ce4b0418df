//! What followers of the store's logs were given, and whether that is right.
//!
//! - Positions and versions grow; nothing is given twice, and nothing that nobody wrote.
//! - What was given is there after every crash, and nothing comes to be before it: a second follower, from the oldest
//!   position on, is given the same again.
//! - Every acknowledged write was given, once the log has been followed to its end.
//! - What the changes leave, one after the other, is what a get finds.
//!
//! Where part of the log was reclaimed before it was followed, or is damaged, all that is known ends, and begins again behind.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::LogNumber;
use crate::subject::{FeedChange, FeedEvent, FeedMeaning, Key, Stored, ValueId};

/// A position in a log: of a batch, and in it.
type Place = (u64, u32);

/// What is known of all logs.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    logs: BTreeMap<LogNumber, LogFeed>,
    /// Whether drives may fail to return what is there.
    may_be_damaged: bool,
    /// What went wrong, if anything did.
    wrong: Option<String>,
    figures: FeedFigures,
}

/// What followers have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedFigures {
    /// Changes given, each counted once.
    pub changes: u64,
    /// Of those, changes that were given again after a start and compared.
    pub compared: u64,
    /// Acknowledged writes that were found among them.
    pub found: u64,
    /// Keys whose state after all changes was compared with what a get had found.
    pub states: u64,
    /// Times that a follower was behind the oldest position.
    pub reclaimed: u64,
    /// Times that a follower was told of damage.
    pub damaged: u64,
}

/// What is known of one log.
#[derive(Clone, Debug)]
struct LogFeed {
    /// Where the follower goes on.
    next: u64,
    /// From here to `next` everything is in `given`.
    given_from: u64,
    given: BTreeMap<Place, FeedChange>,
    /// What the keys hold after all of them; nothing of a key of which that is not known.
    states: BTreeMap<Key, Option<(Stored, u16)>>,
    version: u64,
    /// Acknowledged writes that must come.
    expected: BTreeSet<ValueId>,
    /// Values of all changes that were given.
    values: BTreeSet<ValueId>,
}

/// A second look at one log, from the oldest position on.
#[derive(Debug)]
pub struct Look {
    log: LogNumber,
    from: u64,
    found: BTreeMap<Place, FeedChange>,
    is_damaged: bool,
    /// It came to the end.
    end: Option<u64>,
}

impl FeedFigures {
    /// Adds another run's figures.
    pub fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.compared += other.compared;
        self.found += other.found;
        self.states += other.states;
        self.reclaimed += other.reclaimed;
        self.damaged += other.damaged;
    }
}

impl Default for LogFeed {
    fn default() -> Self {
        Self {
            next: 1,
            given_from: 1,
            given: BTreeMap::new(),
            states: BTreeMap::new(),
            version: 0,
            expected: BTreeSet::new(),
            values: BTreeSet::new(),
        }
    }
}

impl Look {
    /// A look that begins at position `from`.
    pub fn new(log: LogNumber, from: u64) -> Self {
        Self {
            log,
            from,
            found: BTreeMap::new(),
            is_damaged: false,
            end: None,
        }
    }

    /// Takes what the follower was given.
    pub fn take(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Change(change) => {
                self.found.insert(change.place, change);
            }
            FeedEvent::Reclaimed { oldest } => *self = Self::new(self.log, oldest),
            FeedEvent::Damaged { .. } => self.is_damaged = true,
            FeedEvent::End { next } => self.end = Some(next),
        }
    }
}

impl Feed {
    /// Drives may fail to return what is there.
    pub fn expect_damage(&mut self) {
        self.may_be_damaged = true;
    }

    /// What went wrong, if anything did.
    pub fn take_wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    /// What followers have come to.
    pub fn figures(&self) -> FeedFigures {
        self.figures
    }

    /// Where the follower of a log goes on.
    pub fn next(&self, log: LogNumber) -> u64 {
        self.logs.get(&log).map_or(1, |feed| feed.next)
    }

    /// A durable write was acknowledged.
    pub fn acknowledge(&mut self, log: LogNumber, value: ValueId) {
        let feed = self.logs.entry(log).or_default();
        if !feed.values.contains(&value) {
            feed.expected.insert(value);
        } else {
            self.figures.found += 1;
        }
    }

    /// Nothing that is known of any log counts any more: drives have harmed data silently.
    pub fn forget(&mut self) {
        for feed in self.logs.values_mut() {
            feed.forget_up_to(feed.next);
        }
    }

    /// The follower that goes on and on was given this.
    pub fn take(&mut self, log: LogNumber, event: FeedEvent) {
        let feed = self.logs.entry(log).or_default();
        match event {
            FeedEvent::Change(change) => {
                self.figures.changes += 1;
                let wrong = feed.add(change, &mut self.figures);
                self.fail(wrong);
            }
            FeedEvent::Reclaimed { oldest } => {
                self.figures.reclaimed += 1;
                let next = feed.next;
                feed.forget_up_to(oldest);
                let is_behind = oldest > next;
                let wrong = format!("reclaimed up to {oldest}, and the follower stands at {next}");
                self.fail((!is_behind).then_some(wrong));
            }
            FeedEvent::Damaged { last } => {
                self.figures.damaged += 1;
                feed.forget_up_to(last + 1);
                let wrong = format!("damage up to {last} on drives that do none");
                self.fail((!self.may_be_damaged).then_some(wrong));
            }
            FeedEvent::End { next } => feed.next = feed.next.max(next),
        }
    }

    /// Compares a look at the whole log with what was given before, and goes on behind it. Only while nothing is under
    /// way. `state_of` says what a get has found, if that is known.
    pub fn compare(&mut self, look: Look, state_of: impl Fn(Key) -> Option<Option<Stored>>) {
        let Some(end) = look.end else { return };
        let log = look.log;
        if look.is_damaged {
            self.figures.damaged += 1;
            let feed = self.logs.entry(log).or_default();
            feed.forget_up_to(end);
            if !self.may_be_damaged {
                self.fail(Some("damage on drives that do none".to_owned()));
            }
            return;
        }
        let feed = self.logs.entry(log).or_default();
        if look.from > feed.next {
            self.figures.reclaimed += 1;
            feed.forget_up_to(look.from);
        }
        let from = (look.from.max(feed.given_from), 0);
        let to = (feed.next, 0);
        let before: Vec<&FeedChange> = match from < to {
            true => feed
                .given
                .range(from..to)
                .map(|(_, change)| change)
                .collect(),
            false => Vec::new(),
        };
        let again: Vec<&FeedChange> = match from < to {
            true => look
                .found
                .range(from..to)
                .map(|(_, change)| change)
                .collect(),
            false => Vec::new(),
        };
        self.figures.compared += u64::try_from(again.len()).unwrap_or(0);
        if before != again {
            let differ = before.iter().zip(&again).find(|(one, other)| one != other);
            let wrong = format!(
                "log {log}: from {from:?} to {to:?}, {} changes were given and are {} now: {differ:?}",
                before.len(),
                again.len()
            );
            return self.fail(Some(wrong));
        }
        let mut given = look.found;
        let new = given.split_off(&to);
        feed.given = given;
        feed.given_from = look.from;
        for change in new.into_values() {
            self.take(log, FeedEvent::Change(change));
        }
        self.take(log, FeedEvent::End { next: end });
        self.check_end(log, state_of);
    }

    /// The log was followed to its end.
    fn check_end(&mut self, log: LogNumber, state_of: impl Fn(Key) -> Option<Option<Stored>>) {
        let feed = self.logs.entry(log).or_default();
        if let Some(value) = feed.expected.pop_first() {
            let wrong =
                format!("log {log}: {value} was acknowledged, and no follower was given it");
            return self.fail(Some(wrong));
        }
        for (key, state) in &feed.states {
            let state = state.map(|(stored, _)| stored);
            let Some(found) = state_of(*key) else {
                continue;
            };
            self.figures.states += 1;
            if found != state {
                let wrong =
                    format!("log {log}: {key} holds {found:?}, its changes leave {state:?}");
                return self.fail(Some(wrong));
            }
        }
    }

    fn fail(&mut self, wrong: Option<String>) {
        if let Some(wrong) = wrong {
            self.wrong.get_or_insert(wrong);
        }
    }
}

impl LogFeed {
    fn forget_up_to(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.given_from = self.next;
        self.given.clear();
        self.states.clear();
        self.expected.clear();
    }

    /// Takes one more change. Returns what is wrong with it.
    fn add(&mut self, change: FeedChange, figures: &mut FeedFigures) -> Option<String> {
        let last = self.given.last_key_value().map(|(place, _)| *place);
        if change.place.0 < self.next || last.is_some_and(|last| last >= change.place) {
            return Some(format!("{change:?} was given behind {last:?}"));
        }
        if change.version <= self.version {
            return Some(format!(
                "{change:?} was given behind version {}",
                self.version
            ));
        }
        self.version = change.version;
        self.given.insert(change.place, change);
        match change.meaning {
            FeedMeaning::Put { key, stored, set } => {
                if !self.values.insert(stored.value) {
                    return Some(format!("{change:?} was given before"));
                }
                figures.found += u64::from(self.expected.remove(&stored.value));
                self.states.insert(key, Some((stored, set)));
            }
            FeedMeaning::Delete(key) => {
                self.states.insert(key, None);
            }
            FeedMeaning::Truncate(set) => {
                let is_of = |stored: &Option<(Stored, u16)>| {
                    stored.is_some_and(|(_, of)| set == 0 || of == set)
                };
                let states = self.states.values_mut();
                states
                    .filter(|state| is_of(state))
                    .for_each(|state| *state = None);
            }
            FeedMeaning::DefineSet => {}
            FeedMeaning::Mangled => return Some(format!("{change:?} is nobody's")),
        }
        None
    }
}
