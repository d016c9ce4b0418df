//! What `volume create` tells about the volume that it made.

use corelith_io::Device;
use corelith_store::volume::{Volume, display_identity};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::size::display_size;

/// What was made, for programs.
#[derive(Serialize)]
struct Made<'a> {
    volume: String,
    namespace: &'a str,
    shards: u16,
    segment_bytes: u64,
    extent_bytes: u64,
    write_unit_bytes: u32,
    size_bytes: u64,
    segments: u64,
    size_bytes_min: u64,
    devices: Vec<MadeDevice<'a>>,
}

#[derive(Serialize)]
struct MadeDevice<'a> {
    path: &'a str,
    device: String,
    slot: u16,
    size_bytes: u64,
    extents: u32,
}

/// Prints it.
pub(super) fn tell(
    volume: &Volume,
    devices: &[Device],
    size_bytes_min: u64,
    is_json: bool,
) -> Result<(), Failure> {
    let Some(label) = volume.label() else {
        return Err(Failure::new("the volume has no device", ""));
    };
    let made_devices = devices
        .iter()
        .zip(volume.devices())
        .map(|(device, formatted)| MadeDevice {
            path: device.name(),
            device: display_identity(&formatted.label.device),
            slot: formatted.label.slot,
            size_bytes: formatted.label.device_bytes,
            extents: formatted.label.extent_count,
        });
    let segments = (0..label.shard_count)
        .map(|shard| volume.segments_of(shard).len() as u64)
        .sum();
    let made = Made {
        volume: display_identity(&label.volume),
        namespace: &label.namespace,
        shards: label.shard_count,
        segment_bytes: label.segment_bytes,
        extent_bytes: label.extent_bytes,
        write_unit_bytes: label.write_unit_bytes,
        size_bytes: volume
            .devices()
            .iter()
            .map(|device| device.label.device_bytes)
            .sum(),
        segments,
        size_bytes_min,
        devices: made_devices.collect(),
    };
    let mut output = Output::new();
    if is_json {
        output.json(&made)?;
    } else {
        print(&made, &mut output)?;
    }
    output.finish()
}

fn print(made: &Made<'_>, output: &mut Output) -> Result<(), Failure> {
    output.line(format!(
        "made volume {} for the namespace {:?}",
        made.volume, made.namespace
    ))?;
    for device in &made.devices {
        let (path, slot, size) = (device.path, device.slot, display_size(device.size_bytes));
        output.line(format!(
            "  slot {slot}: {path}, {size}, {} extents",
            device.extents
        ))?;
    }
    output.line(format!(
        "  {} shards, {} segments of {}, extents of {}, write unit {} bytes",
        made.shards,
        made.segments,
        display_size(made.segment_bytes),
        display_size(made.extent_bytes),
        made.write_unit_bytes,
    ))?;
    output.line(format!(
        "  {} in all; the least for so many shards, devices and such segments is {}",
        display_size(made.size_bytes),
        display_size(made.size_bytes_min),
    ))?;
    let paths: Vec<String> = made
        .devices
        .iter()
        .map(|device| format!("--device {}", device.path))
        .collect();
    output.line(format!("serve it with: corelithd {}", paths.join(" ")))
}
