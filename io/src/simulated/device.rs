//! A simulated drive as a core's device handle uses it: the simulated back end. A handle belongs to one life
//! of its machine; after a power cut or kill it answers "gone" for ever.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::drive_config::DriveId;
use super::machine::Machine;
use super::slot::Submitted;
use crate::buffer::{DmaBuffer, FrozenBuffer};
use crate::device::{BackEnd, DeviceError, ReadOutcome, TimeSource};
use crate::durability::{Fence, Force};
use crate::geometry::{DeviceOffset, Geometry};

/// A read on its way.
pub(crate) type SimulatedRead = Submitted<ReadOutcome>;
/// A write on its way.
pub(crate) type SimulatedWrite = Submitted<Result<(), DeviceError>>;
/// A flush on its way.
pub(crate) type SimulatedFlush = Submitted<Result<(), DeviceError>>;
/// A discard on its way.
pub(crate) type SimulatedDiscard = Submitted<Result<(), DeviceError>>;

/// One handle on one simulated drive.
pub(crate) struct SimulatedDevice {
    machine: Rc<RefCell<Machine>>,
    drive: DriveId,
    life: u64,
    name: String,
    geometry: Geometry,
    fence: Fence,
}

impl SimulatedDevice {
    /// A handle for the machine's present life.
    pub(crate) fn new(machine: &Rc<RefCell<Machine>>, id: DriveId) -> Self {
        let state = machine.borrow();
        let drive = state.drive(id);
        Self {
            machine: Rc::clone(machine),
            drive: id,
            life: state.life(),
            name: drive.name().to_owned(),
            geometry: drive.geometry().clone(),
            fence: drive.fence().clone(),
        }
    }

    fn is_dead(&self) -> bool {
        self.machine.borrow().life() != self.life
    }
}

impl BackEnd for SimulatedDevice {
    type Read = SimulatedRead;
    type Write = SimulatedWrite;
    type Flush = SimulatedFlush;
    type Discard = SimulatedDiscard;

    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn fence(&self) -> &Fence {
        &self.fence
    }

    fn time(&self) -> TimeSource {
        TimeSource::Simulated(self.machine.borrow().clock().clone())
    }

    fn read(&self, offset: DeviceOffset, buffer: DmaBuffer, length: usize) -> SimulatedRead {
        if self.is_dead() {
            return Submitted::ready((buffer, Err(DeviceError::Gone)));
        }
        self.machine
            .borrow_mut()
            .submit_read(self.drive, offset.get(), buffer, length)
    }

    fn write(
        &self,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        range: Range<usize>,
        force: Force,
    ) -> SimulatedWrite {
        if self.is_dead() {
            return Submitted::ready(Err(DeviceError::Gone));
        }
        self.machine
            .borrow_mut()
            .submit_write(self.drive, offset.get(), (buffer, range), force)
    }

    fn flush(&self) -> SimulatedFlush {
        if self.is_dead() {
            return Submitted::ready(Err(DeviceError::Gone));
        }
        self.machine.borrow_mut().submit_flush(self.drive)
    }

    fn discard(&self, offset: DeviceOffset, length_bytes: u64) -> SimulatedDiscard {
        if self.is_dead() {
            return Submitted::ready(Err(DeviceError::Gone));
        }
        self.machine
            .borrow_mut()
            .submit_discard(self.drive, offset.get(), length_bytes)
    }
}
