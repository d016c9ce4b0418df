//! Sparse bytes of a simulated drive: what would survive a power cut.
//!
//! Chunks that were never written, or only with zeros, take no memory and read as zeros. Cloning shares
//! every chunk until one side writes it, so that a machine can be forked before each of many cuts.
//! Knows nothing of blocks, caches or faults. Ranges are checked by the caller against the drive's size.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::limits::CONTENT_CHUNK_BYTES;
use crate::width::{to_u64, to_usize};

/// Bytes by position; all zero at first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    chunks: BTreeMap<u64, Rc<[u8]>>,
}

/// One contiguous share of a byte range: which chunk, where in the chunk, where in the caller's buffer.
struct Piece {
    chunk: u64,
    within_chunk: Range<usize>,
    within_buffer: Range<usize>,
}

impl Contents {
    /// Copies what stands at `offset` into `buffer`.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        for piece in pieces(offset, buffer.len()) {
            let Some(target) = buffer.get_mut(piece.within_buffer) else {
                return;
            };
            let stored = self
                .chunks
                .get(&piece.chunk)
                .and_then(|chunk| chunk.get(piece.within_chunk));
            match stored {
                Some(stored) => target.copy_from_slice(stored),
                None => target.fill(0),
            }
        }
    }

    /// Replaces what stands at `offset` with `bytes`.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for piece in pieces(offset, bytes.len()) {
            let Some(source) = bytes.get(piece.within_buffer) else {
                return;
            };
            if !self.chunks.contains_key(&piece.chunk) && is_zero(source) {
                continue;
            }
            let chunk = self.chunks.entry(piece.chunk).or_insert_with(zero_chunk);
            if let Some(target) = Rc::make_mut(chunk).get_mut(piece.within_chunk) {
                target.copy_from_slice(source);
            }
        }
    }

    /// Zeros `length` bytes at `offset` and gives whole chunks back.
    pub(crate) fn zero(&mut self, offset: u64, length: usize) {
        for piece in pieces(offset, length) {
            if piece.within_chunk.len() == CONTENT_CHUNK_BYTES {
                self.chunks.remove(&piece.chunk);
                continue;
            }
            let Some(chunk) = self.chunks.get_mut(&piece.chunk) else {
                continue;
            };
            if let Some(target) = Rc::make_mut(chunk).get_mut(piece.within_chunk) {
                target.fill(0);
            }
        }
    }

    /// Bytes of memory that the chunks take; chunks shared with a clone count in both.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.chunks.len() * CONTENT_CHUNK_BYTES
    }
}

fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let chunk_bytes = to_u64(CONTENT_CHUNK_BYTES);
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let position = offset + to_u64(done);
        let start = to_usize(position % chunk_bytes);
        let share = (CONTENT_CHUNK_BYTES - start).min(length - done);
        let piece = Piece {
            chunk: position / chunk_bytes,
            within_chunk: start..start + share,
            within_buffer: done..done + share,
        };
        done += share;
        Some(piece)
    })
}

fn zero_chunk() -> Rc<[u8]> {
    Rc::from(vec![0; CONTENT_CHUNK_BYTES])
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::super::random::SeededRandom;
    use super::*;

    #[test]
    fn follows_a_plain_vector() {
        const SIZE: u64 = 200_000;
        let mut random = SeededRandom::new(11, 0);
        let mut plain = vec![0_u8; usize::try_from(SIZE).unwrap()];
        let mut contents = Contents::default();
        for _ in 0..2_000 {
            let offset = random.below(SIZE);
            let length = usize::try_from(random.below((SIZE - offset).min(50_000))).unwrap();
            let range = usize::try_from(offset).unwrap()..usize::try_from(offset).unwrap() + length;
            match random.below(3) {
                0 => {
                    let mut bytes = vec![0; length];
                    random.fill(&mut bytes);
                    contents.write(offset, &bytes);
                    plain[range].copy_from_slice(&bytes);
                }
                1 => {
                    contents.zero(offset, length);
                    plain[range].fill(0);
                }
                _ => {
                    let mut found = vec![1; length];
                    contents.read(offset, &mut found);
                    assert!(found == plain[range], "read at {offset} of {length}");
                }
            }
        }
    }

    #[test]
    fn empty_parts_take_no_memory() {
        let mut contents = Contents::default();
        contents.write(3 << 40, &vec![0; 1 << 20]);
        assert_eq!(contents.resident_bytes(), 0);
        contents.write(3 << 40, &[1]);
        assert_eq!(contents.resident_bytes(), CONTENT_CHUNK_BYTES);
        contents.zero(3 << 40, CONTENT_CHUNK_BYTES);
        assert_eq!(contents.resident_bytes(), 0);
    }

    #[test]
    fn a_clone_is_unaffected_by_later_writes() {
        let mut contents = Contents::default();
        contents.write(100, &[1, 2, 3]);
        let before = contents.clone();
        contents.write(100, &[9, 9, 9]);
        let mut found = [0; 3];
        before.read(100, &mut found);
        assert_eq!(found, [1, 2, 3]);
        contents.read(100, &mut found);
        assert_eq!(found, [9, 9, 9]);
    }
}
