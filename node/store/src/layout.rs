//! Layout of a device: where labels, extent tables and extents stand. FORMAT.md section 1.
//!
//! Pure arithmetic, checked: no result lies beyond the device.

use crate::format::extent_table::ExtentTable;
use crate::format::fields::u64_of;
use crate::format::superblock::SUPERBLOCK_BLOCK_BYTES;

/// Offset of the second label, in bytes: beyond what a partition table or a boot loader overwrites.
const SECOND_LABEL_BYTES: u64 = 64 << 10;
/// Offset of the first extent table, in bytes.
const TABLES_START_BYTES: u64 = 128 << 10;

/// Where things stand on one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceLayout {
    /// The three copies of the label, in bytes.
    pub label_offsets: [u64; 3],
    /// The two copies of the extent table, in bytes.
    pub table_offsets: [u64; 2],
    /// Length of one copy of the extent table, rounded to label blocks, in bytes.
    pub table_bytes: u64,
    /// Where extent 0 begins, in bytes.
    pub data_start_bytes: u64,
    /// Whole extents that fit.
    pub extent_count: u32,
}

impl DeviceLayout {
    /// Offsets of the labels of a device of `device_bytes`: known without reading anything, so that
    /// a device whose first blocks were overwritten still tells what it is.
    #[must_use]
    pub const fn label_offsets(device_bytes: u64) -> [u64; 3] {
        let blocks = device_bytes / SUPERBLOCK_BLOCK_BYTES;
        [
            0,
            SECOND_LABEL_BYTES,
            blocks.saturating_sub(1) * SUPERBLOCK_BLOCK_BYTES,
        ]
    }

    /// Lays out a device of `device_bytes` in extents of `extent_bytes`, which are a whole number of
    /// segments of `segment_bytes`; `None` if not even one extent fits.
    #[must_use]
    pub fn plan(device_bytes: u64, extent_bytes: u64, segment_bytes: u64) -> Option<Self> {
        let label_offsets = Self::label_offsets(device_bytes);
        let most = u32::try_from(device_bytes.checked_div(extent_bytes)?).ok()?;
        let table_bytes =
            u64_of(ExtentTable::encoded_bytes(most)).next_multiple_of(SUPERBLOCK_BLOCK_BYTES);
        let tables_end = TABLES_START_BYTES.checked_add(table_bytes.checked_mul(2)?)?;
        // Segments begin on multiples of their own size up to 1 MiB, the largest erase-friendly
        // alignment that partitioning tools use.
        let data_start_bytes = tables_end.checked_next_multiple_of(segment_bytes.min(1 << 20))?;
        let [_, _, last_label] = label_offsets;
        let room = last_label.checked_sub(data_start_bytes)?;
        let extent_count = u32::try_from(room / extent_bytes)
            .ok()
            .filter(|count| *count > 0)?;
        Some(Self {
            label_offsets,
            table_offsets: [TABLES_START_BYTES, TABLES_START_BYTES + table_bytes],
            table_bytes,
            data_start_bytes,
            extent_count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_nothing_is_beyond_the_device() {
        for device_bytes in [1 << 20, 3 << 20, 64 << 20, 4 << 30, 2 << 40] {
            for segment_bytes in [64 << 10, 1 << 20, 16 << 20] {
                let extent_bytes = segment_bytes * 4;
                let Some(layout) = DeviceLayout::plan(device_bytes, extent_bytes, segment_bytes)
                else {
                    assert!(
                        device_bytes < (1 << 20) + 2 * extent_bytes,
                        "{device_bytes}"
                    );
                    continue;
                };
                let [first, second, last] = layout.label_offsets;
                let [table, copy] = layout.table_offsets;
                assert_eq!(first, 0);
                assert!(second + 4096 <= table);
                assert!(table + layout.table_bytes <= copy);
                assert!(copy + layout.table_bytes <= layout.data_start_bytes);
                let end = layout.data_start_bytes + u64::from(layout.extent_count) * extent_bytes;
                assert!(end <= last);
                assert!(last + 4096 <= device_bytes);
                assert!(
                    last - end < extent_bytes,
                    "an extent more would have fitted"
                );
            }
        }
    }

    #[test]
    fn too_small_a_device_has_no_layout() {
        assert_eq!(DeviceLayout::plan(100_000, 64 << 10, 64 << 10), None);
        assert_eq!(DeviceLayout::plan(0, 64 << 10, 64 << 10), None);
    }
}
