//! What a record holds after a write: its old content and the write's bins, merged, or the write's
//! bins alone.
//!
//! Bins that stay keep their place, new ones follow in the order of the write. The old key stays
//! unless the write brings one. Allocates only where the caller's buffer is too small, and where few bins
//! become many.
//!
//! The order by name of a record with many bins is not sorted anew: both sides' is known, or short.

use crate::bin::Bin;
use crate::bins::{Bins, BinsIter};
use crate::content::{Content, Update};
use crate::content_writer::{ContentWriter, order_of};
use crate::directory::{NameOrder, Origin, Part, directory_length};
use crate::error::ContentError;
use crate::limits::{CONTENT_LENGTH_BYTES_MAX, WALKED_BIN_COUNT_MAX};
use crate::name_index::NameIndex;
use crate::ordinal_set::{OrdinalSet, WORDS_MAX};
use crate::pace::{BIN_COST, LOOKUP_COST, Pace};

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
    if old.bins().len().max(update.bins().len()) <= WALKED_BIN_COUNT_MAX {
        merge_within::<1>(old, update, out)
    } else {
        merge_within::<WORDS_MAX>(old, update, out)
    }
}

/// [`merge`], in pieces.
///
/// # Errors
/// As [`merge`].
pub async fn merge_in_pieces<P: AsyncFnMut()>(
    old: &Content<'_>,
    update: &Update<'_>,
    out: &mut Vec<u8>,
    pace: &mut Pace<P>,
) -> Result<u16, ContentError> {
    // Memory that grew later would be copied, all at once.
    out.reserve(merged_length_bytes_max(old, update).min(CONTENT_LENGTH_BYTES_MAX));
    let mut writer = ContentWriter::new(out, update.key().or(old.key()));
    let mut merge = Merge::<WORDS_MAX>::new(old, update);
    for (place, bin) in old.bins().enumerate() {
        pace.spend(LOOKUP_COST).await;
        if let Some(bin) = merge.old_bin(place, bin) {
            writer.put_bin_in_pieces(&bin, pace).await?;
        }
    }
    for (ordinal, bin) in update.bins().enumerate() {
        pace.spend(BIN_COST).await;
        if merge.is_added(ordinal, &bin) {
            writer.put_bin_in_pieces(&bin, pace).await?;
        }
    }
    writer.finish_in_pieces(merge.order(old), pace).await
}

/// Appends to `out` what a record holds that `update` creates or replaces: its bins without those
/// that it deletes. Returns how many bins there are.
///
/// Where [`Update::as_content`] gives a content, its bytes are the same and need no copy.
///
/// # Errors
/// None that a checked update can cause; the writer's own are passed on.
pub fn replace(update: &Update<'_>, out: &mut Vec<u8>) -> Result<u16, ContentError> {
    if update.bins().len() <= WALKED_BIN_COUNT_MAX {
        replace_within::<1>(update, out)
    } else {
        replace_within::<WORDS_MAX>(update, out)
    }
}

/// [`replace`], in pieces.
///
/// # Errors
/// As [`replace`].
pub async fn replace_in_pieces<P: AsyncFnMut()>(
    update: &Update<'_>,
    out: &mut Vec<u8>,
    pace: &mut Pace<P>,
) -> Result<u16, ContentError> {
    out.reserve(update.as_bytes().len());
    let mut kept = OrdinalSet::<WORDS_MAX>::new();
    let mut writer = ContentWriter::new(out, update.key());
    for (place, bin) in update.bins().enumerate() {
        pace.spend(BIN_COST).await;
        if !bin.value().is_nil() {
            kept.insert(place);
            writer.put_bin_in_pieces(&bin, pace).await?;
        }
    }
    let order = NameOrder::From(Origin {
        kept: Part::of(update.bins().directory(), kept.taken()),
        added: Part::UNKNOWN,
    });
    writer.finish_in_pieces(order, pace).await
}

fn replace_within<const WORDS: usize>(
    update: &Update<'_>,
    out: &mut Vec<u8>,
) -> Result<u16, ContentError> {
    let mut kept = OrdinalSet::<WORDS>::new();
    let mut writer = ContentWriter::new(out, update.key());
    for (place, bin) in update.bins().enumerate() {
        if !bin.value().is_nil() {
            kept.insert(place);
            writer.put_bin(&bin)?;
        }
    }
    writer.finish_from(Origin {
        kept: Part::of(update.bins().directory(), kept.taken()),
        added: Part::UNKNOWN,
    })
}

fn merge_within<const WORDS: usize>(
    old: &Content<'_>,
    update: &Update<'_>,
    out: &mut Vec<u8>,
) -> Result<u16, ContentError> {
    let mut writer = ContentWriter::new(out, update.key().or(old.key()));
    let mut merge = Merge::<WORDS>::new(old, update);
    for (place, bin) in old.bins().enumerate() {
        if let Some(bin) = merge.old_bin(place, bin) {
            writer.put_bin(&bin)?;
        }
    }
    for (ordinal, bin) in update.bins().enumerate() {
        if merge.is_added(ordinal, &bin) {
            writer.put_bin(&bin)?;
        }
    }
    match merge.order(old) {
        NameOrder::From(origin) => writer.finish_from(origin),
        NameOrder::As(_) | NameOrder::Unknown => writer.finish_with_names_of(&old.bins()),
    }
}

/// A merge on its way: which bins the record has afterwards.
struct Merge<'a, const WORDS: usize> {
    update: Bins<'a>,
    index: NameIndex<'a>,
    /// A write often names bins in the record's own order: the next one is tried before the index.
    in_order: BinsIter<'a>,
    next: Option<(u16, Bin<'a>)>,
    /// Those bins of the update whose name the record has.
    known: OrdinalSet<WORDS>,
    /// Those bins of the record that stay, with their values or new ones.
    kept: OrdinalSet<WORDS>,
    /// Those bins of the update that join them.
    added: OrdinalSet<WORDS>,
    has_same_names: bool,
}

impl<'a, const WORDS: usize> Merge<'a, WORDS> {
    fn new(old: &Content<'_>, update: &Update<'a>) -> Self {
        let update = update.bins();
        let mut in_order = update.iter();
        Self {
            update,
            index: NameIndex::new(update),
            next: in_order.next().map(|bin| (0, bin)),
            in_order,
            known: OrdinalSet::new(),
            kept: OrdinalSet::first(old.bins().len()),
            added: OrdinalSet::new(),
            has_same_names: true,
        }
    }

    /// What becomes of a bin of the record: it is kept as it is, takes another value, or goes.
    #[inline]
    fn old_bin(&mut self, place: u16, bin: Bin<'a>) -> Option<Bin<'a>> {
        let name = bin.name().as_bytes();
        let named = match &self.next {
            Some((ordinal, expected)) if expected.is_called(name) => {
                let following = ordinal.saturating_add(1);
                let next = self.in_order.next().map(|bin| (following, bin));
                std::mem::replace(&mut self.next, next)
            }
            Some(_) | None => self.index.get(name),
        };
        let Some((ordinal, changed)) = named else {
            return Some(bin);
        };
        self.known.insert(ordinal);
        if changed.value().is_nil() {
            self.has_same_names = false;
            self.kept.remove(place);
            return None;
        }
        Some(changed)
    }

    /// Whether a bin of the update, all of the record's having been seen, joins them.
    #[inline]
    fn is_added(&mut self, ordinal: u16, bin: &Bin<'a>) -> bool {
        let joins = !self.known.contains(ordinal) && !bin.value().is_nil();
        if joins {
            self.has_same_names = false;
            self.added.insert(ordinal);
        }
        joins
    }

    /// What is known of the order of all of them by name.
    fn order<'o>(&'o mut self, old: &Content<'o>) -> NameOrder<'o> {
        if self.has_same_names {
            return order_of(&old.bins());
        }
        NameOrder::From(Origin {
            kept: Part::of(old.bins().directory(), self.kept.taken()),
            added: Part::of(self.update.directory(), self.added.taken()),
        })
    }
}
