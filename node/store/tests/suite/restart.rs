//! Restarts: after a close, and after a power cut or a kill at every step, recovery's own steps included.

use std::cell::RefCell;
use std::rc::Rc;

use corelith_io::Durability;
use corelith_store::{RecoveredSoFar, RecoveryProgress, Shard, WriteError};

use crate::harness::{Rig, Shape, check_sound, content, delete, digest, put};

type Content = Option<Vec<u8>>;

/// What a key may hold: what was acknowledged, or what is being attempted.
#[derive(Clone, Debug, Default)]
struct Expected {
    acknowledged: Content,
    attempt: Option<Content>,
}

impl Expected {
    fn allows(&self, found: &Content) -> bool {
        *found == self.acknowledged || self.attempt.as_ref() == Some(found)
    }
}

type Ledger = Rc<RefCell<Vec<Expected>>>;

/// One client: puts, overwrites and deletes its key, one after another.
async fn client(shard: Shard, key: usize, ledger: Ledger) {
    let number = u64::try_from(key).unwrap();
    for round in 0..24_u64 {
        let length = usize::try_from((number * 37 + round * 411) % 1500).unwrap();
        let wanted = (round % 4 != 3).then(|| content(number, round, length));
        ledger.borrow_mut()[key].attempt = Some(wanted.clone());
        let result = match &wanted {
            Some(bytes) => put(&shard, digest(number), bytes).await,
            None => delete(&shard, digest(number)).await,
        };
        match result {
            Ok(_) => {
                ledger.borrow_mut()[key] = Expected {
                    acknowledged: wanted,
                    attempt: None,
                }
            }
            Err(WriteError::OutOfSpace) => ledger.borrow_mut()[key].attempt = None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn observe(rig: &mut Rig, shard: &Shard, keys: usize) -> Vec<Content> {
    (0..u64::try_from(keys).unwrap())
        .map(|key| rig.get(shard, key).unwrap())
        .collect()
}

fn check(found: &[Content], expected: &[Expected], what: &str) {
    for (key, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            expected.allows(found),
            "{what}: key {key}: {expected:?}, found {found:?}"
        );
    }
}

/// Opens a fork after its power was cut, cuts the power again at some of recovery's own steps, and
/// checks that every start finds the same.
fn check_crash(mut rig: Rig, expected: &[Expected], what: &str, inner: bool) {
    rig.power_cut();
    if inner {
        for steps in (0..).step_by(7) {
            let mut other = rig.fork(steps);
            if !open_for(&mut other, steps) {
                break;
            }
            check_crash(
                other,
                expected,
                &format!("{what}, recovery cut after {steps}"),
                false,
            );
        }
    }
    let shard = rig.open_sound();
    let found = observe(&mut rig, &shard, expected.len());
    check(&found, expected, what);
    rig.power_cut();
    let shard = rig.open_sound();
    assert_eq!(
        observe(&mut rig, &shard, expected.len()),
        found,
        "{what}: a second cut"
    );
    rig.put(&shard, 1000, b"after");
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(
        observe(&mut rig, &shard, expected.len()),
        found,
        "{what}: written and closed"
    );
    rig.check(&shard, 1000, Some(b"after"));
}

/// Begins to open the shard and stops after `steps` steps of the machine; false if it was done before.
fn open_for(rig: &mut Rig, steps: u64) -> bool {
    let (volume, devices) = rig.open_volume();
    let (pool, clock) = (rig.pool.clone(), rig.machine.clock());
    let options = corelith_store::ShardOptions {
        shard: 0,
        index_memory_bytes: 1 << 20,
        accept_stale: false,
        checkpoint: corelith_store::CheckpointPace::NONE,
        record_cache_bytes: 0,
        index_bytes_cached: 0,
    };
    let opened = rig.spawn(async move {
        corelith_store::Shard::open(&volume, &devices, (&pool, &clock), &options)
            .await
            .map(drop)
    });
    for _ in 0..steps {
        rig.settle();
        if !rig.machine.step() {
            break;
        }
    }
    opened.borrow().is_none()
}

fn crash_at_every_step(seed: u64, shape: Shape, keys: usize, inner_every: u64) {
    let mut rig = Rig::new(seed, shape);
    let shard = rig.open_sound();
    let ledger: Ledger = Rc::new(RefCell::new(vec![Expected::default(); keys]));
    for key in 0..keys {
        rig.spawn(client(shard.clone(), key, Rc::clone(&ledger)));
    }
    let mut step = 0;
    loop {
        rig.settle();
        for luck in 0..2 {
            let expected = ledger.borrow().clone();
            let inner = step % inner_every == luck;
            let what = format!("seed {seed}, step {step}, luck {luck}");
            check_crash(rig.fork(step * 7 + luck), &expected, &what, inner);
        }
        step += 1;
        if !rig.machine.step() {
            break;
        }
    }
    assert!(step > 30, "the machine took {step} steps");
    let held: Vec<Content> = observe(&mut rig, &shard, keys);
    check(&held, &ledger.borrow(), "without a cut");
}

#[test]
fn cuts_at_every_step_with_a_flushed_cache() {
    crash_at_every_step(1, Shape::default(), 4, 16);
}

#[test]
fn cuts_at_every_step_with_forced_writes() {
    let shape = Shape {
        durability: Durability::Fua,
        ..Shape::default()
    };
    crash_at_every_step(2, shape, 4, 16);
}

#[test]
fn cuts_at_every_step_on_two_write_through_drives() {
    let shape = Shape {
        drives: 2,
        segments: 10,
        durability: Durability::WriteThrough,
        block_bytes: 4096,
        ..Shape::default()
    };
    crash_at_every_step(3, shape, 5, 16);
}

#[test]
fn cuts_while_segments_fill_and_are_sealed() {
    // Batches of one 4 KiB block or two: a segment of 16 blocks holds four or so.
    let shape = Shape {
        block_bytes: 4096,
        segments: 20,
        ..Shape::default()
    };
    crash_at_every_step(4, shape, 6, 16);
}

#[test]
fn a_close_keeps_everything_and_seals_it() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    for key in 0..100 {
        rig.put(&shard, key, &content(key, 0, 700));
    }
    for key in (0..100).step_by(3) {
        rig.delete(&shard, key);
    }
    rig.close(shard);
    let shard = rig.open_sound();
    let report = shard.report();
    assert_eq!(report.scanned, 0, "{report:?}");
    assert!(report.sealed >= 2, "{report:?}");
    assert_eq!(report.records, 134);
    for key in 0..100 {
        let expected = (key % 3 != 0).then(|| content(key, 0, 700));
        rig.check(&shard, key, expected.as_deref());
    }
    assert_eq!(shard.statistics().records, 66);
}

#[test]
fn what_a_kill_leaves_in_the_cache_is_made_durable_before_it_is_served() {
    for seed in 0..40 {
        let mut rig = Rig::new(seed, Shape::default());
        let shard = rig.open_sound();
        let handle = {
            let shard = shard.clone();
            rig.spawn(async move { put(&shard, digest(1), b"in flight").await.is_ok() })
        };
        for _ in 0..seed % 12 {
            rig.settle();
            let _ = rig.machine.step();
        }
        let acknowledged = handle.take() == Some(true);
        rig.machine.process_kill();
        let mut rig = rig.fork(seed);
        let shard = rig.open_sound();
        let found = rig.get(&shard, 1).unwrap();
        assert!(found.is_some() || !acknowledged, "seed {seed}");
        rig.power_cut();
        let shard = rig.open_sound();
        assert_eq!(rig.get(&shard, 1).unwrap(), found, "seed {seed}");
    }
}

#[test]
fn a_shard_that_was_never_written_opens_again_and_again() {
    let mut rig = Rig::new(1, Shape::default());
    for round in 0..5 {
        let shard = rig.open_sound();
        assert_eq!(shard.report().records, 0);
        if round % 2 == 0 {
            rig.close(shard);
        } else {
            rig.power_cut();
        }
    }
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"at last");
    rig.check(&shard, 1, Some(b"at last"));
}

#[test]
fn recovery_says_what_it_did() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"a");
    rig.put(&shard, 1, b"b");
    rig.run_until_idle();
    rig.power_cut();
    let shard = rig.open_sound();
    let report = shard.report();
    assert_eq!((report.segments, report.sealed, report.scanned), (1, 0, 1));
    assert_eq!((report.batches, report.records), (2, 2));
    check_sound(&report);
}

#[test]
fn a_recovery_tells_how_far_it_is() {
    let mut rig = Rig::new(12, Shape::default());
    let shard = rig.open_sound();
    for key in 0..200 {
        rig.put(&shard, key, &content(key, 0, 900));
    }
    rig.close(shard);
    let progress = RecoveryProgress::default();
    let (volume, devices) = rig.open_volume();
    let (pool, clock) = (rig.pool.clone(), rig.machine.clock());
    let options = rig.options(0);
    let opening = Shard::open_watched(&volume, &devices, (&pool, &clock), (&options, &progress));
    assert_eq!(progress.so_far(), RecoveredSoFar::default());
    let shard = rig.run(opening).unwrap();
    let report = shard.report();
    assert!(report.segments > 1 && report.records >= 200, "{report:?}");
    let expected = RecoveredSoFar {
        shards_found: 1,
        shards_recovered: 1,
        segments_found: report.segments,
        segments_replayed: report.segments,
        records_replayed: report.records,
    };
    assert_eq!(progress.so_far(), expected);
}
