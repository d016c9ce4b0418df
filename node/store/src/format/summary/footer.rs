//! Footer: the last two write units of a sealed segment say where its summary is and what it spans.

use corelith_index::ExpirySeconds;

use crate::format::binding::DeviceBinding;
use crate::format::fields::{bytes_at, is_zero_from, put, u32_at, u64_at};
use crate::format::record_header::RecordFlags;
use crate::format::summary::{RecordRow, SummaryRow};
use crate::{Life, Lsn, Version};

/// Bytes of a footer that carry meaning, at the start of its write unit.
pub const FOOTER_BYTES: usize = 512;
/// Copies, in the last write units of the segment.
pub const FOOTER_COPIES: u64 = 2;
/// First four bytes: "FOOT".
pub const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"FOOT");

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = 4;
const LIFE_OFFSET: usize = 8;
const ROW_COUNT_OFFSET: usize = 12;
const SUMMARY_OFFSET_OFFSET: usize = 16;
const FIRST_LSN_OFFSET: usize = 24;
const LAST_LSN_OFFSET: usize = 32;
const END_OFFSET_OFFSET: usize = 40;
const BATCH_COUNT_OFFSET: usize = 48;
const RECORDS_OFFSET: usize = 52;
const TOMBSTONES_OFFSET: usize = 56;
const COPIES_OFFSET: usize = 60;
const TOMBSTONE_VERSION_OFFSET: usize = 64;
const COPY_VERSION_MIN_OFFSET: usize = 72;
const EXPIRING_VERSION_OFFSET: usize = 80;
const EXPIRING_OFFSET: usize = 88;
const EXPIRY_FIRST_OFFSET: usize = 92;
const EXPIRY_LAST_OFFSET: usize = 96;
const RESERVED_OFFSET: usize = 100;
const BODY_BYTES: usize = FOOTER_BYTES - LIFE_OFFSET;

/// Footer of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footer {
    /// Life of the segment.
    pub life: Life,
    /// Rows of the summary.
    pub row_count: u32,
    /// Where the summary's blocks begin in the segment, in bytes.
    pub summary_offset_bytes: u64,
    /// First batch of the segment.
    pub first_lsn: Lsn,
    /// Last batch of the segment, zero if it has none: all that count up to it are durable.
    pub last_lsn: Lsn,
    /// Where the last batch ends in the segment, in bytes.
    pub end_bytes: u64,
    /// Batches of the segment: how many a reader without the summary must find.
    pub batch_count: u32,
    /// What the rows come to, so that a start which has an image of the index need not read them.
    pub holdings: Holdings,
}

/// What a segment holds, alive or not: facts of its bytes, the same for as long as they are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holdings {
    /// Records that are neither tombstones nor truncations.
    pub records: u32,
    /// Of those, copies that reclaim has made, but for definitions of sets.
    pub copies: u32,
    /// Tombstones.
    pub tombstones: u32,
    /// The newest tombstone's version; [`Version::NONE`] without one.
    pub tombstone_version_max: Version,
    /// The smallest version of whatever reclaim has moved there, [`Version::MAX`] without such a record. Nothing
    /// else is older than the header says.
    pub copy_version_min: Version,
    /// Of the records those that expire.
    pub expiring: Expiring,
}

/// The records of a segment that expire at some time, alive or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiring {
    /// How many.
    pub records: u32,
    /// When the first of them does; [`ExpirySeconds::NEVER`] without one.
    pub first: ExpirySeconds,
    /// When the last of them does.
    pub last: ExpirySeconds,
    /// The newest one's version; [`Version::NONE`] without one.
    pub version_max: Version,
}

impl Expiring {
    /// No record expires.
    pub const NONE: Self = Self {
        records: 0,
        first: ExpirySeconds::NEVER,
        last: ExpirySeconds::NEVER,
        version_max: Version::NONE,
    };

    /// Adds a row, if it is of a record that expires.
    pub fn add(&mut self, row: &RecordRow) {
        let is_record =
            !row.flags.contains(RecordFlags::TOMBSTONE) && !row.flags.contains(RecordFlags::META);
        if !is_record || row.expiry.is_never() {
            return;
        }
        self.first = match self.records {
            0 => row.expiry,
            _ => ExpirySeconds::new(self.first.get().min(row.expiry.get())),
        };
        self.last = ExpirySeconds::new(self.last.get().max(row.expiry.get()));
        self.version_max = self.version_max.max(row.version);
        self.records += 1;
    }
}

impl Holdings {
    /// Of a segment with these rows.
    #[must_use]
    pub fn of(rows: &[SummaryRow]) -> Self {
        let mut holdings = Self {
            records: 0,
            copies: 0,
            tombstones: 0,
            tombstone_version_max: Version::NONE,
            copy_version_min: Version::MAX,
            expiring: Expiring::NONE,
        };
        for row in rows {
            let SummaryRow::Record(row) = row else {
                continue;
            };
            holdings.expiring.add(row);
            let is_moved = row.flags.contains(RecordFlags::MOVED);
            if is_moved {
                holdings.copy_version_min = holdings.copy_version_min.min(row.version);
            }
            if row.flags.contains(RecordFlags::TOMBSTONE) {
                holdings.tombstones += 1;
                let newest = &mut holdings.tombstone_version_max;
                *newest = (*newest).max(row.version);
            } else if !row.flags.contains(RecordFlags::TRUNCATION) {
                holdings.records += 1;
                let is_copy = is_moved && !row.flags.contains(RecordFlags::META);
                holdings.copies += u32::from(is_copy);
            }
        }
        holdings
    }
}

impl Footer {
    /// Encodes the footer for `offset_bytes` of the device.
    #[must_use]
    pub fn encode(&self, binding: DeviceBinding, offset_bytes: u64) -> [u8; FOOTER_BYTES] {
        let mut block = [0; FOOTER_BYTES];
        put(&mut block, MAGIC_OFFSET, &FOOTER_MAGIC.to_le_bytes());
        put(&mut block, LIFE_OFFSET, &self.life.get().to_le_bytes());
        put(&mut block, ROW_COUNT_OFFSET, &self.row_count.to_le_bytes());
        put(
            &mut block,
            SUMMARY_OFFSET_OFFSET,
            &self.summary_offset_bytes.to_le_bytes(),
        );
        put(
            &mut block,
            FIRST_LSN_OFFSET,
            &self.first_lsn.get().to_le_bytes(),
        );
        put(
            &mut block,
            LAST_LSN_OFFSET,
            &self.last_lsn.get().to_le_bytes(),
        );
        put(&mut block, END_OFFSET_OFFSET, &self.end_bytes.to_le_bytes());
        put(
            &mut block,
            BATCH_COUNT_OFFSET,
            &self.batch_count.to_le_bytes(),
        );
        let holdings = &self.holdings;
        for (offset, count) in [
            (RECORDS_OFFSET, holdings.records),
            (TOMBSTONES_OFFSET, holdings.tombstones),
            (COPIES_OFFSET, holdings.copies),
            (EXPIRING_OFFSET, holdings.expiring.records),
            (EXPIRY_FIRST_OFFSET, holdings.expiring.first.get()),
            (EXPIRY_LAST_OFFSET, holdings.expiring.last.get()),
        ] {
            put(&mut block, offset, &count.to_le_bytes());
        }
        for (offset, version) in [
            (TOMBSTONE_VERSION_OFFSET, holdings.tombstone_version_max),
            (COPY_VERSION_MIN_OFFSET, holdings.copy_version_min),
            (EXPIRING_VERSION_OFFSET, holdings.expiring.version_max),
        ] {
            put(&mut block, offset, &version.get().to_le_bytes());
        }
        let checksum = checksum(&block, binding, offset_bytes, self.life);
        put(&mut block, CHECKSUM_OFFSET, &checksum.to_le_bytes());
        block
    }

    /// Decodes a footer written to `offset_bytes` in `life`; `None` if there is none.
    #[must_use]
    pub fn decode(
        block: &[u8; FOOTER_BYTES],
        binding: DeviceBinding,
        offset_bytes: u64,
        life: Life,
    ) -> Option<Self> {
        Self::decode_of_any_life(block, binding, offset_bytes).filter(|footer| footer.life == life)
    }

    /// Decodes a footer written to `offset_bytes` in whatever life: what tells that a segment without
    /// a header once had one.
    #[must_use]
    pub fn decode_of_any_life(
        block: &[u8; FOOTER_BYTES],
        binding: DeviceBinding,
        offset_bytes: u64,
    ) -> Option<Self> {
        let footer = Self {
            life: Life::new(u32_at(block, LIFE_OFFSET)),
            row_count: u32_at(block, ROW_COUNT_OFFSET),
            summary_offset_bytes: u64_at(block, SUMMARY_OFFSET_OFFSET),
            first_lsn: Lsn::new(u64_at(block, FIRST_LSN_OFFSET)),
            last_lsn: Lsn::new(u64_at(block, LAST_LSN_OFFSET)),
            end_bytes: u64_at(block, END_OFFSET_OFFSET),
            batch_count: u32_at(block, BATCH_COUNT_OFFSET),
            holdings: Holdings {
                records: u32_at(block, RECORDS_OFFSET),
                tombstones: u32_at(block, TOMBSTONES_OFFSET),
                copies: u32_at(block, COPIES_OFFSET),
                tombstone_version_max: Version::new(u64_at(block, TOMBSTONE_VERSION_OFFSET)),
                copy_version_min: Version::new(u64_at(block, COPY_VERSION_MIN_OFFSET)),
                expiring: Expiring {
                    records: u32_at(block, EXPIRING_OFFSET),
                    first: ExpirySeconds::new(u32_at(block, EXPIRY_FIRST_OFFSET)),
                    last: ExpirySeconds::new(u32_at(block, EXPIRY_LAST_OFFSET)),
                    version_max: Version::new(u64_at(block, EXPIRING_VERSION_OFFSET)),
                },
            },
        };
        let good = u32_at(block, MAGIC_OFFSET) == FOOTER_MAGIC
            && footer.life != Life::NONE
            && u32_at(block, CHECKSUM_OFFSET)
                == checksum(block, binding, offset_bytes, footer.life)
            && is_zero_from(block, RESERVED_OFFSET)
            && footer.end_bytes <= footer.summary_offset_bytes;
        good.then_some(footer)
    }
}

fn checksum(
    block: &[u8; FOOTER_BYTES],
    binding: DeviceBinding,
    offset_bytes: u64,
    life: Life,
) -> u32 {
    let body: [u8; BODY_BYTES] = bytes_at(block, LIFE_OFFSET);
    binding.checksum::<BODY_BYTES, { BODY_BYTES + 16 }>(offset_bytes, life, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_bit() {
        let binding = DeviceBinding::new(&[3; 16], 0);
        let footer = Footer {
            life: Life::new(2),
            row_count: 9,
            summary_offset_bytes: 40_960,
            first_lsn: Lsn::new(5),
            last_lsn: Lsn::new(8),
            end_bytes: 36_864,
            batch_count: 4,
            holdings: Holdings {
                records: 3,
                copies: 1,
                tombstones: 2,
                tombstone_version_max: Version::new(77),
                copy_version_min: Version::new(66),
                expiring: Expiring {
                    records: 2,
                    first: ExpirySeconds::new(5),
                    last: ExpirySeconds::new(6),
                    version_max: Version::new(78),
                },
            },
        };
        let block = footer.encode(binding, 61_440);
        assert_eq!(
            Footer::decode(&block, binding, 61_440, Life::new(2)),
            Some(footer)
        );
        assert_eq!(Footer::decode(&block, binding, 57_344, Life::new(2)), None);
        assert_eq!(&block[..4], b"FOOT");
        assert_eq!(block[4..8], [0x6d, 0xf2, 0x18, 0xf4]);
        assert_eq!(block[8..16], [2, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(block[40..52], [0, 0x90, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(block[52..64], [3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!((block[64], block[72]), (77, 66));
        assert_eq!(
            block[80..100]
                .iter()
                .filter(|byte| **byte != 0)
                .copied()
                .collect::<Vec<_>>(),
            [78, 2, 5, 6]
        );
        for bit in 0..block.len() * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Footer::decode(&damaged, binding, 61_440, Life::new(2)),
                None,
                "bit {bit}"
            );
        }
    }
}
