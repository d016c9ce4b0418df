//! Version: the identity of one accepted write of one record, unchanged by moves.
//!
//! 64 bits: the high 16 are the term of the partition's owner (0 on one node), the low 48 a counter
//! of the shard. A counter of the shard is monotone for every partition in it, and lets versions of
//! different partitions be compared, which the rule for tombstones needs.

/// Identity of one accepted write. Zero is "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version(u64);

impl Version {
    /// No version: older than every write.
    pub const NONE: Self = Self(0);
    /// Newer than every write.
    pub const MAX: Self = Self(u64::MAX);

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

    /// The version that follows by `count`; saturates.
    #[must_use]
    pub const fn advanced(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}
