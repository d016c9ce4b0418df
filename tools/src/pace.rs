//! A rate of bytes that is not to be passed, shared by all who read or write, and the patience with a
//! node that is busy.

use std::cell::Cell;
use std::time::Duration;

use corelith_client::{Error, Status};
use corelith_io::Clock;

/// How often something is tried again that a busy node refused.
pub const TRIES_MAX: u32 = 20;

/// Pause before the first of those tries; doubled with each.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest of those pauses.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Pauses before tries: each twice as long as the one before, up to a bound.
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE_MIN)
    }
}

impl Pauses {
    /// Waits before the next try.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

/// Whether the node may do it a little later; nothing was changed.
#[must_use]
pub fn is_passing(error: &Error) -> bool {
    matches!(
        error.status(),
        Some(Status::Busy | Status::KeyBusy | Status::NotReady | Status::Timeout)
    )
}

/// Bytes a second that are not to be passed.
pub struct Pace {
    rate_bytes: Option<u64>,
    clock: Clock,
    start_ns: u64,
    done_bytes: Cell<u64>,
}

impl Pace {
    /// Begins now; without a rate nobody waits.
    #[must_use]
    pub fn new(rate_bytes: Option<u64>) -> Self {
        let clock = Clock::real();
        let start_ns = clock.monotonic_ns();
        Self {
            rate_bytes,
            clock,
            start_ns,
            done_bytes: Cell::new(0),
        }
    }

    /// Counts bytes, and waits until so many are due.
    pub async fn pass(&self, bytes: u64) {
        self.done_bytes.set(self.done_bytes.get() + bytes);
        let elapsed_ns = self.clock.monotonic_ns().saturating_sub(self.start_ns);
        if let Some(wait) = self.wait_after(elapsed_ns) {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait_after(&self, elapsed_ns: u64) -> Option<Duration> {
        let rate = u128::from(self.rate_bytes?);
        let due_ns = u128::from(self.done_bytes.get()) * 1_000_000_000 / rate;
        let wait_ns = due_ns.checked_sub(u128::from(elapsed_ns))?;
        let wait_ns = u64::try_from(wait_ns).unwrap_or(u64::MAX);
        (wait_ns > 0).then_some(Duration::from_nanos(wait_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_due_at_their_time() {
        let pace = Pace::new(Some(1000));
        pace.done_bytes.set(500);
        assert_eq!(pace.wait_after(0), Some(Duration::from_millis(500)));
        assert_eq!(
            pace.wait_after(400_000_000),
            Some(Duration::from_millis(100))
        );
        assert_eq!(pace.wait_after(600_000_000), None);
        assert_eq!(Pace::new(None).wait_after(0), None);
    }
}
