//! What a node is told: where to listen, on how many cores, and which namespaces from which devices.
//!
//! One value, whichever way it was said: boot and cores never see the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use corelith_io::DurabilityChoice;

use crate::commit::CommitPolicy;
use crate::lifetimes::Lifetimes;

/// Everything that a node is told before it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Configuration {
    /// The shared port of the native protocol; cores take the ports after it.
    pub(crate) listen: SocketAddr,
    /// The control page.
    pub(crate) control: SocketAddr,
    /// Cores to use; `None` for all that the process may run on.
    pub(crate) cores: Option<u16>,
    /// Serve although acknowledged writes were lost.
    pub(crate) accept_stale: bool,
    /// In the order of their numbers on the wire.
    pub(crate) namespaces: Vec<NamespaceConfiguration>,
}

/// What a node is told of one namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NamespaceConfiguration {
    /// Its name, with which the labels of its devices must agree. `None`: whatever the labels say, and devices
    /// of several volumes are several namespaces.
    pub(crate) name: Option<String>,
    /// Where its records are.
    pub(crate) storage: Storage,
    /// Shards of a volume that is made; `None` for the default.
    pub(crate) shard_count: Option<u16>,
    /// When writes are answered.
    pub(crate) commit: CommitPolicy,
    /// How writes become durable.
    pub(crate) durability: DurabilityChoice,
    /// How long records live.
    pub(crate) lifetimes: Lifetimes,
}

/// Where the records of a namespace are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Storage {
    /// Devices or files that hold a volume already, in any order.
    Devices(Vec<PathBuf>),
    /// A file that is made and formatted when it is not there.
    File {
        /// Where.
        path: PathBuf,
        /// As large as this if it is made.
        size_bytes: u64,
    },
}
