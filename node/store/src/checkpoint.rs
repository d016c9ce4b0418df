//! Checkpoints: the index, a page at a time, on the device, so that a start reads pages and only the log above them.
//!
//! A cursor goes round through sets, truncations and groups of the index; each page is what the durable log had made of its
//! range at one LSN, which it carries. Pages go into segments of a state of their own, a ring that is written over oldest
//! first. Nothing waits for a checkpoint, the log keeps nothing for it, and it is never needed: whatever is wrong with it,
//! a start reads older pages or the whole log.
//!
//! Invariants: a page is taken in one step, between two awaits; pages of this round and of the last are not written
//! over, but that the log may have any of them when it has no other segment.
//! `docs/decisions/0022-checkpoints.md` shows why a start from pages ends where a scan does.

mod content;
mod pages;
mod ring;
mod writer;

pub(crate) use pages::{PageMap, Uncovered, point_of};
pub(crate) use ring::{Checkpoints, FoundSegment};
pub(crate) use writer::{Checkpointed, checkpointed, start_checkpoint};

/// How checkpoints are paced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointPace {
    /// A round begins when so many bytes of batches have been written since the last one began; 0 for no checkpoints.
    pub interval_bytes: u64,
    /// Pages may take so many bytes in a hundred that batches take.
    pub share_percent: u32,
}

impl CheckpointPace {
    /// No checkpoints.
    pub const NONE: Self = Self {
        interval_bytes: 0,
        share_percent: 0,
    };

    /// A round each time that `interval_bytes` of batches have been written, with the share that bounds all.
    #[must_use]
    pub const fn every(interval_bytes: u64) -> Self {
        Self {
            interval_bytes,
            share_percent: crate::limits::CHECKPOINT_SHARE_PERCENT,
        }
    }
}
