//! `run`: puts and gets against a node, closed or open loop.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use corelith_client::{
    BatchBuilder, Client, ClientOptions, Commit, ContentBuilder, Error, PutMode, Set, StepsBuilder,
    Value, WriteOptions,
};
use corelith_io::Clock;
use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cpu;
use crate::distribution::{Distribution, KeyChooser};
use crate::failure::Failure;
use crate::report::{Latency, RunReport, histogram, print};
use crate::size;

/// Arguments of `run`.
#[derive(Args, Debug, Clone)]
pub struct RunArguments {
    /// The node.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4100")]
    host: String,
    /// Namespace [default: the node's only one, or else "test"].
    #[arg(long)]
    namespace: Option<String>,
    /// Set.
    #[arg(long, default_value = "bench")]
    set: String,
    /// Keys: integers from 0.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Bytes of the one bin of each record.
    #[arg(long, default_value = "256", value_parser = size::parse)]
    value_bytes: u64,
    /// Put every key once before measuring.
    #[arg(long)]
    load: bool,
    /// Percent of operations that are gets; the others are replacing puts.
    #[arg(long, default_value_t = 95, value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: u8,
    /// How keys are chosen.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Requests in flight in a closed loop; the most that may be in an open one.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    depth: u32,
    /// Rows of each request, all gets or all puts; each counts as an operation. The depth counts requests, and a
    /// row's latency is its request's.
    #[arg(long, value_name = "ROWS", default_value_t = 1, conflicts_with = "operate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// Percent of requests that are sent to a core which does not own the key, on a node of several cores: it
    /// hands them over.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    crossing: u8,
    /// Operates of so many steps on one record instead of gets and puts: the first writes the record's bin, the
    /// others add to a number and read it in turn.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    operate: Option<u16>,
    /// Puts merge with the record that is there, which is read first, instead of replacing it.
    #[arg(long)]
    merge: bool,
    /// Connections to each core; requests take turns on them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    connections: u32,
    /// Arrivals a second: an open loop. None: a closed one.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,
    /// Operations to measure.
    #[arg(long, conflicts_with = "seconds")]
    operations: Option<u64>,
    /// Seconds to measure [default: 10].
    #[arg(long)]
    seconds: Option<u64>,
    /// Operations before measuring begins.
    #[arg(long, default_value_t = 10_000)]
    warm_up: u64,
    /// Seed of keys and choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Never let the generator's thread sleep, so that its own wake-ups are not in the latencies. Takes
    /// a CPU of its own.
    #[arg(long)]
    spin: bool,
    /// Have puts answered before they are durable; the node must allow it (--commit optional).
    #[arg(long)]
    buffered: bool,
    /// Process of the node, for its CPU time per operation.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Nanoseconds before a measurement and after it.
type Counted = (u64, u64);

/// Everything that the loops share; one thread.
struct Load {
    arguments: RunArguments,
    /// One for each connection.
    sets: Vec<Set>,
    next_set: Cell<usize>,
    clock: Clock,
    keys: KeyChooser,
    random: RefCell<ChaCha8Rng>,
    /// What every put writes.
    bins: ContentBuilder,
    gets: RefCell<Histogram<u64>>,
    puts: RefCell<Histogram<u64>>,
    operates: RefCell<Histogram<u64>>,
    /// What every operate does, if operates are asked for.
    steps: Option<StepsBuilder>,
    started: Cell<u64>,
    failed: Cell<u64>,
    in_doubt: Cell<u64>,
    not_found: Cell<u64>,
    late: Cell<u64>,
    error: RefCell<Option<String>>,
    measuring: Cell<bool>,
}

pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.keys == 0 {
        return Err(Failure::Usage("--keys must be at least 1".into()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, measure(arguments))
}

async fn measure(arguments: &RunArguments) -> Result<(), Failure> {
    let options = ClientOptions {
        timeout: Duration::from_secs(10),
        in_flight_max: 1024,
        crossing_percent: arguments.crossing,
        ..ClientOptions::default()
    };
    let mut sets = Vec::new();
    // Its questions are not part of the load.
    let client = Client::connect(&arguments.host, options.clone()).await?;
    for _ in 0..arguments.connections {
        let client = Client::connect(&arguments.host, options.clone()).await?;
        let namespace = match &arguments.namespace {
            Some(name) => client.namespace(name),
            None => client.default_namespace().await?,
        };
        sets.push(namespace.set(&arguments.set));
    }
    let mut value = vec![0; usize::try_from(arguments.value_bytes).unwrap_or(usize::MAX)];
    let mut random = ChaCha8Rng::seed_from_u64(arguments.seed);
    random.fill(&mut value[..]);
    let load = Rc::new(Load {
        sets,
        next_set: Cell::new(0),
        clock: Clock::real(),
        keys: KeyChooser::new(arguments.distribution, arguments.keys),
        random: RefCell::new(random),
        steps: arguments.operate.map(|count| steps(count, &value)),
        bins: ContentBuilder::new().bin("value", Value::Bytes(value)),
        gets: RefCell::new(histogram()),
        puts: RefCell::new(histogram()),
        operates: RefCell::new(histogram()),
        started: Cell::new(0),
        failed: Cell::new(0),
        in_doubt: Cell::new(0),
        not_found: Cell::new(0),
        late: Cell::new(0),
        error: RefCell::new(None),
        measuring: Cell::new(false),
        arguments: arguments.clone(),
    });
    if arguments.load {
        load_all(&load).await?;
    }
    let spinning = arguments.spin.then(|| tokio::task::spawn_local(spin()));
    closed_loop(&load, Some(arguments.warm_up), None).await;
    load.reset();
    let spun_before = cpu::spun_by(&client).await?;
    let cpu_before = arguments.server_pid.and_then(cpu::of_process);
    let own_before = cpu::of_this_thread();
    let began = load.clock.monotonic_ns();
    let limit = match (arguments.operations, arguments.seconds) {
        (Some(operations), _) => (Some(operations), None),
        (None, seconds) => (None, Some(seconds.unwrap_or(10))),
    };
    match arguments.rate {
        None => closed_loop(&load, limit.0, limit.1).await,
        Some(rate) => open_loop(&load, rate, limit).await?,
    }
    let elapsed_ns = load.clock.monotonic_ns() - began;
    if let Some(spinning) = spinning {
        spinning.abort();
    }
    let cpu_after = arguments.server_pid.and_then(cpu::of_process);
    let own_after = cpu::of_this_thread();
    // A node that has gone away says nothing more; what was measured is reported all the same.
    let spun_after = cpu::spun_by(&client).await;
    let report = load.report(
        elapsed_ns,
        (
            cpu_before.zip(cpu_after),
            (spun_before, *spun_after.as_ref().unwrap_or(&spun_before)),
        ),
        own_before.zip(own_after),
    );
    if report.operations > 0 {
        print(arguments.json, &report, &load.text(&report))?;
    }
    report.check(load.error.borrow().as_deref())?;
    spun_after?;
    Ok(())
}

/// The steps of an operate.
fn steps(count: u16, value: &[u8]) -> StepsBuilder {
    let first = StepsBuilder::new().write("value", Value::Bytes(value.to_vec()));
    (1..count).fold(first, |steps, number| match number % 2 {
        1 => steps.add("count", 1),
        _ => steps.read("count"),
    })
}

/// Keeps the thread from waiting in the kernel: something is always ready.
async fn spin() {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Puts every key once.
async fn load_all(load: &Rc<Load>) -> Result<(), Failure> {
    let next = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for _ in 0..load.arguments.depth.max(256) {
        let (load, next) = (Rc::clone(load), Rc::clone(&next));
        tasks.push(tokio::task::spawn_local(async move {
            loop {
                let key = next.get();
                if key >= load.arguments.keys {
                    return Ok::<(), Error>(());
                }
                next.set(key + 1);
                load.put(key).await?;
            }
        }));
    }
    for task in tasks {
        task.await
            .map_err(|error| Failure::Invalid(error.to_string()))??;
    }
    Ok(())
}

/// As many requests in flight as the depth says, each started when the one before it ended.
async fn closed_loop(load: &Rc<Load>, operations: Option<u64>, seconds: Option<u64>) {
    let until = seconds.map(|seconds| load.clock.monotonic_ns() + seconds * 1_000_000_000);
    let mut tasks = Vec::new();
    for _ in 0..load.arguments.depth {
        let load = Rc::clone(load);
        tasks.push(tokio::task::spawn_local(async move {
            loop {
                let started = load.clock.monotonic_ns();
                let done = operations.is_some_and(|limit| load.started.get() >= limit)
                    || until.is_some_and(|until| started >= until);
                if done {
                    return;
                }
                let rows = u64::from(load.arguments.batch);
                load.started.set(load.started.get() + rows);
                load.one(started).await;
            }
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

/// Arrivals on a constant schedule; latency counts from when a request should have started.
async fn open_loop(
    load: &Rc<Load>,
    rate: u64,
    (operations, seconds): (Option<u64>, Option<u64>),
) -> Result<(), Failure> {
    if rate == 0 {
        return Err(Failure::Usage("--rate must be at least 1".into()));
    }
    let total = operations.unwrap_or_else(|| rate * seconds.unwrap_or(10));
    let places = Rc::new(tokio::sync::Semaphore::new(load.arguments.depth as usize));
    let began = load.clock.monotonic_ns();
    // Arrivals are of requests, and the rate is of operations.
    for number in (0..total).step_by(load.arguments.batch as usize) {
        let intended = began
            + u64::try_from(u128::from(number) * 1_000_000_000 / u128::from(rate))
                .unwrap_or(u64::MAX);
        loop {
            let now = load.clock.monotonic_ns();
            if now >= intended {
                break;
            }
            // The timer is good to a millisecond: the last stretch is waited for by yielding.
            if intended - now > 2_000_000 {
                tokio::time::sleep(Duration::from_nanos(intended - now - 1_500_000)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        if places.available_permits() == 0 {
            load.late.set(load.late.get() + 1);
        }
        let place = Rc::clone(&places).acquire_owned_rc().await?;
        let load = Rc::clone(load);
        tokio::task::spawn_local(async move {
            load.one(intended).await;
            drop(place);
        });
    }
    // All places back means that all have ended.
    for _ in 0..load.arguments.depth {
        std::mem::forget(
            places
                .acquire()
                .await
                .map_err(|error| Failure::Invalid(error.to_string()))?,
        );
    }
    Ok(())
}

/// A place of a semaphore that is shared by `Rc`.
struct Place(Rc<tokio::sync::Semaphore>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Takes places of a semaphore that never leaves its thread.
trait AcquireRc {
    async fn acquire_owned_rc(self) -> Result<Place, Failure>;
}

impl AcquireRc for Rc<tokio::sync::Semaphore> {
    async fn acquire_owned_rc(self) -> Result<Place, Failure> {
        let permit = self
            .acquire()
            .await
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        permit.forget();
        Ok(Place(Rc::clone(&self)))
    }
}

impl Load {
    /// One request, counted from `started`.
    async fn one(&self, started: u64) {
        if self.arguments.batch > 1 {
            return self.one_batch(started).await;
        }
        let (key, reads) = {
            let mut random = self.random.borrow_mut();
            (
                self.keys.next(&mut random),
                random.random_range(0..100) < self.arguments.reads,
            )
        };
        if let Some(steps) = &self.steps {
            let options = self.options();
            let operated = self.set().operate_with(key as i64, steps, &options).await;
            return self.count(operated.map(drop), &self.operates, started);
        }
        let result = if reads {
            self.set().get(key as i64).await.map(|found| {
                if found.is_none() {
                    self.not_found.set(self.not_found.get() + 1);
                }
            })
        } else {
            self.put(key).await
        };
        let histogram = if reads { &self.gets } else { &self.puts };
        self.count(result, histogram, started);
    }

    /// Counts how an operation ended that began at `started`.
    fn count(&self, result: Result<(), Error>, histogram: &RefCell<Histogram<u64>>, started: u64) {
        let took = self.clock.monotonic_ns().saturating_sub(started);
        match result {
            Ok(()) => {
                histogram.borrow_mut().saturating_record(took);
            }
            Err(error) => {
                let count = if matches!(error, Error::InDoubt { .. }) {
                    &self.in_doubt
                } else {
                    &self.failed
                };
                count.set(count.get() + 1);
                *self.error.borrow_mut() = Some(error.to_string());
            }
        }
    }

    /// A batch, counted from `started`.
    async fn one_batch(&self, started: u64) {
        let set = self.set();
        let mut batch = BatchBuilder::new(set.name());
        let reads = {
            let mut random = self.random.borrow_mut();
            let reads = random.random_range(0..100) < self.arguments.reads;
            for _ in 0..self.arguments.batch {
                let key = self.keys.next(&mut random) as i64;
                batch = if reads {
                    batch.get(key)
                } else {
                    batch.put_with(key, &self.bins, &self.options())
                };
            }
            reads
        };
        let results = set.namespace().batch(&batch).await;
        let histogram = if reads { &self.gets } else { &self.puts };
        for result in results {
            if reads && result.as_ref().is_ok_and(|row| !row.is_found()) {
                self.not_found.set(self.not_found.get() + 1);
            }
            self.count(result.map(drop), histogram, started);
        }
    }

    async fn put(&self, key: u64) -> Result<(), Error> {
        let put = self
            .set()
            .put_with(key as i64, &self.bins, &self.options())
            .await;
        put.map(drop)
    }

    /// The connection whose turn it is.
    fn set(&self) -> &Set {
        let next = self.next_set.get();
        self.next_set.set((next + 1) % self.sets.len());
        &self.sets[next]
    }

    /// How writes are asked for.
    fn options(&self) -> WriteOptions {
        let merges = self.arguments.merge || self.steps.is_some();
        WriteOptions {
            mode: if merges {
                PutMode::Merge
            } else {
                PutMode::Replace
            },
            commit: if self.arguments.buffered {
                Commit::Buffered
            } else {
                Commit::NamespaceDefault
            },
            ..WriteOptions::default()
        }
    }

    fn reset(&self) {
        self.gets.borrow_mut().reset();
        self.puts.borrow_mut().reset();
        self.operates.borrow_mut().reset();
        for count in [
            &self.started,
            &self.failed,
            &self.in_doubt,
            &self.not_found,
            &self.late,
        ] {
            count.set(0);
        }
        // Those of the warm-up are not the measurement's.
        self.error.take();
        self.measuring.set(true);
    }

    fn report(
        &self,
        elapsed_ns: u64,
        (server, spun): (Option<Counted>, Counted),
        own: Option<Counted>,
    ) -> RunReport {
        let (get, put) = (
            Latency::of(&self.gets.borrow()),
            Latency::of(&self.puts.borrow()),
        );
        let operate = Latency::of(&self.operates.borrow());
        let operations = get.count + put.count + operate.count;
        let each = |(before, after): Counted| {
            (after - before) as f64 / 1000.0 / (operations.max(1) as f64)
        };
        RunReport {
            operations,
            failed: self.failed.get(),
            in_doubt: self.in_doubt.get(),
            not_found: self.not_found.get(),
            seconds: elapsed_ns as f64 / 1e9,
            operations_per_second: operations as f64 / (elapsed_ns as f64 / 1e9),
            offered_per_second: self.arguments.rate,
            late: self.late.get(),
            server_cpu_us_per_operation: server.map(each),
            server_spin_us_per_operation: each(spun),
            generator_cpu_us_per_operation: own.map(each),
            get,
            put,
            operate,
        }
    }

    fn text(&self, report: &RunReport) -> String {
        let mut text = Latency::head();
        let kinds = [
            ("get", &report.get),
            ("put", &report.put),
            ("operate", &report.operate),
        ];
        for (name, latency) in kinds {
            if latency.count > 0 {
                let _ = write!(text, "\n{}", latency.line(name));
            }
        }
        let _ = write!(
            text,
            "\n{:.0} operations/s over {:.1} s; failed {}, in doubt {}, not found {}, late {}",
            report.operations_per_second,
            report.seconds,
            report.failed,
            report.in_doubt,
            report.not_found,
            report.late
        );
        if let Some(cpu) = report.server_cpu_us_per_operation {
            let spun = report.server_spin_us_per_operation;
            let _ = write!(
                text,
                "\nserver CPU {cpu:.2} us per operation, of which its cores spun {spun:.2} us for want of work"
            );
        }
        if let Some(cpu) = report.generator_cpu_us_per_operation {
            let _ = write!(text, "\ngenerator CPU {cpu:.2} us per operation");
        }
        if let Some(error) = &*self.error.borrow() {
            let _ = write!(text, "\nlast error: {error}");
        }
        text
    }
}
