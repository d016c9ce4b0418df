//! The command line of `corelithd`: a layer over the file and the defaults, so every flag may be absent.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};
use corelith_io::DurabilityChoice;
use corelith_wire::limits::TTL_S_MAX;

use crate::commit::CommitChoice;
use crate::configuration::{
    Configuration, ConfigurationError, CoreChoice, FILE_NAME, NamespaceConfiguration,
    SlowThreshold, cpu_list, parse_bytes, parse_flush_interval, parse_seconds, parse_slow_log,
    parse_stop_timeout,
};
use crate::logging::{LogFormat, LogLevel};

/// Corelith storage node: a durable record store on raw NVMe drives.
///
/// Without arguments it serves the namespace "test" from a 4 GiB file in ./corelith-data, on all
/// cores, to local clients only. With --device it serves a volume that `corelith volume create` made,
/// with --config what a file says.
#[derive(Parser, Clone, Debug, Default)]
#[command(
    name = "corelithd",
    version,
    after_help = "Examples:
  corelithd                                    serve ./corelith-data, made if it is not there
  corelithd --device /dev/nvme0n1 --device /dev/nvme1n1
  corelithd --cores 2 --listen 127.0.0.1:5100
  corelithd --config /etc/corelithd.toml --check

Then, from another shell:
  corelith ping
  corelith put alice city=Berlin age:integer=31
  corelith get alice

What the command line says goes before the environment, the environment before the file, the file before defaults;
flags and variables about a namespace only if there is one. The log names each variable that was taken, and warns
where the file says something else. SIGHUP reads the file again.
Stop with SIGTERM or ctrl-c: what was accepted is finished and made durable first, within --stop-timeout.
A second signal ends the node at once.

Exit codes:
  0    stopped: everything that was accepted is answered and durable
  1    could not start, or could not go on
  2    the command line is wrong
  3    --stop-timeout was over before everything was finished: what was not answered is in doubt
  130  ended at once by a second signal"
)]
pub(crate) struct Options {
    /// Configuration file (TOML); node/corelithd.toml in the sources says what may be in it.
    #[arg(long, value_name = "FILE", env = "CORELITH_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Read and check everything, the devices included, say what a start would do, and do nothing.
    #[arg(long)]
    pub(crate) check: bool,

    /// Folder of the default file volume [default: corelith-data].
    #[arg(long, value_name = "DIR", env = "CORELITH_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// A device or file of a volume; repeat for each. They must be formatted
    /// (`corelith volume create`); their order does not matter. Devices of several volumes are several
    /// namespaces, each with the name in its label.
    #[arg(long = "device", value_name = "PATH")]
    pub(crate) devices: Vec<PathBuf>,

    /// Address of the native protocol. Each core listens on a port of its own after this one. Only
    /// loopback addresses are taken while there are no users and no TLS [default: 127.0.0.1:4100].
    #[arg(long, value_name = "ADDRESS", env = "CORELITH_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,

    /// Address of the control page: /metrics, /live, /ready and /hot over HTTP, and what `corelith slow`, `connections`,
    /// `quiesce` and `config` ask for; they read the same variable [default: 127.0.0.1:4190].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_control, env = "CORELITH_CONTROL")]
    pub(crate) control: Option<SocketAddr>,

    /// Listen beyond this machine, although nobody is asked who they are.
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,

    /// Cores to use, from 1 to the number of shards, or CPUs such as 0-3,8 [default: all that this process
    /// may run on].
    #[arg(long, value_name = "N", value_parser = parse_cores)]
    pub(crate) cores: Option<CoreChoice>,

    /// Name of the namespace [default: as the volume says, and "test" for a new default volume].
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// Time to live of records whose writes leave it to the namespace, in seconds or with a unit such as 30d
    /// [default: they do not expire].
    #[arg(long = "default-ttl", value_name = "TIME", value_parser = parse_ttl)]
    pub(crate) default_ttl_s: Option<NonZeroU32>,

    /// Size of a new default volume, in bytes or with a unit: K, M, G and T are powers of 1024 [default: 4G].
    #[arg(long = "size", value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) size_bytes: Option<u64>,

    /// Shards of a new default volume [default: the larger of 8 and the number of cores].
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<u16>,

    /// How writes become durable on the devices of the volume [default: auto].
    #[arg(long, value_name = "WAY", value_enum)]
    pub(crate) durability: Option<DurabilityOption>,

    /// When writes are answered [default: durable].
    #[arg(long, value_name = "WHEN", value_enum)]
    pub(crate) commit: Option<CommitChoice>,

    /// How often writes that were answered before they were durable are sent to the devices, from 1ms to 1s: what
    /// a crash may take back [default: 100ms].
    #[arg(long, value_name = "TIME", value_parser = parse_flush_interval)]
    pub(crate) flush_interval: Option<Duration>,

    /// From what time on an operation is slow, from its arrival to its answer: `corelith slow` shows the last ones,
    /// and one in ten seconds is logged. "off" for none [default: 10ms].
    #[arg(long, value_name = "TIME", value_parser = parse_slow_log)]
    pub(crate) slow_log: Option<SlowThreshold>,

    /// How long a stop may take, from 100ms to 1h. Clients that do not take their answers are cut after a quarter
    /// of it; what a device has not done when it is over is given up.
    /// [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_stop_timeout)]
    pub(crate) stop_timeout: Option<Duration>,

    /// Memory for hot and just written records, in bytes or with a unit, for all shards together. Gets of what it
    /// holds cost no device read [default: none].
    #[arg(long = "record-cache", value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) record_cache_bytes: Option<u64>,

    /// Memory that the node plans with, in bytes or with a unit; --check shows the plan [default: 80 % of the machine's
    /// or the control group's].
    #[arg(long = "memory-limit", value_name = "BYTES", value_parser = parse_bytes, env = "CORELITH_MEMORY_LIMIT")]
    pub(crate) memory_limit_bytes: Option<u64>,

    /// Serve although recovery found that acknowledged writes were lost: an operator accepts that
    /// answers may be older than what was acknowledged.
    #[arg(long)]
    pub(crate) accept_stale: bool,

    /// How much is logged; RUST_LOG overrides it with tracing's own filter syntax [default: info].
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(crate) log_level: Option<LogLevel>,

    /// Form of the log on standard error [default: text].
    #[arg(long, value_name = "FORM", value_enum)]
    pub(crate) log_format: Option<LogFormat>,

    /// Write the manual page to standard output, for a packager, and end.
    #[arg(long)]
    pub(crate) man: bool,

    /// Write the completion script of a shell to standard output and end.
    #[arg(long, value_name = "SHELL")]
    pub(crate) completion: Option<clap_complete::Shell>,

    /// Which of them the environment says, and not the command line.
    #[arg(skip)]
    pub(crate) from_environment: Vec<Variable>,
}

/// A variable of the environment that stands in for a flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// The flag's place in [`Options`].
    id: &'static str,
    /// The end of the key's name in the configuration; `None` if it has none there.
    pub(crate) key: Option<&'static str>,
}

const VARIABLES: [Variable; 5] = [
    Variable {
        name: "CORELITH_CONFIG",
        id: "config",
        key: None,
    },
    Variable {
        name: "CORELITH_DATA_DIR",
        id: "data_dir",
        key: Some(".file"),
    },
    Variable {
        name: "CORELITH_LISTEN",
        id: "listen",
        key: Some("node.listen"),
    },
    Variable {
        name: "CORELITH_CONTROL",
        id: "control",
        key: Some("node.control"),
    },
    Variable {
        name: "CORELITH_MEMORY_LIMIT",
        id: "memory_limit_bytes",
        key: Some("node.memory_limit"),
    },
];

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

impl Options {
    /// Reads the command line and the environment. Ends the process where there is something else to do than to go on.
    pub(crate) fn read() -> Self {
        let matches = Self::command().get_matches();
        match Self::from_arg_matches(&matches) {
            Ok(mut options) => {
                options.note_environment(&matches);
                options
            }
            Err(error) => error.exit(),
        }
    }

    fn note_environment(&mut self, matches: &ArgMatches) {
        let is_of_environment = |id| matches.value_source(id) == Some(ValueSource::EnvVariable);
        let variables = VARIABLES.into_iter();
        self.from_environment = variables
            .filter(|variable| is_of_environment(variable.id))
            .collect();
    }

    /// As they would be without what the environment says, but for the name of the file.
    pub(crate) fn without_environment(&self) -> Self {
        let mut options = self.clone();
        for variable in &self.from_environment {
            match variable.id {
                "data_dir" => options.data_dir = None,
                "listen" => options.listen = None,
                "control" => options.control = None,
                "memory_limit_bytes" => options.memory_limit_bytes = None,
                _ => {}
            }
        }
        options
    }

    /// Lays what was given over a configuration.
    ///
    /// # Errors
    /// [`ConfigurationError::WhichNamespace`].
    pub(crate) fn lay_over(
        &self,
        configuration: &mut Configuration,
    ) -> Result<(), ConfigurationError> {
        take(&mut configuration.listen, &self.listen);
        take(&mut configuration.control, &self.control);
        take(&mut configuration.cores, &self.cores);
        take(&mut configuration.stop_timeout, &self.stop_timeout);
        if self.memory_limit_bytes.is_some() {
            configuration.memory_limit_bytes = self.memory_limit_bytes;
        }
        take(&mut configuration.slow_log, &self.slow_log);
        take(&mut configuration.log_level, &self.log_level);
        take(&mut configuration.log_format, &self.log_format);
        configuration.allow_unauthenticated |= self.allow_unauthenticated;
        configuration.accept_stale |= self.accept_stale;
        let Some(flag) = self.flag_of_namespace() else {
            return Ok(());
        };
        match configuration.namespaces.as_mut_slice() {
            [only] => {
                self.lay_over_namespace(only);
                Ok(())
            }
            several => Err(ConfigurationError::WhichNamespace {
                flag,
                count: several.len(),
            }),
        }
    }

    fn lay_over_namespace(&self, namespace: &mut NamespaceConfiguration) {
        if let Some(name) = &self.namespace {
            namespace.name = Some(name.clone());
        }
        if let Some(folder) = &self.data_dir {
            namespace.file = Some(folder.join(FILE_NAME));
            namespace.is_in_memory = false;
            namespace.devices.clear();
        }
        if !self.devices.is_empty() {
            namespace.devices.clone_from(&self.devices);
            namespace.file = None;
            namespace.is_in_memory = false;
        }
        take(&mut namespace.size_bytes, &self.size_bytes);
        take(&mut namespace.record_cache_bytes, &self.record_cache_bytes);
        take(&mut namespace.commit.choice, &self.commit);
        take(&mut namespace.commit.flush_interval, &self.flush_interval);
        if self.shards.is_some() {
            namespace.shard_count = self.shards;
        }
        if let Some(durability) = self.durability {
            namespace.durability = durability.into();
        }
        if self.default_ttl_s.is_some() {
            namespace.lifetimes.default_s = self.default_ttl_s;
        }
    }

    /// The first flag that was given and is about a namespace, or the variable that stands in for it.
    fn flag_of_namespace(&self) -> Option<&'static str> {
        let given = [
            ("--namespace", self.namespace.is_some()),
            ("--data-dir", self.data_dir.is_some()),
            ("--device", !self.devices.is_empty()),
            ("--size", self.size_bytes.is_some()),
            ("--record-cache", self.record_cache_bytes.is_some()),
            ("--shards", self.shards.is_some()),
            ("--durability", self.durability.is_some()),
            ("--commit", self.commit.is_some()),
            ("--flush-interval", self.flush_interval.is_some()),
            ("--default-ttl", self.default_ttl_s.is_some()),
        ];
        let mut given = given.into_iter().filter(|(_, is_given)| *is_given);
        let (flag, _) = given.next()?;
        let is_variable = |variable: &&Variable| flag == "--data-dir" && variable.id == "data_dir";
        let variable = self.from_environment.iter().find(is_variable);
        Some(variable.map_or(flag, |variable| variable.name))
    }
}

fn take<T: Clone>(place: &mut T, given: &Option<T>) {
    if let Some(value) = given {
        place.clone_from(value);
    }
}

fn parse_control(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an address with its port, such as 127.0.0.1:4190. Without the flag it is what CORELITH_CONTROL in the \
         environment says, which may be meant for the command `corelith`"
            .to_owned()
    })
}

fn parse_ttl(text: &str) -> Result<NonZeroU32, String> {
    let seconds = u32::try_from(parse_seconds(text)?).ok();
    seconds
        .filter(|seconds| *seconds <= TTL_S_MAX)
        .and_then(NonZeroU32::new)
        .ok_or_else(|| "records live for ten years (3650d) at most".to_owned())
}

fn parse_cores(text: &str) -> Result<CoreChoice, String> {
    if let Ok(count) = text.parse() {
        return Ok(CoreChoice::Count(count));
    }
    cpu_list(text)
        .map(CoreChoice::Cpus)
        .ok_or_else(|| "write a number of cores, or CPUs such as 0-3,8".to_owned())
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
    fn cores() {
        assert_eq!(parse_cores("4"), Ok(CoreChoice::Count(4)));
        let cpus = parse_cores("8,0-2,1");
        assert_eq!(cpus, Ok(CoreChoice::Cpus(vec![0, 1, 2, 8])));
        for wrong in ["", "a", "3-1", "-1", "0-", "70000-70001"] {
            assert!(parse_cores(wrong).is_err(), "{wrong}");
        }
    }
}
