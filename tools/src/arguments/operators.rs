//! What operators ask of a running node: connections, slow operations, quiescing, its configuration.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{parse_host, parse_seconds, with_port};

/// Port of the control page where none is named.
const CONTROL_PORT: u16 = 4190;

/// Which control page, and how long to wait for it.
#[derive(Args, Clone, Debug)]
pub struct ControlArguments {
    /// The address of the node's control page; without a port, 4190 is meant.
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        default_value = "127.0.0.1:4190",
        env = "CORELITH_CONTROL",
        value_parser = parse_host
    )]
    pub control: String,

    /// How long to wait for the node, in seconds.
    #[arg(long = "timeout", value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub timeout: Duration,
}

impl ControlArguments {
    /// The address with its port.
    #[must_use]
    pub fn address(&self) -> String {
        with_port(&self.control, CONTROL_PORT)
    }
}

/// Which slow operations.
#[derive(Args, Debug)]
#[command(
    after_help = "An operation is slow from the node's slow_log on (10 ms unless told otherwise; `corelith config set node.slow_log 500us` changes it). Each core keeps its last 128.

WAIT is the time before its owner began: for its turn, and on the way to another core (HOP). STORE is the time that the \
owner had it, which is that of the device for the most part. TOTAL is from its arrival to its answer's place on the way out.

Examples:
  corelith slow
  corelith slow --limit 20 --json"
)]
pub struct SlowArguments {
    /// The node.
    #[command(flatten)]
    pub control: ControlArguments,

    /// The last so many only.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// Which connections.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "WAITING are bytes of answers that the client has not taken yet; IN FLIGHT are its requests without an answer.

Examples:
  corelith connections
  corelith connections --by waiting --limit 10
  corelith connections close 0-17"
)]
pub struct ConnectionsArguments {
    /// What to do with one of them.
    #[command(subcommand)]
    pub command: Option<ConnectionsCommand>,

    /// The node.
    #[command(flatten)]
    pub control: ControlArguments,

    /// What to order them by, the largest first.
    #[arg(long, value_name = "COLUMN", value_enum, default_value = "age")]
    pub by: ConnectionColumn,

    /// The first so many only.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub limit: usize,
}

/// What to do with a connection.
#[derive(Subcommand, Debug)]
pub enum ConnectionsCommand {
    /// Close one: its requests are answered first, and its client has two seconds to take the answers
    Close(CloseArguments),
}

/// Which connection.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corelith connections close 0-17")]
pub struct CloseArguments {
    /// Its ID, as `corelith connections` shows it.
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: String,

    /// The node.
    #[command(flatten)]
    pub control: ControlArguments,
}

/// What connections are ordered by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ConnectionColumn {
    /// How long they have been there.
    Age,
    /// Requests.
    Requests,
    /// Requests without an answer.
    InFlight,
    /// Bytes that came from the client.
    Received,
    /// Bytes that went to it.
    Sent,
    /// Bytes that it has not taken yet.
    Waiting,
}

impl ConnectionColumn {
    /// Its name, for the node.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Requests => "requests",
            Self::InFlight => "in-flight",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Waiting => "waiting",
        }
    }
}

/// Out of service, or back.
#[derive(Args, Debug)]
#[command(
    after_help = "For a restart behind a load balancer. A quiesced node answers /ready with 503 and `quiesced`; requests that \
it had accepted are finished, later ones and new connections are refused with `stopping`, and connections without \
requests are closed. It holds until --undo or a restart.

Examples:
  corelith quiesce
  corelith quiesce --undo"
)]
pub struct QuiesceArguments {
    /// Take work again.
    #[arg(long)]
    pub undo: bool,

    /// The node.
    #[command(flatten)]
    pub control: ControlArguments,
}

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Show all keys of the running node, or the value of one
    Get(ConfigGetArguments),
    /// Change a live key of the running node
    Set(ConfigSetArguments),
}

/// Which keys.
#[derive(Args, Debug)]
#[command(
    after_help = "Values stand as the file would have them. (live) marks what can be changed while the node runs.

Examples:
  corelith config get
  corelith config get node.slow_log
  corelith config get --json"
)]
pub struct ConfigGetArguments {
    /// The whole name of a key, such as node.slow_log or namespace.test.default_ttl [default: all]
    #[arg(value_name = "KEY")]
    pub key: Option<String>,

    /// The node.
    #[command(flatten)]
    pub control: ControlArguments,
}

/// Which key, and to what.
#[derive(Args, Debug)]
#[command(
    after_help = "Only live keys can be changed; the others need a restart. A change holds until the node starts or reads its \
file again (SIGHUP): to keep it, write it into the file too.

Sizes have a unit (B, KiB, MiB, GiB, TiB, powers of 1024), times too (us for slow_log, ms, s, min, h, d).

Examples:
  corelith config set node.slow_log 20ms
  corelith config set node.connections_per_core_max 8192
  corelith config set namespace.test.default_ttl 30d
  corelith config set log.level debug"
)]
pub struct ConfigSetArguments {
    /// The whole name of the key.
    #[arg(value_name = "KEY")]
    pub key: String,

    /// Its value, as in the file; quotes may be left out.
    #[arg(value_name = "VALUE")]
    pub value: String,

    /// The node.
    #[command(flatten)]
    pub control: ControlArguments,
}

fn parse_id(text: &str) -> Result<String, String> {
    let parts = text.split_once('-');
    let is_id = parts
        .is_some_and(|(core, number)| core.parse::<u16>().is_ok() && number.parse::<u64>().is_ok());
    if is_id {
        return Ok(text.to_owned());
    }
    Err("write an ID such as 0-17, as `corelith connections` shows it".to_owned())
}
