//! The node's volume: the devices that were named, or the default file in the data folder, which is
//! made and formatted the first time.

use std::io::Read;
use std::path::Path;

use corelith_io::{
    BufferPool, BufferPoolConfig, Device, OpenDevice, OpenOptions, Ring, RingConfig,
};
use corelith_store::volume::{FormatOptions, Volume, format_volume, open_volume};

use crate::boot::BootError;
use crate::cpus::allowed_cpus;
use crate::limits::INDEX_MEMORY_PERCENT;
use crate::options::Options;

/// Name of the default volume in the data folder.
const FILE_NAME: &str = "volume.corelith";
/// Its name until it is formatted, so that a crash meanwhile leaves nothing that looks like a volume.
const UNFINISHED_NAME: &str = "volume.corelith.unfinished";

/// A volume with its devices, in slot order.
pub(crate) struct OpenVolume {
    pub(crate) volume: Volume,
    pub(crate) devices: Vec<OpenDevice>,
}

impl OpenVolume {
    /// Shards of the volume.
    pub(crate) fn shard_count(&self) -> u16 {
        self.volume.label().map_or(1, |label| label.shard_count)
    }

    /// Identity of the node, the same over restarts.
    pub(crate) fn node_id(&self) -> u64 {
        let volume = self.volume.label().map_or([0; 16], |label| label.volume);
        volume
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Name of the namespace.
    pub(crate) fn namespace(&self) -> String {
        self.volume
            .label()
            .map_or_else(String::new, |label| label.namespace.clone())
    }

    /// One line for the log.
    pub(crate) fn describe(&self) -> String {
        let devices: Vec<String> = self
            .devices
            .iter()
            .map(|device| {
                let geometry = device.geometry();
                format!(
                    "{} ({} MiB, {}-byte blocks, O_DIRECT, {:?})",
                    device.name(),
                    geometry.size_bytes >> 20,
                    geometry.logical_block_bytes,
                    geometry.durability
                )
            })
            .collect();
        let segment_bytes = self.volume.label().map_or(0, |label| label.segment_bytes);
        format!(
            "{}, {} shards, segments of {} KiB",
            devices.join(", "),
            self.shard_count(),
            segment_bytes >> 10
        )
    }
}

/// Opens the volume, or makes the default one.
///
/// # Errors
/// What is wrong with the folder, a device or the volume.
pub(crate) fn open(options: &Options) -> Result<OpenVolume, BootError> {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 0,
        limit_bytes: 256 << 20,
    })?;
    let config = RingConfig {
        receive_buffer_count: 0,
        ..RingConfig::default()
    };
    let ring = Ring::new(config, &pool)?;
    if options.devices.is_empty() {
        let file = options.data_dir.join(FILE_NAME);
        if !file.exists() {
            create_default(options, (&ring, &pool))?;
        }
        return open_devices(&[file.as_path()], options, (&ring, &pool));
    }
    let paths: Vec<&Path> = options
        .devices
        .iter()
        .map(std::path::PathBuf::as_path)
        .collect();
    open_devices(&paths, options, (&ring, &pool))
}

fn open_devices(
    paths: &[&Path],
    options: &Options,
    (ring, pool): (&Ring, &BufferPool),
) -> Result<OpenVolume, BootError> {
    let open_options = OpenOptions {
        durability: options.durability.into(),
        ..OpenOptions::default()
    };
    let mut opened = Vec::new();
    let mut attached: Vec<Device> = Vec::new();
    for path in paths {
        let device = OpenDevice::open(path, open_options)?;
        attached.push(device.attach(ring)?);
        opened.push(device);
    }
    let (volume, positions) = ring.block_on(open_volume(&attached, pool))??;
    let devices = positions
        .into_iter()
        .filter_map(|at| opened.get(at).cloned())
        .collect();
    Ok(OpenVolume { volume, devices })
}

/// Makes the default file volume: under another name until it is whole.
fn create_default(options: &Options, (ring, pool): (&Ring, &BufferPool)) -> Result<(), BootError> {
    let folder = &options.data_dir;
    let folder_error = |error| BootError::Folder {
        path: folder.clone(),
        error,
    };
    std::fs::create_dir_all(folder).map_err(folder_error)?;
    let unfinished = folder.join(UNFINISHED_NAME);
    if unfinished.exists() {
        std::fs::remove_file(&unfinished).map_err(folder_error)?;
    }
    let file = OpenDevice::create_file(&unfinished, options.size_bytes)?;
    let device = file.attach(ring)?;
    let cores = u16::try_from(allowed_cpus().len()).unwrap_or(u16::MAX);
    let shard_count = options.shards.unwrap_or(cores.clamp(8, 256));
    let identity = |_| random_identity().map_err(folder_error);
    let (volume, device_identity) = (identity(())?, identity(())?);
    let mut format = FormatOptions::new(
        &options.namespace,
        shard_count,
        volume,
        vec![device_identity],
    );
    format.created_ms = corelith_io::Clock::real().wall_ms();
    let formatted = ring.block_on(format_volume(&[device], pool, &format))?;
    if let Err(error) = formatted {
        drop(file);
        // What could not be formatted is of no use to anyone.
        drop(std::fs::remove_file(&unfinished));
        return Err(error.into());
    }
    drop(file);
    std::fs::rename(&unfinished, folder.join(FILE_NAME)).map_err(folder_error)?;
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(folder_error)?;
    tracing::info!(
        "made a volume of {} MiB in {}",
        options.size_bytes >> 20,
        folder.display()
    );
    Ok(())
}

fn random_identity() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of DRAM that the index of each shard may take: a share of the machine's memory.
pub(crate) fn index_memory_bytes(shard_count: u16) -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_bytes(&text));
    // Without a figure the machine is taken for a small one.
    let total = total.unwrap_or(4 << 30);
    total / 100 * INDEX_MEMORY_PERCENT / u64::from(shard_count.max(1))
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(
            total_bytes("MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            Some(1 << 20)
        );
        assert_eq!(total_bytes("nothing"), None);
    }
}
