//! What a record holds after a write: its old content and the write's bins, merged, or the write's
//! bins alone.
//!
//! Bins that stay keep their place, new ones follow in the order of the write. The old key stays
//! unless the write brings one. Allocates only where the caller's buffer is too small.

use crate::content::{Content, Update};
use crate::content_writer::ContentWriter;
use crate::directory::directory_length;
use crate::error::ContentError;
use crate::limits::WALKED_BIN_COUNT_MAX;
use crate::name_index::NameIndex;
use crate::ordinal_set::{OrdinalSet, WORDS_MAX};

/// An upper bound, in bytes, for what [`merge`] or [`replace`] appends.
#[must_use]
pub fn merged_length_bytes_max(old: &Content<'_>, update: &Update<'_>) -> usize {
    let bin_count = usize::from(old.bins().len()).saturating_add(usize::from(update.bins().len()));
    old.as_bytes()
        .len()
        .saturating_add(update.as_bytes().len())
        .saturating_add(directory_length(bin_count))
}

/// Appends to `out` what the record holds after `update`: the bins that it names are replaced, or
/// deleted where it says nil, the others kept. Returns how many bins are left; none means that the
/// record is no more.
///
/// Bins times the logarithm of bins, and one copy of the bytes.
///
/// # Errors
/// [`ContentError::TooLarge`] or [`ContentError::TooManyBins`]; `out` is then as it was.
pub fn merge(
    old: &Content<'_>,
    update: &Update<'_>,
    out: &mut Vec<u8>,
) -> Result<u16, ContentError> {
    if update.bins().len() <= WALKED_BIN_COUNT_MAX {
        merge_within::<1>(old, update, out)
    } else {
        merge_within::<WORDS_MAX>(old, update, out)
    }
}

/// Appends to `out` what a record holds that `update` creates or replaces: its bins without those
/// that it deletes. Returns how many bins there are.
///
/// Where [`Update::as_content`] gives a content, its bytes are the same and need no copy.
///
/// # Errors
/// None that a checked update can cause; the writer's own are passed on.
pub fn replace(update: &Update<'_>, out: &mut Vec<u8>) -> Result<u16, ContentError> {
    let mut writer = ContentWriter::new(out, update.key());
    for bin in update.bins() {
        if !bin.value().is_nil() {
            writer.put_bin(&bin)?;
        }
    }
    writer.finish_distinct()
}

fn merge_within<const WORDS: usize>(
    old: &Content<'_>,
    update: &Update<'_>,
    out: &mut Vec<u8>,
) -> Result<u16, ContentError> {
    let index = NameIndex::new(update.bins());
    // Those bins of the update whose name the record has.
    let mut known = OrdinalSet::<WORDS>::new();
    let mut has_same_names = true;
    let mut writer = ContentWriter::new(out, update.key().or(old.key()));
    // A write often names bins in the record's own order: the next one is tried before the index.
    let mut in_order = update.bins().enumerate();
    let mut next = in_order.next();
    for bin in old.bins() {
        let name = bin.name().as_bytes();
        let named = match &next {
            Some((_, expected)) if expected.is_called(name) => {
                std::mem::replace(&mut next, in_order.next())
            }
            Some(_) | None => index.get(name),
        };
        let Some((ordinal, changed)) = named else {
            writer.put_bin(&bin)?;
            continue;
        };
        known.insert(ordinal);
        if changed.value().is_nil() {
            has_same_names = false;
        } else {
            writer.put_bin(&changed)?;
        }
    }
    for (ordinal, bin) in update.bins().enumerate() {
        if !known.contains(ordinal) && !bin.value().is_nil() {
            has_same_names = false;
            writer.put_bin(&bin)?;
        }
    }
    if has_same_names {
        writer.finish_with_names_of(&old.bins())
    } else {
        writer.finish_distinct()
    }
}
