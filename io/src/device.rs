//! One core's handle on one device, real, in memory or simulated: nothing above this file can tell them apart. It checks every range, chooses
//! how a write becomes durable, and holds the gate that its flushes go through. It never retries a failed operation.
//! Operations are submitted when they are called for, not when they are first polled; a dropped future cancels nothing, and its
//! buffer stays with the operation until that has completed.

use std::cell::RefCell;
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;

use crate::buffer::{DmaBuffer, FrozenBuffer};
use crate::durability::{Fence, FlushGate, Force};
use crate::geometry::{DeviceOffset, Durability, Geometry};
use crate::memory_device::MemoryDevice;
use crate::ring::device::RingDevice;
use crate::simulated::SimulatedDevice;
use crate::width::to_u64;
use futures::{DiscardState, DurableWriteState, RawFlush, RawFlushState, ReadState, WriteState};
use meter::{Meter, Metered, UnderWay};

mod error;
mod futures;
mod meter;

pub use error::DeviceError;
pub use futures::{DiscardFuture, DurableWriteFuture, FlushFuture, ReadFuture, WriteFuture};
pub(crate) use meter::TimeSource;
pub use meter::{DeviceStatistics, OperationStatistics};

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
    /// What its operations are timed by.
    fn time(&self) -> TimeSource;
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

/// One core's handle on one device. Clone is cheap.
#[derive(Clone)]
pub struct Device {
    shared: Rc<Shared>,
}

struct Shared {
    back_end: AnyBackEnd,
    meter: Rc<Meter>,
    gate: RefCell<FlushGate<RawFlush>>,
}

enum AnyBackEnd {
    Real(RingDevice),
    Memory(MemoryDevice),
    Simulated(SimulatedDevice),
}

impl Device {
    pub(crate) fn real(device: RingDevice) -> Self {
        Self::over(AnyBackEnd::Real(device))
    }

    pub(crate) fn memory(device: MemoryDevice) -> Self {
        Self::over(AnyBackEnd::Memory(device))
    }

    pub(crate) fn simulated(device: SimulatedDevice) -> Self {
        Self::over(AnyBackEnd::Simulated(device))
    }

    fn over(back_end: AnyBackEnd) -> Self {
        let time = match &back_end {
            AnyBackEnd::Real(device) => device.time(),
            AnyBackEnd::Memory(device) => device.time(),
            AnyBackEnd::Simulated(device) => device.time(),
        };
        Self {
            shared: Rc::new(Shared {
                back_end,
                meter: Rc::new(Meter::new(time)),
                gate: RefCell::new(FlushGate::new()),
            }),
        }
    }

    /// The device's facts.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        match &self.shared.back_end {
            AnyBackEnd::Real(device) => device.geometry(),
            AnyBackEnd::Memory(device) => device.geometry(),
            AnyBackEnd::Simulated(device) => device.geometry(),
        }
    }

    /// For messages: the path it was opened by, or "simulated-3".
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.shared.back_end {
            AnyBackEnd::Real(device) => device.name(),
            AnyBackEnd::Memory(device) => device.name(),
            AnyBackEnd::Simulated(device) => device.name(),
        }
    }

    /// Whether a flush or forced write failed on any core: every later durable write and flush answers [`DeviceError::Fenced`].
    /// Reads and plain writes still work.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fence().is_raised()
    }

    /// What this core's handle has counted since it was attached.
    #[must_use]
    pub fn statistics(&self) -> DeviceStatistics {
        let meter = &self.shared.meter;
        DeviceStatistics {
            reads: meter.reads.statistics(),
            writes: meter.writes.statistics(),
            flushes: meter.flushes.statistics(),
            is_fenced: self.is_fenced(),
            size_bytes: self.geometry().size_bytes,
        }
    }

    /// Reads `length` bytes at `offset` into the start of `buffer`: all of them, or an error. Offset and length are multiples of the
    /// logical block (length not 0) and inside device and buffer, else the future answers with the mistake.
    pub fn read(&self, offset: DeviceOffset, buffer: DmaBuffer, length: usize) -> ReadFuture {
        if let Err(error) = self.check(offset, 0..length, buffer.capacity()) {
            return ReadFuture {
                state: ReadState::Rejected(Some((buffer, error))),
                under_way: None,
            };
        }
        let under_way = UnderWay::begin(&self.shared.meter, Metered::Read, to_u64(length));
        let state = match &self.shared.back_end {
            AnyBackEnd::Real(device) => ReadState::Real(device.read(offset, buffer, length)),
            AnyBackEnd::Memory(device) => ReadState::Memory(device.read(offset, buffer, length)),
            AnyBackEnd::Simulated(device) => {
                ReadState::Simulated(device.read(offset, buffer, length))
            }
        };
        ReadFuture {
            state,
            under_way: Some(under_way),
        }
    }

    /// Has the CPU fetch the first `length` bytes at `offset` into its cache, if the device is memory: so that the misses of
    /// many reads overlap. Nothing otherwise, and whatever the range.
    pub fn prefetch(&self, offset: DeviceOffset, length: usize) {
        if let AnyBackEnd::Memory(device) = &self.shared.back_end {
            device.prefetch(offset, length);
        }
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
            AnyBackEnd::Memory(device) => {
                DiscardState::Memory(device.discard(offset, length_bytes))
            }
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
        let length_bytes = to_u64(range.len());
        let under_way = UnderWay::begin(&self.shared.meter, Metered::Write, length_bytes);
        let state = match &self.shared.back_end {
            AnyBackEnd::Real(device) => {
                WriteState::Real(device.write(offset, buffer, range, force))
            }
            AnyBackEnd::Memory(device) => {
                WriteState::Memory(device.write(offset, buffer, range, force))
            }
            AnyBackEnd::Simulated(device) => {
                WriteState::Simulated(device.write(offset, buffer, range, force))
            }
        };
        WriteFuture {
            state,
            under_way: Some(under_way),
        }
    }

    fn submit_flush(&self) -> RawFlush {
        let under_way = UnderWay::begin(&self.shared.meter, Metered::Flush, 0);
        let state = match &self.shared.back_end {
            AnyBackEnd::Real(device) => RawFlushState::Real(device.flush()),
            AnyBackEnd::Memory(device) => RawFlushState::Memory(device.flush()),
            AnyBackEnd::Simulated(device) => RawFlushState::Simulated(device.flush()),
        };
        RawFlush { state, under_way }
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
            AnyBackEnd::Memory(device) => device.fence(),
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
