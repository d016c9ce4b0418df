//! Long work on a core goes in pieces, and between them the core's other tasks have their turn.

use std::future::poll_fn;
use std::task::Poll;

use corelith_io::Clock;
use corelith_record::Pace;

use crate::limits::{PACE_BYTES, PACE_STEPS, TURN_NS_MAX};

/// Reckons up what one task did since its turn began.
pub(crate) struct Turn<'a> {
    clock: &'a Clock,
    turn_began_ns: u64,
    steps: u32,
    bytes: usize,
}

impl<'a> Turn<'a> {
    /// A turn that begins now, by the monotonic clock.
    pub(crate) const fn new(clock: &'a Clock, now_ns: u64) -> Self {
        Self {
            clock,
            turn_began_ns: now_ns,
            steps: 0,
            bytes: 0,
        }
    }

    /// Steps were done, with so many bytes copied.
    pub(crate) const fn did(&mut self, steps: u32, length_bytes: usize) {
        self.steps = self.steps.saturating_add(steps);
        self.bytes = self.bytes.saturating_add(length_bytes);
    }

    /// Lets the others have their turn if this one is over. The clock is looked at once in some steps.
    pub(crate) async fn rest(&mut self) {
        if self.steps < PACE_STEPS && self.bytes < PACE_BYTES {
            return;
        }
        (self.steps, self.bytes) = (0, 0);
        let now_ns = self.clock.monotonic_ns();
        if now_ns.saturating_sub(self.turn_began_ns) >= TURN_NS_MAX {
            yield_now().await;
            self.turn_began_ns = self.clock.monotonic_ns();
        }
    }
}

/// A pace that lets the core's other tasks go first between the pieces of one record.
pub(crate) fn pace() -> Pace<impl AsyncFnMut()> {
    Pace::new(yield_now)
}

/// Lets the other tasks of the core go first, once.
pub(crate) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
