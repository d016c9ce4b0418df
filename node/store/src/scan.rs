//! Scans: the records of a partition in a fixed order, from a position on, while it changes.
//!
//! A record that cannot be read does not end a scan: it stands in the page by its digest. What only this
//! moment does not allow (no memory) ends the page before the record, never drops it.

use std::pin::pin;

use corelith_index::{Entry, PartitionId, RecordAddress, ScanPosition, Scanned, SetId};
use futures_util::stream::{self, StreamExt};

use crate::ReadError;
use crate::damage::DamagedRecord;
use crate::limits::{READ_ATTEMPTS_MAX, SCAN_READS_IN_FLIGHT, SCAN_RECORDS_MAX};
use crate::reader::is_same;
use crate::record::Record;
use crate::shard::Shard;
use crate::state::ShardCore;

/// How much one step of a scan may do, and which records it is about.
#[derive(Clone, Copy, Debug)]
pub struct ScanBounds {
    /// Only records of this set, which the index tells: others cost no read.
    pub set: Option<SetId>,
    /// Entries of the index that are looked at, and no more than [`SCAN_RECORDS_MAX`].
    pub entries_max: usize,
    /// Records that are read.
    pub records_max: usize,
    /// Bytes that are read from devices, but for a single larger record.
    pub read_bytes_max: u64,
}

/// One step of a scan.
#[derive(Debug)]
pub struct ScanPage {
    /// Records in the order of their positions, and those that cannot be read in their places.
    pub records: Vec<Result<Record, DamagedRecord>>,
    /// Where to go on; `None` at the partition's end.
    pub next: Option<ScanPosition>,
    /// Entries of the index that were looked at.
    pub entries: usize,
    /// Bytes that were read for it, as the index knows the records' lengths.
    pub read_bytes: u64,
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
        self.settle().await;
        let bounds = ScanBounds {
            set: None,
            entries_max: count_max,
            records_max: count_max,
            read_bytes_max: u64::MAX,
        };
        self.scan_within(partition, from, &bounds).await
    }

    /// Waits until everything that was answered ahead of the device is in the index, where scans look.
    pub async fn settle(&self) {
        self.core().settle_acknowledged().await;
    }

    /// [`Shard::scan`] within bounds. What was written buffered and is not settled yet is not seen.
    ///
    /// # Errors
    /// As [`Shard::scan`].
    pub async fn scan_within(
        &self,
        partition: PartitionId,
        from: ScanPosition,
        bounds: &ScanBounds,
    ) -> Result<ScanPage, ReadError> {
        let core = self.core();
        if core.stale.get() {
            return Err(ReadError::MayBeStale);
        }
        let mut found = Vec::new();
        let entries_max = bounds.entries_max.clamp(1, SCAN_RECORDS_MAX);
        let (end, entries) = core.scan_index(partition, from, entries_max, &mut found);
        found.retain(|scanned| bounds.set.is_none_or(|set| scanned.entry.set == set));
        let cut = cut(&mut found, bounds);
        let mut page = ScanPage {
            records: Vec::with_capacity(found.len()),
            next: cut.or(end),
            entries,
            read_bytes: found.iter().map(read_bytes_of).sum(),
        };
        let reads = stream::iter(found)
            .map(|scanned| async move {
                let position = scanned.position;
                (position, read_scanned(core, partition, scanned).await)
            })
            .buffered(SCAN_READS_IN_FLIGHT);
        let mut reads = pin!(reads);
        // Where the records of the position begin that is being read, and the entries that were met there.
        let mut of_position = (from, 0);
        let mut here = Vec::new();
        while let Some((position, read)) = reads.next().await {
            if position != of_position.0 {
                of_position = (position, page.records.len());
                here.clear();
            }
            match read {
                Ok(met) => {
                    for (address, met) in met {
                        if !here.contains(&address)
                            && !has_key_of(&page.records, of_position.1, &met)
                        {
                            here.push(address);
                            page.records.push(met);
                        }
                    }
                }
                Err(error) => {
                    // Keys of one position are not divided between pages.
                    page.records.truncate(of_position.1);
                    if page.records.is_empty() {
                        return Err(error);
                    }
                    page.next = Some(position);
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }
}

/// Shortens what was found to what may be read, and gives the position of the first that is left out. Keys of
/// one position are not divided.
fn cut(found: &mut Vec<Scanned>, bounds: &ScanBounds) -> Option<ScanPosition> {
    let mut bytes: u64 = 0;
    let mut last = None;
    for (index, scanned) in found.iter().enumerate() {
        let length_bytes = read_bytes_of(scanned);
        let is_over = index >= bounds.records_max.max(1)
            || bytes.saturating_add(length_bytes) > bounds.read_bytes_max;
        let position = scanned.position;
        if is_over && last.is_some_and(|last| last != position) {
            found.truncate(index);
            return Some(position);
        }
        bytes = bytes.saturating_add(length_bytes);
        last = Some(position);
    }
    None
}

fn read_bytes_of(scanned: &Scanned) -> u64 {
    scanned.entry.length.bytes_max().into()
}

impl ShardCore {
    /// The next entries of the index, but for those of truncated records, and where to go on; how many there
    /// were.
    pub(crate) fn scan_index(
        &self,
        partition: PartitionId,
        from: ScanPosition,
        count_max: usize,
        found: &mut Vec<Scanned>,
    ) -> (Option<ScanPosition>, usize) {
        let state = self.state.borrow();
        let next = state.index.scan(partition, from, count_max, found);
        let entries = found.len();
        found.retain(|scanned| {
            !state
                .truncations
                .has_deleted(&state.segments, &scanned.entry)
        });
        (next, entries)
    }
}

/// What a scan met: a record, or one that cannot be read.
type Met = Result<Record, DamagedRecord>;

/// The records of an entry that a scan met: one, or none if it is gone or expired. If the entry has changed meanwhile, those of all
/// entries that its position has now: which of them is the key's only their records tell. An error if one cannot be
/// read just now, and may be later.
async fn read_scanned(
    core: &ShardCore,
    partition: PartitionId,
    scanned: Scanned,
) -> Result<Vec<(RecordAddress, Met)>, ReadError> {
    let position = scanned.position;
    let mut entries = vec![scanned.entry];
    for _ in 0..READ_ATTEMPTS_MAX {
        let mut met = Vec::with_capacity(entries.len());
        let mut has_changed = false;
        for entry in &entries {
            match read_entry(core, (partition, position), entry).await? {
                Read::Met(record) => met.push((entry.address, record)),
                Read::Expired => {}
                Read::Changed => {
                    has_changed = true;
                    break;
                }
            }
        }
        if !has_changed {
            return Ok(met);
        }
        entries = entries_at(core, partition, position);
    }
    Err(ReadError::Busy)
}

/// How the read of one entry went.
enum Read {
    Met(Met),
    Expired,
    /// It is not the index's any more.
    Changed,
}

async fn read_entry(
    core: &ShardCore,
    (partition, position): (PartitionId, ScanPosition),
    entry: &Entry,
) -> Result<Read, ReadError> {
    if core.clock.is_past(entry.expiry) {
        return Ok(Read::Expired);
    }
    if let Some(record) = core.glimpse(entry) {
        return Ok(Read::Met(Ok(record)));
    }
    let error = match core.read_place(entry).await {
        Ok(record) if is_of(&record, (partition, position), entry) => {
            return Ok(Read::Met(Ok(record)));
        }
        Ok(_) => ReadError::Misdirected,
        Err(error) => error,
    };
    // The record may have been rewritten and its segment reused while it was read, or before.
    let now = entries_at(core, partition, position);
    if !now.iter().any(|candidate| is_same(candidate, entry)) {
        return Ok(Read::Changed);
    }
    match error {
        ReadError::Buffer(_) | ReadError::Busy | ReadError::MayBeStale => Err(error),
        ReadError::Damaged(_)
        | ReadError::Misdirected
        | ReadError::Device(_)
        | ReadError::Address => {
            let damaged = core.damaged(partition, (position, entry), error).await;
            Ok(Read::Met(Err(damaged)))
        }
    }
}

/// What the index has at a position.
fn entries_at(core: &ShardCore, partition: PartitionId, position: ScanPosition) -> Vec<Entry> {
    let mut now = Vec::new();
    core.scan_index(partition, position, 1, &mut now);
    let here = now.iter().filter(|now| now.position == position);
    here.map(|now| now.entry).collect()
}

/// Whether the record is the one that the entry is of.
pub(crate) fn is_of(
    record: &Record,
    (partition, position): (PartitionId, ScanPosition),
    entry: &Entry,
) -> bool {
    let digest = record.digest();
    digest.partition() == partition
        && ScanPosition::of(digest) == position
        && record.metadata().generation == entry.generation
}

/// True if a record of the same key is among `records` from `start` on.
fn has_key_of(records: &[Met], start: usize, met: &Met) -> bool {
    let is_key = |known: &Met| match (known, met) {
        (Ok(known), Ok(record)) => known.digest() == record.digest(),
        (Ok(_) | Err(_), _) => false,
    };
    records.get(start..).unwrap_or_default().iter().any(is_key)
}
