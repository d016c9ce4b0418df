//! Crate edges: which of our packages may depend on which, tests and build scripts included.
//!
//! Cargo itself refuses cycles of ordinary dependencies but allows them through test
//! dependencies; here both are refused, and so is every edge that [`crate::rules::ROOMS`] lacks.

use crate::finding::Finding;
use crate::manifest::Manifest;
use crate::rules::{ROOMS, Room};
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "depend on what the room may know, or move the code to the room that \
may. A new edge is a decision of its own: ci/tidy/src/rules.rs and ARCHITECTURE.md, in one commit \
that says why.";

const PREFIX: &str = "corelith-";

/// Every edge between our packages that the allow-list lacks, every package that it does not
/// know, and every required room without a package.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending("Cargo.toml") {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else {
            continue; // the root's: a workspace, not a package
        };
        let manifest = Manifest::parse(&file.text);
        match ROOMS.iter().find(|room| room.folder == folder) {
            Some(room) => findings.extend(check_room(room, &file.path, &manifest)),
            None => findings.push(Finding::whole(
                &file.path,
                format!(
                    "package `{}` is not in the table of rooms",
                    manifest.package
                ),
            )),
        }
    }
    for room in ROOMS.iter().filter(|room| room.required) {
        if tree.file(&format!("{}/Cargo.toml", room.folder)).is_none() {
            findings.push(Finding::whole(room.folder, "a room without a Cargo.toml"));
        }
    }
    findings
}

fn check_room(room: &Room, path: &str, manifest: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    if manifest.package != room.package {
        findings.push(Finding::whole(
            path,
            format!(
                "is package `{}`, should be `{}`",
                manifest.package, room.package
            ),
        ));
    }
    for dependency in &manifest.dependencies {
        let package = dependency.package.as_str();
        if package.starts_with(PREFIX) && !room.may_depend_on.contains(&package) {
            findings.push(Finding::at(
                path,
                dependency.line,
                format!(
                    "`{}` may not depend on `{package}` (section {})",
                    room.package, dependency.section
                ),
            ));
        }
    }
    findings
}

/// A package that reaches itself over the edges of the table, if there is one.
pub fn cycle(rooms: &[Room]) -> Option<&'static str> {
    rooms
        .iter()
        .map(|room| room.package)
        .find(|package| reaches(rooms, package, package, rooms.len()))
}

fn reaches(rooms: &[Room], from: &str, target: &str, steps_left: usize) -> bool {
    let Some(room) = rooms.iter().find(|room| room.package == from) else {
        return false;
    };
    room.may_depend_on.iter().any(|next| {
        *next == target || (steps_left > 0 && reaches(rooms, next, target, steps_left - 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str) -> Vec<String> {
        check(&Tree::sample(&[(path, text)]))
            .iter()
            .filter(|finding| finding.path == path)
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_edge_outside_the_table() {
        let text = "[package]\nname = \"corelith-tools\"\n[dependencies]\ncorelith-node.workspace = true\n";
        assert_eq!(
            check_one("tools/Cargo.toml", text),
            [
                "tools/Cargo.toml:4: `corelith-tools` may not depend on `corelith-node` (section dependencies)"
            ]
        );
    }

    #[test]
    fn an_edge_of_the_tests_that_would_close_a_cycle() {
        let text = "[package]\nname = \"corelith-index\"\n[dev-dependencies]\ncorelith-wire = { path = \"../wire\" }\n";
        assert_eq!(check_one("index/Cargo.toml", text).len(), 1);
    }

    #[test]
    fn a_renamed_dependency_is_no_way_around() {
        let text = "[package]\nname = \"corelith-io\"\n[dependencies]\nx = { package = \"corelith-index\", path = \"../index\" }\n";
        assert_eq!(check_one("io/Cargo.toml", text).len(), 1);
    }

    #[test]
    fn an_unknown_package_and_a_wrong_name() {
        let text = "[package]\nname = \"corelith-extras\"\n";
        assert_eq!(check_one("extras/Cargo.toml", text).len(), 1);
        assert_eq!(check_one("io/Cargo.toml", text).len(), 1);
    }

    #[test]
    fn a_missing_room() {
        let findings = check(&Tree::sample(&[]));
        let required = ROOMS.iter().filter(|room| room.required).count();
        assert_eq!(findings.len(), required);
    }

    #[test]
    fn a_cycle_is_found() {
        const fn room(package: &'static str, may_depend_on: &'static [&'static str]) -> Room {
            Room {
                folder: "",
                package,
                may_depend_on,
                required: true,
            }
        }
        let round = [room("a", &["b"]), room("b", &["c"]), room("c", &["a"])];
        assert_eq!(cycle(&round), Some("a"));
        let straight = [room("a", &["b", "c"]), room("b", &["c"]), room("c", &[])];
        assert_eq!(cycle(&straight), None);
    }
}
