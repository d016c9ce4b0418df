//! When a record ceases to be visible, in absolute seconds.
//!
//! Never reads a clock and never decides whether the moment has passed: the store does, by its own clock.

/// Seconds since 2010-01-01 00:00:00 UTC at which a record expires, or never. Reaches to the year 2146.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpirySeconds(u32);

impl ExpirySeconds {
    /// The record does not expire.
    pub const NEVER: Self = Self(0);

    /// Seconds from 1970-01-01 to 2010-01-01, both UTC: what separates this count from Unix time.
    pub const UNIX_OFFSET_SECONDS: u64 = 1_262_304_000;

    /// Takes seconds since 2010-01-01; 0 is [`ExpirySeconds::NEVER`].
    #[must_use]
    pub const fn new(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Seconds since 2010-01-01; 0 when the record does not expire.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the record does not expire.
    #[must_use]
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_never() {
        assert!(ExpirySeconds::NEVER.is_never());
        assert_eq!(ExpirySeconds::new(0), ExpirySeconds::NEVER);
        assert!(!ExpirySeconds::new(1).is_never());
        assert_eq!(ExpirySeconds::new(u32::MAX).get(), u32::MAX);
    }
}
