//! Controls of the simulator itself: a small honest store passes, and each way of breaking its word is
//! caught within a bounded number of seeds. A simulator that catches nothing proves nothing.

#[path = "toy/log_store.rs"]
mod log_store;

use corelith_simulation::run::{Failure, FailureKind, Logging, Report, run, run_and_explain};
use corelith_simulation::scenario::{Profile, Scenario};
use corelith_simulation::subject::Subject;
use log_store::Toy;

const CUTS: u64 = 30;
/// Every defect is caught by one of so many seeds; most by the first or second.
const SEEDS_MAX: u64 = 60;
/// Seeds that an honest store must pass.
const SEEDS_HONEST: u64 = 30;

fn first_failure<S: Subject>(profile: Profile) -> Option<Box<Failure>> {
    let mut scenarios = (0..SEEDS_MAX).map(|seed| Scenario::new(seed, profile, CUTS));
    scenarios.find_map(|scenario| run::<S>(&scenario, Logging::Off).err())
}

fn caught<const DEFECT: u8>(profile: Profile) -> FailureKind {
    match first_failure::<Toy<DEFECT>>(profile) {
        Some(failure) => failure.kind,
        None => panic!("defect {DEFECT} was not caught by {SEEDS_MAX} seeds"),
    }
}

fn total<const DEFECT: u8>(profile: Profile) -> Report {
    let mut total = Report::default();
    for seed in 0..SEEDS_HONEST {
        let scenario = Scenario::new(seed, profile, CUTS);
        match run_and_explain::<Toy<DEFECT>>(&scenario) {
            Ok(report) => total.add(&report),
            Err(failure) => panic!("{failure}"),
        }
    }
    total
}

#[test]
fn an_honest_store_passes_and_its_runs_are_not_empty() {
    let report = total::<{ log_store::HONEST }>(Profile::Honest);
    let totals = report.totals;
    assert!(
        report.power_cuts > 500 && report.kills > 25 && report.stops > 25,
        "{report}"
    );
    assert!(
        report.cuts_in_start > 25 && report.cuts_in_forks > 250,
        "{report}"
    );
    assert!(
        totals.writes > 3000 && totals.reads > 3000 && totals.refused > 200,
        "{report}"
    );
    assert!(totals.cut_off > 300 && totals.surfaced > 50, "{report}");
    assert_eq!(
        (totals.unreadable, totals.stale, totals.in_doubt),
        (0, 0, 0),
        "{report}"
    );
}

#[test]
fn an_honest_store_passes_when_drives_fail_openly() {
    let report = total::<{ log_store::HONEST }>(Profile::Errors);
    let totals = report.totals;
    assert!(
        totals.in_doubt > 5 && totals.unreadable > 5 && totals.not_done > 100,
        "{report}"
    );
    assert!(report.failed_starts > 5, "{report}");
    assert_eq!(totals.stale, 0, "{report}");
}

#[test]
fn the_same_seed_is_the_same_run_with_and_without_a_log() {
    let mut fingerprints = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let scenario = Scenario::new(seed, Profile::Errors, CUTS);
        let report = |logging| run::<Toy<{ log_store::HONEST }>>(&scenario, logging).unwrap();
        let first = report(Logging::Off);
        assert_eq!(first, report(Logging::Off));
        assert_eq!(first, report(Logging::On));
        fingerprints.insert(first.fingerprint);
    }
    assert_eq!(fingerprints.len(), 10);
}

#[test]
fn acknowledging_before_the_flush_is_caught() {
    let kind = caught::<{ log_store::ACKNOWLEDGES_BEFORE_FLUSH }>(Profile::Honest);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn a_drive_that_forgets_what_it_promised_is_caught() {
    let kind = caught::<{ log_store::HONEST }>(Profile::Forgetful);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn believing_a_torn_record_is_caught() {
    let kind = caught::<{ log_store::NO_CHECKSUM }>(Profile::Honest);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn showing_what_is_not_durable_is_caught() {
    let kind = caught::<{ log_store::DIRTY_READS }>(Profile::Honest);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn serving_what_a_start_found_in_a_cache_is_caught() {
    let kind = caught::<{ log_store::NO_FLUSH_AT_START }>(Profile::Honest);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn a_resurrection_is_caught() {
    let kind = caught::<{ log_store::FORGETS_DELETES }>(Profile::Honest);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn a_racy_condition_is_caught() {
    let kind = caught::<{ log_store::RACY_CONDITION }>(Profile::Honest);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn denying_a_doubtful_write_is_caught() {
    let kind = caught::<{ log_store::DENIES_DOUBT }>(Profile::Errors);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn losing_records_behind_a_read_error_is_caught() {
    let kind = caught::<{ log_store::SWALLOWS_READ_ERRORS }>(Profile::Errors);
    assert!(matches!(kind, FailureKind::Violation(_)), "{kind}");
}

#[test]
fn a_lost_wake_up_is_caught() {
    let kind = caught::<{ log_store::NEVER_WAKES }>(Profile::Honest);
    let FailureKind::Deadlock(names) = kind else {
        panic!("{kind}")
    };
    assert!(
        names.iter().all(|name| name.starts_with("client ")),
        "{names:?}"
    );
}

#[test]
fn memory_that_outlives_its_process_is_caught() {
    let kind = caught::<{ log_store::LEAKS }>(Profile::Honest);
    assert!(
        matches!(kind, FailureKind::Leak(bytes) if bytes > 0),
        "{kind}"
    );
}

#[test]
fn a_wrong_list_of_keys_is_caught() {
    let kind = caught::<{ log_store::LISTS_THE_DEAD }>(Profile::Honest);
    assert!(matches!(kind, FailureKind::Keys(_)), "{kind}");
}

#[test]
fn a_failure_says_how_to_run_it_again_and_shows_the_log() {
    let mut scenarios = (0..SEEDS_MAX).map(|seed| Scenario::new(seed, Profile::Honest, CUTS));
    let failed = scenarios
        .find_map(|scenario| {
            run_and_explain::<Toy<{ log_store::ACKNOWLEDGES_BEFORE_FLUSH }>>(&scenario).err()
        })
        .unwrap();
    let text = failed.to_string();
    assert!(
        text.contains(&failed.command) && failed.command.contains("--seed "),
        "{text}"
    );
    for part in [
        "power cut",
        "Write",
        "answered:",
        "its history",
        "FAILED in life",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}
