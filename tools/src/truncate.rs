//! `truncate`: deletes all records of a set or of a namespace, after the name has been typed once more.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::arguments::TruncateArguments;
use crate::failure::Failure;
use crate::node::{failure_of, namespace_of, with_node};
use crate::output::Output;

/// What it says for programs.
#[derive(Serialize)]
struct Truncated {
    shards: u16,
}

/// `corelith truncate`.
///
/// # Errors
/// Nobody has confirmed it, nothing was deleted, or that is in doubt.
pub fn truncate(arguments: &TruncateArguments, is_json: bool) -> Result<(), Failure> {
    let (what, shards) = with_node(&arguments.place.node, async |client| {
        let namespace = namespace_of(&arguments.place, &client).await?;
        let what = what_of(arguments, namespace.name());
        if !arguments.yes {
            let name = arguments.set.as_deref();
            confirm(&what, name.unwrap_or(namespace.name()))?;
        }
        let truncated = match &arguments.set {
            Some(set) => namespace.set(set).truncate().await,
            None => namespace.truncate().await,
        };
        Ok((what, truncated.map_err(failure_of)?))
    })?;
    let mut output = Output::new();
    if is_json {
        output.json(&Truncated { shards })?;
    } else {
        output.line(format!("deleted {what}"))?;
    }
    output.finish()
}

fn what_of(arguments: &TruncateArguments, namespace: &str) -> String {
    match &arguments.set {
        Some(set) => format!("all records of the set {set:?} in the namespace {namespace:?}"),
        None => format!("ALL records of the namespace {namespace:?}"),
    }
}

/// Asks for the name on the terminal.
fn confirm(what: &str, name: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(
            "nobody is there to confirm it: standard input is no terminal",
            "add --yes to delete without being asked",
        ));
    }
    // Not on standard output, which programs may read.
    let mut question = std::io::stderr();
    let asked = write!(
        question,
        "This deletes {what}, for good. Type the name {name:?} without quotes to go on: "
    );
    let mut typed = String::new();
    asked
        .and_then(|()| question.flush())
        .and_then(|()| stdin.read_line(&mut typed))
        .map_err(|error| Failure::new(format!("the answer cannot be read: {error}"), ""))?;
    is_confirmed(&typed, name)
}

fn is_confirmed(typed: &str, name: &str) -> Result<(), Failure> {
    if typed.trim_end_matches(['\r', '\n']) == name {
        return Ok(());
    }
    Err(Failure::new(
        "that is not the name: nothing was deleted",
        "run the command again, or with --yes to be asked nothing",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_itself_confirms() {
        for typed in ["users\n", "users\r\n", "users"] {
            assert_eq!(is_confirmed(typed, "users"), Ok(()));
        }
        for typed in ["", "\n", "y\n", "yes\n", "user\n", "USERS\n", "\"users\"\n"] {
            assert!(is_confirmed(typed, "users").is_err(), "{typed:?}");
        }
    }
}
