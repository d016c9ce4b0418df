//! Random operations of several clients against plain maps, over many lives that end in closes, kills and
//! power cuts, on volumes small enough that the log goes round. In some runs each client has a set of its own,
//! which it truncates now and then.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use corelith_index::{Digest, ExpirySeconds, PartitionId, ScanPosition, SetId};
use corelith_io::{Durability, SeededRandom, SimulatedMachine};
use corelith_store::{Change, Needs, Shard, Truncate, TruncateError, WriteError, Written};

use crate::harness::{NotMet, Rig, Shape, content, delete, digest};

const CLIENTS: u64 = 4;
const KEYS_OF_CLIENT: u64 = 4;

type Content = Option<Vec<u8>>;

/// What one client's keys hold, and the change that is on its way.
#[derive(Clone, Debug, Default)]
struct Known {
    held: BTreeMap<u64, Vec<u8>>,
    attempt: Option<(u64, Content)>,
    /// A truncation is on its way.
    truncating: bool,
    truncations: u64,
    writes: u64,
    refused: u64,
}

impl Known {
    fn settle(&mut self, key: u64, found: Content) {
        match found {
            Some(bytes) => self.held.insert(key, bytes),
            None => self.held.remove(&key),
        };
    }
}

impl Known {
    fn truncated(&mut self, result: Result<(), WriteError<TruncateError>>) {
        self.truncating = false;
        match result {
            Ok(()) => {
                self.truncations += 1;
                self.held.clear();
            }
            Err(WriteError::OutOfSpace) => self.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

type Shared = Rc<RefCell<Known>>;

async fn client(
    (shard, machine): (Shard, SimulatedMachine),
    (number, set): (u64, SetId),
    known: Shared,
    mut random: SeededRandom,
) {
    let name = set_name(number);
    loop {
        if set != SetId::NONE && random.below(20) == 0 {
            known.borrow_mut().truncating = true;
            let result = shard.truncate(Truncate::Set(&name)).await;
            known.borrow_mut().truncated(result);
            // Where nothing is there and nothing has room, all else is answered at once.
            machine.sleep_ns(10_000).await;
            continue;
        }
        let key = number * KEYS_OF_CLIENT + random.below(KEYS_OF_CLIENT);
        let held = known.borrow().held.get(&key).cloned();
        let length_max = if random.below(10) == 0 { 30_000 } else { 2_000 };
        let length = usize::try_from(random.below(length_max)).unwrap();
        let bytes = content(key, random.word(), length);
        let choice = random.below(10);
        let wanted = match choice {
            0..=4 => Some(bytes.clone()),
            5..=6 => Some(held.clone().unwrap_or(bytes.clone())),
            _ => None,
        };
        if choice == 9 {
            let found = crate::harness::get(&shard, digest(key)).await.unwrap();
            assert_eq!(found, held, "key {key}");
            continue;
        }
        known.borrow_mut().attempt = Some((key, wanted.clone()));
        let result = match choice {
            0..=6 => write_in(&shard, (digest(key), set), &bytes, choice >= 5).await,
            _ => delete(&shard, digest(key)).await,
        };
        let mut known = known.borrow_mut();
        known.attempt = None;
        match result {
            Ok(written) => {
                assert_eq!(written.existed, held.is_some(), "key {key}");
                known.writes += 1;
                known.settle(key, wanted);
            }
            Err(WriteError::Rejected(_)) => assert!(held.is_some() && choice >= 5),
            Err(WriteError::OutOfSpace) => known.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

fn set_name(number: u64) -> String {
    format!("client {number}")
}

/// A put, or one that must not find a record, into a set.
async fn write_in(
    shard: &Shard,
    (digest, set): (Digest, SetId),
    content: &[u8],
    creates: bool,
) -> Result<Written, WriteError<NotMet>> {
    let expiry = ExpirySeconds::NEVER;
    shard
        .write(
            &digest,
            Needs::Metadata,
            content,
            |current, _| match current {
                Some(_) if creates => Err(NotMet),
                _ => Ok(Change::PutInput { expiry, set }),
            },
        )
        .await
}

/// Checks every key after a restart, and takes what was on its way as it turned out.
fn check(rig: &mut Rig, shard: &Shard, clients: &[Shared], what: &str) {
    let mut expected = BTreeMap::new();
    for (number, known) in (0..).zip(clients) {
        let mut known = known.borrow_mut();
        let attempt = known.attempt.take();
        // A truncation that was on its way has deleted all keys of the client, or none.
        let first = known.held.keys().next().copied();
        if std::mem::take(&mut known.truncating)
            && let Some(key) = first
            && rig.get(shard, key).unwrap().is_none()
        {
            known.held.clear();
        }
        for key in number * KEYS_OF_CLIENT..(number + 1) * KEYS_OF_CLIENT {
            let found = rig.get(shard, key).unwrap();
            let held = known.held.get(&key).cloned();
            let attempted = attempt.as_ref().filter(|(other, _)| *other == key);
            let allowed = found == held || attempted.is_some_and(|(_, wanted)| *wanted == found);
            assert!(
                allowed,
                "{what}, key {key}: {:?} bytes",
                found.map(|bytes| bytes.len())
            );
            known.settle(key, found);
        }
        expected.extend(
            known
                .held
                .clone()
                .into_iter()
                .map(|(key, bytes)| (digest(key), bytes)),
        );
    }
    let mut scanned = BTreeMap::new();
    let mut from = Some(ScanPosition::START);
    while let Some(position) = from {
        let partition = PartitionId::new(0).unwrap();
        let page = rig.run(shard.scan(partition, position, 3)).unwrap();
        for record in page.records {
            let record = record.unwrap();
            let twice = scanned.insert(*record.digest(), record.content().to_vec());
            assert!(
                twice.is_none(),
                "{what}: a scan gave {} twice",
                record.digest()
            );
        }
        from = page.next;
    }
    assert_eq!(scanned, expected, "{what}: the scan");
    let records = u64::try_from(expected.len()).unwrap();
    // Truncated records count until they have been swept out.
    rig.run_until_idle();
    assert_eq!(shard.statistics().records, records, "{what}");
}

fn run(seed: u64, (shape, has_sets): (Shape, bool), lives: u64) -> [u64; 3] {
    let mut random = SeededRandom::new(seed, 1 << 40);
    let mut rig = Rig::new(seed, shape);
    let clients: Vec<Shared> = (0..CLIENTS).map(|_| Shared::default()).collect();
    for life in 0..lives {
        let what = format!("seed {seed}, life {life}");
        let shard = rig.open_sound();
        check(&mut rig, &shard, &clients, &what);
        for (number, known) in (0..).zip(&clients) {
            let stream = SeededRandom::new(seed, (1 << 41) + life * CLIENTS + number);
            let known = Rc::clone(known);
            let set = match has_sets {
                false => SetId::NONE,
                // New in the first life only, in which there is room.
                true => rig.run(shard.set_id(&set_name(number))).unwrap(),
            };
            let place = (shard.clone(), rig.machine.clone());
            rig.spawn(client(place, (number, set), known, stream));
        }
        for _ in 0..random.below(1200) {
            rig.settle();
            assert!(rig.machine.step(), "{what}: deadlock");
        }
        rig.settle();
        rig.stop_tasks();
        if random.coin() {
            rig.machine.power_cut();
        } else {
            rig.machine.process_kill();
        }
    }
    let shard = rig.open_sound();
    check(&mut rig, &shard, &clients, "at the end");
    let sum = |of: fn(&Known) -> u64| clients.iter().map(|known| of(&known.borrow())).sum();
    [
        sum(|known| known.writes),
        sum(|known| known.refused),
        sum(|known| known.truncations),
    ]
}

fn run_seeds(seeds: std::ops::Range<u64>, shape: &Shape) {
    let (mut writes, mut refused) = (0, 0);
    for seed in seeds {
        let [written, out_of_space, _] = run(seed, (shape.clone(), false), 8);
        writes += written;
        refused += out_of_space;
    }
    println!("{writes} writes, {refused} refused for want of space");
    assert!(
        writes > 2 * refused,
        "{writes} writes, {refused} refused for want of space"
    );
}

#[test]
fn flushed_caches() {
    run_seeds(
        0..20,
        &Shape {
            segments: 24,
            ..Shape::default()
        },
    );
}

#[test]
fn forced_writes() {
    let durability = Durability::Fua;
    run_seeds(
        100..115,
        &Shape {
            segments: 24,
            durability,
            ..Shape::default()
        },
    );
}

#[test]
fn several_drives_with_large_blocks() {
    run_seeds(
        200..210,
        &Shape {
            drives: 3,
            segments: 12,
            block_bytes: 4096,
            ..Shape::default()
        },
    );
}

#[test]
fn write_through() {
    let durability = Durability::WriteThrough;
    run_seeds(
        300..310,
        &Shape {
            segments: 24,
            durability,
            ..Shape::default()
        },
    );
}

#[test]
fn truncated_sets() {
    let (mut writes, mut truncations) = (0, 0);
    for seed in 400..410 {
        let shape = Shape {
            segments: 40,
            durability: [Durability::Flush, Durability::Fua][usize::from(seed % 2 == 0)],
            ..Shape::default()
        };
        let [written, _, truncated] = run(seed, (shape, true), 8);
        writes += written;
        truncations += truncated;
    }
    assert!(
        truncations > 80 && writes > 800,
        "{writes} writes, {truncations} truncations"
    );
}
