//! `volume show`: what devices say of themselves, and whether volumes are whole. Opens for reading
//! alone and claims nothing, so that it works beside a running node.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use corelith_io::{Access, OpenDevice, OpenOptions};
use corelith_store::format::superblock::{Superblock, SuperblockError};
use corelith_store::volume::{VolumeDevice, VolumeError, display_identity, inspect_device};
use serde::Serialize;

use super::Workbench;
use super::edges::read_edges;
use super::signature;
use crate::arguments::VolumeShowArguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::size::display_size;
use crate::time_text::display_time;

/// `corelith volume show`.
///
/// # Errors
/// A device has no usable label, or devices of a volume are missing; what could be read was shown.
pub fn show(arguments: &VolumeShowArguments, is_json: bool) -> Result<(), Failure> {
    let bench = Workbench::new()?;
    let devices: Vec<Shown> = arguments
        .devices
        .iter()
        .map(|path| look_at(&bench, path))
        .collect();
    let volumes = volumes_of(&devices);
    let mut output = Output::new();
    if is_json {
        output.json(&Everything {
            devices: devices.iter().map(DeviceObject::from).collect(),
            volumes: &volumes,
        })?;
    } else {
        for device in &devices {
            print_device(device, &mut output)?;
        }
        for volume in &volumes {
            output.line(volume)?;
        }
    }
    output.finish()?;
    verdict(&devices, &volumes)
}

/// One device that was looked at.
struct Shown {
    path: String,
    inspected: Result<VolumeDevice, String>,
}

fn look_at(bench: &Workbench, path: &Path) -> Shown {
    let options = OpenOptions {
        access: Access::ReadOnly,
        ..OpenOptions::default()
    };
    let inspected = OpenDevice::open(path, options)
        .map_err(Failure::from_text)
        .and_then(|opened| bench.attach(&opened))
        .and_then(|device| {
            bench.run(async {
                let inspected = inspect_device(&device, &bench.pool).await;
                let Err(VolumeError::Label {
                    device: name,
                    error,
                }) = &inspected
                else {
                    return inspected.map_err(Failure::from_text);
                };
                if *error != SuperblockError::NotALabel {
                    return Err(Failure::from_text(format!("{name}: {error}")));
                }
                let findings = signature::find(&read_edges(&device, &bench.pool).await?);
                let held: Vec<String> = findings.iter().map(ToString::to_string).collect();
                let held = if held.is_empty() {
                    "nothing".to_owned()
                } else {
                    held.join(" and ")
                };
                Err(Failure::from_text(format!(
                    "{name}: no Corelith label; it holds {held}"
                )))
            })
        });
    Shown {
        path: path.display().to_string(),
        inspected: inspected.map_err(|failure| failure.problem().to_owned()),
    }
}

/// A volume, as far as its devices were given.
#[derive(Serialize)]
struct VolumeObject {
    volume: String,
    namespace: String,
    shards: u16,
    devices: u16,
    missing_slots: Vec<u16>,
    doubled_slots: Vec<u16>,
    is_whole: bool,
}

impl std::fmt::Display for VolumeObject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (volume, count) = (&self.volume, self.devices);
        write!(formatter, "volume {volume}: ")?;
        if self.is_whole {
            let noun = if count == 1 {
                "its only device is"
            } else {
                "all its devices are"
            };
            return write!(formatter, "whole, {noun} given");
        }
        if !self.missing_slots.is_empty() {
            let slots = list(&self.missing_slots);
            write!(formatter, "slot {slots} of {count} was not given")?;
        }
        if !self.doubled_slots.is_empty() {
            let slots = list(&self.doubled_slots);
            let comma = if self.missing_slots.is_empty() {
                ""
            } else {
                "; "
            };
            write!(
                formatter,
                "{comma}slot {slots} was given twice: is one a copy of the other?"
            )?;
        }
        Ok(())
    }
}

fn list(slots: &[u16]) -> String {
    slots
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn volumes_of(devices: &[Shown]) -> Vec<VolumeObject> {
    let mut volumes: BTreeMap<[u8; 16], Vec<&Superblock>> = BTreeMap::new();
    for device in devices {
        if let Ok(inspected) = &device.inspected {
            volumes
                .entry(inspected.label.volume)
                .or_default()
                .push(&inspected.label);
        }
    }
    let described = volumes.into_values().filter_map(|labels| {
        let first = labels.first()?;
        let count_of = |slot| labels.iter().filter(|label| label.slot == slot).count();
        let slots_with = |wanted: fn(usize) -> bool| {
            (0..first.device_count)
                .filter(|slot| wanted(count_of(*slot)))
                .collect::<Vec<_>>()
        };
        let (missing_slots, doubled_slots) = (
            slots_with(|count| count == 0),
            slots_with(|count| count > 1),
        );
        Some(VolumeObject {
            volume: display_identity(&first.volume),
            namespace: first.namespace.clone(),
            shards: first.shard_count,
            devices: first.device_count,
            is_whole: missing_slots.is_empty() && doubled_slots.is_empty(),
            missing_slots,
            doubled_slots,
        })
    });
    described.collect()
}

/// Everything, for programs.
#[derive(Serialize)]
struct Everything<'a> {
    devices: Vec<DeviceObject<'a>>,
    volumes: &'a [VolumeObject],
}

#[derive(Serialize)]
struct DeviceObject<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    label: Option<LabelObject<'a>>,
}

#[derive(Serialize)]
struct LabelObject<'a> {
    volume: String,
    device: String,
    slot: u16,
    device_count: u16,
    namespace: &'a str,
    shards: u16,
    segment_bytes: u64,
    extent_bytes: u64,
    logical_block_bytes: u32,
    write_unit_bytes: u32,
    size_bytes: u64,
    made_at: String,
    label_generation: u64,
    extents: u32,
    extents_free: usize,
    extents_by_shard: Vec<usize>,
}

impl<'a> From<&'a Shown> for DeviceObject<'a> {
    fn from(shown: &'a Shown) -> Self {
        Self {
            path: &shown.path,
            error: shown.inspected.as_ref().err().map(String::as_str),
            label: shown.inspected.as_ref().ok().map(LabelObject::from),
        }
    }
}

impl<'a> From<&'a VolumeDevice> for LabelObject<'a> {
    fn from(device: &'a VolumeDevice) -> Self {
        let label = &device.label;
        let owners = &device.extents.owners;
        let owned_by = |shard| owners.iter().filter(|owner| **owner == Some(shard)).count();
        Self {
            volume: display_identity(&label.volume),
            device: display_identity(&label.device),
            slot: label.slot,
            device_count: label.device_count,
            namespace: &label.namespace,
            shards: label.shard_count,
            segment_bytes: label.segment_bytes,
            extent_bytes: label.extent_bytes,
            logical_block_bytes: label.logical_block_bytes,
            write_unit_bytes: label.write_unit_bytes,
            size_bytes: label.device_bytes,
            made_at: display_time(SystemTime::UNIX_EPOCH + Duration::from_millis(label.created_ms)),
            label_generation: label.generation,
            extents: label.extent_count,
            extents_free: owners.iter().filter(|owner| owner.is_none()).count(),
            extents_by_shard: (0..label.shard_count).map(owned_by).collect(),
        }
    }
}

fn print_device(shown: &Shown, output: &mut Output) -> Result<(), Failure> {
    let label = match &shown.inspected {
        Ok(device) => LabelObject::from(device),
        Err(error) => return output.line(error),
    };
    let (slot, count, volume) = (label.slot, label.device_count, &label.volume);
    output.line(format!(
        "{}: slot {slot} of {count} of volume {volume}",
        shown.path
    ))?;
    output.line(format!(
        "  namespace {:?}, {} shards, made {}, label generation {}",
        label.namespace, label.shards, label.made_at, label.label_generation
    ))?;
    output.line(format!(
        "  {}, segments of {}, extents of {}, blocks of {} bytes, write unit {} bytes",
        display_size(label.size_bytes),
        display_size(label.segment_bytes),
        display_size(label.extent_bytes),
        label.logical_block_bytes,
        label.write_unit_bytes,
    ))?;
    let shards = label.extents_by_shard.iter().enumerate();
    let shares: Vec<String> = shards
        .map(|(shard, extents)| format!("{shard}: {extents}"))
        .collect();
    output.line(format!(
        "  {} extents, {} free; by shard {}",
        label.extents,
        label.extents_free,
        shares.join(", ")
    ))
}

/// Whether all that was given can be used.
fn verdict(devices: &[Shown], volumes: &[VolumeObject]) -> Result<(), Failure> {
    let unusable = devices
        .iter()
        .filter(|device| device.inspected.is_err())
        .count();
    if unusable > 0 {
        return Err(Failure::new(
            format!(
                "{unusable} of {} devices have no usable label",
                devices.len()
            ),
            "what was found on them is shown above",
        ));
    }
    if volumes.iter().any(|volume| !volume.is_whole) {
        return Err(Failure::new(
            "a volume is not whole",
            "give each of its devices once",
        ));
    }
    Ok(())
}
