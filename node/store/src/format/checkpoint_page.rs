//! Page of a checkpoint: a header, then items of sets or an image of groups of the index.
//!
//! Invariants: the header's checksum is bound to the page's place and life and covers that of the content, so a page is
//! of this very round of its segment or it is none; a page tells between which two points it is whole, and up to
//! which LSN.

use super::binding::{DeviceBinding, crc32c};
use super::fields::{bytes_at, is_zero_from, put, u16_at, u32_at, u64_at};
use crate::{Life, Lsn, Version};

/// Bytes of the header; the content follows.
pub const PAGE_HEADER_BYTES: usize = 96;
/// First four bytes: "PAGE".
pub const PAGE_MAGIC: u32 = u32::from_le_bytes(*b"PAGE");

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = 4;
const LIFE_OFFSET: usize = 8;
const SHARD_OFFSET: usize = 12;
const KIND_OFFSET: usize = 14;
const LSN_OFFSET: usize = 16;
const FIRST_LSN_OFFSET: usize = 24;
const VERSION_OFFSET: usize = 32;
const TIME_OFFSET: usize = 40;
const FROM_OFFSET: usize = 48;
const TO_OFFSET: usize = 56;
const FROM_RANK_OFFSET: usize = 64;
const TO_RANK_OFFSET: usize = 66;
const LENGTH_OFFSET: usize = 68;
const USED_OFFSET: usize = 72;
const CONTENT_CHECKSUM_OFFSET: usize = 76;
const RESERVED_OFFSET: usize = 80;
const BODY_BYTES: usize = PAGE_HEADER_BYTES - LIFE_OFFSET;

/// What a page holds. The numbers are stored: never change one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PageKind {
    /// Sets and truncations, by the number of the set.
    Sets = 1,
    /// Groups of the index, by partition and position.
    Index = 2,
}

/// A place in the order in which a checkpoint goes round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PagePoint {
    /// The part of the round.
    pub kind: PageKind,
    /// Number of the set, or of the partition among those of the shard.
    pub rank: u16,
    /// Place in the partition; 0 for sets.
    pub position: u64,
}

/// Header of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageHeader {
    /// Life of the segment.
    pub life: Life,
    /// The shard.
    pub shard: u16,
    /// The content is what every batch up to here, and none behind it, has made.
    pub lsn: Lsn,
    /// First LSN of the segment that holds the batch at `lsn`; zero if there is none.
    pub first_lsn: Lsn,
    /// The shard's next version.
    pub version: Version,
    /// The store's clock, ms since the Unix epoch.
    pub time_ms: u64,
    /// Where the page begins in the round.
    pub from: PagePoint,
    /// Where it ends: the first point that is not in it. Of the same kind.
    pub to: PagePoint,
    /// Whole length in bytes, padding included.
    pub length_bytes: u32,
    /// Bytes of the content.
    pub used_bytes: u32,
    /// CRC-32C of the content.
    pub content_checksum: u32,
}

impl PageKind {
    const fn number(self) -> u16 {
        match self {
            Self::Sets => 1,
            Self::Index => 2,
        }
    }

    const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Sets),
            2 => Some(Self::Index),
            _ => None,
        }
    }
}

impl PageHeader {
    /// Encodes the header for `offset_bytes` of the device.
    #[must_use]
    pub fn encode(&self, binding: DeviceBinding, offset_bytes: u64) -> [u8; PAGE_HEADER_BYTES] {
        let mut block = [0; PAGE_HEADER_BYTES];
        put(&mut block, MAGIC_OFFSET, &PAGE_MAGIC.to_le_bytes());
        put(&mut block, LIFE_OFFSET, &self.life.get().to_le_bytes());
        put(&mut block, SHARD_OFFSET, &self.shard.to_le_bytes());
        let kind = self.from.kind.number();
        put(&mut block, KIND_OFFSET, &kind.to_le_bytes());
        for (offset, word) in [
            (LSN_OFFSET, self.lsn.get()),
            (FIRST_LSN_OFFSET, self.first_lsn.get()),
            (VERSION_OFFSET, self.version.get()),
            (TIME_OFFSET, self.time_ms),
            (FROM_OFFSET, self.from.position),
            (TO_OFFSET, self.to.position),
        ] {
            put(&mut block, offset, &word.to_le_bytes());
        }
        put(&mut block, FROM_RANK_OFFSET, &self.from.rank.to_le_bytes());
        put(&mut block, TO_RANK_OFFSET, &self.to.rank.to_le_bytes());
        put(&mut block, LENGTH_OFFSET, &self.length_bytes.to_le_bytes());
        put(&mut block, USED_OFFSET, &self.used_bytes.to_le_bytes());
        let content = self.content_checksum.to_le_bytes();
        put(&mut block, CONTENT_CHECKSUM_OFFSET, &content);
        let checksum = checksum(&block, binding, offset_bytes, self.life);
        put(&mut block, CHECKSUM_OFFSET, &checksum.to_le_bytes());
        block
    }

    /// Decodes the header of a page written to `offset_bytes` in `life`; `None` if there is none.
    #[must_use]
    pub fn decode(
        block: &[u8; PAGE_HEADER_BYTES],
        binding: DeviceBinding,
        offset_bytes: u64,
        life: Life,
    ) -> Option<Self> {
        if u32_at(block, MAGIC_OFFSET) != PAGE_MAGIC
            || u32_at(block, LIFE_OFFSET) != life.get()
            || u32_at(block, CHECKSUM_OFFSET) != checksum(block, binding, offset_bytes, life)
            || !is_zero_from(block, RESERVED_OFFSET)
        {
            return None;
        }
        let kind = PageKind::from_number(u16_at(block, KIND_OFFSET))?;
        let point = |rank, position| PagePoint {
            kind,
            rank: u16_at(block, rank),
            position: u64_at(block, position),
        };
        let header = Self {
            life,
            shard: u16_at(block, SHARD_OFFSET),
            lsn: Lsn::new(u64_at(block, LSN_OFFSET)),
            first_lsn: Lsn::new(u64_at(block, FIRST_LSN_OFFSET)),
            version: Version::new(u64_at(block, VERSION_OFFSET)),
            time_ms: u64_at(block, TIME_OFFSET),
            from: point(FROM_RANK_OFFSET, FROM_OFFSET),
            to: point(TO_RANK_OFFSET, TO_OFFSET),
            length_bytes: u32_at(block, LENGTH_OFFSET),
            used_bytes: u32_at(block, USED_OFFSET),
            content_checksum: u32_at(block, CONTENT_CHECKSUM_OFFSET),
        };
        let room = u64::from(header.length_bytes);
        let filled = u64::from(header.used_bytes) + HEADER_BYTES_WIDE;
        (header.from < header.to && filled <= room).then_some(header)
    }

    /// The content in the bytes of the page, if they are what was written.
    #[must_use]
    pub fn content<'a>(&self, page: &'a [u8]) -> Option<&'a [u8]> {
        let used = usize::try_from(self.used_bytes).ok()?;
        let content = page.get(PAGE_HEADER_BYTES..)?.get(..used)?;
        (Self::checksum_content(content) == self.content_checksum).then_some(content)
    }

    /// The checksum of a content.
    #[must_use]
    pub fn checksum_content(content: &[u8]) -> u32 {
        crc32c(content)
    }
}

const HEADER_BYTES_WIDE: u64 = 96;
const _: () = assert!(PAGE_HEADER_BYTES == 96);

fn checksum(
    block: &[u8; PAGE_HEADER_BYTES],
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

    fn sample() -> PageHeader {
        let point = |rank, position| PagePoint {
            kind: PageKind::Index,
            rank,
            position,
        };
        PageHeader {
            life: Life::new(5),
            shard: 3,
            lsn: Lsn::new(1000),
            first_lsn: Lsn::new(900),
            version: Version::new(70_000),
            time_ms: 88,
            from: point(2, 7),
            to: point(3, 0),
            length_bytes: 4096,
            used_bytes: 3,
            content_checksum: PageHeader::checksum_content(b"abc"),
        }
    }

    fn binding() -> DeviceBinding {
        DeviceBinding::new(&[9; 16], 1)
    }

    #[test]
    fn round_trip() {
        let block = sample().encode(binding(), 8192);
        let decoded = PageHeader::decode(&block, binding(), 8192, Life::new(5));
        assert_eq!(decoded, Some(sample()));
        let mut page = block.to_vec();
        page.extend(b"abc");
        assert_eq!(sample().content(&page), Some(&b"abc"[..]));
        page[97] ^= 1;
        assert_eq!(sample().content(&page), None);
    }

    #[test]
    fn golden_bytes() {
        let block = sample().encode(binding(), 8192);
        assert_eq!(&block[..4], b"PAGE");
        assert_eq!(block[8..18], [5, 0, 0, 0, 3, 0, 2, 0, 232, 3]);
        assert_eq!(block[48], 7);
        assert_eq!(block[64..76], [2, 0, 3, 0, 0, 16, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn every_flipped_bit_another_place_and_another_life_are_refused() {
        let block = sample().encode(binding(), 8192);
        for bit in 0..block.len() * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let decoded = PageHeader::decode(&damaged, binding(), 8192, Life::new(5));
            assert_eq!(decoded, None, "bit {bit}");
        }
        assert_eq!(
            PageHeader::decode(&block, binding(), 4096, Life::new(5)),
            None
        );
        assert_eq!(
            PageHeader::decode(&block, binding(), 8192, Life::new(6)),
            None
        );
        let other = DeviceBinding::new(&[9; 16], 2);
        assert_eq!(PageHeader::decode(&block, other, 8192, Life::new(5)), None);
    }

    #[test]
    fn a_range_that_is_empty_and_a_content_that_is_too_long_are_refused() {
        let mut header = sample();
        header.to = header.from;
        let block = header.encode(binding(), 0);
        assert_eq!(PageHeader::decode(&block, binding(), 0, Life::new(5)), None);
        let mut header = sample();
        header.used_bytes = 4001;
        let block = header.encode(binding(), 0);
        assert_eq!(PageHeader::decode(&block, binding(), 0, Life::new(5)), None);
    }
}
