//! Cycles of load and power cut: start the node, compare everything, load it, cut the drive's power in the middle of that, kill the node,
//! give the power back.

use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use corelith_io::Clock;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::load::{KEYS, Load, set_of, with_client};
use crate::machine::{Drive, Node, Port, Served, tools};
use crate::oracle::Oracle;
use crate::{CutsArguments, Failure};

/// How long a load runs before the cut, in milliseconds: at least, and below.
const LOAD_MS: std::ops::Range<u64> = 150..400;
/// While it runs the drive takes a millisecond for each request, so that a cut meets some that are in flight and writes that no
/// flush has reached.
const SLOW: &str = "pace 1";
const FAST: &str = "pace 0";
/// A load runs at least until so many of its writes were acknowledged.
const ACKNOWLEDGED_MIN: u64 = 30;
/// How long the node goes on without power: what it acknowledges then must be there afterwards.
const WITHOUT_POWER: Duration = Duration::from_millis(10);

/// The whole run.
struct Run<'a> {
    arguments: &'a CutsArguments,
    drive: Drive,
    control: Port,
    load: Rc<Load>,
    random: ChaCha8Rng,
    cached_blocks: u64,
    in_flight: u64,
}

/// Runs the cycles and sums them up.
pub(super) fn run(arguments: &CutsArguments) -> Result<String, Failure> {
    let clock = Clock::real();
    let mut run = Run {
        arguments,
        drive: Drive::find(&arguments.serial)?,
        control: Port::open(&arguments.control)?,
        load: Rc::new(Load::new(Oracle::new(KEYS))),
        random: ChaCha8Rng::seed_from_u64(arguments.seed),
        cached_blocks: 0,
        in_flight: 0,
    };
    let device = run.drive.path.to_string_lossy().into_owned();
    let create = [
        "volume",
        "create",
        "--shards",
        "4",
        "--segment-size",
        "256K",
        &device,
    ];
    tools(&arguments.programs, &create)?;
    // The tools force what they write, and the emulator does not pass that on.
    File::open(&run.drive.path)?.sync_all()?;
    if arguments.forgetful {
        run.control.ask("forgetful")?;
    }
    let began = clock.monotonic_ns();
    let mut cut = 0;
    let ended = loop {
        if cut == arguments.cuts {
            break run.last();
        }
        cut += 1;
        let ended = run.cycle(cut);
        if ended.is_err() {
            break ended;
        }
    };
    let seconds = clock.monotonic_ns().saturating_sub(began) as f64 / 1e9;
    let found = match ended {
        Err(Failure::Node(found)) => found,
        Err(failure) => return Err(failure),
        Ok(()) if arguments.forgetful => {
            let text = format!("a drive that lies about its flushes was not noticed in {cut} cuts");
            return Err(Failure::Node(text));
        }
        Ok(()) => return Ok(run.summary(cut, seconds)),
    };
    if arguments.forgetful {
        return Ok(format!("caught after {} cuts: {found}", cut - 1));
    }
    for line in run.load.oracle.borrow().lines() {
        println!("expected {line}");
    }
    println!("log {}", Node::log().replace('\n', "\nlog "));
    Err(Failure::Node(format!("after {} cuts: {found}", cut - 1)))
}

impl Run<'_> {
    fn start(&self) -> Result<Node, Failure> {
        let served = Served {
            name: "test",
            devices: &[&self.drive.path],
            durability: &self.arguments.durability,
        };
        Node::start(&self.arguments.programs, &[served])
    }

    fn cycle(&mut self, cut: u64) -> Result<(), Failure> {
        self.control.ask(&format!("mark cycle {cut}: start"))?;
        let node = self.start()?;
        let before = self.load.counts();
        let load = Rc::clone(&self.load);
        load.set_cut(false);
        let seed = self.random.random();
        let load_time = Duration::from_millis(self.random.random_range(LOAD_MS));
        let report = with_client(async |client| {
            let set = set_of(&client).await?;
            load.compare(&set).await?;
            self.control.ask(&format!("mark cycle {cut}: load"))?;
            self.control.ask(SLOW)?;
            let workers = load.spawn(&set, seed);
            tokio::time::sleep(load_time).await;
            let enough = before.acknowledged + ACKNOWLEDGED_MIN;
            while load.counts().acknowledged < enough && workers.iter().any(|w| !w.is_finished()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            load.set_cut(true);
            let report = self.control.ask("cut")?;
            tokio::time::sleep(WITHOUT_POWER).await;
            for worker in workers {
                worker.abort();
            }
            Ok(report)
        })?;
        node.kill()?;
        self.control.ask("on")?;
        self.control.ask(FAST)?;
        load.take_failure()?;
        let mut numbers = report
            .split(' ')
            .skip(1)
            .map(|word| word.parse().unwrap_or(0));
        let (cached, in_flight) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        self.cached_blocks += cached;
        self.in_flight += in_flight;
        let now = load.counts();
        println!(
            "cycle {cut}: {} acknowledged; the cut met {cached} blocks in the cache and {in_flight} requests in flight",
            now.acknowledged - before.acknowledged,
        );
        Ok(())
    }

    /// What the last cut left is compared too, and survives a stop in peace.
    fn last(&mut self) -> Result<(), Failure> {
        for _ in 0..2 {
            let node = self.start()?;
            let load = Rc::clone(&self.load);
            with_client(async |client| {
                let set = set_of(&client).await?;
                load.compare(&set).await
            })?;
            node.stop()?;
        }
        Ok(())
    }

    fn summary(&self, cuts: u64, seconds: f64) -> String {
        let counts = self.load.counts();
        format!(
            "{cuts} cuts in {seconds:.1} s of the guest, {:.2} s a cycle: {} writes acknowledged ({} records deleted), {} reads under load, \
             {} keys compared after starts, none lost or wrong; the cuts met {} blocks in the cache and {} requests in flight",
            seconds / cuts.max(1) as f64,
            counts.acknowledged,
            counts.deleted,
            counts.read,
            counts.compared,
            self.cached_blocks,
            self.in_flight,
        )
    }
}
