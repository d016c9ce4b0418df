//! Segment header: one logical life of a segment. Two copies in the first two write units.
//!
//! Invariants: it lies in the first 512 bytes of its unit, so a torn write leaves old or new; a life
//! begins with a durable header that says "prepared", so no byte of a life is ever written before the
//! life is on record; the first batch is acknowledged only when the header that says "log" is durable.

use super::binding::crc32c;
use super::fields::{bytes_at, is_zero_from, put, u16_at, u32_at, u64_at};
use crate::{Life, Lsn, Version};

/// Bytes of a segment header that carry meaning.
pub const SEGMENT_HEADER_BYTES: usize = 512;
/// Copies, one a write unit, from the segment's start.
pub const SEGMENT_HEADER_COPIES: u64 = 2;
/// First four bytes: "SEGH".
pub const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"SEGH");

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = 4;
const VOLUME_OFFSET: usize = 8;
const SLOT_OFFSET: usize = 24;
const SHARD_OFFSET: usize = 26;
const LIFE_OFFSET: usize = 28;
const SEGMENT_OFFSET_OFFSET: usize = 32;
const STATE_OFFSET: usize = 40;
const RESERVED_SHORT_OFFSET: usize = 41;
const FIRST_LSN_OFFSET: usize = 48;
const PREDECESSOR_OFFSET: usize = 56;
const FIRST_VERSION_OFFSET: usize = 64;
const OPENED_OFFSET: usize = 72;
const PREVIOUS_FIRST_OFFSET: usize = 80;
const FREED_OFFSET: usize = 88;
const OLDER_OFFSET: usize = 96;
const RESERVED_MIDDLE_OFFSET: usize = 100;
const DURABLE_OFFSET: usize = 104;
const DURABLE_FIRST_OFFSET: usize = 112;
const RESERVED_OFFSET: usize = 120;

/// What a life has come to. The numbers are stored: never change one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentUse {
    /// The life has begun; nothing in the segment counts yet.
    Prepared = 1,
    /// Part of the shard's log.
    Log = 2,
    /// Freed: nothing in it counts.
    Free = 3,
    /// Pages of checkpoints, as far as they are valid; nothing of the log.
    Checkpoint = 4,
}

impl SegmentUse {
    const fn number(self) -> u8 {
        match self {
            Self::Prepared => 1,
            Self::Log => 2,
            Self::Free => 3,
            Self::Checkpoint => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Prepared),
            2 => Some(Self::Log),
            3 => Some(Self::Free),
            4 => Some(Self::Checkpoint),
            _ => None,
        }
    }

    /// When in a life it comes. A life holds the log or pages, never one after the other.
    const fn order(self) -> u8 {
        match self {
            Self::Prepared => 1,
            Self::Log | Self::Checkpoint => 2,
            Self::Free => 3,
        }
    }
}

/// Header of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The volume.
    pub volume: [u8; 16],
    /// The device.
    pub slot: u16,
    /// The shard that owns the extent.
    pub shard: u16,
    /// How often the segment has been allocated.
    pub life: Life,
    /// Where the segment begins on the device, in bytes.
    pub offset_bytes: u64,
    /// What the life has come to.
    pub state: SegmentUse,
    /// Log: LSN of the first batch, which follows the header. Else: the shard's next LSN when this was
    /// written, so that no LSN is given twice.
    pub first_lsn: Lsn,
    /// Log: the last LSN before `first_lsn` that counts; the positions between are void. Else zero.
    pub predecessor: Lsn,
    /// Log: first LSN of the segment that came before this one in the log; tells whether a segment that
    /// is found is its neighbour, or whether others between were freed. Else zero.
    pub previous_first_lsn: Lsn,
    /// Log: no record of this segment has a smaller version, but for moved ones. Else: the shard's next
    /// version when this was written.
    pub first_version: Version,
    /// The store's clock when this was written, in milliseconds since the Unix epoch.
    pub opened_ms: u64,
    /// Log: zero. Else: the shard's next LSN when the segment was last freed of the log; zero if it never was.
    pub freed_lsn: Lsn,
    /// Log: how many other segments were part of the log, durably, when this was written. Those that
    /// are neither found nor freed since have been lost. Else zero.
    pub older_segments: u32,
    /// The watermark when this was written: every batch up to here that counts was durable.
    pub durable: Lsn,
    /// First LSN of the segment that holds the batch at `durable`; zero if there is none.
    pub durable_first_lsn: Lsn,
}

/// Why bytes are not a segment header for the place they were read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SegmentHeaderError {
    /// The segment was never allocated in this volume.
    #[error("no segment header")]
    NotASegment,
    /// Damaged or torn.
    #[error("segment header checksum is {found:#010x}, computed {computed:#010x}")]
    Checksum {
        /// Sum in the block.
        found: u32,
        /// Sum of the block.
        computed: u32,
    },
    /// Left by another volume, or written to the wrong place.
    #[error("segment header of another place (slot {slot}, offset {offset_bytes})")]
    Foreign {
        /// Slot in the header.
        slot: u16,
        /// Offset in the header.
        offset_bytes: u64,
    },
    /// A field outside its bounds although the checksum agrees.
    #[error("segment header state {found} is unknown")]
    State {
        /// The number found.
        found: u8,
    },
}

impl SegmentHeader {
    /// Encodes the header.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut block = [0; SEGMENT_HEADER_BYTES];
        put(&mut block, MAGIC_OFFSET, &SEGMENT_MAGIC.to_le_bytes());
        put(&mut block, VOLUME_OFFSET, &self.volume);
        put(&mut block, SLOT_OFFSET, &self.slot.to_le_bytes());
        put(&mut block, SHARD_OFFSET, &self.shard.to_le_bytes());
        put(&mut block, LIFE_OFFSET, &self.life.get().to_le_bytes());
        put(
            &mut block,
            SEGMENT_OFFSET_OFFSET,
            &self.offset_bytes.to_le_bytes(),
        );
        put(&mut block, STATE_OFFSET, &[self.state.number()]);
        put(
            &mut block,
            FIRST_LSN_OFFSET,
            &self.first_lsn.get().to_le_bytes(),
        );
        put(
            &mut block,
            PREDECESSOR_OFFSET,
            &self.predecessor.get().to_le_bytes(),
        );
        put(
            &mut block,
            FIRST_VERSION_OFFSET,
            &self.first_version.get().to_le_bytes(),
        );
        put(&mut block, OPENED_OFFSET, &self.opened_ms.to_le_bytes());
        put(
            &mut block,
            PREVIOUS_FIRST_OFFSET,
            &self.previous_first_lsn.get().to_le_bytes(),
        );
        put(
            &mut block,
            FREED_OFFSET,
            &self.freed_lsn.get().to_le_bytes(),
        );
        put(&mut block, OLDER_OFFSET, &self.older_segments.to_le_bytes());
        put(
            &mut block,
            DURABLE_OFFSET,
            &self.durable.get().to_le_bytes(),
        );
        put(
            &mut block,
            DURABLE_FIRST_OFFSET,
            &self.durable_first_lsn.get().to_le_bytes(),
        );
        let checksum = checksum(&block);
        put(&mut block, CHECKSUM_OFFSET, &checksum.to_le_bytes());
        block
    }

    /// Decodes the header of the segment at `offset_bytes` of device `slot` of `volume`.
    ///
    /// # Errors
    /// See [`SegmentHeaderError`].
    pub fn decode(
        block: &[u8; SEGMENT_HEADER_BYTES],
        volume: &[u8; 16],
        slot: u16,
        offset_bytes: u64,
    ) -> Result<Self, SegmentHeaderError> {
        if u32_at(block, MAGIC_OFFSET) != SEGMENT_MAGIC {
            return Err(SegmentHeaderError::NotASegment);
        }
        let found = u32_at(block, CHECKSUM_OFFSET);
        let computed = checksum(block);
        let reserved: [u8; FIRST_LSN_OFFSET - RESERVED_SHORT_OFFSET] =
            bytes_at(block, RESERVED_SHORT_OFFSET);
        let reserved_is_zero = reserved == [0; _]
            && u32_at(block, RESERVED_MIDDLE_OFFSET) == 0
            && is_zero_from(block, RESERVED_OFFSET);
        if found != computed || !reserved_is_zero {
            return Err(SegmentHeaderError::Checksum { found, computed });
        }
        let found_volume: [u8; 16] = bytes_at(block, VOLUME_OFFSET);
        let found_slot = u16_at(block, SLOT_OFFSET);
        let found_offset = u64_at(block, SEGMENT_OFFSET_OFFSET);
        if found_volume != *volume {
            // A device that was formatted again keeps the old volume's segments until they are used.
            return Err(SegmentHeaderError::NotASegment);
        }
        if found_slot != slot || found_offset != offset_bytes {
            return Err(SegmentHeaderError::Foreign {
                slot: found_slot,
                offset_bytes: found_offset,
            });
        }
        let [found] = bytes_at(block, STATE_OFFSET);
        let state = SegmentUse::from_number(found).ok_or(SegmentHeaderError::State { found })?;
        Ok(Self {
            volume: found_volume,
            slot: found_slot,
            shard: u16_at(block, SHARD_OFFSET),
            life: Life::new(u32_at(block, LIFE_OFFSET)),
            offset_bytes: found_offset,
            state,
            first_lsn: Lsn::new(u64_at(block, FIRST_LSN_OFFSET)),
            predecessor: Lsn::new(u64_at(block, PREDECESSOR_OFFSET)),
            first_version: Version::new(u64_at(block, FIRST_VERSION_OFFSET)),
            opened_ms: u64_at(block, OPENED_OFFSET),
            previous_first_lsn: Lsn::new(u64_at(block, PREVIOUS_FIRST_OFFSET)),
            freed_lsn: Lsn::new(u64_at(block, FREED_OFFSET)),
            older_segments: u32_at(block, OLDER_OFFSET),
            durable: Lsn::new(u64_at(block, DURABLE_OFFSET)),
            durable_first_lsn: Lsn::new(u64_at(block, DURABLE_FIRST_OFFSET)),
        })
    }

    /// True if this was written to the segment after `other`.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.life, self.state.order()) > (other.life, other.state.order())
    }
}

/// CRC-32C of the block with the checksum field taken as zero. The place is in the fields.
fn checksum(block: &[u8; SEGMENT_HEADER_BYTES]) -> u32 {
    let mut cleared = *block;
    put(&mut cleared, CHECKSUM_OFFSET, &[0; 4]);
    crc32c(&cleared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            volume: [9; 16],
            slot: 1,
            shard: 3,
            life: Life::new(2),
            offset_bytes: 1 << 20,
            state: SegmentUse::Log,
            first_lsn: Lsn::new(100),
            predecessor: Lsn::new(90),
            previous_first_lsn: Lsn::new(60),
            first_version: Version::new(4000),
            opened_ms: 77,
            freed_lsn: Lsn::new(55),
            older_segments: 6,
            durable: Lsn::new(90),
            durable_first_lsn: Lsn::new(60),
        }
    }

    #[test]
    fn round_trip() {
        let block = sample().encode();
        assert_eq!(
            SegmentHeader::decode(&block, &[9; 16], 1, 1 << 20),
            Ok(sample())
        );
    }

    #[test]
    fn golden_bytes() {
        let block = sample().encode();
        assert_eq!(&block[..4], b"SEGH");
        assert_eq!(block[4..8], [0x87, 0x6f, 0x3e, 0x69]);
        assert_eq!(block[24..32], [1, 0, 3, 0, 2, 0, 0, 0]);
        assert_eq!(block[40], 2);
        assert_eq!(block[48..50], [100, 0]);
        assert_eq!(block[88..100], [55, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0]);
        assert_eq!(block[100..106], [0, 0, 0, 0, 90, 0]);
        assert_eq!(block[112..114], [60, 0]);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let block = sample().encode();
        for bit in 0..block.len() * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                SegmentHeader::decode(&damaged, &[9; 16], 1, 1 << 20).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_life_runs_from_prepared_to_free() {
        let of = |life, state| SegmentHeader {
            life: Life::new(life),
            state,
            ..sample()
        };
        let run = [
            of(1, SegmentUse::Log),
            of(1, SegmentUse::Free),
            of(2, SegmentUse::Prepared),
            of(2, SegmentUse::Log),
            of(3, SegmentUse::Checkpoint),
            of(3, SegmentUse::Free),
        ];
        for (earlier, header) in run.iter().enumerate() {
            for (later, other) in run.iter().enumerate() {
                assert_eq!(header.supersedes(other), earlier > later);
            }
        }
    }

    #[test]
    fn another_place_or_volume_is_not_ours() {
        let block = sample().encode();
        assert_eq!(
            SegmentHeader::decode(&block, &[9; 16], 1, 2 << 20),
            Err(SegmentHeaderError::Foreign {
                slot: 1,
                offset_bytes: 1 << 20
            })
        );
        assert_eq!(
            SegmentHeader::decode(&block, &[8; 16], 1, 1 << 20),
            Err(SegmentHeaderError::NotASegment)
        );
    }
}
