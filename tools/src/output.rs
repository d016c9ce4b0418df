//! Standard output: lines of text or of JSON. A reader that goes away, as `head` does, ends the
//! program quietly.

use std::fmt;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Buffered standard output. What is written appears at the latest with [`Output::finish`].
pub struct Output {
    writer: BufWriter<StdoutLock<'static>>,
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    /// Locks standard output.
    #[must_use]
    pub fn new() -> Self {
        Self {
            writer: BufWriter::with_capacity(64 << 10, std::io::stdout().lock()),
        }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.writer, "{text}").map_err(|error| unwritable(&error))
    }

    /// Writes a JSON text on a line of its own.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.writer, value)
            .map_err(std::io::Error::from)
            .and_then(|()| self.writer.write_all(b"\n"))
            .map_err(|error| unwritable(&error))
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| unwritable(&error))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// What an error of writing output means.
#[must_use]
pub fn unwritable(error: &std::io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::reader_gone();
    }
    Failure::new(format!("the output cannot be written: {error}"), "")
}
