//! What was measured, as text for people or JSON for programs.

use hdrhistogram::Histogram;
use serde::Serialize;

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

/// A histogram of ns up to a minute, three significant digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid")
}

/// Prints a result: `text` for people, `value` as JSON for programs.
pub fn print<T: Serialize>(
    json: bool,
    value: &T,
    text: &str,
) -> Result<(), crate::failure::Failure> {
    if json {
        let encoded = serde_json::to_string_pretty(value)
            .map_err(|error| crate::failure::Failure::Invalid(error.to_string()))?;
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
}
