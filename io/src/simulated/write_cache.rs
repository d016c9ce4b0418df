//! The volatile write cache of a simulated drive: completed logical-block writes that are not durable yet.
//!
//! Each block keeps every version since it was last made durable, oldest first, because a power cut may
//! leave any of them behind. Never touches the durable contents by itself: what is to become durable is
//! handed to the caller. A version's sequence number is unique on its drive and grows with time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::random::SeededRandom;
use crate::width::{to_u64, to_usize};

/// Bytes of one logical block inside the data of the write that brought it.
#[derive(Clone, Debug)]
pub(crate) struct BlockData {
    bytes: Rc<[u8]>,
    range: Range<usize>,
}

/// One write of one block.
#[derive(Clone, Debug)]
struct Version {
    sequence: u64,
    data: BlockData,
    /// A failed flush has given this version up: it is still read, but no later flush writes it and no
    /// power cut leaves it behind. This is what Linux does with pages after a failed fsync.
    forsaken: bool,
}

/// The versions of all blocks that hold any.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteCache {
    blocks: BTreeMap<u64, Vec<Version>>,
}

/// What a power cut leaves of the versions of the blocks, chosen once for a drive and cut.
///
/// A mixture, because uniformly random choices over many blocks almost never give the extremes in which
/// protocols break: a drive that kept all but one block, or exactly one.
#[derive(Clone, Copy, Debug)]
enum Survival {
    /// Nothing un-durable survives.
    Nothing,
    /// The newest version of every block survives.
    Everything,
    /// Each block by itself: any version, or none, with this chance of keeping one.
    Scattered { keep_per_million: u32 },
    /// The drive wrote in order and stopped before this sequence number.
    Ordered { before_sequence: u64 },
    /// Everything but the block at this position among the cached ones.
    AllButOne { position: u64 },
    /// Only the block at this position among the cached ones.
    OnlyOne { position: u64 },
}

impl BlockData {
    /// Block bytes at `range` of a write's `bytes`.
    pub(crate) fn new(bytes: &Rc<[u8]>, range: Range<usize>) -> Self {
        Self {
            bytes: Rc::clone(bytes),
            range,
        }
    }

    /// The block's bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

impl WriteCache {
    /// Adds a version of `block`. `sequence` is larger than every earlier one's.
    pub(crate) fn insert(&mut self, block: u64, sequence: u64, data: BlockData) {
        let versions = self.blocks.entry(block).or_default();
        assert!(
            versions
                .last()
                .is_none_or(|newest| newest.sequence < sequence)
        );
        versions.push(Version {
            sequence,
            data,
            forsaken: false,
        });
    }

    /// The newest versions of the blocks in `range`.
    pub(crate) fn newest(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks
            .range(range)
            .filter_map(|(&block, versions)| Some((block, versions.last()?.data.as_slice())))
    }

    /// Forgets every version of `block`: the block was just made durable with something newer.
    pub(crate) fn supersede(&mut self, block: u64) {
        self.blocks.remove(&block);
    }

    /// Forgets every version of the blocks in `range`.
    pub(crate) fn supersede_range(&mut self, range: Range<u64>) {
        let blocks: Vec<u64> = self.blocks.range(range).map(|(&block, _)| block).collect();
        for block in blocks {
            self.blocks.remove(&block);
        }
    }

    /// Takes out the version `sequence` of `block` with all older ones, and gives its data to be made
    /// durable. `None` if it is no longer there: it became durable or was superseded meanwhile.
    pub(crate) fn harden(&mut self, block: u64, sequence: u64) -> Option<BlockData> {
        let versions = self.blocks.get_mut(&block)?;
        let position = versions
            .iter()
            .position(|version| version.sequence == sequence)?;
        let hardened = versions.drain(..=position).next_back()?;
        if versions.is_empty() {
            self.blocks.remove(&block);
        }
        Some(hardened.data)
    }

    /// Takes out, of every block, the newest version up to `mark` with all older ones, and gives the data
    /// to be made durable. Later versions and forsaken ones stay.
    pub(crate) fn flush(&mut self, mark: u64) -> Vec<(u64, BlockData)> {
        let mut flushed = Vec::new();
        self.blocks.retain(|&block, versions| {
            let covered = versions
                .iter()
                .rposition(|version| version.sequence <= mark && !version.forsaken);
            if let Some(position) = covered
                && let Some(version) = versions.drain(..=position).next_back()
            {
                flushed.push((block, version.data));
            }
            !versions.is_empty()
        });
        flushed
    }

    /// What a failed flush does to the versions up to `mark`: of each block the newest such version is, by
    /// chance, made durable (given back), lost at once, or forsaken. Later versions stay as they are.
    pub(crate) fn fail_flush(
        &mut self,
        mark: u64,
        random: &mut SeededRandom,
    ) -> Vec<(u64, BlockData)> {
        let mut flushed = Vec::new();
        self.blocks.retain(|&block, versions| {
            let covered = versions
                .iter()
                .rposition(|version| version.sequence <= mark);
            let Some(position) = covered else { return true };
            let Some(mut newest) = versions.drain(..=position).next_back() else {
                return true;
            };
            match random.below(3) {
                0 if !newest.forsaken => flushed.push((block, newest.data)),
                1 => {}
                _ => {
                    newest.forsaken = true;
                    versions.insert(0, newest);
                }
            }
            !versions.is_empty()
        });
        flushed
    }

    /// Empties the cache as a power cut does and gives the data that survives.
    pub(crate) fn cut(&mut self, random: &mut SeededRandom) -> Vec<(u64, BlockData)> {
        let survival = self.draw_survival(random);
        let mut survivors = Vec::new();
        let blocks = std::mem::take(&mut self.blocks);
        for (position, (block, mut versions)) in (0_u64..).zip(blocks) {
            versions.retain(|version| !version.forsaken);
            let kept = match survival {
                Survival::Nothing => None,
                Survival::Everything => versions.pop(),
                Survival::Scattered { keep_per_million } => {
                    let kept = random.chance(keep_per_million);
                    let choice = to_usize(random.below(to_u64(versions.len())));
                    (kept && choice < versions.len()).then(|| versions.swap_remove(choice))
                }
                Survival::Ordered { before_sequence } => {
                    versions.retain(|version| version.sequence < before_sequence);
                    versions.pop()
                }
                Survival::AllButOne { position: lost } if position == lost => None,
                Survival::AllButOne { .. } => versions.pop(),
                Survival::OnlyOne { position: kept } if position == kept => versions.pop(),
                Survival::OnlyOne { .. } => None,
            };
            survivors.extend(kept.map(|version| (block, version.data)));
        }
        survivors
    }

    /// Flips one bit of the newest version of `block`. False if the cache holds none.
    pub(crate) fn flip_bit(&mut self, block: u64, byte: usize, bit: u8) -> bool {
        let Some(newest) = self
            .blocks
            .get_mut(&block)
            .and_then(|versions| versions.last_mut())
        else {
            return false;
        };
        let mut bytes = newest.data.as_slice().to_vec();
        if let Some(target) = bytes.get_mut(byte) {
            *target ^= 1 << (bit & 7);
        }
        let length = bytes.len();
        newest.data = BlockData::new(&Rc::from(bytes), 0..length);
        true
    }

    /// Blocks that hold at least one version.
    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    fn draw_survival(&self, random: &mut SeededRandom) -> Survival {
        let position = random.below(to_u64(self.blocks.len()));
        match random.below(8) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 => Survival::AllButOne { position },
            3 => Survival::OnlyOne { position },
            4 => {
                let sequences = || {
                    self.blocks
                        .values()
                        .flatten()
                        .map(|version| version.sequence)
                };
                let oldest = sequences().min().unwrap_or(0);
                let newest = sequences().max().unwrap_or(0);
                Survival::Ordered {
                    before_sequence: random.between(oldest, newest.saturating_add(1)),
                }
            }
            eighth => {
                let keep_per_million = match eighth {
                    5 => 100_000,
                    6 => 500_000,
                    _ => 900_000,
                };
                Survival::Scattered { keep_per_million }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(byte: u8) -> BlockData {
        BlockData::new(&Rc::from(vec![byte; 4]), 0..4)
    }

    fn bytes_of(taken: &[(u64, BlockData)]) -> Vec<(u64, u8)> {
        taken
            .iter()
            .map(|(block, data)| (*block, data.as_slice()[0]))
            .collect()
    }

    fn visible(cache: &WriteCache) -> Vec<(u64, u8)> {
        cache
            .newest(0..u64::MAX)
            .map(|(block, bytes)| (block, bytes[0]))
            .collect()
    }

    #[test]
    fn a_flush_takes_what_had_completed_and_nothing_newer() {
        let mut cache = WriteCache::default();
        cache.insert(1, 1, data(11));
        cache.insert(1, 2, data(12));
        cache.insert(2, 3, data(21));
        cache.insert(1, 4, data(13));
        assert_eq!(bytes_of(&cache.flush(2)), [(1, 12)]);
        assert_eq!(visible(&cache), [(1, 13), (2, 21)]);
        assert_eq!(bytes_of(&cache.flush(4)), [(1, 13), (2, 21)]);
        assert_eq!(cache.block_count(), 0);
    }

    #[test]
    fn hardening_leaves_newer_versions() {
        let mut cache = WriteCache::default();
        cache.insert(1, 1, data(11));
        cache.insert(1, 2, data(12));
        cache.insert(1, 3, data(13));
        assert_eq!(cache.harden(1, 2).unwrap().as_slice()[0], 12);
        assert_eq!(visible(&cache), [(1, 13)]);
        assert!(cache.harden(1, 1).is_none());
        assert!(cache.harden(2, 1).is_none());
    }

    #[test]
    fn forsaken_versions_are_read_but_never_become_durable() {
        let (mut durable, mut lost, mut forsaken) = (0, 0, 0);
        for seed in 0..300 {
            let mut random = SeededRandom::new(seed, 0);
            let mut cache = WriteCache::default();
            cache.insert(1, 1, data(11));
            if !cache.fail_flush(1, &mut random).is_empty() {
                durable += 1;
            } else if cache.block_count() == 0 {
                lost += 1;
            } else {
                forsaken += 1;
                assert_eq!(visible(&cache), [(1, 11)]);
                assert!(cache.flush(1).is_empty());
                assert!(cache.clone().cut(&mut random).is_empty());
                // Failing again never resurrects it.
                assert!(cache.fail_flush(1, &mut random).is_empty());
            }
        }
        assert!(
            durable > 50 && lost > 50 && forsaken > 50,
            "{durable} {lost} {forsaken}"
        );
    }

    #[test]
    fn a_failed_flush_spares_what_came_later() {
        for seed in 0..50 {
            let mut random = SeededRandom::new(seed, 0);
            let mut cache = WriteCache::default();
            cache.insert(1, 1, data(11));
            cache.insert(1, 2, data(12));
            cache.insert(3, 3, data(31));
            cache.fail_flush(1, &mut random);
            assert_eq!(visible(&cache), [(1, 12), (3, 31)]);
            assert_eq!(bytes_of(&cache.flush(3)), [(1, 12), (3, 31)]);
        }
    }

    #[test]
    fn every_mixture_of_old_and_new_survives_some_cut() {
        // Two blocks, two versions each: none, old or new of either, all nine must appear.
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let mut cache = WriteCache::default();
            cache.insert(1, 1, data(1));
            cache.insert(2, 2, data(1));
            cache.insert(1, 3, data(2));
            cache.insert(2, 4, data(2));
            let survivors = bytes_of(&cache.cut(&mut SeededRandom::new(seed, 0)));
            assert_eq!(cache.block_count(), 0);
            let of = |block| survivors.iter().find(|s| s.0 == block).map_or(0, |s| s.1);
            seen.insert((of(1), of(2)));
        }
        assert_eq!(seen.len(), 9, "{seen:?}");
    }

    #[test]
    fn flipping_a_bit_leaves_the_other_blocks_of_the_write() {
        let whole: Rc<[u8]> = Rc::from(vec![0; 8]);
        let mut cache = WriteCache::default();
        cache.insert(1, 1, BlockData::new(&whole, 0..4));
        cache.insert(2, 2, BlockData::new(&whole, 4..8));
        assert!(cache.flip_bit(2, 1, 3));
        assert!(!cache.flip_bit(3, 1, 3));
        let found: Vec<_> = cache
            .newest(0..9)
            .map(|(block, bytes)| (block, bytes.to_vec()))
            .collect();
        assert_eq!(found, [(1, vec![0; 4]), (2, vec![0, 8, 0, 0])]);
    }
}
