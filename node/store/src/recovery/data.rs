//! Rows of a segment: from its summary, or from its data when it has none that can be used.

use std::collections::HashSet;
use std::ops::Range;

use corelith_io::{DeviceError, DeviceOffset, DmaBuffer};

use super::replay::batch_lsn;
use super::{LogSegment, ScannedSegment, device_error};
use crate::format::batch_header::{BATCH_HEADER_BYTES, BatchHeader};
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordHeader};
use crate::format::segment_header::SEGMENT_HEADER_COPIES;
use crate::format::summary::{BatchRow, Footer, RecordRow, SummaryRow, block_counts, decode_rows};
use crate::limits::{RECOVERY_READ_ATTEMPTS_MAX, RECOVERY_READ_BYTES};
use crate::planted::{PlantedBug, is_planted};
use crate::state::ShardCore;
use crate::{Lsn, OpenError};

/// The rows of a sealed segment; `None` if its summary cannot be read whole.
pub(super) async fn read_summary(
    core: &ShardCore,
    segment: &LogSegment,
    footer: &Footer,
) -> Result<Option<Vec<SummaryRow>>, OpenError> {
    let geometry = core.state.borrow().log.geometry();
    let unit = geometry.write_unit_bytes;
    let row_count = u64::from(footer.row_count);
    let (data, parity) = block_counts(row_count, unit);
    let length_bytes = (data + parity) * unit;
    let end = footer.summary_offset_bytes.checked_add(length_bytes);
    if end.is_none_or(|end| end > geometry.segment_bytes) {
        return Ok(None);
    }
    let (buffer, _) = read_range(core, segment, footer.summary_offset_bytes, length_bytes).await?;
    let Some(attached) = core.device(segment.header.slot) else {
        return Ok(None);
    };
    let start = segment.header.offset_bytes + footer.summary_offset_bytes;
    let area = buffer
        .as_slice()
        .get(..usize_of(length_bytes))
        .unwrap_or_default();
    let place = (attached.binding, start, segment.header.life);
    match decode_rows(area, row_count, unit, place) {
        Ok(rows) => Ok(Some(rows)),
        Err(error) => {
            tracing::warn!(shard = core.number, %error, "a segment's summary cannot be used: its data is scanned instead");
            Ok(None)
        }
    }
}

/// Finds every batch and record of a segment by reading all of it.
pub(super) async fn scan_data(
    core: &ShardCore,
    segment: &LogSegment,
    is_void: &dyn Fn(Lsn) -> bool,
) -> Result<ScannedSegment, OpenError> {
    let segment_bytes = core.state.borrow().log.geometry().segment_bytes;
    let read = read_surely(core, segment, segment_bytes).await?;
    Ok(scan_bytes(core, segment, &read, is_void))
}

/// Whether a batch of the segment's life stands near its beginning. Not only the first counts: it may have
/// been lost together with the header. What a longer first batch would hide is not looked for, since
/// segments that were prepared and never used are met at every start.
pub(super) async fn has_begun(core: &ShardCore, segment: &LogSegment) -> Result<bool, OpenError> {
    let segment_bytes = core.state.borrow().log.geometry().segment_bytes;
    let read = read_range(core, segment, 0, segment_bytes.min(RECOVERY_READ_BYTES)).await?;
    let found = scan_bytes(core, segment, &read, &|_| false);
    Ok(!found.rows.is_empty())
}

/// Reads a whole segment until two reads in a row agree. Nothing but its bytes says what a segment holds
/// that was never sealed: one read that the drive answers with other blocks would look like a segment in
/// which nothing was written, and it would be sealed as that.
async fn read_surely(
    core: &ShardCore,
    segment: &LogSegment,
    segment_bytes: u64,
) -> Result<(DmaBuffer, HashSet<u64>), OpenError> {
    let unit = core.state.borrow().log.geometry().write_unit_bytes;
    let (mut bytes, mut refused) = read_range(core, segment, 0, segment_bytes).await?;
    for _ in 1..RECOVERY_READ_ATTEMPTS_MAX {
        let (again, also_refused) = read_range(core, segment, 0, segment_bytes).await?;
        refused.extend(also_refused);
        let units = bytes.as_slice().chunks(usize_of(unit));
        let pairs = units.zip(again.as_slice().chunks(usize_of(unit)));
        let mut differ = (0..segment_bytes)
            .step_by(usize_of(unit))
            .zip(pairs)
            .filter(|(offset, (first, second))| first != second && !refused.contains(offset));
        if differ.next().is_none() {
            return Ok((bytes, refused));
        }
        bytes = again;
    }
    // A drive that never says the same twice returns nothing.
    refused.extend((0..segment_bytes).step_by(usize_of(unit)));
    bytes.as_mut_slice().fill(0);
    Ok((bytes, refused))
}

/// Writes again what verifies of the batches in `rows`: the same bytes in the same place.
///
/// They may have been in a volatile cache only, and a flush may have failed since, of which this process
/// knows nothing: a kernel or a drive reports that once, and says yes to the next flush. A torn write of
/// the same bytes harms nobody. Of a batch that is not whole the records that verify are written, since they are
/// served; blocks in which nothing verifies may be another place's, and are left alone.
pub(super) async fn write_again(
    core: &ShardCore,
    segment: &LogSegment,
    rows: &[SummaryRow],
) -> Result<(), OpenError> {
    let geometry = core.state.borrow().log.geometry();
    let Some(attached) = core.device(segment.header.slot) else {
        return Ok(());
    };
    let counted: HashSet<Lsn> = rows.iter().filter_map(batch_lsn).collect();
    let is_void = |lsn| !counted.contains(&lsn);
    let mut read = read_range(core, segment, 0, geometry.segment_bytes).await?;
    let mut found = scan_bytes(core, segment, &read, &is_void);
    // A drive that answers with other blocks once is believed no more here than when the segment was scanned.
    if found.rows.len() - found.damaged.len() < rows.len() {
        read = read_surely(core, segment, geometry.segment_bytes).await?;
        found = scan_bytes(core, segment, &read, &is_void);
    }
    let verified = verified_blocks(&found, geometry.write_unit_bytes);
    let bytes = read.0.freeze();
    for blocks in verified {
        let offset = DeviceOffset::new(segment.header.offset_bytes + blocks.start);
        let range = usize_of(blocks.start)..usize_of(blocks.end);
        let written = attached.device.write_durable(offset, bytes.clone(), range);
        written.await.map_err(|error| OpenError::Device {
            device: attached.device.name().to_owned(),
            error,
        })?;
    }
    Ok(())
}

/// Where in the segment the blocks of `unit` bytes lie that hold a batch's header, or part of a record that
/// verifies; neighbours are joined.
fn verified_blocks(found: &ScannedSegment, unit: u64) -> Vec<Range<u64>> {
    let damaged: HashSet<usize> = found.damaged.iter().copied().collect();
    let mut blocks: Vec<Range<u64>> = Vec::new();
    for (position, row) in found.rows.iter().enumerate() {
        let bytes = match row {
            SummaryRow::Batch(batch) => batch.offset_bytes..batch.offset_bytes + unit,
            SummaryRow::Record(_) if damaged.contains(&position) => continue,
            SummaryRow::Record(record) => {
                let stored = RecordHeader::stored_bytes(record.content_bytes.into());
                record.offset_bytes..record.offset_bytes + stored
            }
        };
        let (start, end) = (bytes.start / unit * unit, bytes.end.next_multiple_of(unit));
        match blocks.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            Some(_) | None => blocks.push(start..end),
        }
    }
    blocks
}

/// Finds every batch and record in what was read of a segment.
fn scan_bytes(
    core: &ShardCore,
    segment: &LogSegment,
    (buffer, refused_units): &(DmaBuffer, HashSet<u64>),
    is_void: &dyn Fn(Lsn) -> bool,
) -> ScannedSegment {
    let geometry = core.state.borrow().log.geometry();
    let unit = geometry.write_unit_bytes;
    let first = SEGMENT_HEADER_COPIES * unit;
    let bytes = buffer.as_slice();
    let bytes = bytes
        .get(..usize_of(geometry.segment_bytes))
        .unwrap_or(bytes);
    let mut scan = Scan {
        bytes,
        binding: DeviceBinding::new(&core.volume, segment.header.slot),
        segment,
        unit,
        refused_units,
        found: ScannedSegment {
            rows: Vec::new(),
            damaged: Vec::new(),
            torn: Vec::new(),
            refused: Vec::new(),
            refused_holes: 0,
            end_bytes: first,
        },
    };
    let mut offset = first;
    while offset < u64_of(bytes.len()) {
        let batch = scan
            .batch_at(offset, unit)
            .filter(|batch| !is_void(batch.lsn));
        offset += match batch {
            Some(batch) => {
                scan.records_of(offset, &batch);
                u64::from(batch.length_bytes)
            }
            // A hole: a batch that was never acknowledged may be missing before ones that were.
            None => {
                scan.found.refused_holes += u64::from(scan.is_refused(offset..offset + unit));
                unit
            }
        };
    }
    scan.found
}

/// A walk over the bytes of one segment.
struct Scan<'a> {
    bytes: &'a [u8],
    binding: DeviceBinding,
    segment: &'a LogSegment,
    unit: u64,
    /// Offsets of the units that the device does not return.
    refused_units: &'a HashSet<u64>,
    found: ScannedSegment,
}

impl Scan<'_> {
    /// The header of the batch at `offset`, if one of this life is there and lies in the segment.
    fn batch_at(&self, offset: u64, unit: u64) -> Option<BatchHeader> {
        let header = &self.segment.header;
        let block = self
            .bytes
            .get(usize_of(offset)..)?
            .first_chunk::<BATCH_HEADER_BYTES>()?;
        let on_device = header.offset_bytes + offset;
        let decoded = BatchHeader::decode_of_any_life(block, self.binding, on_device);
        decoded.filter(|batch| {
            let length = u64::from(batch.length_bytes);
            let is_of_life = batch.life == header.life && batch.lsn >= header.first_lsn;
            batch.shard == header.shard
                && (is_of_life || is_planted(PlantedBug::BelieveOtherLife))
                && length > 0
                && length.is_multiple_of(unit)
                && offset + length <= u64_of(self.bytes.len())
        })
    }

    /// Whether the device does not return all of these bytes.
    fn is_refused(&self, bytes: Range<u64>) -> bool {
        let first = bytes.start / self.unit * self.unit;
        let mut units = (first..bytes.end).step_by(usize_of(self.unit));
        !self.refused_units.is_empty() && units.any(|unit| self.refused_units.contains(&unit))
    }

    /// Notes the batch at `offset` and its records.
    fn records_of(&mut self, offset: u64, header: &BatchHeader) {
        let found = &mut self.found;
        found.rows.push(SummaryRow::Batch(BatchRow {
            offset_bytes: offset,
            length_bytes: header.length_bytes,
            lsn: header.lsn,
            durable: header.durable,
            time_ms: header.time_ms,
            record_count: header.record_count,
        }));
        found.end_bytes = offset + u64::from(header.length_bytes);
        let end = offset + u64::from(header.used_bytes);
        let mut position = offset + u64_of(BATCH_HEADER_BYTES);
        for _ in 0..header.record_count {
            let at_hand = self
                .bytes
                .get(usize_of(position)..usize_of(end))
                .unwrap_or_default();
            let on_device = self.segment.header.offset_bytes + position;
            let life = if is_planted(PlantedBug::BelieveOtherLife) {
                header.life
            } else {
                self.segment.header.life
            };
            let record = at_hand
                .first_chunk::<RECORD_HEADER_BYTES>()
                .and_then(|block| RecordHeader::decode(block, self.binding, on_device, life).ok());
            let Some(record) = record else {
                // Without this header the next one cannot be found.
                let is_refused = self.is_refused(position..end);
                self.found.refused_holes += u64::from(is_refused);
                self.found.torn.push(header.lsn);
                return;
            };
            let behind = at_hand.get(RECORD_HEADER_BYTES..).unwrap_or_default();
            let stored = RecordHeader::stored_bytes(record.content_bytes.into());
            if record.verify_content(behind).is_err() {
                let row = self.found.rows.len();
                self.found.damaged.push(row);
                if self.is_refused(position..position + stored) {
                    self.found.refused.push(row);
                }
            }
            self.found.rows.push(SummaryRow::Record(RecordRow {
                offset_bytes: position,
                content_bytes: record.content_bytes,
                flags: record.flags,
                version: record.version,
                digest: record.digest,
                generation: record.generation,
                set: record.set,
                expiry: record.expiry,
            }));
            position += stored;
        }
    }
}

/// Reads part of a segment. What the device does not return is zeros, which no checksum
/// accepts: a failed read is done again in pieces, a failed piece unit by unit, so that one bad block hides no neighbour. With
/// the bytes come the offsets of the units that it refuses again and again.
pub(super) async fn read_range(
    core: &ShardCore,
    segment: &LogSegment,
    offset_bytes: u64,
    length_bytes: u64,
) -> Result<(DmaBuffer, HashSet<u64>), OpenError> {
    let unit = core.state.borrow().log.geometry().write_unit_bytes;
    if length_bytes == 0 {
        return Ok((core.pool.take(0)?, HashSet::new()));
    }
    let (mut whole, is_read) = read_at_once(core, segment, offset_bytes, length_bytes).await?;
    if is_read {
        return Ok((whole, HashSet::new()));
    }
    whole.as_mut_slice().fill(0);
    let mut refused = HashSet::new();
    let mut done = 0;
    while done < length_bytes {
        let length = RECOVERY_READ_BYTES.min(length_bytes - done);
        let mut pieces = vec![(done, length, RECOVERY_READ_ATTEMPTS_MAX)];
        while let Some((start, length, attempts)) = pieces.pop() {
            let place = (segment, offset_bytes + start);
            let target = whole
                .as_mut_slice()
                .get_mut(usize_of(start)..usize_of(start + length))
                .unwrap_or_default();
            // One as long as what has just failed would only fail again.
            let is_known = length == length_bytes && length > unit;
            if !is_known && read_into(core, place, target).await? {
                continue;
            }
            if length > unit {
                let units = (0..length / unit).map(|number| start + number * unit);
                pieces.extend(units.map(|start| (start, unit, attempts)));
            } else if attempts > 1 {
                pieces.push((start, length, attempts - 1));
            } else {
                refused.insert(start);
            }
        }
        done += length;
    }
    Ok((whole, refused))
}

/// Reads part of a segment in one read, into the buffer that is returned; false if that fails.
async fn read_at_once(
    core: &ShardCore,
    segment: &LogSegment,
    offset_bytes: u64,
    length_bytes: u64,
) -> Result<(DmaBuffer, bool), OpenError> {
    let length = usize_of(length_bytes);
    let buffer = core.pool.take(length)?;
    let slot = segment.header.slot;
    let gone = || device_error(core, slot, DeviceError::Gone);
    let attached = core.device(slot).ok_or_else(gone)?;
    let offset = DeviceOffset::new(segment.header.offset_bytes + offset_bytes);
    match attached.device.read(offset, buffer, length).await {
        (buffer, Ok(())) => Ok((buffer, true)),
        (_, Err(DeviceError::Gone)) => Err(gone()),
        (buffer, Err(_)) => Ok((buffer, false)),
    }
}

/// Fills `target` from the segment; false if the device does not return the bytes. What is on a device that is
/// gone is not lost, and no acceptance of a loss means it: then the start fails.
async fn read_into(
    core: &ShardCore,
    (segment, offset_bytes): (&LogSegment, u64),
    target: &mut [u8],
) -> Result<bool, OpenError> {
    let length = target.len();
    let buffer = core.pool.take(length)?;
    let Some(attached) = core.device(segment.header.slot) else {
        return Ok(false);
    };
    let offset = DeviceOffset::new(segment.header.offset_bytes + offset_bytes);
    let (buffer, result) = attached.device.read(offset, buffer, length).await;
    match result {
        Ok(()) => {}
        Err(DeviceError::Gone) => {
            return Err(device_error(core, segment.header.slot, DeviceError::Gone));
        }
        Err(_) => return Ok(false),
    }
    target.copy_from_slice(buffer.as_slice().get(..length).unwrap_or_default());
    Ok(true)
}
