//! The least size of a volume of a given shape, by the layout that it will have.

use corelith_io::limits::DEVICE_BYTES_MIN;

use super::FormatOptions;
use crate::format::fields::u64_of;
use crate::format::superblock::SUPERBLOCK_BLOCK_BYTES;
use crate::layout::DeviceLayout;
use crate::limits::SEGMENTS_PER_SHARD_MIN;

impl FormatOptions {
    /// The least that such a volume takes on so many devices of one size, in bytes in all: a volume of just this size can
    /// be made. Extents that were not asked for are as small as they can be. The options must be such as
    /// [`super::format_volume`] takes.
    #[must_use]
    pub fn bytes_min(&self) -> u64 {
        let shape = Shape {
            shard_count: self.shard_count.max(1),
            segment_bytes: self.segment_bytes.max(1),
            extent_bytes: self.extent_bytes.unwrap_or(self.segment_bytes).max(1),
            device_count: u64_of(self.devices.len()).max(1),
        };
        shape.bytes_min()
    }
}

/// What a volume's least size follows from; nothing of it is zero.
struct Shape {
    shard_count: u16,
    segment_bytes: u64,
    extent_bytes: u64,
    device_count: u64,
}

impl Shape {
    fn bytes_min(&self) -> u64 {
        let extents_per_shard =
            (SEGMENTS_PER_SHARD_MIN * self.segment_bytes).div_ceil(self.extent_bytes);
        let (shards, devices) = (u64::from(self.shard_count), self.device_count);
        let mut extents = (shards * extents_per_shard).div_ceil(devices);
        while !self.gives_each_shard(extents_per_shard, extents) {
            extents += 1;
        }
        let mut size_bytes = DEVICE_BYTES_MIN.max(extents * self.extent_bytes);
        loop {
            let layout = DeviceLayout::plan(size_bytes, self.extent_bytes, self.segment_bytes);
            if layout.is_some_and(|layout| u64::from(layout.extent_count) >= extents) {
                return size_bytes * devices;
            }
            size_bytes += SUPERBLOCK_BLOCK_BYTES;
        }
    }

    /// Whether so many extents on each device give every shard its share. They go round the shards, and
    /// each device begins with the next shard.
    fn gives_each_shard(&self, share: u64, extents: u64) -> bool {
        let shards = u64::from(self.shard_count);
        let mut owned = vec![0; usize::from(self.shard_count)];
        for slot in 0..self.device_count {
            for (shard, owned) in (0..shards).zip(&mut owned) {
                // Turns of this shard: extent + slot = shard, modulo the number of shards.
                let first = (shard + shards - slot % shards) % shards;
                *owned += extents.saturating_sub(first).div_ceil(shards);
            }
        }
        owned.into_iter().all(|owned| owned >= share)
    }
}
