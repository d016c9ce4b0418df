//! Rows of a sealed segment, a few blocks at a time and batch by batch: what a follower reads next.

use std::collections::VecDeque;

use corelith_io::{DeviceError, DeviceOffset, DmaBuffer};

use super::FollowError;
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u64_of, usize_of};
use crate::format::summary::{
    BatchRow, FOOTER_COPIES, Footer, RecordRow, SummaryRow, block_counts, decode_block, decode_rows,
};
use crate::limits::{BATCH_RECORDS_MAX, FOLLOW_ATTEMPTS, SCRUB_READ_BYTES};
use crate::log::LogGeometry;
use crate::place::SegmentPlace;
use crate::state::ShardCore;
use crate::{Life, Lsn};

/// A segment of the log in its life.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    pub(super) first_lsn: Lsn,
    pub(super) place: SegmentPlace,
    pub(super) life: Life,
    pub(super) binding: DeviceBinding,
    pub(super) geometry: LogGeometry,
}

/// A batch and its records, as rows have them.
pub(super) struct BatchRows {
    pub(super) batch: BatchRow,
    pub(super) records: Vec<RecordRow>,
}

/// What a segment's rows say next.
pub(super) enum Next {
    Batch(BatchRows),
    /// More of the summary must be read first.
    Unread,
    /// There is no further batch.
    End,
}

/// The rows of one sealed segment.
pub(super) struct SealedRows {
    stretch: Stretch,
    footer: Footer,
    /// The next block of the summary to read.
    block_next: u64,
    rows: VecDeque<SummaryRow>,
}

impl SealedRows {
    /// Finds the rows of a segment; `None` if its footer cannot be read.
    pub(super) async fn find(
        core: &ShardCore,
        stretch: Stretch,
    ) -> Result<Option<Self>, FollowError> {
        let geometry = stretch.geometry;
        let unit = geometry.write_unit_bytes;
        for _ in 0..FOLLOW_ATTEMPTS {
            for copy in 0..FOOTER_COPIES {
                let offset = geometry.segment_bytes - (FOOTER_COPIES - copy) * unit;
                let Some(bytes) = stretch.read(core, offset, unit).await? else {
                    continue;
                };
                let on_device = stretch.place.offset_bytes + offset;
                let footer = bytes.as_slice().first_chunk().and_then(|block| {
                    Footer::decode(block, stretch.binding, on_device, stretch.life)
                });
                let Some(footer) = footer else { continue };
                let (data, parity) = block_counts(footer.row_count.into(), unit);
                let start = footer.summary_offset_bytes;
                let end = start.saturating_add((data + parity) * unit);
                let is_possible = footer.first_lsn == stretch.first_lsn
                    && start.is_multiple_of(unit)
                    && end <= geometry.segment_bytes;
                return Ok(is_possible.then_some(Self {
                    stretch,
                    footer,
                    block_next: 0,
                    rows: VecDeque::new(),
                }));
            }
        }
        Ok(None)
    }

    pub(super) const fn stretch(&self) -> &Stretch {
        &self.stretch
    }

    /// The next batch from `from` on; those before it are left out. `None` if the rows make no sense.
    pub(super) fn next(&mut self, from: Lsn) -> Option<Next> {
        loop {
            let batch = match self.rows.front() {
                None if self.is_read() => return Some(Next::End),
                None => return Some(Next::Unread),
                Some(SummaryRow::Batch(batch)) => *batch,
                Some(SummaryRow::Record(_)) => return None,
            };
            let count = usize::try_from(batch.record_count).ok()?;
            if count > BATCH_RECORDS_MAX {
                return None;
            }
            if self.rows.len() <= count {
                return (!self.is_read()).then_some(Next::Unread);
            }
            if batch.lsn >= from {
                // They stay until the follower is behind them: it may give up while it reads them.
                let records = self.rows.iter().skip(1).take(count);
                let records = records.map(record_of).collect::<Option<_>>()?;
                return Some(Next::Batch(BatchRows { batch, records }));
            }
            self.rows.drain(..=count);
        }
    }

    fn is_read(&self) -> bool {
        let unit = self.stretch.geometry.write_unit_bytes;
        self.block_next >= block_counts(self.footer.row_count.into(), unit).0
    }

    /// Reads the next blocks of the summary; false if it cannot be read.
    pub(super) async fn read_more(&mut self, core: &ShardCore) -> Result<bool, FollowError> {
        let unit = self.stretch.geometry.write_unit_bytes;
        let row_count = u64::from(self.footer.row_count);
        let (data, _) = block_counts(row_count, unit);
        let count = (SCRUB_READ_BYTES / unit).max(1).min(data - self.block_next);
        let start = self.footer.summary_offset_bytes;
        let offset = start + self.block_next * unit;
        let on_device = self.stretch.place.offset_bytes + start;
        let place = (self.stretch.binding, on_device, self.stretch.life);
        if let Some(bytes) = self.stretch.read(core, offset, count * unit).await? {
            let mut blocks = (self.block_next..).zip(bytes.as_slice().chunks_exact(usize_of(unit)));
            let mut found = Vec::new();
            let is_sound = blocks.by_ref().take(usize_of(count)).all(|(index, block)| {
                decode_block(block, (index, row_count), unit, place, &mut found)
            });
            if is_sound {
                self.rows.extend(found);
                self.block_next += count;
                return Ok(true);
            }
        }
        self.read_all(core).await
    }

    /// Reads the whole summary, with what its parity blocks can bring back.
    async fn read_all(&mut self, core: &ShardCore) -> Result<bool, FollowError> {
        let unit = self.stretch.geometry.write_unit_bytes;
        let row_count = u64::from(self.footer.row_count);
        let (data, parity) = block_counts(row_count, unit);
        let length = (data + parity) * unit;
        let start = self.footer.summary_offset_bytes;
        let on_device = self.stretch.place.offset_bytes + start;
        let place = (self.stretch.binding, on_device, self.stretch.life);
        let first = usize_of(self.block_next * crate::format::summary::rows_per_block(unit));
        for _ in 0..FOLLOW_ATTEMPTS {
            let mut whole = core.pool.take(usize_of(length))?;
            whole.as_mut_slice().fill(0);
            for at in (0..length).step_by(usize_of(unit)) {
                // A block that the device refuses is zeros, which no checksum accepts.
                let Some(block) = self.stretch.read(core, start + at, unit).await? else {
                    continue;
                };
                let target = whole.as_mut_slice().get_mut(usize_of(at)..);
                let source = block.as_slice().get(..usize_of(unit)).unwrap_or_default();
                if let Some(target) = target.and_then(|target| target.get_mut(..source.len())) {
                    target.copy_from_slice(source);
                }
            }
            let area = whole.as_slice().get(..usize_of(length)).unwrap_or_default();
            if let Ok(rows) = decode_rows(area, row_count, unit, place) {
                self.rows.extend(rows.into_iter().skip(first));
                self.block_next = data;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Stretch {
    /// Part of the segment; `None` if the device does not return it.
    pub(super) async fn read(
        &self,
        core: &ShardCore,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Option<DmaBuffer>, FollowError> {
        let attached = core.device(self.place.slot).ok_or(FollowError::Gone)?;
        let length = usize_of(length_bytes);
        let buffer = core.pool.take(length)?;
        let offset = DeviceOffset::new(self.place.offset_bytes + offset_bytes);
        let (buffer, result) = attached.device.read(offset, buffer, length).await;
        core.state.borrow_mut().counters.follow_read_bytes += u64_of(length);
        match result {
            Ok(()) => Ok(Some(buffer)),
            Err(DeviceError::Gone) => {
                attached.tell_gone(core.number);
                Err(FollowError::Gone)
            }
            Err(_) => Ok(None),
        }
    }
}

fn record_of(row: &SummaryRow) -> Option<RecordRow> {
    match row {
        SummaryRow::Record(record) => Some(*record),
        SummaryRow::Batch(_) => None,
    }
}
