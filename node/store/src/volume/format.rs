//! Formats a volume: extents granted to shards, tables written, then labels.

use corelith_io::{BufferPool, Device, DeviceOffset};

use super::{Volume, VolumeDevice, VolumeError};
use crate::format::extent_table::ExtentTable;
use crate::format::fields::{u64_of, usize_of};
use crate::format::superblock::{SUPERBLOCK_BLOCK_BYTES, SUPERBLOCK_BYTES, Superblock};
use crate::layout::DeviceLayout;
use crate::limits::{
    DEVICES_MAX, EXTENT_BYTES_MAX, NAMESPACE_NAME_BYTES_MAX, SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_UNITS_MIN, SEGMENTS_PER_SHARD_MIN, SHARDS_MAX,
    WRITE_UNIT_BYTES_MAX, WRITE_UNIT_BYTES_MIN,
};

/// What a new volume shall be.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// Name of the namespace: 1 to 31 bytes.
    pub namespace: String,
    /// Shards, 1 to 256. Fixed for the life of the volume.
    pub shard_count: u16,
    /// Segment size in bytes: a power of two from 64 KiB to 64 MiB.
    pub segment_bytes: u64,
    /// Extent size in bytes: a power of two, at least a segment, at most 1 GiB. `None` lets
    /// [`default_extent_bytes`] choose.
    pub extent_bytes: Option<u64>,
    /// Identity of the volume: random, chosen by the caller.
    pub volume: [u8; 16],
    /// Identity of each device: random, one for each, in slot order.
    pub devices: Vec<[u8; 16]>,
    /// When, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

impl FormatOptions {
    /// Options of a volume with the default segment size.
    #[must_use]
    pub fn new(
        namespace: &str,
        shard_count: u16,
        volume: [u8; 16],
        devices: Vec<[u8; 16]>,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            shard_count,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            extent_bytes: None,
            volume,
            devices,
            created_ms: 0,
        }
    }

    fn check(&self, device_count: usize) -> Result<(), VolumeError> {
        let segment = self.segment_bytes;
        let segment_good =
            segment.is_power_of_two() && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment);
        let extent = self.extent_bytes.unwrap_or(segment);
        let extent_good =
            extent.is_power_of_two() && extent >= segment && extent <= EXTENT_BYTES_MAX;
        let name_bytes = self.namespace.len();
        let rules = [
            (
                "the number of devices",
                u64_of(device_count),
                "from 1 to 128, each with an identity",
                (1..=usize::from(DEVICES_MAX)).contains(&device_count)
                    && self.devices.len() == device_count,
            ),
            (
                "the length of the namespace's name",
                u64_of(name_bytes),
                "from 1 to 31 bytes",
                (1..=NAMESPACE_NAME_BYTES_MAX).contains(&name_bytes),
            ),
            (
                "shard_count",
                self.shard_count.into(),
                "from 1 to 256",
                (1..=SHARDS_MAX).contains(&self.shard_count),
            ),
            (
                "segment_bytes",
                segment,
                "a power of two from 64 KiB to 64 MiB",
                segment_good,
            ),
            (
                "extent_bytes",
                extent,
                "a power of two from the segment size to 1 GiB",
                extent_good,
            ),
        ];
        match rules.into_iter().find(|(.., good)| !good) {
            Some((option, value, rule, _)) => Err(VolumeError::Option {
                option,
                value,
                rule,
            }),
            None => Ok(()),
        }
    }
}

/// The extent size for a volume of `total_bytes`: the largest power of two that gives every shard at
/// least eight extents, so that shards differ by an eighth at the most; at least a segment, at most 1 GiB.
#[must_use]
pub fn default_extent_bytes(total_bytes: u64, shard_count: u16, segment_bytes: u64) -> u64 {
    let share = total_bytes / (u64::from(shard_count.max(1)) * 8);
    let power = if share == 0 { 1 } else { 1 << share.ilog2() };
    power.clamp(segment_bytes, EXTENT_BYTES_MAX.max(segment_bytes))
}

/// Formats `devices`, in slot order, as one volume. What was on them is gone.
///
/// # Errors
/// [`VolumeError::Option`] and [`VolumeError::TooSmall`] before anything is written;
/// [`VolumeError::Device`] when a device fails, after which the volume does not open.
pub async fn format_volume(
    devices: &[Device],
    pool: &BufferPool,
    options: &FormatOptions,
) -> Result<Volume, VolumeError> {
    options.check(devices.len())?;
    let total_bytes = devices
        .iter()
        .map(|device| device.geometry().size_bytes)
        .sum();
    let extent_bytes = options.extent_bytes.unwrap_or_else(|| {
        default_extent_bytes(total_bytes, options.shard_count, options.segment_bytes)
    });
    let too_small = VolumeError::TooSmall {
        shards: options.shard_count,
        segment_bytes: options.segment_bytes,
        needed_bytes: options.bytes_min(),
        found_bytes: total_bytes,
    };
    let write_unit_bytes = write_unit_of(devices, options)?;
    let mut planned = Vec::new();
    for (slot, (device, identity)) in (0_u16..).zip(devices.iter().zip(&options.devices)) {
        let units = (write_unit_bytes, extent_bytes);
        let Some(entry) = plan_device(device, (slot, *identity), units, options) else {
            return Err(too_small);
        };
        planned.push(entry);
    }
    let volume = Volume { devices: planned };
    let fewest = (0..options.shard_count)
        .map(|shard| volume.segments_of(shard).len())
        .min()
        .unwrap_or(0);
    if u64_of(fewest) < SEGMENTS_PER_SHARD_MIN {
        return Err(too_small);
    }
    // No label while the tables change: what was there must not open again half overwritten.
    for device in devices {
        write_labels(device, pool, None).await?;
    }
    for (device, planned) in devices.iter().zip(&volume.devices) {
        write_tables(device, pool, planned).await?;
    }
    for (device, planned) in devices.iter().zip(&volume.devices) {
        write_labels(device, pool, Some(&planned.label)).await?;
    }
    Ok(volume)
}

/// The unit of every write to the log: the largest of any device, so that a segment's layout does not
/// depend on where it lies.
fn write_unit_of(devices: &[Device], options: &FormatOptions) -> Result<u32, VolumeError> {
    let logical = devices
        .iter()
        .map(|device| device.geometry().logical_block_bytes)
        .max();
    let logical = logical.unwrap_or(WRITE_UNIT_BYTES_MIN);
    if u64::from(logical) > SUPERBLOCK_BLOCK_BYTES {
        return Err(VolumeError::Option {
            option: "the logical block of a device",
            value: logical.into(),
            rule: "at most 4 KiB, which a label takes",
        });
    }
    let unit = devices
        .iter()
        .map(|device| device.geometry().write_unit_bytes)
        .max();
    let unit = unit.unwrap_or(logical).clamp(logical, WRITE_UNIT_BYTES_MAX);
    if options.segment_bytes < SEGMENT_UNITS_MIN * u64::from(unit) {
        return Err(VolumeError::Option {
            option: "segment_bytes",
            value: options.segment_bytes,
            rule: "at least 16 blocks of the device",
        });
    }
    Ok(unit)
}

fn plan_device(
    device: &Device,
    (slot, identity): (u16, [u8; 16]),
    (write_unit_bytes, extent_bytes): (u32, u64),
    options: &FormatOptions,
) -> Option<VolumeDevice> {
    let geometry = device.geometry();
    let layout = DeviceLayout::plan(geometry.size_bytes, extent_bytes, options.segment_bytes)?;
    let label = Superblock {
        generation: 1,
        volume: options.volume,
        device: identity,
        features_compatible: 0,
        features_read_only: 0,
        features_incompatible: 0,
        slot,
        device_count: u16::try_from(options.devices.len()).ok()?,
        shard_count: options.shard_count,
        logical_block_bytes: geometry.logical_block_bytes,
        write_unit_bytes,
        segment_bytes: options.segment_bytes,
        extent_bytes,
        device_bytes: geometry.size_bytes,
        data_start_bytes: layout.data_start_bytes,
        extent_count: layout.extent_count,
        created_ms: options.created_ms,
        namespace: options.namespace.clone(),
        table_offsets: layout.table_offsets,
        table_bytes: layout.table_bytes,
    };
    // Extents go round the shards; each device begins with another shard, so that the remainders
    // of several devices do not all fall to the same ones.
    let owners = (0..layout.extent_count)
        .map(|extent| {
            let turn = (u64::from(extent) + u64::from(slot)) % u64::from(options.shard_count);
            u16::try_from(turn).ok()
        })
        .collect();
    let extents = ExtentTable {
        generation: 1,
        volume: options.volume,
        slot,
        owners,
    };
    Some(VolumeDevice {
        label,
        extents,
        damaged_copies: Vec::new(),
    })
}

async fn write_tables(
    device: &Device,
    pool: &BufferPool,
    planned: &VolumeDevice,
) -> Result<(), VolumeError> {
    let encoded = planned.extents.encode();
    for offset in planned.label.table_offsets {
        write_padded(
            device,
            pool,
            offset,
            (&encoded, usize_of(planned.label.table_bytes)),
        )
        .await?;
    }
    Ok(())
}

/// Writes all copies of the label, or zeros in their places.
async fn write_labels(
    device: &Device,
    pool: &BufferPool,
    label: Option<&Superblock>,
) -> Result<(), VolumeError> {
    let encoded = label.map_or([0; SUPERBLOCK_BYTES], Superblock::encode);
    for offset in DeviceLayout::label_offsets(device.geometry().size_bytes) {
        write_padded(
            device,
            pool,
            offset,
            (&encoded, usize_of(SUPERBLOCK_BLOCK_BYTES)),
        )
        .await?;
    }
    Ok(())
}

/// Writes `bytes`, zero-padded to the given length, durably.
async fn write_padded(
    device: &Device,
    pool: &BufferPool,
    offset_bytes: u64,
    (bytes, length): (&[u8], usize),
) -> Result<(), VolumeError> {
    let mut buffer = pool.take(length)?;
    for (target, source) in buffer
        .as_mut_slice()
        .iter_mut()
        .zip(bytes.iter().chain(std::iter::repeat(&0)))
    {
        *target = *source;
    }
    device
        .write_durable(DeviceOffset::new(offset_bytes), buffer.freeze(), 0..length)
        .await
        .map_err(|error| VolumeError::Device {
            device: device.name().to_owned(),
            error,
        })
}
