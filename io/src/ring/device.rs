//! The real back end of a device: its operations on one core's ring. Ranges have been checked by
//! `Device`.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Outcome, Pending, RingError, RingInner};
use crate::buffer::{DmaBuffer, FrozenBuffer};
use crate::descriptor::Descriptor;
use crate::device::{BackEnd, DeviceError, ReadOutcome, TimeSource};
use crate::durability::{Fence, Force};
use crate::errno::Errno;
use crate::geometry::{DeviceOffset, Geometry};
use crate::limits::{DEVICE_PIECE_BYTES, FRESH_PIECE_BYTES};
use crate::open::Opened;
use crate::sys::operation::{Operation, Progress};
use crate::width::{index, to_u64};

/// One core's handle on an open device.
pub(crate) struct RingDevice {
    ring: Rc<RingInner>,
    file: Rc<Descriptor>,
    opened: Arc<Opened>,
}

impl RingDevice {
    /// `file` is this core's own descriptor on the device.
    pub(crate) fn new(
        ring: &Rc<RingInner>,
        file: std::os::fd::OwnedFd,
        opened: Arc<Opened>,
    ) -> Result<Self, RingError> {
        ring.enter_device()?;
        Ok(Self {
            ring: Rc::clone(ring),
            file: ring.adopt(file),
            opened,
        })
    }

    fn progress(&self, length: usize) -> Progress {
        Progress::new(length, index(self.opened.geometry().logical_block_bytes))
    }

    fn busy(&self) -> DeviceError {
        DeviceError::Busy {
            slot_count: self.ring.slot_count(),
        }
    }
}

impl Drop for RingDevice {
    fn drop(&mut self) {
        self.ring.leave_device();
    }
}

impl BackEnd for RingDevice {
    type Read = RingRead;
    type Write = RingWrite;
    type Flush = RingWrite;
    type Discard = RingWrite;

    fn name(&self) -> &str {
        self.opened.name()
    }

    fn geometry(&self) -> &Geometry {
        self.opened.geometry()
    }

    fn fence(&self) -> &Fence {
        self.opened.fence()
    }

    fn time(&self) -> TimeSource {
        TimeSource::Ring(Rc::clone(&self.ring))
    }

    fn read(&self, offset: DeviceOffset, buffer: DmaBuffer, length: usize) -> RingRead {
        let file = Rc::clone(&self.file);
        let piece_bytes = match buffer.arena() {
            Some(_) => DEVICE_PIECE_BYTES,
            None => FRESH_PIECE_BYTES,
        };
        let progress = self.progress(length).in_pieces(piece_bytes);
        match self.ring.start(Operation::Read {
            file,
            offset,
            buffer,
            progress,
        }) {
            Ok(pending) => RingRead::Pending(pending),
            Err(Operation::Read { buffer, .. }) => RingRead::Refused(Some((buffer, self.busy()))),
            Err(_other) => RingRead::Refused(None),
        }
    }

    fn write(
        &self,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        range: Range<usize>,
        force: Force,
    ) -> RingWrite {
        let forced = match force {
            Force::Plain => None,
            Force::UnitAccess => Some(self.fence().clone()),
        };
        let file = Rc::clone(&self.file);
        let progress = self.progress(range.len()).in_pieces(DEVICE_PIECE_BYTES);
        let start = range.start;
        let write = Operation::Write {
            file,
            offset,
            buffer,
            start,
            progress,
            forced,
        };
        RingWrite::from(self.ring.start(write).map_err(|_| self.busy()))
    }

    fn flush(&self) -> RingWrite {
        let file = Rc::clone(&self.file);
        let flush = Operation::Flush {
            file,
            fence: self.fence().clone(),
        };
        RingWrite::from(self.ring.start_reserved(flush).map_err(|_| self.busy()))
    }

    fn discard(&self, offset: DeviceOffset, length_bytes: u64) -> RingWrite {
        let file = Rc::clone(&self.file);
        let discard = Operation::Discard {
            file,
            offset,
            length_bytes,
        };
        RingWrite::from(self.ring.start(discard).map_err(|_| self.busy()))
    }
}

/// A read on its way.
pub(crate) enum RingRead {
    Pending(Pending),
    Refused(Option<(DmaBuffer, DeviceError)>),
}

impl Future for RingRead {
    type Output = ReadOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ReadOutcome> {
        match &mut *self {
            Self::Refused(refused) => match refused.take() {
                Some((buffer, error)) => Poll::Ready((buffer, Err(error))),
                None => Poll::Pending,
            },
            Self::Pending(pending) => match pending.poll(context) {
                Poll::Ready((
                    Operation::Read {
                        offset,
                        buffer,
                        progress,
                        ..
                    },
                    outcome,
                )) => {
                    let outcome = transferred(outcome, offset, progress, |errno, length_bytes| {
                        DeviceError::Read {
                            offset,
                            length_bytes,
                            errno,
                        }
                    });
                    Poll::Ready((buffer, outcome))
                }
                Poll::Ready(_) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// A write, flush or discard on its way.
pub(crate) enum RingWrite {
    Pending(Pending),
    Refused(Option<DeviceError>),
}

impl From<Result<Pending, DeviceError>> for RingWrite {
    fn from(started: Result<Pending, DeviceError>) -> Self {
        match started {
            Ok(pending) => Self::Pending(pending),
            Err(error) => Self::Refused(Some(error)),
        }
    }
}

impl Future for RingWrite {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Refused(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
            Self::Pending(pending) => pending
                .poll(context)
                .map(|(operation, outcome)| outcome_of(&operation, outcome)),
        }
    }
}

/// How a write, flush or discard went.
fn outcome_of(operation: &Operation, outcome: Outcome) -> Result<(), DeviceError> {
    if let &Operation::Write {
        offset, progress, ..
    } = operation
    {
        return transferred(outcome, offset, progress, |errno, length_bytes| {
            DeviceError::Write {
                offset,
                length_bytes,
                errno,
            }
        });
    }
    let errno = match outcome {
        Outcome::Done(_) | Outcome::Short => return Ok(()),
        Outcome::Failed(errno) => errno,
    };
    if let &Operation::Discard {
        offset,
        length_bytes,
        ..
    } = operation
    {
        if errno == Errno::EOPNOTSUPP {
            return Err(DeviceError::Unsupported);
        }
        return Err(DeviceError::Discard {
            offset,
            length_bytes,
            errno,
        });
    }
    if is_removal(errno) {
        return Err(DeviceError::Gone);
    }
    Err(DeviceError::Flush { errno })
}

/// What the kernel says of a drive that was removed, or given up.
fn is_removal(errno: Errno) -> bool {
    errno == Errno::ENODEV || errno == Errno::ENXIO
}

fn transferred(
    outcome: Outcome,
    offset: DeviceOffset,
    progress: Progress,
    failed: impl Fn(Errno, u64) -> DeviceError,
) -> Result<(), DeviceError> {
    let length_bytes = to_u64(progress.length());
    match outcome {
        Outcome::Done(_) => Ok(()),
        Outcome::Failed(errno) if is_removal(errno) => Err(DeviceError::Gone),
        Outcome::Failed(errno) => Err(failed(errno, length_bytes)),
        Outcome::Short => {
            let done_bytes = to_u64(progress.done());
            Err(DeviceError::Short {
                offset,
                length_bytes,
                done_bytes,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(outcome: Outcome) -> Result<(), DeviceError> {
        let offset = DeviceOffset::new(4096);
        transferred(
            outcome,
            offset,
            Progress::new(512, 512),
            |errno, length_bytes| DeviceError::Read {
                offset,
                length_bytes,
                errno,
            },
        )
    }

    #[test]
    fn a_removed_drive_is_told_from_one_that_fails() {
        for errno in [Errno::ENODEV, Errno::ENXIO] {
            assert_eq!(read(Outcome::Failed(errno)), Err(DeviceError::Gone));
        }
        let failed = read(Outcome::Failed(Errno::EIO));
        assert!(
            matches!(failed, Err(DeviceError::Read { .. })),
            "{failed:?}"
        );
    }
}
