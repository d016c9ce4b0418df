//! The command line of `corelith`: what it takes and the help that teaches it. Checks what can be
//! checked without a device or a node; does nothing else.

mod backups;
mod commit;
mod operate;
mod operators;
mod pages;
mod records;
mod rows;
mod volumes;

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use backups::{
    BackupArguments, BackupCommand, BackupVerifyArguments, RestoreArguments, RestoreMode,
};
pub use commit::CommitArguments;
pub use operate::OperateArguments;
pub use operators::{
    CloseArguments, ConfigCommand, ConfigGetArguments, ConfigSetArguments, ConnectionColumn,
    ConnectionsArguments, ConnectionsCommand, ControlArguments, QuiesceArguments, SlowArguments,
};
pub use pages::{CompletionArguments, ManArguments};
pub use records::{
    DeleteArguments, ExistsArguments, GetArguments, KeyArguments, KeysArguments, PutArguments,
    ScanArguments, StatsArguments, TouchArguments, TruncateArguments,
};
pub use rows::{ExportArguments, FileFormat, LoadArguments, LoadMode};
pub use volumes::{VolumeCommand, VolumeCreateArguments, VolumeShowArguments};

/// Volumes, records and files of records of Corelith, from the shell.
#[derive(Parser, Debug)]
#[command(
    name = "corelith",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  corelith volume create /dev/nvme0n1 /dev/nvme1n1   make a volume of two drives
  corelith ping                                      is the node there, and what is it?
  corelith put alice city=Berlin age=31              write two bins of one record
  corelith get alice
  corelith load flights.csv --set flights --key carrier,flight,time_hour --null NA
  corelith export --set flights --output flights.jsonl
  corelith help load                                 all that one command takes, with examples

Exit codes:
  0  done
  1  failed: nothing, or not what was asked for, was done
  2  the command line is wrong; or the node could not be reached, the connection was lost, a write is
     in doubt, or some rows of a load failed
  3  there is no such record

Errors go to standard error: a line that says what is wrong, and below it what to do. With --json it is
one object with the members error, remedy, kind (usage, failed, partial, not_found) and exit_code."
)]
pub struct Arguments {
    /// Answer in JSON on standard output, for programs.
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a volume of devices or files, or show one
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Write bins of one record
    Put(PutArguments),
    /// Read one record
    Get(GetArguments),
    /// Ask whether a record is there
    Exists(ExistsArguments),
    /// Read and change bins of one record, in several steps as one
    Operate(OperateArguments),
    /// Remove one record
    Delete(DeleteArguments),
    /// Give one record another time to live
    Touch(TouchArguments),
    /// Read all records of a namespace or set
    Scan(ScanArguments),
    /// Delete all records of a set or of a namespace
    Truncate(TruncateArguments),
    /// Write the rows of a CSV or JSON lines file, one record a row
    Load(LoadArguments),
    /// Write all records into a file, as CSV or JSON lines
    Export(ExportArguments),
    /// Write all records into a file that gives them back exactly, or check one
    Backup(BackupArguments),
    /// Write the records of a backup into a node
    Restore(RestoreArguments),
    /// Show the node's counters
    Stats(StatsArguments),
    /// Ask the node for a sign of life and what it is
    #[command(visible_aliases = ["hello", "info"])]
    Ping(PingArguments),
    /// Show the last slow operations
    Slow(SlowArguments),
    /// Show who is connected, or close a connection
    Connections(ConnectionsArguments),
    /// Take the node out of service before a restart, or back into it
    Quiesce(QuiesceArguments),
    /// Show the configuration of the running node, or change live keys of it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write the completion script of a shell
    Completion(CompletionArguments),
    /// Write the manual pages
    Man(ManArguments),
}

/// Whom to ask.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  corelith ping
  corelith ping --timeout 1 --json")]
pub struct PingArguments {
    /// The node.
    #[command(flatten)]
    pub node: NodeArguments,
}

/// Which node, and how long to wait for it.
#[derive(Args, Clone, Debug)]
pub struct NodeArguments {
    /// The node's address; without a port, 4100 is meant.
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        default_value = "127.0.0.1:4100",
        env = "CORELITH_HOST",
        value_parser = parse_host
    )]
    pub host: String,

    /// How long one operation may take, in seconds.
    #[arg(long = "timeout", value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub timeout: Duration,
}

/// Which records.
#[derive(Args, Clone, Debug)]
pub struct PlaceArguments {
    /// The node.
    #[command(flatten)]
    pub node: NodeArguments,

    /// The namespace [default: the node's only one, or else "test"].
    #[arg(long, value_name = "NAME", env = "CORELITH_NAMESPACE")]
    pub namespace: Option<String>,
}

impl NodeArguments {
    /// The address with its port.
    #[must_use]
    pub fn address(&self) -> String {
        with_port(&self.host, DEFAULT_PORT)
    }
}

/// The address with its port, or with this one if it has none.
fn with_port(host: &str, port: u16) -> String {
    // What has a colon outside brackets has a port; an IPv6 address without brackets has several.
    let after_brackets = host.rsplit(']').next().unwrap_or_default();
    match after_brackets.matches(':').count() {
        0 => format!("{host}:{port}"),
        1 => host.to_owned(),
        _ => format!("[{host}]:{port}"),
    }
}

const DEFAULT_PORT: u16 = 4100;

/// Checks what can be seen of an address without a network: that its port is one.
fn parse_host(text: &str) -> Result<String, String> {
    let after_brackets = text.rsplit(']').next().unwrap_or_default();
    let is_port = match after_brackets.split_once(':') {
        // Without brackets, several colons are an address of version 6 without a port.
        Some((_, rest)) if rest.contains(':') => true,
        Some((_, port)) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    };
    if text.is_empty() || !is_port {
        return Err("write HOST or HOST:PORT, the port a number from 1 to 65535".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            "write a number of seconds above zero, as in 0.5 or 10, without a unit".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_port_may_be_left_out() {
        for (host, address) in [
            ("127.0.0.1", "127.0.0.1:4100"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("node.example", "node.example:4100"),
            ("[::1]", "[::1]:4100"),
            ("[::1]:5000", "[::1]:5000"),
            ("::1", "[::1]:4100"),
        ] {
            let arguments = Arguments::parse_from(["corelith", "ping", "--host", host]);
            let Command::Ping(ping) = arguments.command else {
                panic!("not a ping")
            };
            assert_eq!(ping.node.address(), address);
        }
    }

    #[test]
    fn ports() {
        for host in ["localhost", "127.0.0.1:1", "[::1]:65535", "::1", "[::1]"] {
            assert_eq!(parse_host(host), Ok(host.to_owned()));
        }
        for host in [
            "",
            "localhost:",
            "localhost:abc",
            "127.0.0.1:0",
            "[::1]:99999",
        ] {
            assert!(parse_host(host).is_err(), "{host}");
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "x", "inf", ""] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
