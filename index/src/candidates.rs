//! The answer to a lookup: every entry that may be the key's.
//!
//! Never more than the keys that share the digest's tag. None means that the key is not in the table; one or more mean that
//! it may be one of them: the record's own digest decides.

use crate::entry::{Entry, PackedEntry, unpack};

/// The entries whose tag is the digest's: normally none or one.
#[derive(Clone, Debug)]
pub struct Candidates<'index> {
    entries: std::slice::Iter<'index, PackedEntry>,
}

impl<'index> Candidates<'index> {
    pub(crate) fn new(entries: &'index [PackedEntry]) -> Self {
        Self {
            entries: entries.iter(),
        }
    }

    /// The only candidate; `None` when there is none, or more than one.
    #[must_use]
    pub fn only(mut self) -> Option<Entry> {
        let first = self.next()?;
        if self.len() == 0 { Some(first) } else { None }
    }
}

impl Iterator for Candidates<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.entries.next().map(unpack)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Candidates<'_> {}
