//! The memory of blocks: slabs of equal blocks, out of chunks that the system gives.
//!
//! Never knows what a block holds. Blocks of one size (1 to 44 lines) form a dense stack over slabs:
//! freeing one moves the last of its size into the hole, freeing the last of a slab frees the slab for
//! any size. What has moved is reported, and the caller corrects who refers to it. So there is no
//! fragmentation but one part-filled slab of each size, and the free slabs, which are bounded too: above
//! the bound, the last chunk is emptied slab by slab and given back.
//!
//! Invariants: slabs below `uses.len()` exist; every one of them is either in exactly one size's stack
//! or in `free`; a size's blocks are those of its slabs in stack order, and only the last slab of a size
//! may be part-filled, never empty.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::limits::{
    BLOCK_PLACE_BITS, CHUNK_BYTES, CHUNK_SLABS, FREE_SLAB_COUNT_MAX, GROUP_LINES_MAX, LINE_BYTES,
    SLAB_BYTES, SLAB_COUNT_MAX, SLAB_COUNT_RESERVED, SLAB_LINES,
};
use crate::width::{index, index32, narrow32, wide};
use crate::words::Words;

/// A block: which slab, and which place in it. Its size is known to whoever holds the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockRef(u32);

impl BlockRef {
    /// Takes what [`BlockRef::word`] gave.
    pub(crate) const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The reference as a word.
    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    const fn new(slab: u32, place: u32) -> Self {
        Self(slab << BLOCK_PLACE_BITS | place)
    }

    const fn slab(self) -> u32 {
        self.0 >> BLOCK_PLACE_BITS
    }

    const fn place(self) -> u32 {
        self.0 % (1 << BLOCK_PLACE_BITS)
    }
}

/// A block that has been moved: whoever refers to `from` must refer to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Where it was.
    pub(crate) from: BlockRef,
    /// Where it is.
    pub(crate) to: BlockRef,
    /// Its size.
    pub(crate) line_count: usize,
}

/// All blocks of one shard's index.
#[derive(Debug)]
pub(crate) struct Slabs {
    chunks: Vec<Box<[u8]>>,
    /// Told of each chunk before it is used.
    prepare_chunk: fn(&mut [u8]),
    /// What each slab is used for, as [`SlabUse::word`] gives it.
    uses: Words,
    /// Free slabs, lowest first, so that the last chunk empties by itself.
    free: BinaryHeap<Reverse<u32>>,
    /// By line count; the first is not used.
    stacks: Vec<Stack>,
}

/// What a slab is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlabUse {
    Free,
    /// In the stack of blocks of `line_count` lines, at `position`.
    Blocks {
        line_count: usize,
        position: usize,
    },
}

/// The blocks of one size.
#[derive(Clone, Debug, Default)]
struct Stack {
    slabs: Vec<u32>,
    block_count: usize,
}

impl Slabs {
    /// No blocks, no memory.
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            prepare_chunk: |_| (),
            uses: Words::default(),
            free: BinaryHeap::new(),
            stacks: vec![Stack::default(); GROUP_LINES_MAX + 1],
        }
    }

    /// See [`Index::prepare_memory_with`](crate::Index::prepare_memory_with).
    pub(crate) fn prepare_chunks_with(&mut self, prepare: fn(&mut [u8])) {
        self.prepare_chunk = prepare;
    }

    /// Whether inserts may still take blocks.
    pub(crate) fn has_addresses(&self) -> bool {
        narrow32(self.uses.len()) < SLAB_COUNT_MAX - SLAB_COUNT_RESERVED
    }

    /// Bytes of memory in use: every slab that has been touched and not been given back.
    pub(crate) fn memory_bytes(&self) -> u64 {
        wide(self.uses.len() * SLAB_BYTES) + self.uses.memory_bytes()
    }

    /// Bytes of those that hold no block: the next blocks take them before the system is asked.
    pub(crate) fn free_bytes(&self) -> u64 {
        wide(self.free.len() * SLAB_BYTES)
    }

    /// The bytes of a block.
    #[expect(
        clippy::indexing_slicing,
        reason = "a reference that leads nowhere is our mistake"
    )]
    #[inline]
    pub(crate) fn block(&self, block: BlockRef, line_count: usize) -> &[u8] {
        let (chunk, start) = offset_of(block, line_count);
        &self.chunks[chunk][start..start + line_count * LINE_BYTES]
    }

    /// A part of the bytes of a block.
    #[expect(
        clippy::indexing_slicing,
        reason = "a reference that leads nowhere is our mistake"
    )]
    #[inline]
    pub(crate) fn part(&self, block: BlockRef, line_count: usize, part: Range<usize>) -> &[u8] {
        let (chunk, start) = offset_of(block, line_count);
        &self.chunks[chunk][start + part.start..start + part.end]
    }

    /// The bytes of a block, to change.
    #[expect(
        clippy::indexing_slicing,
        reason = "a reference that leads nowhere is our mistake"
    )]
    pub(crate) fn block_mut(&mut self, block: BlockRef, line_count: usize) -> &mut [u8] {
        let (chunk, start) = offset_of(block, line_count);
        &mut self.chunks[chunk][start..start + line_count * LINE_BYTES]
    }

    /// A new block of `line_count` lines, 1 to [`GROUP_LINES_MAX`]; it holds anything.
    pub(crate) fn allocate(&mut self, line_count: usize) -> BlockRef {
        let block = self.stack(line_count).block_count;
        let position = block / per_slab(line_count);
        if position == self.stack(line_count).slabs.len() {
            let slab = self.take_slab(SlabUse::Blocks {
                line_count,
                position,
            });
            self.stack(line_count).slabs.push(slab);
        }
        self.stack(line_count).block_count += 1;
        self.block_at(line_count, block)
    }

    /// Frees a block. The last of its size may take its place.
    pub(crate) fn free(&mut self, block: BlockRef, line_count: usize) -> Option<Moved> {
        let last = self.stack(line_count).block_count - 1;
        let from = self.block_at(line_count, last);
        self.copy_block(from, block, line_count);
        let stack = self.stack(line_count);
        stack.block_count = last;
        if last.is_multiple_of(per_slab(line_count)) {
            stack.slabs.pop();
            self.release_slab(from.slab());
        }
        (from != block).then_some(Moved {
            from,
            to: block,
            line_count,
        })
    }

    /// Gives memory back to the system when more than enough is free: moves one slab out of the last
    /// chunk, or drops that chunk when it is empty. The blocks that moved are appended to `moved`.
    pub(crate) fn compact(&mut self, moved: &mut Vec<Moved>) {
        if self.free.len() <= FREE_SLAB_COUNT_MAX {
            return;
        }
        let chunk_start = (self.chunks.len() - 1) * CHUNK_SLABS;
        for slab in (chunk_start..self.uses.len()).rev() {
            if let SlabUse::Blocks {
                line_count,
                position,
            } = self.slab_use(slab)
            {
                self.move_slab(narrow32(slab), line_count, position, moved);
                return;
            }
        }
        while self.uses.len() > chunk_start {
            self.uses.pop();
        }
        self.free
            .retain(|Reverse(slab)| index32(*slab) < chunk_start);
        self.chunks.pop();
    }

    fn move_slab(
        &mut self,
        from_slab: u32,
        line_count: usize,
        position: usize,
        moved: &mut Vec<Moved>,
    ) {
        let Some(Reverse(to_slab)) = self.free.pop() else {
            return;
        };
        assert!(
            to_slab < from_slab,
            "more slabs are free than the last chunk has"
        );
        let stack = self.stack(line_count);
        if let Some(slab) = stack.slabs.get_mut(position) {
            *slab = to_slab;
        }
        let blocks_before = position * per_slab(line_count);
        let block_count = per_slab(line_count).min(stack.block_count - blocks_before);
        for place in 0..narrow32(block_count) {
            let (from, to) = (
                BlockRef::new(from_slab, place),
                BlockRef::new(to_slab, place),
            );
            self.copy_block(from, to, line_count);
            moved.push(Moved {
                from,
                to,
                line_count,
            });
        }
        self.uses.set(
            index32(to_slab),
            SlabUse::Blocks {
                line_count,
                position,
            }
            .word(),
        );
        self.release_slab(from_slab);
    }

    fn take_slab(&mut self, slab_use: SlabUse) -> u32 {
        if let Some(Reverse(slab)) = self.free.pop() {
            self.uses.set(index32(slab), slab_use.word());
            return slab;
        }
        let slab = self.uses.len();
        assert!(
            slab < index32(SLAB_COUNT_MAX),
            "slabs are kept back for what must not fail"
        );
        if slab == self.chunks.len() * CHUNK_SLABS {
            // Zeroed memory comes from the system untouched: it becomes resident as it is used.
            let mut chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
            (self.prepare_chunk)(&mut chunk);
            self.chunks.push(chunk);
        }
        self.uses.push(slab_use.word());
        narrow32(slab)
    }

    fn release_slab(&mut self, slab: u32) {
        self.uses.set(index32(slab), SlabUse::Free.word());
        self.free.push(Reverse(slab));
    }

    fn slab_use(&self, slab: usize) -> SlabUse {
        SlabUse::from_word(self.uses.get(slab))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a reference that leads nowhere is our mistake"
    )]
    fn copy_block(&mut self, from: BlockRef, to: BlockRef, line_count: usize) {
        let (from_chunk, from_start) = offset_of(from, line_count);
        let (to_chunk, to_start) = offset_of(to, line_count);
        let from_range = from_start..from_start + line_count * LINE_BYTES;
        if let Ok([source, target]) = self.chunks.get_disjoint_mut([from_chunk, to_chunk]) {
            let to_range = to_start..to_start + line_count * LINE_BYTES;
            target[to_range].copy_from_slice(&source[from_range]);
        } else {
            self.chunks[from_chunk].copy_within(from_range, to_start);
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a size beyond the largest is our mistake"
    )]
    fn stack(&mut self, line_count: usize) -> &mut Stack {
        &mut self.stacks[line_count]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a block beyond the stack is our mistake"
    )]
    fn block_at(&self, line_count: usize, block: usize) -> BlockRef {
        let slab = self.stacks[line_count].slabs[block / per_slab(line_count)];
        BlockRef::new(slab, narrow32(block % per_slab(line_count)))
    }
}

impl SlabUse {
    fn word(self) -> u64 {
        match self {
            Self::Free => 0,
            Self::Blocks {
                line_count,
                position,
            } => wide(line_count) << u32::BITS | wide(position),
        }
    }

    fn from_word(word: u64) -> Self {
        match index(word >> u32::BITS) {
            0 => Self::Free,
            line_count => Self::Blocks {
                line_count,
                position: index(word << 32 >> 32),
            },
        }
    }
}

/// Blocks of a size that fit a slab.
const fn per_slab(line_count: usize) -> usize {
    SLAB_LINES / line_count
}

/// The chunk of a block and where in the chunk it starts.
const fn offset_of(block: BlockRef, line_count: usize) -> (usize, usize) {
    let slab = index32(block.slab());
    let start = slab % CHUNK_SLABS * SLAB_BYTES;
    (
        slab / CHUNK_SLABS,
        start + index32(block.place()) * line_count * LINE_BYTES,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Blocks by their number, which is written all over them; and whose block a reference is.
    #[derive(Default)]
    struct Model {
        blocks: BTreeMap<u64, (BlockRef, usize)>,
        owners: BTreeMap<u32, u64>,
    }

    impl Model {
        fn add(&mut self, slabs: &mut Slabs, number: u64, line_count: usize) {
            let block = slabs.allocate(line_count);
            let bytes = slabs.block_mut(block, line_count);
            assert_eq!(bytes.len(), line_count * LINE_BYTES);
            for word in bytes.as_chunks_mut().0 {
                *word = number.to_le_bytes();
            }
            assert_eq!(
                self.owners.insert(block.word(), number),
                None,
                "given out twice"
            );
            self.blocks.insert(number, (block, line_count));
        }

        fn remove(&mut self, slabs: &mut Slabs, number: u64) {
            let (block, line_count) = self.blocks.remove(&number).unwrap();
            self.owners.remove(&block.word());
            let mut moved: Vec<Moved> = slabs.free(block, line_count).into_iter().collect();
            self.repoint(&moved);
            moved.clear();
            slabs.compact(&mut moved);
            self.repoint(&moved);
        }

        fn repoint(&mut self, moved: &[Moved]) {
            for block in moved {
                let number = self.owners.remove(&block.from.word()).unwrap();
                assert_eq!(self.owners.insert(block.to.word(), number), None);
                assert_eq!(self.blocks[&number], (block.from, block.line_count));
                self.blocks.insert(number, (block.to, block.line_count));
            }
        }

        fn check(&self, slabs: &Slabs) {
            for (number, (block, line_count)) in &self.blocks {
                let words = slabs.block(*block, *line_count).as_chunks().0;
                assert!(
                    words
                        .iter()
                        .all(|word| u64::from_le_bytes(*word) == *number)
                );
            }
            let used_lines: usize = self.blocks.values().map(|(_, line_count)| line_count).sum();
            let used_slabs = slabs.uses.len() - slabs.free.len();
            // Nothing is lost but one part-filled slab of each size and what a division leaves over.
            assert!(used_slabs <= used_lines * 23 / 22 / SLAB_LINES + GROUP_LINES_MAX + 1);
            assert!(slabs.free.len() <= FREE_SLAB_COUNT_MAX + 1);
            assert!(slabs.uses.len() <= slabs.chunks.len() * CHUNK_SLABS);
        }
    }

    #[test]
    fn every_chunk_is_prepared_once_and_before_it_is_used() {
        thread_local! {
            static PREPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
        }
        let mut slabs = Slabs::new();
        slabs.prepare_chunks_with(|chunk| {
            assert!(chunk.len() == CHUNK_BYTES && chunk.iter().all(|byte| *byte == 0));
            PREPARED.set(PREPARED.get() + 1);
        });
        for _ in 0..2 * CHUNK_SLABS + 1 {
            slabs.take_slab(SlabUse::Free);
        }
        assert_eq!((PREPARED.get(), slabs.chunks.len()), (3, 3));
    }

    #[test]
    fn blocks_keep_their_bytes_while_others_come_and_go() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let (mut slabs, mut model) = (Slabs::new(), Model::default());
        let mut number = 0;
        for wave in 0..8 {
            let line_counts = if wave % 2 == 0 {
                1..=GROUP_LINES_MAX
            } else {
                3..=9
            };
            for _ in 0..6000 {
                number += 1;
                model.add(&mut slabs, number, random.random_range(line_counts.clone()));
            }
            model.check(&slabs);
            let kept_count = if wave == 7 { 0 } else { 700 };
            while model.blocks.len() > kept_count {
                let any = random.random_range(0..=number);
                let next = model
                    .blocks
                    .range(any..)
                    .next()
                    .or(model.blocks.iter().next());
                let any = *next.unwrap().0;
                model.remove(&mut slabs, any);
            }
            model.check(&slabs);
        }
        assert!(
            slabs.chunks.len() <= 2,
            "{} chunks are kept for nothing",
            slabs.chunks.len()
        );
    }
}
