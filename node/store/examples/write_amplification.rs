//! Write amplification of overwrites, by how full the shard is and how even the keys are: a table for
//! `bench/FIGURES.md`. Batches are full, so padding is next to nothing and told apart.
//!
//! `cargo run --release -p corelith-store --example write_amplification -- [ROUNDS] [RECORD_BYTES]`, on a simulated drive in
//! memory: what is written does not depend on how fast the drive is.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "an example that prints a table and stops where it is wrong"
)]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use corelith_index::{Digest, ExpirySeconds, SetId};
use corelith_io::{
    BufferPool, BufferPoolConfig, Device, DriveConfig, SeededRandom, SimulatedMachine,
};
use corelith_store::limits::INDEX_BYTES_CACHED;
use corelith_store::volume::{FormatOptions, format_volume, open_volume};
use corelith_store::{Change, CheckpointPace, Commit, Counters, Needs, Shard, ShardOptions};

const SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENTS: u64 = 256;
/// Exponent of the skewed load.
const ZIPF: f64 = 0.99;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A machine and the background task of the shard on it.
struct Runner {
    machine: SimulatedMachine,
    background: Option<(Task, Arc<Flag>)>,
}

impl Runner {
    fn poll_background(&mut self) -> bool {
        let Some((task, flag)) = &mut self.background else {
            return false;
        };
        if !flag.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(Arc::clone(flag));
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.background = None;
        }
        true
    }

    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        loop {
            if flag.0.swap(false, Ordering::Relaxed) {
                let mut context = Context::from_waker(&waker);
                if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
                    return outcome;
                }
            }
            if self.poll_background() || flag.0.load(Ordering::Relaxed) {
                continue;
            }
            assert!(
                self.machine.step(),
                "nothing is ready and nothing is pending"
            );
        }
    }
}

fn digest(key: u64) -> Digest {
    let mut bytes = [0; Digest::LENGTH_BYTES];
    let spread = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    bytes[8..16].copy_from_slice(&key.to_le_bytes());
    Digest::from_bytes(bytes)
}

async fn put(shard: &Shard, key: u64, content: &[u8]) {
    let change = Change::PutInput {
        expiry: ExpirySeconds::NEVER,
        set: SetId::NONE,
    };
    let decide = |_: Option<corelith_store::Current<'_>>, _: &mut Vec<u8>| Ok::<_, ()>(change);
    let key = digest(key);
    let written = shard
        .write_as(Commit::Buffered, (&key, Needs::Metadata), content, decide)
        .await;
    if let Err(error) = written {
        panic!("{error:?}");
    }
}

/// Draws keys, evenly or by rank.
struct Keys {
    count: u64,
    /// Chances of the ranks, added up; empty if all keys are drawn alike.
    sums: Vec<f64>,
    order: Vec<u64>,
    random: SeededRandom,
}

impl Keys {
    fn new(count: u64, is_skewed: bool) -> Self {
        let mut random = SeededRandom::new(7, 1);
        let mut order: Vec<u64> = (0..count).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last as u64 + 1) as usize);
        }
        let mut sum = 0.0;
        let ranks = 1..=if is_skewed { count } else { 0 };
        let sums = ranks.map(|rank| {
            sum += (rank as f64).powf(-ZIPF);
            sum
        });
        let sums = sums.collect();
        Self {
            count,
            sums,
            order,
            random,
        }
    }

    fn next(&mut self) -> u64 {
        let Some(whole) = self.sums.last() else {
            return self.random.below(self.count);
        };
        let drawn = (self.random.below(1 << 53) as f64) / (1_u64 << 53) as f64 * whole;
        let rank = self.sums.partition_point(|sum| *sum < drawn);
        self.order[rank.min(self.order.len() - 1)]
    }
}

/// What was written for what clients wrote.
struct Amplification {
    whole: f64,
    padding: f64,
    moved: f64,
    overhead: f64,
}

fn since(before: &Counters, now: &Counters) -> Amplification {
    let of = |what: fn(&Counters) -> u64| (what(now) - what(before)) as f64;
    let users = of(|counters| counters.record_bytes);
    let padding = of(|counters| counters.padding_bytes) / users;
    let overhead = of(|counters| counters.overhead_bytes) / users;
    Amplification {
        whole: of(|counters| counters.batch_bytes) / users + overhead,
        padding,
        moved: of(|counters| counters.moved_bytes) / users,
        overhead,
    }
}

/// Fills a shard so that live encoded bytes are `percent` of the raw ones, overwrites it `rounds` times, and measures over as
/// many more.
fn measure(percent: u64, is_skewed: bool, (rounds, content_bytes): (u64, usize)) -> Amplification {
    let machine = SimulatedMachine::new(1);
    let drive = machine.add_drive(DriveConfig {
        latency_ns_max: 20_000,
        ..DriveConfig::new((SEGMENTS + 4) * SEGMENT_BYTES)
    });
    let device: Device = machine.device(drive);
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 0,
        limit_bytes: 1 << 30,
    })
    .unwrap();
    let clock = machine.clock();
    let mut runner = Runner {
        machine,
        background: None,
    };
    let options = FormatOptions {
        segment_bytes: SEGMENT_BYTES,
        extent_bytes: Some(SEGMENT_BYTES),
        ..FormatOptions::new("figures", 1, [7; 16], vec![[1; 16]])
    };
    let devices = [device];
    runner
        .run(format_volume(&devices, &pool, &options))
        .unwrap();
    let (volume, _) = runner.run(open_volume(&devices, &pool)).unwrap();
    let options = ShardOptions {
        shard: 0,
        index_memory_bytes: 256 << 20,
        accept_stale: false,
        record_cache_bytes: 0,
        index_bytes_cached: INDEX_BYTES_CACHED,
        checkpoint: CheckpointPace::NONE,
    };
    let shard = runner
        .run(async { Shard::open(&volume, &devices, (&pool, &clock), &options).await })
        .unwrap();
    let raw = shard.statistics().segments.total * SEGMENT_BYTES;
    runner.background = Some((Box::pin(shard.run()), Arc::new(Flag(AtomicBool::new(true)))));
    let stored = (56 + content_bytes as u64).next_multiple_of(16);
    let count = raw / 100 * percent / stored;
    let content = vec![7; content_bytes];
    for key in 0..count {
        runner.run(put(&shard, key, &content));
    }
    let mut keys = Keys::new(count, is_skewed);
    for _ in 0..count * rounds {
        runner.run(put(&shard, keys.next(), &content));
    }
    let before = shard.statistics().counters;
    for _ in 0..count * rounds {
        runner.run(put(&shard, keys.next(), &content));
    }
    since(&before, &shard.statistics().counters)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| match arguments.next() {
        Some(text) => text.parse().unwrap(),
        None => default,
    };
    let (rounds, content_bytes) = (number(3), number(1024));
    println!(
        "| full | keys | write amplification | of that moves | headers and summaries | padding |"
    );
    println!("|---|---|---|---|---|---|");
    for percent in [70, 80] {
        for (name, is_skewed) in [("uniform", false), ("zipf 0.99", true)] {
            let found = measure(percent, is_skewed, (rounds, content_bytes as usize));
            let Amplification {
                whole,
                padding,
                moved,
                overhead,
            } = found;
            println!(
                "| {percent} % | {name} | {whole:.2} | {moved:.2} | {overhead:.3} | {padding:.4} |"
            );
        }
    }
}
