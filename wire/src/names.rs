//! A list of texts that may live in three places: a caller's slice, a builder's own memory, a verified
//! frame. Readers see one iterator; nothing is copied.

use flatbuffers::{ForwardsUOffset, Vector};

/// The list and where it lives.
#[derive(Clone, Copy)]
pub(crate) enum Names<'a> {
    Borrowed(&'a [&'a str]),
    Owned(&'a [String]),
    Table(Vector<'a, ForwardsUOffset<&'a str>>),
}

impl<'a> Names<'a> {
    pub(crate) fn from_table(list: Option<Vector<'a, ForwardsUOffset<&'a str>>>) -> Self {
        list.map_or(Names::Borrowed(&[]), Names::Table)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Names::Borrowed(names) => names.len(),
            Names::Owned(names) => names.len(),
            Names::Table(names) => names.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&'a str> {
        match self {
            Names::Borrowed(names) => names.get(index).copied(),
            Names::Owned(names) => names.get(index).map(String::as_str),
            Names::Table(names) => (index < names.len()).then(|| names.get(index)),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a str> + 'a {
        let names = *self;
        (0..names.len()).filter_map(move |index| names.get(index))
    }
}

impl PartialEq for Names<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Names<'_> {}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
