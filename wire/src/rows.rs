//! Rows of fixed size that may live in two places: a builder's own memory, a verified frame. Readers see
//! one list; nothing is copied.

use flatbuffers::{Follow, Vector};

/// The rows and where they live.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a, T> {
    Built(&'a [T]),
    Table(Vector<'a, T>),
}

impl<'a, T: Copy + Follow<'a, Inner = &'a T> + 'a> Rows<'a, T> {
    pub(crate) fn from_table(list: Option<Vector<'a, T>>) -> Self {
        list.map_or(Rows::Built(&[]), Rows::Table)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Rows::Built(rows) => rows.len(),
            Rows::Table(rows) => rows.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<T> {
        match self {
            Rows::Built(rows) => rows.get(index).copied(),
            Rows::Table(rows) => (index < rows.len()).then(|| *rows.get(index)),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + 'a {
        let rows = *self;
        (0..rows.len()).filter_map(move |index| rows.get(index))
    }
}

impl<'a, T: Copy + PartialEq + Follow<'a, Inner = &'a T> + 'a> PartialEq for Rows<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

// Rows are compared by their bytes, so equality is total though the generated structs do not say so.
impl<'a, T: Copy + PartialEq + Follow<'a, Inner = &'a T> + 'a> Eq for Rows<'a, T> {}

impl<'a, T: Copy + std::fmt::Debug + Follow<'a, Inner = &'a T> + 'a> std::fmt::Debug
    for Rows<'a, T>
{
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
