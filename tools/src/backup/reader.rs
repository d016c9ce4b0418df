//! Reads a backup from its start to its end, and believes nothing: each block's sums, its place behind the
//! one before, its records, and at the end the totals. Any bytes are an error value or a block; memory
//! is bounded by the limits, not by what the file says.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use super::block::{BlockHeader, BlockKind, HEADER_LENGTH_BYTES, Packing, Totals};
use super::error::{BackupError, Disagreement};
use super::fields::sum;
use super::file_header::{FileHeader, LENGTH_BYTES};
use super::record::BackupRecord;

/// A backup that is being read.
pub struct BackupReader<R> {
    source: R,
    header: FileHeader,
    /// What a writer needs to go on behind the blocks that were read.
    progress: Progress,
    is_over: bool,
}

/// How far the file has been read: what a writer needs to go on from there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Where the next block begins.
    pub offset_bytes: u64,
    /// The sum that the next block must carry.
    pub previous_sum: u32,
    /// What has been read.
    pub totals: Totals,
}

/// A block of records, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Its header.
    pub header: BlockHeader,
    body: Vec<u8>,
}

impl Block {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = BackupRecord<'_>> {
        let mut rest = &*self.body;
        std::iter::from_fn(move || {
            let (record, behind) = BackupRecord::read(rest)?;
            rest = behind;
            Some(record)
        })
    }

    /// The record that begins at `offset_bytes` of the body, and where the next begins; `None` at the end.
    #[must_use]
    pub fn record_at(&self, offset_bytes: usize) -> Option<(BackupRecord<'_>, usize)> {
        let (record, rest) = BackupRecord::read(self.body.get(offset_bytes..)?)?;
        Some((record, self.body.len() - rest.len()))
    }

    /// Whether the records fill the body, are as many as the header says, and are all of its partition.
    fn is_filled(&self) -> bool {
        let mut count = 0;
        let mut at = 0;
        while let Some((record, next)) = self.record_at(at) {
            if record.digest.partition() != self.header.partition {
                return false;
            }
            count += 1;
            at = next;
        }
        at == self.body.len() && count == self.header.record_count
    }
}

impl BackupReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened, or is no backup that this release can read.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        Self::new(BufReader::with_capacity(1 << 20, File::open(path)?))
    }
}

impl<R: Read> BackupReader<R> {
    /// Reads and checks the file's header.
    ///
    /// # Errors
    /// It is no backup that this release can read.
    pub fn new(mut source: R) -> Result<Self, BackupError> {
        let mut bytes = [0; LENGTH_BYTES];
        let length = read_up_to(&mut source, &mut bytes)?;
        if length < LENGTH_BYTES {
            let is_begun = bytes.starts_with(super::file_header::MAGIC);
            return Err(if is_begun {
                BackupError::Truncated { offset_bytes: 0 }
            } else {
                BackupError::Foreign
            });
        }
        Ok(Self {
            source,
            header: FileHeader::decode(&bytes)?,
            progress: Progress {
                offset_bytes: LENGTH_BYTES as u64,
                previous_sum: sum(&bytes),
                totals: Totals::default(),
            },
            is_over: false,
        })
    }

    /// What the backup is of.
    #[must_use]
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// How far it has been read.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The next block of records; `None` once, and only if, the file has ended as it must.
    ///
    /// # Errors
    /// What the file has wrong, and where. Nothing further is read then.
    pub fn next_block(&mut self) -> Result<Option<Block>, BackupError> {
        if self.is_over {
            return Ok(None);
        }
        let read = self.read_block();
        self.is_over = !matches!(read, Ok(Some(_)));
        read
    }

    fn read_block(&mut self) -> Result<Option<Block>, BackupError> {
        let at = self.progress.offset_bytes;
        let mut bytes = [0; HEADER_LENGTH_BYTES];
        if read_up_to(&mut self.source, &mut bytes)? < HEADER_LENGTH_BYTES {
            return Err(BackupError::Truncated { offset_bytes: at });
        }
        let damaged = |what| BackupError::damaged(at, what);
        let (header, own_sum) = BlockHeader::decode(&bytes).map_err(damaged)?;
        if header.previous_sum != self.progress.previous_sum
            || header.number != self.progress.totals.blocks
        {
            return Err(damaged(Disagreement::Order));
        }
        // The header's own check bounds the length.
        let mut body = vec![0; header.body_length_bytes as usize];
        if read_up_to(&mut self.source, &mut body)? < body.len() {
            return Err(BackupError::Truncated { offset_bytes: at });
        }
        if sum(&body) != header.body_sum {
            return Err(damaged(Disagreement::BodySum));
        }
        let body = unpack(&header, body).ok_or_else(|| damaged(Disagreement::Packing))?;
        if header.kind == BlockKind::End {
            return self.end(&body).map(|()| None);
        }
        let block = Block { header, body };
        if !block.is_filled() {
            return Err(damaged(Disagreement::Records));
        }
        self.progress.totals.add(&header);
        self.progress.previous_sum = own_sum;
        self.progress.offset_bytes +=
            (HEADER_LENGTH_BYTES as u64) + u64::from(header.body_length_bytes);
        Ok(Some(block))
    }

    fn end(&mut self, body: &[u8]) -> Result<(), BackupError> {
        let at = self.progress.offset_bytes;
        let found = self.progress.totals;
        match Totals::decode(body) {
            Some(told) if (Totals { end_ms: 0, ..told }) == found => {
                self.progress.totals = told;
            }
            _ => return Err(BackupError::damaged(at, Disagreement::Totals)),
        }
        if read_up_to(&mut self.source, &mut [0])? > 0 {
            let length_bytes = HEADER_LENGTH_BYTES + body.len();
            return Err(BackupError::Trailing {
                offset_bytes: at + length_bytes as u64,
            });
        }
        Ok(())
    }
}

fn unpack(header: &BlockHeader, body: Vec<u8>) -> Option<Vec<u8>> {
    let length = header.unpacked_length_bytes as usize;
    let unpacked = match header.packing {
        Packing::Plain => body,
        Packing::Zstd => zstd::bulk::decompress(&body, length).ok()?,
    };
    (unpacked.len() == length).then_some(unpacked)
}

/// Fills the buffer as far as the source goes.
fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, BackupError> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(BackupError::Read(error)),
        }
    }
    Ok(length)
}
