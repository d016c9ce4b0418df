//! One run: format, then life after life of starting, verifying, serving clients and dying, until the cuts
//! of the scenario are used up.
//!
//! A life ends by a power cut at any moment (in the middle of the recovery, too), by a kill, or by a clean
//! stop. After each the oracle knows that what was under way is settled, and every key is read. Before a
//! cut, forks of the machine try other cuts at the same moment.

use std::cell::RefCell;
use std::fmt;

use corelith_io::{
    BufferPool, BufferPoolConfig, DriveId, FaultRates, SeededRandom, SimulatedMachine,
};

use crate::client::{Desk, run_client, verify};
use crate::executor::{Executor, Handle, Stop, TaskKind};
use crate::harm::Harm;
use crate::limits::{FAILED_STARTS_MAX, MOMENTS_MAX, POOL_ARENA_BYTES};
use crate::oracle::{Tolerance, Violation};
pub use crate::report::Report;
use crate::scenario::{Profile, Scenario};
use crate::subject::{Key, Process, Subject, Trust};
use crate::time::run_time;

/// What went wrong.
#[derive(Clone, Debug)]
pub enum FailureKind {
    /// A wrong answer.
    Violation(Box<Violation>),
    /// The store's list of keys is wrong.
    Keys(String),
    /// The store has removed expired records while its clock was doubtful.
    RemovedInDoubt,
    /// What followers of the log were given is wrong.
    Feed(String),
    /// Operations or a start that nothing will ever finish: the tasks' names.
    Deadlock(Vec<String>),
    /// A start, stop or verification that takes for ever, or polls for ever: what it was.
    Hung(&'static str),
    /// The store does not start, on drives without a fault.
    Start(String),
    /// Memory that a dead process still holds, in bytes.
    Leak(usize),
}

/// A failed run.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The command that runs it again.
    pub command: String,
    /// In which life, from 0.
    pub life: u64,
    /// What.
    pub kind: FailureKind,
    /// The operation log, if one was kept.
    pub log: String,
    /// What the run had gone through by then.
    pub report: Report,
}

/// Whether to keep an operation log; it slows a run and changes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// No log.
    Off,
    /// The newest events.
    On,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    PowerCut,
    Kill,
    Stop,
}

/// What runs see of the present machine.
struct World {
    scrubs: bool,
    machine: SimulatedMachine,
    drives: Vec<DriveId>,
    pool: BufferPool,
    desk: Desk,
}

struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    random: SeededRandom,
    report: Report,
    life: u64,
    failed_starts_in_row: u32,
    /// Keys of which the store has said that it may have lost something: the next start accepts that.
    stale_keys: Vec<Key>,
}

thread_local! {
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The command of the run that this thread is in, for whoever reports a panic.
pub fn current_command() -> Option<String> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs a scenario to its end or its first failure.
pub fn run<S: Subject>(scenario: &Scenario, logging: Logging) -> Result<Report, Box<Failure>> {
    CURRENT.set(Some(scenario.command()));
    let mut run = Run::new(scenario, logging);
    let outcome = run.all_lives::<S>();
    CURRENT.set(None);
    run.report.totals = run.world.desk.oracle.borrow().totals();
    let feed = run.world.desk.feed.as_ref();
    run.report.feed = feed.map_or_else(Default::default, |feed| feed.borrow().figures());
    outcome.map_err(|kind| {
        Box::new(Failure {
            report: run.report,
            command: scenario.command(),
            life: run.life,
            kind,
            log: run.world.machine.log_text(),
        })
    })?;
    run.report.fingerprint = run.world.machine.fingerprint();
    run.report.silent_faults = run.world.desk.silent_faults();
    Ok(run.report)
}

/// Runs a scenario; a failure is run again with a log.
pub fn run_and_explain<S: Subject>(scenario: &Scenario) -> Result<Report, Box<Failure>> {
    run::<S>(scenario, Logging::Off).map_err(|failure| match run::<S>(scenario, Logging::On) {
        Err(explained) => explained,
        Ok(_) => failure,
    })
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, logging: Logging) -> Self {
        let machine = SimulatedMachine::new(scenario.seed);
        if logging == Logging::On {
            machine.keep_log(SimulatedMachine::LOG_ENTRIES_DEFAULT);
        }
        let drives = scenario
            .drives
            .iter()
            .map(|config| machine.add_drive(config.clone()));
        let drives: Vec<DriveId> = drives.collect();
        let config = BufferPoolConfig {
            arena_bytes: POOL_ARENA_BYTES,
            ..BufferPoolConfig::default()
        };
        let pool = match BufferPool::new(config) {
            Ok(pool) => pool,
            Err(error) => panic!("no memory for a simulated process: {error}"),
        };
        let mut desk = Desk::new(&machine, Harm::new(scenario, &drives));
        if scenario.expires {
            desk = desk.with_expiry();
        }
        if scenario.buffered {
            desk = desk.with_buffered();
        }
        if scenario.follows {
            desk = desk.with_feed(scenario.profile != Profile::Honest);
        }
        Self {
            scenario,
            world: World {
                scrubs: scenario.scrubs,
                machine,
                drives,
                pool,
                desk,
            },
            random: scenario.stream(0),
            report: Report::default(),
            life: 0,
            failed_starts_in_row: 0,
            stale_keys: Vec::new(),
        }
    }

    fn all_lives<S: Subject>(&mut self) -> Result<(), FailureKind> {
        self.format::<S>()?;
        while self.report.power_cuts + self.report.kills < self.scenario.cuts {
            self.one_life::<S>()?;
            self.life += 1;
        }
        Ok(())
    }

    fn format<S: Subject>(&mut self) -> Result<(), FailureKind> {
        let mut executor = self.executor();
        let formatted = executor.spawn(
            TaskKind::Foreground,
            "format",
            S::format(self.world.process(false)),
        );
        self.finish(&mut executor, "format")?;
        for drive in &self.world.drives {
            self.world
                .machine
                .faults(*drive)
                .set_honesty(self.scenario.honesty());
        }
        for (drive, fault) in &self.scenario.silent_faults {
            let drive = self.world.drives.get(*drive);
            drive.inspect(|drive| self.world.machine.faults(**drive).plan(fault.clone()));
        }
        match formatted.take() {
            Some(Err(reason)) => Err(FailureKind::Start(reason)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn one_life<S: Subject>(&mut self) -> Result<(), FailureKind> {
        let mut executor = self.executor();
        let death = self.live::<S>(&mut executor);
        self.report.moments += executor.moments();
        let death = death?;
        if death == Death::PowerCut {
            self.explore_forks::<S>()?;
        }
        drop(executor);
        self.set_faults(FaultRates::NONE);
        let machine = &self.world.machine;
        match death {
            Death::PowerCut => {
                machine.power_cut();
                self.report.power_cuts += 1;
            }
            Death::Kill => {
                machine.process_kill();
                self.report.kills += 1;
            }
            Death::Stop => {
                machine.process_kill();
                self.report.stops += 1;
            }
        }
        for drive in &self.world.drives {
            machine.faults(*drive).restore();
        }
        self.world.desk.oracle.borrow_mut().restart();
        self.check_memory()
    }

    /// Starts the store and uses it. Returns how the process is to die, now.
    fn live<S: Subject>(&mut self, executor: &mut Executor) -> Result<Death, FailureKind> {
        let faulty_start = self.failed_starts_in_row < FAILED_STARTS_MAX
            && self.scenario.profile != Profile::Honest
            && self.random.below(4) == 0;
        self.set_faults_on(faulty_start);
        let cut_in_start = self.random.below(8) == 0;
        let budget = if cut_in_start {
            self.random.below(400)
        } else {
            MOMENTS_MAX
        };
        // A start that is cut off may have made a part of the loss final.
        let lost = self.stale_keys.iter();
        lost.for_each(|key| self.world.desk.oracle.borrow_mut().lose_track(*key));
        let process = self.world.process(!self.stale_keys.is_empty());
        let started = executor.spawn(TaskKind::Foreground, "start", S::open(process));
        match executor.run(budget) {
            Stop::Exhausted if cut_in_start => {
                self.report.cuts_in_start += 1;
                return Ok(Death::PowerCut);
            }
            Stop::Exhausted => return Err(FailureKind::Hung("start")),
            Stop::Deadlock(names) => return Err(FailureKind::Deadlock(names)),
            Stop::Done => {}
        }
        let subject: S = match started.take() {
            Some(Ok(subject)) => subject,
            Some(Err(reason)) if !faulty_start && !self.world.desk.is_harmed() => {
                return Err(FailureKind::Start(reason));
            }
            Some(Err(_)) | None => {
                self.report.failed_starts += 1;
                self.failed_starts_in_row += 1;
                return Ok(self.crash());
            }
        };
        self.failed_starts_in_row = 0;
        self.stale_keys = self.note_trust(&subject);
        self.report.stale_starts += u64::from(!self.stale_keys.is_empty());
        if !self.world.desk.is_harmed() {
            // What a device merely refuses to return just now, nobody accepts as lost.
            self.stale_keys.clear();
        }
        executor.spawn(TaskKind::Background, "background", subject.background());
        let reads_fail = faulty_start && self.random.coin();
        if !reads_fail {
            self.set_faults_on(false);
        }
        self.tolerate(faulty_start);
        let keys = self.scenario.keys.clone();
        let check = verify(
            subject.clone(),
            self.world.desk.clone(),
            keys,
            self.stream(),
        );
        let verified = executor.spawn(TaskKind::Foreground, "verification", check);
        self.finish(executor, "verification")?;
        self.judge(&verified)?;
        self.serve(executor, subject, faulty_start)
    }

    /// Lets clients work until they have enough or the moment of death has come.
    fn serve<S: Subject>(
        &mut self,
        executor: &mut Executor,
        subject: S,
        faulty_start: bool,
    ) -> Result<Death, FailureKind> {
        let faulty = self.scenario.profile == Profile::Honest || self.random.below(4) > 0;
        self.set_faults_on(faulty);
        // What a start could not read stays unknown for the whole life.
        self.tolerate(faulty || faulty_start);
        for number in 0..self.scenario.client_count {
            let client = run_client(
                subject.clone(),
                self.world.desk.clone(),
                self.scenario.keys.clone(),
                self.scenario.operations_max,
                self.stream(),
            );
            executor.spawn(TaskKind::Foreground, format!("client {number}"), client);
        }
        if self.scenario.expires {
            let time = run_time(
                subject.clone(),
                self.world.desk.clone(),
                self.scenario.keys.clone(),
                self.stream(),
            );
            executor.spawn(TaskKind::Foreground, "time", time);
        }
        for following in self.world.desk.follow_on(&subject) {
            executor.spawn(TaskKind::Background, "follower", following);
        }
        let moments_max = [30, 300, 3000][usize::try_from(self.random.below(3)).unwrap_or(0)];
        let stop = executor.run(self.random.below(moments_max));
        self.report.segments_reclaimed += subject.segments_reclaimed();
        self.report.checkpoints.add(&subject.checkpoints());
        self.report.expired_records += subject.expired_records();
        self.judge_clients()?;
        if self.world.desk.has_removed_in_doubt() {
            return Err(FailureKind::RemovedInDoubt);
        }
        match stop {
            Stop::Deadlock(names) => Err(FailureKind::Deadlock(names)),
            Stop::Exhausted => Ok(self.crash()),
            Stop::Done if self.random.below(3) == 0 => {
                subject.close();
                match executor.run_to_end(MOMENTS_MAX) {
                    Stop::Done => {
                        // A stop leaves nothing on its way.
                        self.world.desk.oracle.borrow_mut().note_all_settled();
                        Ok(Death::Stop)
                    }
                    Stop::Exhausted => Err(FailureKind::Hung("stop")),
                    Stop::Deadlock(names) => Err(FailureKind::Deadlock(names)),
                }
            }
            Stop::Done => {
                // Nobody asks for anything; what goes on in the background may be cut.
                executor.run_to_end(self.random.below(200));
                Ok(self.crash())
            }
        }
    }

    /// Cuts the power of copies of the machine and looks at what a start finds on each.
    fn explore_forks<S: Subject>(&mut self) -> Result<(), FailureKind> {
        for _ in 0..self.random.below(self.scenario.forks_max + 1) {
            let machine = self.world.machine.fork(self.random.word());
            for drive in &self.world.drives {
                machine.faults(*drive).set_rates(FaultRates::NONE);
                machine.faults(*drive).restore();
            }
            machine.power_cut();
            let desk = self.world.desk.fork(&machine);
            desk.oracle.borrow_mut().restart();
            let world = World {
                scrubs: self.world.scrubs,
                machine,
                drives: self.world.drives.clone(),
                pool: self.world.pool.clone(),
                desk,
            };
            self.report.power_cuts += 1;
            self.report.cuts_in_forks += 1;
            // A violation in a fork is told with the fork's log.
            let original = std::mem::replace(&mut self.world, world);
            self.tolerate(false);
            self.look_at_fork::<S>()?;
            self.world = original;
        }
        Ok(())
    }

    fn look_at_fork<S: Subject>(&mut self) -> Result<(), FailureKind> {
        let mut executor = self.executor();
        let process = self.world.process(false);
        let started = executor.spawn(TaskKind::Foreground, "start of a fork", S::open(process));
        self.finish(&mut executor, "start of a fork")?;
        let subject: S = match started.take() {
            Some(Ok(subject)) => subject,
            Some(Err(_)) if self.world.desk.is_harmed() => return Ok(()),
            Some(Err(reason)) => return Err(FailureKind::Start(reason)),
            None => return Ok(()),
        };
        self.note_trust(&subject);
        self.tolerate(false);
        executor.spawn(TaskKind::Background, "background", subject.background());
        let keys = self.scenario.keys.clone();
        let check = verify(subject, self.world.desk.clone(), keys, self.stream());
        let verified = executor.spawn(TaskKind::Foreground, "verification of a fork", check);
        self.finish(&mut executor, "verification of a fork")?;
        self.judge(&verified)
    }

    fn finish(&mut self, executor: &mut Executor, what: &'static str) -> Result<(), FailureKind> {
        match executor.run(MOMENTS_MAX) {
            Stop::Done => Ok(()),
            Stop::Exhausted => Err(FailureKind::Hung(what)),
            Stop::Deadlock(names) => Err(FailureKind::Deadlock(names)),
        }
    }

    fn judge(&self, verified: &Handle<Result<(), String>>) -> Result<(), FailureKind> {
        self.judge_clients()?;
        verified.take().unwrap_or(Ok(())).map_err(FailureKind::Keys)
    }

    fn judge_clients(&self) -> Result<(), FailureKind> {
        let desk = &self.world.desk;
        if let Some(violation) = desk.violation.borrow_mut().take() {
            return Err(FailureKind::Violation(violation));
        }
        let feed = desk.feed.as_ref();
        match feed.and_then(|feed| feed.borrow_mut().take_wrong()) {
            Some(wrong) => Err(FailureKind::Feed(wrong)),
            None => Ok(()),
        }
    }

    /// A dead process holds no memory: its operations are over and its tasks are gone.
    fn check_memory(&self) -> Result<(), FailureKind> {
        let statistics = self.world.pool.statistics();
        match statistics.arena_lent_bytes + statistics.outside_bytes {
            0 => Ok(()),
            held_bytes => Err(FailureKind::Leak(held_bytes)),
        }
    }

    fn crash(&mut self) -> Death {
        if self.random.below(8) == 0 {
            Death::Kill
        } else {
            Death::PowerCut
        }
    }

    fn set_faults_on(&self, on: bool) {
        self.set_faults(if on {
            self.scenario.fault_rates
        } else {
            FaultRates::NONE
        });
    }

    fn set_faults(&self, rates: FaultRates) {
        for drive in &self.world.drives {
            self.world.machine.faults(*drive).set_rates(rates);
        }
    }

    fn tolerate(&self, faulty: bool) {
        let fails = self.scenario.fault_rates.read_error_per_million > 0 && faulty;
        let mut oracle = self.world.desk.oracle.borrow_mut();
        oracle.set_tolerance(Tolerance {
            unreadable: fails,
            // What drives do silently is noted when it has happened.
            batches_harmed: 0,
        });
    }

    /// Tells the oracle what the store says of itself. Returns the keys of which it says that it may have
    /// lost something, when nobody has accepted that.
    fn note_trust<S: Subject>(&self, subject: &S) -> Vec<Key> {
        let mut oracle = self.world.desk.oracle.borrow_mut();
        let mut stale = Vec::new();
        for key in &self.scenario.keys {
            oracle.set_log(*key, subject.log_of(*key));
            match subject.trust(*key) {
                Trust::Sure => {}
                Trust::MayBeStale => stale.push(*key),
                Trust::LossAccepted => oracle.lose_track(*key),
            }
        }
        stale
    }

    fn executor(&mut self) -> Executor {
        let random = self.stream();
        Executor::new(&self.world.machine, random)
    }

    fn stream(&mut self) -> SeededRandom {
        SeededRandom::new(self.random.word(), 0)
    }
}

impl World {
    /// What a process that starts now has.
    fn process(&self, accepts_loss: bool) -> Process {
        Process {
            accepts_loss,
            scrubs: self.scrubs,
            devices: self
                .drives
                .iter()
                .map(|drive| self.machine.device(*drive))
                .collect(),
            pool: self.pool.clone(),
            clock: self.machine.clock(),
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => write!(formatter, "wrong answer: {violation}"),
            Self::Keys(what) => write!(formatter, "wrong list of keys: {what}"),
            Self::RemovedInDoubt => {
                write!(
                    formatter,
                    "expired records were removed while the clock was doubtful"
                )
            }
            Self::Feed(what) => write!(formatter, "wrong changes: {what}"),
            Self::Deadlock(names) => write!(formatter, "deadlock of {}", names.join(", ")),
            Self::Hung(what) => write!(formatter, "the {what} does not end"),
            Self::Start(reason) => write!(formatter, "the store does not start: {reason}"),
            Self::Leak(held_bytes) => {
                write!(
                    formatter,
                    "a dead process holds {held_bytes} bytes of buffers"
                )
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.log)?;
        writeln!(formatter, "FAILED in life {}: {}", self.life, self.kind)?;
        write!(formatter, "again: {}", self.command)
    }
}
