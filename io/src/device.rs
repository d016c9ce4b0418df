//! One core's handle on one device, real or simulated: nothing above this file can tell them apart. It checks every range, chooses
//! how a write becomes durable, and holds the gate that its flushes go through. It never retries a failed operation.
//! Operations are submitted when they are called for, not when they are first polled; a dropped future cancels nothing, and its
//! buffer stays with the operation until that has completed.

use std::cell::RefCell;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::buffer::{DmaBuffer, FrozenBuffer};
use crate::durability::{Fence, FlushGate, Force, Waiter};
use crate::errno::Errno;
use crate::geometry::{DeviceOffset, Durability, Geometry};
use crate::ring::device::{RingDevice, RingRead, RingWrite};
use crate::simulated::{
    SimulatedDevice, SimulatedDiscard, SimulatedFlush, SimulatedRead, SimulatedWrite,
};
use crate::width::to_u64;

/// What a read gives back: the buffer always, and how it went.
pub type ReadOutcome = (DmaBuffer, Result<(), DeviceError>);

/// What a device's back end offers. `Device` has checked ranges and the fence before it calls. Each call submits at once and returns a
/// handle; dropping the handle cancels nothing, and the back end keeps the buffer until the operation is over.
/// A back end raises its fence itself when a flush or a forced write fails, so that the fence stands even if nobody awaits the outcome.
pub(crate) trait BackEnd {
    type Read: Future<Output = ReadOutcome> + Unpin;
    type Write: Future<Output = Result<(), DeviceError>> + Unpin;
    type Flush: Future<Output = Result<(), DeviceError>> + Unpin;
    type Discard: Future<Output = Result<(), DeviceError>> + Unpin;

    /// For messages: a path, or "simulated-3".
    fn name(&self) -> &str;
    fn geometry(&self) -> &Geometry;
    /// The device's fence, the same one for all handles on it.
    fn fence(&self) -> &Fence;
    /// Reads `length` bytes into the start of the buffer, completely or not at all.
    fn read(&self, offset: DeviceOffset, buffer: DmaBuffer, length: usize) -> Self::Read;
    /// Writes `buffer[range]`, completely or with an error.
    fn write(
        &self,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        range: Range<usize>,
        force: Force,
    ) -> Self::Write;
    /// Makes durable all that had completed when this was called.
    fn flush(&self) -> Self::Flush;
    fn discard(&self, offset: DeviceOffset, length_bytes: u64) -> Self::Discard;
}

/// Why a device operation failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device did not give the bytes: a media error, or the drive is failing.
    #[error("reading {length_bytes} bytes at {offset} failed: {errno}")]
    Read {
        /// Where the read began.
        offset: DeviceOffset,
        /// How many bytes were asked for.
        length_bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The device did not take the bytes. Some of them may have been written.
    #[error("writing {length_bytes} bytes at {offset} failed: {errno}")]
    Write {
        /// Where the write began.
        offset: DeviceOffset,
        /// How many bytes were to be written.
        length_bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// A flush failed: anything since the last good one may be lost. The device is fenced now.
    #[error("flushing the device's cache failed: {errno}; the device is fenced")]
    Flush {
        /// What the kernel said.
        errno: Errno,
    },
    /// A discard failed; what the range holds now is unknown.
    #[error("discarding {length_bytes} bytes at {offset} failed: {errno}")]
    Discard {
        /// Where the range began.
        offset: DeviceOffset,
        /// Its length.
        length_bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The device ended before its stated size, or stopped taking bytes.
    #[error("the device stopped after {done_bytes} of {length_bytes} bytes at {offset}")]
    Short {
        /// Where the operation began.
        offset: DeviceOffset,
        /// How many bytes were asked for.
        length_bytes: u64,
        /// How many were transferred.
        done_bytes: u64,
    },
    /// An earlier flush failed; nothing is made durable on this device any more. Restart on it after looking at the drive.
    #[error("the device is fenced after a failed flush")]
    Fenced,
    /// The device's machine is gone (a simulated power cut), or its ring is closed.
    #[error("the device is gone")]
    Gone,
    /// The caller's mistake: offset, start in the buffer and length must be multiples of the logical block, the length not 0.
    #[error(
        "{offset} and length {length_bytes} are not multiples of the {unit_bytes}-byte block (or the length is 0)"
    )]
    Misaligned {
        /// The offset asked for, or the range's start in the buffer if that was the odd one.
        offset: DeviceOffset,
        /// The length asked for.
        length_bytes: u64,
        /// The logical block.
        unit_bytes: u32,
    },
    /// The caller's mistake: the range passes the device's end.
    #[error("{length_bytes} bytes at {offset} pass the device's end at {size_bytes}")]
    OutOfBounds {
        /// The offset asked for.
        offset: DeviceOffset,
        /// The length asked for.
        length_bytes: u64,
        /// The device's size.
        size_bytes: u64,
    },
    /// The caller's mistake: the range passes the buffer's end.
    #[error("bytes up to {end} of a buffer of {capacity_bytes} bytes were asked for")]
    OutsideBuffer {
        /// End of the range asked for.
        end: usize,
        /// The buffer's size.
        capacity_bytes: usize,
    },
    /// More operations at once than the ring was made for; submit again when some have completed.
    #[error("all {slot_count} operation slots of the ring are in use")]
    Busy {
        /// The ring's bound.
        slot_count: u32,
    },
    /// The device cannot do this (a discard where there is none).
    #[error("the device does not support this operation")]
    Unsupported,
}

/// One core's handle on one device. Clone is cheap.
#[derive(Clone)]
pub struct Device {
    shared: Rc<Shared>,
}

struct Shared {
    back_end: AnyBackEnd,
    gate: RefCell<FlushGate<RawFlush>>,
}

enum AnyBackEnd {
    Real(RingDevice),
    Simulated(SimulatedDevice),
}

impl Device {
    pub(crate) fn real(device: RingDevice) -> Self {
        Self::over(AnyBackEnd::Real(device))
    }

    pub(crate) fn simulated(device: SimulatedDevice) -> Self {
        Self::over(AnyBackEnd::Simulated(device))
    }

    fn over(back_end: AnyBackEnd) -> Self {
        Self {
            shared: Rc::new(Shared {
                back_end,
                gate: RefCell::new(FlushGate::new()),
            }),
        }
    }

    /// The device's facts.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        match &self.shared.back_end {
            AnyBackEnd::Real(device) => device.geometry(),
            AnyBackEnd::Simulated(device) => device.geometry(),
        }
    }

    /// For messages: the path it was opened by, or "simulated-3".
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.shared.back_end {
            AnyBackEnd::Real(device) => device.name(),
            AnyBackEnd::Simulated(device) => device.name(),
        }
    }

    /// Whether a flush or forced write failed on any core: every later durable write and flush answers [`DeviceError::Fenced`].
    /// Reads and plain writes still work.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fence().is_raised()
    }

    /// Reads `length` bytes at `offset` into the start of `buffer`: all of them, or an error. Offset and length are multiples of the
    /// logical block (length not 0) and inside device and buffer, else the future answers with the mistake.
    pub fn read(&self, offset: DeviceOffset, buffer: DmaBuffer, length: usize) -> ReadFuture {
        if let Err(error) = self.check(offset, 0..length, buffer.capacity()) {
            return ReadFuture {
                state: ReadState::Rejected(Some((buffer, error))),
            };
        }
        let state = match &self.shared.back_end {
            AnyBackEnd::Real(device) => ReadState::Real(device.read(offset, buffer, length)),
            AnyBackEnd::Simulated(device) => {
                ReadState::Simulated(device.read(offset, buffer, length))
            }
        };
        ReadFuture { state }
    }

    /// Writes `buffer[range]` at `offset`. Ready when the device has *completed* it, which is durable only on
    /// [`Durability::WriteThrough`]. The same rules on ranges as for `read`; the range's start in the buffer is a multiple too.
    pub fn write(
        &self,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        range: Range<usize>,
    ) -> WriteFuture {
        self.submit_write(offset, buffer, range, Force::Plain)
    }

    /// Writes `buffer[range]` at `offset` and is ready when that is durable, by the device's own way. If the future is dropped, the
    /// write completes all the same, but nobody flushes for it.
    pub fn write_durable(
        &self,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        range: Range<usize>,
    ) -> DurableWriteFuture {
        let device = self.clone();
        if self.is_fenced() {
            let write = WriteFuture::rejected(DeviceError::Fenced);
            return DurableWriteFuture {
                device,
                state: DurableWriteState::Writing(write),
            };
        }
        let force = match self.geometry().durability {
            Durability::Fua => Force::UnitAccess,
            Durability::WriteThrough | Durability::Flush => Force::Plain,
        };
        let write = self.submit_write(offset, buffer, range, force);
        DurableWriteFuture {
            device,
            state: DurableWriteState::Writing(write),
        }
    }

    /// Makes durable what had completed before this call: joins the flush that waits, if one does. On [`Durability::WriteThrough`]
    /// there is nothing to do.
    pub fn flush(&self) -> FlushFuture {
        let waiter = match self.geometry().durability {
            Durability::WriteThrough => None,
            Durability::Fua | Durability::Flush => Some(self.shared.gate.borrow_mut().join()),
        };
        FlushFuture {
            device: self.clone(),
            waiter,
        }
    }

    /// Tells the device that a range is not needed; reads of it then give zeros or the old bytes. Never relied on for anything.
    pub fn discard(&self, offset: DeviceOffset, length_bytes: u64) -> DiscardFuture {
        if let Err(error) = self.check_range(offset, length_bytes) {
            return DiscardFuture {
                state: DiscardState::Rejected(Some(error)),
            };
        }
        if !self.geometry().discard {
            return DiscardFuture {
                state: DiscardState::Rejected(Some(DeviceError::Unsupported)),
            };
        }
        let state = match &self.shared.back_end {
            AnyBackEnd::Real(device) => DiscardState::Real(device.discard(offset, length_bytes)),
            AnyBackEnd::Simulated(device) => {
                DiscardState::Simulated(device.discard(offset, length_bytes))
            }
        };
        DiscardFuture { state }
    }

    fn submit_write(
        &self,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        range: Range<usize>,
        force: Force,
    ) -> WriteFuture {
        if let Err(error) = self.check(offset, range.clone(), buffer.len()) {
            return WriteFuture::rejected(error);
        }
        let state = match &self.shared.back_end {
            AnyBackEnd::Real(device) => {
                WriteState::Real(device.write(offset, buffer, range, force))
            }
            AnyBackEnd::Simulated(device) => {
                WriteState::Simulated(device.write(offset, buffer, range, force))
            }
        };
        WriteFuture { state }
    }

    fn submit_flush(&self) -> RawFlush {
        match &self.shared.back_end {
            AnyBackEnd::Real(device) => RawFlush::Real(device.flush()),
            AnyBackEnd::Simulated(device) => RawFlush::Simulated(device.flush()),
        }
    }

    /// Wakes those that the gate names, one by one: a waker may drop a task, and that task's flush comes back to the gate.
    fn wake_gate(&self) {
        loop {
            let woken = self.shared.gate.borrow_mut().take_woken();
            match woken {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    fn fence(&self) -> &Fence {
        match &self.shared.back_end {
            AnyBackEnd::Real(device) => device.fence(),
            AnyBackEnd::Simulated(device) => device.fence(),
        }
    }

    fn check(
        &self,
        offset: DeviceOffset,
        range: Range<usize>,
        capacity_bytes: usize,
    ) -> Result<(), DeviceError> {
        if range.end > capacity_bytes {
            return Err(DeviceError::OutsideBuffer {
                end: range.end,
                capacity_bytes,
            });
        }
        let unit_bytes = self.geometry().logical_block_bytes;
        let start = to_u64(range.start);
        if !start.is_multiple_of(u64::from(unit_bytes)) {
            return Err(DeviceError::Misaligned {
                offset: DeviceOffset::new(start),
                length_bytes: to_u64(range.len()),
                unit_bytes,
            });
        }
        self.check_range(offset, to_u64(range.len()))
    }

    fn check_range(&self, offset: DeviceOffset, length_bytes: u64) -> Result<(), DeviceError> {
        let &Geometry {
            size_bytes,
            logical_block_bytes: unit_bytes,
            ..
        } = self.geometry();
        let unit = u64::from(unit_bytes);
        if !offset.get().is_multiple_of(unit)
            || !length_bytes.is_multiple_of(unit)
            || length_bytes == 0
        {
            return Err(DeviceError::Misaligned {
                offset,
                length_bytes,
                unit_bytes,
            });
        }
        match offset.checked_add(length_bytes) {
            Some(end) if end.get() <= size_bytes => Ok(()),
            Some(_) | None => Err(DeviceError::OutOfBounds {
                offset,
                length_bytes,
                size_bytes,
            }),
        }
    }
}

/// A read on its way; see [`Device::read`].
#[must_use = "a read's bytes come with its outcome"]
pub struct ReadFuture {
    state: ReadState,
}

enum ReadState {
    Rejected(Option<(DmaBuffer, DeviceError)>),
    Real(RingRead),
    Simulated(SimulatedRead),
}

impl Future for ReadFuture {
    type Output = ReadOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ReadOutcome> {
        match &mut self.state {
            ReadState::Rejected(rejected) => match rejected.take() {
                Some((buffer, error)) => Poll::Ready((buffer, Err(error))),
                None => Poll::Pending,
            },
            ReadState::Real(read) => Pin::new(read).poll(context),
            ReadState::Simulated(read) => Pin::new(read).poll(context),
        }
    }
}

/// A write on its way; see [`Device::write`].
#[must_use = "a write's outcome is known only from its future"]
pub struct WriteFuture {
    state: WriteState,
}

enum WriteState {
    Rejected(Option<DeviceError>),
    Real(RingWrite),
    Simulated(SimulatedWrite),
}

impl WriteFuture {
    fn rejected(error: DeviceError) -> Self {
        Self {
            state: WriteState::Rejected(Some(error)),
        }
    }
}

impl Future for WriteFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            WriteState::Rejected(error) => poll_rejected(error),
            WriteState::Real(write) => Pin::new(write).poll(context),
            WriteState::Simulated(write) => Pin::new(write).poll(context),
        }
    }
}

/// A durable write on its way; see [`Device::write_durable`].
#[must_use = "a write's outcome is known only from its future"]
pub struct DurableWriteFuture {
    device: Device,
    state: DurableWriteState,
}

enum DurableWriteState {
    Writing(WriteFuture),
    Flushing(FlushFuture),
}

impl Future for DurableWriteFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let DurableWriteState::Writing(write) = &mut this.state {
            let Poll::Ready(outcome) = Pin::new(write).poll(context) else {
                return Poll::Pending;
            };
            let durability = this.device.geometry().durability;
            if outcome.is_err() || durability != Durability::Flush {
                if matches!(
                    outcome,
                    Err(DeviceError::Write { .. } | DeviceError::Short { .. })
                ) && durability == Durability::Fua
                {
                    this.device.fence().raise();
                }
                return Poll::Ready(outcome);
            }
            this.state = DurableWriteState::Flushing(this.device.flush());
        }
        match &mut this.state {
            DurableWriteState::Flushing(flush) => Pin::new(flush).poll(context),
            DurableWriteState::Writing(_) => Poll::Pending,
        }
    }
}

/// A flush on its way or waiting for its turn; see [`Device::flush`]. Once polled it must be polled on when woken, or dropped:
/// others may wait for the same flush.
#[must_use = "nothing is durable before the flush's outcome is known"]
pub struct FlushFuture {
    device: Device,
    waiter: Option<Waiter>,
}

impl Future for FlushFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { device, waiter } = &mut *self;
        let Some(waiter) = waiter else {
            let fenced = device.is_fenced();
            return Poll::Ready(if fenced {
                Err(DeviceError::Fenced)
            } else {
                Ok(())
            });
        };
        let outcome = device.shared.gate.borrow_mut().poll(
            waiter,
            device.fence(),
            || device.submit_flush(),
            context,
        );
        device.wake_gate();
        outcome
    }
}

impl Drop for FlushFuture {
    fn drop(&mut self) {
        if let Some(waiter) = &self.waiter {
            self.device.shared.gate.borrow_mut().leave(waiter.id());
            self.device.wake_gate();
        }
    }
}

/// A discard on its way; see [`Device::discard`].
#[must_use = "a discard's outcome is known only from its future"]
pub struct DiscardFuture {
    state: DiscardState,
}

enum DiscardState {
    Rejected(Option<DeviceError>),
    Real(RingWrite),
    Simulated(SimulatedDiscard),
}

impl Future for DiscardFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            DiscardState::Rejected(error) => poll_rejected(error),
            DiscardState::Real(discard) => Pin::new(discard).poll(context),
            DiscardState::Simulated(discard) => Pin::new(discard).poll(context),
        }
    }
}

/// The back end's own flush, which the gate holds.
enum RawFlush {
    Real(RingWrite),
    Simulated(SimulatedFlush),
}

impl Future for RawFlush {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Real(flush) => Pin::new(flush).poll(context),
            Self::Simulated(flush) => Pin::new(flush).poll(context),
        }
    }
}

fn poll_rejected(error: &mut Option<DeviceError>) -> Poll<Result<(), DeviceError>> {
    match error.take() {
        Some(error) => Poll::Ready(Err(error)),
        None => Poll::Pending,
    }
}
