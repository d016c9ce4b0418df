//! Subjects of commits: `area: what`, at most 72 characters.
//!
//! Reads the history of HEAD through git; an unpacked archive has none, and then there is nothing
//! to check. Merges are left out.

use std::process::Command;

use crate::finding::Finding;
use crate::rules::SUBJECT_CHARACTERS_MAX;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "reword the commit before it is shared: `area: what it does`, the area a \
folder or a crate in lower case, at most 72 characters, no full stop at the end.";

/// The subjects of HEAD's history, each behind its short hash and a tab; none without git, without
/// a repository or without a commit.
pub fn history(tree: &Tree) -> Option<String> {
    let output = Command::new("git")
        .args(["log", "--no-merges", "--format=%h%x09%s", "HEAD"])
        .current_dir(&tree.root)
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Subjects of another form.
pub fn check(history: &str) -> Vec<Finding> {
    history
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(hash, subject)| {
            fault(subject).map(|what| {
                Finding::whole(&format!("commit {hash}"), format!("`{subject}` {what}"))
            })
        })
        .collect()
}

fn fault(subject: &str) -> Option<String> {
    let length = subject.chars().count();
    if length > SUBJECT_CHARACTERS_MAX {
        return Some(format!(
            "has {length} characters, at most {SUBJECT_CHARACTERS_MAX}"
        ));
    }
    let Some((area, what)) = subject.split_once(": ") else {
        return Some("has no `area: ` before what it does".to_owned());
    };
    let area_is_good = area.starts_with(|first: char| first.is_ascii_lowercase())
        && area.chars().all(|character| {
            character.is_ascii_lowercase()
                || character.is_ascii_digit()
                || "/_-., ".contains(character)
        })
        && area.split(' ').count() <= 3;
    if !area_is_good {
        return Some("has an area that is no folder or crate".to_owned());
    }
    if what.trim() != what || what.is_empty() || what.ends_with('.') {
        return Some("does not say what it does, or ends with a full stop".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(subject: &str) -> usize {
        check(&format!("abc1234\t{subject}\n")).len()
    }

    #[test]
    fn good_subjects() {
        for subject in [
            "store: seal a segment that a crash left open",
            "wire/client: retry on another core",
            "io, store: pass the durable watermark down",
        ] {
            assert_eq!(check_one(subject), 0, "{subject}");
        }
    }

    #[test]
    fn bad_subjects() {
        let long = format!("store: {}", "x".repeat(66));
        for subject in [
            "Fix",
            "seal a segment",
            "Store: seal a segment",
            "store: ",
            "store: seal a segment.",
            "this is a sentence with a colon: yes",
            &long,
        ] {
            assert_eq!(check_one(subject), 1, "{subject}");
        }
    }
}
