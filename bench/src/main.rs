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

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

// The store of a program that ships cannot be made wrong on purpose.
const _: () = assert!(!corelith_store::HAS_PLANTED_BUGS);

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

/// What is made of the command line itself.
#[derive(Args, Debug)]
struct PagesArguments {
    /// The completion script of this shell; without it the manual page.
    #[arg(long, value_name = "SHELL")]
    completion: Option<clap_complete::Shell>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Puts and gets against a running node.
    Run(run::RunArguments),
    /// Random reads or writes on a device through the ring, nothing above it.
    Device(device::DeviceArguments),
    /// Gets and puts through the store in this process, beside the bare ring on the same device.
    Store(store::StoreArguments),
    /// The manual page, or the completion script of a shell, on standard output.
    Pages(PagesArguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Device(arguments) => device::run(&arguments),
        Command::Store(arguments) => store::run(&arguments),
        Command::Pages(arguments) => return write_pages(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("corelith-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn write_pages(arguments: &PagesArguments) -> ExitCode {
    let mut command = Arguments::command();
    let mut page = Vec::new();
    let rendered = match arguments.completion {
        Some(shell) => {
            clap_complete::generate(shell, &mut command, "corelith-bench", &mut page);
            Ok(())
        }
        None => clap_mangen::Man::new(command).render(&mut page),
    };
    match rendered.and_then(|()| std::io::stdout().lock().write_all(&page)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelith-bench: the page cannot be written: {error}");
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
