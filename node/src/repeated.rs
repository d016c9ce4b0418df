//! A message that may come up again and again: it is said at once, and then from time to time with the number
//! of times that it was not said, so that a flood of one error costs the log a line a while.

use std::cell::Cell;

use crate::limits::REPEATED_AFTER_NS;

/// One message at one place.
#[derive(Default)]
pub(crate) struct Repeated {
    said_ns: Cell<Option<u64>>,
    unsaid_count: Cell<u64>,
}

impl Repeated {
    /// It has come up. Whether it is to be said now: then how often it was not said since the last time.
    pub(crate) fn due(&self, now_ns: u64) -> Option<u64> {
        if self.was_just_said(now_ns) {
            self.unsaid_count.set(self.unsaid_count.get() + 1);
            return None;
        }
        self.said_ns.set(Some(now_ns));
        Some(self.unsaid_count.take())
    }

    /// How often it was not said since the last time, if that is not zero and is to be said now.
    pub(crate) fn rest(&self, now_ns: u64) -> Option<u64> {
        if self.unsaid_count.get() == 0 || self.was_just_said(now_ns) {
            return None;
        }
        self.said_ns.set(Some(now_ns));
        Some(self.unsaid_count.take())
    }

    fn was_just_said(&self, now_ns: u64) -> bool {
        let said_ns = self.said_ns.get();
        said_ns.is_some_and(|said_ns| now_ns.saturating_sub(said_ns) < REPEATED_AFTER_NS)
    }
}

/// The messages of one core that requests and peers can bring about.
#[derive(Default)]
pub(crate) struct CoreMessages {
    /// A connection was refused.
    pub(crate) refused: Repeated,
    /// A connection could not be accepted.
    pub(crate) not_accepted: Repeated,
    /// A connection could not be served.
    pub(crate) not_served: Repeated,
    /// A connection was closed because no hello came.
    pub(crate) no_hello: Repeated,
    /// An operation was slow.
    pub(crate) slow: Repeated,
}

impl CoreMessages {
    /// Says how often each has come up since it was said last, so that the end of a flood is told too.
    pub(crate) fn say_rest(&self, core: u16, now_ns: u64) {
        for (message, what) in [
            (&self.refused, "more connections were refused"),
            (&self.not_accepted, "more connections could not be accepted"),
            (&self.not_served, "more connections could not be served"),
            (
                &self.no_hello,
                "more connections were closed without a hello",
            ),
            (&self.slow, "more operations were slow"),
        ] {
            if let Some(count) = message.rest(now_ns) {
                tracing::warn!(core, count, "{what} since the last message about that");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_the_others_are_counted() {
        let message = Repeated::default();
        assert_eq!(message.due(5), Some(0));
        assert_eq!(message.due(5), None);
        assert_eq!(message.due(4 + REPEATED_AFTER_NS), None);
        assert_eq!(message.due(5 + REPEATED_AFTER_NS), Some(2));
        assert_eq!(message.due(6 + REPEATED_AFTER_NS), None);
        assert_eq!(message.due(5 + 3 * REPEATED_AFTER_NS), Some(1));
    }

    #[test]
    fn the_rest_is_said_once() {
        let message = Repeated::default();
        assert_eq!(message.rest(0), None);
        assert_eq!(message.due(5), Some(0));
        assert_eq!(message.due(6), None);
        assert_eq!(message.rest(7), None, "too soon");
        assert_eq!(message.rest(5 + REPEATED_AFTER_NS), Some(1));
        assert_eq!(message.rest(5 + 2 * REPEATED_AFTER_NS), None);
    }
}
