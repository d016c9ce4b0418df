//! `volume create`: checks every device before it writes to any, says what it found, and formats.

use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use corelith_io::limits::DEVICE_BYTES_MIN;
use corelith_io::{Access, BufferPool, Clock, Device, OpenDevice, OpenOptions};
use corelith_store::DeviceLayout;
use corelith_store::format::superblock::{SUPERBLOCK_BLOCK_BYTES, SuperblockError};
use corelith_store::limits::SEGMENTS_PER_SHARD_MIN;
use corelith_store::volume::{FormatOptions, Volume, VolumeError, format_volume, inspect_device};
use serde::Serialize;

use super::Workbench;
use super::edges::{read_edges, wipe_edges};
use super::identity::{display_identity, random_identity};
use super::signature;
use crate::arguments::VolumeCreateArguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::size::display_size;

/// Shards of a volume by default on a machine with fewer cores.
const SHARDS_DEFAULT_MIN: u16 = 8;

/// `corelith volume create`.
///
/// # Errors
/// A device is not free or cannot be used, or the volume would be too small: then nothing was written,
/// and files that were made are gone again. A device that fails later leaves no volume.
pub fn create(arguments: &VolumeCreateArguments, is_json: bool) -> Result<(), Failure> {
    let plans = plan(arguments)?;
    let bench = Workbench::new()?;
    let mut made = MadeFiles::default();
    let mut opened = Vec::new();
    for plan in &plans {
        opened.push(plan.open(arguments.size_bytes, &mut made)?);
    }
    let devices: Vec<Device> = opened
        .iter()
        .map(|device| bench.attach(device))
        .collect::<Result<_, _>>()?;
    let options = options_of(arguments, devices.len())?;
    let size_bytes_min = minimum_bytes(&Shape::of(arguments, &options));
    let volume = bench.run(async {
        let found = look_at(&devices, &bench.pool).await?;
        if !found.is_empty() && !arguments.force {
            return Err(refusal(&found));
        }
        let volume = format_volume(&devices, &bench.pool, &options)
            .await
            .map_err(|error| format_failure(error, size_bytes_min))?;
        if !found.is_empty() {
            for (device, formatted) in devices.iter().zip(volume.devices()) {
                wipe_edges(device, &bench.pool, &formatted.label).await?;
            }
        }
        Ok(volume)
    })?;
    made.keep();
    tell(&volume, &devices, size_bytes_min, is_json)
}

/// What is to be done at one path.
struct DevicePlan<'a> {
    path: &'a Path,
    is_new: bool,
}

impl DevicePlan<'_> {
    fn open(&self, size_bytes: Option<u64>, made: &mut MadeFiles) -> Result<OpenDevice, Failure> {
        let opened = match size_bytes.filter(|_| self.is_new) {
            Some(size_bytes) => {
                let opened = OpenDevice::create_file(self.path, size_bytes);
                if opened.is_ok() {
                    made.paths.push(self.path.to_owned());
                }
                opened
            }
            None => OpenDevice::open(
                self.path,
                OpenOptions {
                    access: Access::Exclusive,
                    ..OpenOptions::default()
                },
            ),
        };
        opened.map_err(Failure::from_text)
    }
}

/// Files that are removed again unless the volume was made.
#[derive(Default)]
struct MadeFiles {
    paths: Vec<PathBuf>,
}

impl MadeFiles {
    fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for MadeFiles {
    fn drop(&mut self) {
        for path in &self.paths {
            // The reason for this is on its way to the operator; a file that stays says so by itself.
            drop(std::fs::remove_file(path));
        }
    }
}

/// Looks at the paths alone: what is there, what is to be made, and that none is given twice.
fn plan(arguments: &VolumeCreateArguments) -> Result<Vec<DevicePlan<'_>>, Failure> {
    let mut seen = HashMap::new();
    let mut plans = Vec::new();
    for path in &arguments.devices {
        let place = Place::of(path)?;
        if let Some(first) = seen.insert(place.clone(), path) {
            return Err(Failure::new(
                format!(
                    "{} and {} are the same device",
                    first.display(),
                    path.display()
                ),
                "give each device once",
            ));
        }
        let is_new = matches!(place, Place::Nothing(_));
        check_new(path, is_new, arguments.size_bytes)?;
        plans.push(DevicePlan { path, is_new });
    }
    if arguments.size_bytes.is_some() && plans.iter().all(|plan| !plan.is_new) {
        return Err(Failure::new(
            "--size is for files that are to be made, and everything given is there already",
            "leave out --size: the volume takes the whole of each device or file",
        ));
    }
    Ok(plans)
}

fn check_new(path: &Path, is_new: bool, size_bytes: Option<u64>) -> Result<(), Failure> {
    let shown = path.display();
    if is_new && path.starts_with("/dev") && !path.starts_with("/dev/shm") {
        return Err(Failure::new(
            format!("{shown}: there is no such device"),
            "see `lsblk` for the devices of this machine",
        ));
    }
    if is_new && size_bytes.is_none() {
        return Err(Failure::new(
            format!("{shown}: there is no such device or file"),
            "give an existing one, or --size to make a file of that size",
        ));
    }
    Ok(())
}

/// What a path leads to, so that two paths to one thing are seen.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Block(u64),
    File(u64, u64),
    Nothing(PathBuf),
}

impl Place {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.metadata() {
            Ok(metadata) if metadata.file_type().is_block_device() => {
                Ok(Self::Block(metadata.rdev()))
            }
            Ok(metadata) => Ok(Self::File(metadata.dev(), metadata.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                Ok(Self::Nothing(
                    folder.join(path.file_name().unwrap_or_default()),
                ))
            }
            Err(error) => Err(Failure::new(format!("{}: {error}", path.display()), "")),
        }
    }
}

fn options_of(
    arguments: &VolumeCreateArguments,
    device_count: usize,
) -> Result<FormatOptions, Failure> {
    let core_count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards_default = u16::try_from(core_count.min(256))
        .unwrap_or(256)
        .max(SHARDS_DEFAULT_MIN);
    let shard_count = arguments.shards.unwrap_or(shards_default);
    let identities = (0..device_count)
        .map(|_| random_identity())
        .collect::<Result<_, _>>()?;
    let mut options = FormatOptions::new(
        &arguments.namespace,
        shard_count,
        random_identity()?,
        identities,
    );
    options.segment_bytes = arguments.segment_size_bytes;
    options.extent_bytes = arguments.extent_size_bytes;
    options.created_ms = Clock::real().wall_ms();
    Ok(options)
}

/// What stands in the way: a sentence for each device that is not plainly free.
async fn look_at(devices: &[Device], pool: &BufferPool) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for device in devices {
        if let Some(holding) = holding_of(device, pool).await? {
            found.push(format!("{} holds {holding}", device.name()));
        }
    }
    Ok(found)
}

/// What a device holds: our own label before anything else.
async fn holding_of(device: &Device, pool: &BufferPool) -> Result<Option<String>, Failure> {
    match inspect_device(device, pool).await {
        Ok(inspected) => {
            let label = inspected.label;
            return Ok(Some(format!(
                "slot {} of {} of the Corelith volume {} (namespace {:?})",
                label.slot,
                label.device_count,
                display_identity(&label.volume),
                label.namespace,
            )));
        }
        Err(VolumeError::Label {
            error: SuperblockError::NotALabel,
            ..
        }) => {}
        Err(VolumeError::Device { error, .. }) => {
            return Err(Failure::new(format!("{}: {error}", device.name()), ""));
        }
        Err(error) => {
            return Ok(Some(format!(
                "a Corelith label that cannot be used ({error})"
            )));
        }
    }
    let findings = signature::find(&read_edges(device, pool).await?);
    let names: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Ok((!names.is_empty()).then(|| names.join(" and ")))
}

fn refusal(found: &[String]) -> Failure {
    Failure::new(
        found.join("; "),
        "give other devices, wipe these (`wipefs --all`, `blkdiscard`), or overwrite them with --force: \
         what is on them is lost",
    )
}

fn format_failure(error: VolumeError, size_bytes_min: u64) -> Failure {
    match &error {
        VolumeError::TooSmall { found_bytes, .. } => Failure::new(
            format!(
                "the volume would be too small: {} where {size_bytes_min} bytes ({}) are the least for so many \
                 shards, devices and such segments",
                display_size(*found_bytes),
                display_size(size_bytes_min),
            ),
            "give larger or more devices, fewer --shards, or a smaller --segment-size",
        ),
        _ => Failure::from_text(error),
    }
}

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

fn tell(
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

/// The least that a volume of this shape takes on so many devices of one size, in bytes in all: by the
/// store's own layout, so that a volume of just this size can be made.
fn minimum_bytes(shape: &Shape) -> u64 {
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
struct Shape {
    shard_count: u16,
    segment_bytes: u64,
    extent_bytes: u64,
    device_count: u64,
}

impl Shape {
    /// The shape that was asked for; extents that were not are as small as they can be.
    fn of(arguments: &VolumeCreateArguments, options: &FormatOptions) -> Self {
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
