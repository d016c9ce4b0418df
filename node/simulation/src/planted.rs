//! Shows that the simulator finds what it is there to find: plants one bug after the other into the store and runs
//! seeds until each is found, and tells in how many operations. A bug that is not found fails the command.
//!
//! Built only with the feature `planted-bugs`. Without a bug the same seeds pass: that is what `corelith-simulation` shows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use corelith_simulation::run::{FailureKind, Logging, Report, run};
use corelith_simulation::scenario::{Profile, Scenario};
use corelith_simulation::shard_subject::ShardSubject;
use corelith_store::planted::{PlantedBug, plant};

/// Plants bugs into the store and shows that the simulator finds each of them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Only this bug, by its name in the table; all of them without it.
    #[arg(long)]
    bug: Option<String>,
    /// Where the seeds of each bug begin.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Seeds that are tried for each bug, but for those that have a seed of their own.
    #[arg(long, default_value_t = 3000)]
    seeds: u64,
}

/// Under which circumstances a bug does harm.
#[derive(Clone, Copy)]
struct Ground {
    bug: PlantedBug,
    profile: Profile,
    cuts: u64,
    truncate: bool,
    /// A bug that needs a rare course of things has one that is known.
    seed: Option<u64>,
}

/// What was found.
struct Found {
    seed: u64,
    how: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A bug that trips an assertion of the store is found, too; it needs no backtrace.
    std::panic::set_hook(Box::new(|_| ()));
    println!(
        "{:<20} {:<8} {:>6} {:>11} {:>8}  how",
        "bug", "profile", "seed", "operations", "cuts"
    );
    let mut missed = 0;
    let wanted = |ground: &Ground| {
        let name = format!("{:?}", ground.bug);
        arguments.bug.as_ref().is_none_or(|bug| *bug == name)
    };
    let grounds: Vec<Ground> = PlantedBug::ALL
        .map(ground_of)
        .into_iter()
        .filter(wanted)
        .collect();
    for ground in &grounds {
        let (found, report) = search(ground, &arguments);
        let operations = report.totals.operations();
        let cuts = report.power_cuts + report.kills;
        let (seed, how) = match found {
            Some(found) => (found.seed.to_string(), found.how),
            None => {
                missed += 1;
                ("-".to_owned(), "NOT FOUND".to_owned())
            }
        };
        let (name, profile) = (format!("{:?}", ground.bug), ground.profile.name());
        println!("{name:<20} {profile:<8} {seed:>6} {operations:>11} {cuts:>8}  {how}");
    }
    println!("{} of {} found", grounds.len() - missed, grounds.len());
    if missed == 0 && !grounds.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs seeds until the bug is found. Returns how, and what all runs together went through.
fn search(ground: &Ground, arguments: &Arguments) -> (Option<Found>, Report) {
    let first = arguments.first_seed;
    let seeds = match ground.seed {
        Some(seed) => seed..seed + 1,
        None => first..first.saturating_add(arguments.seeds),
    };
    let mut total = Report::default();
    for seed in seeds {
        let scenario = Scenario::new(seed, ground.profile, ground.cuts);
        let scenario = match ground.truncate {
            true => scenario.with_truncation(),
            false => scenario,
        };
        plant(Some(ground.bug));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run::<ShardSubject>(&scenario, Logging::Off)
        }));
        plant(None);
        let how = match outcome {
            Ok(Ok(report)) => {
                total.add(&report);
                continue;
            }
            Ok(Err(failure)) => {
                total.add(&failure.report);
                summary(&failure.kind)
            }
            Err(_) => "an assertion of the store".to_owned(),
        };
        return (Some(Found { seed, how }), total);
    }
    (None, total)
}

fn summary(kind: &FailureKind) -> String {
    match kind {
        FailureKind::Violation(violation) => {
            let answer = violation.answer.to_string();
            let answer: String = answer.chars().take(60).collect();
            format!(
                "wrong answer to a {}: {answer}",
                word(&violation.operation.to_string())
            )
        }
        FailureKind::Keys(_) => "a wrong list of keys".to_owned(),
        FailureKind::Deadlock(_) => "operations that never end".to_owned(),
        FailureKind::Hung(what) => format!("a {what} that never ends"),
        FailureKind::Start(_) => "a start that fails on sound drives".to_owned(),
        FailureKind::Leak(_) => "memory of a dead process".to_owned(),
    }
}

fn word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

fn ground_of(bug: PlantedBug) -> Ground {
    let on = |profile, cuts| Ground {
        bug,
        profile,
        cuts,
        truncate: false,
        seed: None,
    };
    match bug {
        PlantedBug::BelieveOtherLife
        | PlantedBug::SkipDigest
        | PlantedBug::AcknowledgeEarly
        | PlantedBug::FreeTooEarly
        | PlantedBug::IgnorePin
        | PlantedBug::SealTooEarly
        | PlantedBug::ShortenSummary
        | PlantedBug::ForgetTombstones
        | PlantedBug::ReplayBackwards
        | PlantedBug::ServeUndurable => on(Profile::Honest, 30),
        PlantedBug::ForgetTruncations => Ground {
            truncate: true,
            ..on(Profile::Honest, 30)
        },
        PlantedBug::AcknowledgeFailed | PlantedBug::DenyDoubt | PlantedBug::IgnoreVoid => {
            on(Profile::Errors, 30)
        }
        PlantedBug::SkipContentChecksum
        | PlantedBug::IgnorePlace
        | PlantedBug::DropDamaged
        | PlantedBug::HideLostBatches => on(Profile::Media, 10),
        PlantedBug::ForgetVouchers => Ground {
            seed: Some(2867),
            ..on(Profile::Media, 10)
        },
    }
}
