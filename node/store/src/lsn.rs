//! Log sequence number: the position of a batch in its shard's log. Never reused; dense except for the
//! ranges that segment headers declare void.

/// Position of a batch in the log of one shard. Zero is "none": before the first batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// Before the first batch.
    pub const NONE: Self = Self(0);

    /// From the stored number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The stored number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The positions from this one to `last`, both included.
    pub(crate) fn up_to(self, last: Self) -> impl Iterator<Item = Self> {
        (self.0..=last.0).map(Self)
    }

    /// The position that follows by `count`; saturates, which 2^64 batches never reach.
    #[must_use]
    pub const fn advanced(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}
