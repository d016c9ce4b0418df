//! The records of a backup in their order, a block at a time: how many blocks are in memory is bounded.

use std::cell::Cell;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counts::Counts;
use crate::backup::error::failure;
use crate::backup::reader::{BackupReader, Block};
use crate::backup::record::BackupRecord;
use crate::failure::Failure;

/// Blocks in memory at most, each of up to 9 MiB. One is read ahead of many that wait for a slow record.
const BLOCKS_MAX: usize = 16;

/// The backup that is being restored.
pub(super) struct Source {
    reader: BackupReader<BufReader<File>>,
    path: PathBuf,
    room: Arc<Semaphore>,
    current: Option<(Rc<Open>, usize)>,
}

/// A block whose records are on their way.
struct Open {
    block: Block,
    left_count: Cell<u32>,
    _room: OwnedSemaphorePermit,
}

/// One record that somebody restores.
pub(super) struct Taken {
    open: Rc<Open>,
    at: usize,
}

impl Taken {
    /// The record.
    pub(super) fn record(&self) -> Option<BackupRecord<'_>> {
        self.open.block.record_at(self.at).map(|(record, _)| record)
    }

    /// Which block it is of.
    pub(super) fn block_number(&self) -> u64 {
        self.open.block.header.number
    }

    /// Says that it is decided; true if it was the last of its block.
    pub(super) fn settle(&self) -> bool {
        let left_count = self.open.left_count.get().saturating_sub(1);
        self.open.left_count.set(left_count);
        left_count == 0
    }
}

impl Source {
    pub(super) fn new(reader: BackupReader<BufReader<File>>, path: PathBuf) -> Self {
        Self {
            reader,
            path,
            room: Arc::new(Semaphore::new(BLOCKS_MAX)),
            current: None,
        }
    }

    /// How far the file has been read.
    pub(super) fn offset_bytes(&self) -> u64 {
        self.reader.progress().offset_bytes
    }

    /// The next record; blocks that are done already are passed over and counted.
    pub(super) async fn take(
        &mut self,
        is_done: impl Fn(u64) -> bool,
        counts: &Counts,
    ) -> Result<Option<Taken>, Failure> {
        loop {
            if let Some((open, at)) = &mut self.current {
                if let Some((_, next)) = open.block.record_at(*at) {
                    let taken = Taken {
                        open: Rc::clone(open),
                        at: *at,
                    };
                    *at = next;
                    return Ok(Some(taken));
                }
                self.current = None;
            }
            let room = Arc::clone(&self.room).acquire_owned().await;
            let room = room.map_err(|error| Failure::new(error.to_string(), ""))?;
            let block = self.reader.next_block();
            let Some(block) = block.map_err(|error| failure(&self.path, &error))? else {
                return Ok(None);
            };
            if is_done(block.header.number) {
                counts.skip(block.header.record_count.into());
                continue;
            }
            let open = Open {
                left_count: Cell::new(block.header.record_count),
                block,
                _room: room,
            };
            self.current = Some((Rc::new(open), 0));
        }
    }
}
