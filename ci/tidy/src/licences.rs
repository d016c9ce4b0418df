//! Licences and sources of everything that is linked, built with or tested with.
//!
//! The list of licences is exact and has one home, `deny.toml`: every dependency must be usable
//! under it, and every entry must be needed. Sources: the one registry, nothing from git.

use std::collections::BTreeSet;
use std::process::Command;

use crate::finding::Finding;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "take a dependency whose licence the list in deny.toml allows, from the \
registry. A new licence is a decision of its own: add it to deny.toml in a commit that says why \
Apache-2.0 code may stand on it. Remove what nothing needs any more.";

/// A dependency and its licence expression.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Licence {
    /// Name and version.
    pub package: String,
    /// SPDX expression; empty when the package states none.
    pub expression: String,
}

/// The licences of all packages that a build for this platform uses, tests, build scripts and
/// fuzzing included. Asks `cargo tree`, without the network once the packages are fetched.
///
/// # Errors
///
/// What `cargo tree` wrote when it failed.
pub fn of_all_dependencies(tree: &Tree) -> Result<Vec<Licence>, String> {
    let mut licences = list(tree, &["--workspace"])?;
    if tree.file("wire/fuzz/Cargo.toml").is_some() {
        licences.extend(list(tree, &["--manifest-path", "wire/fuzz/Cargo.toml"])?);
    }
    Ok(licences)
}

fn list(tree: &Tree, scope: &[&str]) -> Result<Vec<Licence>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{l}\t{p}"])
        .args(scope)
        .current_dir(&tree.root)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(parse_listing(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_listing(text: &str) -> Vec<Licence> {
    let lines: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    lines
        .iter()
        .filter_map(|line| line.split_once('\t'))
        .map(|(expression, package)| {
            let mut words = package.split(' ');
            Licence {
                package: format!(
                    "{} {}",
                    words.next().unwrap_or(package),
                    words.next().unwrap_or_default()
                ),
                expression: expression.to_owned(),
            }
        })
        .collect()
}

/// Licences that the list does not allow, and entries of the list that nothing needs.
pub fn check(tree: &Tree, licences: &[Licence]) -> Vec<Finding> {
    let Some(file) = tree.file("deny.toml") else {
        return vec![Finding::whole("deny.toml", "is missing")];
    };
    let allowed = allowed_licences(&file.text);
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for licence in licences {
        let allows = |identifier: &str| allowed.iter().any(|entry| entry == or_later(identifier));
        if !satisfied(&licence.expression, &allows) {
            findings.push(Finding::whole(
                &licence.package,
                format!("licence `{}` is not allowed", licence.expression),
            ));
        }
        used.extend(
            words(&licence.expression)
                .iter()
                .map(|word| or_later(word).to_owned()),
        );
    }
    for entry in &allowed {
        if !used.contains(entry) {
            findings.push(Finding::whole(
                "deny.toml",
                format!("allows `{entry}`, which nothing needs"),
            ));
        }
    }
    findings
}

/// Packages of `Cargo.lock` that come from elsewhere than the one registry.
pub fn check_sources(tree: &Tree) -> Vec<Finding> {
    let mut registries = BTreeSet::new();
    let mut findings = Vec::new();
    for file in tree.ending("Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            let Some(source) = line.strip_prefix("source = ") else {
                continue;
            };
            if source.starts_with("\"registry+") {
                registries.insert(source.to_owned());
            } else {
                findings.push(Finding::at(
                    &file.path,
                    index + 1,
                    format!("source {source}"),
                ));
            }
        }
    }
    if registries.len() > 1 {
        findings.push(Finding::whole("Cargo.lock", "names more than one registry"));
    }
    findings
}

/// The `allow` list of `[licenses]`.
fn allowed_licences(text: &str) -> Vec<String> {
    let Some((_, section)) = text.split_once("[licenses]") else {
        return Vec::new();
    };
    let Some((_, list)) = section.split_once("allow = [") else {
        return Vec::new();
    };
    let lines: String = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .collect();
    lines
        .split(']')
        .next()
        .unwrap_or_default()
        .split(',')
        .map(|entry| entry.trim().trim_matches('"').to_owned())
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// Words of an expression: identifiers, `AND`, `OR`, and the parentheses. `a WITH b` is one
/// identifier, `a/b` an old way to write `a OR b`.
fn words(expression: &str) -> Vec<String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<String> = Vec::new();
    let mut parts = spaced.split_whitespace();
    while let Some(part) = parts.next() {
        if part == "WITH" {
            if let Some(identifier) = words.last_mut() {
                identifier.push_str(" WITH ");
                identifier.push_str(parts.next().unwrap_or_default());
            }
        } else {
            words.push(part.to_owned());
        }
    }
    words
}

/// `X+` is met by `X`.
fn or_later(identifier: &str) -> &str {
    identifier.strip_suffix('+').unwrap_or(identifier)
}

/// True if the expression can be met with allowed licences alone. `AND` binds closer than `OR`.
fn satisfied(expression: &str, allows: &dyn Fn(&str) -> bool) -> bool {
    let words = words(expression);
    let mut position = 0;
    let result = any(&words, &mut position, allows);
    result && position == words.len()
}

fn any(words: &[String], position: &mut usize, allows: &dyn Fn(&str) -> bool) -> bool {
    let mut result = all(words, position, allows);
    while words.get(*position).is_some_and(|word| word == "OR") {
        *position += 1;
        let next = all(words, position, allows);
        result = result || next;
    }
    result
}

fn all(words: &[String], position: &mut usize, allows: &dyn Fn(&str) -> bool) -> bool {
    let mut result = one(words, position, allows);
    while words.get(*position).is_some_and(|word| word == "AND") {
        *position += 1;
        let next = one(words, position, allows);
        result = result && next;
    }
    result
}

fn one(words: &[String], position: &mut usize, allows: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*position) else {
        return false;
    };
    *position += 1;
    if word != "(" {
        return allows(word);
    }
    let result = any(words, position, allows);
    let closed = words.get(*position).is_some_and(|word| word == ")");
    *position += 1;
    result && closed
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "[licenses]\n# ours first\nallow = [\n    \"Apache-2.0\", # ours\n    \"MIT\",\n]\n";

    fn check_expressions(expressions: &[&str]) -> Vec<String> {
        let licences: Vec<Licence> = expressions
            .iter()
            .map(|expression| Licence {
                package: "p 1".to_owned(),
                expression: (*expression).to_owned(),
            })
            .collect();
        check(&Tree::sample(&[("deny.toml", LIST)]), &licences)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn expressions_that_the_list_meets() {
        let good = [
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Apache-2.0",
            "MIT+",
        ];
        assert_eq!(check_expressions(&good), [""; 0]);
    }

    #[test]
    fn expressions_that_it_does_not() {
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Apache-2.0) AND GPL-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "",
            "MIT MIT",
        ] {
            let findings = check_expressions(&["MIT OR Apache-2.0", bad]);
            assert_eq!(findings.len(), 1, "{bad}: {findings:?}");
        }
    }

    #[test]
    fn an_entry_that_nothing_needs() {
        assert_eq!(
            check_expressions(&["MIT"]),
            ["deny.toml: allows `Apache-2.0`, which nothing needs"]
        );
    }

    #[test]
    fn a_listing_is_read_once_each() {
        let text = "MIT\ta v1.0.0\nMIT\ta v1.0.0 (*)\n\tb v2.0.0 (proc-macro)\n";
        let found = parse_listing(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].package, "b v2.0.0");
        assert_eq!(found[0].expression, "");
    }

    #[test]
    fn a_source_outside_the_registry() {
        let text = "[[package]]\nname = \"a\"\nsource = \"git+https://example.com/a\"\n[[package]]\nsource = \"registry+https://example.com/\"\n";
        let findings = check_sources(&Tree::sample(&[("Cargo.lock", text)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 3);
    }
}
