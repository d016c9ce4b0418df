//! Names of files and modules, and what stands at the top level.
//!
//! A thing lives with the noun that gives it meaning, so no module is called after nothing in
//! particular; a module `x` is `x.rs`, never `x/mod.rs`, so that the list of files can be read.

use crate::code::blank_comments_and_literals;
use crate::finding::Finding;
use crate::rules::{BANNED_MODULES, TOP_LEVEL};
use crate::tree::Tree;

/// What to do about a finding of [`check`].
pub const REMEDY: &str = "name the file after the one noun that it holds; if it holds several, \
each goes to where it belongs. Write `x.rs` beside the folder `x`, not `x/mod.rs`.";

/// What to do about a finding of [`check_top_level`].
pub const TOP_LEVEL_REMEDY: &str = "move it into the room that it belongs to; a new name at the \
top level is a decision of its own (ci/tidy/src/rules.rs).";

/// Modules, files and folders with names that say nothing, and `mod.rs` files.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        if file.name() == "mod.rs" {
            findings.push(Finding::whole(&file.path, "is a mod.rs"));
        }
        let path = file.path.strip_suffix(".rs").unwrap_or(&file.path);
        for part in path.split('/') {
            if BANNED_MODULES.contains(&part) {
                findings.push(Finding::whole(&file.path, format!("is called `{part}`")));
            }
        }
        let code = blank_comments_and_literals(&file.text);
        for (index, line) in code.lines().enumerate() {
            if let Some(name) = module_of(line).filter(|name| BANNED_MODULES.contains(name)) {
                findings.push(Finding::at(
                    &file.path,
                    index + 1,
                    format!("has a module called `{name}`"),
                ));
            }
        }
    }
    findings
}

/// The name in `mod name;` or `pub(..) mod name {`.
fn module_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let found = words.find(|word| *word == "mod");
    found?;
    words
        .next()
        .map(|name| name.trim_end_matches([';', '{']).trim())
}

/// Names at the top level that the house does not have.
pub fn check_top_level(tree: &Tree) -> Vec<Finding> {
    let mut seen: Vec<&str> = tree
        .files
        .iter()
        .filter_map(|file| file.path.split('/').next())
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name))
        .collect();
    seen.dedup();
    seen.iter()
        .map(|name| Finding::whole(name, "does not belong at the top level"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str) -> usize {
        check(&Tree::sample(&[(path, text)])).len()
    }

    #[test]
    fn names_that_say_nothing() {
        assert_eq!(check_one("io/src/utils.rs", ""), 1);
        assert_eq!(check_one("io/src/common/buffer.rs", ""), 1);
        assert_eq!(check_one("io/src/lib.rs", "pub(crate) mod helpers {\n}"), 1);
        assert_eq!(check_one("io/src/lib.rs", "mod types;"), 1);
    }

    #[test]
    fn names_that_say_something() {
        assert_eq!(
            check_one("io/src/buffer.rs", "mod pool; // not mod util"),
            0
        );
        assert_eq!(check_one("io/src/lib.rs", "pub mod value_types;"), 0);
    }

    #[test]
    fn no_mod_rs() {
        assert_eq!(check_one("io/src/ring/mod.rs", ""), 1);
        assert_eq!(check_one("io/src/ring.rs", ""), 0);
    }

    #[test]
    fn the_top_level() {
        let tree = Tree::sample(&[
            ("README.md", ""),
            (".gitignore", ""),
            ("io/src/lib.rs", ""),
            ("scripts/a.sh", ""),
            ("scripts/b.sh", ""),
            ("notes.md", ""),
        ]);
        assert_eq!(check_top_level(&tree).len(), 2);
    }
}
