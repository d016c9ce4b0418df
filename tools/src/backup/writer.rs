//! Writes a backup block by block into `FILE.unfinished`, which becomes `FILE` when it is whole. What a
//! backup that was interrupted left behind is gone on with: blocks that are whole stay, a torn end is cut.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::block::{BlockHeader, BlockKind, Packing, Token, Totals};
use super::error::BackupError;
use super::fields::sum;
use super::file_header::FileHeader;
use super::limits::PACKING_LEVEL;
use super::reader::{BackupReader, Progress};
use crate::failure::{Exit, Failure};
use corelith_client::{Digest, PartitionId};

/// What stands for the partition of the block that is of none.
const FIRST: PartitionId = PartitionId::of(&Digest::from_bytes([0; Digest::LENGTH_BYTES]));

/// A backup that is being written.
pub struct BackupWriter {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
    progress: Progress,
}

/// Records of one partition that were read together, packed.
pub struct PackedBlock {
    /// The partition.
    pub partition: PartitionId,
    /// Where it is gone on with.
    pub token: Token,
    /// Whether it has been read to its end.
    pub is_partition_end: bool,
    /// Records in it.
    pub record_count: u32,
    /// Records that the node could not read.
    pub damaged_count: u16,
    packing: Packing,
    unpacked_length_bytes: u32,
    body: Vec<u8>,
    body_sum: u32,
}

impl PackedBlock {
    /// Packs a body of `record_count` records. Takes its time: not on a thread that has others to serve.
    #[must_use]
    pub fn new(partition: PartitionId, record_count: u32, plain: Vec<u8>) -> Self {
        let unpacked_length_bytes = plain.len() as u32;
        let packed = zstd::bulk::compress(&plain, PACKING_LEVEL);
        let (packing, body) = match packed {
            Ok(packed) if packed.len() < plain.len() => (Packing::Zstd, packed),
            _ => (Packing::Plain, plain),
        };
        Self {
            partition,
            token: Token::default(),
            is_partition_end: false,
            record_count,
            damaged_count: 0,
            packing,
            unpacked_length_bytes,
            body_sum: sum(&body),
            body,
        }
    }
}

/// How far a partition is in a backup that is gone on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartitionProgress {
    /// Where to go on.
    pub token: Token,
    /// There is nothing left of it.
    pub is_done: bool,
}

impl BackupWriter {
    /// Begins a backup, or goes on with the one that was left unfinished there. Returns the header that
    /// counts, and how far the partitions are, by their numbers; `None` for a new one.
    ///
    /// # Errors
    /// The file is there already, is in use, is of another backup, or cannot be written.
    pub fn open(
        path: &Path,
        header: FileHeader,
    ) -> Result<(Self, FileHeader, Option<Vec<PartitionProgress>>), Failure> {
        if path.exists() {
            return Err(Failure::new(
                format!("{} is there already", path.display()),
                "remove it, or give another name with --output: a backup is never written over",
            ));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&unfinished)
            .map_err(|error| unwritable(&unfinished, &error))?;
        if file.try_lock().is_err() {
            return Err(Failure::new(
                format!(
                    "{} is being written by another backup",
                    unfinished.display()
                ),
                "wait for it, or give another name with --output",
            ));
        }
        let length = file.metadata().map(|metadata| metadata.len());
        let length = length.map_err(|error| unwritable(&unfinished, &error))?;
        let mut writer = Self {
            file,
            path: path.to_owned(),
            unfinished,
            progress: Progress {
                offset_bytes: 0,
                previous_sum: 0,
                totals: Totals::default(),
            },
        };
        // A header that was torn has nothing behind it.
        if length < super::file_header::LENGTH_BYTES as u64 {
            writer.cut()?;
            let bytes = header.encode();
            writer.append(&bytes)?;
            writer.progress.previous_sum = sum(&bytes);
            return Ok((writer, header, None));
        }
        let (begun, partitions) = writer.go_on(&header)?;
        Ok((writer, begun, Some(partitions)))
    }

    /// Reads what is there, as far as it is whole, and cuts off the rest.
    fn go_on(
        &mut self,
        header: &FileHeader,
    ) -> Result<(FileHeader, Vec<PartitionProgress>), Failure> {
        let unusable = |error: &BackupError| {
            Failure::new(
                format!("{}: {error}", self.unfinished.display()),
                "remove it to begin anew, or give another name with --output",
            )
        };
        let mut reader = BackupReader::open(&self.unfinished).map_err(|error| unusable(&error))?;
        let begun = reader.header().clone();
        if !begun.is_of_same(header) {
            return Err(Failure::new(
                format!(
                    "{} was begun for another node, namespace, set or moment",
                    self.unfinished.display()
                ),
                "give the options that it was begun with, remove it, or give another name with --output",
            ));
        }
        let mut partitions = vec![PartitionProgress::default(); PartitionId::COUNT.into()];
        loop {
            match reader.next_block() {
                Ok(Some(block)) => {
                    partitions[usize::from(block.header.partition.get())] = PartitionProgress {
                        token: block.header.token,
                        is_done: block.header.is_partition_end,
                    };
                }
                // With an end block it lacked its name alone: that is written again.
                Ok(None) | Err(BackupError::Truncated { .. } | BackupError::Damaged { .. }) => {
                    break;
                }
                Err(error) => return Err(unusable(&error)),
            }
        }
        self.progress = reader.progress();
        self.progress.totals.end_ms = 0;
        self.cut()?;
        Ok((begun, partitions))
    }

    /// What has been written.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.progress.totals
    }

    /// Appends a block.
    ///
    /// # Errors
    /// The file cannot be written. What was written before stays good.
    pub fn write(&mut self, block: &PackedBlock) -> Result<(), Failure> {
        let header = BlockHeader {
            kind: BlockKind::Records,
            packing: block.packing,
            partition: block.partition,
            number: self.progress.totals.blocks,
            record_count: block.record_count,
            body_length_bytes: block.body.len() as u32,
            unpacked_length_bytes: block.unpacked_length_bytes,
            body_sum: block.body_sum,
            is_partition_end: block.is_partition_end,
            damaged_count: block.damaged_count,
            token: block.token,
            previous_sum: self.progress.previous_sum,
        };
        let (bytes, own_sum) = header.encode();
        self.append(&[&bytes[..], &block.body].concat())?;
        self.progress.totals.add(&header);
        self.progress.previous_sum = own_sum;
        Ok(())
    }

    /// Writes the totals, waits until all is on the drive, and gives the file its name. Returns its length in bytes, too.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub fn finish(mut self, end_ms: u64) -> Result<(Totals, u64), Failure> {
        self.progress.totals.end_ms = end_ms;
        let totals = self.progress.totals;
        let body = totals.encode();
        let (bytes, _) = BlockHeader {
            kind: BlockKind::End,
            packing: Packing::Plain,
            partition: FIRST,
            number: totals.blocks,
            record_count: 0,
            body_length_bytes: body.len() as u32,
            unpacked_length_bytes: body.len() as u32,
            body_sum: sum(&body),
            is_partition_end: false,
            damaged_count: 0,
            token: Token::default(),
            previous_sum: self.progress.previous_sum,
        }
        .encode();
        self.append(&[&bytes[..], &body].concat())?;
        let renamed = self
            .file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.unfinished, &self.path))
            .and_then(|()| sync_folder(&self.path));
        renamed.map_err(|error| unwritable(&self.path, &error))?;
        Ok((totals, self.progress.offset_bytes))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|error| unwritable(&self.unfinished, &error).with_exit(Exit::Partial))?;
        self.progress.offset_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file behind what is whole.
    fn cut(&mut self) -> Result<(), Failure> {
        let end = self.progress.offset_bytes;
        self.file
            .set_len(end)
            .and_then(|()| self.file.seek(SeekFrom::Start(end)).map(drop))
            .map_err(|error| unwritable(&self.unfinished, &error))
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{} cannot be written: {error}", path.display()),
        "make room or give another place with --output; what is there is gone on with",
    )
}
