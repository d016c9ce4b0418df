//! Seals a segment: writes its summary, then its footers. Only ever after all of its batches are
//! durable, because a valid footer vouches for them; and the footers only when the summary is durable,
//! because a valid footer vouches for that too.

use corelith_io::{BufferError, DeviceError, DeviceOffset};

use crate::format::fields::{u32_of, u64_of, usize_of};
use crate::format::summary::{
    FOOTER_COPIES, Footer, Holdings, begin_parity, block_counts, encode_data_blocks, finish_parity,
    tail_bytes,
};
use crate::limits::SUMMARY_BLOCKS_AT_ONCE;
use crate::log::OpenSegment;
use crate::pause::yield_once;
use crate::state::{AttachedDevice, ShardCore};

/// Why a segment has no summary. It can be read all the same, only more slowly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No memory for it just now.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// What recovery found in the segment leaves no room.
    #[error("batches up to {end_bytes} leave no room for {tail_bytes} bytes of summary")]
    NoRoom {
        /// Where the last batch ends in the segment.
        end_bytes: u64,
        /// Summary and footers.
        tail_bytes: u64,
    },
}

impl SealError {
    /// What the device said, if it failed.
    pub(crate) fn device(&self) -> Option<&DeviceError> {
        match self {
            Self::Device(error) => Some(error),
            Self::Buffer(_) | Self::NoRoom { .. } => None,
        }
    }
}

/// Writes summary and footers of `segment`. Returns the bytes written.
pub(crate) async fn seal(core: &ShardCore, segment: &OpenSegment) -> Result<u64, SealError> {
    let geometry = core.state.borrow().log.geometry();
    let unit = geometry.write_unit_bytes;
    let tail_bytes = tail_bytes(u64_of(segment.rows.len()), unit);
    let summary_offset_bytes = geometry.segment_bytes.saturating_sub(tail_bytes);
    if segment.end_bytes > summary_offset_bytes {
        return Err(SealError::NoRoom {
            end_bytes: segment.end_bytes,
            tail_bytes,
        });
    }
    let attached = core.device(segment.place.slot).ok_or(DeviceError::Gone)?;
    let start = segment.place.offset_bytes + summary_offset_bytes;
    let blocks_bytes = write_blocks(core, segment, (attached, start), unit).await?;
    let footer = Footer {
        life: segment.life,
        row_count: u32_of(segment.rows.len()),
        summary_offset_bytes,
        first_lsn: segment.first_lsn,
        last_lsn: segment.last_lsn,
        end_bytes: segment.end_bytes,
        batch_count: u32_of(segment.rows.iter().filter(|row| row.is_batch()).count()),
        holdings: Holdings::of(&segment.rows),
    };
    write_footers(core, &footer, (attached, start + blocks_bytes), unit).await?;
    Ok(tail_bytes)
}

/// Writes the summary's blocks durably. Returns their bytes.
async fn write_blocks(
    core: &ShardCore,
    segment: &OpenSegment,
    (attached, start): (&AttachedDevice, u64),
    unit: u64,
) -> Result<u64, SealError> {
    let (data_count, parity_count) = block_counts(u64_of(segment.rows.len()), unit);
    let length = usize_of((data_count + parity_count) * unit);
    if length == 0 {
        return Ok(0);
    }
    let place = (segment.binding, start, segment.life);
    let mut buffer = core.pool.take(length)?;
    begin_parity(
        buffer.as_mut_slice().get_mut(..length).unwrap_or_default(),
        data_count,
        unit,
    );
    for first in (0..usize_of(data_count)).step_by(SUMMARY_BLOCKS_AT_ONCE) {
        let area = buffer.as_mut_slice().get_mut(..length).unwrap_or_default();
        let blocks = first..first + SUMMARY_BLOCKS_AT_ONCE;
        encode_data_blocks(&segment.rows, area, unit, place, blocks);
        yield_once().await;
    }
    let area = buffer.as_mut_slice().get_mut(..length).unwrap_or_default();
    finish_parity(area, data_count, unit, place);
    let offset = DeviceOffset::new(start);
    attached
        .device
        .write_durable(offset, buffer.freeze(), 0..length)
        .await?;
    Ok(u64_of(length))
}

/// Writes all copies of the footer durably.
async fn write_footers(
    core: &ShardCore,
    footer: &Footer,
    (attached, start): (&AttachedDevice, u64),
    unit: u64,
) -> Result<(), SealError> {
    let length = usize_of(FOOTER_COPIES * unit);
    let mut buffer = core.pool.take(length)?;
    buffer.as_mut_slice().fill(0);
    let copies = buffer.as_mut_slice().chunks_exact_mut(usize_of(unit));
    for (copy, target) in (0..FOOTER_COPIES).zip(copies) {
        let encoded = footer.encode(attached.binding, start + copy * unit);
        if let Some(target) = target.get_mut(..encoded.len()) {
            target.copy_from_slice(&encoded);
        }
    }
    let offset = DeviceOffset::new(start);
    attached
        .device
        .write_durable(offset, buffer.freeze(), 0..length)
        .await?;
    Ok(())
}
