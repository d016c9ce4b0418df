//! What a device is: size, block sizes, and how a write becomes durable on it. Only facts; `open` finds them out for real devices.
//! Block sizes are powers of two, and the size is a multiple of the logical block.

/// A position on a device, in bytes from its start. Positions are never added to each other: `checked_add` moves one by a length,
/// `distance_from` is the length between two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DeviceOffset(u64);

impl DeviceOffset {
    /// The device's first byte.
    pub const START: Self = Self(0);

    /// A position `bytes` behind the device's start.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes from the device's start.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `length_bytes` further on; `None` past the end of the number range.
    #[must_use]
    pub const fn checked_add(self, length_bytes: u64) -> Option<Self> {
        match self.0.checked_add(length_bytes) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// Bytes from `earlier` to here; `None` if it lies behind.
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl std::fmt::Display for DeviceOffset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "byte {}", self.0)
    }
}

/// What kind of thing answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// A block device: a drive, a partition, a loop device.
    Block,
    /// A regular file.
    File,
    /// Memory of this process: gone at its end.
    Memory,
    /// A drive of a simulated machine.
    Simulated,
}

/// How a write becomes durable on a device, decided from what the kernel says about its cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// No volatile cache: a completed write is durable.
    WriteThrough,
    /// A volatile cache, and each write forced past it: by forced unit access, or, where the device has
    /// none, by a flush that the kernel sends behind it and shares among writes that wait for one.
    Fua,
    /// A volatile cache that flushes of our own empty: files.
    Flush,
}

/// A device's facts, fixed while it is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Size; a multiple of the logical block.
    pub size_bytes: u64,
    /// The smallest unit that can be addressed; a power of two, at least 512.
    pub logical_block_bytes: u32,
    /// The smallest unit that is written without reading first; a power of two, at least the logical block.
    pub physical_block_bytes: u32,
    /// What writes are padded to: the larger of logical and physical block, 4096 if the kernel does not know, at least 512, a power
    /// of two.
    pub write_unit_bytes: u32,
    /// How a write becomes durable.
    pub durability: Durability,
    /// What it is.
    pub kind: DeviceKind,
    /// Whether ranges can be discarded.
    pub discard: bool,
}

#[cfg(test)]
mod tests {
    use super::DeviceOffset;

    #[test]
    fn offsets_move_by_lengths() {
        let offset = DeviceOffset::new(4096);
        assert_eq!(offset.checked_add(512), Some(DeviceOffset::new(4608)));
        assert_eq!(DeviceOffset::new(u64::MAX).checked_add(1), None);
        assert_eq!(DeviceOffset::new(4608).distance_from(offset), Some(512));
        assert_eq!(offset.distance_from(DeviceOffset::new(4608)), None);
        assert_eq!(offset.to_string(), "byte 4096");
    }
}
