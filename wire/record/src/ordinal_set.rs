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
}

impl<const WORDS: usize> OrdinalSet<WORDS> {
    pub(crate) const fn new() -> Self {
        Self { words: [0; WORDS] }
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
    #[should_panic(expected = "does not fit")]
    fn a_small_set_refuses_a_large_place() {
        OrdinalSet::<1>::new().insert(64);
    }
}
