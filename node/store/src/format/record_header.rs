//! Record header: what precedes a record's content in a batch, and its two checksums.
//!
//! Invariants: 56 bytes; a record begins on a 16-byte granule of its segment; the content's checksum
//! is made once, on arrival, and carried unchanged through moves; the header's checksum binds the
//! header, and through it the content, to its place and life.

use corelith_index::{Digest, ExpirySeconds, Generation, SetId};

use super::binding::{DeviceBinding, crc32c};
use super::fields::{bytes_at, put, u16_at, u32_at, u64_at, u64_of};
use crate::{Life, Version};

/// Bytes of a record header.
pub const RECORD_HEADER_BYTES: usize = 56;
/// Records begin on multiples of this, in bytes.
pub const GRANULE_BYTES: u64 = 16;

const CHECKSUM_OFFSET: usize = 0;
const CONTENT_CHECKSUM_OFFSET: usize = 4;
const LENGTH_FLAGS_OFFSET: usize = 8;
const GENERATION_OFFSET: usize = 12;
const SET_OFFSET: usize = 14;
const EXPIRY_OFFSET: usize = 16;
const RESERVED_OFFSET: usize = 20;
const UPDATED_OFFSET: usize = 22;
const VERSION_OFFSET: usize = 28;
const DIGEST_OFFSET: usize = 36;
const BODY_BYTES: usize = RECORD_HEADER_BYTES - CONTENT_CHECKSUM_OFFSET;

/// What a record is, beside its bins. Bits 5 to 7 are for compression and encryption: zero now, and a
/// record that has one set is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordFlags(u8);

impl RecordFlags {
    /// An ordinary record.
    pub const NONE: Self = Self(0);
    /// The key is deleted.
    pub const TOMBSTONE: Self = Self(1);
    /// Another key with the same index tag was there when this was written: replay compares digests.
    pub const TWIN: Self = Self(2);
    /// Written by the store for itself: the definition of a set, or a truncation.
    pub const META: Self = Self(4);
    /// Only with `META`: all older records of the set are deleted; of set 0, all of the shard.
    pub const TRUNCATION: Self = Self(8);
    /// A copy that reclaim has made of a record at another place: no change.
    pub const MOVED: Self = Self(16);
    const KNOWN: u8 = 31;

    /// From the stored bits; `None` if one is unknown.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::KNOWN == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The stored bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both sets of flags.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Header of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// CRC-32C of the content.
    pub content_checksum: u32,
    /// Length of the content in bytes, below 2^24.
    pub content_bytes: u32,
    /// What it is.
    pub flags: RecordFlags,
    /// Count of the record's writes.
    pub generation: Generation,
    /// The set, by the shard's own numbering.
    pub set: SetId,
    /// When it expires.
    pub expiry: ExpirySeconds,
    /// When the client's write was accepted, in milliseconds since the Unix epoch (48 bits).
    pub updated_ms: u64,
    /// Identity of the write.
    pub version: Version,
    /// Identity of the record.
    pub digest: Digest,
}

/// Why bytes at a place are not the record that should be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// The header is not what was written to this place in this life.
    #[error("record header checksum is {found:#010x}, computed {computed:#010x}")]
    HeaderChecksum {
        /// Sum in the header.
        found: u32,
        /// Sum of the header, bound to the place.
        computed: u32,
    },
    /// The content is not what was written.
    #[error("record content checksum is {found:#010x}, computed {computed:#010x}")]
    ContentChecksum {
        /// Sum in the header.
        found: u32,
        /// Sum of the content.
        computed: u32,
    },
    /// Checksum right, but a field that this release does not know.
    #[error("record field {field} has the unknown value {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// The content would end beyond the bytes at hand.
    #[error("record of {needed_bytes} bytes does not fit the {available_bytes} bytes read")]
    Length {
        /// Header and content, in bytes.
        needed_bytes: u64,
        /// Bytes at hand.
        available_bytes: u64,
    },
}

impl RecordHeader {
    /// CRC-32C of a record's content.
    #[must_use]
    pub fn checksum_content(content: &[u8]) -> u32 {
        crc32c(content)
    }

    /// Header and content, rounded to granules, in bytes.
    #[must_use]
    pub const fn stored_bytes(content_bytes: u64) -> u64 {
        (u64_of(RECORD_HEADER_BYTES) + content_bytes).next_multiple_of(GRANULE_BYTES)
    }

    /// Encodes the header for `offset_bytes` of the device in `life`.
    #[must_use]
    pub fn encode(
        &self,
        binding: DeviceBinding,
        offset_bytes: u64,
        life: Life,
    ) -> [u8; RECORD_HEADER_BYTES] {
        let mut block = [0; RECORD_HEADER_BYTES];
        put(
            &mut block,
            CONTENT_CHECKSUM_OFFSET,
            &self.content_checksum.to_le_bytes(),
        );
        let length_flags = self.content_bytes & 0x00ff_ffff | u32::from(self.flags.bits()) << 24;
        put(&mut block, LENGTH_FLAGS_OFFSET, &length_flags.to_le_bytes());
        put(
            &mut block,
            GENERATION_OFFSET,
            &self.generation.get().to_le_bytes(),
        );
        put(&mut block, SET_OFFSET, &self.set.get().to_le_bytes());
        put(&mut block, EXPIRY_OFFSET, &self.expiry.get().to_le_bytes());
        let [a, b, c, d, e, f, _, _] = self.updated_ms.to_le_bytes();
        put(&mut block, UPDATED_OFFSET, &[a, b, c, d, e, f]);
        put(
            &mut block,
            VERSION_OFFSET,
            &self.version.get().to_le_bytes(),
        );
        put(&mut block, DIGEST_OFFSET, self.digest.as_bytes());
        let checksum = checksum(&block, binding, offset_bytes, life);
        put(&mut block, CHECKSUM_OFFSET, &checksum.to_le_bytes());
        block
    }

    /// Decodes the header of a record written to `offset_bytes` in `life`.
    ///
    /// # Errors
    /// See [`RecordError`]; [`RecordError::Length`] and [`RecordError::ContentChecksum`] are found
    /// by [`RecordHeader::verify_content`].
    pub fn decode(
        block: &[u8; RECORD_HEADER_BYTES],
        binding: DeviceBinding,
        offset_bytes: u64,
        life: Life,
    ) -> Result<Self, RecordError> {
        let found = u32_at(block, CHECKSUM_OFFSET);
        let computed = checksum(block, binding, offset_bytes, life);
        if found != computed {
            return Err(RecordError::HeaderChecksum { found, computed });
        }
        Self::fields(block)
    }

    /// The fields of a header whose checksum has been compared before.
    pub(crate) fn fields(block: &[u8; RECORD_HEADER_BYTES]) -> Result<Self, RecordError> {
        let length_flags = u32_at(block, LENGTH_FLAGS_OFFSET);
        let flag_bits = length_flags >> 24;
        let flags = u8::try_from(flag_bits)
            .ok()
            .and_then(RecordFlags::from_bits)
            .ok_or(RecordError::Field {
                field: "flags",
                value: flag_bits,
            })?;
        let generation = u16_at(block, GENERATION_OFFSET);
        let set = u16_at(block, SET_OFFSET);
        let reserved = u16_at(block, RESERVED_OFFSET);
        if reserved != 0 {
            return Err(RecordError::Field {
                field: "reserved",
                value: reserved.into(),
            });
        }
        let [a, b, c, d, e, f] = bytes_at(block, UPDATED_OFFSET);
        Ok(Self {
            content_checksum: u32_at(block, CONTENT_CHECKSUM_OFFSET),
            content_bytes: length_flags & 0x00ff_ffff,
            flags,
            generation: Generation::new(generation).ok_or(RecordError::Field {
                field: "generation",
                value: generation.into(),
            })?,
            set: SetId::new(set).ok_or(RecordError::Field {
                field: "set",
                value: set.into(),
            })?,
            expiry: ExpirySeconds::new(u32_at(block, EXPIRY_OFFSET)),
            updated_ms: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            version: Version::new(u64_at(block, VERSION_OFFSET)),
            digest: Digest::from_bytes(bytes_at(block, DIGEST_OFFSET)),
        })
    }

    /// The content that follows the header in `behind_header`, checked.
    ///
    /// # Errors
    /// [`RecordError::Length`] or [`RecordError::ContentChecksum`].
    pub fn verify_content<'a>(&self, behind_header: &'a [u8]) -> Result<&'a [u8], RecordError> {
        let content = self.content_in(behind_header)?;
        self.compare_content(crc32c(content))?;
        Ok(content)
    }

    /// The content that follows the header in `behind_header`, not checked yet.
    ///
    /// # Errors
    /// [`RecordError::Length`].
    pub(crate) fn content_in<'a>(&self, behind_header: &'a [u8]) -> Result<&'a [u8], RecordError> {
        let length = super::fields::usize_of_u32(self.content_bytes);
        behind_header.get(..length).ok_or(RecordError::Length {
            needed_bytes: u64_of(RECORD_HEADER_BYTES + length),
            available_bytes: u64_of(RECORD_HEADER_BYTES + behind_header.len()),
        })
    }

    /// Compares the sum of the content with the one in the header.
    ///
    /// # Errors
    /// [`RecordError::ContentChecksum`].
    pub(crate) const fn compare_content(&self, computed: u32) -> Result<(), RecordError> {
        if computed == self.content_checksum {
            return Ok(());
        }
        Err(RecordError::ContentChecksum {
            found: self.content_checksum,
            computed,
        })
    }
}

fn checksum(
    block: &[u8; RECORD_HEADER_BYTES],
    binding: DeviceBinding,
    offset_bytes: u64,
    life: Life,
) -> u32 {
    let body: [u8; BODY_BYTES] = bytes_at(block, CONTENT_CHECKSUM_OFFSET);
    binding.checksum::<BODY_BYTES, { BODY_BYTES + 16 }>(offset_bytes, life, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RecordHeader {
        RecordHeader {
            content_checksum: RecordHeader::checksum_content(b"content"),
            content_bytes: 7,
            flags: RecordFlags::TWIN,
            generation: Generation::new(5).unwrap(),
            set: SetId::new(11).unwrap(),
            expiry: ExpirySeconds::new(500_000_000),
            updated_ms: 1_763_800_000_123,
            version: Version::new(0x0102_0304),
            digest: Digest::from_bytes([0xd1; 20]),
        }
    }

    fn binding() -> DeviceBinding {
        DeviceBinding::new(&[3; 16], 0)
    }

    #[test]
    fn round_trip() {
        let block = sample().encode(binding(), 64, Life::new(1));
        let header = RecordHeader::decode(&block, binding(), 64, Life::new(1)).unwrap();
        assert_eq!(header, sample());
        assert_eq!(
            header.verify_content(b"content and padding"),
            Ok(&b"content"[..])
        );
    }

    #[test]
    fn golden_bytes() {
        let block = sample().encode(binding(), 64, Life::new(1));
        assert_eq!(block[..8], [0x50, 0xdc, 0xc1, 0xab, 0x33, 0x75, 0xaf, 0x61]);
        assert_eq!(block[8..16], [7, 0, 0, 2, 5, 0, 11, 0]);
        assert_eq!(block[28..36], [4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(block[36..56], [0xd1; 20]);
    }

    #[test]
    fn every_flipped_bit_of_header_and_content_is_found() {
        let block = sample().encode(binding(), 64, Life::new(1));
        for bit in 0..block.len() * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                RecordHeader::decode(&damaged, binding(), 64, Life::new(1)).is_err(),
                "bit {bit}"
            );
        }
        for bit in 0..56 {
            let mut damaged = *b"content";
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(sample().verify_content(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_place_life_or_device_is_refused() {
        let block = sample().encode(binding(), 64, Life::new(1));
        assert!(RecordHeader::decode(&block, binding(), 80, Life::new(1)).is_err());
        assert!(RecordHeader::decode(&block, binding(), 64, Life::new(2)).is_err());
        let other = DeviceBinding::new(&[3; 16], 1);
        assert!(RecordHeader::decode(&block, other, 64, Life::new(1)).is_err());
    }

    #[test]
    fn stored_length_is_in_granules() {
        assert_eq!(RecordHeader::stored_bytes(0), 64);
        assert_eq!(RecordHeader::stored_bytes(8), 64);
        assert_eq!(RecordHeader::stored_bytes(9), 80);
    }
}
