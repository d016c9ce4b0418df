//! Superblock: what a device of a volume says of itself. Three copies, FORMAT.md section 2.
//!
//! Invariant: all of it lies in the first 512 bytes of its block, so that a torn write leaves the
//! old or the new one, never a mixture.

use super::binding::crc32c;
use super::fields::{bytes_at, is_zero_from, put, u16_at, u32_at, u64_at};
use crate::limits::{
    DEVICES_MAX, NAMESPACE_NAME_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_UNITS_MIN,
    SHARDS_MAX, WRITE_UNIT_BYTES_MAX, WRITE_UNIT_BYTES_MIN,
};

/// Bytes of a superblock that carry meaning.
pub const SUPERBLOCK_BYTES: usize = 512;
/// Bytes that each copy occupies on the device. Not the write unit: a label is found before anything
/// is known of the volume.
pub const SUPERBLOCK_BLOCK_BYTES: u64 = 4096;
/// First eight bytes: "CORELITH".
pub const SUPERBLOCK_MAGIC: u64 = u64::from_le_bytes(*b"CORELITH");
/// The format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 3;
/// Feature bits that this code knows, of the kind that a reader may not ignore.
pub const INCOMPATIBLE_FEATURES_KNOWN: u64 = 0;
/// Feature bits that this code knows, of the kind that only a writer may not ignore.
pub const READ_ONLY_FEATURES_KNOWN: u64 = 0;

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = 8;
const VERSION_OFFSET: usize = 12;
const GENERATION_OFFSET: usize = 16;
const VOLUME_OFFSET: usize = 24;
const DEVICE_OFFSET: usize = 40;
const COMPATIBLE_OFFSET: usize = 56;
const READ_ONLY_OFFSET: usize = 64;
const INCOMPATIBLE_OFFSET: usize = 72;
const SLOT_OFFSET: usize = 80;
const DEVICE_COUNT_OFFSET: usize = 82;
const SHARD_COUNT_OFFSET: usize = 84;
const RESERVED_FIRST_OFFSET: usize = 86;
const LOGICAL_BLOCK_OFFSET: usize = 88;
const WRITE_UNIT_OFFSET: usize = 92;
const SEGMENT_BYTES_OFFSET: usize = 96;
const EXTENT_BYTES_OFFSET: usize = 104;
const DEVICE_BYTES_OFFSET: usize = 112;
const DATA_START_OFFSET: usize = 120;
const EXTENT_COUNT_OFFSET: usize = 128;
const RESERVED_SECOND_OFFSET: usize = 132;
const CREATED_OFFSET: usize = 136;
const NAMESPACE_LENGTH_OFFSET: usize = 144;
const NAMESPACE_OFFSET: usize = 145;
const TABLE_FIRST_OFFSET: usize = 176;
const TABLE_SECOND_OFFSET: usize = 184;
const TABLE_BYTES_OFFSET: usize = 192;
const RESERVED_OFFSET: usize = 200;

/// A device's label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Raised at each rewrite; the valid copy with the highest one counts.
    pub generation: u64,
    /// The volume that the device belongs to.
    pub volume: [u8; 16],
    /// This device.
    pub device: [u8; 16],
    /// Feature bits that anyone may ignore.
    pub features_compatible: u64,
    /// Feature bits that only a writer must know.
    pub features_read_only: u64,
    /// Feature bits that everyone must know.
    pub features_incompatible: u64,
    /// Number of this device in the volume, from 0.
    pub slot: u16,
    /// Devices in the volume.
    pub device_count: u16,
    /// Shards of the volume, fixed at format.
    pub shard_count: u16,
    /// Logical block of the device at format, in bytes.
    pub logical_block_bytes: u32,
    /// Unit of every write to the log, in bytes: the same in all labels of a volume.
    pub write_unit_bytes: u32,
    /// Length of a segment, in bytes.
    pub segment_bytes: u64,
    /// Length of an extent, in bytes; a whole number of segments.
    pub extent_bytes: u64,
    /// Size of the device at format, in bytes.
    pub device_bytes: u64,
    /// Where extent 0 begins, in bytes.
    pub data_start_bytes: u64,
    /// Extents on this device.
    pub extent_count: u32,
    /// When the volume was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Name of the namespace that the volume holds: 1 to 31 bytes of UTF-8.
    pub namespace: String,
    /// Where the two copies of the extent table stand, in bytes.
    pub table_offsets: [u64; 2],
    /// Length of one copy of the extent table, in bytes.
    pub table_bytes: u64,
}

/// Why bytes are not a superblock that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SuperblockError {
    /// No label of this product: the device is foreign or empty.
    #[error(
        "no Corelith label: this is no device of a volume; `corelith volume show` says what it holds, \
         `corelith volume create` makes it one"
    )]
    NotALabel,
    /// The label is there but its bytes are not what was written.
    #[error("label checksum is {found:#010x}, computed {computed:#010x}: the block is damaged")]
    Checksum {
        /// Sum in the block.
        found: u32,
        /// Sum of the block.
        computed: u32,
    },
    /// Written by another release.
    #[error("label format {found} is not {FORMAT_VERSION}, the one that this release reads")]
    Version {
        /// The version in the block.
        found: u32,
    },
    /// Written by a release with features that this one lacks.
    #[error("label needs features {unknown:#x} that this release does not know: use a newer one")]
    Features {
        /// The bits that are not known.
        unknown: u64,
    },
    /// A field outside its bounds although the checksum agrees.
    #[error("label field {field} has the impossible value {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Superblock {
    /// Encodes the label. The namespace must be at most 31 bytes: `volume` checks that at format.
    #[expect(
        clippy::too_many_lines,
        reason = "one step a field, in the order of the bytes"
    )]
    #[must_use]
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut block = [0; SUPERBLOCK_BYTES];
        put(&mut block, MAGIC_OFFSET, &SUPERBLOCK_MAGIC.to_le_bytes());
        put(&mut block, VERSION_OFFSET, &FORMAT_VERSION.to_le_bytes());
        put(
            &mut block,
            GENERATION_OFFSET,
            &self.generation.to_le_bytes(),
        );
        put(&mut block, VOLUME_OFFSET, &self.volume);
        put(&mut block, DEVICE_OFFSET, &self.device);
        put(
            &mut block,
            COMPATIBLE_OFFSET,
            &self.features_compatible.to_le_bytes(),
        );
        put(
            &mut block,
            READ_ONLY_OFFSET,
            &self.features_read_only.to_le_bytes(),
        );
        put(
            &mut block,
            INCOMPATIBLE_OFFSET,
            &self.features_incompatible.to_le_bytes(),
        );
        put(&mut block, SLOT_OFFSET, &self.slot.to_le_bytes());
        put(
            &mut block,
            DEVICE_COUNT_OFFSET,
            &self.device_count.to_le_bytes(),
        );
        put(
            &mut block,
            SHARD_COUNT_OFFSET,
            &self.shard_count.to_le_bytes(),
        );
        put(
            &mut block,
            LOGICAL_BLOCK_OFFSET,
            &self.logical_block_bytes.to_le_bytes(),
        );
        put(
            &mut block,
            WRITE_UNIT_OFFSET,
            &self.write_unit_bytes.to_le_bytes(),
        );
        put(
            &mut block,
            SEGMENT_BYTES_OFFSET,
            &self.segment_bytes.to_le_bytes(),
        );
        put(
            &mut block,
            EXTENT_BYTES_OFFSET,
            &self.extent_bytes.to_le_bytes(),
        );
        put(
            &mut block,
            DEVICE_BYTES_OFFSET,
            &self.device_bytes.to_le_bytes(),
        );
        put(
            &mut block,
            DATA_START_OFFSET,
            &self.data_start_bytes.to_le_bytes(),
        );
        put(
            &mut block,
            EXTENT_COUNT_OFFSET,
            &self.extent_count.to_le_bytes(),
        );
        put(&mut block, CREATED_OFFSET, &self.created_ms.to_le_bytes());
        let name: &[u8] = self
            .namespace
            .as_bytes()
            .get(..NAMESPACE_NAME_BYTES_MAX)
            .unwrap_or(self.namespace.as_bytes());
        let name_length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        put(&mut block, NAMESPACE_LENGTH_OFFSET, &[name_length]);
        put(&mut block, NAMESPACE_OFFSET, name);
        let [first, second] = self.table_offsets;
        put(&mut block, TABLE_FIRST_OFFSET, &first.to_le_bytes());
        put(&mut block, TABLE_SECOND_OFFSET, &second.to_le_bytes());
        put(
            &mut block,
            TABLE_BYTES_OFFSET,
            &self.table_bytes.to_le_bytes(),
        );
        let checksum = checksum(&block);
        put(&mut block, CHECKSUM_OFFSET, &checksum.to_le_bytes());
        block
    }

    /// Decodes and checks a label.
    ///
    /// # Errors
    /// See [`SuperblockError`]: each variant says what is wrong with the bytes.
    pub fn decode(block: &[u8; SUPERBLOCK_BYTES]) -> Result<Self, SuperblockError> {
        if u64_at(block, MAGIC_OFFSET) != SUPERBLOCK_MAGIC {
            return Err(SuperblockError::NotALabel);
        }
        let found = u32_at(block, CHECKSUM_OFFSET);
        let computed = checksum(block);
        if found != computed {
            return Err(SuperblockError::Checksum { found, computed });
        }
        let version = u32_at(block, VERSION_OFFSET);
        if version != FORMAT_VERSION {
            return Err(SuperblockError::Version { found: version });
        }
        let unknown = u64_at(block, INCOMPATIBLE_OFFSET) & !INCOMPATIBLE_FEATURES_KNOWN
            | u64_at(block, READ_ONLY_OFFSET) & !READ_ONLY_FEATURES_KNOWN;
        if unknown != 0 {
            return Err(SuperblockError::Features { unknown });
        }
        let label = Self {
            generation: u64_at(block, GENERATION_OFFSET),
            volume: bytes_at(block, VOLUME_OFFSET),
            device: bytes_at(block, DEVICE_OFFSET),
            features_compatible: u64_at(block, COMPATIBLE_OFFSET),
            features_read_only: u64_at(block, READ_ONLY_OFFSET),
            features_incompatible: u64_at(block, INCOMPATIBLE_OFFSET),
            slot: u16_at(block, SLOT_OFFSET),
            device_count: u16_at(block, DEVICE_COUNT_OFFSET),
            shard_count: u16_at(block, SHARD_COUNT_OFFSET),
            logical_block_bytes: u32_at(block, LOGICAL_BLOCK_OFFSET),
            write_unit_bytes: u32_at(block, WRITE_UNIT_OFFSET),
            segment_bytes: u64_at(block, SEGMENT_BYTES_OFFSET),
            extent_bytes: u64_at(block, EXTENT_BYTES_OFFSET),
            device_bytes: u64_at(block, DEVICE_BYTES_OFFSET),
            data_start_bytes: u64_at(block, DATA_START_OFFSET),
            extent_count: u32_at(block, EXTENT_COUNT_OFFSET),
            created_ms: u64_at(block, CREATED_OFFSET),
            namespace: namespace_of(block)?,
            table_offsets: [
                u64_at(block, TABLE_FIRST_OFFSET),
                u64_at(block, TABLE_SECOND_OFFSET),
            ],
            table_bytes: u64_at(block, TABLE_BYTES_OFFSET),
        };
        label.check()?;
        let reserved = u64::from(u16_at(block, RESERVED_FIRST_OFFSET))
            | u64::from(u32_at(block, RESERVED_SECOND_OFFSET))
            | u64::from(!is_zero_from(block, RESERVED_OFFSET));
        if reserved != 0 {
            return Err(SuperblockError::Field {
                field: "reserved",
                value: reserved,
            });
        }
        Ok(label)
    }

    /// Bounds of every field, so that later arithmetic on them cannot overflow.
    fn check(&self) -> Result<(), SuperblockError> {
        let unit = u64::from(self.write_unit_bytes);
        let extents_bytes = self.extent_bytes.checked_mul(u64::from(self.extent_count));
        let data_end = extents_bytes.and_then(|bytes| bytes.checked_add(self.data_start_bytes));
        let checks: [(&'static str, u64, bool); 10] = [
            (
                "device_count",
                self.device_count.into(),
                (1..=DEVICES_MAX).contains(&self.device_count),
            ),
            ("slot", self.slot.into(), self.slot < self.device_count),
            (
                "shard_count",
                self.shard_count.into(),
                (1..=SHARDS_MAX).contains(&self.shard_count),
            ),
            (
                "write_unit_bytes",
                unit,
                self.write_unit_bytes.is_power_of_two()
                    && (WRITE_UNIT_BYTES_MIN..=WRITE_UNIT_BYTES_MAX)
                        .contains(&self.write_unit_bytes),
            ),
            (
                "logical_block_bytes",
                self.logical_block_bytes.into(),
                self.logical_block_bytes.is_power_of_two()
                    && (WRITE_UNIT_BYTES_MIN..=self.write_unit_bytes)
                        .contains(&self.logical_block_bytes)
                    && u64::from(self.logical_block_bytes) <= SUPERBLOCK_BLOCK_BYTES,
            ),
            (
                "segment_bytes",
                self.segment_bytes,
                self.segment_bytes.is_power_of_two()
                    && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
                    && self.segment_bytes >= unit * SEGMENT_UNITS_MIN,
            ),
            (
                "extent_bytes",
                self.extent_bytes,
                self.extent_bytes >= self.segment_bytes
                    && self.extent_bytes.is_multiple_of(self.segment_bytes.max(1)),
            ),
            (
                "data_start_bytes",
                self.data_start_bytes,
                self.data_start_bytes.is_multiple_of(unit.max(1)),
            ),
            (
                "extent_count",
                self.extent_count.into(),
                self.extent_count > 0 && data_end.is_some_and(|end| end <= self.device_bytes),
            ),
            (
                "table_bytes",
                self.table_bytes,
                self.table_bytes <= self.data_start_bytes
                    && self.table_offsets.iter().all(|start| {
                        start
                            .checked_add(self.table_bytes)
                            .is_some_and(|end| end <= self.data_start_bytes)
                    }),
            ),
        ];
        match checks.into_iter().find(|(_, _, good)| !good) {
            Some((field, value, _)) => Err(SuperblockError::Field { field, value }),
            None => Ok(()),
        }
    }
}

fn namespace_of(block: &[u8; SUPERBLOCK_BYTES]) -> Result<String, SuperblockError> {
    let [length] = bytes_at(block, NAMESPACE_LENGTH_OFFSET);
    let field: [u8; NAMESPACE_NAME_BYTES_MAX] = bytes_at(block, NAMESPACE_OFFSET);
    field
        .split_at_checked(usize::from(length))
        .filter(|(name, behind)| !name.is_empty() && behind.iter().all(|byte| *byte == 0))
        .and_then(|(name, _)| std::str::from_utf8(name).ok())
        .map(str::to_owned)
        .ok_or(SuperblockError::Field {
            field: "namespace",
            value: length.into(),
        })
}

/// CRC-32C of the block with the checksum field taken as zero.
fn checksum(block: &[u8; SUPERBLOCK_BYTES]) -> u32 {
    let mut cleared = *block;
    put(&mut cleared, CHECKSUM_OFFSET, &[0; 4]);
    crc32c(&cleared)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> Superblock {
        Superblock {
            generation: 3,
            volume: [0xa1; 16],
            device: [0xb2; 16],
            features_compatible: 0,
            features_read_only: 0,
            features_incompatible: 0,
            slot: 1,
            device_count: 2,
            shard_count: 8,
            logical_block_bytes: 512,
            write_unit_bytes: 4096,
            segment_bytes: 16 << 20,
            extent_bytes: 64 << 20,
            device_bytes: 4 << 30,
            data_start_bytes: 1 << 20,
            extent_count: 63,
            created_ms: 1_763_800_000_000,
            namespace: "test".into(),
            table_offsets: [131_072, 135_168],
            table_bytes: 4096,
        }
    }

    #[test]
    fn round_trip() {
        let label = sample();
        assert_eq!(Superblock::decode(&label.encode()), Ok(label));
    }

    #[test]
    fn golden_bytes() {
        let block = sample().encode();
        assert_eq!(&block[..8], b"CORELITH");
        assert_eq!(block[12..16], [3, 0, 0, 0]);
        assert_eq!(block[16..24], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(block[80..86], [1, 0, 2, 0, 8, 0]);
        assert_eq!(block[92..96], [0, 0x10, 0, 0]);
        assert_eq!(&block[144..149], b"\x04test");
        assert_eq!(block[8..12], [0xab, 0x92, 0xe4, 0x28]);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let block = sample().encode();
        for bit in 0..block.len() * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn impossible_geometry_is_refused_by_name() {
        let mut label = sample();
        label.extent_count = 64;
        let refused = Superblock::decode(&label.encode());
        assert_eq!(
            refused,
            Err(SuperblockError::Field {
                field: "extent_count",
                value: 64
            })
        );
    }

    #[test]
    fn unknown_features_are_refused() {
        let mut label = sample();
        label.features_incompatible = 4;
        assert_eq!(
            Superblock::decode(&label.encode()),
            Err(SuperblockError::Features { unknown: 4 })
        );
    }
}
