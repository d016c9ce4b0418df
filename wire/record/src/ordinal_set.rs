//! A set of bins of one record, by their place. A bit each, on the stack.
//!
//! With one word it holds the bins of a record without directory, with [`WORDS_MAX`] those of any.

use crate::limits::{BIN_COUNT_MAX, WALKED_BIN_COUNT_MAX};

/// Words that hold a bit for each bin of the largest record.
pub(crate) const WORDS_MAX: usize = 512;

/// Bits of a word.
const WORD_BITS: u16 = 64;

const _: () = assert!(BIN_COUNT_MAX < 512 * WORD_BITS);
const _: () = assert!(WALKED_BIN_COUNT_MAX == WORD_BITS);

/// Which bins, by their place from zero. Places that do not fit are our own mistake.
pub(crate) struct OrdinalSet<const WORDS: usize> {
    words: [u64; WORDS],
    /// How many stand in the words before each, once they have been counted.
    before: [u16; WORDS],
}

/// A set that is complete, with the place of each bin among those that are in it.
#[derive(Clone, Copy)]
pub(crate) struct Taken<'a> {
    words: &'a [u64],
    before: &'a [u16],
    count: u16,
}

impl<const WORDS: usize> OrdinalSet<WORDS> {
    pub(crate) const fn new() -> Self {
        Self {
            words: [0; WORDS],
            before: [0; WORDS],
        }
    }

    /// The first so many bins.
    pub(crate) fn first(count: u16) -> Self {
        let mut set = Self::new();
        let (whole, rest) = (usize::from(count / WORD_BITS), count % WORD_BITS);
        for (at, word) in set.words.iter_mut().enumerate().take(whole + 1) {
            *word = if at < whole {
                u64::MAX
            } else {
                (1 << rest) - 1
            };
        }
        set
    }

    pub(crate) fn remove(&mut self, ordinal: u16) {
        if let Some(word) = self.words.get_mut(usize::from(ordinal / WORD_BITS)) {
            *word &= !(1 << (ordinal % WORD_BITS));
        }
    }

    /// Counts the bins.
    pub(crate) fn taken(&mut self) -> Taken<'_> {
        let mut count: u16 = 0;
        for (word, before) in self.words.iter().zip(&mut self.before) {
            *before = count;
            count = count.saturating_add(ones(*word));
        }
        Taken {
            words: &self.words,
            before: &self.before,
            count,
        }
    }

    pub(crate) fn insert(&mut self, ordinal: u16) {
        let word = self.words.get_mut(usize::from(ordinal / WORD_BITS));
        assert!(
            word.is_some(),
            "bin {ordinal} does not fit a set of {WORDS} words"
        );
        if let Some(word) = word {
            *word |= 1 << (ordinal % WORD_BITS);
        }
    }

    pub(crate) fn contains(&self, ordinal: u16) -> bool {
        let word = self
            .words
            .get(usize::from(ordinal / WORD_BITS))
            .copied()
            .unwrap_or(0);
        word & (1 << (ordinal % WORD_BITS)) != 0
    }
}

impl Taken<'_> {
    /// No bin.
    pub(crate) const NONE: Self = Self {
        words: &[],
        before: &[],
        count: 0,
    };

    /// How many bins there are.
    pub(crate) const fn count(&self) -> u16 {
        self.count
    }

    /// How many stand before this one, if it is there; both little-endian, as directories have them.
    #[inline]
    pub(crate) fn rank(&self, ordinal: [u8; 2]) -> Option<[u8; 2]> {
        let ordinal = u16::from_le_bytes(ordinal);
        let at = usize::from(ordinal / WORD_BITS);
        let (word, before) = (self.words.get(at)?, self.before.get(at)?);
        let bit = 1_u64 << (ordinal % WORD_BITS);
        if word & bit == 0 {
            return None;
        }
        Some((before + ones(word & (bit - 1))).to_le_bytes())
    }
}

/// How many bits of a word are set.
fn ones(word: u64) -> u16 {
    // At most 64.
    u16::try_from(word.count_ones()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let mut set = OrdinalSet::<WORDS_MAX>::new();
        let inside = [0, 1, 63, 64, 4_000, 32_766];
        for ordinal in inside {
            set.insert(ordinal);
        }
        for ordinal in 0..BIN_COUNT_MAX {
            assert_eq!(
                set.contains(ordinal),
                inside.contains(&ordinal),
                "{ordinal}"
            );
        }
    }

    #[test]
    fn the_first_are_those_before_and_can_be_removed() {
        for count in [0, 1, 63, 64, 65, 128, 32_767] {
            let mut set = OrdinalSet::<WORDS_MAX>::first(count);
            assert_eq!(set.taken().count(), count);
            assert!(!set.contains(count));
            if let Some(last) = count.checked_sub(1) {
                assert!(set.contains(last));
                set.remove(last);
                assert_eq!(set.taken().count(), last);
            }
        }
        assert_eq!(OrdinalSet::<1>::first(64).taken().count(), 64);
    }

    #[test]
    fn ranks_count_those_before() {
        let mut set = OrdinalSet::<WORDS_MAX>::new();
        let inside = [0, 1, 63, 64, 4_000, 32_766];
        for ordinal in inside {
            set.insert(ordinal);
        }
        let taken = set.taken();
        assert_eq!(taken.count(), 6);
        for (rank, ordinal) in (0_u16..).zip(inside) {
            let found = taken.rank(ordinal.to_le_bytes());
            assert_eq!(found.map(u16::from_le_bytes), Some(rank));
        }
        assert_eq!(taken.rank([2, 0]), None);
        assert_eq!(Taken::NONE.rank([0, 0]), None);
        assert_eq!(Taken::NONE.count(), 0);
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_small_set_refuses_a_large_place() {
        OrdinalSet::<1>::new().insert(64);
    }
}
