//! The oracle: what a store may answer, given everything it was asked and has answered so far.
//!
//! It follows, for each key, every way in which the operations may have gone (`possibility`), and finds a
//! violation when an answer leaves none:
//! - Operations on a key are linearizable: each takes effect at one instant between start and answer.
//! - An acknowledged write survives every crash. So does a write that a reader has seen.
//! - A write that a crash cut off before its answer has happened, or never will: the first reader after the
//!   restart settles it.
//! - A write answered "in doubt" may take effect at any time, until a later write is acknowledged.
//! - A write answered with a definite error never takes effect.
//! - Where clients ask for buffered writes, a crash may take those back, newest first on each key, that nothing
//!   vouches for: a durable write of the same log that began after their answer, a durable answer that rests on
//!   them, or the store's own word that nothing is on its way.
//! - Bytes that nobody wrote are always wrong.
//!
//! It never talks to a store and draws no random numbers. It is exact but for two things, which it counts:
//! losses that nothing vouches against, see [`Tolerance::batches_harmed`], and keys of which the store
//! itself says that it cannot tell: see [`Oracle::lose_track`], and writes on keys that are damaged.

mod acknowledged;
mod buffered;
mod clocks;
mod excuses;
mod possibility;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use crate::limits::{KEY_HISTORY_MAX, OPEN_WRITES_MAX};
use crate::subject::{Answer, Key, Operation, Stored, ValueId};
use acknowledged::{Acknowledged, Span, acknowledge, vouchers};
use clocks::LogClock;
pub use possibility::Ticket;
use possibility::{ClockSpan, Open, OpenOperations, Possibility, State};

/// What is not held against a store, because of the faults that its drives have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// A read may be answered with an error.
    pub unreadable: bool,
    /// How many batches drives may have destroyed without saying so. If any, a read may be answered with an
    /// error; and a write may be lost together with all that vouch for it, if there are few enough. A write
    /// vouches for all of its log that were acknowledged in its life before it began: the store has
    /// nothing else to notice the loss of its last batches by. Counted in [`Totals::stale`].
    pub batches_harmed: u64,
}

/// What a run has checked. A run in which these are small has proved little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Reads answered with what the key holds.
    pub reads: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Keys truncated, counted once each time.
    pub truncated: u64,
    /// Conditional writes refused.
    pub refused: u64,
    /// Writes answered with a definite error.
    pub not_done: u64,
    /// Writes answered "in doubt".
    pub in_doubt: u64,
    /// Operations that a crash cut off.
    pub cut_off: u64,
    /// Cut off or doubtful writes that were found to have happened.
    pub surfaced: u64,
    /// Reads answered with an error.
    pub unreadable: u64,
    /// Losses of acknowledged writes that were tolerated.
    pub stale: u64,
    /// Keys of which a crash took buffered writes back.
    pub taken_back: u64,
    /// Times that the store could not tell what a key holds, and that its loss was accepted.
    pub untold: u64,
}

/// An answer that no order of the operations explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: Key,
    /// What was asked.
    pub operation: Operation,
    /// What was answered.
    pub answer: Answer,
    /// What the key may have held.
    pub possible: Vec<String>,
    /// What happened on the key, oldest first.
    pub history: Vec<String>,
}

/// Everything that is known of all keys.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    keys: BTreeMap<Key, KeyRecord>,
    tolerance: Tolerance,
    totals: Totals,
    ticket_next: u64,
    /// Whether clients ask for buffered writes.
    is_buffered: bool,
    life: u64,
    /// Writes acknowledged in this life, by log, in the order of their answers.
    spans: BTreeMap<LogNumber, Vec<Span>>,
    /// What the clock of each log has shown since somebody asked last.
    clocks: BTreeMap<LogNumber, LogClock>,
    /// How many writes vouch for each of those, for the lives that have ended.
    vouchers: BTreeMap<(u64, LogNumber), Rc<[u64]>>,
}

/// Which log of the store holds a key.
pub type LogNumber = u64;

/// What is known of one key.
#[derive(Clone, Debug)]
struct KeyRecord {
    possible: BTreeSet<Possibility>,
    open: OpenOperations,
    /// Acknowledged changes in order, for the tolerance of losses.
    acknowledged: Vec<Acknowledged>,
    /// How many of those a read after a restart has confirmed.
    confirmed_count: usize,
    /// Behind how many of those a read found nothing there although none of them deletes: a delete or
    /// truncation that was never acknowledged had happened.
    emptied_after: Option<usize>,
    /// Where in `acknowledged` each value was when its write began.
    attempted: BTreeMap<ValueId, usize>,
    /// When each write of this life was answered, where writes may be buffered.
    answered: BTreeMap<Ticket, Ticket>,
    /// After a restart, until a get: what it held if nothing that was answered is taken back.
    if_all_kept: Option<BTreeSet<State>>,
    /// Values that were read although their writes were never acknowledged.
    surfaced: BTreeSet<ValueId>,
    log: LogNumber,
    /// The store has said that it cannot tell, and nothing has been read since.
    is_untold: bool,
    /// A get has been answered with an error in this life, on drives that harm data silently, and nothing
    /// has been read since.
    is_damaged: bool,
    /// The last write that healed it: when it was answered, and what it left.
    healed: Option<(Ticket, Stored)>,
    history: VecDeque<Event>,
}

#[derive(Clone, Debug)]
enum Event {
    Begin(Ticket, Operation),
    End(Ticket, Answer),
    Restart,
    LoseTrack,
}

impl Tolerance {
    fn excuses_errors(self) -> bool {
        self.unreadable || self.batches_harmed > 0
    }
}

impl Totals {
    /// Operations that were answered or cut off.
    pub fn operations(&self) -> u64 {
        let reads = self.reads + self.unreadable;
        let writes = self.writes + self.truncated + self.refused + self.not_done + self.in_doubt;
        reads + writes + self.cut_off
    }

    fn count(&mut self, answer: &Answer) {
        match answer {
            Answer::Found(_) | Answer::Seen(_) => self.reads += 1,
            Answer::Refused => self.refused += 1,
            Answer::NotDone(_) => self.not_done += 1,
            Answer::InDoubt => self.in_doubt += 1,
            Answer::Unreadable(_) | Answer::Mangled(_) => self.unreadable += 1,
            Answer::Written(_) | Answer::Deleted(_) => self.writes += 1,
            Answer::Truncated => self.truncated += 1,
        }
    }

    /// Adds another run's figures.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.truncated += other.truncated;
        self.refused += other.refused;
        self.not_done += other.not_done;
        self.in_doubt += other.in_doubt;
        self.cut_off += other.cut_off;
        self.surfaced += other.surfaced;
        self.unreadable += other.unreadable;
        self.stale += other.stale;
        self.taken_back += other.taken_back;
        self.untold += other.untold;
    }
}

impl Oracle {
    /// What is not held against the store from now on.
    pub fn set_tolerance(&mut self, tolerance: Tolerance) {
        self.tolerance = tolerance;
    }

    /// Drives may have destroyed so many batches by now.
    pub fn note_harm(&mut self, batches: u64) {
        self.tolerance.batches_harmed = batches;
    }

    /// What has been checked.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether a client may add a write to the open ones of a key.
    pub fn may_write(&self, key: Key) -> bool {
        let writes = |open: &&Open| open.operation.is_write();
        let open = self
            .keys
            .get(&key)
            .map_or(0, |record| record.open.values().filter(writes).count());
        open < OPEN_WRITES_MAX
    }

    /// Which log of the store holds a key; 0 unless told.
    pub fn set_log(&mut self, key: Key, log: LogNumber) {
        self.keys.entry(key).or_default().log = log;
    }

    /// The store has said that part of the key's log is lost, and somebody has accepted it. The next get
    /// tells what the key holds: any value that was ever written to it, or nothing. Only while nothing is
    /// under way.
    pub fn lose_track(&mut self, key: Key) {
        let record = self.keys.entry(key).or_default();
        if record.is_untold {
            return;
        }
        record.remember(Event::LoseTrack);
        record.is_untold = true;
        self.totals.untold += 1;
    }

    /// Whether nobody can say what the key holds. Until a get has told, nothing else may be asked.
    pub fn is_untold(&self, key: Key) -> bool {
        self.keys.get(&key).is_some_and(|record| record.is_untold)
    }

    /// An operation is about to be given to the store.
    pub fn begin(&mut self, key: Key, operation: Operation) -> Ticket {
        self.begin_as(key, (operation, false))
    }

    /// The same, of one that may be answered ahead of the device.
    pub fn begin_as(&mut self, key: Key, (operation, is_buffered): (Operation, bool)) -> Ticket {
        let may_be_lost = self.is_buffered;
        let ticket = self.mint();
        let record = self.keys.entry(key).or_default();
        let now = self.clocks.get(&record.log).map(|clock| clock.now);
        let clock = ClockSpan::at(now.unwrap_or_default());
        record.remember(Event::Begin(ticket, operation));
        let possible = std::mem::take(&mut record.possible);
        let begin = |way: Possibility| way.begin(ticket, (operation, clock));
        record.possible = possible.into_iter().map(begin).collect();
        record.open.insert(
            ticket,
            Open {
                operation,
                doubted: None,
                may_be_lost,
                is_buffered,
                clock,
            },
        );
        if let Operation::Put(value) | Operation::Create(value) | Operation::PutIf { value, .. } =
            operation
        {
            record.attempted.insert(value, record.acknowledged.len());
        }
        ticket
    }

    /// The store has answered the operation. `Err` if no order of the operations explains it.
    pub fn end(&mut self, key: Key, ticket: Ticket, answer: Answer) -> Result<(), Box<Violation>> {
        let now = self.mint();
        let record = self.keys.entry(key).or_default();
        let Some(asked) = record.open.get(&ticket).copied() else {
            panic!("{key}: an answer to an operation that never began or was cut off");
        };
        let operation = asked.operation;
        record.remember(Event::End(ticket, answer.clone()));
        let excuses_errors = self.tolerance.excuses_errors();
        let before = std::mem::take(&mut record.possible);
        let open = &mut record.open;
        let after: BTreeSet<Possibility> = match &answer {
            Answer::NotDone(_) if operation.is_write() => before
                .iter()
                .cloned()
                .filter_map(|way| way.not_done(ticket))
                .collect(),
            Answer::InDoubt if operation.is_write() => {
                open.insert(
                    ticket,
                    Open {
                        doubted: Some(now),
                        ..asked
                    },
                );
                before
                    .iter()
                    .cloned()
                    .map(|way| way.doubt(ticket))
                    .collect()
            }
            Answer::Unreadable(_) if excuses_errors && !operation.is_write() => before
                .iter()
                .cloned()
                .filter_map(|way| way.not_done(ticket))
                .collect(),
            Answer::NotDone(_) | Answer::InDoubt | Answer::Unreadable(_) | Answer::Mangled(_) => {
                BTreeSet::new()
            }
            answer => {
                let ways = before.iter().cloned();
                ways.flat_map(|way| way.answered(ticket, (operation, answer), open))
                    .collect()
            }
        };
        record.possible = after;
        let span = Span {
            began: ticket,
            answered: now,
        };
        if record.possible.is_empty() || record.is_untold {
            record.possible = before;
            let is_excused = self.tells(key, &answer)
                || self.heals(key, (operation, span), &answer)
                || self.tolerates(key, &answer);
            if !is_excused {
                return Err(self.violation(key, operation, answer));
            }
        }
        self.close(key, ticket);
        self.vouch_by(key, (ticket, asked), &answer);
        self.count(key, (operation, span), &answer);
        Ok(())
    }

    /// The machine lost power, or the process was killed or stopped. What was under way is settled from
    /// here on: it has happened, or never will.
    pub fn restart(&mut self) {
        for (log, spans) in std::mem::take(&mut self.spans) {
            self.vouchers
                .insert((self.life, log), vouchers(&spans).into());
        }
        self.life += 1;
        for record in self.keys.values_mut() {
            record.remember(Event::Restart);
            record.is_damaged = false;
            record.answered.clear();
            let open = std::mem::take(&mut record.open);
            let unanswered = open.values().filter(|open| open.doubted.is_none()).count();
            self.totals.cut_off += u64::try_from(unanswered).unwrap_or(0);
            let possible = std::mem::take(&mut record.possible).into_iter();
            let possible: BTreeSet<Possibility> = possible.map(Possibility::cut_off).collect();
            let states = possible.into_iter().flat_map(|way| way.after_crash(&open));
            let (kept, past): (Vec<_>, Vec<_>) = states.unzip();
            let past = past.into_iter().flatten();
            record.if_all_kept = self.is_buffered.then(|| kept.iter().copied().collect());
            let states = kept.into_iter().chain(past);
            record.possible = states.map(Possibility::settled).collect();
        }
    }

    /// Whether the store's list of keys is right. Only meaningful while nothing is under way.
    pub fn check_keys(&self, found: &[Key]) -> Result<(), String> {
        let unique: BTreeSet<&Key> = found.iter().collect();
        if unique.len() != found.len() {
            return Err(format!("a scan returned a key twice: {found:?}"));
        }
        for key in found {
            let may = |record: &KeyRecord| {
                let mut states = record.possible.iter().map(Possibility::state);
                states.any(|state| self.seen(record, state).any(|seen| seen.is_some()))
            };
            if !self.is_untold(*key)
                && !self.keys.get(key).is_some_and(may)
                && !self.may_be_back(*key)
            {
                return Err(format!("a scan returned {key}, which cannot be there"));
            }
        }
        for (key, record) in &self.keys {
            if !found.contains(key)
                && !record.is_untold
                && record.possible.iter().all(|way| {
                    let mut seen = self.seen(record, way.state());
                    seen.all(|seen| seen.is_some())
                })
            {
                return Err(format!("a scan did not return {key}, which must be there"));
            }
        }
        Ok(())
    }

    /// What the key holds, if there is only one possibility and it can be told. Only meaningful while nothing is under way.
    pub fn settled(&self, key: Key) -> Option<Option<Stored>> {
        let record = self.keys.get(&key)?;
        if record.is_untold || record.is_damaged {
            return None;
        }
        let mut states = record.possible.iter().map(Possibility::state);
        let first = states.next()?;
        states.all(|state| state == first).then_some(first)
    }

    fn mint(&mut self) -> Ticket {
        self.ticket_next += 1;
        Ticket(self.ticket_next)
    }

    /// Forgets operations that can take effect no more.
    fn close(&mut self, key: Key, ticket: Ticket) {
        let record = self.keys.entry(key).or_default();
        let possible = &record.possible;
        record.open.retain(|other, open| match open.doubted {
            Some(_) => possible.iter().any(|way| way.doubts(*other)),
            None => *other != ticket,
        });
    }

    fn count(&mut self, key: Key, (operation, span): (Operation, Span), answer: &Answer) {
        let totals = &mut self.totals;
        totals.count(answer);
        let record = self.keys.entry(key).or_default();
        let clock = self.clocks.get(&record.log).copied().unwrap_or_default();
        match answer {
            Answer::Found(_) | Answer::Seen(_) => record.is_damaged = false,
            Answer::Unreadable(_) => record.is_damaged |= self.tolerance.batches_harmed > 0,
            _ => {}
        }
        let state = match (operation, answer) {
            (
                Operation::Put(value) | Operation::Create(value) | Operation::PutIf { value, .. },
                Answer::Written(generation),
            ) => Some(Stored {
                value,
                generation: *generation,
            }),
            (Operation::Delete, Answer::Deleted(true))
            | (Operation::Truncate, Answer::Truncated) => None,
            (Operation::Get, Answer::Found(state)) => {
                let kept = record.if_all_kept.take();
                totals.taken_back += u64::from(kept.is_some_and(|kept| !kept.contains(state)));
                let now = ClockSpan::at(clock.now);
                let seen = |known: &Acknowledged| now.seen(known.state).any(|seen| seen == *state);
                let position = record.acknowledged.iter().rposition(seen);
                if let (None, Some(stored)) = (position, state)
                    && record.surfaced.insert(stored.value)
                {
                    totals.surfaced += 1;
                }
                // A read in the same life proves nothing of what the next start finds. One in a later life
                // proves that whatever else is known of earlier lives came before.
                let known = record.acknowledged.iter();
                let earlier = known.take_while(|known| known.life < self.life).count();
                let behind = position.and_then(|at| record.acknowledged.get_mut(at..earlier));
                if let Some(behind) = behind.filter(|behind| !behind.is_empty()) {
                    behind.rotate_left(1);
                    record.confirmed_count = earlier;
                }
                // The same where no change that is known emptied it. With one of this life nobody can tell
                // which came first.
                if (position, state) == (None, &None)
                    && earlier == record.acknowledged.len()
                    && earlier > 0
                {
                    record.emptied_after = Some(earlier);
                    record.confirmed_count = earlier;
                }
                return;
            }
            _ => return,
        };
        let spans = self.spans.entry(record.log).or_default();
        let (life, number) = (self.life, spans.len());
        spans.push(span);
        let new = Acknowledged {
            state,
            life,
            number,
            span,
        };
        acknowledge(&mut record.acknowledged, new);
    }

    fn violation(&self, key: Key, operation: Operation, answer: Answer) -> Box<Violation> {
        let record = self.keys.get(&key).cloned().unwrap_or_default();
        let states: BTreeSet<State> = record.possible.iter().map(Possibility::state).collect();
        let describe = |state: &State| Answer::Found(*state).to_string();
        Box::new(Violation {
            key,
            operation,
            answer,
            possible: states.iter().map(describe).collect(),
            history: record.history.iter().map(ToString::to_string).collect(),
        })
    }
}

impl Default for KeyRecord {
    fn default() -> Self {
        Self {
            healed: None,
            possible: BTreeSet::from([Possibility::settled(None)]),
            open: OpenOperations::new(),
            acknowledged: Vec::new(),
            confirmed_count: 0,
            emptied_after: None,
            attempted: BTreeMap::new(),
            answered: BTreeMap::new(),
            if_all_kept: None,
            surfaced: BTreeSet::new(),
            log: 0,
            is_untold: false,
            is_damaged: false,
            history: VecDeque::new(),
        }
    }
}

impl KeyRecord {
    /// The key holds this and nothing else, whatever else is under way.
    fn settle(&mut self, state: State) {
        let mut settled = Possibility::settled(state);
        for (ticket, open) in &self.open {
            settled = settled.begin(*ticket, (open.operation, open.clock));
            if open.doubted.is_some() {
                settled = settled.doubt(*ticket);
            }
        }
        self.possible = BTreeSet::from([settled]);
    }

    fn remember(&mut self, event: Event) {
        if self.history.len() == KEY_HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(ticket, operation) => write!(formatter, "[{}] {operation}", ticket.0),
            Self::End(ticket, answer) => write!(formatter, "[{}] answered: {answer}", ticket.0),
            Self::Restart => write!(formatter, "==== restart"),
            Self::LoseTrack => write!(formatter, "nobody can tell what the key holds"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            operation,
            answer,
            possible,
            history,
        } = self;
        writeln!(formatter, "{key}: {operation} was answered: {answer}")?;
        writeln!(
            formatter,
            "before, it may have held: {}",
            possible.join(" | ")
        )?;
        writeln!(formatter, "its history:")?;
        history
            .iter()
            .try_for_each(|event| writeln!(formatter, "  {event}"))
    }
}
