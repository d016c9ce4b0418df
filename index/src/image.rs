//! Images: a run of groups as bytes, for a checkpoint, and the way back into a table at the speed of memory.
//!
//! No I/O, and no checksum: whoever keeps the bytes verifies that they are the ones that were made here; what they
//! say is checked all the same, so that a mistake is an error and not a table that lies. An image is taken group by
//! group, and holds entries as groups do: going back copies whole groups, it does not insert one key after another.
//!
//! Invariants: an image holds every entry between the two positions that its making gave, as the table was at that
//! moment; that an entry is known to be damaged is the finding of one start and is not kept. Positions are functions of
//! digests alone, so images of one table that were taken at different moments, while it grew and shrank, fit together
//! at any position.
//!
//! Layout: `node/store/FORMAT.md` section 11.

use std::ops::Range;

use crate::address::RecordAddress;
use crate::digest::Digest;
use crate::entry::{ENTRY_BYTES, ImageEntry, PackedEntry, parts_of, tag_of, undamaged, unpack};
use crate::error::ImageError;
use crate::groups::{Groups, Key};
use crate::limits::{
    GROUP_ENTRIES_MAX, IMAGE_GROUP_HEADER_BYTES, IMAGE_SLOTS_MAX, SAME_TAG_COUNT_MAX,
    SLAB_COUNT_MAX,
};
use crate::scan::ScanPosition;
use crate::shard::Shard;
use crate::slot::Slot;
use crate::table::Index;
use crate::width::{index32, narrow8, wide};

const RANK_OFFSET: usize = 0;
const DEPTH_OFFSET: usize = 2;
const COUNT_OFFSET: usize = 3;
const SLOTS_OFFSET: usize = 4;
const _: () = assert!(IMAGE_GROUP_HEADER_BYTES == SLOTS_OFFSET + 4);

/// A place in the order in which images go through a shard: its partitions ascending, and within each the order of a
/// scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePosition {
    rank: u16,
    position: ScanPosition,
}

/// What went from an image into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ImageLoaded {
    /// Entries that are in the table now.
    pub kept_count: u64,
    /// Entries that the caller did not want.
    pub dropped_count: u64,
}

impl ImagePosition {
    /// Before every entry.
    pub const START: Self = Self {
        rank: 0,
        position: ScanPosition::START,
    };

    /// Behind every entry of `shard`.
    #[must_use]
    pub const fn end(shard: Shard) -> Self {
        Self {
            rank: shard.partition_count(),
            position: ScanPosition::START,
        }
    }

    /// Where the entry of `digest` stands; `None` when another shard owns it.
    #[must_use]
    pub fn of(shard: Shard, digest: &Digest) -> Option<Self> {
        let rank = shard.rank_of(digest.partition())?;
        let position = ScanPosition::of(digest);
        Some(Self { rank, position })
    }

    /// The numbers that stand for the position where it is kept: the partition's among those of its shard, and the
    /// place in it.
    #[must_use]
    pub const fn numbers(self) -> (u16, u64) {
        (self.rank, self.position.get())
    }

    /// Takes what [`ImagePosition::numbers`] gave. Every pair is a position, if not of every shard.
    #[must_use]
    pub const fn from_numbers(rank: u16, position: u64) -> Self {
        Self {
            rank,
            position: ScanPosition::from_number(position),
        }
    }

    const fn of_partition(rank: u16) -> Self {
        Self {
            rank,
            position: ScanPosition::START,
        }
    }

    /// Behind all that shares the first `depth` bits with this position.
    fn after_shared(self, depth: u32) -> Self {
        match self.position.after_shared(depth) {
            Some(position) => Self { position, ..self },
            None => Self::of_partition(self.rank + 1),
        }
    }
}

impl Index {
    /// Fills `out`, of at least [`IMAGE_BYTES_MIN`](crate::limits::IMAGE_BYTES_MIN) bytes, with groups from `from` on.
    /// Returns how many bytes of it they take and the position behind them, [`ImagePosition::end`] when nothing is left.
    /// The work of one call is bounded, so that it may return few bytes or none before the end.
    #[must_use]
    pub fn take_image(&self, from: ImagePosition, out: &mut [u8]) -> (usize, ImagePosition) {
        let end = ImagePosition::end(self.shard());
        let (mut at, mut used) = (from, 0);
        for _ in 0..IMAGE_SLOTS_MAX {
            if at >= end {
                break;
            }
            if self.groups.directory.entry_count(at.rank) == 0 {
                at = ImagePosition::of_partition(at.rank + 1);
                continue;
            }
            let room = out.get_mut(used..).unwrap_or_default();
            let Some((written, next)) = self.groups.take_group(at, room) else {
                break;
            };
            used += written;
            at = next;
        }
        (used, at)
    }

    /// Puts the entries of an image that stand in `range` and that `keep` wants, told by address and what else a start
    /// wants to know, into the table. None of them may be there yet.
    ///
    /// # Errors
    /// [`ImageError`]: the bytes are no image. A part of it may be in the table then, which is of no use any more.
    pub fn load_image(
        &mut self,
        image: &[u8],
        range: &Range<ImagePosition>,
        mut keep: impl FnMut(RecordAddress, ImageEntry) -> bool,
    ) -> Result<ImageLoaded, ImageError> {
        let mut loaded = ImageLoaded::default();
        let mut rest = image;
        let mut at = ImagePosition::START;
        while !rest.is_empty() {
            let group;
            (group, rest) = self.read_group(rest)?;
            let span = group.check(at)?;
            at = span.end;
            let is_inside = range.start <= span.start && span.end <= range.end;
            let mut dropped = 0_u128;
            for (place, entry) in group.entries.iter().enumerate() {
                let (address, parts) = parts_of(entry);
                let Some(address) = address else {
                    return Err(ImageError::Entry { rank: group.rank });
                };
                let is_wanted = is_inside || range.contains(&group.position_of(entry));
                if !is_wanted || !keep(address, parts) {
                    dropped |= 1 << place;
                }
            }
            let dropped_count = u64::from(dropped.count_ones());
            let kept_count = wide(group.entries.len()) - dropped_count;
            self.place(&group, dropped)?;
            loaded.kept_count += kept_count;
            loaded.dropped_count += dropped_count;
        }
        Ok(loaded)
    }

    /// The group at the beginning of `bytes`, and what is behind it.
    fn read_group<'a>(&self, bytes: &'a [u8]) -> Result<(ImageGroup<'a>, &'a [u8]), ImageError> {
        let Some((header, rest)) = bytes.split_first_chunk::<IMAGE_GROUP_HEADER_BYTES>() else {
            return Err(ImageError::Length);
        };
        let [r0, r1, depth, count, s0, s1, s2, s3] = *header;
        let rank = u16::from_le_bytes([r0, r1]);
        let slot_count = u32::from_le_bytes([s0, s1, s2, s3]);
        let count = usize::from(count);
        if rank >= self.shard().partition_count() {
            return Err(ImageError::Partition { rank });
        }
        if count == 0 || count > GROUP_ENTRIES_MAX || u32::from(depth) > u64::BITS {
            return Err(ImageError::Group { rank });
        }
        let (Some(entries), Some(rest)) = (
            rest.get(..count * ENTRY_BYTES),
            rest.get(count * ENTRY_BYTES..),
        ) else {
            return Err(ImageError::Length);
        };
        let entries = entries.as_chunks().0;
        let depth = u32::from(depth);
        let group = ImageGroup {
            rank,
            depth,
            slot_count,
            entries,
        };
        Ok((group, rest))
    }

    /// Puts the entries of a group that are not `dropped` where they belong.
    fn place(&mut self, group: &ImageGroup<'_>, dropped: u128) -> Result<(), ImageError> {
        if !self.groups.slabs.has_addresses() {
            return Err(ImageError::AddressesExhausted {
                slab_count_max: SLAB_COUNT_MAX,
            });
        }
        self.make_slots(group)?;
        if dropped == 0 {
            self.groups.scratch.extend_from_slice(group.entries);
        } else {
            let kept = group.entries.iter().enumerate();
            let kept = kept.filter(|(place, _)| dropped >> place & 1 == 0);
            self.groups.scratch.extend(kept.map(|(_, entry)| *entry));
        }
        let Some(first) = self.groups.scratch.first() else {
            return Ok(());
        };
        let (home, slot) = self.groups.directory.locate(group.rank, tag_of(first));
        if slot == Slot::Empty && home.depth <= group.depth {
            let count = self.groups.scratch.len();
            let stored = self.groups.store(group.rank, 0..count);
            self.groups.scratch.clear();
            self.groups.directory.set(home, stored);
            let before = self.groups.directory.entry_count(group.rank);
            let after = before + wide(count);
            self.groups.directory.set_entry_count(group.rank, after);
            self.note_loaded(wide(count));
            return Ok(());
        }
        // The table grew between two images, or only a part of a group was wanted: few groups.
        let kept = std::mem::take(&mut self.groups.scratch);
        for entry in &kept {
            let key = Key {
                rank: group.rank,
                tag: tag_of(entry),
            };
            let inserted = self.groups.insert(key, &unpack(entry));
            inserted.map_err(|_| ImageError::Group { rank: group.rank })?;
        }
        self.note_loaded(wide(kept.len()));
        self.groups.scratch = kept;
        self.groups.scratch.clear();
        Ok(())
    }

    /// Gives a partition that has no entry yet as many slots as it had when the image was taken.
    fn make_slots(&mut self, group: &ImageGroup<'_>) -> Result<(), ImageError> {
        let rank = group.rank;
        // A tenth of what it would hold in a real table; not a bound for those, but for made-up numbers.
        let allowed_bytes = (self.memory_limit_bytes() / 10).max(1 << 20);
        let directory = &mut self.groups.directory;
        if directory.entry_count(rank) > 0
            || u64::from(group.slot_count) <= directory.slot_count(rank)
        {
            return Ok(());
        }
        let slot_bytes = u64::from(group.slot_count) * wide(size_of::<u64>());
        if directory.memory_bytes().saturating_add(slot_bytes) > allowed_bytes {
            return Err(ImageError::Group { rank });
        }
        directory.add_empty_slots(rank, group.slot_count);
        Ok(())
    }
}

impl Groups {
    /// Writes what the slot at `at` holds from there on into `room`; `None` if it does not fit. Returns the bytes and
    /// the position behind the slot.
    fn take_group(&self, at: ImagePosition, room: &mut [u8]) -> Option<(usize, ImagePosition)> {
        let (home, slot) = self.directory.locate(at.rank, at.position.tag());
        let next = at.after_shared(home.depth);
        let Slot::Group(group) = slot else {
            return Some((0, next));
        };
        let entries = self.entries(group);
        let is_whole = at.position.is_first_of(home.depth);
        let is_wanted =
            |entry: &&PackedEntry| is_whole || ScanPosition::of_tag(tag_of(entry)) >= at.position;
        let count = match is_whole {
            true => entries.len(),
            false => entries.iter().filter(is_wanted).count(),
        };
        if count == 0 {
            return Some((0, next));
        }
        let length = IMAGE_GROUP_HEADER_BYTES + count * ENTRY_BYTES;
        let (header, target) = room
            .get_mut(..length)?
            .split_at_mut_checked(IMAGE_GROUP_HEADER_BYTES)?;
        let slot_count = u32::try_from(self.directory.slot_count(at.rank)).unwrap_or(u32::MAX);
        put(header, RANK_OFFSET, &at.rank.to_le_bytes());
        put(header, DEPTH_OFFSET, &[narrow8(index32(home.depth))]);
        put(header, COUNT_OFFSET, &[narrow8(count)]);
        put(header, SLOTS_OFFSET, &slot_count.to_le_bytes());
        let targets = target.as_chunks_mut::<ENTRY_BYTES>().0;
        for (target, entry) in targets.iter_mut().zip(entries.iter().filter(is_wanted)) {
            *target = undamaged(entry);
        }
        Some((length, next))
    }
}

/// A group as an image has it.
struct ImageGroup<'a> {
    rank: u16,
    /// Lowest bits that all tags have in common.
    depth: u32,
    /// Slots of the partition when the image was taken.
    slot_count: u32,
    entries: &'a [PackedEntry],
}

impl ImageGroup<'_> {
    fn position_of(&self, entry: &PackedEntry) -> ImagePosition {
        ImagePosition {
            rank: self.rank,
            position: ScanPosition::of_tag(tag_of(entry)),
        }
    }

    /// Checks tags against each other and the group's place against what came before it. Returns the positions that
    /// it covers.
    fn check(&self, behind: ImagePosition) -> Result<Range<ImagePosition>, ImageError> {
        let rank = self.rank;
        let Some(first) = self.entries.first() else {
            return Err(ImageError::Group { rank });
        };
        let first = tag_of(first);
        let shared = low_mask(self.depth);
        let (mut previous, mut same) = (first, 0);
        let (mut is_sorted, mut is_together, mut same_max) = (true, true, 0);
        for entry in self.entries {
            let tag = tag_of(entry);
            is_sorted &= previous <= tag;
            is_together &= (tag ^ first) & shared == 0;
            same = if tag == previous { same + 1 } else { 1 };
            same_max = same_max.max(same);
            previous = tag;
        }
        let start = ImagePosition {
            rank,
            position: ScanPosition::of_tag(first & shared),
        };
        if !is_sorted || !is_together || same_max > SAME_TAG_COUNT_MAX || start < behind {
            return Err(ImageError::Group { rank });
        }
        Ok(start..start.after_shared(self.depth))
    }
}

/// The lowest `bit_count` bits.
const fn low_mask(bit_count: u32) -> u64 {
    match u64::MAX.checked_shl(bit_count) {
        Some(high) => !high,
        None => u64::MAX,
    }
}

fn put(header: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(target) = header.get_mut(offset..offset + value.len()) {
        target.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(low_mask(0), 0);
        assert_eq!(low_mask(3), 7);
        assert_eq!(low_mask(64), u64::MAX);
    }
}
