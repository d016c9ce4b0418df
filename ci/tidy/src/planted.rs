//! Planted bugs stay where they are looked for: the feature that compiles them in is named in the manifests of the store
//! and the simulator alone, is nobody's default, and every program that ships refuses to be built with it.

use crate::finding::Finding;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "leave the feature of planted bugs to node/store and node/simulation, out of every default, and keep \
the assertion on `HAS_PLANTED_BUGS` in the programs that ship.";

const FEATURE: &str = "planted-bugs";
const GUARD: &str = "assert!(!corelith_store::HAS_PLANTED_BUGS)";
const MAY_NAME_IT: &[&str] = &["node/store/Cargo.toml", "node/simulation/Cargo.toml"];
const SHIPS: &[&str] = &["node/src/main.rs", "tools/src/main.rs", "bench/src/main.rs"];

/// Manifests that turn the feature on, and programs without the assertion.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending("Cargo.toml") {
        let is_allowed = MAY_NAME_IT.contains(&file.path.as_str());
        for (number, line) in (1..).zip(file.text.lines()) {
            let is_default = line.trim_start().starts_with("default");
            if line.contains(FEATURE) && (!is_allowed || is_default) {
                findings.push(Finding::at(&file.path, number, "turns planted bugs on"));
            }
        }
    }
    for path in SHIPS {
        match tree.file(path) {
            Some(file) if file.text.contains(GUARD) => {}
            Some(_) => findings.push(Finding::whole(path, "does not refuse planted bugs")),
            None => findings.push(Finding::whole(path, "is missing, or has another name now")),
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(path: &str, text: &str) -> usize {
        let guarded = format!("const _: () = {GUARD};\n");
        let mut files: Vec<(&str, &str)> =
            SHIPS.iter().map(|ship| (*ship, guarded.as_str())).collect();
        files.retain(|(ship, _)| *ship != path);
        files.push((path, text));
        check(&Tree::sample(&files)).len()
    }

    #[test]
    fn only_store_and_simulator_may_name_the_feature() {
        let line = "corelith-store = { workspace = true, features = [\"planted-bugs\"] }\n";
        assert_eq!(check_with("node/Cargo.toml", line), 1);
        assert_eq!(check_with("Cargo.toml", line), 1);
        assert_eq!(check_with("node/simulation/Cargo.toml", line), 0);
        assert_eq!(
            check_with("node/store/Cargo.toml", "planted-bugs = []\n"),
            0
        );
    }

    #[test]
    fn it_is_nobodys_default() {
        let default = "default = [\"planted-bugs\"]\n";
        assert_eq!(check_with("node/simulation/Cargo.toml", default), 1);
    }

    #[test]
    fn programs_that_ship_refuse_it() {
        assert_eq!(check_with("tools/src/main.rs", "fn main() {}\n"), 1);
        assert_eq!(check_with("tools/src/other.rs", "fn main() {}\n"), 0);
        assert_eq!(check(&Tree::sample(&[])).len(), SHIPS.len());
    }
}
