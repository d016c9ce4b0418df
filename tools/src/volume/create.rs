//! `volume create`: checks every device before it writes to any, says what it found, and formats.

mod paths;
mod told;

use corelith_io::{BufferPool, Clock, Device};
use corelith_store::format::superblock::SuperblockError;
use corelith_store::volume::{
    FormatOptions, VolumeError, display_identity, format_volume, inspect_device,
};

use super::Workbench;
use super::edges::{read_edges, wipe_edges};
use super::identity::random_identity;
use super::signature;
use crate::arguments::VolumeCreateArguments;
use crate::failure::Failure;
use crate::size::display_size;
use paths::{MadeFiles, plan};
use told::tell;

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
    let volume = bench.run(async {
        let found = look_at(&devices, &bench.pool).await?;
        if !found.is_empty() && !arguments.force {
            return Err(refusal(&found));
        }
        let volume = format_volume(&devices, &bench.pool, &options)
            .await
            .map_err(|error| format_failure(error, &options))?;
        if !found.is_empty() {
            for (device, formatted) in devices.iter().zip(volume.devices()) {
                wipe_edges(device, &bench.pool, &formatted.label).await?;
            }
        }
        Ok(volume)
    })?;
    made.keep();
    tell(&volume, &devices, options.bytes_min(), is_json)
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

fn format_failure(error: VolumeError, options: &FormatOptions) -> Failure {
    let VolumeError::TooSmall {
        found_bytes,
        needed_bytes,
        ..
    } = error
    else {
        return Failure::from_text(error);
    };
    let (devices, shards) = (options.devices.len(), options.shard_count);
    let each = needed_bytes / u64::try_from(devices).unwrap_or(1).max(1);
    Failure::new(
        format!(
            "the volume would be too small: {} where {needed_bytes} bytes ({}) are the least for {shards} shards with segments \
             of {} on {devices} device(s)",
            display_size(found_bytes),
            display_size(needed_bytes),
            display_size(options.segment_bytes),
        ),
        format!(
            "give larger or more devices (files with --size {each} or more each), fewer --shards, or a smaller --segment-size"
        ),
    )
}
