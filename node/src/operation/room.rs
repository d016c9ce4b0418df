//! Room: what is left of a batch's answer for what its rows read. Every row has room for an answer without
//! contents from the start, so a write that was carried out can always say so.

use std::cell::Cell;

use crate::limits::BATCH_REFUSALS_MAX;

/// The room that the rows of one part share.
pub(crate) struct Room {
    left_bytes: Cell<usize>,
    refusals: Cell<u32>,
}

impl Room {
    pub(crate) const fn new(length_bytes: usize) -> Self {
        Self {
            left_bytes: Cell::new(length_bytes),
            refusals: Cell::new(0),
        }
    }

    /// Takes so much; false, and nothing is taken, if there is less. There is always room for nothing.
    pub(crate) fn claim(&self, length_bytes: usize) -> bool {
        match self.left_bytes.get().checked_sub(padded(length_bytes)) {
            Some(left_bytes) => {
                self.left_bytes.set(left_bytes);
                true
            }
            None => {
                self.refusals.set(self.refusals.get().saturating_add(1));
                false
            }
        }
    }

    /// Gives back what was claimed.
    pub(crate) fn give_back(&self, length_bytes: usize) {
        let left_bytes = self.left_bytes.get();
        self.left_bytes
            .set(left_bytes.saturating_add(padded(length_bytes)));
    }

    /// True when so many rows found no room that more would most likely be read for nothing. A single large
    /// record says nothing about the others.
    pub(crate) fn is_used_up(&self) -> bool {
        self.refusals.get() >= BATCH_REFUSALS_MAX
    }
}

/// The two parts of what a row reads, each padded to a multiple of 8 in its frame; nothing for nothing.
const fn padded(length_bytes: usize) -> usize {
    if length_bytes == 0 {
        0
    } else {
        length_bytes.saturating_add(14)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_fits_and_one_that_does_not_leaves_the_rest_to_others() {
        let room = Room::new(100);
        assert!(room.claim(50));
        assert!(!room.claim(50), "36 are left");
        assert!(room.claim(22));
        assert!(!room.claim(1), "nothing is left");
        assert!(room.claim(0), "which is enough for nothing");
        room.give_back(22);
        assert!(room.claim(1));
        assert!(!room.is_used_up());
        for _ in 0..BATCH_REFUSALS_MAX {
            assert!(!room.claim(1000));
        }
        assert!(room.is_used_up());
    }
}
