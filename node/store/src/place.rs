//! Places: where segments stand on devices, and how a record's address packs into the index.
//!
//! A shard numbers its segments 0, 1, 2, ... in the order of (slot, extent, position). An address is
//! `number * granules of a segment + granule in the segment`: never zero, because every segment
//! begins with its header.

use corelith_index::RecordAddress;

use crate::format::record_header::GRANULE_BYTES;

/// Number of a segment within its shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentNumber(u32);

impl SegmentNumber {
    /// The segment at position `index` of the shard's table.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// Position in the shard's table.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Where a segment stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentPlace {
    /// Device of the volume.
    pub slot: u16,
    /// Where the segment begins on the device, in bytes.
    pub offset_bytes: u64,
}

/// A record's place: segment, and offset of its header in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordPlace {
    pub(crate) segment: SegmentNumber,
    /// Offset of the record's header in its segment, in bytes; a multiple of 16.
    pub(crate) offset_bytes: u64,
}

impl RecordPlace {
    /// Packs the place; `None` if it is beyond the 2^40 granules (16 TiB) of a shard, which the
    /// volume's check at open rules out.
    pub(crate) fn pack(self, segment_bytes: u64) -> Option<RecordAddress> {
        let granules = segment_bytes / GRANULE_BYTES;
        RecordAddress::from_packed(
            u64::from(self.segment.0) * granules + self.offset_bytes / GRANULE_BYTES,
        )
    }

    /// Unpacks an address; `None` only for an address that this store did not make.
    pub(crate) fn unpack(address: RecordAddress, segment_bytes: u64) -> Option<Self> {
        let granules = segment_bytes / GRANULE_BYTES;
        let number = u32::try_from(address.packed() / granules).ok()?;
        let offset_bytes = address.packed() % granules * GRANULE_BYTES;
        Some(Self {
            segment: SegmentNumber(number),
            offset_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_round_trips() {
        for (number, offset_bytes) in [(0, 16), (3, 1024), (1_000_000, (16 << 20) - 64)] {
            let place = RecordPlace {
                segment: SegmentNumber(number),
                offset_bytes,
            };
            let address = place.pack(16 << 20).unwrap();
            assert_eq!(RecordPlace::unpack(address, 16 << 20), Some(place));
        }
    }

    #[test]
    fn a_shard_ends_at_sixteen_tebibytes() {
        let segments = (16_u64 << 40) / (16 << 20);
        let last = RecordPlace {
            segment: SegmentNumber(u32::try_from(segments).unwrap() - 1),
            offset_bytes: 64,
        };
        assert!(last.pack(16 << 20).is_some());
        let beyond = RecordPlace {
            segment: SegmentNumber(u32::try_from(segments).unwrap()),
            ..last
        };
        assert!(beyond.pack(16 << 20).is_none());
    }
}
