//! The simulator's command line: runs seeds, stops at the first that fails, and tells how it failed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use corelith_simulation::run::{Report, current_command, run_and_explain};
use corelith_simulation::scenario::{Profile, Scenario};
use corelith_simulation::seeds;
use corelith_simulation::shard_subject::ShardSubject;

/// Runs the store under seeded faults and power cuts. Stops at the first failure, with its operation log
/// and the command that runs it again.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Run this one seed.
    #[arg(long, conflicts_with_all = ["seeds", "replay"])]
    seed: Option<u64>,
    /// Run the seeds from A up to, but not including, B.
    #[arg(long, value_name = "A..B", value_parser = parse_range, conflicts_with = "replay")]
    seeds: Option<std::ops::Range<u64>>,
    /// Power cuts and kills of each seed's run.
    #[arg(long, default_value_t = 100)]
    cuts: u64,
    /// Which faults: honest, errors, media, or forgetful (which must fail).
    #[arg(long, default_value = "honest")]
    profile: Profile,
    /// Keys belong to sets, and clients truncate them.
    #[arg(long, conflicts_with = "replay")]
    truncate: bool,
    /// Clients mix durable writes with such as are answered before they are. Only for the profiles honest and
    /// forgetful.
    #[arg(long, conflicts_with_all = ["replay", "truncate"])]
    buffered: bool,
    /// The store reads everything it holds in the background, once in each life.
    #[arg(long, conflicts_with = "replay")]
    scrub: bool,
    /// The drives are nearly full and there are many keys, so that segments are reclaimed all the time.
    #[arg(long, conflicts_with = "replay")]
    crowded: bool,
    /// Values expire, time passes in leaps, and clocks are set forward and back.
    #[arg(long, conflicts_with_all = ["replay", "buffered"])]
    expire: bool,
    /// The logs are followed, and what followers are given is compared.
    #[arg(long, conflicts_with = "replay")]
    follow: bool,
    /// Run the seeds of a list such as seeds.txt.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report_panic = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report_panic(panic);
        if let Some(command) = current_command() {
            eprintln!("again: {command}");
        }
    }));
    match simulate(&arguments) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> Result<Report, String> {
    let Arguments {
        seed,
        seeds,
        cuts,
        profile,
        truncate,
        buffered,
        scrub,
        crowded,
        expire,
        follow,
        replay,
    } = arguments;
    if *buffered && !matches!(profile, Profile::Honest | Profile::Forgetful) {
        let name = profile.name();
        return Err(format!(
            "--buffered goes with the profiles honest and forgetful, not with {name}: what a failing device takes back of what was answered is not followed"
        ));
    }
    let mut total = Report::default();
    if let Some(path) = replay {
        let list = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let scenarios = seeds::parse(&list).map_err(|error| error.to_string())?;
        for scenario in scenarios {
            total.add(&simulate_one(&scenario)?);
        }
        return Ok(total);
    }
    let range = match (seed, seeds) {
        (Some(seed), _) => *seed..seed.saturating_add(1),
        (None, Some(range)) => range.clone(),
        (None, None) => 0..100,
    };
    for seed in range {
        let mut scenario = Scenario::new(seed, *profile, *cuts);
        if *crowded {
            scenario = scenario.with_crowd();
        }
        if *scrub {
            scenario = scenario.with_scrub();
        }
        if *expire {
            scenario = scenario.with_expiry();
        }
        if *follow {
            scenario = scenario.with_follower();
        }
        total.add(&simulate_one(&match (truncate, buffered) {
            (true, _) => scenario.with_truncation(),
            (false, true) => scenario.with_buffered(),
            (false, false) => scenario,
        })?);
    }
    Ok(total)
}

fn simulate_one(scenario: &Scenario) -> Result<Report, String> {
    run_and_explain::<ShardSubject>(scenario).map_err(|failure| failure.to_string())
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let bounds = text.split_once("..").ok_or("it is written A..B")?;
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|error| format!("{text:?}: {error}"))
    };
    let range = number(bounds.0)?..number(bounds.1)?;
    if range.is_empty() {
        Err(format!("{text} has no seeds"))
    } else {
        Ok(range)
    }
}
