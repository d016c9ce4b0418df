//! The store's clock: the wall clock, never behind the largest time in a durable batch header, and not believed when it
//! steps too far ahead.
//!
//! A time that was written stays: expiry follows it for ever after. So while the wall clock is further ahead of the
//! monotonic clock than it may be, this one goes on as if it had not stepped, and no write of a client is taken. Decision
//! 25 has the rule and what it is measured against. Time costs one reading of the wall clock, a second one a minute.

mod trust;

use std::cell::Cell;

use corelith_index::ExpirySeconds;
use corelith_io::Clock;

use self::trust::{ClockTrust, Moment};
use crate::limits::{CLOCK_BELIEVED_MS, CLOCK_JUMP_MAX_DEFAULT_MS};
use crate::planted::{PlantedBug, is_planted};

pub use self::trust::ClockDoubt;

/// Wall time that does not run backwards past what the log has seen.
pub(crate) struct StoreClock {
    clock: Clock,
    floor_ms: Cell<u64>,
    believed: Cell<Believed>,
    /// How far the wall clock may be ahead of where the monotonic one leads from there.
    jump_max_ms: Cell<u64>,
    /// How far it is, while that is too far; else 0.
    ahead_ms: Cell<u64>,
    /// Whether it is trusted with what is final.
    trust: ClockTrust,
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
        let trust = ClockTrust::new(Moment::of(&clock));
        Self {
            clock,
            floor_ms: Cell::new(0),
            trust,
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
        self.trust.allow(jump_max_ms);
        if jump_max_ms == u64::MAX {
            // That is how an operator says that the clock is right.
            self.trust.confirm(Moment::of(&self.clock));
        }
    }

    /// Never to be behind `time_ms` again.
    pub(crate) fn raise(&self, time_ms: u64) {
        self.floor_ms.set(self.floor_ms.get().max(time_ms));
    }

    /// Believes the wall clock as it is at the start of a shard, which may have rested for as long as it liked. Returns how
    /// much later it is than anything that the log has seen; `None` if that has seen nothing.
    pub(crate) fn begin(&self) -> Option<u64> {
        let (wall_ms, floor_ms) = (self.clock.wall_ms(), self.floor_ms.get());
        let found = (floor_ms, self.jump_max_ms.get());
        self.trust.begin(Moment::of(&self.clock), found);
        self.believed.set(Believed {
            time_ms: wall_ms.max(floor_ms),
            monotonic_ns: self.clock.monotonic_ns(),
        });
        (floor_ms > 0).then(|| wall_ms.saturating_sub(floor_ms))
    }

    /// True if `expiry` has come.
    pub(crate) fn is_past(&self, expiry: ExpirySeconds) -> bool {
        !expiry.is_never() && seconds_of(self.now_ms()) >= u64::from(expiry.get())
    }

    /// Up to when records have expired for good; `None` while the clock is doubtful. The clock is never behind it again.
    pub(crate) fn removable(&self) -> Option<ExpirySeconds> {
        if self.doubt().is_some() && !is_planted(PlantedBug::RemoveInDoubt) {
            return None;
        }
        Some(expired_at(self.now_ms()))
    }

    /// Why the clock is not trusted with what is final just now, if it is not.
    pub(crate) fn doubt(&self) -> Option<ClockDoubt> {
        self.trust
            .doubt(Moment::of(&self.clock), self.floor_ms.get())
    }

    /// An operator says that the wall clock is right as it is.
    pub(crate) fn confirm(&self) {
        self.trust.confirm(Moment::of(&self.clock));
    }

    /// The doubt, if it has come up or gone since this was asked last; `None` if nothing has changed.
    pub(crate) fn news(&self) -> Option<Option<ClockDoubt>> {
        let doubt = self.doubt();
        self.trust.has_news(doubt).then_some(doubt)
    }
}

/// What expires up to here has expired at `unix_ms`.
pub(crate) fn expired_at(unix_ms: u64) -> ExpirySeconds {
    let seconds = seconds_of(unix_ms);
    ExpirySeconds::new(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// True if what expires at `expiry` has expired by `time`.
pub(crate) const fn is_expired_by(expiry: ExpirySeconds, time: ExpirySeconds) -> bool {
    !expiry.is_never() && expiry.get() <= time.get()
}

/// On the scale of expiries.
fn seconds_of(unix_ms: u64) -> u64 {
    (unix_ms / 1000).saturating_sub(ExpirySeconds::UNIX_OFFSET_SECONDS)
}
