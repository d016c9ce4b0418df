//! The msgpack of lists and maps in the flavour that the Aerospike protocol uses: tokens, and the
//! check that a peer's bytes are well formed.
//!
//! Never allocates while reading, never recurses over a peer's bytes, never changes them: any
//! well-formed spelling is carried as it came. `CONTENT.md` holds the rules.

mod check;
mod token;

pub(crate) use check::{check_collection, check_collection_in_pieces};
pub(crate) use token::{LengthCounter, Sink, Token, skip_element};

/// The lengths of a slice as msgpack announces them: 32 bits.
///
/// Longer ones cannot be written: the length that they lead to is refused before any byte is.
pub(crate) fn count_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
