//! The journal of a served drive: its configuration and every input, so that a run can be had again without whoever made the
//! requests. It is read by the program that wrote it and is no format for keeping.
//!
//! Integers are little-endian. It begins with `MAGIC`, seed (8 bytes), size (8) and logical block (4); then one entry for each
//! input, a tag and its fields. A power cut carries the fingerprint of the drive after it, and a replay that comes to another
//! one is refused: it would show another run. Bytes of a journal are not trusted: any are an error value or an input.

use std::fmt;
use std::io::{self, Read, Write};

use corelith_io::{BufferError, Fault, Honesty, to_u64, to_usize};

use super::{Answered, Input, Request, ServedConfig, ServedDrive};
use crate::limits::{MARK_BYTES_MAX, SERVED_REQUEST_BYTES_MAX};

const MAGIC: [u8; 8] = *b"CLDRIVE1";

const READ: u8 = 1;
const WRITE: u8 = 2;
const FLUSH: u8 = 3;
const DISCARD: u8 = 4;
const STEP: u8 = 5;
const POWER_CUT: u8 = 6;
const POWER_ON: u8 = 7;
const HONEST: u8 = 8;
const FORGETFUL: u8 = 9;
const FAULT: u8 = 10;
const MARK: u8 = 11;

/// The faults that can be asked for from outside, each with its name there.
pub const FAULTS: [(Fault, &str); 4] = [
    (Fault::ReadError, "read"),
    (Fault::WriteError, "write"),
    (Fault::FlushError, "flush"),
    (Fault::BitRot, "rot"),
];

/// Why a journal cannot be replayed.
#[derive(Debug)]
pub enum JournalError {
    /// It cannot be read or written.
    Io(io::Error),
    /// It is none, or of another version.
    Magic,
    /// It has an entry of an unknown kind: it is damaged, or of another version.
    Tag(u8),
    /// No drive is like that.
    Config(ServedConfig),
    /// A length or a number in it is more than any can be.
    TooLarge {
        /// What was found.
        found: u64,
        /// The most there can be.
        max: u64,
    },
    /// A remark is no text.
    Text,
    /// The replay came to another drive than the run: the program is another.
    Diverged {
        /// Which power cut, from 1.
        cut: u64,
        /// The run's sum.
        expected: u64,
        /// The replay's.
        found: u64,
    },
    /// There is no memory for the drive's buffers.
    Memory(BufferError),
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "{error}"),
            Self::Magic => write!(formatter, "this is no journal of a drive"),
            Self::Tag(tag) => write!(formatter, "an entry of the unknown kind {tag}"),
            Self::Config(config) => write!(
                formatter,
                "no drive has {} bytes in blocks of {}",
                config.size_bytes, config.logical_block_bytes
            ),
            Self::TooLarge { found, max } => write!(formatter, "{found} where {max} is the most"),
            Self::Text => write!(formatter, "a remark is no text"),
            Self::Diverged {
                cut,
                expected,
                found,
            } => write!(
                formatter,
                "the replay went another way: after power cut {cut} the sum is {found:016x}, not {expected:016x}; replay with the program that wrote the journal"
            ),
            Self::Memory(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for JournalError {}

/// A drive that keeps a journal.
pub struct RecordedDrive<W> {
    drive: ServedDrive,
    journal: W,
}

impl<W: Write> RecordedDrive<W> {
    /// An empty drive and the head of its journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn new(config: ServedConfig, mut journal: W) -> Result<Self, JournalError> {
        journal.write_all(&MAGIC)?;
        journal.write_all(&config.seed.to_le_bytes())?;
        journal.write_all(&config.size_bytes.to_le_bytes())?;
        journal.write_all(&config.logical_block_bytes.to_le_bytes())?;
        let drive = ServedDrive::new(config)?;
        Ok(Self { drive, journal })
    }

    /// As [`ServedDrive::take`], written down first.
    ///
    /// # Errors
    /// A journal that cannot be written.
    pub fn take(&mut self, input: Input) -> io::Result<Vec<Answered>> {
        let is_cut = input == Input::PowerCut;
        write_input(&mut self.journal, &input)?;
        let answered = self.drive.take(input);
        if is_cut {
            let fingerprint = self.drive.fingerprint();
            self.journal.write_all(&fingerprint.to_le_bytes())?;
            self.journal.flush()?;
        }
        Ok(answered)
    }

    /// The drive itself.
    pub fn drive(&self) -> &ServedDrive {
        &self.drive
    }

    /// Sees to it that the journal is all there.
    ///
    /// # Errors
    /// A journal that cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.journal.flush()
    }
}

/// Makes a drive what it was in the run that `journal` tells of, up to and including power cut number `cuts_max` (from 1), or to
/// the journal's end. `notice` is told each input before it happens.
///
/// # Errors
/// [`JournalError`]. An end inside an entry is an end: the program was killed while it wrote.
pub fn replay(
    journal: &mut impl Read,
    cuts_max: Option<u64>,
    mut notice: impl FnMut(u64, &Input),
) -> Result<(ServedConfig, ServedDrive), JournalError> {
    let config = read_head(journal)?;
    let mut drive = ServedDrive::new(config)?;
    let mut cut = 0;
    while cuts_max.is_none_or(|cuts_max| cut < cuts_max) {
        let entry = match read_input(journal) {
            Err(JournalError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            entry => entry?,
        };
        let (input, fingerprint) = entry;
        notice(cut, &input);
        drive.take(input);
        if let Some(expected) = fingerprint {
            cut += 1;
            let found = drive.fingerprint();
            if found != expected {
                return Err(JournalError::Diverged {
                    cut,
                    expected,
                    found,
                });
            }
        }
    }
    Ok((config, drive))
}

fn write_input(journal: &mut impl Write, input: &Input) -> io::Result<()> {
    match input {
        Input::Request(request) => write_request(journal, request),
        Input::Step => journal.write_all(&[STEP]),
        Input::PowerCut => journal.write_all(&[POWER_CUT]),
        Input::PowerOn => journal.write_all(&[POWER_ON]),
        Input::Honesty(Honesty::Honest) => journal.write_all(&[HONEST]),
        Input::Honesty(Honesty::Forgetful) => journal.write_all(&[FORGETFUL]),
        Input::Fault(fault) => {
            let number = FAULTS.iter().position(|(known, _)| known == fault);
            let number = number.and_then(|number| u8::try_from(number).ok());
            journal.write_all(&[FAULT, number.unwrap_or(u8::MAX)])
        }
        Input::Mark(text) => {
            let bytes = text.as_bytes();
            let bytes = bytes.get(..MARK_BYTES_MAX).unwrap_or(bytes);
            journal.write_all(&[MARK])?;
            journal.write_all(&to_u64(bytes.len()).to_le_bytes())?;
            journal.write_all(bytes)
        }
    }
}

fn write_request(journal: &mut impl Write, request: &Request) -> io::Result<()> {
    match request {
        Request::Read {
            offset,
            length_bytes,
        } => {
            journal.write_all(&[READ])?;
            journal.write_all(&offset.to_le_bytes())?;
            journal.write_all(&length_bytes.to_le_bytes())
        }
        Request::Write { offset, bytes } => {
            journal.write_all(&[WRITE])?;
            journal.write_all(&offset.to_le_bytes())?;
            journal.write_all(&to_u64(bytes.len()).to_le_bytes())?;
            journal.write_all(bytes)
        }
        Request::Flush => journal.write_all(&[FLUSH]),
        Request::Discard {
            offset,
            length_bytes,
        } => {
            journal.write_all(&[DISCARD])?;
            journal.write_all(&offset.to_le_bytes())?;
            journal.write_all(&length_bytes.to_le_bytes())
        }
    }
}

fn read_head(journal: &mut impl Read) -> Result<ServedConfig, JournalError> {
    if read_array(journal)? != MAGIC {
        return Err(JournalError::Magic);
    }
    Ok(ServedConfig {
        seed: read_u64(journal)?,
        size_bytes: read_u64(journal)?,
        logical_block_bytes: u32::from_le_bytes(read_array(journal)?),
    })
}

/// An input, and for a power cut the fingerprint that it led to.
fn read_input(journal: &mut impl Read) -> Result<(Input, Option<u64>), JournalError> {
    let [tag] = read_array(journal)?;
    let input = match tag {
        READ => Input::Request(Request::Read {
            offset: read_u64(journal)?,
            length_bytes: u32::from_le_bytes(read_array(journal)?),
        }),
        WRITE => Input::Request(Request::Write {
            offset: read_u64(journal)?,
            bytes: read_bytes(journal, SERVED_REQUEST_BYTES_MAX)?,
        }),
        FLUSH => Input::Request(Request::Flush),
        DISCARD => Input::Request(Request::Discard {
            offset: read_u64(journal)?,
            length_bytes: read_u64(journal)?,
        }),
        STEP => Input::Step,
        POWER_CUT => return Ok((Input::PowerCut, Some(read_u64(journal)?))),
        POWER_ON => Input::PowerOn,
        HONEST => Input::Honesty(Honesty::Honest),
        FORGETFUL => Input::Honesty(Honesty::Forgetful),
        FAULT => {
            let [number] = read_array(journal)?;
            let known = FAULTS.get(usize::from(number));
            let (fault, _) = known.ok_or(JournalError::TooLarge {
                found: u64::from(number),
                max: to_u64(FAULTS.len()),
            })?;
            Input::Fault(*fault)
        }
        MARK => {
            let bytes = read_bytes(journal, MARK_BYTES_MAX)?;
            Input::Mark(String::from_utf8(bytes).map_err(|_| JournalError::Text)?)
        }
        tag => return Err(JournalError::Tag(tag)),
    };
    Ok((input, None))
}

fn read_bytes(journal: &mut impl Read, length_max: usize) -> Result<Vec<u8>, JournalError> {
    let (found, max) = (read_u64(journal)?, to_u64(length_max));
    if found > max {
        return Err(JournalError::TooLarge { found, max });
    }
    let mut bytes = vec![0; to_usize(found)];
    journal.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_u64(journal: &mut impl Read) -> Result<u64, JournalError> {
    Ok(u64::from_le_bytes(read_array(journal)?))
}

fn read_array<const N: usize>(journal: &mut impl Read) -> Result<[u8; N], JournalError> {
    let mut bytes = [0; N];
    journal.read_exact(&mut bytes)?;
    Ok(bytes)
}
