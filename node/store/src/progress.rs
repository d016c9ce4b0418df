//! How far the recovery of shards has come: figures that another thread may look at while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::fields::u64_of;

/// The recovery of as many shards as share it. Only grows; the figures are for people, and are not taken at
/// one moment.
#[derive(Default, Debug)]
pub struct RecoveryProgress {
    shards_found: AtomicU64,
    shards_recovered: AtomicU64,
    segments_found: AtomicU64,
    segments_replayed: AtomicU64,
    records_replayed: AtomicU64,
}

/// What a [`RecoveryProgress`] said when it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecoveredSoFar {
    /// Shards whose segment headers have been read.
    pub shards_found: u64,
    /// Shards that are recovered.
    pub shards_recovered: u64,
    /// Segments with a log in them, of the shards whose headers have been read.
    pub segments_found: u64,
    /// Of those, the ones that have been replayed.
    pub segments_replayed: u64,
    /// Records replayed, superseded ones and tombstones included.
    pub records_replayed: u64,
}

impl RecoveryProgress {
    /// The figures now.
    #[must_use]
    pub fn so_far(&self) -> RecoveredSoFar {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        RecoveredSoFar {
            shards_found: of(&self.shards_found),
            shards_recovered: of(&self.shards_recovered),
            segments_found: of(&self.segments_found),
            segments_replayed: of(&self.segments_replayed),
            records_replayed: of(&self.records_replayed),
        }
    }

    pub(crate) fn found(&self, segment_count: usize) {
        add(&self.shards_found, 1);
        add(&self.segments_found, u64_of(segment_count));
    }

    pub(crate) fn replayed(&self, record_count: u64) {
        add(&self.segments_replayed, 1);
        add(&self.records_replayed, record_count);
    }

    pub(crate) fn recovered(&self) {
        add(&self.shards_recovered, 1);
    }
}

fn add(figure: &AtomicU64, count: u64) {
    figure.fetch_add(count, Ordering::Relaxed);
}
