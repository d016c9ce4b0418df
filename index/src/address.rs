//! Where a record lies, as the store packs it.
//!
//! The index never unpacks, compares by size or adds to an address: only the store knows that it counts 16-byte granules within
//! a shard. Invariant: non-zero and below 2^40, so that an entry keeps it in five bytes and zero marks nothing.

use std::num::NonZeroU64;

/// The place of one copy of one record within its shard. Two live copies of one shard never share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordAddress(NonZeroU64);

impl RecordAddress {
    /// Bits of an address: 2^40 granules of 16 bytes are 16 TiB a shard.
    pub const BITS: u32 = 40;

    /// The largest packed value.
    pub const PACKED_MAX: u64 = (1 << Self::BITS) - 1;

    /// Takes what the store has packed; `None` when it is zero or above [`RecordAddress::PACKED_MAX`].
    #[must_use]
    pub const fn from_packed(packed: u64) -> Option<Self> {
        match NonZeroU64::new(packed) {
            Some(packed) if packed.get() <= Self::PACKED_MAX => Some(Self(packed)),
            Some(_) | None => None,
        }
    }

    /// What the store packed, 1 to [`RecordAddress::PACKED_MAX`].
    #[must_use]
    pub const fn packed(self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        assert_eq!(RecordAddress::from_packed(0), None);
        assert_eq!(RecordAddress::from_packed(1).unwrap().packed(), 1);
        assert_eq!(
            RecordAddress::from_packed((1 << 40) - 1).unwrap().packed(),
            (1 << 40) - 1
        );
        assert_eq!(RecordAddress::from_packed(1 << 40), None);
        assert_eq!(size_of::<Option<RecordAddress>>(), 8);
    }
}
