//! Pieces: work on a long content stops after each piece, and whoever runs it may let others go first.
//!
//! The functions whose names end in `_in_pieces` do what their namesakes do, with the same results and errors.
//! Their futures wait for nothing but the pauses that the caller gives, so they run on any executor. A
//! content that is not [`is_long`] costs less than one piece: its caller takes the straight way.

use crate::content::{BIN_COUNT_OFFSET, HEADER_LENGTH};
use crate::limits::PIECE_COST;

/// What an element of a collection costs to check: 5 to 10 ns.
pub(crate) const ELEMENT_COST: usize = 32;
/// What a byte of text costs to check, at worst: where it is not ASCII.
pub(crate) const TEXT_BYTE_COST: usize = 4;
/// What it costs to step over a bin, beside the copy of its bytes.
pub(crate) const BIN_COST: usize = 128;
/// What it costs to find one bin among many, or to compare two names that lie anywhere: up to 600 ns.
pub(crate) const LOOKUP_COST: usize = 2048;

/// True if work on a content of these bytes, checked or not, is to go in pieces: it has more than some 16 KiB, or
/// more than some 250 bins.
#[must_use]
pub fn is_long(content: &[u8]) -> bool {
    let count = content.get(BIN_COUNT_OFFSET..HEADER_LENGTH);
    let bin_count = match count {
        Some([low, high]) => u16::from_le_bytes([*low, *high]),
        Some(_) | None => 0,
    };
    // Twice the work of a piece is still no more than a core may be held for.
    let bytes = content.len().saturating_mul(ELEMENT_COST);
    let bins = usize::from(bin_count).saturating_mul(LOOKUP_COST);
    bytes.saturating_add(bins) > 2 * PIECE_COST
}

/// Counts work, and pauses between pieces of it.
///
/// Costs are in bytes copied, and what else is done is reckoned in them: a piece of [`PIECE_COST`] is some 25 us
/// of copying and less than 100 us of anything else.
pub struct Pace<P> {
    pause: P,
    piece: usize,
    spent: usize,
}

impl<P: AsyncFnMut()> Pace<P> {
    /// A pace that awaits `pause` between pieces of [`PIECE_COST`].
    pub const fn new(pause: P) -> Self {
        Self::with_piece(PIECE_COST, pause)
    }

    /// The same with smaller pieces, as tests want them; at least 64.
    pub const fn with_piece(piece: usize, pause: P) -> Self {
        let piece = if piece < 64 { 64 } else { piece };
        Self {
            pause,
            piece,
            spent: 0,
        }
    }

    /// Makes room for work of `cost` that is about to be done.
    #[inline]
    pub(crate) async fn spend(&mut self, cost: usize) {
        if self.spent > 0 && self.spent.saturating_add(cost) > self.piece {
            (self.pause)().await;
            self.spent = 0;
        }
        self.spent = self.spent.saturating_add(cost);
    }

    /// Begins a new piece, for work that fills most of it.
    pub(crate) async fn begin_piece(&mut self) {
        self.spend(self.piece).await;
    }

    /// Bytes of the longest run that may be worked on at once, if each of them costs `byte_cost`.
    pub(crate) const fn run_bytes(&self, byte_cost: usize) -> usize {
        self.piece / byte_cost
    }

    /// Copies bytes to the end of `out`.
    pub(crate) async fn copy(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for run in bytes.chunks(self.run_bytes(1)) {
            self.spend(run.len()).await;
            out.extend_from_slice(run);
        }
    }
}

/// Up to where `bytes` are UTF-8, if it is not to their end.
pub(crate) async fn invalid_utf8<P: AsyncFnMut()>(
    bytes: &[u8],
    pace: &mut Pace<P>,
) -> Option<usize> {
    // Long enough for one whole character, so that each run gets on.
    let run_bytes = pace.run_bytes(TEXT_BYTE_COST).max(4);
    let mut valid_bytes = 0;
    while let Some(rest) = bytes.get(valid_bytes..).filter(|rest| !rest.is_empty()) {
        let run = rest.get(..run_bytes).unwrap_or(rest);
        pace.spend(run.len().saturating_mul(TEXT_BYTE_COST)).await;
        valid_bytes += match std::str::from_utf8(run) {
            Ok(text) => text.len(),
            // A character that the run cuts in two begins the next one.
            Err(error) if error.error_len().is_none() && run.len() < rest.len() => {
                error.valid_up_to()
            }
            Err(error) => return Some(valid_bytes + error.valid_up_to()),
        };
    }
    None
}

impl<P> std::fmt::Debug for Pace<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pace")
            .field("piece", &self.piece)
            .field("spent", &self.spent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_builder::ContentBuilder;

    #[test]
    fn contents_are_long_by_their_bytes_and_by_their_bins() {
        let with_value = |length_bytes: usize| {
            ContentBuilder::new()
                .bin("a", vec![0; length_bytes])
                .finish_content()
                .unwrap()
        };
        assert!(!is_long(&with_value(8 << 10)));
        assert!(is_long(&with_value(16 << 10)));
        let with_bins = |bin_count: u32| {
            (0..bin_count)
                .fold(ContentBuilder::new(), |builder, index| {
                    builder.bin(index.to_string(), true)
                })
                .finish_content()
                .unwrap()
        };
        assert!(!is_long(&with_bins(100)));
        assert!(is_long(&with_bins(256)));
        for few in [&[][..], &[1], &[1, 0, 0xff]] {
            assert!(!is_long(few));
        }
    }
}
