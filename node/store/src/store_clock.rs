//! The store's clock: the wall clock, never behind the largest time in a durable batch header.

use std::cell::Cell;

use corelith_index::ExpirySeconds;
use corelith_io::Clock;

/// Wall time that does not run backwards past what the log has seen.
pub(crate) struct StoreClock {
    clock: Clock,
    floor_ms: Cell<u64>,
}

impl StoreClock {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            floor_ms: Cell::new(0),
        }
    }

    /// Now, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        let now = self.clock.wall_ms().max(self.floor_ms.get());
        self.floor_ms.set(now);
        now
    }

    /// Never to be behind `time_ms` again.
    pub(crate) fn raise(&self, time_ms: u64) {
        self.floor_ms.set(self.floor_ms.get().max(time_ms));
    }

    /// True if `expiry` has come.
    pub(crate) fn is_past(&self, expiry: ExpirySeconds) -> bool {
        if expiry.is_never() {
            return false;
        }
        let now_seconds = self.now_ms() / 1000;
        now_seconds.saturating_sub(ExpirySeconds::UNIX_OFFSET_SECONDS) >= u64::from(expiry.get())
    }
}
