//! The real store under the simulator: a fixed set of seeds of each profile, every seed that ever failed,
//! and the negative control. Long runs are the binary's.

use corelith_simulation::run::{FailureKind, Logging, Report, run, run_and_explain};
use corelith_simulation::scenario::{Profile, Scenario};
use corelith_simulation::seeds;
use corelith_simulation::shard_subject::ShardSubject;

fn total(scenarios: impl Iterator<Item = Scenario>) -> Report {
    let mut total = Report::default();
    for scenario in scenarios {
        match run_and_explain::<ShardSubject>(&scenario) {
            Ok(report) => total.add(&report),
            Err(failure) => panic!("{failure}"),
        }
    }
    total
}

fn profile(profile: Profile) -> Report {
    total((0..40).map(|seed| Scenario::new(seed, profile, 50)))
}

#[test]
fn healthy_drives() {
    let report = profile(Profile::Honest);
    let totals = report.totals;
    assert!(
        report.power_cuts > 1500 && report.kills > 50 && report.stops > 50,
        "{report}"
    );
    assert!(
        totals.writes > 5000 && totals.cut_off > 500 && totals.surfaced > 100,
        "{report}"
    );
    assert_eq!(
        (totals.unreadable, totals.stale, totals.in_doubt),
        (0, 0, 0),
        "{report}"
    );
    assert_eq!(
        (report.silent_faults, report.stale_starts, totals.untold),
        (0, 0, 0),
        "{report}"
    );
}

#[test]
fn drives_that_fail_openly() {
    let report = profile(Profile::Errors);
    assert!(
        report.totals.in_doubt > 50 && report.totals.writes > 5000,
        "{report}"
    );
    assert_eq!(report.totals.stale, 0, "{report}");
}

#[test]
fn drives_that_harm_data_silently() {
    let report = profile(Profile::Media);
    let totals = report.totals;
    assert!(
        report.silent_faults > 30 && report.stale_starts > 10,
        "{report}"
    );
    assert!(
        totals.unreadable > 200 && totals.untold > 20 && totals.writes > 5000,
        "{report}"
    );
    // Only writes in the last batches before a cut, which are few, are lost without a word.
    assert!(totals.stale * 10 <= report.silent_faults, "{report}");
}

#[test]
fn seeds_that_have_failed_once() {
    let scenarios = seeds::parse(include_str!("../seeds.txt")).unwrap();
    let count = scenarios.len();
    let report = total(scenarios.into_iter());
    assert!(
        count == 0 || report.power_cuts + report.kills > 0,
        "{report}"
    );
}

#[test]
fn a_drive_that_forgets_what_it_promised_is_caught() {
    let caught = (0..20).find_map(|seed| {
        run::<ShardSubject>(&Scenario::new(seed, Profile::Forgetful, 50), Logging::Off).err()
    });
    let kind = caught.map(|failure| failure.kind);
    assert!(matches!(kind, Some(FailureKind::Violation(_))), "{kind:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let scenario = Scenario::new(seed, Profile::Honest, 20);
        let report = |logging| run::<ShardSubject>(&scenario, logging).unwrap();
        assert_eq!(report(Logging::Off), report(Logging::On));
    }
}
