//! The clock: the one place where time enters. It never sleeps. Simulated time comes from the simulated machine, so that nothing
//! above can tell.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::simulated::SimulatedClock;

/// Monotonic and wall time of this process, or of a simulated machine. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Real { start: Instant },
    Simulated(SimulatedClock),
}

impl Clock {
    /// The machine's own time.
    #[must_use]
    pub fn real() -> Self {
        Self {
            source: Source::Real {
                start: process_start(),
            },
        }
    }

    pub(crate) fn simulated(clock: SimulatedClock) -> Self {
        Self {
            source: Source::Simulated(clock),
        }
    }

    /// Nanoseconds since a fixed moment of this process (or simulated machine). Never goes back; two real clocks of one process
    /// agree, whatever thread made them, so that deadlines can cross cores.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        match &self.source {
            Source::Real { start } => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Source::Simulated(clock) => clock.monotonic_ns(),
        }
    }

    /// Milliseconds since the Unix epoch, as the wall clock says it: it may step. 0 for a clock set before 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        match &self.source {
            Source::Real { .. } => real_wall_ms(),
            Source::Simulated(clock) => clock.wall_ms(),
        }
    }
}

/// The moment that real monotonic time counts from: the first clock made in this process.
#[expect(clippy::disallowed_methods, reason = "this is the sanctioned place")]
fn process_start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[expect(clippy::disallowed_methods, reason = "this is the sanctioned place")]
fn real_wall_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn real_clocks_agree_and_do_not_go_back() {
        let first = Clock::real();
        let before = first.monotonic_ns();
        let second = Clock::real();
        let after = second.monotonic_ns();
        assert!(before <= after);
        assert!(after <= first.monotonic_ns());
    }

    #[test]
    fn wall_time_is_of_this_century() {
        let start_of_2020_ms = 1_577_836_800_000;
        let start_of_2100_ms = 4_102_444_800_000;
        let now_ms = Clock::real().wall_ms();
        assert!(now_ms > start_of_2020_ms);
        assert!(now_ms < start_of_2100_ms);
    }
}
