//! The least size of a volume of a given shape, by the store's own layout.

use corelith_io::limits::DEVICE_BYTES_MIN;
use corelith_store::DeviceLayout;
use corelith_store::format::superblock::SUPERBLOCK_BLOCK_BYTES;
use corelith_store::limits::SEGMENTS_PER_SHARD_MIN;
use corelith_store::volume::FormatOptions;

use crate::arguments::VolumeCreateArguments;

/// The least that a volume of this shape takes on so many devices of one size, in bytes in all: by the
/// store's own layout, so that a volume of just this size can be made.
pub(super) fn minimum_bytes(shape: &Shape) -> u64 {
    let extents_per_shard =
        (SEGMENTS_PER_SHARD_MIN * shape.segment_bytes).div_ceil(shape.extent_bytes);
    let (shards, devices) = (u64::from(shape.shard_count), shape.device_count);
    let mut extents = (shards * extents_per_shard).div_ceil(devices);
    while !shape.gives_each_shard(extents_per_shard, extents) {
        extents += 1;
    }
    let mut size_bytes = DEVICE_BYTES_MIN.max(extents * shape.extent_bytes);
    loop {
        let layout = DeviceLayout::plan(size_bytes, shape.extent_bytes, shape.segment_bytes);
        if layout.is_some_and(|layout| u64::from(layout.extent_count) >= extents) {
            return size_bytes * devices;
        }
        size_bytes += SUPERBLOCK_BLOCK_BYTES;
    }
}

/// What a volume's least size follows from.
pub(super) struct Shape {
    shard_count: u16,
    segment_bytes: u64,
    extent_bytes: u64,
    device_count: u64,
}

impl Shape {
    /// The shape that was asked for; extents that were not are as small as they can be.
    pub(super) fn of(arguments: &VolumeCreateArguments, options: &FormatOptions) -> Self {
        Self {
            shard_count: options.shard_count,
            segment_bytes: options.segment_bytes,
            extent_bytes: arguments.extent_size_bytes.unwrap_or(options.segment_bytes),
            device_count: options.devices.len() as u64,
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
