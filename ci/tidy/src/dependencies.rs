//! Every dependency of the workspace has its reason: a comment directly above its line.
//!
//! Only the root manifest names versions; a package says `name.workspace = true`.

use crate::finding::Finding;
use crate::manifest::Manifest;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "write above the dependency, in the root Cargo.toml, what it is for and \
why it and no other; in a package's manifest say `name.workspace = true`. If there is no good \
reason, do without.";

/// Dependencies without a reason, and versions outside the root manifest.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending("Cargo.toml") {
        let lines: Vec<&str> = file.text.lines().collect();
        let is_root = file.path == "Cargo.toml";
        for dependency in Manifest::parse(&file.text).dependencies {
            let ours = dependency.package.starts_with("corelith-");
            let line = lines[dependency.line - 1];
            if is_root && !ours && !has_comment_above(&lines, dependency.line) {
                findings.push(Finding::at(
                    &file.path,
                    dependency.line,
                    format!("`{}` has no reason above it", dependency.package),
                ));
            }
            // wire/fuzz stands outside the workspace and cannot inherit.
            if !is_root && file.path != "wire/fuzz/Cargo.toml" && !line.contains("workspace = true")
            {
                findings.push(Finding::at(
                    &file.path,
                    dependency.line,
                    format!(
                        "`{}` does not take the workspace's version",
                        dependency.package
                    ),
                ));
            }
        }
    }
    findings
}

fn has_comment_above(lines: &[&str], line: usize) -> bool {
    line.checked_sub(2)
        .and_then(|above| lines.get(above))
        .is_some_and(|above| above.trim_start().starts_with('#') && above.trim().len() > 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason() {
        let text = "[workspace.dependencies]\n# Hash tables keyed by digests.\na = \"1\"\nb = \"1\"\n\nc = \"2\"\n#\nd = \"1\"\ncorelith-io = { path = \"io\" }\n";
        let lines: Vec<usize> = check(&Tree::sample(&[("Cargo.toml", text)]))
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(lines, [4, 6, 8]);
    }

    #[test]
    fn a_version_outside_the_root() {
        let text = "[dependencies]\na.workspace = true\nb = \"1\"\nc = { workspace = true }\n";
        let findings = check(&Tree::sample(&[("io/Cargo.toml", text)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 3);
    }
}
