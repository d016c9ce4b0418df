//! Batch header: one write of the log, with the position and the watermark that recovery reads.

use super::binding::DeviceBinding;
use super::fields::{bytes_at, put, u16_at, u32_at, u64_at};
use crate::{Life, Lsn};

/// Bytes of a batch header.
pub const BATCH_HEADER_BYTES: usize = 64;
/// First four bytes: "BATC".
pub const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"BATC");

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = 4;
const LIFE_OFFSET: usize = 8;
const SHARD_OFFSET: usize = 12;
const RESERVED_SHORT_OFFSET: usize = 14;
const LSN_OFFSET: usize = 16;
const DURABLE_OFFSET: usize = 24;
const TIME_OFFSET: usize = 32;
const LENGTH_OFFSET: usize = 40;
const USED_OFFSET: usize = 44;
const COUNT_OFFSET: usize = 48;
const RESERVED_OFFSET: usize = 52;
const BODY_BYTES: usize = BATCH_HEADER_BYTES - LIFE_OFFSET;

/// Header of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Life of the segment that it was written to.
    pub life: Life,
    /// The shard.
    pub shard: u16,
    /// Position in the shard's log.
    pub lsn: Lsn,
    /// Every batch up to this one was durable (or void) when this was formed.
    pub durable: Lsn,
    /// The store's clock, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Whole length in bytes, padding included: a multiple of the write unit.
    pub length_bytes: u32,
    /// Header and records, in bytes.
    pub used_bytes: u32,
    /// Records in it.
    pub record_count: u32,
}

impl BatchHeader {
    /// Encodes the header for `offset_bytes` of the device.
    #[must_use]
    pub fn encode(&self, binding: DeviceBinding, offset_bytes: u64) -> [u8; BATCH_HEADER_BYTES] {
        let mut block = [0; BATCH_HEADER_BYTES];
        put(&mut block, MAGIC_OFFSET, &BATCH_MAGIC.to_le_bytes());
        put(&mut block, LIFE_OFFSET, &self.life.get().to_le_bytes());
        put(&mut block, SHARD_OFFSET, &self.shard.to_le_bytes());
        put(&mut block, LSN_OFFSET, &self.lsn.get().to_le_bytes());
        put(
            &mut block,
            DURABLE_OFFSET,
            &self.durable.get().to_le_bytes(),
        );
        put(&mut block, TIME_OFFSET, &self.time_ms.to_le_bytes());
        put(&mut block, LENGTH_OFFSET, &self.length_bytes.to_le_bytes());
        put(&mut block, USED_OFFSET, &self.used_bytes.to_le_bytes());
        put(&mut block, COUNT_OFFSET, &self.record_count.to_le_bytes());
        let checksum = checksum(&block, binding, offset_bytes, self.life);
        put(&mut block, CHECKSUM_OFFSET, &checksum.to_le_bytes());
        block
    }

    /// Decodes the header of a batch written to `offset_bytes` in `life`; `None` if there is none: a
    /// hole, an older life, foreign bytes, damage. What follows from a hole is recovery's business.
    #[must_use]
    pub fn decode(
        block: &[u8; BATCH_HEADER_BYTES],
        binding: DeviceBinding,
        offset_bytes: u64,
        life: Life,
    ) -> Option<Self> {
        Self::decode_of_any_life(block, binding, offset_bytes).filter(|header| header.life == life)
    }

    /// Decodes the header of a batch written to `offset_bytes` in whatever life: what tells that a
    /// segment without a header once had one.
    #[must_use]
    pub fn decode_of_any_life(
        block: &[u8; BATCH_HEADER_BYTES],
        binding: DeviceBinding,
        offset_bytes: u64,
    ) -> Option<Self> {
        let header = Self {
            life: Life::new(u32_at(block, LIFE_OFFSET)),
            shard: u16_at(block, SHARD_OFFSET),
            lsn: Lsn::new(u64_at(block, LSN_OFFSET)),
            durable: Lsn::new(u64_at(block, DURABLE_OFFSET)),
            time_ms: u64_at(block, TIME_OFFSET),
            length_bytes: u32_at(block, LENGTH_OFFSET),
            used_bytes: u32_at(block, USED_OFFSET),
            record_count: u32_at(block, COUNT_OFFSET),
        };
        let good = u32_at(block, MAGIC_OFFSET) == BATCH_MAGIC
            && u32_at(block, CHECKSUM_OFFSET)
                == checksum(block, binding, offset_bytes, header.life)
            && u16_at(block, RESERVED_SHORT_OFFSET) == 0
            && bytes_at::<_, 12>(block, RESERVED_OFFSET) == [0; 12]
            && header.used_bytes <= header.length_bytes
            && header.life != Life::NONE;
        good.then_some(header)
    }
}

fn checksum(
    block: &[u8; BATCH_HEADER_BYTES],
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

    fn sample() -> BatchHeader {
        BatchHeader {
            life: Life::new(4),
            shard: 2,
            lsn: Lsn::new(1000),
            durable: Lsn::new(998),
            time_ms: 1_763_800_000_123,
            length_bytes: 8192,
            used_bytes: 5000,
            record_count: 12,
        }
    }

    fn binding() -> DeviceBinding {
        DeviceBinding::new(&[3; 16], 0)
    }

    #[test]
    fn round_trip() {
        let block = sample().encode(binding(), 4096);
        assert_eq!(
            BatchHeader::decode(&block, binding(), 4096, Life::new(4)),
            Some(sample())
        );
    }

    #[test]
    fn golden_bytes() {
        let block = sample().encode(binding(), 4096);
        assert_eq!(&block[..4], b"BATC");
        assert_eq!(block[4..8], [0xfd, 0xe1, 0xbd, 0xb2]);
        assert_eq!(block[8..14], [4, 0, 0, 0, 2, 0]);
        assert_eq!(block[16..18], [0xe8, 3]);
        assert_eq!(
            block[40..52],
            [0, 0x20, 0, 0, 0x88, 0x13, 0, 0, 12, 0, 0, 0]
        );
    }

    #[test]
    fn wrong_place_life_device_or_any_flipped_bit_is_a_hole() {
        let block = sample().encode(binding(), 4096);
        let life = Life::new(4);
        assert_eq!(BatchHeader::decode(&block, binding(), 8192, life), None);
        assert_eq!(
            BatchHeader::decode(&block, binding(), 4096, Life::new(5)),
            None
        );
        let other = DeviceBinding::new(&[3; 16], 1);
        assert_eq!(BatchHeader::decode(&block, other, 4096, life), None);
        for bit in 0..block.len() * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                BatchHeader::decode(&damaged, binding(), 4096, life),
                None,
                "bit {bit}"
            );
        }
    }
}
