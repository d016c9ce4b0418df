//! Received bytes: a guard over a part of a receive buffer. The buffer goes back to the ring (or pool)
//! when its last part is dropped; bytes that have to wait are to be copied out, since a core's receive
//! buffers are few.

use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

use crate::buffer::FrozenBuffer;
use crate::sys::receive_ring::ProvidedBytes;

/// Bytes that a connection received. Reads as a slice; can be shortened from the front and split, without
/// a copy.
pub struct Received {
    bytes: Bytes,
}

enum Bytes {
    Provided(ProvidedBytes),
    Pooled {
        buffer: FrozenBuffer,
        start: usize,
        end: usize,
    },
    Copied {
        bytes: Rc<[u8]>,
        start: usize,
        end: usize,
    },
}

impl Received {
    pub(crate) fn provided(bytes: ProvidedBytes) -> Self {
        Self {
            bytes: Bytes::Provided(bytes),
        }
    }

    /// The first `length` bytes of a buffer; not more than it has.
    pub(crate) fn pooled(buffer: FrozenBuffer, length: usize) -> Self {
        let end = length.min(buffer.len());
        Self {
            bytes: Bytes::Pooled {
                buffer,
                start: 0,
                end,
            },
        }
    }

    /// Drops the first `count` bytes from view; all of them if there are fewer.
    pub fn advance(&mut self, count: usize) {
        self.narrow(count..usize::MAX);
    }

    /// Cuts off the first `count` bytes (all, if there are fewer) as a guard of their own; this one keeps
    /// the rest.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        let mut head = self.share();
        head.narrow(0..count);
        self.advance(count);
        head
    }

    /// The same bytes in memory of their own; the buffer goes back at once.
    pub(crate) fn copied_out(self) -> Self {
        let bytes: Rc<[u8]> = Rc::from(&*self);
        let end = bytes.len();
        Self {
            bytes: Bytes::Copied {
                bytes,
                start: 0,
                end,
            },
        }
    }

    fn share(&self) -> Self {
        let bytes = match &self.bytes {
            Bytes::Provided(bytes) => Bytes::Provided(bytes.clone()),
            Bytes::Pooled { buffer, start, end } => Bytes::Pooled {
                buffer: buffer.clone(),
                start: *start,
                end: *end,
            },
            Bytes::Copied { bytes, start, end } => Bytes::Copied {
                bytes: Rc::clone(bytes),
                start: *start,
                end: *end,
            },
        };
        Self { bytes }
    }

    fn narrow(&mut self, part: Range<usize>) {
        match &mut self.bytes {
            Bytes::Provided(bytes) => bytes.narrow(&part),
            Bytes::Pooled { start, end, .. } | Bytes::Copied { start, end, .. } => {
                let length = *end - *start;
                let part_end = part.end.min(length);
                *end = *start + part_end;
                *start += part.start.min(part_end);
            }
        }
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Provided(bytes) => bytes,
            Bytes::Pooled { buffer, start, end } => buffer.get(*start..*end).unwrap_or_default(),
            Bytes::Copied { bytes, start, end } => bytes.get(*start..*end).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Received")
            .field("length", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Received;
    use crate::buffer::{BufferPool, BufferPoolConfig};
    use crate::sys::receive_ring::ReceiveRing;

    fn check_guard(mut received: Received) {
        assert_eq!(&*received, b"heads and tails");
        received.advance(6);
        assert_eq!(&*received, b"and tails");
        let mut head = received.split_to(3);
        assert_eq!(&*head, b"and");
        assert_eq!(&*received, b" tails");
        assert_eq!(&*head.split_to(99), b"and");
        assert!(head.is_empty());
        received.advance(99);
        assert!(received.is_empty());
    }

    #[test]
    fn pooled_bytes_split_and_go_back() {
        let pool = BufferPool::new(BufferPoolConfig::default()).unwrap();
        let mut buffer = pool.take(4096).unwrap();
        buffer.as_mut_slice()[..15].copy_from_slice(b"heads and tails");
        check_guard(Received::pooled(buffer.freeze(), 15));
        assert_eq!(pool.statistics().arena_lent_bytes, 0);
    }

    #[test]
    fn provided_bytes_split_and_go_back() {
        let ring = ReceiveRing::new(1, 4096).unwrap();
        check_guard(Received::provided(ring.claim_for_test(b"heads and tails")));
        assert_eq!(ring.offered_count(), 1);
        let copy = Received::provided(ring.claim_for_test(b"heads and tails")).copied_out();
        assert_eq!(ring.offered_count(), 1);
        check_guard(copy);
    }
}
