//! Rows of a segment: from its summary, or from its data when it has none that can be used.

use corelith_io::{BufferError, DeviceOffset, DmaBuffer};

use super::{LogSegment, ScannedSegment};
use crate::Lsn;
use crate::format::batch_header::{BATCH_HEADER_BYTES, BatchHeader};
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordHeader};
use crate::format::segment_header::SEGMENT_HEADER_COPIES;
use crate::format::summary::{BatchRow, Footer, RecordRow, SummaryRow, block_counts, decode_rows};
use crate::limits::RECOVERY_READ_BYTES;
use crate::state::ShardCore;

/// The rows of a sealed segment; `None` if its summary cannot be read whole.
pub(super) async fn read_summary(
    core: &ShardCore,
    segment: &LogSegment,
    footer: &Footer,
) -> Result<Option<Vec<SummaryRow>>, BufferError> {
    let geometry = core.state.borrow().log.geometry();
    let unit = geometry.write_unit_bytes;
    let row_count = u64::from(footer.row_count);
    let (data, parity) = block_counts(row_count, unit);
    let length_bytes = (data + parity) * unit;
    let end = footer.summary_offset_bytes.checked_add(length_bytes);
    if end.is_none_or(|end| end > geometry.segment_bytes) {
        return Ok(None);
    }
    let buffer = read_range(core, segment, footer.summary_offset_bytes, length_bytes).await?;
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
) -> Result<ScannedSegment, BufferError> {
    let geometry = core.state.borrow().log.geometry();
    let unit = geometry.write_unit_bytes;
    let first = SEGMENT_HEADER_COPIES * unit;
    let buffer = read_range(core, segment, 0, geometry.segment_bytes).await?;
    let bytes = buffer
        .as_slice()
        .get(..usize_of(geometry.segment_bytes))
        .unwrap_or_default();
    let mut scan = Scan {
        bytes,
        binding: DeviceBinding::new(&core.volume, segment.header.slot),
        segment,
        found: ScannedSegment {
            rows: Vec::new(),
            damaged: Vec::new(),
            torn: Vec::new(),
            end_bytes: first,
        },
    };
    let mut offset = first;
    while offset < geometry.segment_bytes {
        let batch = scan
            .batch_at(offset, unit)
            .filter(|batch| !is_void(batch.lsn));
        offset += match batch {
            Some(batch) => {
                scan.records_of(offset, &batch);
                u64::from(batch.length_bytes)
            }
            // A hole: a batch that was never acknowledged may be missing before ones that were.
            None => unit,
        };
    }
    Ok(scan.found)
}

/// A walk over the bytes of one segment.
struct Scan<'a> {
    bytes: &'a [u8],
    binding: DeviceBinding,
    segment: &'a LogSegment,
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
        BatchHeader::decode(block, self.binding, on_device, header.life).filter(|batch| {
            let length = u64::from(batch.length_bytes);
            batch.shard == header.shard
                && batch.lsn >= header.first_lsn
                && length > 0
                && length.is_multiple_of(unit)
                && offset + length <= u64_of(self.bytes.len())
        })
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
            let life = self.segment.header.life;
            let record = at_hand
                .first_chunk::<RECORD_HEADER_BYTES>()
                .and_then(|block| RecordHeader::decode(block, self.binding, on_device, life).ok());
            let Some(record) = record else {
                // Without this header the next one cannot be found.
                found.torn.push(header.lsn);
                return;
            };
            let behind = at_hand.get(RECORD_HEADER_BYTES..).unwrap_or_default();
            if record.verify_content(behind).is_err() {
                found.damaged.push(found.rows.len());
            }
            found.rows.push(SummaryRow::Record(RecordRow {
                offset_bytes: position,
                content_bytes: record.content_bytes,
                flags: record.flags,
                version: record.version,
                digest: record.digest,
                generation: record.generation,
                set: record.set,
                expiry: record.expiry,
            }));
            position += RecordHeader::stored_bytes(record.content_bytes.into());
        }
    }
}

/// Reads part of a segment in pieces. What the device does not return is zeros, which no checksum
/// accepts: a failed piece is read again unit by unit, so that one bad block hides no neighbour.
async fn read_range(
    core: &ShardCore,
    segment: &LogSegment,
    offset_bytes: u64,
    length_bytes: u64,
) -> Result<DmaBuffer, BufferError> {
    let unit = core.state.borrow().log.geometry().write_unit_bytes;
    let mut whole = core.pool.take(usize_of(length_bytes.max(1)))?;
    whole.as_mut_slice().fill(0);
    let mut done = 0;
    while done < length_bytes {
        let length = RECOVERY_READ_BYTES.min(length_bytes - done);
        let mut pieces = vec![(done, length)];
        while let Some((start, length)) = pieces.pop() {
            let place = (segment, offset_bytes + start);
            let target = whole
                .as_mut_slice()
                .get_mut(usize_of(start)..usize_of(start + length))
                .unwrap_or_default();
            if !read_into(core, place, target).await? && length > unit {
                pieces.extend((0..length / unit).map(|number| (start + number * unit, unit)));
            }
        }
        done += length;
    }
    Ok(whole)
}

/// Fills `target` from the segment; false if the device does not return the bytes.
async fn read_into(
    core: &ShardCore,
    (segment, offset_bytes): (&LogSegment, u64),
    target: &mut [u8],
) -> Result<bool, BufferError> {
    let length = target.len();
    let buffer = core.pool.take(length)?;
    let Some(attached) = core.device(segment.header.slot) else {
        return Ok(false);
    };
    let offset = DeviceOffset::new(segment.header.offset_bytes + offset_bytes);
    let (buffer, result) = attached.device.read(offset, buffer, length).await;
    if result.is_err() {
        return Ok(false);
    }
    target.copy_from_slice(buffer.as_slice().get(..length).unwrap_or_default());
    Ok(true)
}
