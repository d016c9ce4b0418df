//! The bins of a checked content: iteration in their order, and finding one by name.
//!
//! Neither can fail, since the bytes were checked when the content was made. Never allocates.

use crate::bin::{Bin, explain};
use crate::bin_value::BinValue;
use crate::directory::{Directory, directory_length};
use crate::display::{self, BoundedWriter};
use crate::error::{BinError, ContentError, Part};
use crate::limits::BIN_COUNT_MAX;
use crate::name_table::NameTable;

/// The bins of a record, in the order in which they were written.
#[derive(Clone, Copy)]
pub struct Bins<'a> {
    content: &'a [u8],
    region: &'a [u8],
    bin_count: u16,
    directory: Option<Directory<'a>>,
}

/// Whether nil may stand for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NilRule {
    /// In an update, where it deletes.
    Allowed,
    /// In what is stored.
    Refused,
}

/// How closely bytes are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scrutiny {
    /// Everything: bytes of a peer.
    Full,
    /// Lengths and kinds: bytes that were checked in full before a checksum was put on them.
    Lengths,
}

impl<'a> Bins<'a> {
    /// How many there are, at most `BIN_COUNT_MAX`.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.bin_count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bin_count == 0
    }

    /// The bins in order.
    #[must_use]
    pub const fn iter(&self) -> BinsIter<'a> {
        BinsIter::new(self.region, self.bin_count)
    }

    /// The value of the bin with exactly these name bytes. A walk over few bins, logarithmic over
    /// many.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<BinValue<'a>> {
        self.find(name.as_bytes()).map(|(_, bin)| bin.value())
    }

    /// The bin with this name, and its place.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(u16, Bin<'a>)> {
        let Some(directory) = &self.directory else {
            return self.enumerate().find(|(_, bin)| bin.is_called(name));
        };
        let ordinal = directory.find(self.content, name)?;
        let offset = usize::try_from(directory.offset(ordinal)?).ok()?;
        Some((ordinal, Bin::take(&mut self.content.get(offset..)?)?))
    }

    pub(crate) const fn directory(&self) -> Option<Directory<'a>> {
        self.directory
    }

    /// The table of these bins, which are too few for a directory; and the first whose name an
    /// earlier one has, at which it stops.
    pub(crate) fn name_table(&self) -> (NameTable<'a>, Option<u16>) {
        let mut table = NameTable::new(self.region);
        let mut rest = self.region;
        for ordinal in 0..self.bin_count {
            let offset = self.region.len() - rest.len();
            if let Some(bin) = Bin::take(&mut rest)
                && !table.insert(bin.name().as_bytes(), offset)
            {
                return (table, Some(ordinal));
            }
        }
        (table, None)
    }

    /// The bins with their places.
    pub(crate) fn enumerate(&self) -> impl Iterator<Item = (u16, Bin<'a>)> + use<'a> {
        (0_u16..).zip(self.iter())
    }

    /// No bin at all.
    pub(crate) const fn none(content: &'a [u8]) -> Self {
        Self {
            content,
            region: &[],
            bin_count: 0,
            directory: None,
        }
    }

    /// Checks the bins of `content`, the first of which starts at `first_bin`.
    pub(crate) fn parse(
        content: &'a [u8],
        first_bin: usize,
        bin_count: u16,
        nil_rule: NilRule,
        scrutiny: Scrutiny,
    ) -> Result<Self, ContentError> {
        if bin_count > BIN_COUNT_MAX {
            return Err(ContentError::TooManyBins {
                found: usize::from(bin_count),
            });
        }
        let behind_head = content.get(first_bin..).unwrap_or_default();
        let needed = directory_length(usize::from(bin_count));
        let Some(region_length) = behind_head.len().checked_sub(needed) else {
            let available = behind_head.len();
            return Err(ContentError::Truncated {
                part: Part::Directory,
                needed,
                available,
            });
        };
        let (region, directory) = behind_head.split_at(region_length);
        let directory = (needed > 0).then(|| Directory::new(directory, bin_count));
        let bins = Self {
            content,
            region,
            bin_count,
            directory,
        };
        bins.check(first_bin, nil_rule, scrutiny)?;
        Ok(bins)
    }

    fn check(
        &self,
        first_bin: usize,
        nil_rule: NilRule,
        scrutiny: Scrutiny,
    ) -> Result<(), ContentError> {
        let mut rest = self.region;
        let mut table = NameTable::new(self.region);
        for ordinal in 0..self.bin_count {
            let at = rest;
            let Some(bin) = Bin::take(&mut rest) else {
                return Err(in_bin(ordinal, explain(at)));
            };
            if nil_rule == NilRule::Refused && bin.value().is_nil() {
                return Err(in_bin(ordinal, BinError::Nil));
            }
            if scrutiny == Scrutiny::Lengths {
                continue;
            }
            if let Err(error) = bin.check() {
                return Err(in_bin(ordinal, error));
            }
            let offset = self.region.len() - at.len();
            if let Some(directory) = &self.directory {
                let found = directory.offset(ordinal).unwrap_or(0);
                let expected = first_bin.saturating_add(offset);
                if usize::try_from(found) != Ok(expected) {
                    return Err(ContentError::DirectoryOffset {
                        ordinal,
                        found,
                        expected,
                    });
                }
            } else if !table.insert(bin.name().as_bytes(), offset) {
                return Err(ContentError::DuplicateName { ordinal });
            }
        }
        if !rest.is_empty() {
            return Err(ContentError::TrailingBytes {
                length_bytes: rest.len(),
            });
        }
        match (&self.directory, scrutiny) {
            (Some(directory), Scrutiny::Full) => {
                directory.check_order(self.content, self.bin_count)
            }
            (Some(_), Scrutiny::Lengths) | (None, _) => Ok(()),
        }
    }

    /// Checks that no two bins have one name, where there is no directory that would show it.
    pub(crate) fn check_names(&self) -> Result<(), ContentError> {
        match self.name_table() {
            (_, Some(ordinal)) => Err(ContentError::DuplicateName { ordinal }),
            (_, None) => Ok(()),
        }
    }
}

impl<'a> IntoIterator for Bins<'a> {
    type Item = Bin<'a>;
    type IntoIter = BinsIter<'a>;

    fn into_iter(self) -> BinsIter<'a> {
        self.iter()
    }
}

/// The bins of a record in order.
#[derive(Clone, Copy)]
pub struct BinsIter<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> BinsIter<'a> {
    /// So many bins from the head of `region` on, which has them.
    pub(crate) const fn new(region: &'a [u8], bin_count: u16) -> Self {
        Self {
            rest: region,
            left: bin_count,
        }
    }
}

impl<'a> Iterator for BinsIter<'a> {
    type Item = Bin<'a>;

    #[inline]
    fn next(&mut self) -> Option<Bin<'a>> {
        self.left = self.left.checked_sub(1)?;
        Bin::take(&mut self.rest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for BinsIter<'_> {}

const fn in_bin(ordinal: u16, error: BinError) -> ContentError {
    ContentError::Bin { ordinal, error }
}

pub(crate) fn write_bins(out: &mut BoundedWriter<'_, '_>, bins: &Bins<'_>) -> std::fmt::Result {
    use std::fmt::Write as _;
    out.write_char('{')?;
    for (ordinal, bin) in bins.enumerate() {
        if ordinal > 0 {
            out.write_str(", ")?;
        }
        display::write_quoted(out, bin.name().as_str())?;
        out.write_str(": ")?;
        display::write_value_ref(out, &bin.value().decode())?;
    }
    out.write_char('}')
}

impl std::fmt::Display for Bins<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        display::write_bounded(formatter, |out| write_bins(out, self))
    }
}

impl std::fmt::Debug for Bins<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

impl std::fmt::Debug for BinsIter<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BinsIter")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
