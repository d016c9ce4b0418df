//! The first and last MiB of a device: read to find out what it holds, and wiped around our own
//! structures once it is ours.

use std::ops::Range;

use corelith_io::{BufferPool, Device, DeviceOffset};
use corelith_store::DeviceLayout;
use corelith_store::format::superblock::{SUPERBLOCK_BLOCK_BYTES, Superblock};

use super::signature::{Edges, LOOKED_AT_BYTES};
use crate::failure::Failure;

/// Length of one write of zeros, in bytes.
const WIPE_STEP_BYTES: u64 = 64 << 10;

/// Reads both ends.
pub(super) async fn read_edges(device: &Device, pool: &BufferPool) -> Result<Edges, Failure> {
    let size_bytes = device.geometry().size_bytes;
    let length_bytes = LOOKED_AT_BYTES.min(size_bytes);
    Ok(Edges {
        size_bytes,
        head: read(device, pool, 0, length_bytes).await?,
        tail: read(device, pool, size_bytes - length_bytes, length_bytes).await?,
    })
}

/// Writes zeros over both ends, but for the label's copies and the extent tables of a device that was
/// just formatted, so that nothing takes it for what it was before.
pub(super) async fn wipe_edges(
    device: &Device,
    pool: &BufferPool,
    label: &Superblock,
) -> Result<(), Failure> {
    for range in ranges_to_wipe(device.geometry().size_bytes, label) {
        let mut offset = range.start;
        while offset < range.end {
            let length = WIPE_STEP_BYTES.min(range.end - offset);
            write_zeros(device, pool, offset, length).await?;
            offset += length;
        }
    }
    device.flush().await.map_err(Failure::from_text)
}

/// The parts of both ends that are not ours.
fn ranges_to_wipe(size_bytes: u64, label: &Superblock) -> Vec<Range<u64>> {
    let labels = DeviceLayout::label_offsets(label.device_bytes);
    let mut ours: Vec<Range<u64>> = labels
        .iter()
        .map(|offset| *offset..offset + SUPERBLOCK_BLOCK_BYTES)
        .collect();
    ours.extend(
        label
            .table_offsets
            .iter()
            .map(|offset| *offset..offset + label.table_bytes),
    );
    let block = u64::from(label.logical_block_bytes).max(1);
    let whole_bytes = size_bytes / block * block;
    let edge = LOOKED_AT_BYTES.min(whole_bytes);
    // The ends overlap on a small device; then the second is what the first has left.
    let mut free = vec![0..edge, (whole_bytes - edge).max(edge)..whole_bytes];
    for taken in ours {
        free = free
            .into_iter()
            .flat_map(|range| without(&range, &taken))
            .collect();
    }
    free.retain(|range| range.start < range.end);
    free
}

/// What is left of a range on both sides of another.
fn without(range: &Range<u64>, taken: &Range<u64>) -> [Range<u64>; 2] {
    let before = range.start..range.end.min(taken.start);
    let after = range.start.max(taken.end)..range.end;
    [before, after]
}

async fn read(
    device: &Device,
    pool: &BufferPool,
    offset_bytes: u64,
    length_bytes: u64,
) -> Result<Vec<u8>, Failure> {
    let length = usize::try_from(length_bytes).map_err(Failure::from_text)?;
    let buffer = pool.take(length).map_err(Failure::from_text)?;
    let (buffer, outcome) = device
        .read(DeviceOffset::new(offset_bytes), buffer, length)
        .await;
    outcome.map_err(|error| Failure::new(format!("{}: {error}", device.name()), ""))?;
    Ok(buffer.as_slice()[..length].to_vec())
}

async fn write_zeros(
    device: &Device,
    pool: &BufferPool,
    offset_bytes: u64,
    length_bytes: u64,
) -> Result<(), Failure> {
    let length = usize::try_from(length_bytes).map_err(Failure::from_text)?;
    let mut buffer = pool.take(length).map_err(Failure::from_text)?;
    buffer.as_mut_slice()[..length].fill(0);
    let offset = DeviceOffset::new(offset_bytes);
    let outcome = device.write(offset, buffer.freeze(), 0..length).await;
    outcome.map_err(|error| Failure::new(format!("{}: {error}", device.name()), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(device_bytes: u64) -> Superblock {
        Superblock {
            generation: 1,
            volume: [1; 16],
            device: [2; 16],
            features_compatible: 0,
            features_read_only: 0,
            features_incompatible: 0,
            slot: 0,
            device_count: 1,
            shard_count: 1,
            logical_block_bytes: 512,
            write_unit_bytes: 4096,
            segment_bytes: 64 << 10,
            extent_bytes: 64 << 10,
            device_bytes,
            data_start_bytes: 192 << 10,
            extent_count: 1,
            created_ms: 0,
            namespace: "test".to_owned(),
            table_offsets: [128 << 10, 132 << 10],
            table_bytes: 4096,
        }
    }

    #[test]
    fn everything_but_ours_is_wiped() {
        const KIB: u64 = 1 << 10;
        let size = 64 << 20;
        assert_eq!(
            ranges_to_wipe(size, &label(size)),
            [
                4 * KIB..64 * KIB,
                68 * KIB..128 * KIB,
                136 * KIB..1024 * KIB,
                size - 1024 * KIB..size - 4 * KIB,
            ]
        );
        // A device whose ends overlap.
        let size = 1536 * KIB;
        assert_eq!(
            ranges_to_wipe(size, &label(size)),
            [
                4 * KIB..64 * KIB,
                68 * KIB..128 * KIB,
                136 * KIB..1024 * KIB,
                1024 * KIB..1532 * KIB,
            ]
        );
        // The last label stands on a whole 4 KiB; what is behind it is foreign.
        let size = (64 << 20) + 512;
        let ranges = ranges_to_wipe(size, &label(size));
        assert_eq!(ranges.last(), Some(&((64 << 20)..size)));
    }
}
