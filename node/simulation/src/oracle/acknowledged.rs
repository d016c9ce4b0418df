//! Acknowledged changes, in the order in which they came about, and what vouches for each. Which of them may
//! get lost is for the oracle to say. Pure.

use super::possibility::{State, Ticket};

/// When an acknowledged write began and was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) began: Ticket,
    pub(super) answered: Ticket,
}

/// An acknowledged change of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) state: State,
    pub(super) life: u64,
    /// How many writes of its log had been acknowledged in that life before.
    pub(super) number: usize,
    pub(super) span: Span,
}

impl Acknowledged {
    fn overlaps(&self, other: &Self) -> bool {
        let (own, others) = (self.span, other.span);
        self.life == other.life && own.answered > others.began && others.answered > own.began
    }

    /// Whether nothing says which of two came first: they were under way together, and one is a delete.
    pub(super) fn is_unordered(&self, other: &Self) -> bool {
        self.overlaps(other) && (self.state.is_none() || other.state.is_none())
    }
}

/// Adds a change behind those that came before it. Of two that were under way together the one with the
/// lower generation came first, in whatever order they were answered.
pub(super) fn acknowledge(changes: &mut Vec<Acknowledged>, new: Acknowledged) {
    let generation = |change: &Acknowledged| change.state.map(|stored| stored.generation);
    let is_later = |other: &&Acknowledged| {
        let is_put = generation(&new).is_some();
        other.overlaps(&new) && is_put && generation(other) > generation(&new)
    };
    let later = changes.iter().rev().take_while(is_later).count();
    changes.insert(changes.len() - later, new);
}

/// How many writes of a log vouch for each, one on top of the other: the first that began when it was
/// answered, the first that began when that one was, and so on. No two of them can share a batch.
pub(super) fn vouchers(spans: &[Span]) -> Vec<u64> {
    let mut counts = vec![0; spans.len()];
    for (number, span) in spans.iter().enumerate().rev() {
        let mut later = (number + 1..).zip(spans.iter().skip(number + 1));
        let next = later.find(|(_, other)| other.began > span.answered);
        let beyond = next.and_then(|(next, _)| counts.get(next).copied());
        if let (Some(beyond), Some(count)) = (beyond, counts.get_mut(number)) {
            *count = beyond + 1;
        }
    }
    counts
}
