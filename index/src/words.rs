//! A long array of words that grows and shrinks in small steps.
//!
//! Never copies more than one piece (64 KiB) at a time, and wastes at most an eighth of the last one.
//! Reading beyond the end gives zero, writing beyond the end is our own mistake.
//!
//! Invariant: only the last piece may hold fewer than [`PIECE_LENGTH`] words, and none is empty but the
//! first.

use crate::limits::PIECE_LENGTH;
use crate::width::wide;

/// What the allocator adds to an allocation, rounding included.
const ALLOCATION_BYTES: usize = 16;

/// The array.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Apart from the others, because it is nearly always the only one, and then found with one step
    /// less.
    first: Vec<u64>,
    rest: Vec<Vec<u64>>,
}

impl Words {
    /// The word at `place`; 0 beyond the end.
    pub(crate) fn get(&self, place: usize) -> u64 {
        self.word(place).copied().unwrap_or(0)
    }

    /// The word at `place`; `None` beyond the end.
    #[inline]
    pub(crate) fn word(&self, place: usize) -> Option<&u64> {
        self.first.get(place).or_else(|| self.word_in_rest(place))
    }

    /// Changes the word at `place`, which exists.
    pub(crate) fn set(&mut self, place: usize, word: u64) {
        let kept = match place.checked_sub(PIECE_LENGTH) {
            None => self.first.get_mut(place),
            Some(place) => {
                let piece = self.rest.get_mut(place / PIECE_LENGTH);
                piece.and_then(|piece| piece.get_mut(place % PIECE_LENGTH))
            }
        };
        assert!(kept.is_some(), "a word beyond the end is written");
        if let Some(kept) = kept {
            *kept = word;
        }
    }

    /// Appends a word.
    pub(crate) fn push(&mut self, word: u64) {
        if self.last().len() == PIECE_LENGTH {
            self.rest.push(Vec::new());
        }
        let piece = self.last_mut();
        if piece.len() == piece.capacity() {
            let room = (piece.len() / 8).max(1);
            piece.reserve_exact(room.min(PIECE_LENGTH - piece.len()));
        }
        piece.push(word);
    }

    /// Takes the last word away.
    pub(crate) fn pop(&mut self) {
        let piece = self.last_mut();
        piece.pop();
        if piece.capacity() > piece.len() + piece.len() / 4 + 4 {
            piece.shrink_to(piece.len() + piece.len() / 8);
        }
        if piece.is_empty() {
            self.rest.pop();
        }
    }

    /// Words in the array.
    pub(crate) fn len(&self) -> usize {
        match self.rest.split_last() {
            None => self.first.len(),
            Some((last, before)) => (1 + before.len()) * PIECE_LENGTH + last.len(),
        }
    }

    /// Bytes of memory beyond the value itself, with what the allocator adds to each piece.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let piece_count = self.rest.len() + usize::from(self.first.capacity() > 0);
        let full_count = self.rest.len();
        let word_count = full_count * PIECE_LENGTH + self.last().capacity();
        let handle_bytes = self.rest.capacity() * size_of::<Vec<u64>>();
        wide(word_count * size_of::<u64>() + piece_count * ALLOCATION_BYTES + handle_bytes)
    }

    #[cold]
    fn word_in_rest(&self, place: usize) -> Option<&u64> {
        let place = place.checked_sub(PIECE_LENGTH)?;
        self.rest
            .get(place / PIECE_LENGTH)?
            .get(place % PIECE_LENGTH)
    }

    fn last(&self) -> &Vec<u64> {
        self.rest.last().unwrap_or(&self.first)
    }

    fn last_mut(&mut self) -> &mut Vec<u64> {
        self.rest.last_mut().unwrap_or(&mut self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_shrinks_like_an_array() {
        let mut words = Words::default();
        let mut model = Vec::new();
        for value in 1..=20_000_u64 {
            words.push(value);
            model.push(value);
            assert_eq!(words.len(), model.len());
            assert!(words.memory_bytes() < wide(model.len()) * 9 + 300);
        }
        words.set(8193, 7);
        model[8193] = 7;
        words.set(3, 8);
        model[3] = 8;
        for (place, value) in model.iter().enumerate() {
            assert_eq!(words.get(place), *value);
        }
        assert_eq!(words.get(20_000), 0);
        assert_eq!(words.get(usize::MAX), 0);
        while model.pop().is_some() {
            words.pop();
            assert_eq!(words.len(), model.len());
            assert_eq!(words.get(model.len()), 0);
            assert_eq!(
                words.get(model.len() / 2),
                model.get(model.len() / 2).copied().unwrap_or(0)
            );
            assert!(
                words.memory_bytes() < wide(model.len()) * 11 + 500,
                "{}",
                model.len()
            );
        }
        words.pop();
        assert_eq!((words.get(0), words.len()), (0, 0));
    }
}
