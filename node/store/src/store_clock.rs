//! The store's clock: the wall clock, never behind the largest time in a durable batch header, and not believed when it
//! steps too far ahead.
//!
//! A time that was written stays: expiry follows it for ever after. So while the wall clock is further ahead of the
//! monotonic clock than it may be, this one goes on as if it had not stepped, and no write of a client is taken. Decision
//! 25 has the rule and what it is measured against. Time costs one reading of the wall clock, a second one a minute.

use std::cell::Cell;

use corelith_index::ExpirySeconds;
use corelith_io::Clock;

use crate::limits::{CLOCK_BELIEVED_MS, CLOCK_JUMP_MAX_DEFAULT_MS};

/// Wall time that does not run backwards past what the log has seen.
pub(crate) struct StoreClock {
    clock: Clock,
    floor_ms: Cell<u64>,
    believed: Cell<Believed>,
    /// How far the wall clock may be ahead of where the monotonic one leads from there.
    jump_max_ms: Cell<u64>,
    /// How far it is, while that is too far; else 0.
    ahead_ms: Cell<u64>,
}

/// A time that was right, and when that was.
#[derive(Clone, Copy)]
struct Believed {
    time_ms: u64,
    monotonic_ns: u64,
}

impl StoreClock {
    pub(crate) fn new(clock: Clock) -> Self {
        let believed = Believed {
            time_ms: clock.wall_ms(),
            monotonic_ns: clock.monotonic_ns(),
        };
        Self {
            clock,
            floor_ms: Cell::new(0),
            believed: Cell::new(believed),
            jump_max_ms: Cell::new(CLOCK_JUMP_MAX_DEFAULT_MS),
            ahead_ms: Cell::new(0),
        }
    }

    /// Now, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        let wall_ms = self.clock.wall_ms();
        // So soon after a time that was right no step can be too far.
        let is_near = wall_ms
            <= self
                .believed
                .get()
                .time_ms
                .saturating_add(CLOCK_BELIEVED_MS);
        let now_ms = if is_near {
            self.ahead_ms.set(0);
            wall_ms
        } else {
            self.look(wall_ms)
        };
        let now_ms = now_ms.max(self.floor_ms.get());
        self.floor_ms.set(now_ms);
        now_ms
    }

    /// The time, of a wall clock that has gone on for a while or has stepped.
    #[cold]
    fn look(&self, wall_ms: u64) -> u64 {
        let believed = self.believed.get();
        let monotonic_ns = self.clock.monotonic_ns();
        let passed_ns = monotonic_ns.saturating_sub(believed.monotonic_ns);
        let steady_ms = believed.time_ms.saturating_add(passed_ns / 1_000_000);
        let ahead_ms = wall_ms.saturating_sub(steady_ms);
        if ahead_ms > self.jump_max_ms.get() {
            self.ahead_ms.set(ahead_ms);
            return steady_ms;
        }
        self.ahead_ms.set(0);
        // A clock that was set back may be set right again: what was believed is not taken back.
        self.believed.set(Believed {
            time_ms: wall_ms.max(steady_ms),
            monotonic_ns,
        });
        wall_ms
    }

    /// How far the wall clock is ahead, if that is too far for a write: by the last reading.
    pub(crate) fn too_far_ahead_ms(&self) -> Option<u64> {
        Some(self.ahead_ms.get()).filter(|ahead_ms| *ahead_ms > 0)
    }

    /// How far it may be from now on; what it is by now is looked at anew.
    pub(crate) fn set_jump_max_ms(&self, jump_max_ms: u64) {
        self.jump_max_ms.set(jump_max_ms.max(CLOCK_BELIEVED_MS));
        self.now_ms();
    }

    /// Never to be behind `time_ms` again.
    pub(crate) fn raise(&self, time_ms: u64) {
        self.floor_ms.set(self.floor_ms.get().max(time_ms));
    }

    /// Believes the wall clock as it is at the start of a shard, which may have rested for as long as it liked. Returns how
    /// much later it is than anything that the log has seen; `None` if that has seen nothing.
    pub(crate) fn begin(&self) -> Option<u64> {
        let (wall_ms, floor_ms) = (self.clock.wall_ms(), self.floor_ms.get());
        self.believed.set(Believed {
            time_ms: wall_ms.max(floor_ms),
            monotonic_ns: self.clock.monotonic_ns(),
        });
        (floor_ms > 0).then(|| wall_ms.saturating_sub(floor_ms))
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
