//! A file holds one noun: at most 600 production lines, and nine files of ten at most 400.
//!
//! Production lines are all lines less inline test modules: comments and blank lines count,
//! because a reader turns them over as well.

use crate::code::production_line_count;
use crate::finding::Finding;
use crate::rules::{PRODUCTION_LINES_MAX, PRODUCTION_LINES_NINTH_DECILE};
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "look for the second meaning in the file and give it a file of its own, \
named after it. Do not cut at a line number.";

/// The files above the ninth decile's bound, longest first, with their production lines.
pub fn long_files(tree: &Tree) -> Vec<(usize, String)> {
    let mut long: Vec<(usize, String)> = lengths(tree)
        .filter(|(count, _)| *count > PRODUCTION_LINES_NINTH_DECILE)
        .collect();
    long.sort_unstable_by(|left, right| right.cmp(left));
    long
}

/// Files that are too long, and the whole if too many of them are long.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = lengths(tree)
        .filter(|(count, _)| *count > PRODUCTION_LINES_MAX)
        .map(|(count, path)| {
            Finding::whole(
                &path,
                format!("{count} production lines, at most {PRODUCTION_LINES_MAX}"),
            )
        })
        .collect();
    let file_count = lengths(tree).count();
    let long = long_files(tree);
    // A tree of a few files has no ninth decile worth the name: one long file is always allowed.
    if long.len() > 1 && long.len() * 10 > file_count {
        let list: Vec<String> = long
            .iter()
            .map(|(count, path)| format!("{path} ({count})"))
            .collect();
        findings.push(Finding::whole(
            "the tree",
            format!(
                "{} of {file_count} files have more than {PRODUCTION_LINES_NINTH_DECILE} \
                 production lines, at most a tenth may: {}",
                long.len(),
                list.join(", ")
            ),
        ));
    }
    findings
}

fn lengths(tree: &Tree) -> impl Iterator<Item = (usize, String)> {
    tree.rust()
        .filter(|file| !file.is_test())
        .map(|file| (production_line_count(&file.text), file.path.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_lengths(counts: &[usize]) -> usize {
        let files: Vec<(String, String)> = counts
            .iter()
            .enumerate()
            .map(|(index, count)| (format!("io/src/f{index}.rs"), "x\n".repeat(*count)))
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        check(&Tree::sample(&files)).len()
    }

    #[test]
    fn the_longest() {
        assert_eq!(check_lengths(&[600]), 0);
        assert_eq!(check_lengths(&[601]), 1);
    }

    #[test]
    fn the_ninth_decile() {
        let mut counts = vec![100; 18];
        counts.extend([401, 401]);
        assert_eq!(check_lengths(&counts), 0);
        counts.push(401);
        assert_eq!(check_lengths(&counts), 1);
    }

    #[test]
    fn tests_do_not_count() {
        let text = format!("x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(700));
        let tree = Tree::sample(&[("io/src/a.rs", &text), ("io/tests/b.rs", &text[2..])]);
        assert_eq!(check(&tree), []);
    }
}
