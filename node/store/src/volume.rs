//! Volume: the labelled set of devices that holds one namespace. Formats, opens and describes it.
//!
//! Devices are known by volume UUID and slot, never by path or by the order they are given in.
//! Invariant: a volume opens only if every slot has exactly one device with a valid label; labels
//! are written last at format, so a half-formatted volume does not open.

mod format;
mod identity;
mod least_size;
mod open;

pub use format::{FormatOptions, default_extent_bytes, format_volume};
pub use identity::display_identity;
pub use open::{inspect_device, open_volume};

use corelith_io::{BufferError, DeviceError};

use crate::format::binding::DeviceBinding;
use crate::format::extent_table::{ExtentTable, ExtentTableError};
use crate::format::superblock::{Superblock, SuperblockError};
use crate::place::SegmentPlace;

/// One device of an open volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeDevice {
    /// Its label.
    pub label: Superblock,
    /// Who owns its extents.
    pub extents: ExtentTable,
    /// Copies of either that are not what they should be. The others serve.
    pub damaged_copies: Vec<DamagedCopy>,
}

/// A copy of a label or an extent table that cannot be used, or that an update has passed by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedCopy {
    /// Where it stands on the device, in bytes.
    pub offset_bytes: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// An open volume: labels and tables of every slot, in order. Plain data: each core takes a clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    devices: Vec<VolumeDevice>,
}

impl Volume {
    /// The devices in slot order; at least one.
    #[must_use]
    pub fn devices(&self) -> &[VolumeDevice] {
        &self.devices
    }

    /// The label of slot 0: what it says of the whole volume is the same in every label.
    #[must_use]
    pub fn label(&self) -> Option<&Superblock> {
        self.devices.first().map(|device| &device.label)
    }

    /// What binds checksums to the device in `slot`.
    pub(crate) fn binding(&self, slot: u16) -> Option<DeviceBinding> {
        let device = self.devices.get(usize::from(slot))?;
        Some(DeviceBinding::new(&device.label.volume, slot))
    }

    /// The segments of `shard` on all devices, in the order that numbers them.
    #[must_use]
    pub fn segments_of(&self, shard: u16) -> Vec<SegmentPlace> {
        let mut places = Vec::new();
        for device in &self.devices {
            let label = &device.label;
            for (extent, owner) in (0_u64..).zip(&device.extents.owners) {
                if *owner != Some(shard) {
                    continue;
                }
                let start = label.data_start_bytes + extent * label.extent_bytes;
                for segment in 0..label.extent_bytes / label.segment_bytes {
                    let offset_bytes = start + segment * label.segment_bytes;
                    places.push(SegmentPlace {
                        slot: label.slot,
                        offset_bytes,
                    });
                }
            }
        }
        places
    }
}

/// Why a volume cannot be formatted or opened.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A device failed.
    #[error("{device}: {error}")]
    Device {
        /// The device's name.
        device: String,
        /// What it answered.
        error: DeviceError,
    },
    /// No memory for a label.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// No valid copy of the label.
    #[error("{device}: {error}")]
    Label {
        /// The device's name.
        device: String,
        /// Why the best copy is not usable.
        error: SuperblockError,
    },
    /// No valid copy of the extent table.
    #[error("{device}: {error}")]
    Extents {
        /// The device's name.
        device: String,
        /// Why the better copy is not usable.
        error: ExtentTableError,
    },
    /// Devices of different volumes were given together.
    #[error(
        "{first} belongs to the volume {} and {device} to {}: give the devices of one volume only",
        display_identity(.first_volume), display_identity(.volume)
    )]
    Mixed {
        /// The first device.
        first: String,
        /// Identity of its volume.
        first_volume: [u8; 16],
        /// The one that differs.
        device: String,
        /// Identity of its volume.
        volume: [u8; 16],
    },
    /// Two devices claim the same slot.
    #[error(
        "{device} and {other} both claim slot {slot} of the volume: is one a copy of the other?"
    )]
    Duplicate {
        /// One device.
        device: String,
        /// The other.
        other: String,
        /// The slot.
        slot: u16,
    },
    /// Labels of one volume that do not say the same of it.
    #[error("the labels of {first} and {device} are of one volume and disagree about its {field}")]
    Disagreement {
        /// The first device.
        first: String,
        /// The one that differs.
        device: String,
        /// What they disagree about.
        field: &'static str,
    },
    /// A device of the volume was not given.
    #[error(
        "the volume {} (namespace {namespace:?}) has {expected} devices, and slot {} was not given: give all of them",
        display_identity(.volume), listed(.slots)
    )]
    Missing {
        /// Identity of the volume.
        volume: [u8; 16],
        /// Its namespace.
        namespace: String,
        /// Devices in the volume.
        expected: u16,
        /// The slots that are missing, lowest first.
        slots: Vec<u16>,
    },
    /// The device is smaller than at format.
    #[error("{device} has {found_bytes} bytes, {expected_bytes} when it was formatted")]
    Shrunk {
        /// The device.
        device: String,
        /// Size at format.
        expected_bytes: u64,
        /// Size now.
        found_bytes: u64,
    },
    /// The device cannot write what the volume was formatted for.
    #[error(
        "{device} has logical blocks of {found_bytes} bytes, {expected_bytes} when it was formatted"
    )]
    BlockSize {
        /// The device.
        device: String,
        /// Block at format.
        expected_bytes: u32,
        /// Block now.
        found_bytes: u32,
    },
    /// An option of `format_volume` is out of bounds.
    #[error("{option} is {value}, it must be {rule}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// The devices cannot hold a volume of this shape.
    #[error(
        "too small: {shards} shards with segments of {} KiB take {} MiB at least on these devices, and these have {} MiB: \
         use larger devices, fewer shards or smaller segments",
        .segment_bytes >> 10, .needed_bytes.div_ceil(1 << 20), .found_bytes >> 20
    )]
    TooSmall {
        /// Shards asked for.
        shards: u16,
        /// Segment size asked for.
        segment_bytes: u64,
        /// What it takes at least, by [`FormatOptions::bytes_min`].
        needed_bytes: u64,
        /// What there is.
        found_bytes: u64,
    },
}

/// "1", "1, 3".
fn listed(slots: &[u16]) -> String {
    let slots: Vec<String> = slots.iter().map(u16::to_string).collect();
    slots.join(", ")
}
