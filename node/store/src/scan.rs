//! Scans: the records of a partition in a fixed order, from a position on, while it changes.

use std::pin::pin;

use corelith_index::{PartitionId, ScanPosition, Scanned};
use futures_util::stream::{self, StreamExt};

use crate::ReadError;
use crate::limits::{SCAN_READS_IN_FLIGHT, SCAN_RECORDS_MAX};
use crate::record::Record;
use crate::shard::Shard;
use crate::state::ShardCore;

/// One step of a scan.
#[derive(Debug)]
pub struct ScanPage {
    /// Records in the order of their positions; an error stands for a record that cannot be read.
    pub records: Vec<Result<Record, ReadError>>,
    /// Where to go on; `None` at the partition's end.
    pub next: Option<ScanPosition>,
}

impl Shard {
    /// The next records of `partition` from `from` on: at most `count_max` of them, and no more than
    /// [`SCAN_RECORDS_MAX`]. A record that is there throughout a scan is returned exactly once, in one
    /// of its versions; expired records are left out, so a page may be empty before the end.
    ///
    /// # Errors
    /// [`ReadError::MayBeStale`]; errors of single records are in the page.
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
        let mut found = Vec::new();
        let count_max = count_max.clamp(1, SCAN_RECORDS_MAX);
        let next = core
            .state
            .borrow()
            .index
            .scan(partition, from, count_max, &mut found);
        let reads = stream::iter(found)
            .map(|scanned| read_scanned(core, partition, scanned))
            .buffered(SCAN_READS_IN_FLIGHT);
        let mut reads = pin!(reads);
        let mut records = Vec::new();
        while let Some(read) = reads.next().await {
            if let Some(record) = read.transpose() {
                records.push(record);
            }
        }
        Ok(ScanPage { records, next })
    }
}

/// The record of an entry that a scan met; `None` if it is gone or expired.
async fn read_scanned(
    core: &ShardCore,
    partition: PartitionId,
    scanned: Scanned,
) -> Result<Option<Record>, ReadError> {
    if core.clock.is_past(scanned.entry.expiry) {
        return Ok(None);
    }
    let error = match core.read_place(&scanned.entry).await {
        Ok(record) => return Ok(Some(record)),
        Err(error) => error,
    };
    // The record may have been rewritten and its segment reused while it was read.
    let mut now = Vec::new();
    core.state
        .borrow()
        .index
        .scan(partition, scanned.position, 1, &mut now);
    let here = |candidate: &&Scanned| candidate.position == scanned.position;
    if now
        .iter()
        .filter(here)
        .any(|candidate| candidate.entry == scanned.entry)
    {
        return Err(error);
    }
    match now.iter().find(here) {
        None => Ok(None),
        Some(candidate) => core.read_place(&candidate.entry).await.map(Some),
    }
}
