//! Every Rust file opens with `//!`: what it is, what it never does, its invariants.
//!
//! The first line decides. A licence header or an attribute before it would push what a reader
//! came for off the first screen.

use crate::finding::Finding;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "begin the file, on its first line, with `//!` and a sentence that says \
what the file is; then what it never does and what always holds in it.";

/// The fewest characters that can say what a file is.
const OPENING_CHARACTERS_MIN: usize = 20;

/// Files without an opening, or with one that says nothing.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let opening: String = file
            .text
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .collect();
        if !file.text.starts_with("//!") {
            findings.push(Finding::at(&file.path, 1, "does not open with `//!`"));
        } else if opening.trim().chars().count() < OPENING_CHARACTERS_MIN {
            findings.push(Finding::at(&file.path, 1, "its opening says nothing"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(text: &str) -> usize {
        check(&Tree::sample(&[("io/src/ring.rs", text)])).len()
    }

    #[test]
    fn openings() {
        assert_eq!(
            check_one("//! The ring: submits and reaps.\nfn f() {}\n"),
            0
        );
        assert_eq!(check_one("//! Ring.\nfn f() {}\n"), 1);
        assert_eq!(
            check_one("#![deny(x)]\n//! The ring: submits and reaps.\n"),
            1
        );
        assert_eq!(check_one("// The ring: submits and reaps.\n"), 1);
        assert_eq!(check_one(""), 1);
    }

    #[test]
    fn generated_code_is_exempt() {
        let tree = Tree::sample(&[("wire/src/generated/native.rs", "fn f() {}\n")]);
        assert_eq!(check(&tree), []);
    }
}
