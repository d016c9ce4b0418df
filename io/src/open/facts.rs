//! The facts about an open device: from ioctls and sysfs for block devices, from statx for files. What the
//! kernel does not say is taken to be the safer thing: a volatile cache, no forced writes, 4 KiB units.

use std::fs::Metadata;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::OpenError;
use crate::geometry::{DeviceKind, Durability, Geometry};
use crate::limits::{
    LOGICAL_BLOCK_BYTES_MAX, LOGICAL_BLOCK_BYTES_MIN, WRITE_UNIT_BYTES_MAX,
    WRITE_UNIT_BYTES_UNKNOWN,
};
use crate::sys::block_query::{block_sizes, direct_io_alignment};

/// The facts about a block device.
pub(super) fn of_block(
    path: &Path,
    device: BorrowedFd<'_>,
    number: u64,
) -> Result<Geometry, OpenError> {
    let sizes = block_sizes(device).map_err(|errno| OpenError::refused(path, errno))?;
    let queue = QueueFacts::read(&queue_of(number));
    geometry(
        path,
        DeviceKind::Block,
        sizes.size_bytes,
        Blocks {
            logical_bytes: sizes.logical_block_bytes,
            physical_bytes: sizes.physical_block_bytes,
        },
    )
    .map(|geometry| Geometry {
        durability: queue.durability(),
        discard: queue.discard,
        ..geometry
    })
}

/// The facts about a file. Its cache is the file system's affair, which a flush of the file covers.
pub(super) fn of_file(
    path: &Path,
    file: BorrowedFd<'_>,
    metadata: &Metadata,
) -> Result<Geometry, OpenError> {
    let file_system_block = u32::try_from(metadata.blksize()).unwrap_or(u32::MAX);
    let logical_bytes = match direct_io_alignment(file) {
        Some((offset_bytes, memory_bytes)) => {
            offset_bytes.max(memory_bytes).max(LOGICAL_BLOCK_BYTES_MIN)
        }
        None => file_system_block.clamp(LOGICAL_BLOCK_BYTES_MIN, LOGICAL_BLOCK_BYTES_MAX),
    };
    // Writes below the file system's block are possible, but make it read and lock more than the block.
    let blocks = Blocks {
        logical_bytes,
        physical_bytes: Some(file_system_block),
    };
    geometry(path, DeviceKind::File, metadata.len(), blocks)
}

struct Blocks {
    logical_bytes: u32,
    physical_bytes: Option<u32>,
}

fn geometry(
    path: &Path,
    kind: DeviceKind,
    size_bytes: u64,
    blocks: Blocks,
) -> Result<Geometry, OpenError> {
    let logical = blocks.logical_bytes;
    let supported = LOGICAL_BLOCK_BYTES_MIN..=LOGICAL_BLOCK_BYTES_MAX;
    if !logical.is_power_of_two() || !supported.contains(&logical) {
        let logical_block_bytes = logical;
        return Err(OpenError::LogicalBlock {
            path: path.to_owned(),
            logical_block_bytes,
        });
    }
    let physical = physical_block(blocks.physical_bytes).max(logical);
    Ok(Geometry {
        size_bytes: size_bytes - size_bytes.checked_rem(u64::from(logical)).unwrap_or(0),
        logical_block_bytes: logical,
        physical_block_bytes: physical,
        write_unit_bytes: physical,
        durability: Durability::Flush,
        kind,
        discard: false,
    })
}

/// The physical block, made sense of: 4096 if unknown or no power of two, at most 64 KiB.
fn physical_block(told: Option<u32>) -> u32 {
    match told {
        Some(bytes) if bytes.is_power_of_two() => bytes.min(WRITE_UNIT_BYTES_MAX),
        Some(_) | None => WRITE_UNIT_BYTES_UNKNOWN,
    }
}

/// The sysfs folder of a block device.
pub(super) fn sysfs_of(number: u64) -> PathBuf {
    PathBuf::from(format!(
        "/sys/dev/block/{}:{}",
        major(number),
        minor(number)
    ))
}

/// The sysfs folder of a block device's queue; a partition's is its drive's.
fn queue_of(number: u64) -> PathBuf {
    let device = sysfs_of(number);
    if device.join("partition").exists() {
        device.join("../queue")
    } else {
        device.join("queue")
    }
}

/// What the kernel says about a queue's cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct QueueFacts {
    write_back: bool,
    discard: bool,
}

impl QueueFacts {
    fn read(queue: &Path) -> Self {
        let text = |name| std::fs::read_to_string(queue.join(name)).unwrap_or_default();
        Self::parse(&text("write_cache"), &text("write_zeroes_max_bytes"))
    }

    /// Ranges are given back by writing zeros that the device may turn into holes: the one way that
    /// is asynchronous on every kernel.
    fn parse(write_cache: &str, zeros_max_bytes: &str) -> Self {
        Self {
            write_back: write_cache.trim() != "write through",
            discard: zeros_max_bytes
                .trim()
                .parse::<u64>()
                .is_ok_and(|bytes| bytes > 0),
        }
    }

    /// Forced writes wherever there is a cache: `docs/decisions/0006-forced-writes.md` has the figures.
    fn durability(self) -> Durability {
        if self.write_back {
            Durability::Fua
        } else {
            Durability::WriteThrough
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Blocks, QueueFacts, geometry, physical_block};
    use crate::geometry::{DeviceKind, Durability};

    #[test]
    fn durability_is_as_the_kernel_says_and_safe_when_it_is_silent() {
        let choice = |write_cache| QueueFacts::parse(write_cache, "0\n").durability();
        assert_eq!(choice("write through\n"), Durability::WriteThrough);
        assert_eq!(choice("write back\n"), Durability::Fua);
        assert_eq!(choice(""), Durability::Fua);
    }

    #[test]
    fn discard_needs_a_bound_above_zero() {
        let discard = |text| QueueFacts::parse("", text).discard;
        assert!(discard("2147483136\n"));
        assert!(!discard("0\n"));
        assert!(!discard(""));
    }

    #[test]
    fn the_write_unit_is_the_larger_block() {
        let unit = |logical_bytes, physical_bytes| {
            let blocks = Blocks {
                logical_bytes,
                physical_bytes,
            };
            geometry(Path::new("x"), DeviceKind::Block, 1 << 30, blocks)
                .map(|geometry| geometry.write_unit_bytes)
        };
        assert_eq!(unit(512, Some(512)), Ok(512));
        assert_eq!(unit(512, Some(4096)), Ok(4096));
        assert_eq!(unit(4096, Some(512)), Ok(4096));
        assert_eq!(unit(512, None), Ok(4096));
        for odd in [0, 1, 256, 520, 8192, u32::MAX] {
            assert!(unit(odd, Some(4096)).is_err(), "{odd}");
        }
    }

    #[test]
    fn odd_physical_blocks_are_made_sense_of() {
        assert_eq!(physical_block(Some(0)), 4096);
        assert_eq!(physical_block(Some(520)), 4096);
        assert_eq!(physical_block(Some(1 << 20)), 64 << 10);
    }

    #[test]
    fn a_tail_below_a_block_is_cut_off() {
        let blocks = Blocks {
            logical_bytes: 4096,
            physical_bytes: None,
        };
        let cut = geometry(Path::new("x"), DeviceKind::File, (1 << 20) + 100, blocks).unwrap();
        assert_eq!(cut.size_bytes, 1 << 20);
    }
}
