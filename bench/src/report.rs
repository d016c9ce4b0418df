//! What was measured, as text for people or JSON for programs.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::Failure;

/// Percentiles of one kind of operation, in microseconds.
#[derive(Serialize, Debug, Clone)]
pub struct Latency {
    pub count: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
}

impl Latency {
    /// From a histogram of ns.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            count: histogram.len(),
            mean_us: histogram.mean() / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: histogram.max() as f64 / 1000.0,
        }
    }

    /// One line of a table.
    pub fn line(&self, name: &str) -> String {
        format!(
            "{name:<8} {:>10} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            self.count,
            self.p50_us,
            self.p90_us,
            self.p99_us,
            self.p999_us,
            self.p9999_us,
            self.max_us
        )
    }

    /// The table's head.
    pub fn head() -> String {
        format!(
            "{:<8} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "count", "p50 us", "p90", "p99", "p99.9", "p99.99", "max"
        )
    }
}

/// What a run found.
#[derive(Serialize, Debug)]
pub struct RunReport {
    pub operations: u64,
    pub failed: u64,
    pub in_doubt: u64,
    pub not_found: u64,
    pub seconds: f64,
    pub operations_per_second: f64,
    pub offered_per_second: Option<u64>,
    /// Arrivals that found all of `depth` in use and started late.
    pub late: u64,
    pub server_cpu_us_per_operation: Option<f64>,
    /// What of it the node's cores spun for want of work.
    pub server_spin_us_per_operation: f64,
    pub generator_cpu_us_per_operation: Option<f64>,
    pub get: Latency,
    pub put: Latency,
    pub operate: Latency,
}

impl RunReport {
    /// Whether it may be taken for a figure of what was asked for; `error` is the last one that was met.
    pub fn check(&self, error: Option<&str>) -> Result<(), Failure> {
        let error = error.map(|error| format!("; the last error: {error}"));
        let error = error.unwrap_or_default();
        if self.operations == 0 {
            return Err(Failure::Invalid(format!(
                "no operation succeeded: failed {}, in doubt {}{error}",
                self.failed, self.in_doubt
            )));
        }
        if self.failed > 0 || self.in_doubt > 0 {
            return Err(Failure::Invalid(format!(
                "not every operation succeeded: failed {}, in doubt {}{error}",
                self.failed, self.in_doubt
            )));
        }
        if let Some(rate) = self.offered_per_second
            && self.operations_per_second < 0.95 * rate as f64
        {
            return Err(Failure::Invalid(format!(
                "{rate} arrivals a second were offered, {:.0} were served: the node or this generator was the limit",
                self.operations_per_second
            )));
        }
        Ok(())
    }
}

/// A histogram of ns up to a minute, three significant digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid")
}

/// Prints a result: `text` for people, `value` as JSON for programs.
pub fn print<T: Serialize>(json: bool, value: &T, text: &str) -> Result<(), Failure> {
    if json {
        let encoded = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        println!("{encoded}");
    } else {
        println!("{text}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut histogram = histogram();
        for value in 1..=1000_u64 {
            histogram.record(value * 1000).unwrap();
        }
        let latency = Latency::of(&histogram);
        assert_eq!(latency.count, 1000);
        assert!((latency.p50_us - 500.0).abs() < 2.0, "{latency:?}");
        assert!((latency.p99_us - 990.0).abs() < 2.0, "{latency:?}");
    }

    fn report() -> RunReport {
        let none = || Latency::of(&histogram());
        RunReport {
            operations: 900,
            failed: 0,
            in_doubt: 0,
            not_found: 3,
            seconds: 1.0,
            operations_per_second: 900.0,
            offered_per_second: None,
            late: 0,
            server_cpu_us_per_operation: None,
            server_spin_us_per_operation: 0.0,
            generator_cpu_us_per_operation: None,
            get: none(),
            put: none(),
            operate: none(),
        }
    }

    #[track_caller]
    fn check_refused(report: &RunReport, words: &[&str]) {
        let refused = report.check(Some("the node went away")).unwrap_err();
        for word in words {
            assert!(refused.to_string().contains(word), "{word}: {refused}");
        }
    }

    #[test]
    fn a_run_of_which_operations_failed_is_no_result() {
        assert!(report().check(None).is_ok());
        let (failed, in_doubt) = (96, 37);
        let both = RunReport {
            failed,
            in_doubt,
            ..report()
        };
        check_refused(&both, &["failed 96, in doubt 37", "the node went away"]);
        check_refused(
            &RunReport { failed, ..report() },
            &["failed 96, in doubt 0"],
        );
        check_refused(
            &RunReport {
                in_doubt,
                ..report()
            },
            &["failed 0, in doubt 37"],
        );
        let none = RunReport {
            operations: 0,
            failed,
            ..report()
        };
        check_refused(&none, &["no operation succeeded", "failed 96"]);
    }

    #[test]
    fn a_rate_must_have_been_served() {
        let offered = |rate| RunReport {
            offered_per_second: Some(rate),
            ..report()
        };
        assert!(offered(940).check(None).is_ok());
        check_refused(&offered(1000), &["1000 arrivals", "900 were served"]);
    }
}
