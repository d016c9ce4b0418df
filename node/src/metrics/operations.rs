//! Operations on the records of one namespace, as one core saw them: how they ended, and how long requests
//! for them took. Counting takes no memory.

use std::cell::RefCell;

use corelith_io::{LatencyBuckets, LatencyHistogram};
use corelith_wire::{MessageKind, Status};

/// By kind, by status: how many.
pub(crate) type OutcomeCounts = [[u64; Status::ALL.len()]; MessageKind::ALL.len()];

/// Where a kind stands in [`MessageKind::ALL`], by its number.
const POSITIONS: [u8; 128] = positions();

const fn positions() -> [u8; 128] {
    let mut positions = [u8::MAX; 128];
    let mut kinds: &[MessageKind] = &MessageKind::ALL;
    let mut position = 0;
    while let [kind, rest @ ..] = kinds {
        let mut slots: &mut [u8] = &mut positions;
        let mut number = kind.number();
        while let [slot, later @ ..] = slots {
            if number == 0 {
                *slot = position;
                break;
            }
            number -= 1;
            slots = later;
        }
        position += 1;
        kinds = rest;
    }
    positions
}

fn position(kind: MessageKind) -> usize {
    POSITIONS
        .get(usize::from(kind.number()))
        .map_or(usize::MAX, |position| usize::from(*position))
}

/// What one core counts of the operations on one namespace.
pub(crate) struct Outcomes {
    counts: RefCell<OutcomeCounts>,
    /// By position of the kind; `None` for kinds that are not about records.
    latencies: Vec<Option<LatencyHistogram>>,
}

impl Default for Outcomes {
    fn default() -> Self {
        let latencies = MessageKind::ALL
            .iter()
            .map(|kind| kind.needs_namespace().then(LatencyHistogram::new))
            .collect();
        Self {
            counts: RefCell::new([[0; Status::ALL.len()]; MessageKind::ALL.len()]),
            latencies,
        }
    }
}

impl Outcomes {
    /// An operation ended on this core.
    pub(crate) fn count(&self, kind: MessageKind, status: Status) {
        let mut counts = self.counts.borrow_mut();
        let status = usize::from(status.number().saturating_sub(1));
        if let Some(count) = counts
            .get_mut(position(kind))
            .and_then(|statuses| statuses.get_mut(status))
        {
            *count += 1;
        }
    }

    /// A request that arrived on this core was answered so long after its arrival, in ns.
    pub(crate) fn took(&self, kind: MessageKind, latency_ns: u64) {
        if let Some(Some(latency)) = self.latencies.get(position(kind)) {
            latency.record(latency_ns);
        }
    }

    /// As they are now.
    pub(crate) fn snapshot(&self) -> OperationsSnapshot {
        let latencies = MessageKind::ALL
            .into_iter()
            .zip(&self.latencies)
            .filter_map(|(kind, latency)| Some((kind, latency.as_ref()?.buckets())))
            .filter(|(_, buckets)| buckets.count > 0)
            .collect();
        OperationsSnapshot {
            counts: Box::new(*self.counts.borrow()),
            latencies,
        }
    }
}

/// What had been counted when it was asked.
pub(crate) struct OperationsSnapshot {
    counts: Box<OutcomeCounts>,
    /// Of the kinds that occurred.
    pub(crate) latencies: Vec<(MessageKind, LatencyBuckets)>,
}

impl OperationsSnapshot {
    /// The outcomes that occurred.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (MessageKind, Status, u64)> {
        let kinds = MessageKind::ALL.into_iter().zip(self.counts.iter());
        kinds.flat_map(|(kind, statuses)| {
            Status::ALL
                .into_iter()
                .zip(statuses)
                .filter(|(_, count)| **count > 0)
                .map(move |(status, count)| (kind, status, *count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_position() {
        for (at, kind) in MessageKind::ALL.into_iter().enumerate() {
            assert_eq!(position(kind), at, "{kind:?}");
        }
    }
}
