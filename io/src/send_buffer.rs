//! What a stream sends: bytes owned by the send until it is over. It comes back with the outcome, so
//! that its memory can be used again.

use std::ptr::NonNull;

use crate::buffer::FrozenBuffer;

/// Bytes to send, of either origin.
#[derive(Debug)]
pub enum SendBuffer {
    /// A DMA buffer: what was read from a device goes out without a copy.
    Frozen(FrozenBuffer),
    /// Ordinary memory.
    Bytes(Vec<u8>),
}

impl SendBuffer {
    /// All the bytes, of which a range is sent.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Frozen(buffer) => buffer,
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The vector back, to be filled again; `None` if it was a DMA buffer.
    #[must_use]
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Frozen(_) => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }

    /// The first byte. It stays where it is while this value is moved: both origins keep their bytes
    /// on the heap.
    pub(crate) fn start(&self) -> NonNull<u8> {
        NonNull::from(self.as_slice()).cast()
    }
}

impl From<FrozenBuffer> for SendBuffer {
    fn from(buffer: FrozenBuffer) -> Self {
        Self::Frozen(buffer)
    }
}

impl From<Vec<u8>> for SendBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}
