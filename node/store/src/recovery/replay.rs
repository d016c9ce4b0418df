//! Replay: rows of all segments, in log order, into the index.

use std::collections::{HashMap, HashSet};

use corelith_index::{Entry, RecordAddress};
use futures_util::stream::{self, StreamExt};

use super::data::{read_summary, scan_data};
use super::headers::{Headers, Vouched};
use super::{Highest, LogSegment, RecoveryReport, ScannedSegment};
use crate::format::fields::u64_of;
use crate::format::record_header::{RecordFlags, RecordHeader};
use crate::format::segment_header::SegmentHeader;
use crate::format::summary::{BatchRow, Footer, RecordRow, SummaryRow};
use crate::limits::RECOVERY_SUMMARIES_IN_FLIGHT;
use crate::log::OpenSegment;
use crate::place::{RecordPlace, SegmentNumber};
use crate::planted::{PlantedBug, is_planted};
use crate::progress::RecoveryProgress;
use crate::sets::DefinitionPlace;
use crate::state::{ShardCore, stored_length};
use crate::{Lsn, OpenError};

/// What replay leaves to be done.
pub(super) struct Replayed {
    pub(super) highest: Highest,
    /// Segments without a usable summary, with the rows that count, in log order.
    pub(super) unsealed: Vec<OpenSegment>,
}

/// Replays the log that `headers` tell of into the core's empty index.
pub(super) async fn replay(
    core: &ShardCore,
    headers: &Headers,
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
    let highest = Highest {
        lsn: highest.lsn.max(watermark),
        ..*highest
    };
    let mut replayer = Replayer {
        core,
        report,
        highest,
        watermark,
        unsealed: Vec::new(),
    };
    let mut summaries = stream::iter(log)
        .map(|segment| async move {
            match &segment.footer {
                Some(footer) => read_summary(core, segment, footer).await,
                None => Ok(None),
            }
        })
        .buffered(RECOVERY_SUMMARIES_IN_FLIGHT);
    for (position, segment) in log.iter().enumerate() {
        if let Some(rows) = summaries.next().await.transpose()?.flatten() {
            replayer.report.sealed += 1;
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
    })
}

/// What a scan of a segment must find.
enum Expected<'a> {
    /// As many batches as the footer says.
    Count(&'a Footer),
    /// Every batch up to `proven`, but for void ones. Where the device refuses to return something, any
    /// up to `last` may be missed, if that is known.
    UpTo { proven: Lsn, last: Option<Lsn> },
}

impl<'a> Expected<'a> {
    /// `next` is the header of the segment behind it in the log, as far as there is one.
    fn of(
        segment: &'a LogSegment,
        next: Option<&SegmentHeader>,
        found: &ScannedSegment,
        (watermark, vouched): (Lsn, &[Vouched]),
    ) -> Self {
        match (&segment.footer, next) {
            (Some(footer), _) => Self::Count(footer),
            (None, Some(next)) if next.previous_first_lsn == segment.header.first_lsn => {
                Self::UpTo {
                    proven: next.predecessor.min(watermark),
                    last: Some(next.predecessor),
                }
            }
            // The newest, or its neighbour was freed: only what lies between its own batches can be missed,
            // and what a header says that it held.
            (None, _) => Self::UpTo {
                proven: last_lsn(&found.rows)
                    .min(watermark)
                    .max(vouched_for(segment, vouched)),
                last: None,
            },
        }
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

/// The highest position that anything vouches for: footers, batches, and headers, those of freed segments
/// too. A segment may have been freed because a batch had taken its place that a drive then turns out not to
/// have: nothing else may tell of it.
fn watermark(
    log: &[LogSegment],
    scanned: &HashMap<SegmentNumber, ScannedSegment>,
    vouched: &[Vouched],
) -> Lsn {
    let footers = log
        .iter()
        .filter_map(|segment| Some(segment.footer.as_ref()?.last_lsn));
    let batches = scanned
        .values()
        .flat_map(|found| &found.rows)
        .filter_map(|row| match row {
            SummaryRow::Batch(batch) => Some(batch.durable),
            SummaryRow::Record(_) => None,
        });
    let headers = vouched.iter().map(|vouched| vouched.durable);
    let all = footers.chain(batches).chain(headers);
    all.max().unwrap_or(Lsn::NONE)
}

/// The last batch that headers say `segment` held durably.
fn vouched_for(segment: &LogSegment, vouched: &[Vouched]) -> Lsn {
    let its_own = vouched
        .iter()
        .filter(|vouched| vouched.first_lsn == segment.header.first_lsn);
    let durable = its_own.map(|vouched| vouched.durable);
    durable.max().unwrap_or(Lsn::NONE)
}

/// Positions that segment headers declare void: given once, never counted.
struct VoidRanges(Vec<(Lsn, Lsn)>);

impl VoidRanges {
    fn of(log: &[LogSegment]) -> Self {
        Self(
            log.iter()
                .map(|segment| (segment.header.predecessor, segment.header.first_lsn))
                .collect(),
        )
    }

    /// True between a predecessor and the first position after it, both excluded.
    fn contains(&self, lsn: Lsn) -> bool {
        !is_planted(PlantedBug::IgnoreVoid)
            && self
                .0
                .iter()
                .any(|(before, after)| *before < lsn && lsn < *after)
    }
}

struct Replayer<'a> {
    core: &'a ShardCore,
    report: &'a mut RecoveryReport,
    highest: Highest,
    watermark: Lsn,
    unsealed: Vec<OpenSegment>,
}

impl Replayer<'_> {
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
        let mut counts = true;
        for (position, row) in rows.iter().enumerate() {
            match row {
                SummaryRow::Batch(batch) => {
                    counts = !is_void(batch.lsn);
                    if counts {
                        self.report.batches += 1;
                        self.highest.counted = self.highest.counted.max(batch.lsn);
                        self.highest.lsn = self.highest.lsn.max(batch.lsn);
                        self.highest.time_ms = self.highest.time_ms.max(batch.time_ms);
                    }
                }
                SummaryRow::Record(record) if counts => {
                    self.report.records += 1;
                    self.highest.version = self.highest.version.max(record.version);
                    self.apply_record(number, record, damaged.contains(&position))
                        .await;
                }
                SummaryRow::Record(_) => {}
            }
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
        let mut state = self.core.state.borrow_mut();
        let placed = match previous {
            Some(old) => match state.index.replace(&row.digest, old, entry) {
                Some(replaced) => {
                    state
                        .segments
                        .note_dead(old, replaced.length, replaced.is_moved);
                    true
                }
                None => false,
            },
            None => state.index.insert(&row.digest, entry).is_ok(),
        };
        if placed {
            state.segments.note_live(address, length);
        } else {
            state.counters.index_refusals += 1;
        }
    }

    /// Takes truncated records out of an index that is more than half full: it may never have held them together
    /// with what came after. A smaller one is left to the sweep in the background.
    fn make_room(&self) {
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
            state.segments.note_dead(old, entry.length, entry.is_moved);
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
        state.segments.note_live(place.address, place.length);
        if let Some(old) = replaced {
            state.segments.note_dead(old.address, old.length, false);
        }
    }
}

fn last_lsn(rows: &[SummaryRow]) -> Lsn {
    rows.iter().filter_map(batch_lsn).max().unwrap_or(Lsn::NONE)
}

pub(super) fn batch_lsn(row: &SummaryRow) -> Option<Lsn> {
    match row {
        SummaryRow::Batch(batch) => Some(batch.lsn),
        SummaryRow::Record(_) => None,
    }
}
