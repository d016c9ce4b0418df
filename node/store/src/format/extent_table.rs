//! Extent table: which shard owns each extent of a device. Two copies, written in turn.
//!
//! Invariant: an update rewrites the older copy only, so a torn write leaves the newer one whole.

use super::binding::crc32c;
use super::fields::{bytes_at, is_zero_from, put, u16_at, u32_at, u64_at, usize_of_u32};

/// Bytes before the owners.
pub const EXTENT_TABLE_HEADER_BYTES: usize = 64;
/// First four bytes: "EXTT".
pub const EXTENT_TABLE_MAGIC: u32 = u32::from_le_bytes(*b"EXTT");

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = 4;
const GENERATION_OFFSET: usize = 8;
const VOLUME_OFFSET: usize = 16;
const SLOT_OFFSET: usize = 32;
const RESERVED_SHORT_OFFSET: usize = 34;
const COUNT_OFFSET: usize = 36;
const RESERVED_OFFSET: usize = 40;

/// Owners of a device's extents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtentTable {
    /// Raised at each rewrite.
    pub generation: u64,
    /// The volume.
    pub volume: [u8; 16],
    /// The device.
    pub slot: u16,
    /// Owner of each extent; `None` is free.
    pub owners: Vec<Option<u16>>,
}

/// Why bytes are not an extent table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExtentTableError {
    /// Not one at all, or too short for what it says.
    #[error("no extent table")]
    NotATable,
    /// Damaged.
    #[error("extent table checksum is {found:#010x}, computed {computed:#010x}")]
    Checksum {
        /// Sum in the header.
        found: u32,
        /// Sum of the bytes.
        computed: u32,
    },
    /// Belongs to another volume or device.
    #[error("extent table of another device (slot {slot}): a misdirected write")]
    Foreign {
        /// Slot in the header.
        slot: u16,
    },
    /// Not as many extents as the label says.
    #[error("extent table of {found} extents, the label says {expected}")]
    Count {
        /// Extents in the table.
        found: u32,
        /// Extents in the label.
        expected: u32,
    },
}

impl ExtentTable {
    /// Bytes of one copy for `extent_count` extents, before rounding to blocks.
    #[must_use]
    pub const fn encoded_bytes(extent_count: u32) -> usize {
        EXTENT_TABLE_HEADER_BYTES + 2 * usize_of_u32(extent_count)
    }

    /// Encodes the table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut header = [0; EXTENT_TABLE_HEADER_BYTES];
        put(&mut header, MAGIC_OFFSET, &EXTENT_TABLE_MAGIC.to_le_bytes());
        put(
            &mut header,
            GENERATION_OFFSET,
            &self.generation.to_le_bytes(),
        );
        put(&mut header, VOLUME_OFFSET, &self.volume);
        put(&mut header, SLOT_OFFSET, &self.slot.to_le_bytes());
        let count = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        put(&mut header, COUNT_OFFSET, &count.to_le_bytes());
        let mut bytes = header.to_vec();
        for owner in &self.owners {
            bytes.extend(
                owner
                    .map_or(0, |shard| shard.saturating_add(1))
                    .to_le_bytes(),
            );
        }
        let checksum = crc32c(&bytes).to_le_bytes();
        if let Some(field) = bytes.get_mut(CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4) {
            field.copy_from_slice(&checksum);
        }
        bytes
    }

    /// Decodes the table of device `slot` of `volume`, which has `extent_count` extents by its label,
    /// from bytes that may go on after it.
    ///
    /// # Errors
    /// See [`ExtentTableError`].
    pub fn decode(
        bytes: &[u8],
        volume: &[u8; 16],
        slot: u16,
        extent_count: u32,
    ) -> Result<Self, ExtentTableError> {
        let header: &[u8; EXTENT_TABLE_HEADER_BYTES] =
            bytes.first_chunk().ok_or(ExtentTableError::NotATable)?;
        if u32_at(header, MAGIC_OFFSET) != EXTENT_TABLE_MAGIC {
            return Err(ExtentTableError::NotATable);
        }
        let count = u32_at(header, COUNT_OFFSET);
        let length = Self::encoded_bytes(count);
        let whole = bytes.get(..length).ok_or(ExtentTableError::NotATable)?;
        let found = u32_at(header, CHECKSUM_OFFSET);
        let mut cleared = whole.to_vec();
        if let Some(field) = cleared.get_mut(CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4) {
            field.fill(0);
        }
        let computed = crc32c(&cleared);
        let reserved_is_zero =
            u16_at(header, RESERVED_SHORT_OFFSET) == 0 && is_zero_from(header, RESERVED_OFFSET);
        if found != computed || !reserved_is_zero {
            return Err(ExtentTableError::Checksum { found, computed });
        }
        let found_slot = u16_at(header, SLOT_OFFSET);
        if bytes_at::<_, 16>(header, VOLUME_OFFSET) != *volume || found_slot != slot {
            return Err(ExtentTableError::Foreign { slot: found_slot });
        }
        if count != extent_count {
            return Err(ExtentTableError::Count {
                found: count,
                expected: extent_count,
            });
        }
        let owners = whole
            .get(EXTENT_TABLE_HEADER_BYTES..)
            .unwrap_or_default()
            .chunks_exact(2)
            .map(|pair| match pair {
                [low, high] => u16::from_le_bytes([*low, *high]).checked_sub(1),
                _ => None,
            })
            .collect();
        Ok(Self {
            generation: u64_at(header, GENERATION_OFFSET),
            volume: *volume,
            slot,
            owners,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ExtentTable {
        ExtentTable {
            generation: 5,
            volume: [1; 16],
            slot: 2,
            owners: vec![Some(0), None, Some(7)],
        }
    }

    #[test]
    fn round_trip_with_bytes_behind() {
        let mut bytes = sample().encode();
        bytes.resize(4096, 0xee);
        assert_eq!(ExtentTable::decode(&bytes, &[1; 16], 2, 3), Ok(sample()));
    }

    #[test]
    fn golden_bytes() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..4], b"EXTT");
        assert_eq!(bytes[4..8], [0x3f, 0x3d, 0x7b, 0xd7]);
        assert_eq!(bytes[64..], [1, 0, 0, 0, 8, 0]);
        assert_eq!(bytes.len(), 70);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                ExtentTable::decode(&damaged, &[1; 16], 2, 3).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..bytes.len() {
            assert!(
                ExtentTable::decode(&bytes[..length], &[1; 16], 2, 3).is_err(),
                "length {length}"
            );
        }
    }

    #[test]
    fn a_table_of_another_device_is_refused() {
        let refused = ExtentTable::decode(&sample().encode(), &[1; 16], 3, 3);
        assert_eq!(refused, Err(ExtentTableError::Foreign { slot: 2 }));
    }
}
