//! Why a command failed, in the form that every command shares: what is wrong, what to do about
//! it, and the exit code that scripts rely on.

use std::fmt;
use std::process::ExitCode;

use serde_json::json;

/// How a command ended that did not succeed. The codes are part of the command's interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// 1: nothing, or not what was asked for, has been done.
    Failed,
    /// 2: perhaps, or a part: the node could not be reached, the connection was lost, a write is in
    /// doubt, some rows of a load failed, a scan met damaged records. What the command line has wrong ends
    /// with 2 as well.
    Partial,
    /// 3: there is no such record.
    NotFound,
}

impl Exit {
    /// Its name, for programs.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::NotFound => "not_found",
        }
    }

    /// The code as the shell sees it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Partial => 2,
            Self::NotFound => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What is wrong, what to do, and how the program ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    problem: String,
    remedy: String,
    exit: Exit,
}

impl Failure {
    /// A failure with exit code 1. The remedy is a request to the operator; empty if there is none.
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
            exit: Exit::Failed,
        }
    }

    /// A failure whose text says both already, as the errors of our crates do.
    pub fn from_text(text: impl fmt::Display) -> Self {
        Self::new(text.to_string(), "")
    }

    /// Whoever read the output has gone: no failure to speak of.
    #[must_use]
    pub fn reader_gone() -> Self {
        Self::new("", "")
    }

    /// Whether it is [`Self::reader_gone`].
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        self.problem.is_empty()
    }

    /// The same failure with another exit code.
    #[must_use]
    pub fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// How the program ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// The object that stands for it with `--json`: `error`, `remedy` (null if that is not known), `kind`
    /// and `exit_code`.
    #[must_use]
    pub fn object(&self) -> String {
        object(
            &self.problem,
            &self.remedy,
            self.exit.kind(),
            self.exit.code(),
        )
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What to do; empty if that is not known.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// The one form in which failures are told to programs.
#[must_use]
pub fn object(problem: &str, remedy: &str, kind: &str, exit_code: u8) -> String {
    let remedy = (!remedy.is_empty()).then_some(remedy);
    json!({ "error": problem, "remedy": remedy, "kind": kind, "exit_code": exit_code }).to_string()
}

/// Two lines: what is wrong, and indented what to do.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "corelith: {}", self.problem)?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(formatter, "\n  {}", self.remedy)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_or_one() {
        let failure = Failure::new("it is broken", "mend it");
        assert_eq!(failure.to_string(), "corelith: it is broken\n  mend it");
        assert_eq!(
            Failure::from_text("it is broken").to_string(),
            "corelith: it is broken"
        );
        assert_eq!(
            failure.object(),
            r#"{"error":"it is broken","exit_code":1,"kind":"failed","remedy":"mend it"}"#
        );
        assert_eq!(failure.exit().code(), 1);
        assert_eq!(failure.with_exit(Exit::NotFound).exit().code(), 3);
    }
}
