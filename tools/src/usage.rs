//! What the command line has wrong, and the help: clap's own words, on standard error or output as it
//! sees fit. With `--json` a wrong command line is told as the one object that all failures are.

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::failure;

/// The exit code of a command line that is wrong. Others share it; see the help of `corelith`.
const EXIT_CODE: u8 = 2;

/// Tells what clap says, help and version among it, and how the program ends.
#[must_use]
pub fn end(error: &clap::Error) -> ExitCode {
    // Nothing can be done for a reader of the help that has gone.
    if !error.use_stderr() {
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_json(std::env::args_os().skip(1)) && !is_help {
        let (problem, remedy) = parts(&error.to_string());
        eprintln!("{}", failure::object(&problem, &remedy, "usage", EXIT_CODE));
    } else {
        drop(error.print());
    }
    EXIT_CODE.into()
}

/// Whether `--json` was asked for, as far as can be said of a command line that is wrong.
fn is_json(arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> bool {
    let mut options = arguments.take_while(|argument| argument.as_ref() != "--");
    options.any(|argument| argument.as_ref() == "--json")
}

/// The first paragraph is the problem; what follows (tips, the usage, where help is) the remedy.
fn parts(text: &str) -> (String, String) {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (problem, remedy) = text.split_once("\n\n").unwrap_or((text, ""));
    (one_line(problem), one_line(remedy))
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::Parser;

    #[track_caller]
    fn check(arguments: &[&str], problem: &str, remedy: &str) {
        let error = Arguments::try_parse_from([&["corelith"], arguments].concat()).unwrap_err();
        let (found, advice) = parts(&error.to_string());
        assert!(found.contains(problem), "{found}");
        assert!(advice.contains(remedy), "{advice}");
    }

    #[test]
    fn the_nearest_right_thing_is_named() {
        check(&["gett", "a"], "unrecognized subcommand 'gett'", "'get'");
        check(&["get", "a", "--sett", "x"], "'--sett'", "'--set'");
        check(
            &["get", "a", "--key-type", "integr"],
            "'integr'",
            "'integer'",
        );
        check(&["get"], "<KEY>", "Usage: corelith get");
        check(
            &["put", "a", "b:int=5"],
            "did you mean \"integer\"?",
            "--help",
        );
        check(&["put", "a", "city", "x=1"], "as in city=...", "--help");
        check(
            &["load", "f", "--key", "k", "--type", "k=strin"],
            "did you mean \"string\"?",
            "",
        );
        check(&["put", "a", "b=1", "--ttl", "5w"], "30d", "");
        check(&["ping", "--timeout", "10s"], "without a unit", "");
    }

    #[test]
    fn json_is_asked_for_before_the_last_separator() {
        assert!(is_json(["get", "--json", "--wrong"].iter()));
        assert!(!is_json(["get", "--", "--json"].iter()));
        assert!(!is_json(["get", "a"].iter()));
    }
}
