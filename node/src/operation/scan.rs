//! Scan: one page of the records of some partitions of one shard, resumed by a token. A record that cannot
//! be read is named on the page, and the scan goes on behind it.
//!
//! The token is the position in the first partition of the list, eight bytes little-endian. It stays
//! good however the table changes, and across restarts: a position is a function of a digest.

use corelith_index::{PartitionId, ScanPosition, SetId};
use corelith_store::{DamagedRecord, Record, Shard};
use corelith_wire::{
    Answer, BinSelection, Refusal, ScanPageBuilder, ScanRecord, ScanRequest, Status,
};

use super::Outcome;
use super::get::{metadata_of, select};
use crate::limits::{PIECE_BYTES, SCAN_PAGE_BYTES_MAX, SCAN_PAGE_RECORDS_MAX};
use crate::pace::yield_now;
use crate::refusal;

/// A page that is to be answered.
pub(crate) struct Page(ScanPageBuilder);

impl Page {
    /// The answer.
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer::Page(self.0.page())
    }
}

/// Where the page stands.
struct Progress {
    partitions_done: u16,
    position: ScanPosition,
}

pub(super) async fn run(shard: &Shard, scan: &ScanRequest<'_>) -> Outcome {
    let position = match scan.resume {
        [] => ScanPosition::START,
        token => match token.first_chunk::<8>() {
            Some(number) if token.len() == 8 => {
                ScanPosition::from_number(u64::from_le_bytes(*number))
            }
            _ => {
                return Outcome::Refused(
                    Refusal::new(Status::InvalidArgument)
                        .explained("the resume token is not one of this node's"),
                );
            }
        },
    };
    let set = match scan.set {
        None => None,
        Some("") => Some(Some(SetId::NONE)),
        Some(name) => Some(shard.known_set(name)),
    };
    let mut page = ScanPageBuilder::new();
    let mut progress = Progress {
        partitions_done: 0,
        position,
    };
    // A set that was never seen here has no records: the scan is done at once.
    if set == Some(None) {
        page.end(
            u16::try_from(scan.partitions.len()).unwrap_or(u16::MAX),
            &[],
        );
        return Outcome::Page(Box::new(Page(page)));
    }
    for partition in scan.partitions.iter() {
        match fill(
            shard,
            scan,
            (partition, set.flatten()),
            &mut page,
            &mut progress,
        )
        .await
        {
            Ok(true) => {}
            Ok(false) => break,
            Err(refusal) => return Outcome::Refused(refusal),
        }
    }
    let token = progress.position.get().to_le_bytes();
    let resume: &[u8] = if progress.position == ScanPosition::START {
        &[]
    } else {
        &token
    };
    page.end(progress.partitions_done, resume);
    Outcome::Page(Box::new(Page(page)))
}

/// Adds records of one partition; true if it was read to its end.
async fn fill(
    shard: &Shard,
    scan: &ScanRequest<'_>,
    (partition, set): (PartitionId, Option<SetId>),
    page: &mut ScanPageBuilder,
    progress: &mut Progress,
) -> Result<bool, Refusal<'static>> {
    let records_max = match usize::try_from(scan.records_max) {
        Ok(0) | Err(_) => SCAN_PAGE_RECORDS_MAX,
        Ok(wanted) => wanted.min(SCAN_PAGE_RECORDS_MAX),
    };
    let bytes_max = match usize::try_from(scan.payload_length_bytes_max) {
        Ok(0) | Err(_) => SCAN_PAGE_BYTES_MAX,
        Ok(wanted) => wanted.min(SCAN_PAGE_BYTES_MAX),
    };
    loop {
        let room = records_max.saturating_sub(page.len());
        if room == 0 {
            return Ok(false);
        }
        let step = match shard.scan(partition, progress.position, room.min(64)).await {
            Ok(step) => step,
            // What was read is not thrown away: who asks for the next page is refused.
            Err(_) if !page.is_empty() => return Ok(false),
            Err(error) => return Err(refusal::of_read(&error)),
        };
        let mut copied_bytes = 0;
        for met in step.records {
            if copied_bytes > PIECE_BYTES {
                yield_now().await;
                copied_bytes = 0;
            }
            let (of_set, here, content_bytes) = match &met {
                Ok(record) => (
                    record.metadata().set,
                    ScanPosition::of(record.digest()),
                    record.content().len(),
                ),
                Err(damaged) => (damaged.set, damaged.digest.position(), 0),
            };
            if set.is_some_and(|set| of_set != set) {
                continue;
            }
            copied_bytes += content_bytes;
            let full = page.len() >= records_max
                || (!page.is_empty() && page.payload_length_bytes() + content_bytes > bytes_max);
            let pushed = match &met {
                _ if full => Err(()),
                Ok(record) => push(page, shard, record, &scan.selection).await,
                Err(damaged) => push_damaged(page, shard, damaged),
            };
            // Records of one position are never divided between pages unless they do not fit.
            if pushed.is_err() {
                progress.position = here;
                return Ok(false);
            }
        }
        match step.next {
            Some(next) => progress.position = next,
            None => {
                progress.partitions_done = progress.partitions_done.saturating_add(1);
                progress.position = ScanPosition::START;
                return Ok(true);
            }
        }
    }
}

async fn push(
    page: &mut ScanPageBuilder,
    shard: &Shard,
    record: &Record,
    selection: &BinSelection<'_>,
) -> Result<(), ()> {
    let part = select(record, selection).await.map_err(|_| ())?;
    let set = shard.set_name(record.metadata().set);
    let content = part.as_deref().unwrap_or(record.content());
    let record = ScanRecord {
        digest: *record.digest(),
        metadata: metadata_of(record),
        set: &set,
        content,
    };
    if content.len() <= PIECE_BYTES {
        return page.push(&record).map_err(|_| ());
    }
    page.push_head(&record).map_err(|_| ())?;
    for piece in content.chunks(PIECE_BYTES) {
        yield_now().await;
        page.push_content(piece);
    }
    Ok(())
}

fn push_damaged(
    page: &mut ScanPageBuilder,
    shard: &Shard,
    damaged: &DamagedRecord,
) -> Result<(), ()> {
    let set = shard.set_name(damaged.set);
    let record = corelith_wire::DamagedRecord {
        digest: damaged.digest,
        set: &set,
        damage: refusal::damage_of(&damaged.error),
    };
    page.push_damaged(&record).map_err(|_| ())
}
