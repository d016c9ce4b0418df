//! `corelith-bench`: load and latency harness, device and store baselines.
//!
//! Never links the node: it speaks to it over the network as any client does. `device` and `store`
//! measure what lies below, on the same device, so that figures can be given as ratios of one run.

mod cpu;
mod device;
mod distribution;
mod failure;
mod report;
mod run;
mod size;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Corelith: a node over the network, the store in-process, or the bare device.
#[derive(Parser, Debug)]
#[command(
    name = "corelith-bench",
    version,
    after_help = "Examples:
  corelith-bench run --load --keys 100000 --value-bytes 256 --operations 1000000 --reads 95
  corelith-bench run --rate 20000 --seconds 30 --reads 50 --distribution zipf
  corelith-bench device /dev/loop0 --depth 64
  corelith-bench store /dev/loop0 --force --records 200000 --depth 64

Latencies are in microseconds. A rate makes an open loop: arrivals keep to their schedule and
latency counts from the intended start; without one, a closed loop of --depth requests."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Puts and gets against a running node.
    Run(run::RunArguments),
    /// Random reads or writes on a device through the ring, nothing above it.
    Device(device::DeviceArguments),
    /// Gets and puts through the store in this process, beside the bare ring on the same device.
    Store(store::StoreArguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Device(arguments) => device::run(&arguments),
        Command::Store(arguments) => store::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("corelith-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
