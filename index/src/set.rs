//! The number of a set within its namespace.
//!
//! Never knows the set's name. Invariant: below 4,096, so that an entry keeps it in 12 bits.

/// A set of a namespace; 0 is "no set".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(u16);

impl SetId {
    /// Records that belong to no set.
    pub const NONE: Self = Self(0);

    /// How many set ids there are, [`SetId::NONE`] included.
    pub const COUNT: u16 = 4096;

    /// Checks a number; `None` when it is not below [`SetId::COUNT`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, below [`SetId::COUNT`].
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!(SetId::new(0), Some(SetId::NONE));
        assert_eq!(SetId::new(4095).unwrap().get(), 4095);
        assert_eq!(SetId::new(4096), None);
    }
}
