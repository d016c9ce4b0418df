//! Virtual time of the simulated machine. It moves only when the machine takes a step, never by itself.

use std::cell::Cell;
use std::rc::Rc;

/// Wall time of a machine's first moment: 2026-01-01 00:00:00 UTC, in milliseconds since the Unix epoch.
const WALL_MS_START: u64 = 1_767_225_600_000;

/// The machine's time, shared by everybody who looks at it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedClock {
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    /// Nanoseconds since the machine was made. Never goes back.
    now_ns: Cell<u64>,
    /// When the machine was last powered on, on the same scale.
    boot_ns: Cell<u64>,
    /// When the wall clock was last set, on the same scale.
    wall_set_ns: Cell<u64>,
    /// What it was set to, in milliseconds since the Unix epoch.
    wall_set_ms: Cell<u64>,
}

impl SimulatedClock {
    pub(crate) fn new() -> Self {
        let state = State {
            now_ns: Cell::new(0),
            boot_ns: Cell::new(0),
            wall_set_ns: Cell::new(0),
            wall_set_ms: Cell::new(WALL_MS_START),
        };
        Self {
            state: Rc::new(state),
        }
    }

    /// A clock that shows the same and goes its own way from here.
    pub(crate) fn fork(&self) -> Self {
        let state = State {
            now_ns: self.state.now_ns.clone(),
            boot_ns: self.state.boot_ns.clone(),
            wall_set_ns: self.state.wall_set_ns.clone(),
            wall_set_ms: self.state.wall_set_ms.clone(),
        };
        Self {
            state: Rc::new(state),
        }
    }

    /// Nanoseconds since the machine was made, power cuts or not.
    pub(crate) fn now_ns(&self) -> u64 {
        self.state.now_ns.get()
    }

    /// Nanoseconds since the machine was last powered on, as its monotonic clock shows them.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        self.now_ns() - self.state.boot_ns.get()
    }

    /// Milliseconds since the Unix epoch, as its wall clock shows them.
    pub(crate) fn wall_ms(&self) -> u64 {
        let since_set_ns = self.now_ns() - self.state.wall_set_ns.get();
        self.state
            .wall_set_ms
            .get()
            .saturating_add(since_set_ns / 1_000_000)
    }

    /// Time passes until `now_ns`, if that is still ahead.
    pub(crate) fn advance_to(&self, now_ns: u64) {
        self.state.now_ns.set(self.now_ns().max(now_ns));
    }

    /// The machine is powered on: its monotonic clock starts again at 0.
    pub(crate) fn reboot(&self) {
        self.state.boot_ns.set(self.now_ns());
    }

    /// The wall clock is set so that it shows `wall_ms` now. The monotonic clock does not notice.
    pub(crate) fn set_wall_ms(&self, wall_ms: u64) {
        self.state.wall_set_ns.set(self.now_ns());
        self.state.wall_set_ms.set(wall_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_wall_time_steps_alone() {
        let clock = SimulatedClock::new();
        clock.advance_to(5_000_000);
        clock.advance_to(1_000_000);
        assert_eq!(
            (clock.now_ns(), clock.wall_ms()),
            (5_000_000, WALL_MS_START + 5)
        );
        clock.set_wall_ms(77);
        clock.advance_to(8_000_000);
        assert_eq!((clock.monotonic_ns(), clock.wall_ms()), (8_000_000, 80));
    }

    #[test]
    fn a_reboot_restarts_monotonic_time_only() {
        let clock = SimulatedClock::new();
        let fork = clock.fork();
        clock.advance_to(9_000_000);
        clock.reboot();
        assert_eq!((clock.monotonic_ns(), clock.now_ns()), (0, 9_000_000));
        assert_eq!(clock.wall_ms(), WALL_MS_START + 9);
        assert_eq!(fork.now_ns(), 0);
    }
}
