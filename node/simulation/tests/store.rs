//! The real store under the simulator: a fixed set of seeds of each profile, every seed that ever failed,
//! and the negative control. Long runs are the binary's.

use corelith_simulation::run::{FailureKind, Logging, Report, run, run_and_explain};
use corelith_simulation::scenario::{Profile, Scenario};
use corelith_simulation::seeds;
use corelith_simulation::shard_subject::ShardSubject;
use corelith_simulation::subject::{Answer, Key, Operation, Process, Subject};

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
fn healthy_drives_that_are_nearly_full() {
    let plain = (0..15).map(|seed| Scenario::new(seed, Profile::Honest, 40).with_crowd());
    let report = total(plain.flat_map(|run| [run.clone(), run.with_truncation()]));
    let totals = report.totals;
    assert!(
        report.segments_reclaimed > 1000 && totals.writes > 10_000 && totals.truncated > 5000,
        "{report}"
    );
    assert_eq!(
        (totals.unreadable, totals.stale, totals.in_doubt),
        (0, 0, 0),
        "{report}"
    );
    assert_eq!((report.stale_starts, totals.untold), (0, 0), "{report}");
}

#[test]
fn failing_drives_that_are_nearly_full() {
    let runs = [Profile::Errors, Profile::Media].into_iter();
    let runs = runs.flat_map(|profile| (0..15).map(move |seed| Scenario::new(seed, profile, 30)));
    let report = total(runs.map(Scenario::with_crowd));
    assert!(
        report.segments_reclaimed > 500 && report.silent_faults > 10,
        "{report}"
    );
    assert!(report.totals.stale * 10 <= report.silent_faults, "{report}");
}

#[test]
fn buffered_writes_and_durable_ones() {
    let report =
        total((0..40).map(|seed| Scenario::new(seed, Profile::Honest, 50).with_buffered()));
    let totals = report.totals;
    assert!(
        report.power_cuts > 1500 && totals.writes > 5000 && totals.taken_back > 200,
        "{report}"
    );
    assert_eq!(
        (totals.unreadable, totals.stale, totals.in_doubt),
        (0, 0, 0),
        "{report}"
    );
}

/// The store, but that it breaks its word on buffered writes in one of two ways.
#[derive(Clone)]
struct Lying<const WAY: u8>(ShardSubject);

/// It answers durable writes as if they were buffered.
const DURABLE_TOO_EARLY: u8 = 0;
/// It flushes nothing, and says that all is durable.
const FLUSH_LOST: u8 = 1;

impl<const WAY: u8> Subject for Lying<WAY> {
    async fn format(process: Process) -> Result<(), String> {
        ShardSubject::format(process).await
    }

    async fn open(process: Process) -> Result<Self, String> {
        ShardSubject::open(process).await.map(Self)
    }

    fn background(&self) -> impl Future<Output = ()> + 'static {
        self.0.background()
    }

    async fn apply(&self, key: Key, operation: Operation) -> Answer {
        if WAY == DURABLE_TOO_EARLY && operation.is_write() {
            return self.0.apply_buffered(key, operation).await;
        }
        self.0.apply(key, operation).await
    }

    async fn apply_buffered(&self, key: Key, operation: Operation) -> Answer {
        self.0.apply_buffered(key, operation).await
    }

    fn flush(&self) {
        if WAY != FLUSH_LOST {
            self.0.flush();
        }
    }

    fn is_settled(&self, log: u64) -> bool {
        WAY == FLUSH_LOST || self.0.is_settled(log)
    }

    fn log_of(&self, key: Key) -> u64 {
        self.0.log_of(key)
    }

    async fn keys(&self) -> Result<Option<Vec<Key>>, String> {
        self.0.keys().await
    }

    fn close(&self) {
        self.0.close();
    }
}

fn check_caught<S: Subject>() {
    let caught = (0..20).find_map(|seed| {
        let scenario = Scenario::new(seed, Profile::Honest, 50).with_buffered();
        run::<S>(&scenario, Logging::Off).err()
    });
    let kind = caught.map(|failure| failure.kind);
    assert!(matches!(kind, Some(FailureKind::Violation(_))), "{kind:?}");
}

#[test]
fn a_store_that_loses_flushed_writes_is_caught() {
    check_caught::<Lying<FLUSH_LOST>>();
}

#[test]
fn a_store_that_answers_durable_writes_too_early_is_caught() {
    check_caught::<Lying<DURABLE_TOO_EARLY>>();
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
