//! `unsafe` stands in `io/src/sys` and in generated code, nowhere else.
//!
//! The compiler enforces it too, where a crate forbids it; this rule holds for the two crates that
//! cannot, and for a crate that forgot.

use crate::code::{blank_comments_and_literals, has_word};
use crate::finding::Finding;
use crate::rules::UNSAFE_ALLOWED;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "do it without, or give io/src/sys a safe function for it: one unsafe \
operation a block, each with the fact that it relies on and who guarantees it.";

/// Uses of `unsafe` elsewhere. Comments and literals do not count.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending(".rs") {
        let allowed = UNSAFE_ALLOWED.iter().any(|place| {
            file.path == *place || (place.ends_with('/') && file.path.starts_with(place))
        });
        if allowed {
            continue;
        }
        let code = blank_comments_and_literals(&file.text);
        for (index, line) in code.lines().enumerate() {
            if has_word(line, "unsafe") {
                findings.push(Finding::at(&file.path, index + 1, "uses `unsafe`"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str) -> usize {
        check(&Tree::sample(&[(path, text)])).len()
    }

    #[test]
    fn where_it_may_stand() {
        assert_eq!(check_one("io/src/sys.rs", "unsafe { f() }"), 0);
        assert_eq!(check_one("io/src/sys/memory.rs", "unsafe { f() }"), 0);
        assert_eq!(check_one("wire/src/generated/a.rs", "unsafe { f() }"), 0);
    }

    #[test]
    fn where_it_may_not() {
        assert_eq!(check_one("io/src/system.rs", "unsafe { f() }"), 1);
        assert_eq!(check_one("io/tests/sys.rs", "pub unsafe fn f() {}"), 1);
        assert_eq!(
            check_one("wire/src/frame.rs", "unsafe impl Send for X {}"),
            1
        );
    }

    #[test]
    fn what_does_not_count() {
        let text = "#![forbid(unsafe_code)] // unsafe\nconst X: &str = \"unsafe\";";
        assert_eq!(check_one("wire/src/frame.rs", text), 0);
    }
}
