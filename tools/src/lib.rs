//! What the program `corelith` does: volumes, records and files of records from the shell.
//!
//! [`run`] reads the command line, does one thing, and says how it went: results on standard output,
//! failures on standard error as "what is wrong" and "what to do", and a stable exit code. Nothing here
//! links the node; records travel through the client, volumes through the store's own code.

pub mod arguments;
pub mod failure;
pub mod notice;
pub mod output;
pub mod usage;

pub mod volume;

pub mod control;
pub mod damage;
pub mod many;
pub mod node;
pub mod operate;
pub mod operators;
pub mod record_json;
pub mod records;
pub mod scan;
pub mod statistics;
pub mod truncate;

pub mod backup;
pub mod pace;
pub mod restore;

pub mod export;
pub mod load;
pub mod rows;

pub mod pages;

pub mod base64;
pub mod bin_argument;
pub mod cell;
pub mod given_type;
pub mod json;
pub mod key_text;
pub mod nearest;
pub mod set_name;
pub mod size;
pub mod table;
pub mod time_text;
pub mod ttl_text;

use std::process::ExitCode;

use arguments::{Arguments, Command, VolumeCommand};
use clap::Parser;
use failure::Failure;

/// Runs the program. What the command line has wrong ends it here, with code 2.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage::end(&error),
    };
    match carry_out(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_reader_gone() => ExitCode::SUCCESS,
        Err(failure) => {
            if arguments.json {
                eprintln!("{}", failure.object());
            } else {
                eprintln!("{failure}");
            }
            failure.exit().into()
        }
    }
}

fn carry_out(arguments: &Arguments) -> Result<(), Failure> {
    let is_json = arguments.json;
    match &arguments.command {
        Command::Volume(VolumeCommand::Create(create)) => volume::create(create, is_json),
        Command::Volume(VolumeCommand::Show(show)) => volume::show(show, is_json),
        Command::Put(put) => records::put(put, is_json),
        Command::Get(get) => records::get(get, is_json),
        Command::Exists(exists) => records::exists(exists, is_json),
        Command::Operate(operate) => operate::operate(operate, is_json),
        Command::Delete(delete) => records::delete(delete, is_json),
        Command::Touch(touch) => records::touch(touch, is_json),
        Command::Scan(scan) => scan::scan(scan, is_json),
        Command::Truncate(truncate) => truncate::truncate(truncate, is_json),
        Command::Stats(stats) => statistics::stats(stats, is_json),
        Command::Ping(node) => statistics::ping(node, is_json),
        Command::Slow(slow) => operators::slow(slow, is_json),
        Command::Connections(connections) => operators::connections(connections, is_json),
        Command::Quiesce(quiesce) => operators::quiesce(quiesce, is_json),
        Command::Config(config) => operators::config(config, is_json),
        Command::Load(load) => load::load(load, is_json),
        Command::Export(export) => export::export(export, is_json),
        Command::Backup(backup) => backup::backup(backup, is_json),
        Command::Restore(restore) => restore::restore(restore, is_json),
        Command::Completion(completion) => pages::completion(completion),
        Command::Man(man) => pages::man(man, is_json),
    }
}
