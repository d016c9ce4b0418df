//! A part of what a record holds: its key and the bins that a reader named.
//!
//! The bins keep the record's order, whatever the order in which they are named. Allocates only
//! where the caller's buffer is too small.

use crate::content::Content;
use crate::content_writer::ContentWriter;
use crate::directory::{NameOrder, Origin, Part};
use crate::error::ContentError;
use crate::limits::WALKED_BIN_COUNT_MAX;
use crate::name_index::NameIndex;
use crate::ordinal_set::{OrdinalSet, WORDS_MAX};
use crate::pace::{BIN_COST, LOOKUP_COST, Pace};

/// Appends to `out` a content with the key of `content` and those of its bins that `names` holds.
/// Names that the record has no bin for, and repeated ones, count nothing. Returns how many bins
/// were found.
///
/// # Errors
/// None that a checked content can cause; the writer's own are passed on.
pub fn project<'n>(
    content: &Content<'_>,
    names: impl IntoIterator<Item = &'n str>,
    out: &mut Vec<u8>,
) -> Result<u16, ContentError> {
    if content.bins().len() <= WALKED_BIN_COUNT_MAX {
        project_within::<1>(content, names, out)
    } else {
        project_within::<WORDS_MAX>(content, names, out)
    }
}

/// [`project`], in pieces.
///
/// # Errors
/// As [`project`].
pub async fn project_in_pieces<'n, P: AsyncFnMut()>(
    content: &Content<'_>,
    names: impl IntoIterator<Item = &'n str>,
    out: &mut Vec<u8>,
    pace: &mut Pace<P>,
) -> Result<u16, ContentError> {
    let mut named = OrdinalSet::<WORDS_MAX>::new();
    let index = NameIndex::new(content.bins());
    for name in names {
        pace.spend(LOOKUP_COST).await;
        if let Some((place, _)) = index.get(name.as_bytes()) {
            named.insert(place);
        }
    }
    // Memory that grew later would be copied, all at once.
    out.reserve(content.as_bytes().len());
    let mut writer = ContentWriter::new(out, content.key());
    for (place, bin) in content.bins().enumerate() {
        pace.spend(BIN_COST).await;
        if named.contains(place) {
            writer.put_bin_in_pieces(&bin, pace).await?;
        }
    }
    let order = NameOrder::From(Origin {
        kept: Part::of(content.bins().directory(), named.taken()),
        added: Part::UNKNOWN,
    });
    writer.finish_in_pieces(order, pace).await
}

fn project_within<'n, const WORDS: usize>(
    content: &Content<'_>,
    names: impl IntoIterator<Item = &'n str>,
    out: &mut Vec<u8>,
) -> Result<u16, ContentError> {
    let mut named = OrdinalSet::<WORDS>::new();
    let index = NameIndex::new(content.bins());
    for name in names {
        if let Some((place, _)) = index.get(name.as_bytes()) {
            named.insert(place);
        }
    }
    let mut writer = ContentWriter::new(out, content.key());
    for (place, bin) in content.bins().enumerate() {
        if named.contains(place) {
            writer.put_bin(&bin)?;
        }
    }
    writer.finish_from(Origin {
        kept: Part::of(content.bins().directory(), named.taken()),
        added: Part::UNKNOWN,
    })
}
