//! The partition of a digest: one of 4,096.
//!
//! Never tells who owns a partition (that is `Shard` here, and the node's tables). Invariant: always below the count.

use std::fmt;

use thiserror::Error;

use crate::digest::Digest;

/// A partition: the low 12 bits of a digest's first two bytes, read little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(u16);

impl PartitionId {
    /// How many partitions there are, always.
    pub const COUNT: u16 = 4096;

    /// Checks a number that came from outside.
    ///
    /// # Errors
    /// When `number` is not below [`PartitionId::COUNT`].
    pub const fn new(number: u16) -> Result<Self, PartitionOutOfRange> {
        if number < Self::COUNT {
            Ok(Self(number))
        } else {
            Err(PartitionOutOfRange { number })
        }
    }

    /// The partition that `digest` belongs to.
    #[must_use]
    pub const fn of(digest: &Digest) -> Self {
        let [first, second, ..] = *digest.as_bytes();
        Self(u16::from_le_bytes([first, second]) % Self::COUNT)
    }

    /// The number, below [`PartitionId::COUNT`].
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// All partitions in ascending order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (0..Self::COUNT).map(Self)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PartitionId({:04})", self.0)
    }
}

/// A number that is no partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("partition {number} does not exist: there are {}", PartitionId::COUNT)]
pub struct PartitionOutOfRange {
    /// The number that was given.
    pub number: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_is_low_twelve_bits_little_endian() {
        let mut bytes = [0xff_u8; Digest::LENGTH_BYTES];
        bytes[0] = 0x34;
        bytes[1] = 0xf2;
        assert_eq!(Digest::from_bytes(bytes).partition().get(), 0x234);
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!(PartitionId::new(4095).unwrap().get(), 4095);
        assert_eq!(
            PartitionId::new(4096),
            Err(PartitionOutOfRange { number: 4096 })
        );
        assert_eq!(PartitionId::all().len(), 4096);
        assert_eq!(PartitionId::all().last().unwrap().get(), 4095);
    }
}
