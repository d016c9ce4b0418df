//! `device`: random reads (or writes) on a device through the core's ring and nothing above it: the
//! yardstick for everything else on the same device.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use corelith_io::{
    Access, BufferPool, BufferPoolConfig, Clock, Device, DeviceError, DeviceOffset,
    DurabilityChoice, LocalTasks, OpenDevice, OpenOptions, Ring, RingConfig,
};
use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::cpu;
use crate::failure::Failure;
use crate::report::{Latency, histogram, print};
use crate::size;

/// Arguments of `device`.
#[derive(Args, Debug)]
pub struct DeviceArguments {
    /// Block device or file. Reads need no exclusive claim; writes destroy what is on it.
    path: PathBuf,
    /// Operations in flight.
    #[arg(long, default_value_t = 64)]
    depth: u32,
    /// Bytes of each operation.
    #[arg(long, default_value = "4K", value_parser = size::parse)]
    block: u64,
    /// Seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Write durably instead of reading. Destroys what is on the device.
    #[arg(long, requires = "force")]
    write: bool,
    /// Yes, what is on the device may be destroyed.
    #[arg(long)]
    force: bool,
    /// How a write becomes durable.
    #[arg(long, value_enum, default_value = "auto")]
    durability: Durability,
    /// Seed of the offsets.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// How a write becomes durable.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum Durability {
    /// As the kernel says the device works.
    Auto,
    /// Plain writes, and one flush for all that had completed before it.
    Flush,
    /// Forced writes; a device that has none gets a flush for each from the kernel.
    Fua,
}

impl From<Durability> for DurabilityChoice {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Auto => Self::Kernel,
            Durability::Flush => Self::Flush,
            Durability::Fua => Self::Fua,
        }
    }
}

/// What the bare device did.
#[derive(Serialize, Debug, Clone)]
pub struct DeviceReport {
    pub operations_per_second: f64,
    pub cpu_ns_per_operation: f64,
    pub latency: Latency,
}

/// A ring with memory, for commands of this program.
pub fn ring_and_pool() -> Result<(Ring, BufferPool), Failure> {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 64 << 20,
        limit_bytes: 1 << 30,
    })?;
    let config = RingConfig {
        receive_buffer_count: 0,
        ..RingConfig::default()
    };
    Ok((Ring::new(config, &pool)?, pool))
}

pub fn run(arguments: &DeviceArguments) -> Result<(), Failure> {
    let access = if arguments.write {
        Access::Exclusive
    } else {
        Access::ReadOnly
    };
    let (ring, pool) = ring_and_pool()?;
    let opened = open(&arguments.path, access, arguments.durability)?;
    let device = opened.attach(&ring)?;
    let plan = Plan {
        depth: arguments.depth,
        block_bytes: arguments.block,
        nanoseconds: arguments.seconds * 1_000_000_000,
        write: arguments.write,
        seed: arguments.seed,
        range_bytes: device.geometry().size_bytes,
    };
    let report = measure((&ring, &pool), &device, &plan)?;
    let text = format!(
        "{}\n{}\n{:.0} operations/s of {} bytes at depth {}, {:.0} ns of CPU each ({:?})",
        Latency::head(),
        report
            .latency
            .line(if arguments.write { "write" } else { "read" }),
        report.operations_per_second,
        arguments.block,
        arguments.depth,
        report.cpu_ns_per_operation,
        device.geometry().durability,
    );
    print(arguments.json, &report, &text)
}

pub fn open(path: &Path, access: Access, durability: Durability) -> Result<OpenDevice, Failure> {
    let durability = durability.into();
    Ok(OpenDevice::open(path, OpenOptions { access, durability })?)
}

/// What to do to the device.
#[derive(Clone)]
pub struct Plan {
    pub depth: u32,
    pub block_bytes: u64,
    pub nanoseconds: u64,
    pub write: bool,
    pub seed: u64,
    /// Offsets lie below this.
    pub range_bytes: u64,
}

/// Runs the plan.
pub fn measure(
    (ring, pool): (&Ring, &BufferPool),
    device: &Device,
    plan: &Plan,
) -> Result<DeviceReport, Failure> {
    let blocks = plan.range_bytes / plan.block_bytes;
    if blocks == 0 {
        return Err(Failure::Usage(
            "the device is smaller than one block".into(),
        ));
    }
    let tasks = LocalTasks::new(ring);
    let clock = Clock::real();
    let latencies = Rc::new(RefCell::new(histogram()));
    let failed: Rc<RefCell<Option<DeviceError>>> = Rc::default();
    let done = Rc::new(Cell::new(0_u64));
    let began = clock.monotonic_ns();
    let cpu_before = cpu::of_this_thread();
    let mut waiting = Vec::new();
    for task in 0..plan.depth {
        let (device, pool, plan, clock) =
            (device.clone(), pool.clone(), plan.clone(), clock.clone());
        let (latencies, failed, done) =
            (Rc::clone(&latencies), Rc::clone(&failed), Rc::clone(&done));
        let spawned = tasks.spawn(async move {
            let seed = plan.seed.wrapping_mul(1000).wrapping_add(u64::from(task));
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let result = one_after_another(&device, &pool, &plan, (&clock, began), |took| {
                latencies.borrow_mut().saturating_record(took);
                done.set(done.get() + 1);
                random.random_range(0..blocks)
            });
            if let Err(error) = result.await {
                *failed.borrow_mut() = Some(error);
            }
        });
        waiting.push(spawned.map_err(|full| Failure::Usage(full.to_string()))?);
    }
    tasks.block_on(async {
        for task in waiting {
            task.await;
        }
    })?;
    let elapsed_ns = clock.monotonic_ns() - began;
    let cpu_ns = cpu::of_this_thread()
        .zip(cpu_before)
        .map_or(0, |(after, before)| after - before);
    if let Some(error) = failed.borrow_mut().take() {
        return Err(error.into());
    }
    let latencies: &Histogram<u64> = &latencies.borrow();
    Ok(DeviceReport {
        operations_per_second: done.get() as f64 / (elapsed_ns as f64 / 1e9),
        cpu_ns_per_operation: cpu_ns as f64 / done.get().max(1) as f64,
        latency: Latency::of(latencies),
    })
}

async fn one_after_another(
    device: &Device,
    pool: &BufferPool,
    plan: &Plan,
    (clock, began): (&Clock, u64),
    mut next: impl FnMut(u64) -> u64,
) -> Result<(), DeviceError> {
    let length = usize::try_from(plan.block_bytes).unwrap_or(usize::MAX);
    let Ok(mut buffer) = pool.take(length) else {
        return Ok(());
    };
    let mut place = next(0);
    loop {
        let started = clock.monotonic_ns();
        if started - began >= plan.nanoseconds {
            return Ok(());
        }
        let offset = DeviceOffset::new(place * plan.block_bytes);
        if plan.write {
            let frozen = buffer.freeze();
            device
                .write_durable(offset, frozen.clone(), 0..length)
                .await?;
            buffer = match frozen.try_thaw() {
                Ok(buffer) => buffer,
                Err(_) => match pool.take(length) {
                    Ok(buffer) => buffer,
                    Err(_) => return Ok(()),
                },
            };
        } else {
            let (back, result) = device.read(offset, buffer, length).await;
            buffer = back;
            result?;
        }
        place = next(clock.monotonic_ns() - started);
    }
}
