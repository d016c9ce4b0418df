//! Why a node does not start, or ends.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::configuration::about_size;
use crate::memory_plan::{MemoryPlan, mebibytes};
use crate::volume_setup::FoundVolume;

/// What went wrong, with what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// What the node was told.
    #[error(transparent)]
    Configuration(#[from] crate::configuration::ConfigurationError),
    /// No io_uring here.
    #[error(transparent)]
    Preflight(#[from] corelith_io::Refusal),
    /// The cores' ports end beyond 65535.
    #[error("the cores' ports after {address} are above 65535: choose a smaller port")]
    PortRange {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The control page's address.
    #[error("the control page cannot listen on {address}: {error}; choose another with --control")]
    Control {
        /// What was asked for.
        address: SocketAddr,
        /// The system's answer.
        error: std::io::Error,
    },
    /// More cores than CPUs.
    #[error("--cores {asked}: this process may run on {cpus} CPUs")]
    TooManyCores {
        /// Asked for.
        asked: usize,
        /// Allowed.
        cpus: usize,
    },
    /// A CPU that the process may not run on.
    #[error(
        "CPU {cpu} is not among those that this process may run on ({allowed:?}): change the list of cores, or \
         what the service manager allows"
    )]
    ForeignCpu {
        /// Asked for.
        cpu: usize,
        /// Allowed.
        allowed: Vec<usize>,
    },
    /// More memory than there may be.
    #[error(
        "the memory plan does not fit:\n{plan}\nraise memory_limit (--memory-limit) to at least {} MiB, or lower {}",
        mebibytes(*.least_bytes), .plan.keys_to_lower()
    )]
    MemoryPlan {
        /// The least that it needs.
        least_bytes: u64,
        /// What it was to be.
        plan: Box<MemoryPlan>,
    },
    /// An index that can hold next to nothing.
    #[error(
        "namespace {namespace:?}: its {shard_count} shards need {} MiB of index_memory at least",
        mebibytes(*.least_bytes)
    )]
    IndexMemory {
        /// The namespace.
        namespace: String,
        /// Its shards.
        shard_count: u16,
        /// The least for all of them.
        least_bytes: u64,
    },
    /// More cores than shards.
    #[error(
        "--cores {asked}: the volumes have {shard_count} shards and each belongs to one core; more \
         cores need a volume formatted with more shards"
    )]
    MoreCoresThanShards {
        /// Asked for.
        asked: usize,
        /// Of all volumes.
        shard_count: usize,
    },
    /// A namespace whose devices hold another one.
    #[error(
        "namespace {asked:?}: its devices ({devices}) hold the namespace {found:?}; give the name of \
         the volume, or its own devices"
    )]
    OtherNamespace {
        /// As it was asked for.
        asked: String,
        /// As the labels say.
        found: String,
        /// Their paths.
        devices: String,
    },
    /// A volume that is to be made and would not hold its shards.
    #[error(
        "namespace {namespace:?}: a volume of {} is too small: {shards} shards with segments of {} take {} MiB at \
         least. Raise size (--size), or lower shards (--shards){}",
        about_size(*.found_bytes), about_size(*.segment_bytes), mebibytes(*.needed_bytes),
        if *.is_file {
            "; `corelith volume create --segment-size` makes volumes with smaller segments"
        } else {
            ""
        }
    )]
    TooSmall {
        /// The namespace.
        namespace: String,
        /// What it is to have.
        found_bytes: u64,
        /// The least.
        needed_bytes: u64,
        /// Its shards.
        shards: u16,
        /// Size of its segments.
        segment_bytes: u64,
        /// It is to be a file.
        is_file: bool,
    },
    /// Devices of several volumes where there may be those of one, or not all devices of each.
    #[error("{}", mixed(.asked.as_deref(), .found))]
    MixedVolumes {
        /// The namespace that they were given for; `None` where each volume is one.
        asked: Option<String>,
        /// What they are.
        found: Vec<FoundVolume>,
    },
    /// Two volumes for one name.
    #[error(
        "two volumes hold a namespace {name:?}: {first} and {second}; a node serves each name once, so \
         leave one of them out"
    )]
    NamespaceTwice {
        /// The name.
        name: String,
        /// Devices of one.
        first: String,
        /// Devices of the other.
        second: String,
    },
    /// One volume, or a copy of it, for two names.
    #[error(
        "{first} and {second} are one volume, or one is a copy of the other: a volume holds one \
         namespace, so leave one of them out"
    )]
    VolumeTwice {
        /// Devices of one.
        first: String,
        /// Devices of the other.
        second: String,
    },
    /// More namespaces than the protocol can number.
    #[error("{found} namespaces: a node serves at most {max}; leave some of them to another node")]
    TooManyNamespaces {
        /// As many.
        found: usize,
        /// As many as can be.
        max: usize,
    },
    /// The data folder.
    #[error("{path}: {error}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A device.
    #[error(transparent)]
    Open(#[from] corelith_io::OpenError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] corelith_store::volume::VolumeError),
    /// A shard.
    #[error(transparent)]
    Shard(#[from] corelith_store::OpenError),
    /// A ring.
    #[error(transparent)]
    Ring(#[from] corelith_io::RingError),
    /// Memory for buffers.
    #[error(transparent)]
    Buffers(#[from] corelith_io::BufferError),
    /// A listening socket.
    #[error("{0}; choose another address with --listen")]
    Listen(#[from] corelith_io::ListenError),
    /// A thread or its executor.
    #[error("a core could not be started: {reason}")]
    Executor {
        /// What the system said.
        reason: String,
    },
    /// An executor that did not come to life.
    #[error(
        "the executor of core {core} could not be made: the limit of locked memory, of open files or of threads may \
         be too low (LimitMEMLOCK=, LimitNOFILE= and TasksMax= of the systemd unit, `ulimit -a`)"
    )]
    NoExecutor {
        /// The core.
        core: u16,
    },
    /// Too little memory may be locked for any executor.
    #[error(
        "the limit of locked memory is {found_bytes} bytes, and the executor of a core needs {needed_bytes}: raise it \
         (LimitMEMLOCK= of the systemd unit, `ulimit -l`, /etc/security/limits.conf); with 8 MiB, the default \
         of most systems, nothing is missing but registered buffers"
    )]
    LockedMemory {
        /// RLIMIT_MEMLOCK.
        found_bytes: u64,
        /// The least.
        needed_bytes: u64,
    },
    /// Signals.
    #[error("signals cannot be blocked: {0}")]
    Signals(nix::Error),
    /// A stop before serving began.
    #[error("stopped before the node was ready")]
    StoppedEarly,
    /// A stop that did not come to its end.
    #[error(
        "the stop was given up after {timeout:?}: core(s) {cores:?} had not finished what was accepted, because a \
         device does not answer or is slow; writes that were not answered are in doubt. Look at the kernel's log, \
         or give the stop more time with --stop-timeout"
    )]
    StopTimeout {
        /// Cores that had not come to their end.
        cores: Vec<u16>,
        /// What they were given.
        timeout: std::time::Duration,
    },
}

impl BootError {
    /// The exit code of a node that ends with this.
    pub(crate) const fn exit_code(&self) -> u8 {
        if matches!(self, Self::StopTimeout { .. }) {
            3
        } else {
            1
        }
    }
}

fn mixed(asked: Option<&str>, found: &[FoundVolume]) -> String {
    let lines: Vec<String> = found.iter().map(|volume| format!("  {volume}")).collect();
    let (count, lines) = (found.len(), lines.join("\n"));
    match asked {
        Some(name) => format!(
            "the devices of namespace {name:?} are of {count} volumes, and a namespace has one:\n{lines}\nleave the \
             devices of the others out of devices = [..], or give them to their own namespace ([namespace.NAME], with \
             the name in their labels)"
        ),
        None => format!(
            "these devices are of {count} volumes, and not all of a volume's are there:\n{lines}\ngive all devices of each \
             volume that is to be served, and none of the others"
        ),
    }
}
