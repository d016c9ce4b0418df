//! A segment that is being reclaimed: its rows, and the records behind them, verified.

use corelith_index::{Entry, RecordAddress};
use corelith_io::{DeviceError, DeviceOffset, FrozenBuffer};

use super::Stop;
use crate::ReadError;
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RecordFlags, RecordHeader};
use crate::format::summary::{
    FOOTER_COPIES, Footer, RecordRow, SummaryRow, block_counts, decode_rows,
};
use crate::limits::{READ_ATTEMPTS_MAX, RECLAIM_READ_BYTES};
use crate::log::LogGeometry;
use crate::place::{RecordPlace, SegmentNumber, SegmentPlace};
use crate::record::Record;
use crate::state::{ShardCore, stored_length};
use crate::{Life, Version};

/// The segment.
pub(super) struct Victim {
    pub(super) number: SegmentNumber,
    pub(super) place: SegmentPlace,
    pub(super) life: Life,
    pub(super) binding: DeviceBinding,
    pub(super) geometry: LogGeometry,
    /// Tombstones below it are not needed: no other segment held an older dead record when this one was
    /// chosen. Stale copies of a key that is deleted are all there are, so none comes later.
    pub(super) pin: Version,
}

/// A record that may have to be moved.
#[derive(Clone, Copy)]
pub(super) struct Survivor {
    pub(super) row: RecordRow,
    pub(super) address: RecordAddress,
    /// Only the header of an expired record, of which the row tells all.
    pub(super) is_header: bool,
}

impl Survivor {
    /// What it takes in a batch, in bytes.
    pub(super) fn stored_bytes(&self) -> usize {
        usize_of(RecordHeader::stored_bytes(self.row.content_bytes.into()))
    }

    fn end_bytes(&self) -> u64 {
        self.row.offset_bytes + u64_of(self.stored_bytes())
    }
}

/// How many of the first survivors one read brings. There is at least one.
pub(super) fn group(survivors: &[Survivor]) -> usize {
    let Some(first) = survivors.first() else {
        return 0;
    };
    let start = first.row.offset_bytes;
    let others = survivors.iter().skip(1);
    let near = others.take_while(|other| other.end_bytes() - start <= RECLAIM_READ_BYTES);
    1 + near.count()
}

impl Victim {
    pub(super) fn address(&self, row: &RecordRow) -> Option<RecordAddress> {
        let place = RecordPlace {
            segment: self.number,
            offset_bytes: row.offset_bytes,
        };
        place.pack(self.geometry.segment_bytes)
    }

    /// The rows of its summary; `None` if that cannot be read.
    pub(super) async fn rows(&self, core: &ShardCore) -> Result<Option<Vec<SummaryRow>>, Stop> {
        let unit = self.geometry.write_unit_bytes;
        let Some(footer) = self.footer(core).await? else {
            return Ok(None);
        };
        let row_count = u64::from(footer.row_count);
        let (data, parity) = block_counts(row_count, unit);
        let length = (data + parity) * unit;
        let start = footer.summary_offset_bytes;
        if start.saturating_add(length) > self.geometry.segment_bytes {
            return Ok(None);
        }
        if length == 0 {
            return Ok(Some(Vec::new()));
        }
        for _ in 0..READ_ATTEMPTS {
            let Some(bytes) = self.read(core, start, length).await? else {
                continue;
            };
            let place = (self.binding, self.place.offset_bytes + start, self.life);
            let area = bytes.get(..usize_of(length)).unwrap_or_default();
            if let Ok(rows) = decode_rows(area, row_count, unit, place) {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    async fn footer(&self, core: &ShardCore) -> Result<Option<Footer>, Stop> {
        let unit = self.geometry.write_unit_bytes;
        for _ in 0..READ_ATTEMPTS {
            for copy in 0..FOOTER_COPIES {
                let offset = self.geometry.segment_bytes - (FOOTER_COPIES - copy) * unit;
                let Some(bytes) = self.read(core, offset, unit).await? else {
                    continue;
                };
                let on_device = self.place.offset_bytes + offset;
                let block = bytes.first_chunk();
                let footer = block
                    .and_then(|block| Footer::decode(block, self.binding, on_device, self.life));
                if footer.is_some() {
                    return Ok(footer);
                }
            }
        }
        Ok(None)
    }

    /// The bytes from the first of `group` to the last, and where in the segment they begin; `None` if the device
    /// does not return them at once.
    pub(super) async fn read_group(
        &self,
        core: &ShardCore,
        group: &[Survivor],
    ) -> Result<Option<(FrozenBuffer, u64)>, Stop> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(None);
        };
        let block = core.logical_block_bytes;
        let start = first.row.offset_bytes / block * block;
        let end = last.end_bytes().next_multiple_of(block);
        let end = end.min(self.geometry.segment_bytes);
        let bytes = self.read(core, start, end - start).await?;
        Ok(bytes.map(|bytes| (bytes, start)))
    }

    /// A record, both of its checksums verified; `None` if it cannot be had, in the bytes that were read or alone.
    pub(super) async fn record(
        &self,
        core: &ShardCore,
        survivor: &Survivor,
        bytes: Option<&(FrozenBuffer, u64)>,
    ) -> Result<Option<Record>, Stop> {
        let row = &survivor.row;
        if let Some((bytes, start)) = bytes {
            let on_device = (self.place.offset_bytes + row.offset_bytes, self.life);
            let at = row.offset_bytes - start;
            let record = Record::verify(bytes.clone(), at, self.binding, on_device).await;
            if let Some(record) = record.ok().filter(|record| is_of(row, record)) {
                return Ok(Some(record));
            }
        }
        let stored = RecordHeader::stored_bytes(row.content_bytes.into());
        let Some(length) = stored_length(stored) else {
            return Ok(None);
        };
        let entry = Entry {
            address: survivor.address,
            length,
            generation: row.generation,
            expiry: row.expiry,
            set: row.set,
            is_damaged: false,
            is_moved: row.flags.contains(RecordFlags::MOVED),
        };
        for _ in 0..READ_ATTEMPTS {
            match core.read_place(&entry).await {
                Ok(record) if is_of(row, &record) => return Ok(Some(record)),
                Ok(_) | Err(ReadError::Damaged(_)) => {}
                Err(ReadError::Buffer(_)) => return Err(Stop::NoRoom),
                Err(ReadError::Device(DeviceError::Gone)) => return Err(Stop::Over),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Part of the segment; `None` if the device does not return it.
    async fn read(
        &self,
        core: &ShardCore,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Option<FrozenBuffer>, Stop> {
        let Some(attached) = core.device(self.place.slot) else {
            return Ok(None);
        };
        let length = usize_of(length_bytes);
        let buffer = core.pool.take(length)?;
        let offset = DeviceOffset::new(self.place.offset_bytes + offset_bytes);
        let (buffer, result) = attached.device.read(offset, buffer, length).await;
        core.state.borrow_mut().counters.reclaim_read_bytes += length_bytes;
        match result {
            Ok(()) => Ok(Some(buffer.freeze())),
            Err(DeviceError::Gone) => Err(Stop::Over),
            Err(_) => Ok(None),
        }
    }
}

/// Times that something is read before it counts as lost: a transient error is over by then.
const READ_ATTEMPTS: usize = if READ_ATTEMPTS_MAX < 4 {
    READ_ATTEMPTS_MAX
} else {
    4
};

fn is_of(row: &RecordRow, record: &Record) -> bool {
    let header = record.header();
    header.digest == row.digest && header.version == row.version && header.flags == row.flags
}
