//! `store`: gets and puts through one shard of the store in this process, beside the bare ring on the
//! same device in the same run, so that what the store adds is a ratio and not a figure of weather.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use corelith_index::{Digest, ExpirySeconds, SetId};
use corelith_io::{Access, BufferPool, Clock, Device, LocalTasks, Ring};
use corelith_store::limits::INDEX_BYTES_CACHED;
use corelith_store::volume::{FormatOptions, format_volume};
use corelith_store::{Change, CheckpointPace, Needs, Shard, ShardOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::cpu;
use crate::device::{DeviceReport, Durability, Plan, measure, open, ring_and_pool};
use crate::failure::Failure;
use crate::report::{Latency, histogram, print};
use crate::size;

/// Arguments of `store`.
#[derive(Args, Debug)]
pub struct StoreArguments {
    /// Block device or file: formatted anew.
    path: PathBuf,
    /// Yes, what is on the device may be destroyed.
    #[arg(long, required = true)]
    force: bool,
    /// Records.
    #[arg(long, default_value_t = 200_000)]
    records: u64,
    /// Bytes of content of each.
    #[arg(long, default_value = "256", value_parser = size::parse)]
    value_bytes: u64,
    /// Gets or puts in flight.
    #[arg(long, default_value_t = 64)]
    depth: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Times that store and bare ring are measured in turn.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How a batch becomes durable.
    #[arg(long, value_enum, default_value = "auto")]
    durability: Durability,
    /// JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// One round.
#[derive(Serialize, Debug, Clone)]
struct Round {
    store_gets_per_second: f64,
    store_cpu_ns_per_get: f64,
    bare_reads_per_second: f64,
    bare_cpu_ns_per_read: f64,
}

/// What was found; medians over the rounds.
#[derive(Serialize, Debug)]
struct StoreReport {
    record_bytes: u64,
    bytes_per_get: f64,
    puts_per_second: f64,
    cpu_ns_per_put: f64,
    get: Latency,
    rounds: Vec<Round>,
    gets_against_bare_ring: f64,
    cpu_ns_added_per_get: f64,
}

type Counted = (f64, f64, Latency);

pub fn run(arguments: &StoreArguments) -> Result<(), Failure> {
    let (ring, pool) = ring_and_pool()?;
    let device = open(&arguments.path, Access::Exclusive, arguments.durability)?.attach(&ring)?;
    let tasks = LocalTasks::new(&ring);
    let shard = tasks.block_on(make(&device, &pool, arguments))??;
    let background = tasks
        .spawn(shard.run())
        .map_err(|full| Failure::Usage(full.to_string()))?;
    let (puts_per_second, cpu_ns_per_put, _) = drive(&tasks, &shard, arguments, Work::Load)?;
    let mut rounds = Vec::new();
    let mut get = Latency::of(&histogram());
    for _ in 0..arguments.rounds.max(1) {
        let before = shard.statistics().counters;
        let (gets, cpu, latency) = drive(&tasks, &shard, arguments, Work::Get)?;
        let after = shard.statistics().counters;
        get = latency;
        let bytes = (after.device_read_bytes - before.device_read_bytes)
            / (after.device_reads - before.device_reads).max(1);
        let bare = bare(&ring, &pool, &device, arguments, bytes)?;
        rounds.push(Round {
            store_gets_per_second: gets,
            store_cpu_ns_per_get: cpu,
            bare_reads_per_second: bare.operations_per_second,
            bare_cpu_ns_per_read: bare.cpu_ns_per_operation,
        });
    }
    shard.close();
    tasks.block_on(background)?;
    let counters = shard.statistics().counters;
    let report = StoreReport {
        record_bytes: arguments.value_bytes,
        bytes_per_get: counters.device_read_bytes as f64 / counters.device_reads.max(1) as f64,
        puts_per_second,
        cpu_ns_per_put,
        get,
        gets_against_bare_ring: median(
            rounds
                .iter()
                .map(|round| round.store_gets_per_second / round.bare_reads_per_second),
        ),
        cpu_ns_added_per_get: median(
            rounds
                .iter()
                .map(|round| round.store_cpu_ns_per_get - round.bare_cpu_ns_per_read),
        ),
        rounds,
    };
    let text = format!(
        "{}\n{}\nputs: {:.0}/s, {:.0} ns of CPU each\ngets: {:.3} of the bare ring's rate, {:.0} ns of CPU added each \
         ({:.0} bytes read a get; medians of {} rounds at depth {})",
        Latency::head(),
        report.get.line("get"),
        report.puts_per_second,
        report.cpu_ns_per_put,
        report.gets_against_bare_ring,
        report.cpu_ns_added_per_get,
        report.bytes_per_get,
        report.rounds.len(),
        arguments.depth
    );
    print(arguments.json, &report, &text)
}

async fn make(
    device: &Device,
    pool: &BufferPool,
    arguments: &StoreArguments,
) -> Result<Shard, Failure> {
    let clock = Clock::real();
    // Another identity each time: what an earlier run left in the segments must not look like ours.
    let mut random = ChaCha8Rng::seed_from_u64(clock.wall_ms() ^ clock.monotonic_ns());
    let options = FormatOptions::new("bench", 1, random.random(), vec![random.random()]);
    let devices = std::slice::from_ref(device);
    let volume = format_volume(devices, pool, &options).await?;
    let memory = arguments.records.saturating_mul(64).max(64 << 20);
    let options = ShardOptions {
        shard: 0,
        index_memory_bytes: memory,
        accept_stale: false,
        record_cache_bytes: 0,
        index_bytes_cached: INDEX_BYTES_CACHED,
        checkpoint: CheckpointPace::NONE,
    };
    Ok(Shard::open(&volume, devices, (pool, &clock), &options).await?)
}

/// The bare ring at the same depth, with reads as long as the store's, rounded to the device's blocks.
fn bare(
    ring: &Ring,
    pool: &BufferPool,
    device: &Device,
    arguments: &StoreArguments,
    bytes: u64,
) -> Result<DeviceReport, Failure> {
    let block = u64::from(device.geometry().logical_block_bytes);
    let plan = Plan {
        depth: arguments.depth,
        block_bytes: bytes.next_multiple_of(block).max(block),
        nanoseconds: arguments.seconds * 1_000_000_000,
        write: false,
        seed: 7,
        range_bytes: device.geometry().size_bytes / 2,
    };
    measure((ring, pool), device, &plan)
}

/// What the tasks do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Load,
    Get,
}

fn drive(
    tasks: &LocalTasks,
    shard: &Shard,
    arguments: &StoreArguments,
    work: Work,
) -> Result<Counted, Failure> {
    let clock = Clock::real();
    let next = Rc::new(Cell::new(0_u64));
    let latencies = Rc::new(RefCell::new(histogram()));
    let failed: Rc<RefCell<Option<Failure>>> = Rc::default();
    let value = Rc::new(vec![
        0x5a;
        usize::try_from(arguments.value_bytes)
            .unwrap_or(usize::MAX)
    ]);
    let began = clock.monotonic_ns();
    let cpu_before = cpu::of_this_thread();
    let until = began + arguments.seconds * 1_000_000_000;
    let mut waiting = Vec::new();
    for task in 0..arguments.depth {
        let (shard, clock, next, value) = (
            shard.clone(),
            clock.clone(),
            Rc::clone(&next),
            Rc::clone(&value),
        );
        let (latencies, failed) = (Rc::clone(&latencies), Rc::clone(&failed));
        let records = arguments.records;
        let spawned = tasks.spawn(async move {
            let mut random = ChaCha8Rng::seed_from_u64(u64::from(task));
            loop {
                let started = clock.monotonic_ns();
                let key = match work {
                    Work::Load => next.get(),
                    Work::Get => random.random_range(0..records),
                };
                let done = match work {
                    Work::Load => key >= records,
                    Work::Get => started >= until,
                };
                if done || failed.borrow().is_some() {
                    return;
                }
                next.set(next.get() + 1);
                if let Err(failure) = one(&shard, key, &value, work).await {
                    *failed.borrow_mut() = Some(failure);
                    return;
                }
                latencies
                    .borrow_mut()
                    .saturating_record(clock.monotonic_ns() - started);
            }
        });
        waiting.push(spawned.map_err(|full| Failure::Usage(full.to_string()))?);
    }
    tasks.block_on(async {
        for task in waiting {
            task.await;
        }
    })?;
    if let Some(failure) = failed.borrow_mut().take() {
        return Err(failure);
    }
    let elapsed_ns = clock.monotonic_ns() - began;
    let cpu_ns = cpu::of_this_thread()
        .zip(cpu_before)
        .map_or(0, |(after, before)| after - before);
    let latency = Latency::of(&latencies.borrow());
    let count = latency.count.max(1) as f64;
    Ok((
        count / (elapsed_ns as f64 / 1e9),
        cpu_ns as f64 / count,
        latency,
    ))
}

async fn one(shard: &Shard, key: u64, value: &[u8], work: Work) -> Result<(), Failure> {
    let digest = digest_of(key);
    if work == Work::Load {
        return shard
            .write::<()>(&digest, Needs::Metadata, value, |_, _| {
                Ok(Change::PutInput {
                    expiry: ExpirySeconds::NEVER,
                    set: SetId::NONE,
                })
            })
            .await
            .map(drop)
            .map_err(|error| Failure::Write(error.to_string()));
    }
    match shard.get(&digest).await? {
        Some(record) if record.content() == value => Ok(()),
        Some(_) => Err(Failure::Invalid(format!("record {key} has another value"))),
        None => Err(Failure::Invalid(format!("record {key} is not there"))),
    }
}

/// A digest that is as even as a hash's and cheap to make.
fn digest_of(key: u64) -> Digest {
    let mut bytes = [0; 20];
    let mut state = key;
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
    }
    Digest::from_bytes(bytes)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn digests_differ_and_spread_over_partitions() {
        let partitions: std::collections::HashSet<u16> = (0..10_000)
            .map(|key| digest_of(key).partition().get())
            .collect();
        assert!(partitions.len() > 3_500, "{}", partitions.len());
    }
}
