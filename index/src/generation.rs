//! How often a record has been written: a counter that wraps.
//!
//! Never zero, and never ordered: after 65,535 comes 1, so "newer" is asked for by name.

use std::fmt;
use std::num::NonZeroU16;

/// The generation of a record: 1 when it is created, one more with every write, 1 again after 65,535.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(NonZeroU16);

impl Generation {
    /// The generation of a record that has just been created.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// Checks a number that came from outside; `None` when it is zero.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, 1 to 65,535.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The generation that the next write gives the record.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self::FIRST,
        }
    }

    /// Whether `self` is reached from `older` by at least 1 and at most 32,767 writes. Of two different generations exactly one is newer
    /// than the other (65,535 is odd, so no two are equally far apart both ways).
    #[must_use]
    pub const fn is_newer_than(self, older: Self) -> bool {
        let (new, old) = (self.get(), older.get());
        // Numbers run from 1 to 65,535: the distance forward is taken modulo 65,535, not 65,536.
        let write_count = if new >= old {
            new - old
        } else {
            u16::MAX - (old - new)
        };
        write_count >= 1 && write_count <= u16::MAX / 2
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Generation({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u16) -> Generation {
        Generation::new(number).unwrap()
    }

    #[test]
    fn wraps_past_zero() {
        assert_eq!(Generation::FIRST.get(), 1);
        assert_eq!(Generation::FIRST.next().get(), 2);
        assert_eq!(generation(u16::MAX).next(), Generation::FIRST);
        assert_eq!(Generation::new(0), None);
    }

    #[test]
    fn newer_holds_across_the_wrap() {
        assert!(generation(2).is_newer_than(generation(1)));
        assert!(Generation::FIRST.is_newer_than(generation(u16::MAX)));
        assert!(!generation(u16::MAX).is_newer_than(Generation::FIRST));
        assert!(!generation(7).is_newer_than(generation(7)));
        assert!(generation(32_768).is_newer_than(generation(1)));
        assert!(!generation(32_769).is_newer_than(generation(1)));
    }

    #[test]
    fn of_two_exactly_one_is_newer() {
        for older in [1, 2, 32_767, 32_768, 32_769, 65_534, 65_535] {
            for newer in 1..=u16::MAX {
                let (a, b) = (generation(older), generation(newer));
                assert_eq!(
                    u8::from(a.is_newer_than(b)) + u8::from(b.is_newer_than(a)),
                    u8::from(a != b),
                    "{a} {b}"
                );
            }
        }
    }
}
