//! One way in which the operations on a key may have gone so far, and the ways in which it may go on.
//!
//! An operation takes effect at one instant between its start and its answer. A possibility fixes the order
//! of those that have taken effect; it stays lazy about the rest. Knows one key, and no stores or crashes.
//!
//! Ways are many: each order of the writes under way is one, because their answers will tell it. Two things
//! keep them few. What no later answer can ask for is forgotten, so that ways which differ in nothing else
//! are one. And a way from which another follows stands for it: nothing is made to happen before an answer
//! that is right without it.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::POSSIBILITIES_MAX;
use crate::subject::{Answer, Operation, Stored};

/// What a key holds.
pub(super) type State = Option<Stored>;

/// The identity of one operation; grows with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// An operation that may still take effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) operation: Operation,
    /// When it was answered "in doubt", on the scale of the tickets.
    pub(super) doubted: Option<Ticket>,
    /// Whether a crash may take it back after its answer, until it is known to be durable.
    pub(super) may_be_lost: bool,
    /// Whether it may be answered ahead of the device.
    pub(super) is_buffered: bool,
    /// What the store may have taken the time to be while it was under way.
    pub(super) clock: ClockSpan,
}

/// The least and the largest time that a store's clock has shown in some while, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockSpan {
    pub(super) least: u32,
    pub(super) largest: u32,
}

impl ClockSpan {
    pub(super) const fn at(seconds: u32) -> Self {
        Self {
            least: seconds,
            largest: seconds,
        }
    }

    /// The clock has shown `seconds` too.
    pub(super) fn add(&mut self, seconds: u32) {
        self.least = self.least.min(seconds);
        self.largest = self.largest.max(seconds);
    }

    /// What whoever looks at a key that holds `state` may see: a value until it expires. One or two things.
    pub(super) fn seen(self, state: State) -> impl Iterator<Item = State> {
        let expiry = state.and_then(|stored| stored.value.expiry());
        let is_seen = expiry.is_none_or(|expiry| self.least < expiry);
        let is_gone = expiry.is_some_and(|expiry| self.largest >= expiry);
        let first = is_seen.then_some(state);
        first.into_iter().chain(is_gone.then_some(None))
    }
}

/// The operations of a key that may still take effect.
pub(super) type OpenOperations = BTreeMap<Ticket, Open>;

/// One way in which things may have gone. All lists are sorted and without doubles, so that equal ways are
/// equal values; they are short.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Possibility {
    /// What the key holds now.
    state: State,
    /// Unanswered operations that have taken effect, with the answer that they must get.
    taken: Vec<(Ticket, Answer)>,
    /// Unanswered operations that have not, with every answer that they could have been given since they
    /// began for changing nothing.
    waiting: Vec<(Ticket, Vec<Answer>)>,
    /// Operations answered "in doubt" that have not taken effect and still may.
    doubted: Vec<Ticket>,
    /// What it held before, oldest first, with the operation that changed it: as long as that is not known to
    /// be durable, a crash may bring this back. Not sorted; empty where writes are answered when they are durable.
    past: Vec<(State, Ticket)>,
}

/// What an operation does to a key that holds `state`, and what it answers.
pub(super) fn meaning(operation: Operation, state: State) -> (State, Answer) {
    let written = |value| {
        let generation = state.map_or(1, |stored| next_generation(stored.generation));
        (
            Some(Stored { value, generation }),
            Answer::Written(generation),
        )
    };
    match (operation, state) {
        (Operation::Get, _) => (state, Answer::Found(state)),
        (Operation::Look, _) => (state, Answer::Seen(state.map(|stored| stored.generation))),
        (Operation::Put(value), _) | (Operation::Create(value), None) => written(value),
        (Operation::PutIf { generation, value }, Some(stored))
            if stored.generation == generation =>
        {
            written(value)
        }
        (Operation::Create(_) | Operation::PutIf { .. }, _) => (state, Answer::Refused),
        (Operation::Delete, _) => (None, Answer::Deleted(state.is_some())),
        (Operation::Truncate, _) => (None, Answer::Truncated),
    }
}

/// What an operation may do to a key that holds `state`, while the store's clock was in `clock`, and what it answers then. A
/// value that has expired is not seen, and stands there until something takes its place.
fn outcomes(
    operation: Operation,
    state: State,
    clock: ClockSpan,
) -> impl Iterator<Item = (State, Answer)> {
    clock.seen(state).map(move |seen| {
        let (after, answer) = meaning(operation, seen);
        let is_left = after == seen && operation != Operation::Truncate;
        (if is_left { state } else { after }, answer)
    })
}

/// Generations skip zero when they wrap.
fn next_generation(generation: u16) -> u16 {
    generation.checked_add(1).unwrap_or(1)
}

impl Possibility {
    /// A key that holds `state`, and nothing under way.
    pub(super) fn settled(state: State) -> Self {
        Self {
            state,
            taken: Vec::new(),
            waiting: Vec::new(),
            doubted: Vec::new(),
            past: Vec::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// An operation begins.
    pub(super) fn begin(
        mut self,
        ticket: Ticket,
        (operation, clock): (Operation, ClockSpan),
    ) -> Self {
        let mut answers = Vec::new();
        for answer in idle_answers(operation, self.state, clock) {
            insert(&mut answers, answer);
        }
        // Tickets grow, so the newest is the last.
        self.waiting.push((ticket, answers));
        self
    }

    /// The operation was answered that it has not happened and never will; `None` if that contradicts.
    pub(super) fn not_done(mut self, ticket: Ticket) -> Option<Self> {
        take(&mut self.waiting, ticket).map(|_| self)
    }

    /// The operation was answered "in doubt".
    pub(super) fn doubt(mut self, ticket: Ticket) -> Self {
        if take(&mut self.taken, ticket).is_none() {
            take(&mut self.waiting, ticket);
            insert(&mut self.doubted, ticket);
        }
        self
    }

    /// All ways in which things may have gone, given this answer. None if it contradicts.
    pub(super) fn answered(
        mut self,
        ticket: Ticket,
        (operation, answer): (Operation, &Answer),
        open: &OpenOperations,
    ) -> Vec<Self> {
        if let Some(due) = take(&mut self.taken, ticket) {
            return if due == *answer {
                vec![self]
            } else {
                Vec::new()
            };
        }
        let clock = open.get(&ticket).map(|open| open.clock).unwrap_or_default();
        let idle = take(&mut self.waiting, ticket).unwrap_or_default();
        let is_idle_here = |way: &Self| {
            let mut answers = idle_answers(operation, way.state, clock);
            answers.any(|idle| idle == *answer)
        };
        // Without changing anything, at any moment since it began. Whatever else may have gone first can
        // still go next, so this way stands for those too.
        let mut ways = Vec::new();
        if idle.contains(answer) || is_idle_here(&self) {
            // But for a truncation, which answers the same when it has deleted something.
            if operation != Operation::Truncate {
                return vec![self];
            }
            ways.push(self.clone());
        }
        // Now, after others that must have gone first.
        let is_idle = |way: &Self| operation != Operation::Truncate && is_idle_here(way);
        for way in self.explore(open, is_idle, |_| {}) {
            for (state, due) in outcomes(operation, way.state, clock) {
                if due == *answer {
                    let mut way = way.clone();
                    way.change(ticket, state, open);
                    ways.push(way);
                }
            }
        }
        ways
    }

    /// Forgets what only answers could tell: a crash has cut them off.
    pub(super) fn cut_off(mut self) -> Self {
        self.forget_answers();
        self
    }

    /// What the key may hold after a crash: everything under way has taken effect, or never will. With each, what it
    /// held before that the crash may bring back.
    pub(super) fn after_crash(self, open: &OpenOperations) -> BTreeSet<(State, Vec<State>)> {
        let ways = self.explore(open, |_| false, Self::forget_answers);
        let states = ways.into_iter().map(|way| {
            let past = way.past.into_iter().map(|(state, _)| state);
            (way.state, past.collect())
        });
        states.collect()
    }

    /// Every change of which `is_durable` is known is durable now, and so is what it built on.
    pub(super) fn forget_past(mut self, is_durable: impl Fn(Ticket) -> bool) -> Self {
        let last = self
            .past
            .iter()
            .rposition(|(_, change)| is_durable(*change));
        self.past.drain(..last.map_or(0, |last| last + 1));
        self
    }

    /// Whether an operation answered "in doubt" may still take effect here.
    pub(super) fn doubts(&self, ticket: Ticket) -> bool {
        self.doubted.contains(&ticket)
    }

    /// This possibility, and each that follows from it when operations under way take effect now, in any
    /// number and order, but for those that only follow from one that `suffices`. Each is made to `forget`
    /// what makes no difference.
    fn explore(
        self,
        open: &OpenOperations,
        suffices: impl Fn(&Self) -> bool,
        forget: impl Fn(&mut Self),
    ) -> BTreeSet<Self> {
        let mut found = BTreeSet::new();
        let mut frontier = vec![self];
        while let Some(way) = frontier.pop() {
            let waiting = way.waiting.iter().map(|(ticket, _)| ticket);
            let tickets = waiting.chain(&way.doubted).filter(|_| !suffices(&way));
            for ticket in tickets {
                let Some(under_way) = open.get(ticket) else {
                    continue;
                };
                let outcomes = outcomes(under_way.operation, way.state, under_way.clock);
                // What changes nothing may be thought of later: `waiting` remembers the answers.
                for (state, answer) in outcomes.filter(|(state, _)| *state != way.state) {
                    let mut next = way.clone();
                    let unanswered = take(&mut next.waiting, *ticket).is_some();
                    next.doubted.retain(|other| other != ticket);
                    next.change(*ticket, state, open);
                    if unanswered {
                        insert(&mut next.taken, (*ticket, answer));
                    }
                    forget(&mut next);
                    if !found.contains(&next) {
                        frontier.push(next);
                    }
                }
            }
            found.insert(way);
            assert!(
                found.len() < POSSIBILITIES_MAX,
                "the oracle follows too many possibilities"
            );
        }
        found
    }

    /// Forgets the answers that are due or possible, but not which operations are under way.
    fn forget_answers(&mut self) {
        self.taken.clear();
        for (_, answers) in &mut self.waiting {
            answers.clear();
        }
    }

    /// The operation takes effect. Doubtful ones that were answered before it began are superseded by it:
    /// it built on what was there, and they were not.
    fn change(&mut self, ticket: Ticket, state: State, open: &OpenOperations) {
        if state == self.state {
            return;
        }
        if open.get(&ticket).is_some_and(|open| open.may_be_lost) {
            self.past.push((self.state, ticket));
        }
        let before = std::mem::replace(&mut self.state, state);
        for (waiting, answers) in &mut self.waiting {
            let Some(Open {
                operation, clock, ..
            }) = open.get(waiting)
            else {
                continue;
            };
            // What was there may have expired since the operation began.
            for state in [before, state] {
                for answer in idle_answers(*operation, state, *clock) {
                    insert(answers, answer);
                }
            }
        }
        self.doubted.retain(|other| {
            let doubted = open.get(other).and_then(|open| open.doubted);
            doubted.is_some_and(|doubted| doubted > ticket)
        });
    }
}

/// What an operation may answer to a key that holds `state`, if it then changes nothing.
fn idle_answers(
    operation: Operation,
    state: State,
    clock: ClockSpan,
) -> impl Iterator<Item = Answer> {
    let outcomes = outcomes(operation, state, clock);
    outcomes.filter_map(move |(after, answer)| (after == state).then_some(answer))
}

/// Takes the entry of a ticket out of a list.
fn take<T>(list: &mut Vec<(Ticket, T)>, ticket: Ticket) -> Option<T> {
    let position = list.iter().position(|(other, _)| *other == ticket)?;
    Some(list.remove(position).1)
}

/// Adds to a sorted list what is not in it.
fn insert<T: Ord>(list: &mut Vec<T>, item: T) {
    if let Err(position) = list.binary_search(&item) {
        list.insert(position, item);
    }
}
