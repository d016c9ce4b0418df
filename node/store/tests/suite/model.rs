//! Random operations of several clients against plain maps, over many lives that end in closes, kills and
//! power cuts, on volumes small enough that the log goes round.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use corelith_index::{PartitionId, ScanPosition};
use corelith_io::{Durability, SeededRandom};
use corelith_store::{Shard, WriteError};

use crate::harness::{Rig, Shape, content, create, delete, digest, put};

const CLIENTS: u64 = 4;
const KEYS_OF_CLIENT: u64 = 4;

type Content = Option<Vec<u8>>;

/// What one client's keys hold, and the change that is on its way.
#[derive(Clone, Debug, Default)]
struct Known {
    held: BTreeMap<u64, Vec<u8>>,
    attempt: Option<(u64, Content)>,
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

type Shared = Rc<RefCell<Known>>;

async fn client(shard: Shard, number: u64, known: Shared, mut random: SeededRandom) {
    loop {
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
            0..=4 => put(&shard, digest(key), &bytes).await,
            5..=6 => create(&shard, digest(key), &bytes).await,
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

/// Checks every key after a restart, and takes what was on its way as it turned out.
fn check(rig: &mut Rig, shard: &Shard, clients: &[Shared], what: &str) {
    let mut expected = BTreeMap::new();
    for (number, known) in (0..).zip(clients) {
        let mut known = known.borrow_mut();
        let attempt = known.attempt.take();
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
    assert_eq!(shard.statistics().records, records, "{what}");
}

fn run(seed: u64, shape: Shape, lives: u64) -> (u64, u64) {
    let mut random = SeededRandom::new(seed, 1 << 40);
    let mut rig = Rig::new(seed, shape);
    let clients: Vec<Shared> = (0..CLIENTS).map(|_| Shared::default()).collect();
    for life in 0..lives {
        let what = format!("seed {seed}, life {life}");
        let shard = rig.open_sound();
        check(&mut rig, &shard, &clients, &what);
        for (number, known) in (0..).zip(&clients) {
            let stream = SeededRandom::new(seed, (1 << 41) + life * CLIENTS + number);
            rig.spawn(client(shard.clone(), number, Rc::clone(known), stream));
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
    (sum(|known| known.writes), sum(|known| known.refused))
}

fn run_seeds(seeds: std::ops::Range<u64>, shape: &Shape) {
    let (mut writes, mut refused) = (0, 0);
    for seed in seeds {
        let (written, out_of_space) = run(seed, shape.clone(), 8);
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
