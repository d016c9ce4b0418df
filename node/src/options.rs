//! The command line of `corelithd`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use corelith_io::DurabilityChoice;
use corelith_wire::limits::TTL_S_MAX;

use crate::commit::{CommitChoice, CommitPolicy, parse_flush_interval};
use crate::configuration::{Configuration, NamespaceConfiguration, Storage};
use crate::lifetimes::Lifetimes;

/// Corelith storage node: a durable record store on raw NVMe drives.
///
/// Without arguments it serves the namespace "test" from a 4 GiB file in ./corelith-data, on all
/// cores, to local clients only. With --device it serves a volume that `corelith volume create` made.
#[derive(Parser, Debug)]
#[command(
    name = "corelithd",
    version,
    after_help = "Examples:
  corelithd                                    serve ./corelith-data, made if it is not there
  corelithd --device /dev/nvme0n1 --device /dev/nvme1n1
  corelithd --cores 2 --listen 127.0.0.1:5100

Then, from another shell:
  corelith ping
  corelith put alice city=Berlin age:integer=31
  corelith get alice

Stop with SIGTERM or ctrl-c: what was accepted is finished and made durable first."
)]
pub(crate) struct Options {
    /// Folder of the default file volume.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "corelith-data",
        env = "CORELITH_DATA_DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// A device or file of a volume; repeat for each. They must be formatted
    /// (`corelith volume create`); their order does not matter. Devices of several volumes are several
    /// namespaces, each with the name in its label.
    #[arg(long = "device", value_name = "PATH")]
    pub(crate) devices: Vec<PathBuf>,

    /// Address of the native protocol. Each core listens on a port of its own after this one. Only
    /// loopback addresses are taken while there are no users and no TLS.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4100",
        env = "CORELITH_LISTEN"
    )]
    pub(crate) listen: SocketAddr,

    /// Address of the control page: /metrics, /live and /ready over HTTP.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4190",
        env = "CORELITH_CONTROL"
    )]
    pub(crate) control: SocketAddr,

    /// Cores to use, from 1 to the number of shards [default: all that this process may run on].
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<u16>,

    /// Name of the namespace [default: as the volume says, and "test" for a new default volume].
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// Time to live of records whose writes leave it to the namespace, in seconds [default: they do not
    /// expire].
    #[arg(long = "default-ttl", value_name = "SECONDS", value_parser = parse_ttl)]
    pub(crate) default_ttl_s: Option<NonZeroU32>,

    /// Size of a new default volume in bytes; K, M, G and T are powers of 1024.
    #[arg(long = "size", value_name = "BYTES", default_value = "4G", value_parser = parse_size)]
    pub(crate) size_bytes: u64,

    /// Shards of a new default volume [default: the larger of 8 and the number of cores].
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<u16>,

    /// How writes become durable on the devices of the volume.
    #[arg(long, value_name = "WAY", value_enum, default_value = "auto")]
    pub(crate) durability: DurabilityOption,

    /// When writes are answered.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "durable")]
    pub(crate) commit: CommitChoice,

    /// How often writes that were answered before they were durable are sent to the devices, from 1ms to 1s: what
    /// a crash may take back.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_flush_interval)]
    pub(crate) flush_interval: std::time::Duration,

    /// Serve although recovery found that acknowledged writes were lost: an operator accepts that
    /// answers may be older than what was acknowledged.
    #[arg(long)]
    pub(crate) accept_stale: bool,

    /// How much is logged; RUST_LOG overrides it with tracing's own filter syntax.
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "info")]
    pub(crate) log_level: LogLevel,

    /// Form of the log on standard error.
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Write the manual page to standard output, for a packager, and end.
    #[arg(long)]
    pub(crate) man: bool,

    /// Write the completion script of a shell to standard output and end.
    #[arg(long, value_name = "SHELL")]
    pub(crate) completion: Option<clap_complete::Shell>,
}

/// How writes become durable.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DurabilityOption {
    /// As the kernel says that each device works.
    Auto,
    /// By flushes, each for all writes that had completed before it.
    Flush,
    /// By forced writes, on block devices. The kernel adds a flush to each where a device has none.
    Fua,
}

impl From<DurabilityOption> for DurabilityChoice {
    fn from(option: DurabilityOption) -> Self {
        match option {
            DurabilityOption::Auto => Self::Kernel,
            DurabilityOption::Flush => Self::Flush,
            DurabilityOption::Fua => Self::Fua,
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    /// Only what someone must look at.
    Error,
    /// And what someone should know.
    Warn,
    /// And what happens in the life of a node.
    Info,
    /// And what a developer wants to see.
    Debug,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Name of the default volume in the data folder.
const FILE_NAME: &str = "volume.corelith";

impl Options {
    /// What the node is told by these.
    pub(crate) fn configuration(&self) -> Configuration {
        let storage = if self.devices.is_empty() {
            Storage::File {
                path: self.data_dir.join(FILE_NAME),
                size_bytes: self.size_bytes,
            }
        } else {
            Storage::Devices(self.devices.clone())
        };
        Configuration {
            listen: self.listen,
            control: self.control,
            cores: self.cores,
            accept_stale: self.accept_stale,
            namespaces: vec![NamespaceConfiguration {
                name: self.namespace.clone(),
                storage,
                shard_count: self.shards,
                commit: CommitPolicy {
                    choice: self.commit,
                    flush_interval: self.flush_interval,
                },
                durability: self.durability.into(),
                lifetimes: Lifetimes {
                    default_s: self.default_ttl_s,
                    max_s: None,
                },
            }],
        }
    }

    /// Sends the log to standard error in the form asked for.
    pub(crate) fn start_logging(&self) {
        let level = match self.log_level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        };
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => builder.with_ansi(false).init(),
            LogFormat::Json => builder.json().init(),
        }
    }
}

/// Reads "4G", "512M", "1048576".
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.chars().last() {
        Some('K' | 'k') => (text.get(..text.len() - 1), 10),
        Some('M' | 'm') => (text.get(..text.len() - 1), 20),
        Some('G' | 'g') => (text.get(..text.len() - 1), 30),
        Some('T' | 't') => (text.get(..text.len() - 1), 40),
        _ => (Some(text), 0),
    };
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|size| *size > 0)
        .ok_or_else(|| {
            format!("{text:?} is no size: write a number of bytes, or one with K, M, G or T")
        })
}

fn parse_ttl(text: &str) -> Result<NonZeroU32, String> {
    text.parse::<NonZeroU32>()
        .ok()
        .filter(|seconds| seconds.get() <= TTL_S_MAX)
        .ok_or_else(|| format!("write a number of seconds from 1 to {TTL_S_MAX} (ten years)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4G"), Ok(4 << 30));
        assert_eq!(parse_size("512m"), Ok(512 << 20));
        assert_eq!(parse_size("1048576"), Ok(1 << 20));
        for wrong in ["", "G", "0", "-1", "4GiB", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
