//! Why a configuration is not taken.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::document::Problem;

/// What is wrong, with what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigurationError {
    /// No such file, or not readable.
    #[error("{path}: {error}; give the configuration's path with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// Something in the file.
    #[error("{path}, {}", lines(.problems))]
    File {
        /// The file.
        path: PathBuf,
        /// All that is wrong, in the order of its lines.
        problems: Vec<Problem>,
    },
    /// Flags that say something of one namespace, beside a file with several.
    #[error(
        "the file has {count} namespaces, so the command line cannot say which one {flag} is for: say it in \
         the file"
    )]
    WhichNamespace {
        /// A flag that was given.
        flag: &'static str,
        /// Namespaces of the file.
        count: usize,
    },
    /// Listening beyond this machine.
    #[error(
        "{address} is not a loopback address: there are no users and no TLS yet, so whoever reaches it may \
         read and write everything; if its network is closed to others, say so with allow_unauthenticated = \
         true in [node] or --allow-unauthenticated"
    )]
    NotLoopback {
        /// What was asked for.
        address: SocketAddr,
    },
    /// A name that cannot be.
    #[error("{name:?} is no name of a namespace: it has 1 to 31 bytes")]
    Name {
        /// The name.
        name: String,
    },
    /// No place for the records, or two.
    #[error(
        "namespace {name:?}: say where its records are, with one of devices = [\"/dev/...\"], file = \"...\" and \
         storage = \"memory\""
    )]
    Storage {
        /// The namespace.
        name: String,
    },
    /// A cache before what is in memory.
    #[error(
        "namespace {name:?}: its records are in memory already, so a record_cache would only hold them twice: leave \
         record_cache (--record-cache) out, or set it to \"none\""
    )]
    CacheOfMemory {
        /// The namespace.
        name: String,
    },
    /// A longest time to live that the default breaks.
    #[error(
        "namespace {name:?}: with ttl_max records cannot live for ever, so default_ttl must be given and be no \
         longer"
    )]
    Lifetimes {
        /// The namespace.
        name: String,
    },
    /// One device in two places.
    #[error(
        "{path} is named for the namespace {first:?} and for {second:?}: each namespace has devices of its own"
    )]
    PathTwice {
        /// The device or file.
        path: PathBuf,
        /// Where it is named first.
        first: String,
        /// And again.
        second: String,
    },
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n  ")
}
