//! What a simulated drive is like, and the number by which its machine knows it. Only facts.

use super::fault::FaultRates;
use super::limits::{
    BLOCK_BYTES_MAX, LATENCY_NS_MAX_DEFAULT, LATENCY_NS_MIN_DEFAULT, LOGICAL_BLOCK_BYTES_MIN,
};
use crate::geometry::{DeviceKind, Durability, Geometry};

/// Which drive of a machine: its place in the order of adding, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriveId(u32);

/// Whether a drive keeps its word about durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    /// It does.
    Honest,
    /// Flushes and forced writes succeed without making anything durable, and write-through is claimed over
    /// a volatile cache. What is read back stays right until the power fails. For negative controls.
    Forgetful,
}

/// What a simulated drive is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveConfig {
    /// Size in bytes: a multiple of both blocks, at least one.
    pub size_bytes: u64,
    /// What the drive addresses, and never tears: a power of two from 512 to 16,384.
    pub logical_block_bytes: u32,
    /// What the drive says it writes without reading first: a power of two, at least the logical block, at
    /// most 16,384. The simulation tears writes below this size all the same.
    pub physical_block_bytes: u32,
    /// How a write becomes durable. Write-through drives have no volatile cache.
    pub durability: Durability,
    /// Whether that is true.
    pub honesty: Honesty,
    /// Whether the drive offers discard.
    pub discard: bool,
    /// The shortest time an operation takes, in nanoseconds of virtual time.
    pub latency_ns_min: u64,
    /// The longest time an operation takes without a delay fault. The farther from the shortest, the more
    /// operations are reordered.
    pub latency_ns_max: u64,
    /// What goes wrong by itself.
    pub fault_rates: FaultRates,
}

impl DriveId {
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }

    /// The place in the order of adding, from 0.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for DriveId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "simulated-{}", self.0)
    }
}

impl DriveConfig {
    /// An honest drive of `size_bytes` with 4 KiB blocks, a volatile cache without FUA, discard, and no faults.
    #[must_use]
    pub fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            logical_block_bytes: 4096,
            physical_block_bytes: 4096,
            durability: Durability::Flush,
            honesty: Honesty::Honest,
            discard: true,
            latency_ns_min: LATENCY_NS_MIN_DEFAULT,
            latency_ns_max: LATENCY_NS_MAX_DEFAULT,
            fault_rates: FaultRates::NONE,
        }
    }

    /// What a device handle says about such a drive.
    ///
    /// # Panics
    /// If a field breaks its rule: a mistake of whoever wrote the test.
    pub(crate) fn geometry(&self) -> Geometry {
        let (logical, physical) = (self.logical_block_bytes, self.physical_block_bytes);
        assert!(
            logical.is_power_of_two(),
            "logical block of {logical} bytes"
        );
        assert!(
            physical.is_power_of_two(),
            "physical block of {physical} bytes"
        );
        assert!(
            (LOGICAL_BLOCK_BYTES_MIN..=physical).contains(&logical),
            "logical block of {logical} bytes"
        );
        assert!(
            physical <= BLOCK_BYTES_MAX,
            "physical block of {physical} bytes"
        );
        assert!(self.size_bytes > 0, "empty drive");
        assert!(
            self.size_bytes.is_multiple_of(u64::from(physical)),
            "size of {} bytes",
            self.size_bytes
        );
        assert!(
            self.latency_ns_min <= self.latency_ns_max,
            "latencies in the wrong order"
        );
        Geometry {
            size_bytes: self.size_bytes,
            logical_block_bytes: logical,
            physical_block_bytes: physical,
            write_unit_bytes: physical,
            durability: self.durability,
            kind: DeviceKind::Simulated,
            discard: self.discard,
        }
    }
}
