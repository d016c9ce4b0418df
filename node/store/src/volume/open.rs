//! Opens a volume: finds the newest valid label and extent table of each device, and checks that
//! the devices are one whole volume.

use corelith_io::{BufferPool, Device, DeviceOffset, DmaBuffer};

use super::{DamagedCopy, Volume, VolumeDevice, VolumeError};
use crate::format::extent_table::{ExtentTable, ExtentTableError};
use crate::format::fields::usize_of;
use crate::format::superblock::{
    SUPERBLOCK_BLOCK_BYTES, SUPERBLOCK_BYTES, Superblock, SuperblockError,
};
use crate::layout::DeviceLayout;

/// Opens the volume that `devices` are, in whatever order they are given. Returns it with, for each
/// slot, the position of its device in `devices`.
///
/// # Errors
/// See [`VolumeError`]: damaged, missing, foreign or duplicate devices.
pub async fn open_volume(
    devices: &[Device],
    pool: &BufferPool,
) -> Result<(Volume, Vec<usize>), VolumeError> {
    let mut found: Vec<(usize, VolumeDevice)> = Vec::new();
    for (position, device) in devices.iter().enumerate() {
        let opened = inspect_device(device, pool).await?;
        if let Some((first, known)) = found.first() {
            check_same_volume(&known.label, &opened.label, (devices, *first, position))?;
        }
        if let Some((other, _)) = found
            .iter()
            .find(|(_, known)| known.label.slot == opened.label.slot)
        {
            return Err(VolumeError::Duplicate {
                device: device.name().to_owned(),
                other: name(devices, *other),
                slot: opened.label.slot,
            });
        }
        found.push((position, opened));
    }
    found.sort_by_key(|(_, device)| device.label.slot);
    let expected = found
        .first()
        .map_or(1, |(_, device)| device.label.device_count);
    let slots: Vec<u16> = (0..expected)
        .filter(|slot| !found.iter().any(|(_, device)| device.label.slot == *slot))
        .collect();
    if let Some((_, device)) = found.first().filter(|_| !slots.is_empty()) {
        return Err(VolumeError::Missing {
            volume: device.label.volume,
            namespace: device.label.namespace.clone(),
            expected,
            slots,
        });
    }
    let (positions, devices) = found.into_iter().unzip();
    Ok((Volume { devices }, positions))
}

/// An error unless both labels are of one volume and say the same of it.
fn check_same_volume(
    first: &Superblock,
    other: &Superblock,
    (devices, first_position, position): (&[Device], usize, usize),
) -> Result<(), VolumeError> {
    let (first_name, device) = (name(devices, first_position), name(devices, position));
    if first.volume != other.volume {
        return Err(VolumeError::Mixed {
            first: first_name,
            first_volume: first.volume,
            device,
            volume: other.volume,
        });
    }
    let fields = [
        ("device_count", first.device_count == other.device_count),
        ("shard_count", first.shard_count == other.shard_count),
        (
            "write_unit_bytes",
            first.write_unit_bytes == other.write_unit_bytes,
        ),
        ("segment_bytes", first.segment_bytes == other.segment_bytes),
        ("extent_bytes", first.extent_bytes == other.extent_bytes),
        ("namespace", first.namespace == other.namespace),
    ];
    match fields.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(VolumeError::Disagreement {
            first: first_name,
            device,
            field,
        }),
        None => Ok(()),
    }
}

/// Reads what one device says of itself, without the others of its volume.
///
/// # Errors
/// [`VolumeError::Label`] with [`SuperblockError::NotALabel`] if the device is not ours, and the
/// other variants for one that is ours but damaged or changed.
pub async fn inspect_device(
    device: &Device,
    pool: &BufferPool,
) -> Result<VolumeDevice, VolumeError> {
    let (label, mut damaged_copies) = read_label(device, pool).await?;
    let geometry = device.geometry();
    if geometry.size_bytes < label.device_bytes {
        return Err(VolumeError::Shrunk {
            device: device.name().to_owned(),
            expected_bytes: label.device_bytes,
            found_bytes: geometry.size_bytes,
        });
    }
    if geometry.logical_block_bytes > label.write_unit_bytes {
        return Err(VolumeError::BlockSize {
            device: device.name().to_owned(),
            expected_bytes: label.logical_block_bytes,
            found_bytes: geometry.logical_block_bytes,
        });
    }
    let (extents, damaged_tables) = read_extents(device, pool, &label).await?;
    damaged_copies.extend(damaged_tables);
    Ok(VolumeDevice {
        label,
        extents,
        damaged_copies,
    })
}

/// Copies of one structure as they were met.
struct Copies<T> {
    /// The valid ones, with their generations and places.
    valid: Vec<(u64, u64, T)>,
    damaged: Vec<DamagedCopy>,
    /// Why the last that is not valid is not.
    worst: Option<VolumeError>,
}

impl<T> Copies<T> {
    const fn new() -> Self {
        Self {
            valid: Vec::new(),
            damaged: Vec::new(),
            worst: None,
        }
    }

    fn add_damaged(&mut self, offset_bytes: u64, error: VolumeError) {
        let reason = error.to_string();
        self.damaged.push(DamagedCopy {
            offset_bytes,
            reason,
        });
        self.worst = Some(error);
    }

    /// The one with the highest generation, the first of several, and those that are not as it is.
    fn newest(mut self) -> Result<(T, Vec<DamagedCopy>), Option<VolumeError>> {
        let highest = self.valid.iter().map(|(generation, ..)| *generation).max();
        let mut newest = None;
        for (generation, offset_bytes, copy) in self.valid {
            if Some(generation) != highest {
                let reason = format!("generation {generation}, others have {highest:?}");
                self.damaged.push(DamagedCopy {
                    offset_bytes,
                    reason,
                });
            } else if newest.is_none() {
                newest = Some(copy);
            }
        }
        newest.map(|copy| (copy, self.damaged)).ok_or(self.worst)
    }
}

/// The newest valid copy of the label, and those that are not as it is.
async fn read_label(
    device: &Device,
    pool: &BufferPool,
) -> Result<(Superblock, Vec<DamagedCopy>), VolumeError> {
    let mut copies = Copies::new();
    let mut absent = Vec::new();
    let size_bytes = device.geometry().size_bytes;
    let inside = |offset: &u64| offset + SUPERBLOCK_BLOCK_BYTES <= size_bytes;
    let of_device = |error| VolumeError::Label {
        device: device.name().to_owned(),
        error,
    };
    for offset in DeviceLayout::label_offsets(size_bytes)
        .into_iter()
        .filter(inside)
    {
        let buffer = match read(device, pool, offset, usize_of(SUPERBLOCK_BLOCK_BYTES)).await {
            Ok(buffer) => buffer,
            Err(error) => {
                copies.add_damaged(offset, error);
                continue;
            }
        };
        let decoded = buffer
            .as_slice()
            .first_chunk::<SUPERBLOCK_BYTES>()
            .ok_or(SuperblockError::NotALabel)
            .and_then(Superblock::decode);
        match decoded {
            Ok(label) => copies.valid.push((label.generation, offset, label)),
            Err(error @ SuperblockError::NotALabel) => absent.push((offset, error)),
            Err(error) => copies.add_damaged(offset, of_device(error)),
        }
    }
    // A device that cannot be read, or whose label is damaged, is not one without a label.
    let newest = copies.newest();
    let (label, mut damaged) =
        newest.map_err(|worst| worst.unwrap_or_else(|| of_device(SuperblockError::NotALabel)))?;
    // On a device that has grown the last copy stands where it ended once.
    if size_bytes == label.device_bytes {
        damaged.extend(absent.into_iter().map(|(offset_bytes, error)| DamagedCopy {
            offset_bytes,
            reason: error.to_string(),
        }));
    }
    Ok((label, damaged))
}

/// The newest valid copy of the extent table, and those that are not as it is.
async fn read_extents(
    device: &Device,
    pool: &BufferPool,
    label: &Superblock,
) -> Result<(ExtentTable, Vec<DamagedCopy>), VolumeError> {
    let mut copies = Copies::new();
    let of_device = |error| VolumeError::Extents {
        device: device.name().to_owned(),
        error,
    };
    for offset in label.table_offsets {
        let buffer = match read(device, pool, offset, usize_of(label.table_bytes)).await {
            Ok(buffer) => buffer,
            Err(error) => {
                copies.add_damaged(offset, error);
                continue;
            }
        };
        let (volume, slot) = (&label.volume, label.slot);
        match ExtentTable::decode(buffer.as_slice(), volume, slot, label.extent_count) {
            Ok(table) => copies.valid.push((table.generation, offset, table)),
            Err(error) => copies.add_damaged(offset, of_device(error)),
        }
    }
    copies
        .newest()
        .map_err(|worst| worst.unwrap_or_else(|| of_device(ExtentTableError::NotATable)))
}

async fn read(
    device: &Device,
    pool: &BufferPool,
    offset_bytes: u64,
    length: usize,
) -> Result<DmaBuffer, VolumeError> {
    let buffer = pool.take(length)?;
    let (buffer, result) = device
        .read(DeviceOffset::new(offset_bytes), buffer, length)
        .await;
    result.map_err(|error| VolumeError::Device {
        device: device.name().to_owned(),
        error,
    })?;
    Ok(buffer)
}

fn name(devices: &[Device], position: usize) -> String {
    devices
        .get(position)
        .map_or_else(String::new, |device| device.name().to_owned())
}
