//! A finding: one place where the tree breaks one rule.
//!
//! Holds no remedy: each rule states its own once, for all its findings.

use std::fmt;

/// One place where the tree breaks a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Line in the file, counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl Finding {
    /// A finding on one line, counted from 1.
    pub fn at(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }

    /// A finding about a whole file.
    pub fn whole(path: &str, what: impl Into<String>) -> Self {
        Self::at(path, 0, what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.what),
            line => write!(formatter, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Ends the test with every finding and the rule's remedy, if there are findings.
///
/// # Panics
///
/// When there is at least one finding: that is how a rule fails.
pub fn expect_none(findings: &[Finding], remedy: &str) {
    if findings.is_empty() {
        return;
    }
    let list: String = findings
        .iter()
        .map(|finding| format!("  {finding}\n"))
        .collect();
    panic!(
        "{} finding(s):\n{list}What to do: {remedy}\n",
        findings.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_finding_passes() {
        expect_none(&[], "nothing");
    }

    #[test]
    #[should_panic(expected = "io/src/lib.rs:3: crooked\nWhat to do: straighten it")]
    fn a_finding_fails_with_its_place_and_the_remedy() {
        expect_none(
            &[Finding::at("io/src/lib.rs", 3, "crooked")],
            "straighten it",
        );
    }
}
