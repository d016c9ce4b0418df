//! Whether the wall clock can be trusted with what is final: the removal of expired records.
//!
//! A step of the wall clock of more than [`CLOCK_STEP_MAX_MS`] against the monotonic one, forward or back, or a start further ahead of the last
//! durable time than `clock_jump_max`, makes it doubtful until it has run evenly for [`CLOCK_STEADY_MS`], or until an operator
//! confirms it; and so does a wall clock behind what has been written. What the store's clock shows meanwhile, and whether
//! writes are taken by it, is for [`StoreClock`](super::StoreClock).

use std::cell::Cell;

use corelith_io::Clock;

use crate::limits::{CLOCK_ANCHOR_MS, CLOCK_STEADY_MS, CLOCK_STEP_MAX_MS};

/// Why the clock is not trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockDoubt {
    /// The wall clock has been set forward by so many ms while the shard was open.
    SteppedForward(u64),
    /// The same, back.
    SteppedBack(u64),
    /// At the start the wall clock was so many ms ahead of the last durable time.
    StartedAhead(u64),
    /// The wall clock is so many ms behind what has been written: the store's clock stands until it has caught up.
    Behind(u64),
}

impl std::fmt::Display for ClockDoubt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, ms) = match self {
            Self::SteppedForward(ms) => ("the clock was set forward by", ms),
            Self::SteppedBack(ms) => ("the clock was set back by", ms),
            Self::StartedAhead(ms) => (
                "at the start the clock is ahead of what was written last by",
                ms,
            ),
            Self::Behind(ms) => ("the clock is behind what was written last by", ms),
        };
        write!(formatter, "{what} {} s", ms / 1000)
    }
}

/// Wall and monotonic time of one moment, in ms.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    wall_ms: u64,
    monotonic_ms: u64,
}

impl Moment {
    pub(super) fn of(clock: &Clock) -> Self {
        Self {
            wall_ms: clock.wall_ms(),
            monotonic_ms: clock.monotonic_ns() / 1_000_000,
        }
    }
}

/// What is known of the wall clock.
pub(super) struct ClockTrust {
    /// What the next readings are compared with.
    anchor: Cell<Moment>,
    /// What has happened to the clock, and when by the monotonic one, in ms.
    doubt: Cell<Option<(ClockDoubt, u64)>>,
    /// Whether a doubt was said last.
    told: Cell<bool>,
}

impl ClockTrust {
    pub(super) const fn new(now: Moment) -> Self {
        Self {
            anchor: Cell::new(now),
            doubt: Cell::new(None),
            told: Cell::new(false),
        }
    }

    /// A start has found `durable_ms` as the largest time in anything durable, 0 on a new volume.
    pub(super) fn begin(&self, now: Moment, (durable_ms, jump_max_ms): (u64, u64)) {
        self.anchor.set(now);
        let ahead_ms = now.wall_ms.saturating_sub(durable_ms);
        let is_ahead = durable_ms > 0 && ahead_ms > jump_max_ms;
        let doubt = is_ahead.then_some((ClockDoubt::StartedAhead(ahead_ms), now.monotonic_ms));
        self.doubt.set(doubt);
    }

    /// Why the clock is not trusted at a moment, if it is not; `floor_ms` is what the store's clock is never behind.
    pub(super) fn doubt(&self, now: Moment, floor_ms: u64) -> Option<ClockDoubt> {
        self.compare(now);
        if let Some((doubt, since_ms)) = self.doubt.get() {
            let is_steady = now.monotonic_ms.saturating_sub(since_ms) >= CLOCK_STEADY_MS;
            if !is_steady {
                return Some(doubt);
            }
            self.doubt.set(None);
        }
        let behind_ms = floor_ms.saturating_sub(now.wall_ms);
        (behind_ms > CLOCK_STEP_MAX_MS).then_some(ClockDoubt::Behind(behind_ms))
    }

    /// An operator says that the wall clock is right as it is. What has been written stays a floor.
    pub(super) fn confirm(&self, now: Moment) {
        self.compare(now);
        self.doubt.set(None);
    }

    /// A start may be so far ahead of the last durable time from now on.
    pub(super) fn allow(&self, jump_max_ms: u64) {
        if let Some((ClockDoubt::StartedAhead(ahead_ms), _)) = self.doubt.get()
            && ahead_ms <= jump_max_ms
        {
            self.doubt.set(None);
        }
    }

    /// True if a doubt has come up or gone since this was asked last.
    pub(super) fn has_news(&self, doubt: Option<ClockDoubt>) -> bool {
        self.told.replace(doubt.is_some()) != doubt.is_some()
    }

    /// Compares a reading with what the monotonic clock lets expect.
    fn compare(&self, now: Moment) {
        let anchor = self.anchor.get();
        let passed_ms = now.monotonic_ms.saturating_sub(anchor.monotonic_ms);
        let expected_ms = anchor.wall_ms.saturating_add(passed_ms);
        let step_ms = now.wall_ms.abs_diff(expected_ms);
        if step_ms > CLOCK_STEP_MAX_MS {
            let doubt = if now.wall_ms > expected_ms {
                ClockDoubt::SteppedForward(step_ms)
            } else {
                ClockDoubt::SteppedBack(step_ms)
            };
            self.doubt.set(Some((doubt, now.monotonic_ms)));
        }
        // Small steps and drift are followed.
        if step_ms > CLOCK_STEP_MAX_MS || passed_ms >= CLOCK_ANCHOR_MS {
            self.anchor.set(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use corelith_io::SimulatedMachine;

    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

    struct Rig {
        machine: SimulatedMachine,
        trust: ClockTrust,
    }

    impl Rig {
        fn new() -> Self {
            let machine = SimulatedMachine::new(1);
            let trust = ClockTrust::new(Moment::of(&machine.clock()));
            Self { machine, trust }
        }

        fn now(&self) -> Moment {
            Moment::of(&self.machine.clock())
        }

        fn doubt(&self) -> Option<ClockDoubt> {
            self.trust.doubt(self.now(), 0)
        }

        fn step(&self, by_ms: i64) {
            let wall_ms = self.machine.clock().wall_ms();
            self.machine
                .set_wall_ms(wall_ms.checked_add_signed(by_ms).unwrap());
        }

        fn pass(&self, duration_ms: u64) {
            self.machine.let_pass_ns(duration_ms * 1_000_000);
        }
    }

    fn signed(ms: u64) -> i64 {
        i64::try_from(ms).unwrap()
    }

    #[test]
    fn small_steps_and_long_pauses_are_no_reason_for_doubt() {
        let rig = Rig::new();
        for _ in 0..20 {
            rig.step(signed(CLOCK_STEP_MAX_MS));
            assert_eq!(rig.doubt(), None);
            rig.pass(CLOCK_ANCHOR_MS);
            assert_eq!(rig.doubt(), None);
        }
        rig.pass(30 * DAY_MS);
        assert_eq!(rig.doubt(), None);
    }

    #[test]
    fn a_step_is_doubted_until_the_clock_has_run_evenly() {
        let rig = Rig::new();
        rig.step(signed(CLOCK_STEP_MAX_MS + 1));
        assert!(matches!(rig.doubt(), Some(ClockDoubt::SteppedForward(_))));
        rig.pass(CLOCK_STEADY_MS - 1);
        rig.step(-signed(CLOCK_STEP_MAX_MS + 1));
        assert!(matches!(rig.doubt(), Some(ClockDoubt::SteppedBack(_))));
        rig.pass(CLOCK_STEADY_MS - 1);
        assert!(rig.doubt().is_some());
        rig.pass(1);
        assert_eq!(rig.doubt(), None);
    }

    #[test]
    fn a_clock_behind_what_was_written_is_doubted_until_it_has_caught_up() {
        let rig = Rig::new();
        let floor_ms = rig.now().wall_ms + 20 * 60 * MINUTE_MS;
        let doubt = || rig.trust.doubt(rig.now(), floor_ms);
        assert!(matches!(doubt(), Some(ClockDoubt::Behind(_))));
        rig.trust.confirm(rig.now());
        assert!(doubt().is_some(), "nobody can say that time stands still");
        rig.pass(20 * 60 * MINUTE_MS - CLOCK_STEP_MAX_MS);
        assert_eq!(doubt(), None);
    }

    #[test]
    fn a_start_long_after_the_last_write_waits_for_a_steady_clock_or_a_word() {
        let rig = Rig::new();
        let wall_ms = rig.now().wall_ms;
        rig.trust.begin(rig.now(), (wall_ms - DAY_MS, DAY_MS));
        assert_eq!(rig.doubt(), None);
        rig.trust.begin(rig.now(), (wall_ms - DAY_MS - 1, DAY_MS));
        assert_eq!(rig.doubt(), Some(ClockDoubt::StartedAhead(DAY_MS + 1)));
        assert!(rig.trust.has_news(rig.doubt()) && !rig.trust.has_news(rig.doubt()));
        rig.trust.confirm(rig.now());
        assert_eq!(rig.doubt(), None);
        assert!(rig.trust.has_news(None));
    }
}
