//! The node's volumes, one for each namespace: the devices that were named, or a file that is made and
//! formatted the first time.

use std::io::Read;
use std::path::{Path, PathBuf};

use corelith_io::{
    Access, BufferPool, BufferPoolConfig, Device, DeviceKind, HugePages, OpenDevice, OpenOptions,
    Ring, RingConfig,
};
use corelith_store::volume::{FormatOptions, Volume, format_volume, inspect_device, open_volume};
use corelith_wire::limits::NAMESPACES_MAX;

use crate::boot::BootError;
use crate::commit::CommitPolicy;
use crate::configuration::{Configuration, NamespaceConfiguration, Storage};
use crate::cpus::allowed_cpus;
use crate::limits::{
    CONNECTION_BYTES, DMA_BYTES_MAX, INDEX_BYTES_MIN, INDEX_MEMORY_PERCENT, OUTBOXES_BYTES_MAX,
    SEND_BUFFERS_BYTES_MAX,
};
use crate::namespaces::Policy;

/// What a file's name ends with until it is formatted, so that a crash meanwhile leaves nothing that looks
/// like a volume.
const UNFINISHED: &str = ".unfinished";

/// A volume with its devices, in slot order.
pub(crate) struct OpenVolume {
    pub(crate) volume: Volume,
    pub(crate) devices: Vec<OpenDevice>,
    /// The rules of its namespace.
    pub(crate) policy: Policy,
    /// When writes are answered.
    pub(crate) commit: CommitPolicy,
    /// Memory of its record caches together.
    pub(crate) record_cache_bytes: u64,
}

impl OpenVolume {
    /// Shards of the volume.
    pub(crate) fn shard_count(&self) -> u16 {
        self.volume.label().map_or(1, |label| label.shard_count)
    }

    /// Identity that a node has from this volume, the same over restarts.
    pub(crate) fn node_id(&self) -> u64 {
        let volume = self.volume.label().map_or([0; 16], |label| label.volume);
        volume
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Whether it is still there after a stop.
    pub(crate) fn is_lasting(&self) -> bool {
        let mut devices = self.devices.iter();
        devices.all(|device| device.geometry().kind != DeviceKind::Memory)
    }

    /// Name of the namespace.
    pub(crate) fn namespace(&self) -> String {
        self.volume
            .label()
            .map_or_else(String::new, |label| label.namespace.clone())
    }

    /// The paths of its devices.
    fn paths(&self) -> String {
        let paths: Vec<&str> = self.devices.iter().map(OpenDevice::name).collect();
        paths.join(", ")
    }

    fn identity(&self) -> Option<[u8; 16]> {
        self.volume.label().map(|label| label.volume)
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

/// Opens the volumes of all namespaces. To read and write them, it makes the files that are not there; only to look
/// at them, it leaves those out.
///
/// # Errors
/// What is wrong with a folder, a device, a volume, or with all of them together.
pub(crate) fn open(
    configuration: &Configuration,
    access: Access,
) -> Result<Vec<OpenVolume>, BootError> {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 0,
        limit_bytes: 256 << 20,
    })?;
    let config = RingConfig {
        receive_buffer_count: 0,
        ..RingConfig::default()
    };
    let ring = Ring::new(config, &pool)?;
    let mut volumes = Vec::new();
    for namespace in &configuration.namespaces {
        let paths = match namespace.storage() {
            Storage::Memory if access == Access::ReadOnly => continue,
            Storage::Memory => {
                volumes.push(make_in_memory(namespace, (&ring, &pool))?);
                continue;
            }
            Storage::Devices(paths) => paths.to_vec(),
            Storage::File(path) => {
                if !path.exists() {
                    if access == Access::ReadOnly {
                        continue;
                    }
                    create_file(path, namespace, (&ring, &pool))?;
                }
                vec![path.to_owned()]
            }
        };
        let open_options = OpenOptions {
            durability: namespace.durability,
            access,
        };
        volumes.extend(open_namespace(
            &paths,
            (namespace, open_options),
            (&ring, &pool),
        )?);
    }
    check_apart(&volumes)?;
    Ok(volumes)
}

/// Opens the volume of a namespace; without a name, every volume that the devices are of.
fn open_namespace(
    paths: &[PathBuf],
    (namespace, open_options): (&NamespaceConfiguration, OpenOptions),
    (ring, pool): (&Ring, &BufferPool),
) -> Result<Vec<OpenVolume>, BootError> {
    let mut by_volume: Vec<([u8; 16], Vec<OpenDevice>, Vec<Device>)> = Vec::new();
    for path in paths {
        let opened = OpenDevice::open(path, open_options)?;
        let device = opened.attach(ring)?;
        let identity = match namespace.name {
            // A foreign device among those of a named namespace is found, and told, by the store.
            Some(_) => [0; 16],
            None => ring.block_on(inspect_device(&device, pool))??.label.volume,
        };
        match by_volume
            .iter_mut()
            .find(|(known, _, _)| *known == identity)
        {
            Some((_, devices, attached)) => {
                devices.push(opened);
                attached.push(device);
            }
            None => by_volume.push((identity, vec![opened], vec![device])),
        }
    }
    let mut volumes = Vec::new();
    // One rule may be about several volumes, and then about the memory of all of them.
    let volume_count = u64::try_from(by_volume.len()).unwrap_or(u64::MAX);
    let record_cache_bytes = namespace.record_cache_bytes / volume_count.max(1);
    for (_, devices, attached) in by_volume {
        let (volume, positions) = ring.block_on(open_volume(&attached, pool))??;
        let volume = OpenVolume {
            volume,
            devices: positions
                .into_iter()
                .filter_map(|at| devices.get(at).cloned())
                .collect(),
            policy: Policy::of(namespace),
            commit: namespace.commit,
            record_cache_bytes,
        };
        check_name(namespace, &volume)?;
        volumes.push(volume);
    }
    Ok(volumes)
}

/// An error if the namespace was asked for by another name than that of its volume.
fn check_name(namespace: &NamespaceConfiguration, volume: &OpenVolume) -> Result<(), BootError> {
    let found = volume.namespace();
    match &namespace.name {
        Some(asked) if *asked != found => Err(BootError::OtherNamespace {
            asked: asked.clone(),
            found,
            devices: volume.paths(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// An error unless all volumes are different, with different names, and not too many.
fn check_apart(volumes: &[OpenVolume]) -> Result<(), BootError> {
    if volumes.len() > NAMESPACES_MAX {
        return Err(BootError::TooManyNamespaces {
            found: volumes.len(),
            max: NAMESPACES_MAX,
        });
    }
    for (position, second) in volumes.iter().enumerate() {
        for first in volumes.iter().take(position) {
            let paths = (first.paths(), second.paths());
            if first.identity() == second.identity() {
                let (first, second) = paths;
                return Err(BootError::VolumeTwice { first, second });
            }
            if first.namespace() == second.namespace() {
                let (name, (first, second)) = (second.namespace(), paths);
                return Err(BootError::NamespaceTwice {
                    name,
                    first,
                    second,
                });
            }
        }
    }
    Ok(())
}

/// Makes a volume in memory.
fn make_in_memory(
    namespace: &NamespaceConfiguration,
    (ring, pool): (&Ring, &BufferPool),
) -> Result<OpenVolume, BootError> {
    let name = format!("memory of {:?}", namespace.name());
    let memory = OpenDevice::in_memory(&name, namespace.size_bytes)?;
    let attached = [memory.attach(ring)?];
    let format = format_options(namespace).map_err(|error| BootError::Folder {
        path: PathBuf::from("/dev/urandom"),
        error,
    })?;
    ring.block_on(format_volume(&attached, pool, &format))??;
    let (volume, _) = ring.block_on(open_volume(&attached, pool))??;
    if memory.huge_pages() == Some(HugePages::None) {
        tracing::warn!(
            "{name}: there are no huge pages; see that transparent_hugepage is not \"never\""
        );
    }
    Ok(OpenVolume {
        volume,
        devices: vec![memory],
        policy: Policy::of(namespace),
        commit: namespace.commit,
        // Its records are in memory already.
        record_cache_bytes: 0,
    })
}

/// How a volume of one device is formatted.
fn format_options(namespace: &NamespaceConfiguration) -> std::io::Result<FormatOptions> {
    let shard_count = shard_count_of_new(namespace);
    let (volume, device) = (random_identity()?, random_identity()?);
    let mut format = FormatOptions::new(namespace.name(), shard_count, volume, vec![device]);
    format.created_ms = corelith_io::Clock::real().wall_ms();
    Ok(format)
}

/// Makes a file volume: under another name until it is whole.
fn create_file(
    path: &Path,
    namespace: &NamespaceConfiguration,
    (ring, pool): (&Ring, &BufferPool),
) -> Result<(), BootError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let folder_error = |error| BootError::Folder {
        path: folder.to_owned(),
        error,
    };
    std::fs::create_dir_all(folder).map_err(folder_error)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    if unfinished.exists() {
        std::fs::remove_file(&unfinished).map_err(folder_error)?;
    }
    let size_bytes = namespace.size_bytes;
    let file = OpenDevice::create_file(&unfinished, size_bytes)?;
    let device = file.attach(ring)?;
    let name = namespace.name();
    let format = format_options(namespace).map_err(folder_error)?;
    let formatted = ring.block_on(format_volume(&[device], pool, &format))?;
    if let Err(error) = formatted {
        drop(file);
        // What could not be formatted is of no use to anyone.
        drop(std::fs::remove_file(&unfinished));
        return Err(error.into());
    }
    drop(file);
    std::fs::rename(&unfinished, path).map_err(folder_error)?;
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(folder_error)?;
    tracing::info!(
        "made a volume of {} MiB for the namespace {name:?}: {}",
        size_bytes >> 20,
        path.display()
    );
    Ok(())
}

/// Shards of a volume that is made.
pub(crate) fn shard_count_of_new(namespace: &NamespaceConfiguration) -> u16 {
    let cores = u16::try_from(allowed_cpus().len()).unwrap_or(u16::MAX);
    namespace.shard_count.unwrap_or(cores.clamp(8, 256))
}

/// Shards of all volumes.
pub(crate) fn shards_of_all(volumes: &[OpenVolume]) -> usize {
    volumes
        .iter()
        .map(|volume| usize::from(volume.shard_count()))
        .sum()
}

fn random_identity() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of DRAM that the index of each shard may take: its part of what the memory limit leaves beside namespaces in
/// memory, record caches, and the most that buffers and connections of the cores may take; without a limit, of a
/// share of the machine's memory.
///
/// # Errors
/// [`BootError::MemoryLimit`].
pub(crate) fn index_memory_bytes(
    configuration: &Configuration,
    (core_count, shard_count): (usize, usize),
) -> Result<u64, BootError> {
    let to_u64 = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let shards = to_u64(shard_count).max(1);
    let sum_of = |bytes_of: fn(&NamespaceConfiguration) -> u64| {
        let namespaces = configuration.namespaces.iter();
        namespaces.map(bytes_of).fold(0, u64::saturating_add)
    };
    let in_memory_bytes = sum_of(|namespace| {
        if namespace.is_in_memory {
            namespace.size_bytes
        } else {
            0
        }
    });
    let cached_bytes = sum_of(|namespace| namespace.record_cache_bytes);
    let Some(limit_bytes) = configuration.memory_limit_bytes else {
        let total = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| total_bytes(&text));
        // Without a figure the machine is taken for a small one.
        let total_bytes = total.unwrap_or(4 << 30);
        let left_bytes = total_bytes.saturating_sub(in_memory_bytes);
        let share_bytes = left_bytes / 100 * INDEX_MEMORY_PERCENT;
        let index_bytes = share_bytes.saturating_sub(cached_bytes) / shards;
        if index_bytes < INDEX_BYTES_MIN {
            return Err(BootError::MachineMemory {
                planned_bytes: in_memory_bytes.saturating_add(cached_bytes),
                total_bytes,
            });
        }
        return Ok(index_bytes);
    };
    let connections = to_u64(configuration.connections_per_core_max);
    let buffers_bytes = DMA_BYTES_MAX + OUTBOXES_BYTES_MAX + SEND_BUFFERS_BYTES_MAX;
    let of_core =
        to_u64(buffers_bytes).saturating_add(connections.saturating_mul(CONNECTION_BYTES));
    let planned_bytes = of_core
        .saturating_mul(to_u64(core_count))
        .saturating_add(in_memory_bytes)
        .saturating_add(cached_bytes);
    let left_bytes = limit_bytes.saturating_sub(planned_bytes);
    let least_bytes = planned_bytes.saturating_add(shards.saturating_mul(INDEX_BYTES_MIN));
    if limit_bytes < least_bytes {
        return Err(BootError::MemoryLimit {
            left_bytes,
            planned_bytes,
            least_bytes,
            shard_count,
        });
    }
    Ok(left_bytes / shards)
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
    fn the_index_gets_what_the_limit_leaves() {
        let with_limit = |limit_bytes| {
            let configuration = Configuration {
                memory_limit_bytes: Some(limit_bytes),
                connections_per_core_max: 1024,
                ..Configuration::default()
            };
            index_memory_bytes(&configuration, (2, 8))
        };
        // Two cores with 368 MiB of buffers and 4 MiB of connections each.
        let planned = 2 * (372 << 20);
        assert_eq!(with_limit(planned + (1 << 30)).unwrap(), 128 << 20);
        assert_eq!(with_limit(planned + (8 << 20)).unwrap(), 1 << 20);
        let mut with_cache = Configuration {
            memory_limit_bytes: Some(planned + (3 << 30)),
            connections_per_core_max: 1024,
            ..Configuration::default()
        };
        with_cache.namespaces[0].record_cache_bytes = 2 << 30;
        let left = index_memory_bytes(&with_cache, (2, 8)).unwrap();
        assert_eq!(left, 128 << 20);
        let error = with_limit(planned).unwrap_err().to_string();
        assert!(
            error.contains(&(planned + (8 << 20)).to_string()),
            "{error}"
        );
    }

    #[test]
    fn namespaces_in_memory_count() {
        let mut configuration = Configuration {
            memory_limit_bytes: Some(4 << 30),
            connections_per_core_max: 1024,
            ..Configuration::default()
        };
        let without = index_memory_bytes(&configuration, (2, 8)).unwrap();
        configuration.namespaces[0].is_in_memory = true;
        configuration.namespaces[0].size_bytes = 1 << 30;
        let with = index_memory_bytes(&configuration, (2, 8)).unwrap();
        assert_eq!(without - with, (1 << 30) / 8);
        configuration.memory_limit_bytes = None;
        configuration.namespaces[0].size_bytes = 1 << 60;
        let error = index_memory_bytes(&configuration, (2, 8)).unwrap_err();
        assert!(error.to_string().contains("size"), "{error}");
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(
            total_bytes("MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            Some(1 << 20)
        );
        assert_eq!(total_bytes("nothing"), None);
    }
}
