//! `completion` and `man`: the command line told to shells and to `man`, both from clap's own
//! description of it, so that they cannot say anything else than the help.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;
use serde::Serialize;

use crate::arguments::{Arguments, CompletionArguments, ManArguments};
use crate::failure::Failure;
use crate::output::{Output, unwritable};

/// `corelith completion`.
///
/// # Errors
/// Standard output cannot be written.
pub fn completion(arguments: &CompletionArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "corelith",
        &mut script,
    );
    let mut output = Output::new();
    output
        .write_all(&script)
        .map_err(|error| unwritable(&error))?;
    output.finish()
}

/// What `man` has written, for programs.
#[derive(Serialize)]
struct Written {
    files: Vec<PathBuf>,
}

/// `corelith man`.
///
/// # Errors
/// The folder or a page cannot be written; pages before it are there.
pub fn man(arguments: &ManArguments, is_json: bool) -> Result<(), Failure> {
    let folder = &arguments.output;
    std::fs::create_dir_all(folder).map_err(|error| unwritable_page(folder, &error))?;
    // `corelith help put` says what `corelith put --help` says: no pages of its own.
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut files = Vec::new();
    write_pages(&command, folder, &mut files)?;
    let mut output = Output::new();
    if is_json {
        output.json(&Written { files })?;
    } else {
        output.line(format!("{} pages in {}", files.len(), folder.display()))?;
    }
    output.finish()
}

/// The page of a command, then those of the commands below it: as deep as the command line goes.
fn write_pages(
    command: &clap::Command,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<(), Failure> {
    let file = Man::new(command.clone())
        .generate_to(folder)
        .map_err(|error| unwritable_page(folder, &error))?;
    files.push(file);
    for below in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        write_pages(below, folder, files)?;
    }
    Ok(())
}

fn unwritable_page(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!(
            "{}: the manual pages cannot be written: {error}",
            folder.display()
        ),
        "give a folder that can be written with --output",
    )
}
