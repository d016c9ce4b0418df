//! What a node is told: where to listen, on how many cores, and which namespaces from which devices.
//!
//! Four sources, each over the one before: the defaults, the file of `--config`, the environment, the command line. Boot and
//! cores see the one value that comes of them, never a source.

mod change;
mod document;
mod error;
mod keys;
mod live;
mod units;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use corelith_io::DurabilityChoice;
use corelith_store::limits::{CHECKPOINT_INTERVAL_BYTES, CLOCK_JUMP_MAX_DEFAULT_MS};
use corelith_wire::limits::NAMESPACE_NAME_BYTES_MAX;

pub(crate) use change::{Changed, Unchanged};
pub(crate) use error::ConfigurationError;
pub(crate) use keys::{Setting, cpu_list};
pub(crate) use live::{LiveSettings, Reload};
pub(crate) use units::{
    SlowThreshold, about_size, parse_bytes, parse_flush_interval, parse_seconds, parse_slow_log,
    parse_stop_timeout,
};

use crate::commit::{CommitChoice, CommitPolicy};
use crate::lifetimes::Lifetimes;
use crate::limits::{
    BUFFERS_PER_CORE_DEFAULT_BYTES, CONNECTIONS_PER_CORE_DEFAULT, FLUSH_INTERVAL_DEFAULT_MS,
    HELLO_TIMEOUT_DEFAULT, SCRUB_RATE_DEFAULT_BYTES, STOP_TIMEOUT_DEFAULT, VOLUME_BYTES_DEFAULT,
};
use crate::logging::{LogFormat, LogLevel};
use crate::options::Options;

/// Everything that a node is told before it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Configuration {
    /// The shared port of the native protocol; cores take the ports after it.
    pub(crate) listen: SocketAddr,
    /// The control page.
    pub(crate) control: SocketAddr,
    /// Listen beyond this machine, although nobody is asked who they are.
    pub(crate) allow_unauthenticated: bool,
    /// Which CPUs.
    pub(crate) cores: CoreChoice,
    /// Memory that the node may take; `None` for a share of the machine's or the control group's.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Memory of a core for device reads and writes.
    pub(crate) buffers_per_core_bytes: u64,
    /// Connections that a core takes.
    pub(crate) connections_per_core_max: usize,
    /// How long a connection may take for its hello.
    pub(crate) hello_timeout: Duration,
    /// How much is logged.
    pub(crate) log_level: LogLevel,
    /// And how.
    pub(crate) log_format: LogFormat,
    /// Serve although acknowledged writes were lost. Of the command line alone: it is for one start.
    pub(crate) accept_stale: bool,
    /// From what time on an operation is slow.
    pub(crate) slow_log: SlowThreshold,
    /// How far the wall clock may step ahead before no write is taken, in ms; `u64::MAX` for as far as it likes.
    pub(crate) clock_jump_max_ms: u64,
    /// How long a stop may take.
    pub(crate) stop_timeout: Duration,
    /// In the order of their numbers on the wire.
    pub(crate) namespaces: Vec<NamespaceConfiguration>,
}

/// Which CPUs the cores run on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CoreChoice {
    /// All that the process may run on.
    All,
    /// The first so many of them.
    Count(u16),
    /// These, by the kernel's numbers.
    Cpus(Vec<usize>),
}

/// What a node is told of one namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NamespaceConfiguration {
    /// Its name, with which the labels of its devices must agree. `None`: whatever the labels say, and devices
    /// of several volumes are several namespaces.
    pub(crate) name: Option<String>,
    /// Devices or files that hold its volume already, in any order.
    pub(crate) devices: Vec<PathBuf>,
    /// A file that is made and formatted when it is not there.
    pub(crate) file: Option<PathBuf>,
    /// Its records are in memory, and gone at a stop.
    pub(crate) is_in_memory: bool,
    /// Size of a file that is made, or of the memory.
    pub(crate) size_bytes: u64,
    /// Shards of a volume that is made; `None` for the default.
    pub(crate) shard_count: Option<u16>,
    /// When writes are answered.
    pub(crate) commit: CommitPolicy,
    /// How writes become durable.
    pub(crate) durability: DurabilityChoice,
    /// How long records live.
    pub(crate) lifetimes: Lifetimes,
    /// Memory of the record caches of all its shards together; 0 for none.
    pub(crate) record_cache_bytes: u64,
    /// Bytes a second that a scrub of its volume reads; 0 for no scrub.
    pub(crate) scrub_rate_bytes: u64,
    /// Memory of the indexes of all its shards together; `None` for a share of what the memory plan leaves.
    pub(crate) index_memory_bytes: Option<u64>,
    /// Bytes of batches of each shard after which its index is written to the devices again; 0 for never.
    pub(crate) checkpoint_interval_bytes: u64,
    /// The longest content of a record that is written; `None` for what the volume can hold.
    pub(crate) record_bytes_max: Option<u64>,
}

/// Where the records of a namespace are.
pub(crate) enum Storage<'a> {
    /// Devices or files that hold a volume.
    Devices(&'a [PathBuf]),
    /// A file that is made when it is not there.
    File(&'a std::path::Path),
    /// Memory of the node.
    Memory,
}

impl Default for Configuration {
    fn default() -> Self {
        let local = |port| SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        Self {
            listen: local(4100),
            control: local(4190),
            allow_unauthenticated: false,
            cores: CoreChoice::All,
            memory_limit_bytes: None,
            buffers_per_core_bytes: BUFFERS_PER_CORE_DEFAULT_BYTES,
            connections_per_core_max: CONNECTIONS_PER_CORE_DEFAULT,
            hello_timeout: HELLO_TIMEOUT_DEFAULT,
            clock_jump_max_ms: CLOCK_JUMP_MAX_DEFAULT_MS,
            stop_timeout: STOP_TIMEOUT_DEFAULT,
            slow_log: SlowThreshold::DEFAULT,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            accept_stale: false,
            namespaces: vec![NamespaceConfiguration {
                file: Some(PathBuf::from("corelith-data").join(FILE_NAME)),
                ..NamespaceConfiguration::new(None)
            }],
        }
    }
}

/// Name of the default volume in the data folder.
pub(crate) const FILE_NAME: &str = "volume.corelith";

impl NamespaceConfiguration {
    pub(crate) fn new(name: Option<String>) -> Self {
        Self {
            name,
            devices: Vec::new(),
            file: None,
            is_in_memory: false,
            size_bytes: VOLUME_BYTES_DEFAULT,
            shard_count: None,
            commit: CommitPolicy {
                choice: CommitChoice::Durable,
                flush_interval: Duration::from_millis(FLUSH_INTERVAL_DEFAULT_MS),
            },
            durability: DurabilityChoice::Kernel,
            lifetimes: Lifetimes::default(),
            record_cache_bytes: 0,
            scrub_rate_bytes: SCRUB_RATE_DEFAULT_BYTES,
            index_memory_bytes: None,
            checkpoint_interval_bytes: CHECKPOINT_INTERVAL_BYTES,
            record_bytes_max: None,
        }
    }

    /// Where its records are. [`Configuration::load`] has seen that it is said once.
    pub(crate) fn storage(&self) -> Storage<'_> {
        match &self.file {
            _ if self.is_in_memory => Storage::Memory,
            Some(file) => Storage::File(file),
            None => Storage::Devices(&self.devices),
        }
    }

    /// For messages.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("test")
    }
}

impl Configuration {
    /// Reads the file, if one is named, and lays the command line over it.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or the first thing that does not go together.
    pub(crate) fn load(options: &Options) -> Result<Self, ConfigurationError> {
        let mut configuration = Self::default();
        if let Some(path) = &options.config {
            let text =
                std::fs::read_to_string(path).map_err(|error| ConfigurationError::Unreadable {
                    path: path.clone(),
                    error,
                })?;
            configuration
                .read(&text)
                .map_err(|problems| ConfigurationError::File {
                    path: path.clone(),
                    problems,
                })?;
        }
        options.lay_over(&mut configuration)?;
        configuration.check()?;
        Ok(configuration)
    }

    /// Takes what a file says.
    fn read(&mut self, text: &str) -> Result<(), Vec<document::Problem>> {
        let (entries, mut problems) = document::parse(text)?;
        if entries.iter().any(|entry| entry.namespace.is_some()) {
            self.namespaces.clear();
        }
        for entry in entries {
            if let Err(problem) = self.set(&entry) {
                problems.push(problem);
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Whether everything goes together, as far as can be seen without a device.
    fn check(&self) -> Result<(), ConfigurationError> {
        for address in [self.listen, self.control] {
            if !address.ip().is_loopback() && !self.allow_unauthenticated {
                return Err(ConfigurationError::NotLoopback { address });
            }
        }
        let mut seen: Vec<(&PathBuf, &str)> = Vec::new();
        for namespace in &self.namespaces {
            let name = namespace.name().to_owned();
            if name.is_empty() || name.len() > NAMESPACE_NAME_BYTES_MAX {
                return Err(ConfigurationError::Name { name });
            }
            let places = [
                !namespace.devices.is_empty(),
                namespace.file.is_some(),
                namespace.is_in_memory,
            ];
            if places.into_iter().filter(|is_named| *is_named).count() != 1 {
                return Err(ConfigurationError::Storage { name });
            }
            if namespace.is_in_memory && namespace.record_cache_bytes > 0 {
                return Err(ConfigurationError::CacheOfMemory { name });
            }
            let Lifetimes { default_s, max_s } = namespace.lifetimes;
            if max_s.is_some_and(|max_s| default_s.is_none_or(|default_s| default_s > max_s)) {
                return Err(ConfigurationError::Lifetimes { name });
            }
            for path in namespace.devices.iter().chain(&namespace.file) {
                if let Some((_, first)) = seen.iter().find(|(known, _)| *known == path) {
                    return Err(ConfigurationError::PathTwice {
                        path: path.clone(),
                        first: (*first).to_owned(),
                        second: name,
                    });
                }
                seen.push((path, namespace.name()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
