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
//! - Bytes that nobody wrote are always wrong.
//!
//! It never talks to a store and draws no random numbers. It is exact but for one thing, which it counts:
//! see [`Tolerance::stale_distance_max`].

mod possibility;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::limits::{KEY_HISTORY_MAX, OPEN_WRITES_MAX};
use crate::subject::{Answer, Key, Operation, ValueId};
pub use possibility::Ticket;
use possibility::{Open, OpenOperations, Possibility, State};

/// What is not held against a store, because of the faults that its drives have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// A read may be answered with an error.
    pub unreadable: bool,
    /// Where a drive may lose writes that it has acknowledged: how many later acknowledgements, of any key,
    /// a lost write may have had in its life. The store has nothing to notice the loss of its last batches
    /// by. Counted in [`Totals::stale`]. 0 tolerates none.
    pub stale_distance_max: u64,
}

/// What a run has checked. A run in which these are small has proved little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Reads answered with what the key holds.
    pub reads: u64,
    /// Writes acknowledged.
    pub writes: u64,
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
    life: u64,
    /// Writes acknowledged in this life.
    acknowledgements: u64,
    /// The same for each life that has ended.
    acknowledgements_of: Vec<u64>,
}

/// What is known of one key.
#[derive(Clone, Debug)]
struct KeyRecord {
    possible: BTreeSet<Possibility>,
    open: OpenOperations,
    /// Acknowledged changes in order, for the tolerance of losses.
    acknowledged: Vec<Acknowledged>,
    /// How many of those a read after a restart has confirmed.
    confirmed_count: usize,
    /// Where in `acknowledged` each value was when its write began.
    attempted: BTreeMap<ValueId, usize>,
    /// Values that were read although their writes were never acknowledged.
    surfaced: BTreeSet<ValueId>,
    history: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    state: State,
    life: u64,
    /// How many writes of any key had been acknowledged in that life, this one included.
    number: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Begin(Ticket, Operation),
    End(Ticket, Answer),
    Restart,
}

impl Totals {
    /// Adds another run's figures.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.refused += other.refused;
        self.not_done += other.not_done;
        self.in_doubt += other.in_doubt;
        self.cut_off += other.cut_off;
        self.surfaced += other.surfaced;
        self.unreadable += other.unreadable;
        self.stale += other.stale;
    }
}

impl Oracle {
    /// What is not held against the store from now on.
    pub fn set_tolerance(&mut self, tolerance: Tolerance) {
        self.tolerance = tolerance;
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

    /// An operation is about to be given to the store.
    pub fn begin(&mut self, key: Key, operation: Operation) -> Ticket {
        let ticket = self.mint();
        let record = self.keys.entry(key).or_default();
        record.remember(Event::Begin(ticket, operation));
        let possible = std::mem::take(&mut record.possible);
        let begin = |way: Possibility| way.begin(ticket, operation);
        record.possible = possible.into_iter().map(begin).collect();
        record.open.insert(
            ticket,
            Open {
                operation,
                doubted: None,
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
        let Some(Open { operation, .. }) = record.open.get(&ticket).copied() else {
            panic!("{key}: an answer to an operation that never began or was cut off");
        };
        record.remember(Event::End(ticket, answer.clone()));
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
                        operation,
                        doubted: Some(now),
                    },
                );
                before
                    .iter()
                    .cloned()
                    .map(|way| way.doubt(ticket))
                    .collect()
            }
            Answer::Unreadable(_) if self.tolerance.unreadable && !operation.is_write() => before
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
        if record.possible.is_empty() {
            record.possible = before;
            if !self.tolerates(key, &answer) {
                return Err(self.violation(key, operation, answer));
            }
        }
        self.close(key, ticket);
        self.count(key, operation, &answer);
        Ok(())
    }

    /// The machine lost power, or the process was killed or stopped. What was under way is settled from
    /// here on: it has happened, or never will.
    pub fn restart(&mut self) {
        self.acknowledgements_of
            .push(std::mem::take(&mut self.acknowledgements));
        self.life += 1;
        for record in self.keys.values_mut() {
            record.remember(Event::Restart);
            let open = std::mem::take(&mut record.open);
            let unanswered = open.values().filter(|open| open.doubted.is_none()).count();
            self.totals.cut_off += u64::try_from(unanswered).unwrap_or(0);
            let possible = std::mem::take(&mut record.possible).into_iter();
            let possible: BTreeSet<Possibility> = possible.map(Possibility::cut_off).collect();
            let states = possible.into_iter().flat_map(|way| way.after_crash(&open));
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
            let may = |record: &KeyRecord| record.possible.iter().any(|way| way.state().is_some());
            if !self.keys.get(key).is_some_and(may) {
                return Err(format!("a scan returned {key}, which cannot be there"));
            }
        }
        for (key, record) in &self.keys {
            if !found.contains(key) && record.possible.iter().all(|way| way.state().is_some()) {
                return Err(format!("a scan did not return {key}, which must be there"));
            }
        }
        Ok(())
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

    fn count(&mut self, key: Key, operation: Operation, answer: &Answer) {
        let totals = &mut self.totals;
        match answer {
            Answer::Found(_) | Answer::Seen(_) => totals.reads += 1,
            Answer::Refused => totals.refused += 1,
            Answer::NotDone(_) => totals.not_done += 1,
            Answer::InDoubt => totals.in_doubt += 1,
            Answer::Unreadable(_) | Answer::Mangled(_) => totals.unreadable += 1,
            Answer::Written(_) | Answer::Deleted(_) => totals.writes += 1,
        }
        let record = self.keys.entry(key).or_default();
        let state = match (operation, answer) {
            (
                Operation::Put(value) | Operation::Create(value) | Operation::PutIf { value, .. },
                Answer::Written(generation),
            ) => Some(crate::subject::Stored {
                value,
                generation: *generation,
            }),
            (Operation::Delete, Answer::Deleted(true)) => None,
            (Operation::Get, Answer::Found(state)) => {
                let seen = |acknowledged: &Acknowledged| acknowledged.state == *state;
                let position = record.acknowledged.iter().rposition(seen);
                if let (None, Some(stored)) = (position, state)
                    && record.surfaced.insert(stored.value)
                {
                    totals.surfaced += 1;
                }
                let confirmed = position.map_or(0, |position| position + 1);
                record.confirmed_count = record.confirmed_count.max(confirmed);
                return;
            }
            _ => return,
        };
        self.acknowledgements += 1;
        let (life, number) = (self.life, self.acknowledgements);
        record.acknowledged.push(Acknowledged {
            state,
            life,
            number,
        });
    }

    /// Whether a read that no order explains is a loss that the drives' faults excuse. The key then holds
    /// what was read.
    fn tolerates(&mut self, key: Key, answer: &Answer) -> bool {
        let (Answer::Found(state), Some(record)) = (answer, self.keys.get_mut(&key)) else {
            return false;
        };
        let position = record
            .acknowledged
            .iter()
            .rposition(|known| known.state == *state);
        let kept = match (position, state) {
            (Some(position), _) => position + 1,
            (None, None) => 0,
            (None, Some(stored)) => match record.attempted.get(&stored.value) {
                Some(kept) => *kept,
                None => return false,
            },
        };
        let lost = record.acknowledged.get(kept..).unwrap_or_default();
        let excused = |lost: &Acknowledged| {
            let last = usize::try_from(lost.life)
                .ok()
                .and_then(|life| self.acknowledgements_of.get(life));
            last.is_some_and(|last| last - lost.number < self.tolerance.stale_distance_max)
        };
        if lost.is_empty() || kept < record.confirmed_count || !lost.iter().all(excused) {
            return false;
        }
        record.acknowledged.truncate(kept);
        let mut settled = Possibility::settled(*state);
        for (ticket, open) in &record.open {
            settled = settled.begin(*ticket, open.operation);
            if open.doubted.is_some() {
                settled = settled.doubt(*ticket);
            }
        }
        record.possible = BTreeSet::from([settled]);
        self.totals.stale += 1;
        true
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
            possible: BTreeSet::from([Possibility::settled(None)]),
            open: OpenOperations::new(),
            acknowledged: Vec::new(),
            confirmed_count: 0,
            attempted: BTreeMap::new(),
            surfaced: BTreeSet::new(),
            history: VecDeque::new(),
        }
    }
}

impl KeyRecord {
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
