//! Walks through the whole index a few entries at a time, for what is done to entries in the background: sweeps of truncated records
//! and of expired ones.
//!
//! No I/O and no policy: who walks says what is done to an entry, and when others have their turn between the steps.

use corelith_index::{PartitionId, ScanPosition, Scanned, Shard as IndexShard};

use crate::limits::{SWEEP_ENTRIES_MAX, SWEEP_SCAN_ENTRIES, SWEEP_SCANS_MAX};
use crate::state::State;

/// Where a walk goes on.
#[derive(Clone, Copy)]
pub(crate) struct WalkPosition {
    partition: PartitionId,
    from: ScanPosition,
}

/// What a step of a walk has come to.
pub(crate) struct Walked {
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<WalkPosition>,
    /// Entries that were looked at.
    pub(crate) looked_at: usize,
    /// Of those, how many were taken out.
    pub(crate) removed: u64,
}

impl WalkPosition {
    /// Before every entry; `None` in a shard without a partition.
    pub(crate) fn first(shard: IndexShard) -> Option<Self> {
        shard.partitions().next().map(Self::at_start)
    }

    fn behind(partition: PartitionId, shard: IndexShard) -> Option<Self> {
        let next = PartitionId::new(partition.get().saturating_add(shard.count()));
        next.ok().map(Self::at_start)
    }

    const fn at_start(partition: PartitionId) -> Self {
        Self {
            partition,
            from: ScanPosition::START,
        }
    }
}

impl State {
    /// Looks at the next entries, no more than keeps a core for 100 us or so. `visit` takes an entry out of the index, or not, and
    /// says which.
    pub(crate) fn walk_step(
        &mut self,
        mut at: WalkPosition,
        mut visit: impl FnMut(&mut Self, PartitionId, &Scanned) -> bool,
    ) -> Walked {
        let (mut removed, mut looked_at) = (0, 0);
        let mut found = Vec::new();
        for _ in 0..SWEEP_SCANS_MAX {
            found.clear();
            let next = self
                .index
                .scan(at.partition, at.from, SWEEP_SCAN_ENTRIES, &mut found);
            looked_at += found.len();
            for scanned in &found {
                removed += u64::from(visit(self, at.partition, scanned));
            }
            let following = match next {
                Some(from) => Some(WalkPosition { from, ..at }),
                None => WalkPosition::behind(at.partition, self.index.shard()),
            };
            let Some(following) = following else {
                return Walked {
                    next: None,
                    looked_at,
                    removed,
                };
            };
            at = following;
            if looked_at >= SWEEP_ENTRIES_MAX {
                break;
            }
        }
        Walked {
            next: Some(at),
            looked_at,
            removed,
        }
    }
}
