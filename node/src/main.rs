//! `corelithd`, the storage node: boot, configuration, cores, connections, routing, operations,
//! admin and metrics.
//!
//! One glommio executor a core, each with its own ring, devices, shards and connections; nothing is
//! shared between cores but the mailboxes. Reading order: `options` and `boot` say how a node comes
//! to life and ends, `core` what one core runs, `connection` and `operation` what happens to a
//! request, `hop` what happens when it arrived at the wrong core.
#![forbid(unsafe_code)]

// The store of a program that ships cannot be made wrong on purpose.
const _: () = assert!(!corelith_store::HAS_PLANTED_BUGS);

mod limits;

mod configuration;
mod environment;
mod lifetimes;
mod logging;
mod options;
mod pages;

mod boot;
mod commit;
mod control;
mod cpus;
mod descriptors;
mod health;
mod signals;
mod supervisor;
mod volume_setup;

mod core;
mod hot_keys;
mod idle;
mod namespaces;
mod topology;

mod connection;
mod frames;
mod hop;
mod outbox;
mod pace;

mod memory_plan;
mod metrics;
mod operation;
mod refusal;
mod repeated;
mod runners;
mod send_buffers;
mod slow;
mod turns;

use std::io::Write;
use std::process::ExitCode;

use crate::configuration::Configuration;
use crate::logging::{LogFormat, LogLevel};

fn main() -> ExitCode {
    let options = options::Options::read();
    match pages::write(&options) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    }
    let loaded = Configuration::load(&options);
    let (level, format) = match &loaded {
        Ok(configuration) => (configuration.log_level, configuration.log_format),
        Err(_) => (
            options.log_level.unwrap_or(LogLevel::Info),
            options.log_format.unwrap_or(LogFormat::Text),
        ),
    };
    let log = logging::start(level, format);
    let told = environment::told(&options, loaded.as_ref().ok());
    told.iter().for_each(environment::Told::log);
    let ended = match loaded {
        Ok(current) if options.check => boot::check(&current).map(say),
        Ok(current) => boot::run(boot::Settings {
            options,
            current,
            log,
        }),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints a report; whoever does not read it does not want it.
fn say(report: String) {
    drop(std::io::stdout().write_all(report.as_bytes()));
}
