//! The bins of a record by name, where it has too few for a directory: a hash table on the stack.
//!
//! Built in one walk over at most `WALKED_BIN_COUNT_MAX` bins. It finds duplicates while it is
//! built and bins afterwards. Names that were chosen to collide make it a walk, never more.

use crate::bin::Bin;
use crate::limits::WALKED_BIN_COUNT_MAX;

/// Places for bins, a power of two. Twice as many as bins, so a free one is always found.
const SLOTS: u8 = 128;

/// Where the bins start.
const OFFSETS: usize = 64;

const _: () = assert!(WALKED_BIN_COUNT_MAX == 64);

/// Which bin has a name.
pub(crate) struct NameTable<'a> {
    /// From the first bin on.
    region: &'a [u8],
    /// The place of a bin, plus one; zero where there is none.
    slots: [u8; 128],
    /// Where the bin of each place starts in the region.
    offsets: [u32; OFFSETS],
    bin_count: u8,
}

impl<'a> NameTable<'a> {
    /// No bin yet, of those that start at the head of `region`.
    pub(crate) const fn new(region: &'a [u8]) -> Self {
        Self {
            region,
            slots: [0; 128],
            offsets: [0; OFFSETS],
            bin_count: 0,
        }
    }

    /// Adds the next bin, which is called `name` and starts `offset` bytes into the region. False
    /// if a bin of this name is there already.
    #[inline]
    pub(crate) fn insert(&mut self, name: &[u8], offset: usize) -> bool {
        let mut slot = hash(name) % SLOTS;
        while let Some(place) = self.place_in(slot) {
            if self.bin(place).is_some_and(|bin| bin.is_called(name)) {
                return false;
            }
            slot = (slot + 1) % SLOTS;
        }
        let start = self.offsets.get_mut(usize::from(self.bin_count));
        assert!(
            start.is_some(),
            "more bins than a table without directory is for"
        );
        if let (Some(start), Some(slot)) = (start, self.slots.get_mut(usize::from(slot))) {
            *start = u32::try_from(offset).unwrap_or(u32::MAX);
            self.bin_count += 1;
            *slot = self.bin_count;
        }
        true
    }

    /// The bin of this name, and its place.
    #[inline]
    pub(crate) fn get(&self, name: &[u8]) -> Option<(u16, Bin<'a>)> {
        let mut slot = hash(name) % SLOTS;
        while let Some(place) = self.place_in(slot) {
            if let Some(bin) = self.bin(place)
                && bin.is_called(name)
            {
                return Some((u16::from(place), bin));
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    fn place_in(&self, slot: u8) -> Option<u8> {
        self.slots.get(usize::from(slot))?.checked_sub(1)
    }

    fn bin(&self, place: u8) -> Option<Bin<'a>> {
        let offset = self.offsets.get(usize::from(place))?;
        Bin::take(&mut self.region.get(usize::try_from(*offset).ok()?..)?)
    }
}

/// Multiply and rotate, eight bytes at a time. The upper bits are the mixed ones.
fn hash(name: &[u8]) -> u8 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let (chunks, tail) = name.as_chunks::<8>();
    let step = |hash: u64, chunk: u64| (hash.rotate_left(5) ^ chunk).wrapping_mul(MULTIPLIER);
    let hash = chunks
        .iter()
        .fold(0, |hash, chunk| step(hash, u64::from_le_bytes(*chunk)));
    // The tail in two loads that may overlap, or byte by byte when it is shorter than one.
    let tail = match (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        (Some(_), None) | (None, _) => tail
            .iter()
            .fold(0, |packed, byte| packed << 8 | u64::from(*byte)),
    };
    let hash = step(hash, tail);
    let [.., high] = (hash ^ hash >> 32).wrapping_mul(MULTIPLIER).to_le_bytes();
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_builder::ContentBuilder;

    /// A content without key, and the table over its bins.
    #[track_caller]
    fn check(names: &[String]) {
        let builder = names.iter().fold(ContentBuilder::new(), |builder, name| {
            builder.bin(name, "x")
        });
        let bytes = builder.finish_content().unwrap();
        let region = &bytes[4..];
        let mut table = NameTable::new(region);
        let mut rest = region;
        for (place, name) in (0_u16..).zip(names) {
            assert!(table.get(name.as_bytes()).is_none(), "{name}");
            let offset = region.len() - rest.len();
            let bin = Bin::take(&mut rest).unwrap();
            assert!(table.insert(name.as_bytes(), offset), "{name}");
            assert!(!table.insert(name.as_bytes(), offset), "{name}");
            assert_eq!(table.get(name.as_bytes()), Some((place, bin)));
        }
        for (place, name) in (0_u16..).zip(names) {
            assert_eq!(
                table.get(name.as_bytes()).map(|(place, _)| place),
                Some(place)
            );
        }
        assert!(table.get(b"no such bin").is_none());
    }

    #[test]
    fn a_full_table_finds_all() {
        check(&[]);
        check(&["a".to_owned()]);
        check(
            &(0..64)
                .map(|index| format!("col_{index:03}"))
                .collect::<Vec<_>>(),
        );
        check(
            &(0..64)
                .map(|index| "x".repeat(index + 1))
                .collect::<Vec<_>>(),
        );
    }

    #[test]
    fn names_that_collide_are_found_as_well() {
        let names = (0..).map(|index: u32| format!("{index}"));
        check(
            &names
                .filter(|name| hash(name.as_bytes()) % SLOTS == 127)
                .take(64)
                .collect::<Vec<_>>(),
        );
    }

    #[test]
    fn names_as_people_give_them_are_spread() {
        for names in [
            (0..64)
                .map(|index| format!("col_{index:03}"))
                .collect::<Vec<_>>(),
            (0..64).map(|index| format!("{index}")).collect(),
            (0..64)
                .map(|index| format!("feature_group_{index:02}_value"))
                .collect(),
        ] {
            let used: std::collections::HashSet<u8> = names
                .iter()
                .map(|name| hash(name.as_bytes()) % SLOTS)
                .collect();
            // Fifty are to be expected of a good hash.
            assert!(
                used.len() >= 38,
                "{} slots for {:?}",
                used.len(),
                names.first()
            );
        }
    }
}
