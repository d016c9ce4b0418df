//! `corelithd`, the storage node: boot, configuration, cores, connections, routing, operations,
//! admin and metrics.
//!
//! One glommio executor a core, each with its own ring, devices, shards and connections; nothing is
//! shared between cores but the mailboxes. Reading order: `options` and `boot` say how a node comes
//! to life and ends, `core` what one core runs, `connection` and `operation` what happens to a
//! request, `hop` what happens when it arrived at the wrong core.
#![forbid(unsafe_code)]

mod limits;

mod configuration;
mod lifetimes;
mod options;
mod pages;

mod boot;
mod commit;
mod control;
mod cpus;
mod health;
mod signals;
mod volume_setup;

mod core;
mod idle;
mod namespaces;
mod topology;

mod connection;
mod frames;
mod hop;
mod outbox;

mod metrics;
mod operation;
mod refusal;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let options = options::Options::parse();
    match pages::write(&options) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    }
    options.start_logging();
    match boot::run(&options.configuration()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
