//! The directory at the end of a content with many bins: where each bin starts, and their order
//! by name. Reading and writing.
//!
//! Contents with few bins have none. The bytes are described in `CONTENT.md`.

use std::cmp::Ordering;

use crate::bin::{Bin, explain, name_at_head};
use crate::error::ContentError;
use crate::limits::WALKED_BIN_COUNT_MAX;
use crate::ordinal_set::Taken;
use crate::pace::{BIN_COST, LOOKUP_COST, Pace};

/// Bytes of one bin's offset.
const OFFSET_BYTES: usize = 4;

/// Bytes of one place in the order by name.
const ORDINAL_BYTES: usize = 2;

/// Names that are sorted without memory of their own: so few that it costs as much to fill.
const SORTED_PLAINLY: usize = 24;

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

    /// Checks that at `rank` the order by name names a bin, and that the order rises strictly there:
    /// where it does so everywhere, every bin is in it once and no two have one name. Returns the name,
    /// which is `previous` at the next rank; the first is above the empty one. The offsets have been
    /// checked by whoever walked the bins.
    #[inline]
    pub(crate) fn check_rank(
        &self,
        content: &'a [u8],
        bin_count: u16,
        (rank, previous): (u16, &[u8]),
    ) -> Result<&'a [u8], ContentError> {
        let ordinal = self.by_name.get(usize::from(rank));
        let ordinal = ordinal.copied().unwrap_or_default();
        let found = u16::from_le_bytes(ordinal);
        if found >= bin_count {
            return Err(ContentError::DirectoryOrdinal {
                rank,
                found,
                bin_count,
            });
        }
        let name = self.name(content, ordinal);
        match name.cmp(previous) {
            Ordering::Greater => Ok(name),
            Ordering::Equal => Err(ContentError::DuplicateName { ordinal: found }),
            Ordering::Less => Err(ContentError::DirectoryOrder { rank }),
        }
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
    /// Their names differ from each other, and this is where they come from.
    From(Origin<'a>),
}

/// Where the bins of a content come from: some of one content, in their order there, and behind them
/// others. What is known of either's order by name need not be found out again.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) kept: Part<'a>,
    pub(crate) added: Part<'a>,
}

/// Some bins of a content, in their order there.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    directory: Option<Directory<'a>>,
    taken: Taken<'a>,
}

impl<'a> Part<'a> {
    /// Those of the bins with `directory` that are in `taken`.
    pub(crate) const fn of(directory: Option<Directory<'a>>, taken: Taken<'a>) -> Self {
        Self { directory, taken }
    }

    /// Bins of which nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        directory: None,
        taken: Taken::NONE,
    };
}

/// A directory in the making, behind the bins that it is about.
struct Draft<'o> {
    bins: &'o [u8],
    first_bin: usize,
    offsets: &'o mut [[u8; OFFSET_BYTES]],
    by_name: &'o mut [[u8; ORDINAL_BYTES]],
}

/// Writes the directory behind the content that starts at `start` of `out` and has `bin_count`
/// bins from `first_bin` (from the content's start) to the end of `out`. Nothing for few bins.
///
/// # Errors
/// [`ContentError::DuplicateName`] when two bins have one name.
pub(crate) fn write_directory(
    out: &mut Vec<u8>,
    (start, first_bin): (usize, usize),
    bin_count: u16,
    order: NameOrder<'_>,
) -> Result<(), ContentError> {
    let Some(mut draft) = Draft::begin(out, (start, first_bin), bin_count) else {
        return Ok(());
    };
    let mut rest = draft.bins.get(first_bin..).unwrap_or_default();
    for ordinal in 0..bin_count {
        draft.write_offset(ordinal, &mut rest)?;
    }
    match order {
        NameOrder::Unknown => draft.sort_all(),
        NameOrder::As(directory) => {
            draft.copy_order(directory);
            Ok(())
        }
        NameOrder::From(origin) => {
            let mut merge = draft.begin_merge(origin);
            while draft.merge_next(&mut merge) {}
            Ok(())
        }
    }
}

/// [`write_directory`] of many bins. Where nothing is known of their order they are sorted at once:
/// whoever has many knows it.
pub(crate) async fn write_directory_in_pieces<P: AsyncFnMut()>(
    out: &mut Vec<u8>,
    (start, first_bin): (usize, usize),
    (bin_count, order): (u16, NameOrder<'_>),
    pace: &mut Pace<P>,
) -> Result<(), ContentError> {
    let Some(mut draft) = Draft::begin(out, (start, first_bin), bin_count) else {
        return Ok(());
    };
    let mut rest = draft.bins.get(first_bin..).unwrap_or_default();
    for ordinal in 0..bin_count {
        pace.spend(BIN_COST).await;
        draft.write_offset(ordinal, &mut rest)?;
    }
    match order {
        NameOrder::Unknown => draft.sort_all(),
        NameOrder::As(directory) => {
            draft.copy_order(directory);
            Ok(())
        }
        NameOrder::From(origin) => {
            pace.begin_piece().await;
            let mut merge = draft.begin_merge(origin);
            pace.spend(LOOKUP_COST).await;
            while draft.merge_next(&mut merge) {
                pace.spend(LOOKUP_COST).await;
            }
            Ok(())
        }
    }
}

/// The two halves of an order by name that is being joined: places in the content that is written.
struct Merge<'a> {
    /// Those of the bins that are kept, in the order of the directory where they were.
    kept: Kept<'a>,
    next_kept: Option<[u8; ORDINAL_BYTES]>,
    /// How many of them have their rank.
    kept_count: usize,
    /// Where the next of those that were added waits for its rank.
    next_added: usize,
    /// Where the first of them waited.
    first_added: usize,
}

/// The bins that are kept, by name.
enum Kept<'a> {
    Known {
        order: std::slice::Iter<'a, [u8; ORDINAL_BYTES]>,
        taken: Taken<'a>,
    },
    /// Of a content without directory, sorted for the occasion.
    Sorted(std::vec::IntoIter<[u8; ORDINAL_BYTES]>),
}

impl Iterator for Kept<'_> {
    type Item = [u8; ORDINAL_BYTES];

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Known { order, taken } => order.find_map(|ordinal| taken.rank(*ordinal)),
            Self::Sorted(order) => order.next(),
        }
    }
}

impl<'o> Draft<'o> {
    /// Makes room for the directory behind the bins; `None` where they are too few for one.
    fn begin(
        out: &'o mut Vec<u8>,
        (start, first_bin): (usize, usize),
        bin_count: u16,
    ) -> Option<Self> {
        let length = directory_length(usize::from(bin_count));
        if length == 0 {
            return None;
        }
        let bins_end = out.len();
        out.resize(bins_end.saturating_add(length), 0);
        let content = out.get_mut(start..).unwrap_or_default();
        let (bins, directory) = content.split_at_mut(bins_end.saturating_sub(start));
        let (offsets, by_name) =
            directory.split_at_mut(usize::from(bin_count).saturating_mul(OFFSET_BYTES));
        Some(Self {
            bins,
            first_bin,
            offsets: offsets.as_chunks_mut().0,
            by_name: by_name.as_chunks_mut().0,
        })
    }

    /// Notes where the bin at the head of `rest` starts, and steps over it.
    fn write_offset(&mut self, ordinal: u16, rest: &mut &[u8]) -> Result<(), ContentError> {
        debug_assert!(rest.len() <= self.bins.len() - self.first_bin);
        let at = self.bins.len().saturating_sub(rest.len());
        if let Some(offset) = self.offsets.get_mut(usize::from(ordinal)) {
            *offset = u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes();
        }
        match Bin::take(rest) {
            Some(_) => Ok(()),
            None => Err(ContentError::Bin {
                ordinal,
                error: explain(rest),
            }),
        }
    }

    fn copy_order(&mut self, directory: Directory<'_>) {
        assert!(
            directory.by_name.len() == self.by_name.len(),
            "{} bins cannot have the names of {}",
            self.by_name.len(),
            directory.by_name.len()
        );
        self.by_name.copy_from_slice(directory.by_name);
    }

    fn sort_all(&mut self) -> Result<(), ContentError> {
        number(0, self.by_name);
        sort_by_name(self.bins, self.offsets, self.by_name);
        let name = |ordinal: [u8; ORDINAL_BYTES]| name_of(self.bins, self.offsets, ordinal);
        let alike = self
            .by_name
            .array_windows()
            .find(|[left, right]| name(*left) == name(*right));
        match alike {
            Some([left, right]) => {
                let ordinal = u16::from_le_bytes(*left).max(u16::from_le_bytes(*right));
                Err(ContentError::DuplicateName { ordinal })
            }
            None => Ok(()),
        }
    }

    /// Orders either half by itself. Those that were added wait at the end of the order: there is their
    /// place if all that are kept come before them, and no rank is given before theirs is read.
    fn begin_merge<'a>(&mut self, origin: Origin<'a>) -> Merge<'a> {
        let Origin { kept, added } = origin;
        let kept_count = usize::from(kept.taken.count()).min(self.by_name.len());
        let (of_kept, of_added) = self.by_name.split_at_mut(kept_count);
        let first_added = kept.taken.count();
        match added.directory {
            Some(directory) => {
                let order = directory.by_name.iter();
                let ranks = order.filter_map(|ordinal| added.taken.rank(*ordinal));
                for (slot, rank) in of_added.iter_mut().zip(ranks) {
                    let place = u16::from_le_bytes(rank).saturating_add(first_added);
                    *slot = place.to_le_bytes();
                }
            }
            None => {
                number(first_added, of_added);
                sort_by_name(self.bins, self.offsets, of_added);
            }
        }
        let mut kept = match kept.directory {
            Some(directory) => Kept::Known {
                order: directory.by_name.iter(),
                taken: kept.taken,
            },
            None => {
                number(0, of_kept);
                sort_by_name(self.bins, self.offsets, of_kept);
                // At most as many as make no directory; ranks are written over them.
                Kept::Sorted(Vec::from(&*of_kept).into_iter())
            }
        };
        Merge {
            next_kept: kept.next(),
            kept,
            kept_count: 0,
            next_added: kept_count,
            first_added: kept_count,
        }
    }

    /// Gives the next rank. False when all are given.
    fn merge_next(&mut self, merge: &mut Merge<'_>) -> bool {
        let added = self.by_name.get(merge.next_added).copied();
        let rank = merge.kept_count + merge.next_added.saturating_sub(merge.first_added);
        let is_kept = match (merge.next_kept, added) {
            // What is left stands where it belongs.
            (None, _) => return false,
            (Some(_), None) => true,
            (Some(kept), Some(added)) => {
                let name = |ordinal| name_of(self.bins, self.offsets, ordinal);
                name(kept) < name(added)
            }
        };
        let next = if is_kept { merge.next_kept } else { added };
        if let (Some(slot), Some(next)) = (self.by_name.get_mut(rank), next) {
            *slot = next;
        }
        if is_kept {
            merge.kept_count += 1;
            merge.next_kept = merge.kept.next();
        } else {
            merge.next_added += 1;
        }
        true
    }
}

/// Numbers bins in their order, from `first` on.
fn number(first: u16, order: &mut [[u8; ORDINAL_BYTES]]) {
    for (ordinal, slot) in (first..=u16::MAX).zip(order) {
        *slot = ordinal.to_le_bytes();
    }
}

/// Sorts bins by their names. Many are sorted by the eight bytes behind what all names begin with, and
/// only where these are alike is a name looked up: to follow an offset for each comparison costs more
/// than all the rest.
fn sort_by_name(content: &[u8], offsets: &[[u8; OFFSET_BYTES]], order: &mut [[u8; ORDINAL_BYTES]]) {
    let name = |ordinal: [u8; ORDINAL_BYTES]| name_of(content, offsets, ordinal);
    let Some((first, others)) = order.split_first() else {
        return;
    };
    if others.len() < SORTED_PLAINLY {
        order.sort_unstable_by(|left, right| name(*left).cmp(name(*right)));
        return;
    }
    let first = name(*first);
    let common = others.iter().fold(first.len(), |common, ordinal| {
        let alike = first.iter().zip(name(*ordinal));
        alike
            .take(common)
            .take_while(|(one, other)| one == other)
            .count()
    });
    let mut keyed: Vec<(u64, [u8; ORDINAL_BYTES])> = order
        .iter()
        .map(|ordinal| (head_of(name(*ordinal).get(common..)), *ordinal))
        .collect();
    keyed.sort_unstable_by(|(left_head, left), (right_head, right)| {
        let by_head = left_head.cmp(right_head);
        by_head.then_with(|| name(*left).cmp(name(*right)))
    });
    for (slot, (_, ordinal)) in order.iter_mut().zip(keyed) {
        *slot = ordinal;
    }
}

/// The first eight bytes, in their order as a number. What is shorter is followed by zeros, which stand in
/// no name.
fn head_of(name: Option<&[u8]>) -> u64 {
    let name = name.unwrap_or_default();
    let mut head = [0; 8];
    for (slot, byte) in head.iter_mut().zip(name) {
        *slot = *byte;
    }
    u64::from_be_bytes(head)
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
