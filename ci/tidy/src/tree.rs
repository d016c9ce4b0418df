//! The tree: every file of the repository that is not ignored, read once.
//!
//! Reads the file system, not git, so that it is the same in a clone, in an unpacked archive and
//! before a commit. Ignored is what the root `.gitignore` names. Hidden folders other than `.ci`
//! are left out, and so is git's own `.git` where it is a file, as in a worktree. Files that are
//! not UTF-8 are listed without text.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::rules;

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its text; empty when it is not UTF-8.
    pub text: String,
}

impl File {
    /// True for a Rust source that a person wrote.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.path.starts_with(rules::GENERATED_FOLDER)
    }

    /// True for Rust that runs in tests, benches or fuzzing only.
    pub fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        parts
            .iter()
            .any(|part| rules::TEST_FOLDERS.contains(part) || *part == "tests.rs")
    }

    /// The last component of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Every file of the repository, sorted by path.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The repository's root on this machine.
    pub root: PathBuf,
    /// The files, sorted by path.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the repository that this crate stands in.
    ///
    /// # Errors
    ///
    /// What the file system answers.
    pub fn load() -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("ci/tidy stands two folders below the root");
        let ignored = Ignored::parse(&fs::read_to_string(root.join(".gitignore"))?);
        let mut files = Vec::new();
        read_folder(root, root, &ignored, &mut files)?;
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(Self {
            root: root.to_owned(),
            files,
        })
    }

    /// A made-up tree, for the tests of the rules.
    pub fn sample(files: &[(&str, &str)]) -> Self {
        Self {
            root: PathBuf::new(),
            files: files
                .iter()
                .map(|(path, text)| File {
                    path: (*path).to_owned(),
                    text: (*text).to_owned(),
                })
                .collect(),
        }
    }

    /// The file of this path, if there is one.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// True if a file or a folder with files has this path.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty()
            || self.files.iter().any(|file| {
                file.path == path
                    || (file.path.starts_with(path) && file.path[path.len()..].starts_with('/'))
            })
    }

    /// The Rust sources that people wrote.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// Files whose name ends so.
    pub fn ending<'tree>(&'tree self, end: &'tree str) -> impl Iterator<Item = &'tree File> {
        self.files
            .iter()
            .filter(move |file| file.path.ends_with(end))
    }
}

fn read_folder(
    root: &Path,
    folder: &Path,
    ignored: &Ignored,
    files: &mut Vec<File>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let relative = path
            .strip_prefix(root)
            .expect("an entry of the root's folders")
            .to_string_lossy()
            .replace('\\', "/");
        if ignored.matches(&relative) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden || relative == ".ci" {
                read_folder(root, &path, ignored, files)?;
            }
        } else if kind.is_file() && relative != ".git" {
            let Ok(bytes) = fs::read(&path) else {
                continue; // gone since the folder was listed
            };
            files.push(File {
                path: relative,
                text: String::from_utf8(bytes).unwrap_or_default(),
            });
        }
    }
    Ok(())
}

/// The patterns of the root `.gitignore`, in the two forms that it uses: `/path` from the root,
/// and a bare file name with at most one `*` at an end.
struct Ignored {
    patterns: Vec<String>,
}

impl Ignored {
    fn parse(text: &str) -> Self {
        Self {
            patterns: text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned)
                .collect(),
        }
    }

    fn matches(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.patterns.iter().any(|pattern| {
            let bare = pattern.trim_end_matches('/');
            if let Some(from_root) = bare.strip_prefix('/') {
                path == from_root
            } else if let Some(end) = bare.strip_prefix('*') {
                name.ends_with(end)
            } else if let Some(start) = bare.strip_suffix('*') {
                name.starts_with(start)
            } else {
                name == bare
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_patterns() {
        let ignored =
            Ignored::parse("# built\n/target\n/wire/fuzz/target/\n*.profraw\nperf.data*\n");
        for path in [
            "target",
            "wire/fuzz/target",
            "io/a.profraw",
            "perf.data.old",
        ] {
            assert!(ignored.matches(path), "{path}");
        }
        for path in ["io/target", "wire/fuzz", "io/profraw.rs", "data"] {
            assert!(!ignored.matches(path), "{path}");
        }
    }

    #[test]
    fn the_real_tree_holds_this_file_and_no_build_output() {
        let tree = Tree::load().unwrap();
        assert!(tree.has("ci/tidy/src/tree.rs"));
        assert!(tree.has("ci/tidy/src"));
        assert!(!tree.has("ci/tidy/sr"));
        assert!(!tree.has("target"));
        assert!(!tree.has(".git"));
    }

    #[test]
    fn what_is_a_test() {
        let tree = Tree::sample(&[
            ("io/src/ring.rs", ""),
            ("io/tests/ring.rs", ""),
            ("io/src/ring/tests.rs", ""),
        ]);
        let tests: Vec<bool> = tree.files.iter().map(File::is_test).collect();
        assert_eq!(tests, [false, true, true]);
    }
}
