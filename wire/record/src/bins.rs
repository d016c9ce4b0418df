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
use crate::pace::{BIN_COST, LOOKUP_COST, Pace};

/// The bins of a record, in the order in which they were written.
#[derive(Clone, Copy)]
pub struct Bins<'a> {
    content: &'a [u8],
    region: &'a [u8],
    bin_count: u16,
    has_nil: bool,
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
            has_nil: false,
            directory: None,
        }
    }

    /// Whether nil stands for the value of one of them.
    pub(crate) const fn has_nil(&self) -> bool {
        self.has_nil
    }

    /// Checks the bins of `content`, the first of which starts at `first_bin`.
    pub(crate) fn parse(
        content: &'a [u8],
        (first_bin, bin_count): (usize, u16),
        nil_rule: NilRule,
        scrutiny: Scrutiny,
    ) -> Result<Self, ContentError> {
        let mut bins = Self::cut(content, first_bin, bin_count)?;
        let mut rest = bins.region;
        let mut table = NameTable::new(bins.region);
        for ordinal in 0..bin_count {
            let at = rest;
            let Some(bin) = Bin::take(&mut rest) else {
                return Err(in_bin(ordinal, explain(at)));
            };
            if bin.value().is_nil() {
                if nil_rule == NilRule::Refused {
                    return Err(in_bin(ordinal, BinError::Nil));
                }
                bins.has_nil = true;
            }
            if scrutiny == Scrutiny::Lengths {
                continue;
            }
            if let Err(error) = bin.check() {
                return Err(in_bin(ordinal, error));
            }
            let offset = bins.region.len() - at.len();
            bins.check_place((ordinal, &bin), (first_bin, offset), &mut table)?;
        }
        nothing_behind(rest)?;
        if let (Some(directory), Scrutiny::Full) = (&bins.directory, scrutiny) {
            let mut previous: &[u8] = &[];
            for rank in 0..bin_count {
                previous = directory.check_rank(content, bin_count, (rank, previous))?;
            }
        }
        Ok(bins)
    }

    /// [`Bins::parse`] of bins that may be many or long.
    pub(crate) async fn parse_in_pieces<P: AsyncFnMut()>(
        content: &'a [u8],
        (first_bin, bin_count): (usize, u16),
        (nil_rule, scrutiny): (NilRule, Scrutiny),
        pace: &mut Pace<P>,
    ) -> Result<Self, ContentError> {
        let mut bins = Self::cut(content, first_bin, bin_count)?;
        let mut rest = bins.region;
        let mut table = NameTable::new(bins.region);
        for ordinal in 0..bin_count {
            pace.spend(BIN_COST).await;
            let at = rest;
            let Some(bin) = Bin::take(&mut rest) else {
                return Err(in_bin(ordinal, explain(at)));
            };
            if bin.value().is_nil() {
                if nil_rule == NilRule::Refused {
                    return Err(in_bin(ordinal, BinError::Nil));
                }
                bins.has_nil = true;
            }
            if scrutiny == Scrutiny::Lengths {
                continue;
            }
            if let Err(error) = bin.check_in_pieces(pace).await {
                return Err(in_bin(ordinal, error));
            }
            let offset = bins.region.len() - at.len();
            bins.check_place((ordinal, &bin), (first_bin, offset), &mut table)?;
        }
        nothing_behind(rest)?;
        if let (Some(directory), Scrutiny::Full) = (&bins.directory, scrutiny) {
            let mut previous: &[u8] = &[];
            for rank in 0..bin_count {
                pace.spend(LOOKUP_COST).await;
                previous = directory.check_rank(content, bin_count, (rank, previous))?;
            }
        }
        Ok(bins)
    }

    /// Where the bins and their directory would be.
    fn cut(content: &'a [u8], first_bin: usize, bin_count: u16) -> Result<Self, ContentError> {
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
        Ok(Self {
            content,
            region,
            bin_count,
            has_nil: false,
            directory,
        })
    }

    /// Compares the bin that starts `offset` bytes into the region with the directory, or its name with those
    /// before it.
    #[inline]
    fn check_place(
        &self,
        (ordinal, bin): (u16, &Bin<'a>),
        (first_bin, offset): (usize, usize),
        table: &mut NameTable<'a>,
    ) -> Result<(), ContentError> {
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
        Ok(())
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

const fn nothing_behind(rest: &[u8]) -> Result<(), ContentError> {
    match rest.len() {
        0 => Ok(()),
        length_bytes => Err(ContentError::TrailingBytes { length_bytes }),
    }
}

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
