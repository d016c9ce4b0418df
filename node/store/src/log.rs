//! The log's writing end: the open segment, the open batch, what is queued and what is in flight.
//!
//! Batches are given positions and LSNs when they are opened, so a record's place, and with it the
//! checksum of its header, is known when it is appended. Completions come in any order; they are
//! settled in LSN order. No I/O here: `committer` starts the writes that this module lays out.
//!
//! Invariants: one batch is open at a time; the queue holds writes in log order; a segment's header
//! is queued before its first batch; `durable` never passes a write that has not completed.

use std::collections::VecDeque;
use std::rc::Rc;

use corelith_io::{DmaBuffer, FrozenBuffer};

use crate::batch::{Appended, Batch, NewRecord, OpenBatch, Writes};
use crate::commit::Commit;
use crate::format::batch_header::{BATCH_HEADER_BYTES, BatchHeader};
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u32_of, u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordHeader};
use crate::format::segment_header::SEGMENT_HEADER_COPIES;
use crate::format::summary::{BatchRow, RecordRow, SummaryRow, tail_bytes};
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::outcome::Outcome;
use crate::place::{RecordPlace, SegmentNumber, SegmentPlace};
use crate::planted::{PlantedBug, is_planted};
use crate::{Life, Lsn, Version};

/// The segment that the log appends to, or one that waits for its summary.
pub(crate) struct OpenSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) place: SegmentPlace,
    pub(crate) life: Life,
    pub(crate) binding: DeviceBinding,
    /// Where the next batch would begin in the segment, in bytes.
    pub(crate) end_bytes: u64,
    /// First LSN of the segment before it.
    pub(crate) previous_first_lsn: Lsn,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) rows: Vec<SummaryRow>,
}

/// A write in log order.
pub(crate) enum LogWrite {
    /// The header that opens a segment: both copies.
    Header {
        /// The segment.
        segment: SegmentNumber,
        /// First LSN of its part of the log.
        first_lsn: Lsn,
        /// The two write units.
        buffer: FrozenBuffer,
    },
    /// A batch.
    Batch(Batch),
}

/// A write that the device has.
pub(crate) struct Flight {
    pub(crate) number: u64,
    pub(crate) write: LogWrite,
    pub(crate) completed: bool,
}

/// Where and what to write: what the committer gives to the device.
pub(crate) struct Submission {
    pub(crate) flight: u64,
    pub(crate) segment: SegmentNumber,
    /// Where in the segment, in bytes.
    pub(crate) offset_bytes: u64,
    pub(crate) buffer: FrozenBuffer,
    pub(crate) length_bytes: usize,
}

/// What a failed write takes with it.
pub(crate) struct Abandoned {
    /// Batches that a device was given.
    pub(crate) in_doubt: Vec<Writes>,
    /// Batches that no device was given.
    pub(crate) not_written: Vec<Writes>,
    /// Segments that end where the last batch that counts ends: to be sealed.
    pub(crate) closed: Vec<SegmentNumber>,
    /// Segments of which nothing counts.
    pub(crate) lost: Vec<SegmentNumber>,
}

/// Fixed facts of the log.
#[derive(Clone, Copy)]
pub(crate) struct LogGeometry {
    pub(crate) shard: u16,
    pub(crate) segment_bytes: u64,
    pub(crate) write_unit_bytes: u64,
}

/// The writing end.
pub(crate) struct Log {
    geometry: LogGeometry,
    pub(crate) segment: Option<OpenSegment>,
    /// Full segments whose batches are not all durable, oldest first.
    pub(crate) closed: VecDeque<OpenSegment>,
    open: Option<OpenBatch>,
    pub(crate) queued: VecDeque<LogWrite>,
    pub(crate) flights: VecDeque<Flight>,
    next_flight: u64,
    next_lsn: Lsn,
    /// First LSN of the newest segment so far.
    previous_first_lsn: Lsn,
    /// The last LSN that counts: what the next segment names as its predecessor.
    last_counted: Lsn,
    next_version: Version,
    pub(crate) durable: Lsn,
    /// First LSN of the segment that holds the batch at `durable`.
    durable_first_lsn: Lsn,
    /// First LSN of the newest segment whose header has settled.
    settled_first_lsn: Lsn,
    /// A write failed, and older ones are still on their way: the next segment's header, which says
    /// which positions count, waits for them.
    unsettled_failure: bool,
}

impl Log {
    /// A log that continues after `durable`, which the segment that began at `durable_first_lsn` holds, and
    /// after the segment that began at `previous_first_lsn`, with `next_lsn` and `next_version` above all
    /// that any device may hold.
    pub(crate) fn new(
        geometry: LogGeometry,
        (durable, durable_first_lsn, previous_first_lsn): (Lsn, Lsn, Lsn),
        next_lsn: Lsn,
        next_version: Version,
    ) -> Self {
        Self {
            geometry,
            segment: None,
            closed: VecDeque::new(),
            open: None,
            queued: VecDeque::new(),
            flights: VecDeque::new(),
            next_flight: 1,
            next_lsn,
            previous_first_lsn,
            last_counted: durable,
            next_version,
            durable,
            durable_first_lsn,
            settled_first_lsn: durable_first_lsn,
            unsettled_failure: false,
        }
    }

    pub(crate) const fn geometry(&self) -> LogGeometry {
        self.geometry
    }

    pub(crate) const fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    pub(crate) const fn last_counted(&self) -> Lsn {
        self.last_counted
    }

    pub(crate) const fn previous_first_lsn(&self) -> Lsn {
        self.previous_first_lsn
    }

    pub(crate) const fn durable_first_lsn(&self) -> Lsn {
        self.durable_first_lsn
    }

    pub(crate) const fn next_version(&self) -> Version {
        self.next_version
    }

    /// True if a record of `stored_bytes` can join the open batch.
    pub(crate) fn fits_open_batch(&self, stored_bytes: u64) -> bool {
        let (Some(batch), Some(segment)) = (&self.open, &self.segment) else {
            return false;
        };
        let used = u64_of(batch.used_bytes) + stored_bytes;
        used <= BATCH_BYTES_MAX
            && batch.writes.records.len() < BATCH_RECORDS_MAX
            && used.next_multiple_of(self.geometry.write_unit_bytes) <= batch.capacity_bytes()
            && self.fits_segment(segment, batch.offset_bytes, used, 1)
    }

    /// True if a new batch with a record of `stored_bytes` fits the open segment.
    pub(crate) fn fits_open_segment(&self, stored_bytes: u64) -> bool {
        let used = u64_of(BATCH_HEADER_BYTES) + stored_bytes;
        self.segment
            .as_ref()
            .is_some_and(|segment| self.fits_segment(segment, segment.end_bytes, used, 2))
    }

    /// The same behind the open batch, if there is one.
    pub(crate) fn fits_open_segment_behind(&self, stored_bytes: u64) -> bool {
        let used = u64_of(BATCH_HEADER_BYTES) + stored_bytes;
        let unit = self.geometry.write_unit_bytes;
        let end = self
            .open
            .as_ref()
            .map(|batch| batch.offset_bytes + u64_of(batch.padded_bytes(unit)));
        self.segment.as_ref().is_some_and(|segment| {
            self.fits_segment(segment, end.unwrap_or(segment.end_bytes), used, 2)
        })
    }

    /// Every batch leaves room for the summary that its rows will need.
    fn fits_segment(
        &self,
        segment: &OpenSegment,
        offset_bytes: u64,
        used_bytes: u64,
        new_rows: u64,
    ) -> bool {
        let unit = self.geometry.write_unit_bytes;
        let tail = tail_bytes(u64_of(segment.rows.len()) + new_rows, unit);
        offset_bytes + used_bytes.next_multiple_of(unit) + tail <= self.geometry.segment_bytes
    }

    /// Buffer for a batch that begins with a record of `stored_bytes`, in bytes.
    pub(crate) fn batch_buffer_bytes(&self, stored_bytes: u64) -> usize {
        let least = (u64_of(BATCH_HEADER_BYTES) + stored_bytes)
            .next_multiple_of(self.geometry.write_unit_bytes);
        usize_of(least.max(BATCH_BYTES_MAX.min(self.geometry.segment_bytes / 4)))
    }

    /// Opens a batch at the end of the open segment. The caller has found that it fits.
    pub(crate) fn open_batch(&mut self, buffer: DmaBuffer) {
        assert!(self.open.is_none(), "one batch is open at a time");
        let Some(segment) = &mut self.segment else {
            unreachable!("a batch is opened in an open segment");
        };
        let lsn = self.next_lsn;
        self.next_lsn = lsn.advanced(1);
        self.last_counted = lsn;
        segment.last_lsn = lsn;
        let row = segment.rows.len();
        segment.rows.push(SummaryRow::Batch(BatchRow {
            offset_bytes: segment.end_bytes,
            length_bytes: 0,
            lsn,
            durable: Lsn::NONE,
            time_ms: 0,
            record_count: 0,
        }));
        self.open = Some(OpenBatch::new(lsn, segment.end_bytes, row, buffer));
    }

    /// Appends a record to the open batch. The caller has found that it fits, and gives the checksum of a content
    /// that stands in the batch already. Returns what describes it, the batch's position, and the outcome that
    /// its writer waits for.
    pub(crate) fn append(
        &mut self,
        record: &NewRecord<'_>,
        prepared: Option<u32>,
    ) -> (Appended, Lsn, Rc<Outcome>) {
        let version = record
            .moved
            .map_or(self.next_version, |moved| moved.version);
        let (Some(batch), Some(segment)) = (&mut self.open, &mut self.segment) else {
            unreachable!("a record is appended to an open batch");
        };
        let row = RecordRow {
            offset_bytes: batch.end_bytes(),
            content_bytes: u32_of(record.content.len()),
            flags: record.flags,
            version,
            digest: record.digest,
            generation: record.generation,
            set: record.set,
            expiry: record.expiry,
        };
        let header = RecordHeader {
            content_checksum: match (record.moved, prepared) {
                (Some(moved), _) => moved.content_checksum,
                (None, Some(checksum)) => checksum,
                (None, None) => RecordHeader::checksum_content(record.content),
            },
            content_bytes: row.content_bytes,
            flags: row.flags,
            generation: row.generation,
            set: row.set,
            expiry: row.expiry,
            updated_ms: record.updated_ms,
            version,
            digest: row.digest,
        };
        let on_device = segment.place.offset_bytes + row.offset_bytes;
        let header = header.encode(segment.binding, on_device, segment.life);
        match prepared {
            Some(_) => batch.add_prepared(&header, record.content.len()),
            None => batch.add(&header, record.content),
        }
        let place = RecordPlace {
            segment: segment.number,
            offset_bytes: row.offset_bytes,
        };
        let Some(address) = place.pack(self.geometry.segment_bytes) else {
            unreachable!("a shard with more segments than addresses is not opened");
        };
        let appended = Appended {
            row,
            address,
            previous: record.previous,
            is_acknowledged: record.commit == Commit::Buffered,
            is_above_acknowledged: record.is_above_acknowledged,
        };
        batch.writes.records.push(appended);
        segment.rows.push(SummaryRow::Record(row));
        if record.moved.is_none() {
            self.next_version = version.advanced(1);
        }
        (appended, batch.lsn, Rc::clone(&batch.writes.outcome))
    }

    /// True if somebody waits for the open batch.
    pub(crate) fn is_open_wanted(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|batch| batch.writes.outcome.is_wanted())
    }

    /// What the writers in the open batch wait for, if there is one.
    pub(crate) fn open_outcome(&self) -> Option<Rc<Outcome>> {
        let open = self.open.as_ref()?;
        Some(Rc::clone(&open.writes.outcome))
    }

    /// The outcome of the newest batch that is not settled.
    pub(crate) fn newest_outcome(&self) -> Option<Rc<Outcome>> {
        let in_flight = self.flights.iter().map(|flight| &flight.write);
        let newest = in_flight.chain(&self.queued).rev();
        let mut closed = newest.filter_map(|write| match write {
            LogWrite::Batch(batch) => Some(Rc::clone(&batch.writes.outcome)),
            LogWrite::Header { .. } => None,
        });
        self.open_outcome().or_else(|| closed.next())
    }

    /// Closes the open batch, if there is one: no more records join it. `time_ms` is the store's clock.
    pub(crate) fn close_batch(&mut self, time_ms: u64) {
        let (Some(batch), Some(segment)) = (self.open.take(), &mut self.segment) else {
            return;
        };
        let header = BatchHeader {
            life: segment.life,
            shard: self.geometry.shard,
            lsn: batch.lsn,
            durable: self.durable,
            time_ms,
            length_bytes: u32_of(batch.padded_bytes(self.geometry.write_unit_bytes)),
            used_bytes: u32_of(batch.used_bytes),
            record_count: u32_of(batch.writes.records.len()),
        };
        if let Some(SummaryRow::Batch(row)) = segment.rows.get_mut(batch.row) {
            row.length_bytes = header.length_bytes;
            row.durable = header.durable;
            row.time_ms = time_ms;
            row.record_count = header.record_count;
        }
        segment.end_bytes = batch.offset_bytes + u64::from(header.length_bytes);
        let place = (
            segment.binding,
            segment.place.offset_bytes + batch.offset_bytes,
        );
        self.queued
            .push_back(LogWrite::Batch(batch.close(&header, segment.number, place)));
    }

    /// Ends the open segment, if there is one; its summary follows when its batches are durable.
    pub(crate) fn close_segment(&mut self) -> Option<SegmentNumber> {
        assert!(
            self.open.is_none(),
            "the open batch belongs to the open segment"
        );
        let mut segment = self.segment.take()?;
        if is_planted(PlantedBug::ShortenSummary) {
            segment.rows.pop_if(|row| !row.is_batch());
        }
        let number = segment.number;
        self.closed.push_back(segment);
        Some(number)
    }

    /// Opens a segment whose header is `buffer`.
    pub(crate) fn open_segment(&mut self, segment: OpenSegment, buffer: FrozenBuffer) {
        assert!(self.segment.is_none(), "one segment is open at a time");
        self.queued.push_back(LogWrite::Header {
            segment: segment.number,
            first_lsn: segment.first_lsn,
            buffer,
        });
        self.previous_first_lsn = segment.first_lsn;
        self.segment = Some(segment);
    }

    /// Takes the next queued write into flight.
    pub(crate) fn take_off(&mut self) -> Option<Submission> {
        let write = self.queued.pop_front()?;
        let number = self.next_flight;
        self.next_flight += 1;
        let submission = match &write {
            LogWrite::Header {
                segment, buffer, ..
            } => Submission {
                flight: number,
                segment: *segment,
                offset_bytes: 0,
                buffer: buffer.clone(),
                length_bytes: usize_of(SEGMENT_HEADER_COPIES * self.geometry.write_unit_bytes),
            },
            LogWrite::Batch(batch) => Submission {
                flight: number,
                segment: batch.segment,
                offset_bytes: batch.offset_bytes,
                buffer: batch.buffer.clone(),
                length_bytes: batch.length_bytes,
            },
        };
        self.flights.push_back(Flight {
            number,
            write,
            completed: false,
        });
        Some(submission)
    }

    /// Marks a write as completed. Returns the segment whose header it was, if it was one that counts.
    pub(crate) fn land(&mut self, number: u64) -> Option<SegmentNumber> {
        let flight = self
            .flights
            .iter_mut()
            .find(|flight| flight.number == number)?;
        flight.completed = true;
        match flight.write {
            LogWrite::Header { segment, .. } => Some(segment),
            LogWrite::Batch(_) => None,
        }
    }

    /// The oldest write, if it has completed: its turn to be settled.
    pub(crate) fn settle_next(&mut self) -> Option<LogWrite> {
        let flight = self.flights.pop_front_if(|flight| flight.completed)?;
        match &flight.write {
            LogWrite::Header { first_lsn, .. } => self.settled_first_lsn = *first_lsn,
            LogWrite::Batch(batch) => {
                assert!(batch.lsn > self.durable, "batches settle in log order");
                self.durable = batch.lsn;
                self.durable_first_lsn = self.settled_first_lsn;
            }
        }
        Some(flight.write)
    }

    /// Gives up everything from flight `number` on, what is queued and open included: writes after
    /// a failed one may build on it. The next segment declares their positions void. `None` if that
    /// flight has been given up before.
    pub(crate) fn abandon_from(&mut self, number: u64) -> Option<Abandoned> {
        let start = self
            .flights
            .iter()
            .position(|flight| flight.number == number)?;
        let in_doubt = self
            .flights
            .split_off(start)
            .into_iter()
            .map(|flight| flight.write);
        let in_doubt = in_doubt.filter_map(writes_of).collect();
        let queued = std::mem::take(&mut self.queued)
            .into_iter()
            .filter_map(writes_of);
        let open = self.open.take().map(|batch| batch.writes);
        let not_written = queued.chain(open).collect();
        let newest_kept = self
            .flights
            .iter()
            .rev()
            .find_map(|flight| match &flight.write {
                LogWrite::Batch(batch) => Some(batch.lsn),
                LogWrite::Header { .. } => None,
            });
        self.last_counted = newest_kept.unwrap_or(self.durable);
        self.unsettled_failure = true;
        let (closed, lost) = self.cut_segments_back();
        Some(Abandoned {
            in_doubt,
            not_written,
            closed,
            lost,
        })
    }

    /// Ends every segment that holds a batch which was given up, and the open one. Returns those that
    /// hold batches which count, to be sealed, and those that hold none.
    fn cut_segments_back(&mut self) -> (Vec<SegmentNumber>, Vec<SegmentNumber>) {
        let counted = self.last_counted;
        let (mut closed, mut lost) = (Vec::new(), Vec::new());
        let segments = std::mem::take(&mut self.closed)
            .into_iter()
            .chain(self.segment.take());
        for mut segment in segments {
            if segment.first_lsn > counted {
                if lost.is_empty() {
                    self.previous_first_lsn = segment.previous_first_lsn;
                }
                lost.push(segment.number);
                continue;
            }
            closed.push(segment.number);
            segment.cut_back(counted);
            self.closed.push_back(segment);
        }
        (closed, lost)
    }

    /// False while older writes than a failed one are still on their way.
    pub(crate) fn may_open_segment(&mut self) -> bool {
        if self.flights.is_empty() {
            self.unsettled_failure = false;
        }
        !self.unsettled_failure
    }

    /// The content of a record that is not settled yet, in the batch at `lsn`.
    pub(crate) fn pending_content(&self, lsn: Lsn, row: &RecordRow) -> Option<&[u8]> {
        self.pending_stored(lsn, row)?.get(RECORD_HEADER_BYTES..)
    }

    /// Header and content of a record that is not settled yet, as the batch at `lsn` has them.
    pub(crate) fn pending_stored(&self, lsn: Lsn, row: &RecordRow) -> Option<&[u8]> {
        if let Some(open) = self.open.as_ref().filter(|batch| batch.lsn == lsn) {
            return open.stored(row);
        }
        let in_flight = self.flights.iter().map(|flight| &flight.write);
        in_flight.chain(&self.queued).find_map(|write| match write {
            LogWrite::Batch(batch) if batch.lsn == lsn => batch.stored(row),
            LogWrite::Batch(_) | LogWrite::Header { .. } => None,
        })
    }

    /// The bytes of a closed batch that is not settled yet, and where in them the record begins.
    pub(crate) fn pending_shared(&self, lsn: Lsn, row: &RecordRow) -> Option<(FrozenBuffer, u64)> {
        let in_flight = self.flights.iter().map(|flight| &flight.write);
        in_flight.chain(&self.queued).find_map(|write| match write {
            LogWrite::Batch(batch) if batch.lsn == lsn => batch.shared(row),
            LogWrite::Batch(_) | LogWrite::Header { .. } => None,
        })
    }

    /// Batches that wait for a place in flight.
    pub(crate) fn queued_batches(&self) -> usize {
        self.queued
            .iter()
            .filter(|write| matches!(write, LogWrite::Batch(_)))
            .count()
    }

    /// True if nothing is open, queued or in flight.
    pub(crate) fn is_drained(&self) -> bool {
        self.open.is_none() && self.queued.is_empty() && self.flights.is_empty()
    }
}

impl OpenSegment {
    /// Forgets the batches after `last`.
    fn cut_back(&mut self, last: Lsn) {
        let first_beyond = self
            .rows
            .iter()
            .enumerate()
            .find_map(|(position, row)| match row {
                SummaryRow::Batch(batch) if batch.lsn > last => {
                    Some((position, batch.offset_bytes))
                }
                SummaryRow::Batch(_) | SummaryRow::Record(_) => None,
            });
        if let Some((position, offset_bytes)) = first_beyond {
            self.rows.truncate(position);
            self.end_bytes = offset_bytes;
            self.last_lsn = last;
        }
    }
}

fn writes_of(write: LogWrite) -> Option<Writes> {
    match write {
        LogWrite::Batch(batch) => Some(batch.writes),
        LogWrite::Header { .. } => None,
    }
}
