//! `corelith-rig`: what runs in the guest of `ci/rig`, beside a node on raw NVMe namespaces. It starts and kills the node, loads it,
//! has the drive's power cut, and compares every answer with what the node has acknowledged. Never links the node; what it knows
//! of the drive is a port on which it can be told to fail.
//!
//! Each line of its standard output is for the host: see `ci/rig`.

mod cuts;
mod functions;
mod load;
mod machine;
mod oracle;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Loads a node on real devices, has their power cut, and checks every answer.
#[derive(Parser, Debug)]
#[command(name = "corelith-rig", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Load, power cut, restart, compare; again and again
    Cuts(CutsArguments),
    /// Serve namespaces of several formats, and lose a drive while serving
    Functions(FunctionsArguments),
    /// Compare a node that runs with what a run expected of it
    Verify(VerifyArguments),
}

#[derive(Args, Debug, Clone)]
struct NodeArguments {
    /// The node's program.
    #[arg(long, value_name = "FILE", default_value = "corelithd")]
    node: PathBuf,

    /// The operator's command.
    #[arg(long, value_name = "FILE", default_value = "corelith")]
    tools: PathBuf,
}

#[derive(Args, Debug, Clone)]
struct CutsArguments {
    #[command(flatten)]
    programs: NodeArguments,

    /// Serial number of the drive.
    #[arg(long)]
    serial: String,

    /// Name of the port on which the drive takes commands.
    #[arg(long)]
    control: String,

    /// Power cuts.
    #[arg(long, default_value_t = 20)]
    cuts: u64,

    /// Where the load's choices come from.
    #[arg(long)]
    seed: u64,

    /// The drive lies about its flushes: what it loses must be found, and the run ends when it is.
    #[arg(long)]
    forgetful: bool,

    /// How the node makes writes durable: see `corelithd --durability`.
    #[arg(long, default_value = "flush")]
    durability: String,
}

#[derive(Args, Debug, Clone)]
struct FunctionsArguments {
    #[command(flatten)]
    programs: NodeArguments,

    /// Serial number of a drive with blocks of 512 bytes.
    #[arg(long)]
    small: String,

    /// Serial numbers of two drives with blocks of 4,096 bytes; the host takes the second one away.
    #[arg(long, num_args = 2)]
    large: Vec<String>,
}

#[derive(Args, Debug, Clone)]
struct VerifyArguments {
    /// The node's address.
    #[arg(long, default_value = "127.0.0.1:4100")]
    address: String,

    /// The lines that the run wrote about what it expected.
    #[arg(long, value_name = "FILE")]
    expected: PathBuf,
}

/// What ends a run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The node gave a wrong answer, lost an acknowledged write, or does not serve what it should.
    #[error("{0}")]
    Node(String),
    /// The machine around it is not what the run needs.
    #[error("the rig: {0}")]
    Rig(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Rig(error.to_string())
    }
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Cuts(arguments) => cuts::run(&arguments),
        Command::Functions(arguments) => functions::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
    };
    let (word, text, code) = match ended {
        Ok(summary) => ("ok", summary, ExitCode::SUCCESS),
        Err(failure) => ("failed", failure.to_string(), ExitCode::FAILURE),
    };
    // A line is all that the host takes for it.
    println!("result {word} {}", text.trim().replace('\n', " | "));
    code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
