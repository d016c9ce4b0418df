//! Every link of a page to a file of the repository leads somewhere, and so does its heading.
//!
//! Links to other hosts are not followed. Code blocks are not read.

use crate::finding::Finding;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "mend the link, or write the page that it promises; what does not exist \
yet is named without a link.";

/// Links that lead to no file, to no heading, or out of the repository.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending(".md") {
        for (index, line) in prose_lines(&file.text) {
            for target in targets(line) {
                if let Some(what) = fault(tree, &file.path, target) {
                    findings.push(Finding::at(&file.path, index + 1, what));
                }
            }
        }
    }
    findings
}

fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        if fence {
            in_block = !in_block;
        }
        !in_block && !fence
    })
}

/// The targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](")
        .filter_map(move |(position, _)| line[position + 2..].split(')').next())
}

fn fault(tree: &Tree, page: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let resolved = if path.is_empty() {
        page.to_owned()
    } else {
        match resolve(page, path) {
            Some(resolved) => resolved,
            None => return Some(format!("`{target}` leads out of the repository")),
        }
    };
    if !tree.has(&resolved) {
        return Some(format!("`{target}` leads to no file"));
    }
    let has_heading = heading.is_empty()
        || tree.file(&resolved).is_some_and(|file| {
            prose_lines(&file.text)
                .filter(|(_, line)| line.starts_with('#'))
                .any(|(_, line)| anchor(line.trim_start_matches('#').trim()) == heading)
        });
    (!has_heading).then(|| format!("`{target}` leads to no heading"))
}

/// The path from the root of a path that is relative to a page; none if it climbs above the root.
fn resolve(page: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The anchor that web front ends give a heading: lower case, punctuation gone, spaces to `-`.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(link: &str) -> usize {
        let text = format!("# The house\n\nSee [it]({link}) now.\n");
        check(&Tree::sample(&[
            ("docs/a.md", &text),
            ("io/src/lib.rs", ""),
            (
                "README.md",
                "# Corelith: a store\n```\n# not a heading\n```\n",
            ),
        ]))
        .len()
    }

    #[test]
    fn links_that_lead_somewhere() {
        for link in [
            "../io/src/lib.rs",
            "../io",
            "../README.md#corelith-a-store",
            "#the-house",
            "a.md",
            "https://example.com/x",
        ] {
            assert_eq!(check_one(link), 0, "{link}");
        }
    }

    #[test]
    fn links_that_lead_nowhere() {
        for link in [
            "b.md",
            "io/src/lib.rs",
            "../../x",
            "#no-such",
            "../README.md#not-a-heading",
        ] {
            assert_eq!(check_one(link), 1, "{link}");
        }
    }

    #[test]
    fn code_blocks_are_not_read() {
        let tree = Tree::sample(&[("a.md", "```\n[x](nowhere)\n```\n[y](nowhere)\n")]);
        assert_eq!(check(&tree).len(), 1);
    }
}
