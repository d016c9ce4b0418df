//! A device in memory: the back end for contents that are to be lost at a stop. It has a device's bounds and
//! alignment, its operations are over when they are called for, and a completed write is as durable as it will be.
//!
//! It never fails, never fences, and never touches a ring but for its time.

use std::future::{Ready, ready};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::buffer::{DmaBuffer, FrozenBuffer};
use crate::device::{BackEnd, DeviceError, ReadOutcome, TimeSource};
use crate::durability::{Fence, Force};
use crate::errno::Errno;
use crate::geometry::{DeviceKind, DeviceOffset, Durability, Geometry};
use crate::limits::MEMORY_BLOCK_BYTES;
use crate::ring::RingInner;
use crate::sys::mapping::HugePages;
use crate::sys::shared_memory::SharedMemory;
use crate::width::to_u64;

/// What all handles on one device share.
pub(crate) struct OpenMemory {
    name: String,
    geometry: Geometry,
    fence: Fence,
    memory: SharedMemory,
}

impl OpenMemory {
    /// Zeroed memory of `size_bytes`, a multiple of the block.
    pub(crate) fn new(name: &str, size_bytes: u64) -> Result<Self, Errno> {
        let length = usize::try_from(size_bytes).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            name: name.to_owned(),
            geometry: Geometry {
                size_bytes,
                logical_block_bytes: MEMORY_BLOCK_BYTES,
                physical_block_bytes: MEMORY_BLOCK_BYTES,
                write_unit_bytes: MEMORY_BLOCK_BYTES,
                durability: Durability::WriteThrough,
                kind: DeviceKind::Memory,
                discard: false,
            },
            fence: Fence::new(),
            memory: SharedMemory::new(length)?,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    pub(crate) fn huge_pages(&self) -> HugePages {
        self.memory.huge_pages()
    }
}

/// One core's handle.
pub(crate) struct MemoryDevice {
    opened: Arc<OpenMemory>,
    ring: Rc<RingInner>,
}

impl MemoryDevice {
    pub(crate) fn new(opened: Arc<OpenMemory>, ring: Rc<RingInner>) -> Self {
        Self { opened, ring }
    }

    /// Has the CPU fetch what a read of this place will copy.
    pub(crate) fn prefetch(&self, offset: DeviceOffset, length: usize) {
        if let Ok(start) = usize::try_from(offset.get()) {
            self.opened.memory.prefetch(start, length);
        }
    }

    fn outside(&self, offset: DeviceOffset, length: usize) -> DeviceError {
        DeviceError::OutOfBounds {
            offset,
            length_bytes: to_u64(length),
            size_bytes: self.opened.geometry.size_bytes,
        }
    }
}

impl BackEnd for MemoryDevice {
    type Read = Ready<ReadOutcome>;
    type Write = Ready<Result<(), DeviceError>>;
    type Flush = Ready<Result<(), DeviceError>>;
    type Discard = Ready<Result<(), DeviceError>>;

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

    fn read(&self, offset: DeviceOffset, mut buffer: DmaBuffer, length: usize) -> Self::Read {
        let start = usize::try_from(offset.get()).ok();
        let place = buffer.as_mut_slice().get_mut(..length);
        let read = start
            .zip(place)
            .and_then(|(start, place)| self.opened.memory.read(start, place));
        let outcome = read.ok_or_else(|| self.outside(offset, length));
        ready((buffer, outcome))
    }

    fn write(
        &self,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        range: Range<usize>,
        _force: Force,
    ) -> Self::Write {
        let length = range.len();
        let start = usize::try_from(offset.get()).ok();
        let bytes = buffer.get(range);
        let written = start
            .zip(bytes)
            .and_then(|(start, bytes)| self.opened.memory.write(start, bytes));
        ready(written.ok_or_else(|| self.outside(offset, length)))
    }

    fn flush(&self) -> Self::Flush {
        ready(Ok(()))
    }

    fn discard(&self, _offset: DeviceOffset, _length_bytes: u64) -> Self::Discard {
        ready(Err(DeviceError::Unsupported))
    }
}
