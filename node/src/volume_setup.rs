//! The node's volumes, one for each namespace: the devices that were named, or a file that is made and
//! formatted the first time.

mod whose;

use std::io::Read;
use std::path::{Path, PathBuf};

use corelith_io::{
    Access, BufferPool, BufferPoolConfig, Device, DeviceKind, HugePages, OpenDevice, OpenOptions,
    Ring, RingConfig,
};
use corelith_store::CheckpointPace;
use corelith_store::volume::{FormatOptions, Volume, format_volume, open_volume};
use corelith_wire::limits::NAMESPACES_MAX;

use crate::boot::BootError;
use crate::commit::CommitPolicy;
use crate::configuration::{Configuration, NamespaceConfiguration, Storage};
use crate::cpus::allowed_cpus;
use crate::memory_plan::NamespaceNeeds;
use crate::namespaces::Policy;
pub(crate) use whose::FoundVolume;

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
    /// Memory of its indexes together; `None` for a share of what the plan leaves.
    pub(crate) index_memory_bytes: Option<u64>,
    /// How its indexes are kept on the devices.
    pub(crate) checkpoint: CheckpointPace,
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

    /// What the memory plan must know of it.
    pub(crate) fn needs(&self) -> NamespaceNeeds {
        let devices = self.devices.iter();
        NamespaceNeeds {
            name: self.namespace(),
            shard_count: self.shard_count(),
            volume_bytes: devices.map(|device| device.geometry().size_bytes).sum(),
            is_in_memory: !self.is_lasting(),
            record_cache_bytes: self.record_cache_bytes,
            index_memory_bytes: self.index_memory_bytes,
        }
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
            Storage::Memory if access == Access::ReadOnly => {
                check_size(namespace, &format_options(namespace).map_err(no_identity)?)?;
                continue;
            }
            Storage::Memory => {
                volumes.push(make_in_memory(namespace, (&ring, &pool))?);
                continue;
            }
            Storage::Devices(paths) => paths.to_vec(),
            Storage::File(path) => {
                if !path.exists() {
                    check_size(namespace, &format_options(namespace).map_err(no_identity)?)?;
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
    let by_volume = whose::sort(paths, (namespace, open_options), (ring, pool))?;
    let mut volumes = Vec::new();
    // One rule may be about several volumes, and then about the memory of all of them.
    let volume_count = u64::try_from(by_volume.len()).unwrap_or(u64::MAX);
    let record_cache_bytes = namespace.record_cache_bytes / volume_count.max(1);
    let index_memory_bytes = namespace
        .index_memory_bytes
        .map(|bytes| bytes / volume_count.max(1));
    for one in by_volume {
        let (devices, attached) = (one.devices, one.attached);
        let (volume, positions) = ring.block_on(open_volume(&attached, pool))??;
        tell_damaged_copies(&volume, (&attached, &positions));
        let volume = OpenVolume {
            volume,
            devices: positions
                .into_iter()
                .filter_map(|at| devices.get(at).cloned())
                .collect(),
            policy: Policy::of(namespace),
            commit: namespace.commit,
            record_cache_bytes,
            index_memory_bytes,
            checkpoint: CheckpointPace::every(namespace.checkpoint_interval_bytes),
        };
        check_name(namespace, &volume)?;
        volumes.push(volume);
    }
    Ok(volumes)
}

/// Says of each copy of a label or table that is not what it should be where it stands and what to do.
fn tell_damaged_copies(volume: &Volume, (attached, positions): (&[Device], &[usize])) {
    for (device, position) in volume.devices().iter().zip(positions) {
        let name = attached.get(*position).map_or("", Device::name);
        for copy in &device.damaged_copies {
            tracing::error!(
                device = name,
                offset_bytes = copy.offset_bytes,
                reason = copy.reason,
                "a copy of the volume's label or extent table is damaged; another one serves. See the drive's health, take a \
                 backup, and format the volume anew: when the last copy is lost, so is the volume"
            );
        }
    }
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
    let format = format_options(namespace).map_err(no_identity)?;
    check_size(namespace, &format)?;
    let memory = OpenDevice::in_memory(&name, namespace.size_bytes)?;
    let attached = [memory.attach(ring)?];
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
        index_memory_bytes: namespace.index_memory_bytes,
        // Nothing of them outlives the node.
        checkpoint: CheckpointPace::NONE,
    })
}

/// An error if a volume that is to be made would be too small.
fn check_size(namespace: &NamespaceConfiguration, format: &FormatOptions) -> Result<(), BootError> {
    let needed_bytes = format.bytes_min();
    if namespace.size_bytes >= needed_bytes {
        return Ok(());
    }
    Err(BootError::TooSmall {
        namespace: namespace.name().to_owned(),
        found_bytes: namespace.size_bytes,
        needed_bytes,
        shards: format.shard_count,
        segment_bytes: format.segment_bytes,
        is_file: !namespace.is_in_memory,
    })
}

fn no_identity(error: std::io::Error) -> BootError {
    BootError::Folder {
        path: PathBuf::from("/dev/urandom"),
        error,
    }
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

/// What the memory plan must know of a volume that is not there yet.
fn needs_of_new(namespace: &NamespaceConfiguration) -> NamespaceNeeds {
    NamespaceNeeds {
        name: namespace.name().to_owned(),
        shard_count: shard_count_of_new(namespace),
        volume_bytes: namespace.size_bytes,
        is_in_memory: namespace.is_in_memory,
        record_cache_bytes: namespace.record_cache_bytes,
        index_memory_bytes: namespace.index_memory_bytes,
    }
}

/// The same of all volumes that a start would make.
pub(crate) fn needs_of_all_new(configuration: &Configuration) -> Vec<NamespaceNeeds> {
    let namespaces = configuration.namespaces.iter();
    let new = namespaces.filter(|namespace| match namespace.storage() {
        Storage::Memory => true,
        Storage::File(path) => !path.exists(),
        Storage::Devices(_) => false,
    });
    new.map(needs_of_new).collect()
}

/// The same of those that are there, and of those that a start would make.
pub(crate) fn needs_of_all(
    configuration: &Configuration,
    there: &[OpenVolume],
) -> Vec<NamespaceNeeds> {
    let mut needs: Vec<_> = there.iter().map(OpenVolume::needs).collect();
    needs.extend(needs_of_all_new(configuration));
    needs
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
