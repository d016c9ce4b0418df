//! A client: asks the store one thing after the other and tells the oracle what it was answered. Its choices
//! come from its own stream, so that the number of clients does not change what one of them asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use corelith_io::{SeededRandom, SimulatedMachine};

use crate::harm::Harm;
use crate::oracle::{Oracle, Ticket, Violation};
use crate::subject::{Answer, Key, Operation, Subject, ValueId};

/// What the clients of a run share.
#[derive(Clone)]
pub struct Desk {
    /// Judges every answer.
    pub oracle: Rc<RefCell<Oracle>>,
    /// The first violation, if there was one.
    pub violation: Rc<RefCell<Option<Box<Violation>>>>,
    machine: SimulatedMachine,
    harm: Harm,
    value_next: Rc<Cell<u64>>,
}

/// What a client likes to ask, in 32nds; the rest are gets.
#[derive(Clone, Copy, Debug)]
struct Taste {
    puts: u64,
    deletes: u64,
    conditional: u64,
}

impl Desk {
    /// A desk with an oracle that knows of nothing.
    pub fn new(machine: &SimulatedMachine, harm: Harm) -> Self {
        Self {
            oracle: Rc::default(),
            violation: Rc::default(),
            machine: machine.clone(),
            harm,
            value_next: Rc::new(Cell::new(1)),
        }
    }

    /// The same knowledge about a fork of the machine.
    pub fn fork(&self, machine: &SimulatedMachine) -> Self {
        Self {
            oracle: Rc::new(RefCell::new(self.oracle.borrow().clone())),
            violation: Rc::default(),
            machine: machine.clone(),
            harm: self.harm.clone(),
            value_next: Rc::new(Cell::new(self.value_next.get())),
        }
    }

    /// Asks the store and lets the oracle judge. `None` after a violation, of whomever.
    pub async fn ask<S: Subject>(
        &self,
        subject: &S,
        key: Key,
        operation: Operation,
    ) -> Option<Answer> {
        if self.violation.borrow().is_some() {
            return None;
        }
        let ticket = self.oracle.borrow_mut().begin(key, operation);
        self.machine
            .note(|| format!("{ticket:?} {key}: {operation}"));
        let answer = subject.apply(key, operation).await;
        self.machine
            .note(|| format!("{ticket:?} {key}: {operation}: {answer}"));
        let mut oracle = self.oracle.borrow_mut();
        oracle.note_harm(self.harm.batches(&self.machine));
        let verdict = oracle.end(key, ticket, answer.clone());
        drop(oracle);
        match verdict {
            Ok(()) => Some(answer),
            Err(violation) => {
                self.violation.borrow_mut().get_or_insert(violation);
                None
            }
        }
    }

    /// Truncates what `key` belongs to, its set or all of its log, unless the oracle cannot follow that just
    /// now. For the oracle it is one operation on each of the keys. False after a violation, of whomever.
    pub async fn truncate<S: Subject>(
        &self,
        subject: &S,
        keys: &[Key],
        (key, of_set): (Key, bool),
    ) -> bool {
        if self.violation.borrow().is_some() {
            return false;
        }
        let log = subject.log_of(key);
        let set = key.set().filter(|_| of_set);
        let concerned: Vec<Key> = keys
            .iter()
            .copied()
            .filter(|other| {
                subject.log_of(*other) == log && set.is_none_or(|set| other.set() == Some(set))
            })
            .collect();
        let Some(tickets) = self.begin_truncation(&concerned) else {
            return true;
        };
        self.machine
            .note(|| format!("truncate log {log}, set {set:?}: {tickets:?}"));
        let answer = subject.truncate(log, set).await;
        self.machine
            .note(|| format!("truncate log {log}, set {set:?}: {tickets:?}: {answer}"));
        let mut oracle = self.oracle.borrow_mut();
        oracle.note_harm(self.harm.batches(&self.machine));
        for (key, ticket) in tickets {
            if let Err(violation) = oracle.end(key, ticket, answer.clone()) {
                self.violation.borrow_mut().get_or_insert(violation);
                return false;
            }
        }
        true
    }

    /// Tells the oracle of a truncation of these keys; `None` if it cannot follow that just now.
    fn begin_truncation(&self, keys: &[Key]) -> Option<Vec<(Key, Ticket)>> {
        let mut oracle = self.oracle.borrow_mut();
        let can_follow = |key: &Key| oracle.may_write(*key) && !oracle.is_untold(*key);
        if !keys.iter().all(can_follow) {
            return None;
        }
        let tickets = keys
            .iter()
            .map(|key| (*key, oracle.begin(*key, Operation::Truncate)));
        Some(tickets.collect())
    }

    /// Whether the drives have harmed data silently.
    pub fn is_harmed(&self) -> bool {
        self.silent_faults() > 0
    }

    /// How often they have.
    pub fn silent_faults(&self) -> u64 {
        self.harm.faults(&self.machine)
    }

    fn next_value(&self) -> ValueId {
        let value = self.value_next.get();
        self.value_next.set(value + 1);
        ValueId(value)
    }
}

/// A client that asks at most `operations_max` things.
pub async fn run_client<S: Subject>(
    subject: S,
    desk: Desk,
    keys: Vec<Key>,
    operations_max: u64,
    mut random: SeededRandom,
) {
    let taste = Taste {
        puts: random.between(4, 24),
        deletes: random.below(4),
        conditional: random.below(8),
    };
    let mut generations: BTreeMap<Key, u16> = BTreeMap::new();
    for _ in 0..random.between(1, operations_max) {
        let Some(key) = pick(&keys, &mut random) else {
            return;
        };
        if key.is_truncated() && random.below(24) == 0 {
            let of_set = random.below(3) > 0;
            if !desk.truncate(&subject, &keys, (key, of_set)).await {
                return;
            }
            continue;
        }
        if desk.oracle.borrow().is_untold(key) {
            continue;
        }
        let known = generations.get(&key).copied().unwrap_or(1);
        let operation = match choose(taste, known, &desk, &mut random) {
            write if write.is_write() && !desk.oracle.borrow().may_write(key) => Operation::Get,
            operation => operation,
        };
        match desk.ask(&subject, key, operation).await {
            None => return,
            Some(Answer::Written(generation) | Answer::Seen(Some(generation))) => {
                generations.insert(key, generation);
            }
            Some(Answer::Found(Some(stored))) => {
                generations.insert(key, stored.generation);
            }
            Some(_) => {}
        }
        if random.below(16) == 0 {
            let sleep = desk.machine.sleep_ns(random.below(2_000_000));
            sleep.await;
        }
    }
}

/// Reads every key, in an order of its own, and compares the store's list of keys.
pub async fn verify<S: Subject>(
    subject: S,
    desk: Desk,
    mut keys: Vec<Key>,
    mut random: SeededRandom,
) -> Result<(), String> {
    while let Some(key) = pick(&keys, &mut random) {
        keys.retain(|other| *other != key);
        if desk.ask(&subject, key, Operation::Get).await.is_none() {
            return Ok(());
        }
    }
    match subject.keys().await? {
        Some(found) => desk.oracle.borrow().check_keys(&found),
        None => Ok(()),
    }
}

fn choose(taste: Taste, known: u16, desk: &Desk, random: &mut SeededRandom) -> Operation {
    let Taste {
        puts,
        deletes,
        conditional,
    } = taste;
    let choice = random.below(32);
    if choice < puts {
        return Operation::Put(desk.next_value());
    }
    if choice < puts + deletes {
        return Operation::Delete;
    }
    if choice < puts + deletes + conditional {
        let value = desk.next_value();
        return match random.below(4) {
            0 => Operation::Create(value),
            1 => Operation::PutIf {
                generation: known.wrapping_add(1).max(1),
                value,
            },
            _ => Operation::PutIf {
                generation: known,
                value,
            },
        };
    }
    if random.below(4) == 0 {
        Operation::Look
    } else {
        Operation::Get
    }
}

fn pick(keys: &[Key], random: &mut SeededRandom) -> Option<Key> {
    let choice = random.below(u64::try_from(keys.len()).unwrap_or(0));
    keys.get(usize::try_from(choice).unwrap_or(0)).copied()
}
