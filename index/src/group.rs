//! A group: the entries of one share of a partition's tags, packed without gaps in the order of the
//! tags.
//!
//! Pure functions over those bytes; never allocates and never knows where the bytes lie. The tags of a
//! group have their lowest bits in common, so their highest bits are spread as hashes are, and an entry
//! stands close to where those point. Four counts, kept in the directory beside the block's reference,
//! halve the remaining error: a lookup reads two or three neighbouring lines.
//!
//! Invariants: tags ascend; equal tags stand in the order of their insertion; `ends` counts the entries
//! whose two highest bits are at most 0, 1, 2, 3, the last of them is the number of entries.

use std::ops::Range;

use crate::entry::{ENTRY_BYTES, PackedEntry, tag_of};
use crate::limits::{BLOCK_HEADER_BYTES, LINE_BYTES};
use crate::width::{index, index32, narrow8, upper_half};

/// How many entries stand in each quarter of a group's range and those before it: four bytes of a
/// word, the first quarter's lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends(u32);

impl Ends {
    /// Takes what [`Ends::word`] gave.
    pub(crate) const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The four counts as a word; the number of entries is its highest byte.
    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    /// Counts `entries`, which are in order.
    pub(crate) fn count(entries: &[PackedEntry]) -> Self {
        let end = |last_quarter: u32| {
            narrow8(entries.partition_point(|entry| quarter(tag_of(entry)) <= last_quarter))
        };
        Self(u32::from_le_bytes([
            end(0),
            end(1),
            end(2),
            narrow8(entries.len()),
        ]))
    }

    /// Entries of the group.
    pub(crate) fn len(self) -> usize {
        index32(self.0 >> 24)
    }

    /// The counts with one entry more, of `tag`.
    pub(crate) fn with(self, tag: u64) -> Self {
        Self(self.0 + ones_from(quarter(tag)))
    }

    /// The counts with one entry less, of `tag`.
    pub(crate) fn without(self, tag: u64) -> Self {
        Self(self.0 - ones_from(quarter(tag)))
    }

    /// Where an entry of `tag` stands, if tags are spread evenly within their quarter.
    pub(crate) fn guess(self, tag: u64) -> usize {
        // Shifts, not branches: a branch on what has just come from memory is as often wrong as right.
        let shift = 8 * quarter(tag);
        let start = u64::from(self.0 << 8 >> shift & 0xff);
        let end = u64::from(self.0 >> shift & 0xff);
        let fraction = u64::from(upper_half(tag << 2));
        index(start + (((end - start) * fraction) >> u32::BITS))
    }
}

/// A one in the byte of each quarter from `first` on.
const fn ones_from(first: u32) -> u32 {
    0x0101_0101 << (8 * first)
}

/// Lines of the block that holds `entry_count` entries, at least one.
pub(crate) const fn line_count(entry_count: usize) -> usize {
    (BLOCK_HEADER_BYTES + entry_count * ENTRY_BYTES).div_ceil(LINE_BYTES)
}

/// Where the entries of `tag` stand among `entries`, empty and at the place of insertion when there
/// are none.
#[inline]
pub(crate) fn range_of(entries: &[PackedEntry], ends: Ends, tag: u64) -> Range<usize> {
    let start = first_of(entries, ends, tag);
    let mut end = start;
    while entries.get(end).is_some_and(|entry| tag_of(entry) == tag) {
        end += 1;
    }
    start..end
}

/// A byte of each line that [`range_of`] will read first; `None` when that is the whole of a small
/// group.
#[inline]
pub(crate) fn bytes_to_read(entries: &[PackedEntry], ends: Ends, tag: u64) -> Option<[&u8; 4]> {
    let window = window(entries, window_start(entries, ends, tag))?;
    // Less than a line apart, and the last is the last byte of a tag: no line is left out.
    let [first, _, second, _, third, last] = window;
    let ([first, ..], [.., second], [.., third]) = (first, second, third);
    let [_, _, _, _, _, _, _, last, ..] = last;
    Some([first, second, third, last])
}

/// Entries around the guess that are compared in one go. Eight stand on 3.4 neighbouring lines and hold
/// the answer of 97 lookups in 100; six on 2.7 lines, of 91.
const WINDOW: usize = 6;

/// The place of the first entry whose tag is not below `tag`.
#[inline]
fn first_of(entries: &[PackedEntry], ends: Ends, tag: u64) -> usize {
    let start = window_start(entries, ends, tag);
    let Some(window) = window(entries, start) else {
        return entries.partition_point(|entry| tag_of(entry) < tag);
    };
    // How many of the window are smaller? Counted without a branch on any of them, so that the core
    // goes on to the next lookup while the entries come from memory.
    let mut smaller_count = 0;
    for entry in window {
        smaller_count += usize::from(tag_of(entry).overflowing_sub(tag).1);
    }
    if smaller_count == 0 || smaller_count == WINDOW {
        return first_beyond(entries, start + smaller_count, tag);
    }
    start + smaller_count
}

/// The same, where the window has told only on which side of `place` it is.
#[cold]
fn first_beyond(entries: &[PackedEntry], mut place: usize, tag: u64) -> usize {
    while entries.get(place).is_some_and(|entry| tag_of(entry) < tag) {
        place += 1;
    }
    while entries
        .get(place.wrapping_sub(1))
        .is_some_and(|entry| tag_of(entry) >= tag)
    {
        place -= 1;
    }
    place
}

#[inline]
fn window_start(entries: &[PackedEntry], ends: Ends, tag: u64) -> usize {
    let last_start = entries.len().saturating_sub(WINDOW);
    ends.guess(tag).saturating_sub(WINDOW / 2).min(last_start)
}

/// The entries from `start` on that are compared in one go; `None` when the group has too few.
#[inline]
fn window(entries: &[PackedEntry], start: usize) -> Option<&[PackedEntry; WINDOW]> {
    entries.get(start..)?.first_chunk()
}

/// The two highest bits of `tag`.
const fn quarter(tag: u64) -> u32 {
    upper_half(tag) >> (u32::BITS - 2)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::limits::{GROUP_ENTRIES_MAX, GROUP_LINES_MAX};

    fn group(mut tags: Vec<u64>) -> Vec<PackedEntry> {
        tags.sort_unstable();
        let packed = |tag: u64| {
            let mut entry = [0xee; ENTRY_BYTES];
            entry[..8].copy_from_slice(&tag.to_le_bytes());
            entry
        };
        tags.into_iter().map(packed).collect()
    }

    /// Compares with the plain search, for every tag of the group and its neighbours.
    fn check(entries: &[PackedEntry]) {
        let ends = Ends::count(entries);
        assert_eq!(ends.len(), entries.len());
        assert_eq!(Ends::from_word(ends.word()), ends);
        let mut tags = vec![0, 1, 1 << 62, (1 << 62) - 1, 1 << 63, 3 << 62, u64::MAX];
        for entry in entries {
            tags.extend([
                tag_of(entry),
                tag_of(entry).wrapping_add(1),
                tag_of(entry) ^ 1 << 40,
            ]);
        }
        for tag in tags {
            let start = entries.partition_point(|entry| tag_of(entry) < tag);
            let end = entries.partition_point(|entry| tag_of(entry) <= tag);
            assert_eq!(
                range_of(entries, ends, tag),
                start..end,
                "{tag:x} of {}",
                entries.len()
            );
        }
    }

    #[test]
    fn entries_are_found_whatever_their_spread() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for entry_count in (1..=GROUP_ENTRIES_MAX).chain([1, 2, 5, 6, 7, 64, 127]) {
            let mut tags: Vec<u64> = (0..entry_count).map(|_| random.random()).collect();
            check(&group(tags.clone()));
            // All but a few in one corner, some of them equal.
            for tag in tags.iter_mut().skip(3) {
                *tag = *tag >> 61 | random.random_range(0..3_u64) << 61;
            }
            check(&group(tags));
            check(&group(vec![u64::MAX / 3; entry_count.min(64)]));
        }
        assert_eq!(range_of(&[], Ends::from_word(0), 5), 0..0);
    }

    #[test]
    fn hashes_stand_close_to_where_they_point() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let (mut near_count, mut count) = (0, 0);
        for _ in 0..500 {
            let entries = group((0..60).map(|_| random.random()).collect());
            let ends = Ends::count(&entries);
            for (place, entry) in entries.iter().enumerate() {
                near_count += u32::from(ends.guess(tag_of(entry)).abs_diff(place) <= 2);
                count += 1;
            }
        }
        assert!(
            near_count * 100 > count * 85,
            "{near_count} of {count} within two places"
        );
    }

    #[test]
    fn counts_follow_one_entry() {
        let entries = group((0..40).map(|number| number << 58).collect());
        let ends = Ends::count(&entries);
        for tag in [0, 1 << 62, 2 << 62, 3 << 62, u64::MAX] {
            let mut more: Vec<u64> = entries.iter().map(tag_of).collect();
            more.push(tag);
            assert_eq!(ends.with(tag), Ends::count(&group(more)));
            assert_eq!(ends.with(tag).without(tag), ends);
        }
    }

    #[test]
    fn blocks_hold_their_entries_and_no_line_too_many() {
        for entry_count in 1..=GROUP_ENTRIES_MAX {
            let bytes = BLOCK_HEADER_BYTES + entry_count * ENTRY_BYTES;
            let lines = line_count(entry_count);
            assert!(bytes <= lines * LINE_BYTES && bytes > (lines - 1) * LINE_BYTES);
        }
        assert_eq!(line_count(GROUP_ENTRIES_MAX), GROUP_LINES_MAX);
        assert_eq!(line_count(GROUP_ENTRIES_MAX + 1), GROUP_LINES_MAX + 1);
    }
}
