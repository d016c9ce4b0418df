//! Scans: the records of a partition in a fixed order, from a position on, while it changes.
//!
//! A record that cannot be read does not end a scan: it stands in the page by its digest. What only this
//! moment does not allow (no memory) ends the page before the record, never drops it.

use std::pin::pin;

use corelith_index::{PartitionId, ScanPosition, Scanned};
use futures_util::stream::{self, StreamExt};

use crate::ReadError;
use crate::damage::DamagedRecord;
use crate::limits::{READ_ATTEMPTS_MAX, SCAN_READS_IN_FLIGHT, SCAN_RECORDS_MAX};
use crate::record::Record;
use crate::shard::Shard;
use crate::state::ShardCore;

/// One step of a scan.
#[derive(Debug)]
pub struct ScanPage {
    /// Records in the order of their positions, and those that cannot be read in their places.
    pub records: Vec<Result<Record, DamagedRecord>>,
    /// Where to go on; `None` at the partition's end.
    pub next: Option<ScanPosition>,
}

impl Shard {
    /// The next records of `partition` from `from` on: at most `count_max` of them, and no more than
    /// [`SCAN_RECORDS_MAX`]. A record that is there throughout a scan is returned exactly once, in one
    /// of its versions; expired records are left out, so a page may be empty before the end.
    ///
    /// # Errors
    /// [`ReadError::MayBeStale`]; [`ReadError::Buffer`] and [`ReadError::Busy`] if not even the first
    /// record can be read just now. Damage of single records is in the page.
    pub async fn scan(
        &self,
        partition: PartitionId,
        from: ScanPosition,
        count_max: usize,
    ) -> Result<ScanPage, ReadError> {
        let core = self.core();
        if core.stale.get() {
            return Err(ReadError::MayBeStale);
        }
        core.settle_acknowledged().await;
        let mut found = Vec::new();
        let count_max = count_max.clamp(1, SCAN_RECORDS_MAX);
        let next = core.scan_index(partition, from, count_max, &mut found);
        let reads = stream::iter(found)
            .map(|scanned| async move {
                let position = scanned.position;
                (position, read_scanned(core, partition, scanned).await)
            })
            .buffered(SCAN_READS_IN_FLIGHT);
        let mut reads = pin!(reads);
        let mut records = Vec::new();
        while let Some((position, read)) = reads.next().await {
            match read {
                Ok(None) => {}
                Ok(Some(met)) => records.push((position, met)),
                Err(error) => {
                    // Keys of one position are not divided between pages.
                    records.retain(|(earlier, _)| *earlier != position);
                    if records.is_empty() {
                        return Err(error);
                    }
                    return Ok(page(records, Some(position)));
                }
            }
        }
        Ok(page(records, next))
    }
}

impl ShardCore {
    /// The next entries of the index, but for those of truncated records.
    fn scan_index(
        &self,
        partition: PartitionId,
        from: ScanPosition,
        count_max: usize,
        found: &mut Vec<Scanned>,
    ) -> Option<ScanPosition> {
        let state = self.state.borrow();
        let next = state.index.scan(partition, from, count_max, found);
        found.retain(|scanned| {
            !state
                .truncations
                .has_deleted(&state.segments, &scanned.entry)
        });
        next
    }
}

/// What a scan met: a record, or one that cannot be read.
type Met = Result<Record, DamagedRecord>;

fn page(records: Vec<(ScanPosition, Met)>, next: Option<ScanPosition>) -> ScanPage {
    ScanPage {
        records: records.into_iter().map(|(_, met)| met).collect(),
        next,
    }
}

/// The record of an entry that a scan met; `None` if it is gone or expired. An error if it cannot be read
/// just now, and may be later.
async fn read_scanned(
    core: &ShardCore,
    partition: PartitionId,
    scanned: Scanned,
) -> Result<Option<Met>, ReadError> {
    let position = scanned.position;
    let mut entry = scanned.entry;
    for _ in 0..READ_ATTEMPTS_MAX {
        if core.clock.is_past(entry.expiry) {
            return Ok(None);
        }
        if let Some(record) = core.glimpse(&entry) {
            return Ok(Some(Ok(record)));
        }
        let error = match core.read_place(&entry).await {
            Ok(record) => return Ok(Some(Ok(record))),
            Err(error) => error,
        };
        // The record may have been rewritten and its segment reused while it was read.
        let mut now = Vec::new();
        core.scan_index(partition, position, 1, &mut now);
        now.retain(|candidate| candidate.position == position);
        if !now.iter().any(|candidate| candidate.entry == entry) {
            match now.first() {
                None => return Ok(None),
                Some(candidate) => entry = candidate.entry,
            }
            continue;
        }
        return match error {
            ReadError::Buffer(_) | ReadError::Busy | ReadError::MayBeStale => Err(error),
            ReadError::Damaged(_)
            | ReadError::Misdirected
            | ReadError::Device(_)
            | ReadError::Address => {
                let damaged = core.damaged(partition, (position, &entry), error).await;
                Ok(Some(Err(damaged)))
            }
        };
    }
    Err(ReadError::Busy)
}
