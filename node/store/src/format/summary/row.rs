//! Row of a summary: one batch, or one record of the batch whose row came before.

use corelith_index::{Digest, ExpirySeconds, Generation, SetId};

use crate::format::fields::{bytes_at, is_zero_from, put, u16_at, u32_at, u64_at};
use crate::format::record_header::{GRANULE_BYTES, RecordFlags};
use crate::{Lsn, Version};

/// Bytes of a row.
pub const SUMMARY_ROW_BYTES: usize = 44;

const GRANULE_OFFSET: usize = 0;
const LENGTH_FLAGS_OFFSET: usize = 4;
const NUMBER_OFFSET: usize = 8;
const DIGEST_OFFSET: usize = 16;
const DURABLE_OFFSET: usize = 16;
const TIME_OFFSET: usize = 24;
const COUNT_OFFSET: usize = 32;
const BATCH_RESERVED_OFFSET: usize = 36;
const GENERATION_OFFSET: usize = 36;
const SET_OFFSET: usize = 38;
const EXPIRY_OFFSET: usize = 40;
/// Flag of a batch row; record rows have the record's own flags there.
const BATCH_FLAG: u32 = 0x80;

/// A batch, as recovery needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchRow {
    /// Where the batch begins in the segment, in bytes.
    pub offset_bytes: u64,
    /// Its padded length in bytes.
    pub length_bytes: u32,
    /// Its position in the log.
    pub lsn: Lsn,
    /// The durable watermark that it carries.
    pub durable: Lsn,
    /// The store's clock that it carries, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Records in it: that many rows follow.
    pub record_count: u32,
}

/// A record, as recovery needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRow {
    /// Where the record's header begins in the segment, in bytes; a multiple of 16.
    pub offset_bytes: u64,
    /// Length of the content in bytes.
    pub content_bytes: u32,
    /// What it is.
    pub flags: RecordFlags,
    /// Identity of the write.
    pub version: Version,
    /// Identity of the record.
    pub digest: Digest,
    /// Count of the record's writes.
    pub generation: Generation,
    /// The set.
    pub set: SetId,
    /// When it expires.
    pub expiry: ExpirySeconds,
}

/// One row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SummaryRow {
    /// A batch.
    Batch(BatchRow),
    /// A record of the batch before it.
    Record(RecordRow),
}

impl SummaryRow {
    /// Encodes the row.
    #[must_use]
    pub fn encode(&self) -> [u8; SUMMARY_ROW_BYTES] {
        let mut block = [0; SUMMARY_ROW_BYTES];
        match self {
            Self::Batch(batch) => {
                put(
                    &mut block,
                    GRANULE_OFFSET,
                    &granule(batch.offset_bytes).to_le_bytes(),
                );
                let length_flags = batch.length_bytes & 0x00ff_ffff | BATCH_FLAG << 24;
                put(&mut block, LENGTH_FLAGS_OFFSET, &length_flags.to_le_bytes());
                put(&mut block, NUMBER_OFFSET, &batch.lsn.get().to_le_bytes());
                put(
                    &mut block,
                    DURABLE_OFFSET,
                    &batch.durable.get().to_le_bytes(),
                );
                put(&mut block, TIME_OFFSET, &batch.time_ms.to_le_bytes());
                put(&mut block, COUNT_OFFSET, &batch.record_count.to_le_bytes());
            }
            Self::Record(record) => {
                put(
                    &mut block,
                    GRANULE_OFFSET,
                    &granule(record.offset_bytes).to_le_bytes(),
                );
                let flags = u32::from(record.flags.bits()) << 24;
                let length_flags = record.content_bytes & 0x00ff_ffff | flags;
                put(&mut block, LENGTH_FLAGS_OFFSET, &length_flags.to_le_bytes());
                put(
                    &mut block,
                    NUMBER_OFFSET,
                    &record.version.get().to_le_bytes(),
                );
                put(&mut block, DIGEST_OFFSET, record.digest.as_bytes());
                put(
                    &mut block,
                    GENERATION_OFFSET,
                    &record.generation.get().to_le_bytes(),
                );
                put(&mut block, SET_OFFSET, &record.set.get().to_le_bytes());
                put(
                    &mut block,
                    EXPIRY_OFFSET,
                    &record.expiry.get().to_le_bytes(),
                );
            }
        }
        block
    }

    /// True for a batch.
    #[must_use]
    pub const fn is_batch(&self) -> bool {
        match self {
            Self::Batch(_) => true,
            Self::Record(_) => false,
        }
    }

    /// Decodes a row; `None` if a field is impossible although the block's checksum agreed.
    #[must_use]
    pub fn decode(block: &[u8; SUMMARY_ROW_BYTES]) -> Option<Self> {
        let length_flags = u32_at(block, LENGTH_FLAGS_OFFSET);
        let length_bytes = length_flags & 0x00ff_ffff;
        let offset_bytes = u64::from(u32_at(block, GRANULE_OFFSET)) * GRANULE_BYTES;
        let flag_bits = length_flags >> 24;
        if flag_bits == BATCH_FLAG {
            return is_zero_from(block, BATCH_RESERVED_OFFSET).then_some(Self::Batch(BatchRow {
                offset_bytes,
                length_bytes,
                lsn: Lsn::new(u64_at(block, NUMBER_OFFSET)),
                durable: Lsn::new(u64_at(block, DURABLE_OFFSET)),
                time_ms: u64_at(block, TIME_OFFSET),
                record_count: u32_at(block, COUNT_OFFSET),
            }));
        }
        Some(Self::Record(RecordRow {
            offset_bytes,
            content_bytes: length_bytes,
            flags: RecordFlags::from_bits(u8::try_from(flag_bits).ok()?)?,
            version: Version::new(u64_at(block, NUMBER_OFFSET)),
            digest: Digest::from_bytes(bytes_at(block, DIGEST_OFFSET)),
            generation: Generation::new(u16_at(block, GENERATION_OFFSET))?,
            set: SetId::new(u16_at(block, SET_OFFSET))?,
            expiry: ExpirySeconds::new(u32_at(block, EXPIRY_OFFSET)),
        }))
    }
}

/// A position in a segment, which is at most 64 MiB long, in granules.
fn granule(offset_bytes: u64) -> u32 {
    u32::try_from(offset_bytes / GRANULE_BYTES).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let batch = SummaryRow::Batch(BatchRow {
            offset_bytes: 8192,
            length_bytes: 4096,
            lsn: Lsn::new(77),
            durable: Lsn::new(70),
            time_ms: 99,
            record_count: 3,
        });
        assert_eq!(SummaryRow::decode(&batch.encode()), Some(batch));
        let record = SummaryRow::Record(RecordRow {
            offset_bytes: 8192 + 64,
            content_bytes: 300,
            flags: RecordFlags::TOMBSTONE,
            version: Version::new(1234),
            digest: Digest::from_bytes([0x5a; 20]),
            generation: Generation::new(2).unwrap(),
            set: SetId::new(1).unwrap(),
            expiry: ExpirySeconds::new(6),
        });
        assert_eq!(SummaryRow::decode(&record.encode()), Some(record));
    }

    #[test]
    fn golden_bytes() {
        let batch = SummaryRow::Batch(BatchRow {
            offset_bytes: 0x12340,
            length_bytes: 0x1000,
            lsn: Lsn::new(5),
            durable: Lsn::new(4),
            time_ms: 3,
            record_count: 2,
        });
        let encoded = batch.encode();
        assert_eq!(encoded[..9], [0x34, 0x12, 0, 0, 0, 0x10, 0, 0x80, 5]);
        assert_eq!(
            encoded[16..36],
            [4, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]
        );
        let record = SummaryRow::Record(RecordRow {
            offset_bytes: 0x30,
            content_bytes: 7,
            flags: RecordFlags::TWIN,
            version: Version::new(6),
            digest: Digest::from_bytes([0xd1; 20]),
            generation: Generation::new(8).unwrap(),
            set: SetId::new(9).unwrap(),
            expiry: ExpirySeconds::new(10),
        });
        let encoded = record.encode();
        assert_eq!(encoded[..9], [3, 0, 0, 0, 7, 0, 0, 2, 6]);
        assert_eq!(encoded[16..36], [0xd1; 20]);
        assert_eq!(encoded[36..], [8, 0, 9, 0, 10, 0, 0, 0]);
    }

    #[test]
    fn impossible_rows_are_refused() {
        assert_eq!(
            SummaryRow::decode(&[0; SUMMARY_ROW_BYTES]),
            None,
            "generation zero"
        );
        assert_eq!(
            SummaryRow::decode(&[0xff; SUMMARY_ROW_BYTES]),
            None,
            "unknown flags"
        );
    }
}
