//! Which partitions a shard owns: `partition % shard_count`.
//!
//! Never knows which core owns the shard. Invariant: `number < count <= 256`.

use thiserror::Error;

use crate::limits::SHARD_COUNT_MAX;
use crate::partition::PartitionId;

/// One shard of a volume: its number and how many there are, fixed when the volume is formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    number: u16,
    count: u16,
    /// 2^20 / count, rounded up: a product instead of a division on every request.
    reciprocal: u32,
}

impl Shard {
    /// Shard `number` of `count`.
    ///
    /// # Errors
    /// When `count` is zero or above [`SHARD_COUNT_MAX`], or `number` is not below `count`.
    pub const fn new(number: u16, count: u16) -> Result<Self, ShardOutOfRange> {
        if count == 0 || count > SHARD_COUNT_MAX {
            return Err(ShardOutOfRange::Count { count });
        }
        if number >= count {
            return Err(ShardOutOfRange::Number { number, count });
        }
        let reciprocal = RECIPROCAL_ONE.div_ceil(widened(count));
        Ok(Self {
            number,
            count,
            reciprocal,
        })
    }

    /// The shard that owns `partition` where there are as many shards as beside `self`.
    #[must_use]
    pub const fn owner_of(self, partition: PartitionId) -> Self {
        let number = partition.get() - self.quotient(partition) * self.count;
        Self { number, ..self }
    }

    /// Whether this shard owns `partition`.
    #[must_use]
    pub const fn owns(self, partition: PartitionId) -> bool {
        self.rank_of(partition).is_some()
    }

    /// The shard's number, from 0.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.number
    }

    /// How many shards the volume has, 1 to 256.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.count
    }

    /// The partitions of this shard in ascending order.
    pub fn partitions(self) -> impl Iterator<Item = PartitionId> + Clone {
        PartitionId::all().filter(move |partition| self.owns(*partition))
    }

    /// How many partitions this shard owns, at least 16.
    #[must_use]
    pub const fn partition_count(self) -> u16 {
        (PartitionId::COUNT - self.number).div_ceil(self.count)
    }

    /// The place of `partition` among the partitions of this shard, from 0; `None` when another shard
    /// owns it.
    pub(crate) const fn rank_of(self, partition: PartitionId) -> Option<u16> {
        let rank = self.quotient(partition);
        if rank * self.count + self.number == partition.get() {
            Some(rank)
        } else {
            None
        }
    }

    /// `partition / count`. The reciprocal is too large by less than 1, the product by less than
    /// 4096 / 2^20 = 1/256, which does not reach the next integer, as `count` is at most 256.
    const fn quotient(self, partition: PartitionId) -> u16 {
        let product = widened(partition.get()) * self.reciprocal;
        let [_, _, low, high] = product.to_le_bytes();
        u16::from_le_bytes([low, high]) >> RECIPROCAL_SHIFT
    }
}

/// The product's upper half, shifted by this, is its integer part.
const RECIPROCAL_SHIFT: u32 = 4;
const RECIPROCAL_ONE: u32 = 1 << (16 + RECIPROCAL_SHIFT);

#[expect(
    clippy::as_conversions,
    reason = "From is not const, and 32 bits hold 16"
)]
const fn widened(number: u16) -> u32 {
    number as u32
}

/// Numbers that are no shard's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ShardOutOfRange {
    /// A volume has 1 to 256 shards.
    #[error("a volume has 1 to {SHARD_COUNT_MAX} shards, not {count}")]
    Count {
        /// The count that was given.
        count: u16,
    },
    /// A shard's number is below the count.
    #[error("shard {number} does not exist: there are {count}")]
    Number {
        /// The number that was given.
        number: u16,
        /// How many shards there are.
        count: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_owner_and_one_rank() {
        for count in 1..=SHARD_COUNT_MAX {
            let mut owners = vec![0_u32; usize::from(PartitionId::COUNT)];
            for number in 0..count {
                let shard = Shard::new(number, count).unwrap();
                assert_eq!(
                    shard.partitions().count(),
                    usize::from(shard.partition_count())
                );
                for (rank, partition) in shard.partitions().enumerate() {
                    owners[usize::from(partition.get())] += 1;
                    assert_eq!(shard.rank_of(partition), Some(u16::try_from(rank).unwrap()));
                    assert_eq!(Shard::new(0, count).unwrap().owner_of(partition), shard);
                }
            }
            assert!(owners.iter().all(|owner_count| *owner_count == 1));
        }
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!(Shard::new(0, 0), Err(ShardOutOfRange::Count { count: 0 }));
        assert_eq!(
            Shard::new(0, 257),
            Err(ShardOutOfRange::Count { count: 257 })
        );
        assert_eq!(
            Shard::new(8, 8),
            Err(ShardOutOfRange::Number {
                number: 8,
                count: 8
            })
        );
        let shard = Shard::new(3, 8).unwrap();
        assert_eq!(shard.rank_of(PartitionId::new(4).unwrap()), None);
        assert!(shard.owns(PartitionId::new(11).unwrap()));
    }
}
