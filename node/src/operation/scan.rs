//! Scan: one page of the records of some partitions of one shard, resumed by a token. A record that cannot
//! be read is named on the page, and the scan goes on behind it.
//!
//! A page has a bound in what it holds and in what it costs: entries looked at, bytes read. Past either it ends
//! where it is, perhaps empty. It is made in small steps, between which others have their turn.
//!
//! The token is the position in the first partition of the list, eight bytes little-endian. It stays
//! good however the table changes, and across restarts: a position is a function of a digest.

use std::cell::Cell;

use corelith_index::{PartitionId, ScanPosition, SetId};
use corelith_store::{DamagedRecord, Record, ScanBounds, Shard};
use corelith_wire::{
    Answer, BinSelection, Refusal, ScanPageBuilder, ScanRecord, ScanRequest, Status,
};

use super::Outcome;
use super::get::{metadata_of, select};
use super::terms::Terms;
use crate::limits::{
    PIECE_BYTES, SCAN_ENTRIES_PER_STEP, SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ENTRIES_MAX,
    SCAN_PAGE_READ_BYTES_MAX, SCAN_PAGE_RECORDS_MAX, SCAN_PAGES_PER_CORE_MAX, SCAN_RETRY_AFTER_MS,
    SCAN_STEP_ENTRIES_MAX, SCAN_STEP_READ_BYTES_MAX, SCAN_STEP_RECORDS_MAX,
};
use crate::namespaces::ServedNamespace;
use crate::pace::{Turn, yield_now};
use crate::refusal;

/// A page that is to be answered.
pub(crate) struct Page(ScanPageBuilder);

impl Page {
    /// The answer.
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer::Page(self.0.page())
    }
}

/// A page that is being made.
struct Maker<'a> {
    shard: &'a Shard,
    scan: &'a ScanRequest<'a>,
    /// Only records of this set.
    set: Option<SetId>,
    records_max: usize,
    bytes_max: usize,
    page: ScanPageBuilder,
    partitions_done: u16,
    position: ScanPosition,
    /// What it has looked at and read so far.
    entries: usize,
    read_bytes: u64,
}

/// Whether a page goes on.
enum Step {
    /// With the same partition.
    On,
    /// With the next partition.
    PartitionDone,
    /// It does not.
    Full,
}

pub(super) async fn run(
    (namespace, shard): (&ServedNamespace, &Shard),
    scan: &ScanRequest<'_>,
    terms: Terms<'_>,
) -> Outcome {
    let Some(_under_way) = UnderWay::begin(&namespace.scan_pages) else {
        let refusal = Refusal::new(Status::Busy).retry_after(SCAN_RETRY_AFTER_MS);
        return Outcome::Refused(
            refusal.explained("the core makes as many pages of scans as it can"),
        );
    };
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
        Some("") => Some(SetId::NONE),
        Some(name) => match shard.known_set(name) {
            Some(set) => Some(set),
            // A set that was never seen here has no records: the scan is done at once.
            None => return Outcome::Page(Box::new(Page::end_of(scan))),
        },
    };
    shard.settle().await;
    let maker = Maker {
        shard,
        scan,
        set,
        records_max: lesser(scan.records_max, SCAN_PAGE_RECORDS_MAX),
        bytes_max: lesser(scan.payload_length_bytes_max, SCAN_PAGE_BYTES_MAX),
        page: ScanPageBuilder::new(),
        partitions_done: 0,
        position,
        entries: 0,
        read_bytes: 0,
    };
    match maker.make(terms).await {
        Ok(page) => Outcome::Page(Box::new(page)),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

/// What the client asks for, if it is less than the most; 0 leaves it to the node.
fn lesser(asked: u32, max: usize) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => max,
        Ok(asked) => asked.min(max),
    }
}

impl Page {
    /// The page of a scan that finds nothing at all.
    fn end_of(scan: &ScanRequest<'_>) -> Self {
        let mut page = ScanPageBuilder::new();
        let partition_count = u16::try_from(scan.partitions.len()).unwrap_or(u16::MAX);
        page.end(partition_count, &[]);
        Self(page)
    }
}

impl Maker<'_> {
    /// Walks through the partitions until the page is full or has cost as much as a page may.
    async fn make(mut self, terms: Terms<'_>) -> Result<Page, Refusal<'static>> {
        let clock = terms.deadline.clock();
        let mut turn = Turn::new(clock, clock.monotonic_ns());
        let mut partitions = self.scan.partitions.iter();
        let mut current = partitions.next();
        while let Some(partition) = current {
            match self.step(partition, &mut turn).await? {
                Step::On => {}
                Step::PartitionDone => {
                    self.partitions_done = self.partitions_done.saturating_add(1);
                    self.position = ScanPosition::START;
                    current = partitions.next();
                }
                Step::Full => break,
            }
            turn.rest().await;
            // A client that has stopped waiting asks for no more than what there is.
            if self.has_cost_enough() || terms.deadline.check().is_err() {
                break;
            }
        }
        let token = self.position.get().to_le_bytes();
        let resume: &[u8] = if self.position == ScanPosition::START {
            &[]
        } else {
            &token
        };
        self.page.end(self.partitions_done, resume);
        Ok(Page(self.page))
    }

    fn has_cost_enough(&self) -> bool {
        self.entries >= SCAN_PAGE_ENTRIES_MAX || self.read_bytes >= SCAN_PAGE_READ_BYTES_MAX
    }

    /// Adds the next records of a partition.
    async fn step(
        &mut self,
        partition: PartitionId,
        turn: &mut Turn<'_>,
    ) -> Result<Step, Refusal<'static>> {
        let room = self.records_max.saturating_sub(self.page.len());
        if room == 0 {
            return Ok(Step::Full);
        }
        let bounds = ScanBounds {
            set: self.set,
            entries_max: SCAN_STEP_ENTRIES_MAX,
            records_max: room.min(SCAN_STEP_RECORDS_MAX),
            read_bytes_max: SCAN_STEP_READ_BYTES_MAX,
        };
        let scanned = self
            .shard
            .scan_within(partition, self.position, &bounds)
            .await;
        let step = match scanned {
            Ok(step) => step,
            // What was read is not thrown away: who asks for the next page is refused.
            Err(_) if !self.page.is_empty() => return Ok(Step::Full),
            Err(error) => return Err(refusal::of_read(&error)),
        };
        self.entries = self.entries.saturating_add(step.entries).saturating_add(1);
        self.read_bytes = self.read_bytes.saturating_add(step.read_bytes);
        let steps = 1 + step.records.len() + step.entries / SCAN_ENTRIES_PER_STEP;
        turn.did(
            u32::try_from(steps).unwrap_or(u32::MAX),
            usize::try_from(step.read_bytes).unwrap_or(usize::MAX),
        );
        for met in &step.records {
            if let Err(here) = self.add(met).await {
                self.position = here;
                return Ok(Step::Full);
            }
        }
        Ok(match step.next {
            Some(next) => {
                self.position = next;
                Step::On
            }
            None => Step::PartitionDone,
        })
    }

    /// Puts what was met on the page; where it stands if it has no place there. Records of one position are never
    /// divided between pages unless they do not fit.
    async fn add(&mut self, met: &Result<Record, DamagedRecord>) -> Result<(), ScanPosition> {
        let (of_set, here, content_bytes) = match met {
            Ok(record) => (
                record.metadata().set,
                ScanPosition::of(record.digest()),
                record.content().len(),
            ),
            Err(damaged) => (damaged.set, damaged.digest.position(), 0),
        };
        // It may have been written anew, into another set, since the index was asked.
        if self.set.is_some_and(|set| of_set != set) {
            return Ok(());
        }
        let is_full = self.page.len() >= self.records_max
            || (!self.page.is_empty()
                && self.page.payload_length_bytes() + content_bytes > self.bytes_max);
        if is_full {
            return Err(here);
        }
        let pushed = match met {
            Ok(record) => push(&mut self.page, self.shard, record, &self.scan.selection).await,
            Err(damaged) => push_damaged(&mut self.page, self.shard, damaged),
        };
        pushed.map_err(|()| here)
    }
}

/// One page under way: counted from its beginning to its end, however it ends.
struct UnderWay<'a>(&'a Cell<usize>);

impl<'a> UnderWay<'a> {
    /// `None` if as many are under way as may be.
    fn begin(pages: &'a Cell<usize>) -> Option<Self> {
        let count = pages.get();
        (count < SCAN_PAGES_PER_CORE_MAX).then(|| {
            pages.set(count + 1);
            Self(pages)
        })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
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
