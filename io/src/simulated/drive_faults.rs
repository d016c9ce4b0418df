//! The handle by which a test makes one simulated drive misbehave, or looks behind its face.

use std::cell::RefCell;
use std::rc::Rc;

use super::drive_config::{DriveId, Honesty};
use super::fault::{Fault, FaultRates};
use super::fault_plan::PlannedFault;
use super::machine::Machine;
use super::media::Persistence;
use crate::geometry::DeviceOffset;
use crate::width::{to_u64, to_usize};

/// What goes wrong with one drive. Works across power cuts.
#[derive(Clone)]
pub struct DriveFaults {
    machine: Rc<RefCell<Machine>>,
    drive: DriveId,
}

impl DriveFaults {
    pub(crate) fn new(machine: &Rc<RefCell<Machine>>, drive: DriveId) -> Self {
        Self {
            machine: Rc::clone(machine),
            drive,
        }
    }

    /// Replaces the rates of the faults that strike by themselves, for operations submitted from now on.
    ///
    /// # Panics
    /// If a rate is above one million.
    pub fn set_rates(&self, rates: FaultRates) {
        self.machine
            .borrow_mut()
            .drive_mut(self.drive)
            .faults_mut()
            .set_rates(rates);
    }

    /// Adds a fault that strikes once, among operations submitted from now on.
    pub fn plan(&self, planned: PlannedFault) {
        self.machine
            .borrow_mut()
            .drive_mut(self.drive)
            .faults_mut()
            .plan(planned);
    }

    /// Planned faults that have not struck yet.
    #[must_use]
    pub fn planned_count(&self) -> usize {
        self.machine
            .borrow()
            .drive(self.drive)
            .faults()
            .planned_count()
    }

    /// How often `fault` has struck, planned or not.
    #[must_use]
    pub fn struck_count(&self, fault: Fault) -> u64 {
        self.machine
            .borrow()
            .drive(self.drive)
            .faults()
            .struck_count(fault)
    }

    /// From now on the drive keeps its word about durability, or does not. What it has promised so far stays
    /// promised.
    pub fn set_honesty(&self, honesty: Honesty) {
        self.machine
            .borrow_mut()
            .drive_mut(self.drive)
            .set_honesty(honesty);
    }

    /// Flips bit `bit` (0 to 7) of the byte at `offset`, as it is read now.
    pub fn flip_bit(&self, offset: DeviceOffset, bit: u8) {
        let mut machine = self.machine.borrow_mut();
        let drive = machine.drive_mut(self.drive);
        let block_bytes = u64::from(drive.geometry().logical_block_bytes);
        let block = drive.block_at(offset.get());
        drive
            .media_mut()
            .flip_bit(block, to_usize(offset.get() % block_bytes), bit);
    }

    /// Pulls the drive out: what is not durable is lost as in a power cut, and every operation, pending or
    /// later, answers "gone".
    pub fn remove(&self) {
        self.machine.borrow_mut().remove_drive(self.drive);
    }

    /// Plugs the drive in again.
    pub fn restore(&self) {
        self.machine.borrow_mut().drive_mut(self.drive).restore();
    }

    /// Copies what a read would see now into `bytes`, behind the drive's back: at once, without a fault.
    ///
    /// # Panics
    /// If the range is not of whole logical blocks inside the drive.
    pub fn inspect(&self, offset: DeviceOffset, bytes: &mut [u8]) {
        let machine = self.machine.borrow();
        let drive = machine.drive(self.drive);
        let block = self.checked_block(&machine, offset, bytes.len());
        drive.media().read(block, bytes);
    }

    /// Replaces what is stored with `bytes`, behind the drive's back: at once, durably, without a fault.
    ///
    /// # Panics
    /// If the range is not of whole logical blocks inside the drive.
    pub fn overwrite(&self, offset: DeviceOffset, bytes: &[u8]) {
        let mut machine = self.machine.borrow_mut();
        let block = self.checked_block(&machine, offset, bytes.len());
        let media = machine.drive_mut(self.drive).media_mut();
        for write in media.split(block, bytes) {
            media.apply(write, Persistence::Durable);
        }
    }

    /// Logical blocks that hold something which is not durable.
    #[must_use]
    pub fn cached_block_count(&self) -> usize {
        self.machine
            .borrow()
            .drive(self.drive)
            .media()
            .cached_block_count()
    }

    /// Bytes of memory that the drive's durable contents take.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.machine
            .borrow()
            .drive(self.drive)
            .media()
            .resident_bytes()
    }

    fn checked_block(&self, machine: &Machine, offset: DeviceOffset, length: usize) -> u64 {
        let drive = machine.drive(self.drive);
        let block_bytes = u64::from(drive.geometry().logical_block_bytes);
        let end = offset.checked_add(to_u64(length));
        assert!(
            offset.get().is_multiple_of(block_bytes),
            "{offset} is inside a block"
        );
        assert!(
            to_u64(length).is_multiple_of(block_bytes),
            "{length} bytes end inside a block"
        );
        assert!(
            end.is_some_and(|end| end.get() <= drive.geometry().size_bytes),
            "past the drive's end"
        );
        drive.block_at(offset.get())
    }
}
