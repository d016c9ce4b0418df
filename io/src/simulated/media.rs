//! What a simulated drive holds: durable contents and the volatile write cache over them. The crash model.
//!
//! The rules, and no others:
//! - A plain write is visible when it completes, and durable only after a flush that was submitted later.
//! - A durable write (FUA, or any write of a write-through drive) is durable when it completes.
//! - A flush makes durable exactly what had completed before it was submitted.
//! - A power cut leaves of each logical block its durable bytes or any version that was cached or in
//!   flight, each block by itself; so a write of several blocks is torn. A logical block is never torn.
//!
//! Knows nothing of time, futures or faults: the drive decides what happens when, this decides what it
//! means. Ranges are checked by the caller.

use std::ops::Range;
use std::rc::Rc;

use super::contents::Contents;
use super::limits::DISCARD_CACHED_BLOCKS_MAX;
use super::random::SeededRandom;
use super::write_cache::{BlockData, WriteCache};
use crate::width::{to_u64, to_usize};

/// When a completed write counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Now, for good.
    Durable,
    /// After a later flush.
    Cached,
}

/// Which completed writes a flush covers. Taken when the flush is submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark {
    sequence: u64,
}

/// One logical block of a write that has not completed, as it would be applied.
#[derive(Clone, Debug)]
pub(crate) struct BlockWrite {
    /// Logical block number.
    pub(crate) block: u64,
    /// The block's new bytes.
    pub(crate) data: BlockData,
}

/// The bytes of one simulated drive.
#[derive(Clone, Debug)]
pub(crate) struct Media {
    block_bytes: u64,
    contents: Contents,
    cache: WriteCache,
    /// Sequence number of the newest version that was ever cached.
    sequence: u64,
}

impl Media {
    /// An empty drive with logical blocks of `block_bytes`.
    pub(crate) fn new(block_bytes: u32) -> Self {
        Self {
            block_bytes: u64::from(block_bytes),
            contents: Contents::default(),
            cache: WriteCache::default(),
            sequence: 0,
        }
    }

    /// Copies the visible bytes from `block` on into `buffer`, a whole number of blocks long.
    pub(crate) fn read(&self, block: u64, buffer: &mut [u8]) {
        self.contents.read(block * self.block_bytes, buffer);
        let block_bytes = to_usize(self.block_bytes);
        for (cached, bytes) in self.cache.newest(self.blocks(block, buffer.len())) {
            let start = to_usize(cached - block) * block_bytes;
            if let Some(target) = buffer.get_mut(start..start + block_bytes) {
                target.copy_from_slice(bytes);
            }
        }
    }

    /// Splits a write of `bytes` from `block` on into its logical blocks. Copies the bytes once.
    pub(crate) fn split(&self, block: u64, bytes: &[u8]) -> Vec<BlockWrite> {
        let shared: Rc<[u8]> = Rc::from(bytes);
        let block_bytes = to_usize(self.block_bytes);
        self.blocks(block, bytes.len())
            .zip((0..).step_by(block_bytes))
            .map(|(block, start)| BlockWrite {
                block,
                data: BlockData::new(&shared, start..start + block_bytes),
            })
            .collect()
    }

    /// Applies one block's completed write. The sequence number names the version in [`Media::harden`].
    pub(crate) fn apply(&mut self, write: BlockWrite, persistence: Persistence) -> u64 {
        self.sequence += 1;
        match persistence {
            Persistence::Durable => {
                self.cache.supersede(write.block);
                self.contents
                    .write(write.block * self.block_bytes, write.data.as_slice());
            }
            Persistence::Cached => self.cache.insert(write.block, self.sequence, write.data),
        }
        self.sequence
    }

    /// Makes durable the version of `block` that [`Media::apply`] numbered `sequence`, unless it already
    /// is or something newer replaced it.
    pub(crate) fn harden(&mut self, block: u64, sequence: u64) {
        if let Some(data) = self.cache.harden(block, sequence) {
            self.contents
                .write(block * self.block_bytes, data.as_slice());
        }
    }

    /// What a flush that is submitted now will cover.
    pub(crate) fn flush_mark(&self) -> FlushMark {
        FlushMark {
            sequence: self.sequence,
        }
    }

    /// A flush completes.
    pub(crate) fn flush(&mut self, mark: FlushMark) {
        let flushed = self.cache.flush(mark.sequence);
        self.persist(flushed);
    }

    /// A flush fails: each block that it covered is durable, lost now, or lost at the next power cut.
    pub(crate) fn fail_flush(&mut self, mark: FlushMark, random: &mut SeededRandom) {
        let flushed = self.cache.fail_flush(mark.sequence, random);
        self.persist(flushed);
    }

    /// A discard of `blocks` completes: it has no effect, zeros them for good, or zeros some of them as a
    /// write with `persistence` would. Drives do all three.
    pub(crate) fn discard(
        &mut self,
        blocks: Range<u64>,
        persistence: Persistence,
        random: &mut SeededRandom,
    ) {
        let count = blocks.end - blocks.start;
        match random.below(3) {
            0 => {}
            1 if count <= DISCARD_CACHED_BLOCKS_MAX => {
                let zeros: Rc<[u8]> = Rc::from(vec![0; to_usize(self.block_bytes)]);
                for block in blocks {
                    if random.coin() {
                        let data = BlockData::new(&zeros, 0..zeros.len());
                        self.apply(BlockWrite { block, data }, persistence);
                    }
                }
            }
            _ => {
                self.cache.supersede_range(blocks.clone());
                let length = to_usize(count * self.block_bytes);
                self.contents.zero(blocks.start * self.block_bytes, length);
            }
        }
    }

    /// The power fails while `in_flight` has not completed.
    pub(crate) fn power_cut(&mut self, in_flight: Vec<BlockWrite>, random: &mut SeededRandom) {
        for write in in_flight {
            self.apply(write, Persistence::Cached);
        }
        let survivors = self.cache.cut(random);
        self.persist(survivors);
    }

    /// Flips one bit of `block` as it is read now.
    pub(crate) fn flip_bit(&mut self, block: u64, byte: usize, bit: u8) {
        if self.cache.flip_bit(block, byte, bit) {
            return;
        }
        let offset = block * self.block_bytes + to_u64(byte);
        let mut stored = [0];
        self.contents.read(offset, &mut stored);
        self.contents
            .write(offset, &stored.map(|stored| stored ^ (1 << (bit & 7))));
    }

    /// Blocks with at least one version that is not durable.
    pub(crate) fn cached_block_count(&self) -> usize {
        self.cache.block_count()
    }

    /// Bytes of memory that the durable contents take.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.contents.resident_bytes()
    }

    fn persist(&mut self, blocks: Vec<(u64, BlockData)>) {
        for (block, data) in blocks {
            self.contents
                .write(block * self.block_bytes, data.as_slice());
        }
    }

    fn blocks(&self, block: u64, length: usize) -> Range<u64> {
        block..block + to_u64(length) / self.block_bytes
    }
}
