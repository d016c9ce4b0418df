//! Replay: rows of all segments, in log order, into the index.

use std::collections::{HashMap, HashSet};

use corelith_index::{Digest, Entry, ExpirySeconds, RecordAddress};
use corelith_io::prefetch_line;
use futures_util::stream::{self, StreamExt};

use super::checkpoint::Loaded;
use super::data::{read_summary, scan_data};
use super::expected::{Expected, VoidRanges, watermark};
use super::headers::Headers;
use super::{Highest, LogSegment, RecoveryReport, ScannedSegment};
use crate::format::fields::u64_of;
use crate::format::record_header::{RecordFlags, RecordHeader};
use crate::format::summary::{BatchRow, Footer, Holdings, RecordRow, SummaryRow};
use crate::limits::{ANNOUNCED_MAX, RECOVERY_SUMMARIES_IN_FLIGHT};
use crate::log::OpenSegment;
use crate::place::{RecordPlace, SegmentNumber};
use crate::planted::{PlantedBug, is_planted};
use crate::progress::RecoveryProgress;
use crate::sets::DefinitionPlace;
use crate::state::{ShardCore, stored_length};
use crate::store_clock::{expired_at, is_expired_by};
use crate::{Lsn, OpenError};

/// What replay leaves to be done.
pub(super) struct Replayed {
    pub(super) highest: Highest,
    /// Segments without a usable summary, with the rows that count, in log order.
    pub(super) unsealed: Vec<OpenSegment>,
    /// What each segment holds in all.
    pub(super) holdings: Vec<(SegmentNumber, Holdings)>,
    /// Copies that reclaim has made of which replay has put entries into the index.
    pub(super) copies: HashMap<SegmentNumber, u32>,
}

/// Replays the log that `headers` tell of into the core's index, which is empty but for what pages have `loaded`.
pub(super) async fn replay(
    core: &ShardCore,
    (headers, loaded): (&Headers, Option<&Loaded>),
    report: &mut RecoveryReport,
    progress: &RecoveryProgress,
) -> Result<Replayed, OpenError> {
    let Headers {
        log,
        highest,
        vouched,
        ..
    } = headers;
    let void = VoidRanges::of(log);
    let is_void = |lsn| void.contains(lsn);
    let mut scanned = scan_unsealed(core, log, &is_void).await?;
    let watermark = watermark(log, &scanned, vouched);
    // What has expired is told by the largest time, so the sooner that is known the better.
    let scanned_ms = newest_time(&scanned, &is_void);
    let highest = Highest {
        lsn: highest.lsn.max(watermark),
        time_ms: highest.time_ms.max(scanned_ms),
        ..*highest
    };
    let mut replayer = Replayer {
        core,
        report,
        highest,
        watermark,
        loaded,
        unsealed: Vec::new(),
        holdings: Vec::new(),
        copies: HashMap::new(),
        ahead: Vec::new(),
    };
    let mut summaries = stream::iter(log)
        .map(|segment| summary_of(core, segment, loaded))
        .buffered(RECOVERY_SUMMARIES_IN_FLIGHT);
    for (position, segment) in log.iter().enumerate() {
        let summary = summaries.next().await.transpose()?.flatten();
        if let Some(footer) = in_pages(segment, loaded) {
            replayer.pass_over(segment.number, footer);
            progress.replayed(0);
            continue;
        }
        if let Some(rows) = summary {
            replayer.report.sealed += 1;
            if let Some(footer) = &segment.footer {
                replayer.holdings.push((segment.number, footer.holdings));
            }
            let before = replayer.report.records;
            replayer
                .apply(segment.number, &rows, &HashSet::new(), &is_void)
                .await;
            progress.replayed(replayer.report.records - before);
            continue;
        }
        let found = match scanned.remove(&segment.number) {
            Some(found) => found,
            // Sealed, but its summary is lost: the data still tells.
            None => scan_data(core, segment, &is_void).await?,
        };
        let next = log.get(position + 1).map(|next| &next.header);
        let expected = Expected::of(segment, next, &found, (watermark, vouched));
        let before = replayer.report.records;
        replayer
            .apply_scanned(segment, found, &expected, &is_void)
            .await;
        progress.replayed(replayer.report.records - before);
    }
    Ok(Replayed {
        highest: replayer.highest,
        unsealed: replayer.unsealed,
        holdings: replayer.holdings,
        copies: replayer.copies,
    })
}

/// The largest time of the batches that a scan has found, in ms.
fn newest_time(
    scanned: &HashMap<SegmentNumber, ScannedSegment>,
    is_void: &dyn Fn(Lsn) -> bool,
) -> u64 {
    let batches = scanned.values().flat_map(|found| &found.rows);
    let times = batches.filter_map(|row| match row {
        SummaryRow::Batch(batch) if !is_void(batch.lsn) => Some(batch.time_ms),
        SummaryRow::Batch(_) | SummaryRow::Record(_) => None,
    });
    times.max().unwrap_or(0)
}

/// The footer of a segment of which pages hold everything.
fn in_pages<'a>(segment: &'a LogSegment, loaded: Option<&Loaded>) -> Option<&'a Footer> {
    let is_held = |footer: &&Footer| loaded.is_some_and(|loaded| loaded.covers(footer.last_lsn));
    segment.footer.as_ref().filter(is_held)
}

/// The rows of a sealed segment that pages do not hold; `None` if its summary cannot be read whole.
async fn summary_of(
    core: &ShardCore,
    segment: &LogSegment,
    loaded: Option<&Loaded>,
) -> Result<Option<Vec<SummaryRow>>, OpenError> {
    match &segment.footer {
        Some(footer) if in_pages(segment, loaded).is_none() => {
            read_summary(core, segment, footer).await
        }
        Some(_) | None => Ok(None),
    }
}

/// Reads the data of every segment that was never sealed: the newest ones, which also hold the
/// newest watermarks.
async fn scan_unsealed(
    core: &ShardCore,
    log: &[LogSegment],
    is_void: &dyn Fn(Lsn) -> bool,
) -> Result<HashMap<SegmentNumber, ScannedSegment>, OpenError> {
    let mut scanned = HashMap::new();
    for segment in log.iter().filter(|segment| segment.footer.is_none()) {
        scanned.insert(segment.number, scan_data(core, segment, is_void).await?);
    }
    Ok(scanned)
}

struct Replayer<'a> {
    core: &'a ShardCore,
    report: &'a mut RecoveryReport,
    highest: Highest,
    watermark: Lsn,
    loaded: Option<&'a Loaded>,
    unsealed: Vec<OpenSegment>,
    holdings: Vec<(SegmentNumber, Holdings)>,
    copies: HashMap<SegmentNumber, u32>,
    /// Keys of the next rows.
    ahead: Vec<Digest>,
}

impl Replayer<'_> {
    /// A segment of which pages hold everything.
    fn pass_over(&mut self, number: SegmentNumber, footer: &Footer) {
        self.report.in_pages += 1;
        self.highest.counted = self.highest.counted.max(footer.last_lsn);
        self.highest.lsn = self.highest.lsn.max(footer.last_lsn);
        self.holdings.push((number, footer.holdings));
    }

    /// Applies what a scan found, reports what is missing, and leaves the segment to be sealed.
    async fn apply_scanned(
        &mut self,
        segment: &LogSegment,
        mut found: ScannedSegment,
        expected: &Expected<'_>,
        is_void: &dyn Fn(Lsn) -> bool,
    ) {
        self.report.scanned += 1;
        let known: HashSet<Lsn> = found.rows.iter().filter_map(batch_lsn).collect();
        let (lost, proven) = match expected {
            Expected::Count(footer) => {
                let sound = found.rows.len().saturating_sub(found.damaged.len());
                let lost = u64::from(footer.batch_count).saturating_sub(u64_of(known.len()));
                // All that was sealed is there: what is torn was dropped when it was sealed, and stays so.
                if u64_of(sound) >= u64::from(footer.row_count) {
                    (lost, Lsn::NONE)
                } else {
                    (lost, footer.last_lsn.max(self.watermark))
                }
            }
            Expected::UpTo { proven, last } => {
                let missing_up_to = |last: Lsn| {
                    let missing = |lsn: &Lsn| !known.contains(lsn) && !is_void(*lsn);
                    let positions = segment.header.first_lsn.up_to(last);
                    u64_of(positions.filter(missing).count())
                };
                // What a device refuses is not what a cut left unfinished: it may have been durable.
                let is_whole =
                    found.torn.is_empty() && last.is_some_and(|last| missing_up_to(last) == 0);
                let hidden = u64::from(found.refused_holes > 0 && !is_whole);
                (missing_up_to(*proven).max(hidden), self.watermark)
            }
        };
        let torn = u64_of(found.torn.iter().filter(|lsn| **lsn <= proven).count());
        if lost + torn > 0 && !is_planted(PlantedBug::HideLostBatches) {
            self.report.batches_lost += lost + torn;
            tracing::error!(
                shard = self.core.number,
                batches = lost + torn,
                "batches that were durable cannot be read"
            );
        }
        let damaged = self.sort_damaged(&mut found, proven);
        let footer = segment.footer.as_ref();
        let holdings = footer.map_or_else(|| Holdings::of(&found.rows), |footer| footer.holdings);
        self.holdings.push((segment.number, holdings));
        self.apply(segment.number, &found.rows, &damaged, is_void)
            .await;
        let attached = self.core.device(segment.header.slot);
        if let Some((attached, place)) = attached.zip(self.place_of(segment.number)) {
            self.unsealed.push(OpenSegment {
                number: segment.number,
                place,
                life: segment.header.life,
                binding: attached.binding,
                end_bytes: found.end_bytes,
                previous_first_lsn: segment.header.previous_first_lsn,
                first_lsn: segment.header.first_lsn,
                last_lsn: last_lsn(&found.rows),
                rows: found.rows,
            });
        }
    }

    /// Of the records whose content does not verify, drops those that nothing proves to have been
    /// durable (a torn batch at the end of the log) and keeps the others, as damaged. A content that the
    /// device refuses to return may have been durable.
    fn sort_damaged(&mut self, found: &mut ScannedSegment, proven: Lsn) -> HashSet<usize> {
        let unverified: HashSet<usize> = found.damaged.iter().copied().collect();
        let mut kept = HashSet::new();
        let mut rows = Vec::with_capacity(found.rows.len());
        let (mut batch_position, mut lsn) = (0, Lsn::NONE);
        for (position, row) in found.rows.iter().enumerate() {
            if let SummaryRow::Batch(batch) = row {
                (batch_position, lsn) = (rows.len(), batch.lsn);
                rows.push(SummaryRow::Batch(BatchRow {
                    record_count: 0,
                    ..*batch
                }));
                continue;
            }
            if unverified.contains(&position) {
                let is_unproven = lsn > proven && !found.refused.contains(&position);
                if is_unproven || is_planted(PlantedBug::DropDamaged) {
                    continue;
                }
                kept.insert(rows.len());
                self.report.records_damaged += 1;
            }
            rows.push(*row);
            if let Some(SummaryRow::Batch(batch)) = rows.get_mut(batch_position) {
                batch.record_count += 1;
            }
        }
        found.rows = rows;
        kept
    }

    fn place_of(&self, number: SegmentNumber) -> Option<crate::place::SegmentPlace> {
        self.core
            .state
            .borrow()
            .segments
            .get(number)
            .map(|segment| segment.place)
    }

    /// Applies the rows of one segment in order.
    async fn apply(
        &mut self,
        number: SegmentNumber,
        rows: &[SummaryRow],
        damaged: &HashSet<usize>,
        is_void: &dyn Fn(Lsn) -> bool,
    ) {
        let (mut counts, mut lsn) = (true, Lsn::NONE);
        let mut ahead = 0;
        for (position, row) in rows.iter().enumerate() {
            match row {
                SummaryRow::Batch(batch) => {
                    counts = !is_void(batch.lsn);
                    lsn = batch.lsn;
                    if counts {
                        self.report.batches += 1;
                        self.highest.counted = self.highest.counted.max(batch.lsn);
                        self.highest.lsn = self.highest.lsn.max(batch.lsn);
                        self.highest.time_ms = self.highest.time_ms.max(batch.time_ms);
                    }
                }
                SummaryRow::Record(record) if counts => {
                    self.highest.version = self.highest.version.max(record.version);
                    if self
                        .loaded
                        .is_some_and(|loaded| loaded.holds(self.core, lsn, record))
                    {
                        if damaged.contains(&position) {
                            self.mark_damaged(number, record);
                        }
                        continue;
                    }
                    self.report.records += 1;
                    if position >= ahead {
                        ahead = position + ANNOUNCED_MAX;
                        self.fetch(rows.get(position..).unwrap_or_default());
                    }
                    self.apply_record(number, record, damaged.contains(&position))
                        .await;
                }
                SummaryRow::Record(_) => {}
            }
        }
    }

    /// Has the lines of the index fetched that the next rows are about to read, so that their misses overlap.
    fn fetch(&mut self, rows: &[SummaryRow]) {
        let records = rows.iter().take(ANNOUNCED_MAX).filter_map(|row| match row {
            SummaryRow::Record(record) => Some(record.digest),
            SummaryRow::Batch(_) => None,
        });
        self.ahead.clear();
        self.ahead.extend(records);
        let index = &self.core.state.borrow().index;
        for digest in &self.ahead {
            index.prefetch_directory(digest, prefetch_line);
        }
        for digest in &self.ahead {
            index.prefetch_entries(digest, prefetch_line);
        }
    }

    /// The content of a record that a page holds an entry of does not verify.
    fn mark_damaged(&self, number: SegmentNumber, row: &RecordRow) {
        let mut state = self.core.state.borrow_mut();
        let place = RecordPlace {
            segment: number,
            offset_bytes: row.offset_bytes,
        };
        let address = place.pack(state.segments.segment_bytes());
        let mut candidates = state.index.lookup(&row.digest);
        if let Some(entry) = candidates.find(|entry| Some(entry.address) == address) {
            let damaged = Entry {
                is_damaged: true,
                ..entry
            };
            state.index.replace(&row.digest, entry.address, damaged);
        }
    }

    async fn apply_record(&mut self, number: SegmentNumber, row: &RecordRow, is_damaged: bool) {
        let segment_bytes = self.core.state.borrow().segments.segment_bytes();
        let place = RecordPlace {
            segment: number,
            offset_bytes: row.offset_bytes,
        };
        let stored = RecordHeader::stored_bytes(row.content_bytes.into());
        let Some((address, length)) = place.pack(segment_bytes).zip(stored_length(stored)) else {
            return;
        };
        let entry = Entry {
            address,
            length,
            generation: row.generation,
            expiry: row.expiry,
            set: row.set,
            is_damaged,
            is_moved: row.flags.contains(RecordFlags::MOVED),
        };
        if entry.is_moved {
            let segments = &mut self.core.state.borrow_mut().segments;
            segments.note_moved(number, row.version);
        }
        if row.flags.contains(RecordFlags::TRUNCATION) {
            if is_planted(PlantedBug::ForgetTruncations) {
                return;
            }
            let mut state = self.core.state.borrow_mut();
            state.apply_truncation(row, (address, length));
            return;
        }
        if row.flags.contains(RecordFlags::META) {
            self.define_set(row, &entry).await;
            return;
        }
        self.core.state.borrow_mut().sets.note_used(row.set);
        self.make_room();
        let previous = self.previous_of(row).await;
        if row.flags.contains(RecordFlags::TOMBSTONE) {
            if is_planted(PlantedBug::ForgetTombstones) {
                return;
            }
            self.bury(number, row, previous);
            return;
        }
        self.place(number, row, (entry, previous));
    }

    /// The record of a row, with its entry, is the newest of its key so far; the one at `previous` was.
    fn place(
        &mut self,
        number: SegmentNumber,
        row: &RecordRow,
        (entry, previous): (Entry, Option<RecordAddress>),
    ) {
        let mut state = self.core.state.borrow_mut();
        state.segments.note_row(number, row);
        // The store's clock is never before any time that was durable: to bring back what had expired by then would only take
        // memory. Its header does what a tombstone does.
        if is_expired_by(row.expiry, expired_at(self.highest.time_ms)) {
            let removed =
                previous.and_then(|old| state.index.remove(&row.digest, old).zip(Some(old)));
            if let Some((entry, old)) = removed {
                state
                    .segments
                    .note_dead(old, entry.length, (entry.is_moved, entry.expiry));
            }
            state.segments.note_found_expired(number, entry.is_moved);
            if entry.is_moved {
                *self.copies.entry(number).or_default() += 1;
            }
            return;
        }
        let placed = match previous {
            Some(old) => match state.index.replace(&row.digest, old, entry) {
                Some(replaced) => {
                    state.segments.note_dead(
                        old,
                        replaced.length,
                        (replaced.is_moved, replaced.expiry),
                    );
                    true
                }
                None => false,
            },
            None => state.index.insert(&row.digest, entry).is_ok(),
        };
        if placed {
            state
                .segments
                .note_live(entry.address, entry.length, entry.expiry);
            if entry.is_moved {
                *self.copies.entry(number).or_default() += 1;
            }
        } else {
            state.counters.index_refusals += 1;
        }
    }

    /// Takes truncated records out of an index that is more than half full: it may never have held them together
    /// with what came after. A smaller one is left to the sweep in the background.
    fn make_room(&self) {
        if self.loaded.is_some() {
            // Rows from before a truncation that a page knows of may still come, and pages held no more than the
            // index did.
            return;
        }
        let mut state = self.core.state.borrow_mut();
        if state.truncations.is_unswept() && state.index.used_bytes() > state.index_memory_bytes / 2
        {
            state.sweep_at_once();
        }
    }

    fn bury(&self, number: SegmentNumber, row: &RecordRow, previous: Option<RecordAddress>) {
        let mut state = self.core.state.borrow_mut();
        state.segments.note_tombstone(number, row.version);
        let removed = previous.and_then(|old| state.index.remove(&row.digest, old).zip(Some(old)));
        if let Some((entry, old)) = removed {
            state
                .segments
                .note_dead(old, entry.length, (entry.is_moved, entry.expiry));
        }
    }

    /// The entry of the same key, if the index has it. One candidate is taken at its tag's word,
    /// unless the record says that it has a twin; of several, their digests decide.
    async fn previous_of(&mut self, row: &RecordRow) -> Option<RecordAddress> {
        let (candidates, truncated) = self.candidates_of(row);
        let is_twin = row.flags.contains(RecordFlags::TWIN);
        match (candidates.as_slice(), truncated.as_slice()) {
            ([only], _) if !is_twin => Some(only.address),
            // In the place of a truncated record there is one entry instead of two.
            ([], [only]) => Some(only.address),
            _ => self.read_previous(row, &candidates).await,
        }
    }

    /// The entries with the row's tag: those that may be its key's, and those of truncated records, which the
    /// writer did not compare either.
    fn candidates_of(&self, row: &RecordRow) -> (Vec<Entry>, Vec<Entry>) {
        let state = self.core.state.borrow();
        let candidates = state.index.lookup(&row.digest);
        candidates.partition(|entry| !state.truncations.has_deleted(&state.segments, entry))
    }

    /// Of several candidates, the one whose record has the row's digest. A candidate that cannot be
    /// read again and again leaves the question open: then the shard may be stale, and says so.
    async fn read_previous(
        &mut self,
        row: &RecordRow,
        candidates: &[Entry],
    ) -> Option<RecordAddress> {
        let mut unreadable = 0;
        for entry in candidates {
            match self.core.read_place_stubbornly(entry).await {
                Ok(record) if *record.digest() == row.digest => return Some(entry.address),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(shard = self.core.number, digest = %row.digest, %error, "a record that shares its tag with another cannot be read");
                    unreadable += 1;
                }
            }
        }
        self.report.batches_lost += unreadable;
        None
    }

    /// Learns the name of a set from its definition.
    async fn define_set(&self, row: &RecordRow, entry: &Entry) {
        let name = match self.core.read_place_stubbornly(entry).await {
            Ok(record) => std::str::from_utf8(record.content())
                .unwrap_or_default()
                .to_owned(),
            Err(error) => {
                tracing::error!(shard = self.core.number, set = row.set.get(), %error, "the name of a set cannot be read: its records answer to their digests only");
                String::new()
            }
        };
        let mut state = self.core.state.borrow_mut();
        let place = DefinitionPlace {
            address: entry.address,
            length: entry.length,
        };
        let replaced = state.sets.define(row.set, &name, place);
        let never = ExpirySeconds::NEVER;
        state.segments.note_live(place.address, place.length, never);
        if let Some(old) = replaced {
            state
                .segments
                .note_dead(old.address, old.length, (false, never));
        }
    }
}

pub(super) fn last_lsn(rows: &[SummaryRow]) -> Lsn {
    rows.iter().filter_map(batch_lsn).max().unwrap_or(Lsn::NONE)
}

pub(super) fn batch_lsn(row: &SummaryRow) -> Option<Lsn> {
    match row {
        SummaryRow::Batch(batch) => Some(batch.lsn),
        SummaryRow::Record(_) => None,
    }
}
