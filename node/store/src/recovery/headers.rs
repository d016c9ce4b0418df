//! What each segment says of itself: its header, and its footer if it is sealed.
//!
//! Two copies of a header may differ after a crash: the later one counts. A segment that says it holds
//! no log is not simply believed: a header may have been lost or written over, so what follows from it
//! is compared with what the segment holds and with what the newest header says there should be.

use corelith_io::{DeviceError, DeviceOffset, DmaBuffer};
use futures_util::stream::{self, StreamExt};

use super::data::{has_begun, scan_data};
use super::{Highest, LogSegment, RecoveryReport, device_error};
use crate::format::batch_header::BatchHeader;
use crate::format::segment_header::{
    SEGMENT_HEADER_COPIES, SegmentHeader, SegmentHeaderError, SegmentUse,
};
use crate::format::summary::{FOOTER_COPIES, Footer, SummaryRow};
use crate::limits::RECOVERY_HEADERS_IN_FLIGHT;
use crate::log::LogGeometry;
use crate::place::{SegmentNumber, SegmentPlace};
use crate::planted::{PlantedBug, is_planted};
use crate::segments::{Segment, SegmentState};
use crate::state::{AttachedDevice, ShardCore};
use crate::{Lsn, OpenError};

/// What all segments say of themselves.
#[derive(Default)]
pub(super) struct Headers {
    /// Those that hold the log, in log order.
    pub(super) log: Vec<LogSegment>,
    /// Those that hold pages of checkpoints.
    pub(super) checkpoints: Vec<LogSegment>,
    /// Prepared segments with batches in them that nothing vouches for yet, and where those stand in the log.
    begun: Vec<(SegmentNumber, Vec<Lsn>)>,
    /// Headers of which not both copies are on the device.
    pub(super) torn: Vec<SegmentHeader>,
    /// The highest numbers in any header.
    pub(super) highest: Highest,
    /// What headers vouch for, whatever their segments hold.
    pub(super) vouched: Vec<Vouched>,
}

/// Everything up to `durable` that counts was durable, and the segment that began at `first_lsn` holds the batch
/// there: a header says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vouched {
    pub(super) first_lsn: Lsn,
    pub(super) durable: Lsn,
}

/// What one segment turned out to be.
enum Found {
    Unused,
    /// Free or prepared: nothing in it counts.
    Empty(SegmentHeader),
    /// Prepared, with batches of that life in it: the log went on elsewhere when its header could not be written, or
    /// the drive has lost that.
    Begun(SegmentHeader, Vec<Lsn>),
    Log(LogSegment),
    /// Pages of checkpoints.
    Pages(LogSegment),
    Unreadable,
}

/// Reads the headers and footers of all segments, and notes their lives and states.
pub(super) async fn read_headers(
    core: &ShardCore,
    report: &mut RecoveryReport,
) -> Result<Headers, OpenError> {
    let places: Vec<(SegmentNumber, SegmentPlace)> = {
        let state = core.state.borrow();
        state
            .segments
            .iter()
            .map(|(number, segment)| (number, segment.place))
            .collect()
    };
    let mut reads = stream::iter(places)
        .map(|(number, place)| async move {
            (number, SegmentReader::new(core, number, place).read().await)
        })
        .buffered(RECOVERY_HEADERS_IN_FLIGHT);
    let mut empty = Vec::new();
    let mut headers = Headers::default();
    while let Some((number, found)) = reads.next().await {
        let (found, torn) = found?;
        headers.torn.extend(torn);
        let mut state = core.state.borrow_mut();
        if let Found::Begun(_, lsns) = &found {
            headers.begun.push((number, lsns.clone()));
        }
        match found {
            Found::Unused => {}
            Found::Empty(header) | Found::Begun(header, _) => {
                headers.note(&header);
                state.segments.change(number, |segment| {
                    segment.become_free(header.life, header.freed_lsn);
                });
                empty.push(header);
            }
            Found::Log(found) => {
                headers.note(&found.header);
                state
                    .segments
                    .change(number, |segment| note_log(segment, &found));
                report.segments += 1;
                headers.log.push(found);
            }
            Found::Pages(found) => {
                headers.note(&found.header);
                let (life, freed_lsn) = (found.header.life, found.header.freed_lsn);
                state.segments.change(number, |segment| {
                    segment.become_free(life, freed_lsn);
                    segment.state = SegmentState::Checkpoint;
                });
                empty.push(found.header.clone());
                headers.checkpoints.push(found);
            }
            Found::Unreadable => {
                state.segments.change(number, Segment::become_unreadable);
                report.segments_unreadable += 1;
            }
        }
    }
    headers.miss_begun(core, report);
    headers.log.sort_by_key(|segment| segment.header.first_lsn);
    if is_planted(PlantedBug::ReplayBackwards) {
        headers.log.reverse();
    }
    report.segments_missing = headers.missing(&empty, report.segments_unreadable);
    Ok(headers)
}

fn note_log(segment: &mut Segment, found: &LogSegment) {
    let header = &found.header;
    segment.life = header.life;
    segment.first_lsn = header.first_lsn;
    segment.declares_void = header.predecessor.advanced(1) < header.first_lsn;
    segment.header_is_durable = true;
    segment.version_min = header.first_version;
    segment.state = if found.footer.is_some() {
        SegmentState::Sealed
    } else {
        SegmentState::Closed
    };
}

impl Headers {
    fn note(&mut self, header: &SegmentHeader) {
        let highest = &mut self.highest;
        highest.lsn = highest.lsn.max(header.first_lsn).max(header.predecessor);
        highest.version = highest.version.max(header.first_version);
        highest.time_ms = highest.time_ms.max(header.opened_ms);
        if is_planted(PlantedBug::ForgetVouchers) {
            return;
        }
        self.vouched.push(Vouched {
            first_lsn: header.durable_first_lsn,
            durable: header.durable,
        });
    }

    /// Misses the prepared segments that something vouches for.
    pub(super) fn miss_begun(&mut self, core: &ShardCore, report: &mut RecoveryReport) {
        for (number, lsns) in std::mem::take(&mut self.begun) {
            if lsns.iter().any(|lsn| self.vouches_for(*lsn)) {
                let mut state = core.state.borrow_mut();
                state.segments.change(number, Segment::become_unreadable);
                report.segments_unreadable += 1;
            } else {
                self.begun.push((number, lsns));
            }
        }
    }

    /// The highest position that a header or a page vouches for.
    pub(super) fn vouched_last(&self) -> Option<Vouched> {
        let vouched = self.vouched.iter().copied();
        vouched.max_by_key(|vouched| vouched.durable)
    }

    /// True if a header or a page says that the segment with the batch at `lsn` held durable ones from there on: positions of
    /// one segment have no gap up to a durable one, and none is given twice.
    fn vouches_for(&self, lsn: Lsn) -> bool {
        let mut vouched = self.vouched.iter();
        vouched.any(|vouched| {
            vouched.first_lsn != Lsn::NONE && vouched.first_lsn <= lsn && lsn <= vouched.durable
        })
    }

    /// How many segments of the log are gone without a trace: the newest one says how many there were
    /// when it was opened, and those freed since say so.
    fn missing(&self, empty: &[SegmentHeader], unreadable: u64) -> u64 {
        let Some(newest) = self.log.last() else {
            return 0;
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let freed_since = empty
            .iter()
            .filter(|header| header.freed_lsn >= newest.header.first_lsn)
            .count();
        let expected = u64::from(newest.header.older_segments).saturating_sub(count(freed_since));
        expected.saturating_sub(count(self.log.len() - 1) + unreadable)
    }
}

/// Reads what one segment says of itself.
struct SegmentReader<'a> {
    core: &'a ShardCore,
    geometry: LogGeometry,
    number: SegmentNumber,
    place: SegmentPlace,
}

impl<'a> SegmentReader<'a> {
    fn new(core: &'a ShardCore, number: SegmentNumber, place: SegmentPlace) -> Self {
        let geometry = core.state.borrow().log.geometry();
        Self {
            core,
            geometry,
            number,
            place,
        }
    }

    /// What the segment is, and its header if not both copies of that are on the device.
    async fn read(&self) -> Result<(Found, Option<SegmentHeader>), OpenError> {
        let Some(attached) = self.core.device(self.place.slot) else {
            return Ok((Found::Unreadable, None));
        };
        let mut newest: Option<SegmentHeader> = None;
        let (mut damaged, mut torn) = (false, false);
        for copy in 0..SEGMENT_HEADER_COPIES {
            match self.read_header(attached, copy).await? {
                Some(Ok(header)) => {
                    torn |= copy > 0 && newest.as_ref() != Some(&header);
                    if newest.as_ref().is_none_or(|known| header.supersedes(known)) {
                        newest = Some(header);
                    }
                }
                Some(Err(SegmentHeaderError::NotASegment)) => torn = true,
                Some(Err(
                    SegmentHeaderError::Checksum { .. }
                    | SegmentHeaderError::Foreign { .. }
                    | SegmentHeaderError::State { .. },
                ))
                | None => (damaged, torn) = (true, true),
            }
        }
        let Some(header) = newest else {
            let unused = !damaged && !self.has_remains(attached).await?;
            return Ok((
                if unused {
                    Found::Unused
                } else {
                    Found::Unreadable
                },
                None,
            ));
        };
        let torn = torn.then(|| header.clone());
        let found = match header.state {
            _ if header.shard != self.core.number => Found::Unreadable,
            SegmentUse::Free => Found::Empty(header),
            SegmentUse::Prepared => self.prepared(attached, header).await?,
            SegmentUse::Checkpoint => Found::Pages(LogSegment {
                number: self.number,
                header,
                footer: None,
            }),
            SegmentUse::Log => {
                let footer = self.read_footer(attached).await?;
                let footer = footer.filter(|footer| footer.life == header.life);
                Found::Log(LogSegment {
                    number: self.number,
                    header,
                    footer,
                })
            }
        };
        Ok((found, torn))
    }

    async fn read_header(
        &self,
        attached: &AttachedDevice,
        copy: u64,
    ) -> Result<Option<Result<SegmentHeader, SegmentHeaderError>>, OpenError> {
        let offset_bytes = copy * self.geometry.write_unit_bytes;
        let block = self.read_unit(attached, offset_bytes).await?;
        Ok(block
            .as_ref()
            .and_then(|block| block.as_slice().first_chunk())
            .map(|block| {
                SegmentHeader::decode(
                    block,
                    &self.core.volume,
                    self.place.slot,
                    self.place.offset_bytes,
                )
            }))
    }

    /// The footer of the last life that was sealed.
    async fn read_footer(&self, attached: &AttachedDevice) -> Result<Option<Footer>, OpenError> {
        for copy in 0..FOOTER_COPIES {
            let from_end = (FOOTER_COPIES - copy) * self.geometry.write_unit_bytes;
            let offset = self.geometry.segment_bytes - from_end;
            let block = self.read_unit(attached, offset).await?;
            let on_device = self.place.offset_bytes + offset;
            let footer = block
                .as_ref()
                .and_then(|block| block.as_slice().first_chunk())
                .and_then(|block| Footer::decode_of_any_life(block, attached.binding, on_device));
            if footer.is_some() {
                return Ok(footer);
            }
        }
        Ok(None)
    }

    /// The batch that follows the header, of whatever life.
    async fn read_first_batch(
        &self,
        attached: &AttachedDevice,
    ) -> Result<Option<BatchHeader>, OpenError> {
        let offset = SEGMENT_HEADER_COPIES * self.geometry.write_unit_bytes;
        let block = self.read_unit(attached, offset).await?;
        let on_device = self.place.offset_bytes + offset;
        Ok(block
            .as_ref()
            .and_then(|block| block.as_slice().first_chunk())
            .and_then(|block| BatchHeader::decode_of_any_life(block, attached.binding, on_device)))
    }

    /// True if a segment without a header has been part of this volume's log: a life is on record
    /// before its first batch, so the header has been lost.
    async fn has_remains(&self, attached: &AttachedDevice) -> Result<bool, OpenError> {
        Ok(self.read_first_batch(attached).await?.is_some()
            || self.read_footer(attached).await?.is_some())
    }

    /// What a segment that says "prepared" is. It has been part of the log in this very life if a footer or
    /// one of its batches proves that others of its batches were durable: they are only when a header that
    /// says "log" is. If its batches alone do not tell, headers of others may.
    async fn prepared(
        &self,
        attached: &AttachedDevice,
        header: SegmentHeader,
    ) -> Result<Found, OpenError> {
        let footer = self.read_footer(attached).await?;
        if footer.is_some_and(|footer| footer.life == header.life) {
            return Ok(Found::Unreadable);
        }
        let lost = LogSegment {
            number: self.number,
            header: header.clone(),
            footer: None,
        };
        if !has_begun(self.core, &lost).await? {
            return Ok(Found::Empty(header));
        }
        let found = scan_data(self.core, &lost, &|_| false).await?;
        let batches = || {
            found.rows.iter().filter_map(|row| match row {
                SummaryRow::Batch(batch) => Some(batch),
                SummaryRow::Record(_) => None,
            })
        };
        let lsns: Vec<Lsn> = batches().map(|batch| batch.lsn).collect();
        let first = lsns.iter().min();
        if first.is_some_and(|first| batches().any(|batch| batch.durable >= *first)) {
            return Ok(Found::Unreadable);
        }
        Ok(Found::Begun(header, lsns))
    }

    /// One write unit of the segment; `None` if the device does not return it. A device that is gone fails the
    /// start.
    async fn read_unit(
        &self,
        attached: &AttachedDevice,
        offset_bytes: u64,
    ) -> Result<Option<DmaBuffer>, OpenError> {
        let unit = crate::format::fields::usize_of(self.geometry.write_unit_bytes);
        let buffer = self.core.pool.take(unit)?;
        let offset = DeviceOffset::new(self.place.offset_bytes + offset_bytes);
        let (buffer, result) = attached.device.read(offset, buffer, unit).await;
        match result {
            Ok(()) => Ok(Some(buffer)),
            Err(DeviceError::Gone) => {
                Err(device_error(self.core, self.place.slot, DeviceError::Gone))
            }
            Err(_) => Ok(None),
        }
    }
}
