//! One pending operation of a simulated drive, from its submission to its completion. Owns the buffer all
//! that time, whatever becomes of the future.

use std::task::Waker;

use super::drive_config::DriveId;
use super::fault::Fault;
use super::log::Ending;
use super::media::{BlockWrite, FlushMark, Persistence};
use super::slot::Completer;
use crate::buffer::{DmaBuffer, FrozenBuffer};
use crate::device::{DeviceError, ReadOutcome};
use crate::geometry::DeviceOffset;

/// A pending operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Its number on its machine.
    pub(crate) number: u64,
    /// The drive it is for.
    pub(crate) drive: DriveId,
    /// First byte that the submitter asked for; 0 for a flush.
    pub(crate) offset: u64,
    /// Bytes that the submitter asked for; 0 for a flush.
    pub(crate) length_bytes: u64,
    /// What goes wrong with it, delays apart.
    pub(crate) harm: Option<Fault>,
    /// Whether its drive was pulled out before or while it was in flight: it has no effect.
    pub(crate) cut_off: bool,
    /// What it does.
    pub(crate) work: Work,
}

/// What a pending operation does, with all that it needs for that.
#[derive(Debug)]
pub(crate) enum Work {
    /// Reads from `block` on: where the bytes come from, which is elsewhere if misdirected.
    Read {
        block: u64,
        buffer: DmaBuffer,
        completer: Completer<ReadOutcome>,
    },
    /// Writes blocks; where they go, which is elsewhere if misdirected.
    Write {
        write: PendingWrite,
        completer: Completer<Result<(), DeviceError>>,
    },
    /// Makes durable what `mark` covers.
    Flush {
        mark: FlushMark,
        completer: Completer<Result<(), DeviceError>>,
    },
    /// Discards blocks.
    Discard {
        completer: Completer<Result<(), DeviceError>>,
    },
}

/// The blocks of a write that has not completed.
#[derive(Debug)]
pub(crate) struct PendingWrite {
    /// Every block, in order.
    pub(crate) blocks: Vec<PendingBlock>,
    /// When it will count as durable.
    pub(crate) persistence: Persistence,
    /// The submitter's memory: held as a real device would read it until completion. `None` in a fork.
    pub(crate) buffer: Option<FrozenBuffer>,
}

/// One block of a write that has not completed.
#[derive(Clone, Debug)]
pub(crate) struct PendingBlock {
    /// Where and what.
    pub(crate) write: BlockWrite,
    /// The version's sequence number, if the drive has applied this block before the write completes.
    pub(crate) applied: Option<u64>,
}

impl Operation {
    /// Hands the outcome to whoever awaits it. Returns the waker to call.
    #[must_use = "whoever waits must be woken"]
    pub(crate) fn finish(self, ending: Ending) -> Option<Waker> {
        let (offset, length_bytes) = (DeviceOffset::new(self.offset), self.length_bytes);
        let result =
            |failure: fn(DeviceOffset, u64, crate::errno::Errno) -> DeviceError| match ending {
                Ending::Done => Ok(()),
                Ending::Failed(errno) => Err(failure(offset, length_bytes, errno)),
                Ending::Gone => Err(DeviceError::Gone),
            };
        match self.work {
            Work::Read {
                buffer, completer, ..
            } => {
                let result = result(|offset, length_bytes, errno| DeviceError::Read {
                    offset,
                    length_bytes,
                    errno,
                });
                completer.complete((buffer, result))
            }
            Work::Write { completer, write } => {
                drop(write);
                completer.complete(result(|offset, length_bytes, errno| DeviceError::Write {
                    offset,
                    length_bytes,
                    errno,
                }))
            }
            Work::Flush { completer, .. } => {
                completer.complete(result(|_, _, errno| DeviceError::Flush { errno }))
            }
            Work::Discard { completer } => {
                completer.complete(result(|offset, length_bytes, errno| DeviceError::Discard {
                    offset,
                    length_bytes,
                    errno,
                }))
            }
        }
    }

    /// The blocks that a crash may find applied although the write has not completed.
    pub(crate) fn in_flight_blocks(&self) -> Vec<BlockWrite> {
        match &self.work {
            Work::Write { write, .. } if !self.cut_off && self.harm != Some(Fault::WriteLost) => {
                write
                    .blocks
                    .iter()
                    .filter(|block| block.applied.is_none())
                    .map(|block| block.write.clone())
                    .collect()
            }
            Work::Write { .. } | Work::Read { .. } | Work::Flush { .. } | Work::Discard { .. } => {
                Vec::new()
            }
        }
    }

    /// The same operation, on its way on a fork of the machine, awaited by nobody. Reads are not worth it.
    pub(crate) fn fork(&self) -> Option<Self> {
        let work = match &self.work {
            Work::Read { .. } => return None,
            Work::Write { write, .. } => {
                let write = PendingWrite {
                    blocks: write.blocks.clone(),
                    persistence: write.persistence,
                    buffer: None,
                };
                Work::Write {
                    write,
                    completer: Completer::unawaited(),
                }
            }
            Work::Flush { mark, .. } => Work::Flush {
                mark: *mark,
                completer: Completer::unawaited(),
            },
            Work::Discard { .. } => Work::Discard {
                completer: Completer::unawaited(),
            },
        };
        Some(Self {
            number: self.number,
            drive: self.drive,
            offset: self.offset,
            length_bytes: self.length_bytes,
            harm: self.harm,
            cut_off: self.cut_off,
            work,
        })
    }
}
