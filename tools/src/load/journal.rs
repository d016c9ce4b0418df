//! The file of acknowledged rows: a number a line, appended. A line without its end is not one: a
//! load that was killed may have left it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The open file.
pub(super) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Journal {
    /// Opens the file, makes it if it is not there, and takes off a last line that has no end.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let opened = || {
            let options = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .clone();
            let mut file = options.open(path)?;
            let whole_bytes = end_of_last_line(&mut file)?;
            if whole_bytes < file.metadata()?.len() {
                file.set_len(whole_bytes)?;
            }
            Ok(file)
        };
        let file = opened().map_err(|error| failure(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Adds a row. It is in the file after the next flush.
    pub(super) fn note(&mut self, number: u64) -> Result<(), Failure> {
        writeln!(self.file, "{number}").map_err(|error| failure(&self.path, &error))
    }

    /// Hands all that was noted to the system.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.file
            .flush()
            .map_err(|error| failure(&self.path, &error))
    }
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!(
            "{}: the acknowledged rows cannot be noted: {error}",
            path.display()
        ),
        "give a file that can be written with --acknowledged",
    )
}

/// Length of the file up to its last line's end.
fn end_of_last_line(file: &mut File) -> std::io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    let mut buffer = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        buffer.clear();
        Read::by_ref(file)
            .take(end - start)
            .read_to_end(&mut buffer)?;
        if let Some(place) = buffer.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, after: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged");
        std::fs::write(&path, before).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.note(7).unwrap();
        journal.note(12).unwrap();
        journal.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
    }

    #[test]
    fn lines_are_appended() {
        check("", "7\n12\n");
        check("1\n2\n", "1\n2\n7\n12\n");
    }

    #[test]
    fn a_line_that_was_cut_off_is_taken_off() {
        check("1\n23", "1\n7\n12\n");
        check("23", "7\n12\n");
        let long = "9".repeat(200_000);
        check(&format!("1\n{long}"), "1\n7\n12\n");
    }
}
