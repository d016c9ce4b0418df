//! The terms of an operation: until when it may be carried out, when a write is answered, what its namespace
//! asks of it, and what a batch leaves it.

use corelith_io::Clock;
use corelith_store::Commit;

use super::Room;
use crate::namespaces::Policy;
use crate::refusal::Rejection;

/// What holds for an operation beside what it does.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// When a write is answered.
    pub(crate) commit: Commit,
    /// Until when its client waits.
    pub(crate) deadline: Deadline<'a>,
    /// What it must keep to.
    pub(crate) policy: Policy,
    /// Where what it reads must fit, if its answer is one of several.
    pub(crate) room: Option<&'a Room>,
    /// How a get comes to the index.
    pub(crate) lookup: Lookup,
}

/// Whether the lines of the index that a get will read have been asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    /// It joins whichever others come up in the same round.
    Alone,
    /// They have, together with those of other rows.
    Fetched,
}

impl Terms<'_> {
    /// Takes room in the answer for what was read; false if there is none.
    pub(crate) fn claim(&self, length_bytes: usize) -> bool {
        self.room.is_none_or(|room| room.claim(length_bytes))
    }
}

/// A moment after which a request is not to be carried out: its client has stopped waiting.
#[derive(Clone, Copy)]
pub(crate) struct Deadline<'a> {
    clock: &'a Clock,
    /// By the monotonic clock; `None` for a client that waits for ever.
    at_ns: Option<u64>,
}

impl<'a> Deadline<'a> {
    /// Of a request that arrived at `arrived_ns` with `deadline_ms` to go; 0 or `None` is no deadline.
    pub(crate) fn new(clock: &'a Clock, arrived_ns: u64, deadline_ms: Option<u32>) -> Self {
        let given = deadline_ms.filter(|deadline_ms| *deadline_ms > 0);
        let at_ns = given.map(|deadline_ms| {
            arrived_ns.saturating_add(u64::from(deadline_ms).saturating_mul(1_000_000))
        });
        Self { clock, at_ns }
    }

    /// The clock by which it passes.
    pub(crate) const fn clock(&self) -> &'a Clock {
        self.clock
    }

    /// True if it has passed at `now_ns`.
    pub(crate) fn is_past(&self, now_ns: u64) -> bool {
        self.at_ns.is_some_and(|at_ns| now_ns >= at_ns)
    }

    /// A rejection if it has passed by now: a write's turn may have come late.
    pub(crate) fn check(&self) -> Result<(), Rejection> {
        match self.at_ns {
            Some(at_ns) if self.clock.monotonic_ns() >= at_ns => Err(Rejection::Late),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes_when_its_milliseconds_are_over() {
        let clock = Clock::real();
        let deadline = Deadline::new(&clock, 5_000_000, Some(2));
        assert!(!deadline.is_past(6_999_999));
        assert!(deadline.is_past(7_000_000));
        for none in [None, Some(0)] {
            assert!(!Deadline::new(&clock, 0, none).is_past(u64::MAX));
            assert_eq!(Deadline::new(&clock, 0, none).check(), Ok(()));
        }
        let now_ns = clock.monotonic_ns();
        assert_eq!(
            Deadline::new(&clock, now_ns, Some(u32::MAX)).check(),
            Ok(())
        );
    }
}
