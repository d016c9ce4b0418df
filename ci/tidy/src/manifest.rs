//! A Cargo manifest, as far as the rules need it: its package and its dependencies.
//!
//! Reads the forms that this repository uses (`name.workspace = true`, `name = { .. }`,
//! `[dependencies.name]`) line by line; it is no TOML parser. What it cannot read it does not
//! count, so a new form needs a case here.

/// One dependency as a manifest states it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dependency {
    /// Name of the package, after `package = ".."` if it is renamed.
    pub package: String,
    /// Section that states it, such as `dev-dependencies`.
    pub section: String,
    /// Line in the file, counted from 1.
    pub line: usize,
}

/// A manifest.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// Name in `[package]`; empty in a virtual manifest.
    pub package: String,
    /// Every dependency of every section, `workspace.dependencies` included.
    pub dependencies: Vec<Dependency>,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut section = String::new();
        let mut depth = 0_i32;
        for (index, raw) in text.lines().enumerate() {
            let line = without_comment(raw).trim();
            let inside_value = depth > 0;
            depth += bracket_balance(line);
            if line.is_empty() || inside_value {
                continue;
            }
            if let Some(header) = header(line) {
                depth = 0;
                section = header.to_owned();
                if let Some((owner, package)) = split_dependency_header(header) {
                    manifest.push(package, owner, index + 1);
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            manifest.key(&section, key.trim(), value.trim(), index + 1);
        }
        manifest
    }

    fn key(&mut self, section: &str, key: &str, value: &str, line: usize) {
        if section == "package" && key == "name" {
            self.package = unquoted(value).to_owned();
        } else if is_dependency_section(section) {
            let name = key.split('.').next().unwrap_or(key).trim();
            let package = inline_value(value, "package").unwrap_or(unquoted(name));
            self.push(package, section, line);
        } else if split_dependency_header(section).is_some()
            && key == "package"
            && let Some(last) = self.dependencies.last_mut()
        {
            last.package = unquoted(value).to_owned();
        }
    }

    fn push(&mut self, package: &str, section: &str, line: usize) {
        self.dependencies.push(Dependency {
            package: package.to_owned(),
            section: section.to_owned(),
            line,
        });
    }
}

/// The line less its comment; a `#` inside quotes stays.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (position, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..position],
            _ => {}
        }
    }
    line
}

fn bracket_balance(line: &str) -> i32 {
    line.chars()
        .map(|character| match character {
            '[' | '{' => 1,
            ']' | '}' => -1,
            _ => 0,
        })
        .sum()
}

fn header(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.trim_start_matches('[').trim_end_matches(']').trim())
}

fn is_dependency_section(section: &str) -> bool {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .any(|kind| section == *kind || section.ends_with(&format!(".{kind}")))
}

/// `dev-dependencies.corelith-io` is the section `dev-dependencies` and the package.
fn split_dependency_header(header: &str) -> Option<(&str, &str)> {
    let (owner, package) = header.rsplit_once('.')?;
    is_dependency_section(owner).then(|| (owner, unquoted(package)))
}

fn inline_value<'text>(value: &'text str, key: &str) -> Option<&'text str> {
    let start = value.find(&format!("{key} ="))?;
    value[start..].split('"').nth(1)
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let manifest = Manifest::parse(text);
        let found: Vec<(&str, &str, usize)> = manifest
            .dependencies
            .iter()
            .map(|dependency| {
                (
                    dependency.section.as_str(),
                    dependency.package.as_str(),
                    dependency.line,
                )
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_form_of_a_dependency_is_seen() {
        check(
            "[package]\nname = \"a\"\n\n[dependencies]\nb.workspace = true\nc = \"1\" # why\n",
            &[("dependencies", "b", 5), ("dependencies", "c", 6)],
        );
        check(
            "[target.'cfg(unix)'.dev-dependencies]\nb = { path = \"../b\" }\n",
            &[("target.'cfg(unix)'.dev-dependencies", "b", 2)],
        );
        check(
            "[build-dependencies.b]\nworkspace = true\n",
            &[("build-dependencies", "b", 1)],
        );
        check(
            "[dependencies]\nx = { package = \"b\", version = \"1\" }\n[dependencies.y]\npackage = \"c\"\n",
            &[("dependencies", "b", 2), ("dependencies", "c", 3)],
        );
        check(
            "[dependencies]\nb = { version = \"1\", features = [\n  \"x = y\",\n] }\nc = \"1\"\n",
            &[("dependencies", "b", 2), ("dependencies", "c", 5)],
        );
    }

    #[test]
    fn other_sections_hold_no_dependency() {
        let text =
            "[package]\nname = \"a\"\n[features]\ndefault = []\n[lints.rust]\nx = \"deny\"\n";
        check(text, &[]);
        assert_eq!(Manifest::parse(text).package, "a");
    }
}
