//! The bins of a record by name, for finding many of them: its directory if it has one, else a
//! table that is built on the spot.

use crate::bin::Bin;
use crate::bins::Bins;
use crate::name_table::NameTable;

/// Which bin has a name.
pub(crate) struct NameIndex<'a> {
    bins: Bins<'a>,
    /// Empty where the bins have a directory.
    table: NameTable<'a>,
}

impl<'a> NameIndex<'a> {
    pub(crate) fn new(bins: Bins<'a>) -> Self {
        let table = match bins.directory() {
            Some(_) => NameTable::new(&[]),
            None => bins.name_table().0,
        };
        Self { bins, table }
    }

    /// The bin of this name, and its place.
    pub(crate) fn get(&self, name: &[u8]) -> Option<(u16, Bin<'a>)> {
        match self.bins.directory() {
            Some(_) => self.bins.find(name),
            None => self.table.get(name),
        }
    }
}
