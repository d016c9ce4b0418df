//! Reading many records: a scan asks several shards for pages at a time and hands out records one by one,
//! those that the node could not read among them: they are named, and the scan goes on.
//! The next page is asked for only when there is room for it, so a slow reader slows the node down and
//! fills no memory. The node keeps nothing between two pages, so a broken connection costs one page.

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corelith_index::{Digest, KnownDigest, PartitionId};
use corelith_wire::{
    Answer, BinNames, BinSelection, Damage, FrameHeader, PartitionList, Request, ScanRequest,
    Status,
};

use tokio::time::Instant;

use crate::client::decode;
use crate::error::{Error, Refused, Unreadable};
use crate::limits::{SCAN_PAGE_LENGTH_BYTES, SCAN_PAGE_RECORD_COUNT};
use crate::namespace::Namespace;
use crate::record::Record;

/// What a scan reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanOptions {
    /// Only records of this set; `None` for all, the empty name for records without a set.
    pub set: Option<String>,
    /// Which bins of each record.
    pub bins: ScanBins,
    /// Only these partitions; `None` for all.
    pub partitions: Option<Vec<PartitionId>>,
    /// Records that a page has at most.
    pub page_record_count: u32,
    /// Payload that a page has at most, but for a single larger record, in bytes.
    pub page_length_bytes: u32,
    /// Shards that are read at the same time, each one page ahead; at least 1.
    pub parallel_count: usize,
    /// Stop after so many records; those that cannot be read do not count. `None` for all.
    pub record_count_max: Option<u64>,
    /// Records a second that are not to be passed, for a scan that is to leave the node to others. Pages are
    /// then asked for one at a time, each when the ones before it have had their time. `None` for no limit.
    pub records_per_second: Option<NonZeroU32>,
}

/// Which bins of each record a scan reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanBins {
    /// All.
    All,
    /// Those of these that a record has; none at all for the keys alone.
    Named(Vec<String>),
    /// None, and no key: metadata alone.
    MetadataOnly,
}

impl Default for ScanOptions {
    fn default() -> Self {
        ScanOptions {
            set: None,
            bins: ScanBins::All,
            partitions: None,
            page_record_count: SCAN_PAGE_RECORD_COUNT,
            page_length_bytes: SCAN_PAGE_LENGTH_BYTES,
            parallel_count: 4,
            record_count_max: None,
            records_per_second: None,
        }
    }
}

impl ScanOptions {
    /// With pages no longer than what is wanted in all, or in a tenth of a second at the rate asked for.
    fn with_fitting_pages(mut self) -> Self {
        let wanted = self.record_count_max.unwrap_or(u64::MAX);
        let rate = self.records_per_second.map(|rate| rate.get() / 10);
        let longest = wanted.min(rate.map_or(u64::MAX, u64::from)).max(1);
        let asked = match self.page_record_count {
            0 => SCAN_PAGE_RECORD_COUNT,
            asked => asked,
        };
        self.page_record_count = u32::try_from(longest).map_or(asked, |longest| longest.min(asked));
        self
    }
}

/// One record of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannedRecord {
    /// Its identity.
    pub digest: Digest,
    /// The name of its set; empty for none.
    pub set: Arc<str>,
    /// Metadata and bins.
    pub record: Record,
}

/// A record that the node has and cannot read: a get of it is refused with [`Status::Damaged`], a put or a
/// delete of its key repairs it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record {digest} is damaged: {damage}")]
pub struct DamagedRecord {
    /// Its identity, as far as the node can tell.
    pub digest: KnownDigest,
    /// The name of its set; empty for none.
    pub set: Arc<str>,
    /// What is wrong.
    pub damage: Damage,
}

/// What a scan comes upon.
#[derive(Clone, Debug, PartialEq)]
pub enum Scanned {
    /// A record.
    Record(ScannedRecord),
    /// One that cannot be read. The scan goes on; what it reads is not the whole.
    Damaged(DamagedRecord),
}

impl Scanned {
    /// The record, or the damaged one as an error, for those who can do nothing with an incomplete whole.
    ///
    /// # Errors
    ///
    /// The record is damaged.
    pub fn readable(self) -> Result<ScannedRecord, DamagedRecord> {
        match self {
            Scanned::Record(record) => Ok(record),
            Scanned::Damaged(damaged) => Err(damaged),
        }
    }
}

/// One page of one partition, for those who keep for themselves how far they are: see
/// [`Namespace::scan_page`].
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionPage {
    /// What is on it; perhaps nothing, though the partition goes on.
    pub found: Vec<Scanned>,
    /// What to ask for the next page with.
    pub resume: Vec<u8>,
    /// There is no next page.
    pub is_last: bool,
}

impl Namespace {
    /// Reads a page of one partition: its first with an empty `resume`, the next with that of the page before.
    /// A program that was interrupted may go on with one that it kept, over restarts of the node too.
    /// A record that is there from the first page to the last is met exactly once, in one of its versions.
    /// Of the options, those for partitions and for reading in parallel have no say.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but doubt.
    pub async fn scan_page(
        &self,
        partition: PartitionId,
        resume: &[u8],
        options: &Arc<ScanOptions>,
    ) -> Result<PartitionPage, Error> {
        let cursor = Cursor {
            partitions: vec![partition],
            resume: resume.to_vec(),
        };
        let fetched = fetch(self.clone(), Arc::clone(options), cursor).await?;
        Ok(PartitionPage {
            found: fetched.found,
            is_last: fetched.cursor.partitions.is_empty(),
            resume: fetched.cursor.resume,
        })
    }
}

/// A scan under way; a stream of records. After an error it ends; a damaged record is no error.
///
/// ```
/// # use corelith_client::mock::MockNode;
/// # use corelith_client::{Client, ClientOptions, ContentBuilder, Error, Scanned};
/// # let node = MockNode::start();
/// # let address = node.address().to_string();
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// # let client = Client::connect(&address, ClientOptions::default()).await?;
/// # let hits = client.namespace("test").set("hits");
/// # hits.put(1, &ContentBuilder::new().bin("count", 7)).await?;
/// # hits.put(2, &ContentBuilder::new().bin("count", 5)).await?;
/// let mut scan = hits.scan();
/// let mut total = 0;
/// while let Some(found) = scan.next().await? {
///     match found {
///         Scanned::Record(found) => {
///             if let Some(corelith_client::ValueRef::Integer(count)) = found.record.get("count") {
///                 total += count;
///             }
///         }
///         Scanned::Damaged(damaged) => eprintln!("{damaged}"),
///     }
/// }
/// assert_eq!(total, 12);
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Scan {
    namespace: Namespace,
    options: Arc<ScanOptions>,
    is_started: bool,
    waiting: VecDeque<Cursor>,
    running: Vec<Fetch>,
    page: std::vec::IntoIter<Scanned>,
    /// Records that may still be handed out.
    left_count: u64,
    /// When the next page may be asked for, where there is a rate.
    next_page: Option<Instant>,
}

/// How far the partitions of one shard have been read.
#[derive(Debug)]
struct Cursor {
    partitions: Vec<PartitionId>,
    resume: Vec<u8>,
}

/// One page on its way.
struct Fetch(Pin<Box<dyn Future<Output = Result<Fetched, Error>> + Send>>);

struct Fetched {
    found: Vec<Scanned>,
    cursor: Cursor,
}

impl Scan {
    pub(crate) fn new(namespace: Namespace, options: ScanOptions) -> Self {
        let left_count = options.record_count_max.unwrap_or(u64::MAX);
        Scan {
            namespace,
            options: Arc::new(options.with_fitting_pages()),
            is_started: false,
            waiting: VecDeque::new(),
            running: Vec::new(),
            page: Vec::new().into_iter(),
            left_count,
            next_page: None,
        }
    }

    /// The next record, or one that cannot be read; `None` at the end of all.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but doubt. The scan is over then.
    pub async fn next(&mut self) -> Result<Option<Scanned>, Error> {
        std::future::poll_fn(|context| self.poll_record(context))
            .await
            .transpose()
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Scanned, Error>>> {
        if !self.is_started {
            self.is_started = true;
            if let Err(error) = self.start() {
                return Poll::Ready(Some(Err(error)));
            }
        }
        loop {
            if self.left_count == 0 {
                self.waiting.clear();
                self.running.clear();
                return Poll::Ready(None);
            }
            if let Some(found) = self.page.next() {
                if matches!(found, Scanned::Record(_)) {
                    self.left_count -= 1;
                }
                self.fill();
                return Poll::Ready(Some(Ok(found)));
            }
            self.fill();
            if self.running.is_empty() {
                return Poll::Ready(None);
            }
            match self.poll_page(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(fetched)) => {
                    self.keep_pace(fetched.found.len());
                    self.page = fetched.found.into_iter();
                    if !fetched.cursor.partitions.is_empty() {
                        self.waiting.push_back(fetched.cursor);
                    }
                }
                Poll::Ready(Err(error)) => {
                    self.waiting.clear();
                    self.running.clear();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// Cuts the partitions into one list for each shard.
    fn start(&mut self) -> Result<(), Error> {
        let name = self.namespace.name();
        let routes = self.namespace.client().routes();
        let namespace = routes
            .namespace(name)
            .ok_or_else(|| Error::UnknownNamespace {
                name: name.to_owned(),
            })?;
        let mut partitions: Vec<PartitionId> = match &self.options.partitions {
            Some(partitions) => partitions.clone(),
            None => PartitionId::all().collect(),
        };
        partitions.sort_unstable();
        partitions.dedup();
        for shard in 0..namespace.shard_count {
            let of_shard =
                |partition: &PartitionId| partition.get() % namespace.shard_count == shard;
            let partitions: Vec<_> = partitions.iter().copied().filter(of_shard).collect();
            if !partitions.is_empty() {
                self.waiting.push_back(Cursor {
                    partitions,
                    resume: Vec::new(),
                });
            }
        }
        Ok(())
    }

    /// Asks for pages until as many are on their way as may be.
    fn fill(&mut self) {
        let parallel_count = match self.options.records_per_second {
            Some(_) => 1,
            None => self.options.parallel_count.max(1),
        };
        while self.running.len() < parallel_count {
            let Some(cursor) = self.waiting.pop_front() else {
                return;
            };
            let fetch = fetch(self.namespace.clone(), Arc::clone(&self.options), cursor);
            let at = self.next_page;
            self.running.push(Fetch(Box::pin(async move {
                if let Some(at) = at {
                    tokio::time::sleep_until(at).await;
                }
                fetch.await
            })));
        }
    }

    /// Puts the next page off by the time that these records have at the rate asked for.
    fn keep_pace(&mut self, record_count: usize) {
        let Some(rate) = self.options.records_per_second else {
            return;
        };
        let now = Instant::now();
        self.next_page = Some(due_after(record_count, rate, (self.next_page, now)));
    }

    fn poll_page(&mut self, context: &mut Context<'_>) -> Poll<Result<Fetched, Error>> {
        for index in 0..self.running.len() {
            if let Poll::Ready(fetched) = self.running[index].0.as_mut().poll(context) {
                drop(self.running.swap_remove(index));
                return Poll::Ready(fetched);
            }
        }
        Poll::Pending
    }
}

/// When the page after one of so many records is due, which was due itself at `due`, if there was one before
/// it. Time that went by while nobody read is not made up for.
fn due_after(
    record_count: usize,
    rate: NonZeroU32,
    (due, now): (Option<Instant>, Instant),
) -> Instant {
    let time = Duration::from_secs_f64(record_count as f64 / f64::from(rate.get()));
    due.map_or(now, |due| due.max(now)) + time
}

impl futures_util::Stream for Scan {
    type Item = Result<Scanned, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(context)
    }
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fetch")
    }
}

async fn fetch(
    namespace: Namespace,
    options: Arc<ScanOptions>,
    cursor: Cursor,
) -> Result<Fetched, Error> {
    let names: Vec<&str> = match &options.bins {
        ScanBins::Named(names) => names.iter().map(String::as_str).collect(),
        ScanBins::All | ScanBins::MetadataOnly => Vec::new(),
    };
    let selection = match &options.bins {
        ScanBins::All => BinSelection::All,
        ScanBins::Named(_) => BinSelection::Named(BinNames::new(&names)),
        ScanBins::MetadataOnly => BinSelection::MetadataOnly,
    };
    let request = Request::Scan(ScanRequest {
        partitions: PartitionList::new(&cursor.partitions),
        resume: &cursor.resume,
        set: options.set.as_deref(),
        selection,
        records_max: options.page_record_count,
        payload_length_bytes_max: options.page_length_bytes,
    });
    let client = namespace.client();
    let (header, body) = client
        .call(Some(namespace.name()), &request, take_page)
        .await?;
    read_page(&header, &body, cursor).map_err(Error::Unreadable)
}

/// Takes the body out of the slot unread: a page is too long to read under the connection's lock.
fn take_page(
    header: &FrameHeader,
    body: &mut Vec<u8>,
) -> Result<Result<(FrameHeader, Vec<u8>), Refused>, Unreadable> {
    if header.status_number() == Status::Ok.number() {
        return Ok(Ok((*header, std::mem::take(body))));
    }
    decode(header, body, |_| None)
}

fn read_page(header: &FrameHeader, body: &[u8], cursor: Cursor) -> Result<Fetched, Unreadable> {
    let found = header.kind_number();
    let Answer::Page(page) = Answer::decode(header, body)? else {
        return Err(Unreadable::Kind {
            expected: found,
            found,
        });
    };
    let mut all = Vec::with_capacity(page.len() + page.damaged_count());
    let mut set: Arc<str> = Arc::from("");
    let mut name = |name: &str| {
        if *set != *name {
            set = Arc::from(name);
        }
        Arc::clone(&set)
    };
    for found in page.records() {
        let content = found.content.to_vec();
        let end = content.len();
        all.push(Scanned::Record(ScannedRecord {
            digest: found.digest,
            set: name(found.set),
            record: Record::new(found.metadata, content, 0, end)?,
        }));
    }
    for found in page.damaged() {
        all.push(Scanned::Damaged(DamagedRecord {
            digest: found.digest,
            set: name(found.set),
            damage: found.damage,
        }));
    }
    let done_count = usize::from(page.partitions_done()).min(cursor.partitions.len());
    if done_count == 0 && all.is_empty() && page.resume() == cursor.resume {
        return Err(Unreadable::NoProgress);
    }
    let mut partitions = cursor.partitions;
    partitions.drain(..done_count);
    Ok(Fetched {
        found: all,
        cursor: Cursor {
            partitions,
            resume: page.resume().to_vec(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_the_time_of_its_records() {
        let rate = NonZeroU32::new(50).unwrap();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let first = due_after(100, rate, (None, now));
        assert_eq!(first, now + 2 * second);
        // It came early: the next one waits for both.
        assert_eq!(due_after(25, rate, (Some(first), now)), first + second / 2);
        // It was read late: the rate holds from then on.
        let late = first + 9 * second;
        assert_eq!(due_after(50, rate, (Some(first), late)), late + second);
        assert_eq!(due_after(0, rate, (None, now)), now);
    }

    #[test]
    fn pages_are_no_longer_than_what_is_wanted() {
        let length = |page_record_count, record_count_max, rate| {
            let options = ScanOptions {
                page_record_count,
                record_count_max,
                records_per_second: NonZeroU32::new(rate),
                ..ScanOptions::default()
            };
            options.with_fitting_pages().page_record_count
        };
        assert_eq!(length(1000, None, 0), 1000);
        assert_eq!(length(1000, Some(7), 0), 7);
        assert_eq!(length(1000, Some(0), 0), 1);
        assert_eq!(length(1000, None, 500), 50);
        assert_eq!(length(20, Some(100), 500), 20);
        assert_eq!(length(0, Some(3), 1), 1);
        assert_eq!(length(1000, Some(u64::MAX), 0), 1000);
    }
}
