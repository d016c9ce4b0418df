//! A client: asks the store one thing after the other and tells the oracle what it was answered. Its choices
//! come from its own stream, so that the number of clients does not change what one of them asks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;

use corelith_io::{SeededRandom, SimulatedMachine};

use crate::feed::{Feed, Look};
use crate::harm::Harm;
use crate::limits::FLUSH_WAIT_NS;
use crate::oracle::{Oracle, Ticket, Violation};
use crate::subject::{Answer, FollowTo, Key, Operation, Subject, ValueId};

/// What the clients of a run share.
#[derive(Clone)]
pub struct Desk {
    /// Judges every answer.
    pub oracle: Rc<RefCell<Oracle>>,
    /// The first violation, if there was one.
    pub violation: Rc<RefCell<Option<Box<Violation>>>>,
    /// What followers of the logs were given; `None` if nobody follows.
    pub feed: Option<Rc<RefCell<Feed>>>,
    machine: SimulatedMachine,
    harm: Harm,
    value_next: Rc<Cell<u64>>,
    /// Whether clients ask for writes that are answered ahead of the device.
    is_buffered: bool,
    /// Whether values expire.
    expires: bool,
    /// The store has removed expired records while its clock was doubtful.
    has_removed_in_doubt: Rc<Cell<bool>>,
}

/// What a client likes to ask, in 32nds; the rest are gets.
#[derive(Clone, Copy, Debug)]
struct Taste {
    puts: u64,
    deletes: u64,
    conditional: u64,
    /// Of the writes, in eighths: those that may be buffered.
    buffered: u64,
}

impl Desk {
    /// A desk with an oracle that knows of nothing.
    pub fn new(machine: &SimulatedMachine, harm: Harm) -> Self {
        Self {
            oracle: Rc::default(),
            violation: Rc::default(),
            feed: None,
            machine: machine.clone(),
            harm,
            value_next: Rc::new(Cell::new(1)),
            is_buffered: false,
            expires: false,
            has_removed_in_doubt: Rc::default(),
        }
    }

    /// The same, where values expire.
    #[must_use]
    pub fn with_expiry(mut self) -> Self {
        self.expires = true;
        self
    }

    /// Whether [`Desk::note_removal_in_doubt`] was called.
    pub fn has_removed_in_doubt(&self) -> bool {
        self.has_removed_in_doubt.get()
    }

    /// The store has removed expired records while its clock was doubtful.
    pub fn note_removal_in_doubt(&self) {
        self.has_removed_in_doubt.set(true);
    }

    /// The machine that all run on.
    pub fn machine(&self) -> &SimulatedMachine {
        &self.machine
    }

    /// Tells the oracle what the logs of these keys take the time to be.
    pub fn note_clocks<S: Subject>(&self, subject: &S, keys: &[Key]) {
        if !self.expires {
            return;
        }
        let logs: BTreeSet<u64> = keys.iter().map(|key| subject.log_of(*key)).collect();
        for log in logs {
            let now = subject.now_seconds(log);
            self.oracle.borrow_mut().note_clock(log, now);
        }
    }

    /// The same, where clients ask for buffered writes too.
    #[must_use]
    pub fn with_buffered(mut self) -> Self {
        self.is_buffered = true;
        self.oracle.borrow_mut().expect_buffered();
        self
    }

    /// The same, where the logs are followed; drives that fail may be the reason that something cannot be read.
    #[must_use]
    pub fn with_feed(mut self, may_be_damaged: bool) -> Self {
        let mut feed = Feed::default();
        if may_be_damaged {
            feed.expect_damage();
        }
        self.feed = Some(Rc::new(RefCell::new(feed)));
        self
    }

    /// Follows every log to its end from the oldest position on, and compares. Only while nothing is under way.
    pub async fn follow_again<S: Subject>(&self, subject: &S) {
        let Some(feed) = &self.feed else { return };
        for log in subject.logs() {
            let Some(oldest) = subject.oldest(log) else {
                continue;
            };
            let look = Rc::new(RefCell::new(Look::new(log, oldest)));
            let taker = Rc::clone(&look);
            let sink = move |event| taker.borrow_mut().take(event);
            subject
                .follow(log, (oldest, FollowTo::Watermark), sink)
                .await;
            if self.is_harmed() {
                feed.borrow_mut().forget();
                continue;
            }
            let look = look.replace(Look::new(log, oldest));
            let oracle = self.oracle.borrow();
            let state_of = |key| oracle.settled(key);
            feed.borrow_mut().compare(look, state_of);
        }
    }

    /// Follows every log from where the last follower stood, for as long as the process lives.
    pub fn follow_on<S: Subject>(&self, subject: &S) -> Vec<impl Future<Output = ()> + 'static> {
        let Some(feed) = &self.feed else {
            return Vec::new();
        };
        let logs = subject.logs().into_iter();
        let follow = logs.map(|log| {
            let next = feed.borrow().next(log);
            let desk = self.clone();
            let sink = move |event| {
                if let Some(feed) = desk.feed.as_ref().filter(|_| !desk.is_harmed()) {
                    feed.borrow_mut().take(log, event);
                }
            };
            subject.follow(log, (next, FollowTo::Ever), sink)
        });
        follow.collect()
    }

    /// The same knowledge about a fork of the machine.
    pub fn fork(&self, machine: &SimulatedMachine) -> Self {
        Self {
            oracle: Rc::new(RefCell::new(self.oracle.borrow().clone())),
            violation: Rc::default(),
            feed: self.feed.as_ref().map(|feed| {
                let feed = feed.borrow().clone();
                Rc::new(RefCell::new(feed))
            }),
            machine: machine.clone(),
            harm: self.harm.clone(),
            value_next: Rc::new(Cell::new(self.value_next.get())),
            is_buffered: self.is_buffered,
            expires: self.expires,
            has_removed_in_doubt: Rc::default(),
        }
    }

    /// Asks the store and lets the oracle judge. `None` after a violation, of whomever.
    pub async fn ask<S: Subject>(
        &self,
        subject: &S,
        key: Key,
        operation: Operation,
    ) -> Option<Answer> {
        self.ask_as(subject, key, (operation, false)).await
    }

    /// The same; a write may be answered ahead of the device.
    async fn ask_as<S: Subject>(
        &self,
        subject: &S,
        key: Key,
        (operation, is_buffered): (Operation, bool),
    ) -> Option<Answer> {
        if self.violation.borrow().is_some() {
            return None;
        }
        self.note_clocks(subject, &[key]);
        let asked = (operation, is_buffered);
        let ticket = self.oracle.borrow_mut().begin_as(key, asked);
        let how = if is_buffered { ", buffered" } else { "" };
        self.machine
            .note(|| format!("{ticket:?} {key}: {operation}{how}"));
        let answer = if is_buffered {
            subject.apply_buffered(key, operation).await
        } else {
            subject.apply(key, operation).await
        };
        self.machine
            .note(|| format!("{ticket:?} {key}: {operation}: {answer}"));
        self.note_clocks(subject, &[key]);
        let mut oracle = self.oracle.borrow_mut();
        oracle.note_harm(self.harm.batches(&self.machine));
        let verdict = oracle.end(key, ticket, answer.clone());
        drop(oracle);
        if let (
            Some(feed),
            false,
            Operation::Put(value) | Operation::Create(value) | Operation::PutIf { value, .. },
            Answer::Written(_),
        ) = (&self.feed, is_buffered, operation, &answer)
        {
            feed.borrow_mut().acknowledge(subject.log_of(key), value);
        }
        match verdict {
            Ok(()) => Some(answer),
            Err(violation) => {
                self.violation.borrow_mut().get_or_insert(violation);
                None
            }
        }
    }

    /// Has buffered writes leave, and gives the device time for them. If the store then says that nothing is
    /// on its way, a crash must not take back what was answered.
    async fn flush<S: Subject>(&self, subject: &S, key: Key) {
        subject.flush();
        self.machine.note(|| "flush".to_owned());
        self.machine.sleep_ns(FLUSH_WAIT_NS).await;
        let log = subject.log_of(key);
        if subject.is_settled(log) {
            self.machine.note(|| format!("log {log} is settled"));
            self.oracle.borrow_mut().note_settled(log);
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
        self.note_clocks(subject, &[key]);
        let Some(tickets) = self.begin_truncation(&concerned) else {
            return true;
        };
        self.machine
            .note(|| format!("truncate log {log}, set {set:?}: {tickets:?}"));
        let answer = subject.truncate(log, set).await;
        self.machine
            .note(|| format!("truncate log {log}, set {set:?}: {tickets:?}: {answer}"));
        self.note_clocks(subject, &[key]);
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

    /// A new value. Where values expire most do, soon or late after `now`, some at once.
    fn next_value(&self, now: u32, random: &mut SeededRandom) -> ValueId {
        let value = self.value_next.get();
        self.value_next.set(value + 1);
        if !self.expires {
            return ValueId(value);
        }
        let lifetime = match random.below(8) {
            0 | 1 => return ValueId(value),
            2 => random.below(3),
            3..=5 => random.between(1, 4_000),
            _ => random.between(1_000, 400_000),
        };
        let number = u32::try_from(value).unwrap_or(u32::MAX);
        let lifetime = u32::try_from(lifetime).unwrap_or(u32::MAX);
        ValueId::new(number, now.saturating_add(lifetime))
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
        // No choice is made of what other runs do not know, so that their seeds stay what they are.
        buffered: if desk.is_buffered { random.below(9) } else { 0 },
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
        if desk.is_buffered && random.below(24) == 0 {
            desk.flush(&subject, key).await;
            continue;
        }
        let known = generations.get(&key).copied().unwrap_or(1);
        let now = subject.now_seconds(subject.log_of(key));
        let operation = match choose(taste, (known, now), &desk, &mut random) {
            write if write.is_write() && !desk.oracle.borrow().may_write(key) => Operation::Get,
            operation => operation,
        };
        let buffered = desk.is_buffered && operation.is_write() && random.below(8) < taste.buffered;
        match desk.ask_as(&subject, key, (operation, buffered)).await {
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
    let all = keys.clone();
    while let Some(key) = pick(&keys, &mut random) {
        keys.retain(|other| *other != key);
        if desk.ask(&subject, key, Operation::Get).await.is_none() {
            return Ok(());
        }
    }
    desk.note_clocks(&subject, &all);
    desk.oracle.borrow_mut().begin_scan();
    let found = subject.keys().await?;
    desk.note_clocks(&subject, &all);
    desk.follow_again(&subject).await;
    match found {
        Some(found) => desk.oracle.borrow().check_keys(&found),
        None => Ok(()),
    }
}

fn choose(
    taste: Taste,
    (known, now): (u16, u32),
    desk: &Desk,
    random: &mut SeededRandom,
) -> Operation {
    let Taste {
        puts,
        deletes,
        conditional,
        buffered: _,
    } = taste;
    let choice = random.below(32);
    if choice < puts {
        return Operation::Put(desk.next_value(now, random));
    }
    if choice < puts + deletes {
        return Operation::Delete;
    }
    if choice < puts + deletes + conditional {
        let value = desk.next_value(now, random);
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
