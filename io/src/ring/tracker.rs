//! Who is to be told about the completions of one slot. It holds no buffer and no descriptor: the slot
//! owns those.

use std::rc::Rc;
use std::task::Waker;

use super::pending::Outcome;
use crate::descriptor::FixedFile;
use crate::listener::Arrivals;
use crate::stream::Inbox;

/// Beside a slot: where its completions go.
#[derive(Default)]
pub(crate) enum Tracker {
    /// The slot is free.
    #[default]
    Nobody,
    /// A future that has not been told yet, or that was dropped.
    Single {
        waker: Option<Waker>,
        retries: Retries,
        abandoned: bool,
    },
    /// A future that can take the outcome.
    Over(Outcome),
    /// A connection that receives.
    Stream(Rc<Inbox>),
    /// A listener that accepts.
    Listener(Rc<Arrivals>),
    /// A place in the table of registered files that is free after this.
    Place(FixedFile),
    /// The core's own eventfd.
    Bell,
}

/// Whether an operation that has not come to its end may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retries {
    /// So many attempts in a row transferred nothing.
    Count(u8),
    /// It was cancelled: what the kernel did of it before stays, and nothing is added.
    Forbidden,
}

impl Tracker {
    /// For an operation that a future was just made for.
    pub(crate) fn awaited() -> Self {
        Self::Single {
            waker: None,
            retries: Retries::Count(0),
            abandoned: false,
        }
    }

    /// For an operation whose outcome nobody asks for.
    pub(crate) fn unawaited() -> Self {
        Self::Single {
            waker: None,
            retries: Retries::Count(0),
            abandoned: true,
        }
    }

    pub(crate) fn retries(&self) -> Retries {
        match self {
            Self::Single { retries, .. } => *retries,
            Self::Nobody
            | Self::Over(_)
            | Self::Stream(_)
            | Self::Listener(_)
            | Self::Place(_)
            | Self::Bell => Retries::Forbidden,
        }
    }

    /// Notes an attempt; one that transferred something starts the count anew.
    pub(crate) fn note_attempt(&mut self, transferred: bool) {
        if let Self::Single {
            retries: Retries::Count(count),
            ..
        } = self
        {
            *count = if transferred {
                0
            } else {
                count.saturating_add(1)
            };
        }
    }

    /// Notes that the operation was cancelled.
    pub(crate) fn forbid_retries(&mut self) {
        if let Self::Single { retries, .. } = self {
            *retries = Retries::Forbidden;
        }
    }
}
