//! Pages of checkpoints into the index: the newest over each range, read in one pass, newest segment first.
//!
//! Of a page's entries those count whose record still stands in the log: its segment holds log, and began no later than
//! the page's LSN. What is wrong with a page costs that page; when pages do not cover everything, or
//! contradict what segments say that they hold, the start is a scan.

use std::collections::HashSet;
use std::ops::Range;

use corelith_index::{ExpirySeconds, ImageEntry, RecordAddress, RecordLength, SetId};
use corelith_io::DmaBuffer;
use futures_util::stream::{self, StreamExt};

use super::data::read_range;
use super::headers::{Headers, Vouched};
use super::replay::Replayed;
use super::{LogSegment, RecoveryReport};
use crate::checkpoint::{PageMap, Uncovered, point_of};
use crate::format::checkpoint_page::{PAGE_HEADER_BYTES, PageHeader, PageKind, PagePoint};
use crate::format::checkpoint_sets::{ItemTruncation, SetItem};
use crate::format::fields::{u32_of, usize_of};
use crate::format::record_header::{GRANULE_BYTES, RecordFlags};
use crate::format::segment_header::SEGMENT_HEADER_COPIES;
use crate::format::summary::RecordRow;
use crate::limits::RECOVERY_CHECKPOINTS_IN_FLIGHT;
use crate::place::{RecordPlace, SegmentNumber};
use crate::segments::{LoadedLive, Settled};
use crate::sets::DefinitionPlace;
use crate::state::{ShardCore, State};
use crate::store_clock::expired_at;
use crate::{Lsn, OpenError, Version};

/// What pages have brought.
pub(super) struct Loaded {
    pub(super) pages: PageMap,
    /// Segments with pages that count.
    pub(super) newest: HashSet<SegmentNumber>,
    /// Copies that reclaim has made of which they have brought entries, by segment.
    copies: Vec<u32>,
}

/// What the valid pages that were read say, whether or not they suffice.
#[derive(Default)]
pub(super) struct Evidence {
    vouched: Vec<Vouched>,
    version: Version,
    time_ms: u64,
}

/// Why pages are of no use.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("its pages do not cover the whole index")]
    Incomplete,
    #[error("a page holds what no index holds")]
    Contents,
    #[error("it tells of more than segment {segment} holds")]
    Contradiction { segment: u32 },
    #[error("part of the log is lost")]
    Loss,
}

impl Evidence {
    /// Adds what pages know to what headers do.
    pub(super) fn teach(&self, headers: &mut Headers) {
        headers.vouched.extend(&self.vouched);
        let highest = &mut headers.highest;
        highest.version = highest.version.max(self.version);
        highest.time_ms = highest.time_ms.max(self.time_ms);
    }

    fn note(&mut self, page: &PageHeader) {
        self.vouched.push(Vouched {
            first_lsn: page.first_lsn,
            durable: page.lsn,
        });
        self.version = self.version.max(page.version);
        self.time_ms = self.time_ms.max(page.time_ms);
    }
}

impl Loaded {
    /// True if pages hold all that the segment with this last LSN has brought.
    pub(super) fn covers(&self, last_lsn: Lsn) -> bool {
        last_lsn <= self.pages.floor()
    }

    /// True if the page over the row's key holds what a batch at `lsn` has made of it.
    pub(super) fn holds(&self, core: &ShardCore, lsn: Lsn, row: &RecordRow) -> bool {
        let point = if row.flags.contains(RecordFlags::META) {
            Some(PagePoint::of_set(row.set.get()))
        } else {
            point_of(core.state.borrow().index.shard(), &row.digest)
        };
        point.is_some_and(|point| lsn <= self.pages.lsn_of(point))
    }
}

/// Where segments of the log begin, for a quick look at each entry.
struct LogPlaces {
    /// First LSN of each segment by number; none reaches that of one that holds no log.
    begins: Vec<Lsn>,
    granule_bits: u32,
    /// What lives in each.
    live: Vec<LoadedLive>,
}

impl LogPlaces {
    fn new(state: &State, log: &[LogSegment]) -> Self {
        let count = state.segments.iter().count();
        let mut begins = vec![Lsn::new(u64::MAX); count];
        for segment in log {
            let place = usize_of(segment.number.get().into());
            if let Some(begin) = begins.get_mut(place) {
                *begin = segment.header.first_lsn;
            }
        }
        let granules = state.segments.segment_bytes() / GRANULE_BYTES;
        Self {
            begins,
            granule_bits: granules.trailing_zeros(),
            live: vec![LoadedLive::default(); count],
        }
    }

    fn number_of(&self, address: RecordAddress) -> usize {
        usize_of(address.packed() >> self.granule_bits)
    }

    /// Whether the record at `address` that was there at `lsn` still is.
    #[inline]
    fn stands(&self, address: RecordAddress, lsn: Lsn) -> bool {
        let begin = self.begins.get(self.number_of(address));
        begin.is_some_and(|begin| *begin <= lsn)
    }

    /// The same; if it is there, it is counted.
    #[inline]
    fn count(&mut self, address: RecordAddress, entry: ImageEntry, lsn: Lsn) -> bool {
        let stands = self.stands(address, lsn);
        let number = self.number_of(address);
        if stands && let Some(live) = self.live.get_mut(number) {
            let bytes = u64::from(entry.length.bytes_max());
            live.records += 1;
            live.bytes += bytes;
            live.copies += u32::from(entry.is_moved);
            let expires = !entry.expiry.is_never();
            live.expiring += u32::from(expires);
            live.expiring_bytes += u64::from(expires) * bytes;
        }
        stands
    }
}

/// Fills the core's empty index from pages. What the pages that were read vouch for comes back in any case.
pub(super) async fn load(
    core: &ShardCore,
    headers: &Headers,
    report: &mut RecoveryReport,
) -> Result<(Evidence, Result<Loaded, Unusable>), OpenError> {
    let mut segments: Vec<&LogSegment> = headers.checkpoints.iter().collect();
    segments.sort_by_key(|segment| std::cmp::Reverse(segment.header.first_lsn));
    let mut loader = Loader {
        core,
        uncovered: Uncovered::whole(core.state.borrow().index.shard()),
        places: LogPlaces::new(&core.state.borrow(), &headers.log),
        items: Vec::new(),
        loaded: Loaded {
            pages: PageMap::default(),
            newest: HashSet::new(),
            copies: Vec::new(),
        },
        report,
        evidence: Evidence::default(),
    };
    let mut reads = stream::iter(segments)
        .map(|segment| async move { (segment, read_pages(core, segment).await) })
        .buffered(RECOVERY_CHECKPOINTS_IN_FLIGHT);
    while !loader.uncovered.is_empty() {
        let Some((segment, bytes)) = reads.next().await else {
            return Ok((loader.evidence, Err(Unusable::Incomplete)));
        };
        if let Err(reason) = loader.load_segment(segment, bytes?.as_slice()) {
            return Ok((loader.evidence, Err(reason)));
        }
    }
    loader.restore();
    Ok((loader.evidence, Ok(loader.loaded)))
}

/// The bytes of a segment; what the device does not return of it is zeros.
async fn read_pages(core: &ShardCore, segment: &LogSegment) -> Result<DmaBuffer, OpenError> {
    let segment_bytes = core.state.borrow().log.geometry().segment_bytes;
    Ok(read_range(core, segment, 0, segment_bytes).await?.0)
}

struct Loader<'a> {
    core: &'a ShardCore,
    uncovered: Uncovered,
    places: LogPlaces,
    /// Items of sets, with the LSN of their page.
    items: Vec<(SetItem, Lsn)>,
    loaded: Loaded,
    report: &'a mut RecoveryReport,
    evidence: Evidence,
}

impl Loader<'_> {
    /// Loads what the pages of a segment, newest first, cover that no newer one has.
    fn load_segment(&mut self, segment: &LogSegment, bytes: &[u8]) -> Result<(), Unusable> {
        for (page, bytes) in pages_in(self.core, segment, bytes).into_iter().rev() {
            self.evidence.note(&page);
            let range = page.from..page.to;
            let parts = self.uncovered.parts_of(&range);
            if parts.is_empty() {
                continue;
            }
            let Some(content) = page.content(bytes) else {
                self.report.checkpoint_pages_damaged += 1;
                continue;
            };
            self.report.checkpoint_pages += 1;
            self.loaded.newest.insert(segment.number);
            for part in parts {
                self.load_part(&page, content, &part)?;
                self.uncovered.cover(&part);
                self.loaded.pages.add(part.start, page.lsn);
            }
        }
        Ok(())
    }

    fn load_part(
        &mut self,
        page: &PageHeader,
        mut content: &[u8],
        part: &Range<PagePoint>,
    ) -> Result<(), Unusable> {
        match part.start.kind {
            PageKind::Index => {
                let range = part.start.image_position()..part.end.image_position();
                let places = &mut self.places;
                let keep = |address, entry| places.count(address, entry, page.lsn);
                let index = &mut self.core.state.borrow_mut().index;
                let loaded = index.load_image(content, &range, keep);
                let loaded = loaded.map_err(|_| Unusable::Contents)?;
                self.report.checkpoint_entries += loaded.kept_count;
            }
            PageKind::Sets => {
                while !content.is_empty() {
                    let item = SetItem::decode(&mut content).ok_or(Unusable::Contents)?;
                    if part.contains(&PagePoint::of_set(item.set.get())) {
                        self.items.push((item, page.lsn));
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything is loaded: sets and truncations, and what lives in each segment.
    fn restore(&mut self) {
        self.loaded.pages.finish();
        let mut state = self.core.state.borrow_mut();
        let mut truncations: Vec<(SetId, ItemTruncation)> = Vec::new();
        for (item, lsn) in self.items.drain(..) {
            match item.definition {
                Some((name, Some(place)))
                    if self
                        .places
                        .count(place.address, definition(place.length), lsn) =>
                {
                    let (address, length) = (place.address, place.length);
                    let place = DefinitionPlace { address, length };
                    state.sets.define(item.set, &name, place);
                }
                // It was written again, above the page's LSN.
                Some((_, Some(_))) | None => {}
                Some((_, None)) => state.sets.note_used(item.set),
            }
            let truncation = item.truncation;
            let kept = truncation.filter(|kept| self.places.stands(kept.place.address, lsn));
            truncations.extend(kept.map(|kept| (item.set, kept)));
        }
        for (number, live) in (0_u32..).zip(self.places.live.drain(..)) {
            let number = SegmentNumber::new(number);
            state.segments.note_loaded(number, &live);
            self.loaded.copies.push(live.copies);
        }
        state.restore_truncations(truncations);
    }
}

/// What the definition of a set counts as.
const fn definition(length: RecordLength) -> ImageEntry {
    ImageEntry {
        length,
        is_moved: false,
        expiry: ExpirySeconds::NEVER,
    }
}

/// The valid pages of a segment, oldest first, each with its bytes.
fn pages_in<'a>(
    core: &ShardCore,
    segment: &LogSegment,
    bytes: &'a [u8],
) -> Vec<(PageHeader, &'a [u8])> {
    let geometry = core.state.borrow().log.geometry();
    let unit = geometry.write_unit_bytes;
    let mut pages = Vec::new();
    let Some(attached) = core.device(segment.header.slot) else {
        return pages;
    };
    let mut offset = SEGMENT_HEADER_COPIES * unit;
    while offset < geometry.segment_bytes {
        let rest = bytes
            .get(usize_of(offset)..usize_of(geometry.segment_bytes))
            .unwrap_or_default();
        let on_device = segment.header.offset_bytes + offset;
        let header = rest.first_chunk::<PAGE_HEADER_BYTES>().and_then(|block| {
            PageHeader::decode(block, attached.binding, on_device, segment.header.life)
        });
        let page = header.and_then(|header| {
            let length = u64::from(header.length_bytes);
            let is_sound = header.shard == core.number && length.is_multiple_of(unit);
            let page = rest.get(..usize_of(length))?;
            is_sound.then_some((header, page))
        });
        offset += page.map_or(unit, |(header, _)| u64::from(header.length_bytes));
        pages.extend(page);
    }
    pages
}

/// After replay from pages: what dead records, tombstones and versions there are in each segment follows from what
/// it holds in all.
pub(super) fn settle_accounts(
    core: &ShardCore,
    loaded: &Loaded,
    replayed: &Replayed,
) -> Result<(), Unusable> {
    let mut state = core.state.borrow_mut();
    let state = &mut *state;
    let segment_bytes = state.segments.segment_bytes();
    let live_truncations: Vec<SegmentNumber> = state
        .truncations
        .live_addresses()
        .filter_map(|address| RecordPlace::unpack(address, segment_bytes))
        .map(|place| place.segment)
        .collect();
    for (number, holdings) in &replayed.holdings {
        let truncations = live_truncations.iter().filter(|held| *held == number);
        let truncations = u32_of(truncations.count());
        let live = state
            .segments
            .get(*number)
            .map(|segment| segment.live_records);
        if live.is_some_and(|live| live > holdings.records.saturating_add(truncations)) {
            let segment = number.get();
            return Err(Unusable::Contradiction { segment });
        }
        let copies = loaded.copies.get(usize_of(number.get().into()));
        let copies = copies.copied().unwrap_or_default()
            + replayed.copies.get(number).copied().unwrap_or_default();
        if copies > holdings.copies {
            let segment = number.get();
            return Err(Unusable::Contradiction { segment });
        }
        let settled = Settled {
            holdings: *holdings,
            live_truncations: truncations,
            copies,
            expired: expired_at(replayed.highest.time_ms),
        };
        state.segments.settle_accounts(*number, &settled);
    }
    if let Some(version) = state.truncations.version_of_all() {
        state.segments.cover_tombstones_before(version);
    }
    Ok(())
}
