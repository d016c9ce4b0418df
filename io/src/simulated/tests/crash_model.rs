//! The crash model against the simplest thing that can be said about it: per block, the list of bytes that
//! a power cut may leave. Random operations, several at once, on each kind of drive.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use super::super::random::SeededRandom;
use super::super::{DriveConfig, Honesty};
use super::*;
use crate::durability::Force;
use crate::geometry::Durability;

const BLOCK_COUNT: u64 = 12;

/// Per block the bytes since it was last durable, oldest first, each with the number of the completion that
/// brought it; the first is durable, the last is read.
struct Model {
    blocks: Vec<Vec<(u64, u8)>>,
    completions: u64,
    cached: bool,
}

/// An operation in flight, as the model knows it.
enum Action {
    Write {
        block: u64,
        block_count: u64,
        byte: u8,
        forced: bool,
    },
    Flush {
        covered: u64,
    },
}

type Flight = (
    Action,
    Pin<Box<dyn Future<Output = Result<(), DeviceError>>>>,
);

impl Model {
    fn new(durability: Durability) -> Self {
        let cached = durability != Durability::WriteThrough;
        Self {
            blocks: vec![vec![(0, 0)]; to_usize(BLOCK_COUNT)],
            completions: 0,
            cached,
        }
    }

    /// Per block the durable byte and the one that is read.
    fn durable_and_newest(&self) -> Vec<(u8, u8)> {
        let ends = |states: &Vec<(u64, u8)>| (states[0].1, states[states.len() - 1].1);
        self.blocks.iter().map(ends).collect()
    }

    fn complete(&mut self, action: &Action) {
        self.completions += 1;
        match action {
            Action::Write {
                block,
                block_count,
                byte,
                forced,
            } => {
                for block in *block..block + block_count {
                    let states = &mut self.blocks[to_usize(block)];
                    if *forced || !self.cached {
                        states.clear();
                    }
                    states.push((self.completions, *byte));
                }
            }
            Action::Flush { covered } => {
                for states in &mut self.blocks {
                    let newest = states
                        .iter()
                        .rposition(|(completion, _)| completion <= covered);
                    states.drain(..newest.unwrap_or(0));
                }
            }
        }
    }

    /// A write that has not completed may have left each of its blocks behind, or not.
    fn may_have(&mut self, action: &Action) {
        if let Action::Write {
            block,
            block_count,
            byte,
            ..
        } = action
        {
            for block in *block..block + block_count {
                self.blocks[to_usize(block)].push((u64::MAX, *byte));
            }
        }
    }
}

/// What some run of the property has seen, so that it is known to test what it says.
#[derive(Default)]
struct Seen {
    outcomes: BTreeSet<&'static str>,
}

/// One machine, many lives. After each power cut every block must hold one of the model's bytes.
fn check(seed: u64, durability: Durability, seen: &mut Seen) {
    let mut rig = Rig::new(
        seed,
        DriveConfig {
            durability,
            ..Rig::config(BLOCK_COUNT)
        },
    );
    let mut random = SeededRandom::new(seed, 1 << 32);
    let mut model = Model::new(durability);
    let mut byte_next = 1;
    for _life in 0..20 {
        let mut flights: Vec<Flight> = Vec::new();
        for _ in 0..random.below(60) {
            if random.coin() && flights.len() < 6 {
                flights.push(start(&rig, &model, &mut random, byte_next, &flights));
                byte_next = byte_next % 250 + 1;
            } else if rig.machine.step() {
                flights.retain_mut(|(action, future)| match poll_once(future.as_mut()) {
                    Poll::Pending => true,
                    Poll::Ready(result) => {
                        result.unwrap();
                        model.complete(action);
                        false
                    }
                });
            }
        }
        if flights.is_empty() {
            let newest: Vec<u8> = model
                .durable_and_newest()
                .iter()
                .map(|ends| ends.1)
                .collect();
            assert_eq!(rig.read(0, BLOCK_COUNT).unwrap(), newest, "seed {seed}");
        }
        crash(&mut rig, &mut model, flights, seen);
    }
}

/// Starts an operation. Writes in flight never overlap, so that their order does not matter; the flush is
/// the back end's own, because the face's gate decides by itself when to submit.
fn start(
    rig: &Rig,
    model: &Model,
    random: &mut SeededRandom,
    byte: u8,
    flights: &[Flight],
) -> Flight {
    let block = random.below(BLOCK_COUNT);
    let block_count = 1 + random.below((BLOCK_COUNT - block).min(4));
    let free = flights.iter().all(|(action, _)| match action {
        Action::Write {
            block: other,
            block_count: count,
            ..
        } => block + block_count <= *other || other + count <= block,
        Action::Flush { .. } => true,
    });
    let state = &rig.machine.state;
    if !free || random.below(4) == 0 {
        let flush = state.borrow_mut().submit_flush(rig.drive);
        return (
            Action::Flush {
                covered: model.completions,
            },
            Box::pin(flush),
        );
    }
    let forced = rig.device.geometry().durability == Durability::Fua && random.coin();
    let force = if forced {
        Force::UnitAccess
    } else {
        Force::Plain
    };
    let source = rig.filled(block_count, byte);
    let offset = offset_of(block).get();
    let write = state
        .borrow_mut()
        .submit_write(rig.drive, offset, source, force);
    (
        Action::Write {
            block,
            block_count,
            byte,
            forced,
        },
        Box::pin(write),
    )
}

fn crash(rig: &mut Rig, model: &mut Model, flights: Vec<Flight>, seen: &mut Seen) {
    let durable_and_newest = model.durable_and_newest();
    for (action, _) in &flights {
        model.may_have(action);
    }
    rig.machine.power_cut();
    for (_, mut future) in flights {
        assert_eq!(
            poll_once(future.as_mut()),
            Poll::Ready(Err(DeviceError::Gone))
        );
    }
    rig.reopen();
    let found = rig.read(0, BLOCK_COUNT).unwrap();
    for (block, states) in model.blocks.iter_mut().enumerate() {
        let byte = found[block];
        let kept = states.iter().rposition(|(_, state)| *state == byte);
        assert!(
            kept.is_some(),
            "block {block} holds {byte}, allowed are {states:?}"
        );
        let (durable, newest) = durable_and_newest[block];
        let in_flight = kept.is_some_and(|kept| states[kept].0 == u64::MAX);
        seen.outcomes.insert(match byte {
            _ if in_flight => "in flight applied",
            _ if durable == newest => "nothing to lose",
            byte if byte == newest => "newest kept",
            byte if byte == durable => "fell back to durable",
            _ => "older version kept",
        });
        *states = vec![(0, byte)];
    }
}

#[test]
fn a_volatile_cache_with_flush_keeps_to_the_model() {
    let mut seen = Seen::default();
    (0..150).for_each(|seed| check(seed, Durability::Flush, &mut seen));
    assert_eq!(seen.outcomes.len(), 5, "{:?}", seen.outcomes);
}

#[test]
fn a_volatile_cache_with_fua_keeps_to_the_model() {
    let mut seen = Seen::default();
    (0..150).for_each(|seed| check(seed, Durability::Fua, &mut seen));
    assert_eq!(seen.outcomes.len(), 5, "{:?}", seen.outcomes);
}

#[test]
fn a_write_through_drive_keeps_to_the_model() {
    let mut seen = Seen::default();
    (0..150).for_each(|seed| check(seed, Durability::WriteThrough, &mut seen));
    assert!(
        seen.outcomes.contains("in flight applied"),
        "{:?}",
        seen.outcomes
    );
}

/// How many of 200 power cuts right after a durable write lose some of it.
fn losses(durability: Durability, honesty: Honesty) -> usize {
    let lost = (0..200).filter(|&seed| {
        let mut rig = Rig::new(
            seed,
            DriveConfig {
                durability,
                honesty,
                ..Rig::config(8)
            },
        );
        rig.write_durable(2, 3, 9).unwrap();
        assert_eq!(rig.read(2, 3), Ok(vec![9; 3]));
        rig.machine.power_cut();
        rig.reopen();
        rig.read(2, 3) != Ok(vec![9; 3])
    });
    lost.count()
}

#[test]
fn honest_drives_keep_durable_writes_and_forgetful_ones_lose_some() {
    for durability in [Durability::WriteThrough, Durability::Fua, Durability::Flush] {
        assert_eq!(losses(durability, Honesty::Honest), 0, "{durability:?}");
        let lost = losses(durability, Honesty::Forgetful);
        assert!((100..200).contains(&lost), "{durability:?} lost {lost}");
    }
}

#[test]
fn a_drive_may_become_forgetful() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut rig = Rig::new(seed, Rig::config(8));
        rig.write_durable(0, 1, 1).unwrap();
        rig.machine
            .faults(rig.drive)
            .set_honesty(Honesty::Forgetful);
        rig.write_durable(0, 1, 2).unwrap();
        rig.machine.power_cut();
        rig.reopen();
        let found = rig.read(0, 1).unwrap()[0];
        assert!([1, 2].contains(&found), "what was promised before stays");
        lost += u32::from(found == 1);
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn an_undurable_write_is_torn_by_the_block() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let mut rig = Rig::new(seed, Rig::config(8));
        rig.write_durable(0, 3, 1).unwrap();
        rig.write(0, 3, 2).unwrap();
        rig.machine.power_cut();
        rig.reopen();
        seen.insert(rig.read(0, 3).unwrap());
    }
    assert_eq!(
        seen.len(),
        8,
        "all mixtures of old and new blocks: {seen:?}"
    );
}

#[test]
fn a_kill_keeps_what_completed_and_tears_what_had_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let mut rig = Rig::new(seed, Rig::config(8));
        rig.write(0, 2, 1).unwrap();
        let (buffer, range) = rig.filled(2, 2);
        let mut write = rig.device.write(offset_of(2), buffer, range);
        rig.machine.process_kill();
        assert_eq!(
            poll_once(Pin::new(&mut write)),
            Poll::Ready(Err(DeviceError::Gone))
        );
        rig.reopen();
        let found = rig.read(0, 4).unwrap();
        assert_eq!(found[..2], [1, 1]);
        seen.insert(found[2..].to_vec());
        // What the killed process had completed is still only in the drive's cache.
        assert!(rig.machine.faults(rig.drive).cached_block_count() >= 2);
        rig.flush().unwrap();
        rig.machine.power_cut();
        rig.reopen();
        assert_eq!(rig.read(0, 4), Ok(found));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_read_sees_a_write_in_flight_block_by_block_and_never_takes_it_back() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let config = DriveConfig {
            latency_ns_min: 1,
            latency_ns_max: 1000,
            ..Rig::config(8)
        };
        let rig = Rig::new(seed, config);
        let faults = rig.machine.faults(rig.drive);
        faults.plan(super::super::PlannedFault::next(
            super::super::Fault::DelayLong,
        ));
        let (buffer, range) = rig.filled(2, 5);
        let mut write = rig.device.write(offset_of(0), buffer, range);
        let first = rig.read(0, 2).unwrap();
        let second = rig.read(0, 2).unwrap();
        assert!(
            first
                .iter()
                .zip(&second)
                .all(|(first, second)| first <= second)
        );
        seen.insert(first);
        rig.run(Pin::new(&mut write)).unwrap();
        assert_eq!(rig.read(0, 2), Ok(vec![5; 2]));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_forced_write_that_a_read_has_seen_early_is_durable_at_completion() {
    for seed in 0..300 {
        let config = DriveConfig {
            durability: Durability::Fua,
            ..Rig::config(8)
        };
        let mut rig = Rig::new(seed, config);
        let faults = rig.machine.faults(rig.drive);
        faults.plan(super::super::PlannedFault::next(
            super::super::Fault::DelayShort,
        ));
        let (buffer, range) = rig.filled(2, 5);
        let mut write = rig.device.write_durable(offset_of(0), buffer, range);
        rig.read(0, 2).unwrap();
        rig.run(Pin::new(&mut write)).unwrap();
        rig.machine.power_cut();
        rig.reopen();
        assert_eq!(rig.read(0, 2), Ok(vec![5; 2]), "seed {seed}");
    }
}
