//! The directory at the end of a content with many bins: where each bin starts, and their order
//! by name. Reading and writing.
//!
//! Contents with few bins have none. The bytes are described in `CONTENT.md`.

use crate::bin::{Bin, explain, name_at_head};
use crate::error::ContentError;
use crate::limits::WALKED_BIN_COUNT_MAX;

/// Bytes of one bin's offset.
const OFFSET_BYTES: usize = 4;

/// Bytes of one place in the order by name.
const ORDINAL_BYTES: usize = 2;

/// Bytes that the directory takes for so many bins.
pub(crate) fn directory_length(bin_count: usize) -> usize {
    if bin_count > usize::from(WALKED_BIN_COUNT_MAX) {
        bin_count.saturating_mul(OFFSET_BYTES + ORDINAL_BYTES)
    } else {
        0
    }
}

/// The directory of a content.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'a> {
    offsets: &'a [[u8; OFFSET_BYTES]],
    by_name: &'a [[u8; ORDINAL_BYTES]],
}

impl<'a> Directory<'a> {
    /// `bytes` are the content's last, as many as [`directory_length`] says.
    pub(crate) fn new(bytes: &'a [u8], bin_count: u16) -> Self {
        let split_at = usize::from(bin_count)
            .saturating_mul(OFFSET_BYTES)
            .min(bytes.len());
        let (offsets, by_name) = bytes.split_at(split_at);
        Self {
            offsets: offsets.as_chunks().0,
            by_name: by_name.as_chunks().0,
        }
    }

    /// Where a bin starts, in bytes from the content's start.
    pub(crate) fn offset(&self, ordinal: u16) -> Option<u32> {
        self.offsets
            .get(usize::from(ordinal))
            .map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// The place of the bin called `name`, if `content` has it. Logarithmic.
    pub(crate) fn find(&self, content: &'a [u8], name: &[u8]) -> Option<u16> {
        let order = self.by_name;
        let rank = order
            .binary_search_by(|ordinal| self.name(content, *ordinal).cmp(name))
            .ok()?;
        self.by_name
            .get(rank)
            .map(|ordinal| u16::from_le_bytes(*ordinal))
    }

    /// Checks that the order by name names bins and rises strictly, hence that every bin is in it
    /// once and that no two have one name. The offsets have been checked by whoever walked the bins.
    pub(crate) fn check_order(
        &self,
        content: &'a [u8],
        bin_count: u16,
    ) -> Result<(), ContentError> {
        let mut previous: &[u8] = &[];
        for (rank, ordinal) in (0_u16..).zip(self.by_name) {
            let found = u16::from_le_bytes(*ordinal);
            if found >= bin_count {
                return Err(ContentError::DirectoryOrdinal {
                    rank,
                    found,
                    bin_count,
                });
            }
            let name = self.name(content, *ordinal);
            // Names are never empty, so the first one is above this.
            match name.cmp(previous) {
                std::cmp::Ordering::Greater => previous = name,
                std::cmp::Ordering::Equal => {
                    return Err(ContentError::DuplicateName { ordinal: found });
                }
                std::cmp::Ordering::Less => return Err(ContentError::DirectoryOrder { rank }),
            }
        }
        Ok(())
    }

    /// The name of a bin; empty only where the directory was not checked.
    fn name(&self, content: &'a [u8], ordinal: [u8; ORDINAL_BYTES]) -> &'a [u8] {
        name_of(content, self.offsets, ordinal)
    }
}

/// What is known of the bins for which a directory is written.
#[derive(Clone, Copy)]
pub(crate) enum NameOrder<'a> {
    /// Nothing: they are sorted by name.
    Unknown,
    /// They have the same names at the same places as those of this directory.
    As(Directory<'a>),
}

/// Writes the directory behind the content that starts at `start` of `out` and has `bin_count`
/// bins from `first_bin` (from the content's start) to the end of `out`. Nothing for few bins.
///
/// # Errors
/// [`ContentError::DuplicateName`] when two bins have one name.
pub(crate) fn write_directory(
    out: &mut Vec<u8>,
    start: usize,
    first_bin: usize,
    bin_count: u16,
    order: NameOrder<'_>,
) -> Result<(), ContentError> {
    let length = directory_length(usize::from(bin_count));
    if length == 0 {
        return Ok(());
    }
    let bins_end = out.len();
    out.resize(bins_end.saturating_add(length), 0);
    let content = out.get_mut(start..).unwrap_or_default();
    let (bins, directory) = content.split_at_mut(bins_end.saturating_sub(start));
    let (offsets, by_name) =
        directory.split_at_mut(usize::from(bin_count).saturating_mul(OFFSET_BYTES));
    let offsets = offsets.as_chunks_mut().0;
    write_offsets(bins, first_bin, offsets)?;
    let by_name = by_name.as_chunks_mut().0;
    match order {
        NameOrder::As(directory) => {
            assert!(
                directory.by_name.len() == by_name.len(),
                "{bin_count} bins cannot have the names of {}",
                directory.by_name.len()
            );
            by_name.copy_from_slice(directory.by_name);
            Ok(())
        }
        NameOrder::Unknown => write_order(bins, offsets, by_name),
    }
}

fn write_offsets(
    content: &[u8],
    first_bin: usize,
    offsets: &mut [[u8; OFFSET_BYTES]],
) -> Result<(), ContentError> {
    let mut rest = content.get(first_bin..).unwrap_or_default();
    for (ordinal, offset) in (0_u16..).zip(offsets) {
        let at = content.len().saturating_sub(rest.len());
        *offset = u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes();
        if Bin::take(&mut rest).is_none() {
            return Err(ContentError::Bin {
                ordinal,
                error: explain(rest),
            });
        }
    }
    Ok(())
}

fn write_order(
    content: &[u8],
    offsets: &[[u8; OFFSET_BYTES]],
    by_name: &mut [[u8; ORDINAL_BYTES]],
) -> Result<(), ContentError> {
    for (ordinal, slot) in (0_u16..).zip(by_name.iter_mut()) {
        *slot = ordinal.to_le_bytes();
    }
    let name = |ordinal: [u8; ORDINAL_BYTES]| name_of(content, offsets, ordinal);
    by_name.sort_unstable_by(|left, right| name(*left).cmp(name(*right)));
    match by_name
        .array_windows()
        .find(|[left, right]| name(*left) == name(*right))
    {
        Some([left, right]) => {
            let ordinal = u16::from_le_bytes(*left).max(u16::from_le_bytes(*right));
            Err(ContentError::DuplicateName { ordinal })
        }
        None => Ok(()),
    }
}

/// The name of a bin by its place, given where the bins start.
#[inline]
fn name_of<'a>(
    content: &'a [u8],
    offsets: &[[u8; OFFSET_BYTES]],
    ordinal: [u8; ORDINAL_BYTES],
) -> &'a [u8] {
    let offset = offsets.get(usize::from(u16::from_le_bytes(ordinal)));
    offset
        .and_then(|bytes| usize::try_from(u32::from_le_bytes(*bytes)).ok())
        .and_then(|offset| content.get(offset..))
        .and_then(name_at_head)
        .unwrap_or_default()
}
