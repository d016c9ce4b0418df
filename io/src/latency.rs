//! Latencies: a histogram that takes a sample in a few nanoseconds without allocating, and its cumulative
//! buckets, which are small enough to travel between threads. It never reads a clock.

use std::cell::{Cell, RefCell};

use hdrhistogram::Histogram;

use crate::limits::{LATENCY_DIGITS, LATENCY_NS_MAX, LATENCY_NS_MIN};

/// Bounds of the buckets, in ns: from 10 us to 10 s, about three a decade.
pub const LATENCY_BOUNDS_NS: [u64; 17] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Samples of one kind of latency, with two significant digits. Takes 20 KiB, all of it at its making.
pub struct LatencyHistogram {
    samples: RefCell<Histogram<u64>>,
    sum_ns: Cell<u64>,
}

impl LatencyHistogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let samples = Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, LATENCY_DIGITS);
        let Ok(samples) = samples else {
            unreachable!("the bounds are constants, and a test makes a histogram of them");
        };
        Self {
            samples: RefCell::new(samples),
            sum_ns: Cell::new(0),
        }
    }

    /// Adds a sample. One longer than the histogram reaches counts as its longest.
    pub fn record(&self, latency_ns: u64) {
        self.samples.borrow_mut().saturating_record(latency_ns);
        self.sum_ns
            .set(self.sum_ns.get().saturating_add(latency_ns));
    }

    /// What has been recorded so far, within two significant digits of each bound.
    #[must_use]
    pub fn buckets(&self) -> LatencyBuckets {
        let samples = self.samples.borrow();
        let mut within = [0; LATENCY_BOUNDS_NS.len()];
        for step in samples.iter_recorded() {
            let least_ns = samples.lowest_equivalent(step.value_iterated_to());
            let bound = LATENCY_BOUNDS_NS.partition_point(|bound| *bound < least_ns);
            if let Some(count) = within.get_mut(bound) {
                *count += step.count_at_value();
            }
        }
        let mut sum = 0;
        let counts = within.map(|count| {
            sum += count;
            sum
        });
        LatencyBuckets {
            counts,
            count: samples.len(),
            sum_ns: self.sum_ns.get(),
        }
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

/// What a histogram held when it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LatencyBuckets {
    /// Samples up to each of [`LATENCY_BOUNDS_NS`], those of smaller bounds included.
    pub counts: [u64; LATENCY_BOUNDS_NS.len()],
    /// All samples.
    pub count: u64,
    /// Their sum in ns.
    pub sum_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::allocation_count::allocation_count;

    #[test]
    fn buckets_are_cumulative_and_no_sample_counts_twice() {
        let histogram = LatencyHistogram::new();
        for latency_ns in [1, 10_000, 15_000, 3_000_000, 90_000_000_000] {
            histogram.record(latency_ns);
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.counts[0], 2);
        assert_eq!(buckets.counts[1], 3);
        assert_eq!(buckets.counts[8], 4, "up to 5 ms");
        assert_eq!(buckets.counts[16], 4, "up to 10 s");
        assert_eq!(buckets.count, 5);
        assert_eq!(buckets.sum_ns, 90_003_025_001);
        assert!(buckets.counts.is_sorted());
    }

    #[test]
    fn a_sample_takes_no_memory() {
        let histogram = LatencyHistogram::new();
        let before = allocation_count();
        for latency_ns in [0, 1, 77_777, u64::MAX] {
            histogram.record(latency_ns);
        }
        assert_eq!(allocation_count(), before);
    }
}
