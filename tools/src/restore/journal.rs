//! Which blocks of a backup have been restored: a line that says which restore it is of, then a number
//! a line, appended. A last line without its end is not one: a restore that was killed may have left it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use corelith_store::volume::display_identity;

/// The open journal.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    done: HashSet<u64>,
}

impl Journal {
    /// Opens the journal of a restore, or begins it.
    ///
    /// # Errors
    /// It cannot be read or written, is no journal, or is that of another restore.
    pub(super) fn open(
        path: &Path,
        backup: &[u8; 16],
        node_id: u64,
        namespace: &str,
    ) -> Result<Self, Failure> {
        let backup = display_identity(backup);
        let title = format!("corelith-restore 1 {backup} {node_id:016x} {namespace}");
        let failure = |error: std::io::Error| unusable(path, &error);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failure)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failure)?;
        let whole_bytes = text.rfind('\n').map_or(0, |place| place + 1);
        let mut lines = text[..whole_bytes].lines();
        let other = || {
            Failure::new(
                format!("{} is not the journal of this restore", path.display()),
                "give the same backup, node and namespace as before, or another file with --journal",
            )
        };
        // A title that was torn is one that was begun: nothing had been restored.
        match lines.next() {
            Some(line) if line != title => return Err(other()),
            None if !title.starts_with(&text) => return Err(other()),
            _ => {}
        }
        let done: Option<HashSet<u64>> = lines.map(|line| line.parse().ok()).collect();
        file.set_len(whole_bytes as u64).map_err(failure)?;
        if whole_bytes == 0 {
            writeln!(file, "{title}").map_err(failure)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            done: done.ok_or_else(other)?,
        })
    }

    /// Whether a block was restored by an earlier run.
    pub(super) fn is_done(&self, number: u64) -> bool {
        self.done.contains(&number)
    }

    /// Notes a block.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn note(&mut self, number: u64) -> Result<(), Failure> {
        self.file
            .write_all(format!("{number}\n").as_bytes())
            .map_err(|error| unusable(&self.path, &error))
    }

    /// Removes it: everything has been restored.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn remove(self) -> Result<(), Failure> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unusable(&self.path, &error)),
            _ => Ok(()),
        }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{}: the journal cannot be used: {error}", path.display()),
        "give a file that can be written with --journal",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_again_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let open = |node_id| Journal::open(&path, &[1; 16], node_id, "test");
        let mut journal = open(5).unwrap();
        journal.note(3).unwrap();
        journal.note(12).unwrap();
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}123")).unwrap();
        let mut journal = open(5).unwrap();
        assert!(journal.is_done(3) && journal.is_done(12));
        assert!(!journal.is_done(123) && !journal.is_done(1));
        journal.note(4).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{text}4\n")
        );
        assert!(open(6).is_err(), "another node");
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn only_a_journal_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for text in ["precious", "precious\n", "corelith-restore 1\n7\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Journal::open(&path, &[1; 16], 5, "test").is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::write(&path, "corelith-rest").unwrap();
        assert!(Journal::open(&path, &[1; 16], 5, "test").is_ok());
    }
}
