//! The simulated machine: drives with volatile caches, faults, and a clock, in memory, from a seed. The same
//! calls with the same seed give the same run, bit for bit, on every machine.
//!
//! - Nothing completes by itself: [`SimulatedMachine::step`] completes one operation, in an order that the
//!   seed chooses, and moves virtual time.
//! - The face is that of a real device: everything above runs unchanged ([`crate::Device`], [`crate::Clock`]).
//! - What a completed write, a flush and a power cut mean stands in `media`, and nowhere else.
//! - Never used with real devices, never the source of a secret; one thread.
//!
//! What is not modelled: bandwidth, queue depth limits, and tearing inside a logical block.

use std::cell::RefCell;
use std::rc::Rc;

use crate::clock::Clock;
use crate::device::Device;

mod clock;
mod contents;
mod device;
mod drive;
mod drive_config;
mod drive_faults;
mod fault;
mod fault_plan;
mod limits;
mod log;
mod machine;
mod media;
mod operation;
mod random;
mod slot;
mod write_cache;

#[cfg(test)]
mod tests;

pub(crate) use clock::SimulatedClock;
pub(crate) use device::{
    SimulatedDevice, SimulatedDiscard, SimulatedFlush, SimulatedRead, SimulatedWrite,
};
pub use drive_config::{DriveConfig, DriveId, Honesty};
pub use drive_faults::DriveFaults;
pub use fault::{Fault, FaultRates};
pub use fault_plan::PlannedFault;
use log::Event;
use machine::Machine;
pub use random::SeededRandom;
use slot::Submitted;

/// One simulated machine. Cheap to clone: all clones are the same machine.
#[derive(Clone)]
pub struct SimulatedMachine {
    state: Rc<RefCell<Machine>>,
}

impl SimulatedMachine {
    /// A machine without drives, all of whose luck comes from `seed`. It keeps no log.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Rc::new(RefCell::new(Machine::new(seed))),
        }
    }

    /// Adds an empty drive (it reads as zeros).
    ///
    /// # Panics
    /// If a field of `config` breaks its rule.
    #[must_use]
    pub fn add_drive(&self, config: DriveConfig) -> DriveId {
        self.state.borrow_mut().add_drive(config)
    }

    /// How many drives there are.
    #[must_use]
    pub fn drive_count(&self) -> usize {
        self.state.borrow().drive_count()
    }

    /// A handle on a drive, as a core would get it. What is submitted to it completes only through
    /// [`SimulatedMachine::step`]; after a power cut or a kill it answers [`crate::DeviceError::Gone`] for ever.
    ///
    /// # Panics
    /// If the drive is not of this machine.
    #[must_use]
    pub fn device(&self, drive: DriveId) -> Device {
        Device::simulated(SimulatedDevice::new(&self.state, drive))
    }

    /// The machine's clock. Its monotonic time starts again at each power cut.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::simulated(self.state.borrow().clock().clone())
    }

    /// Nanoseconds of virtual time since the machine was made; power cuts do not reset it.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.state.borrow().clock().now_ns()
    }

    /// Sets the wall clock, as an operator or a time daemon might. The monotonic clock does not notice.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.state.borrow().clock().set_wall_ms(wall_ms);
    }

    /// Time passes, on the wall clock and on the monotonic one alike, while nothing else happens: what would have been due by then
    /// is late.
    pub fn let_pass_ns(&self, duration_ns: u64) {
        let state = self.state.borrow();
        let clock = state.clock();
        clock.advance_to(clock.now_ns().saturating_add(duration_ns));
    }

    /// Ready once `duration_ns` of virtual time has passed (through steps), or at the next cut or kill.
    pub fn sleep_ns(&self, duration_ns: u64) -> impl Future<Output = ()> + 'static {
        let timer: Submitted<()> = self.state.borrow_mut().submit_timer(duration_ns);
        timer
    }

    /// Completes the operation or timer that is due next and moves time there. False if nothing is pending.
    #[must_use]
    pub fn step(&self) -> bool {
        let stepped = self.state.borrow_mut().step();
        let Some(waker) = stepped else { return false };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Operations and timers that are pending.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.state.borrow().pending_count()
    }

    /// The power fails and comes back. Of every logical block that was not durable, or whose write was in
    /// flight, one of the bytes it held since it was last durable remains, each block by itself. Pending
    /// operations answer "gone", as do all handles from before.
    pub fn power_cut(&self) {
        let wakers = self.state.borrow_mut().power_cut();
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// The process is killed (SIGKILL) and can be started again. What had completed stays, in the drive's
    /// cache if it was there. What was in flight happens, or not, or in part. Handles from before answer "gone".
    pub fn process_kill(&self) {
        let wakers = self.state.borrow_mut().process_kill();
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// A copy of the machine as it is now, operations in flight included, with other luck from here on: cut its
    /// power to see one of the many states that a cut at this moment may leave. The original is not touched.
    /// Cheap: contents are shared until written. Handles on the original do not reach the copy.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        Self {
            state: Rc::new(RefCell::new(self.state.borrow().fork(seed))),
        }
    }

    /// The handle by which the drive is made to misbehave.
    ///
    /// # Panics
    /// If the drive is not of this machine.
    #[must_use]
    pub fn faults(&self, drive: DriveId) -> DriveFaults {
        // Fails here and not at first use.
        self.state.borrow().drive(drive);
        DriveFaults::new(&self.state, drive)
    }

    /// Keeps the newest `entry_count` events from now on; [`SimulatedMachine::LOG_ENTRIES_DEFAULT`] is enough
    /// to see what led to a failure. 0 keeps none. Changes nothing else.
    pub fn keep_log(&self, entry_count: usize) {
        self.state.borrow_mut().log_mut().set_capacity(entry_count);
    }

    /// Adds a remark to the log, if one is kept: what a client asked, what it was told.
    pub fn note(&self, remark: impl FnOnce() -> String) {
        if self.state.borrow().log().is_kept() {
            let remark = remark();
            self.state.borrow_mut().add_event(Event::Note(remark));
        }
    }

    /// The log, one event a line, oldest first.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.state.borrow().log().to_string()
    }

    /// A sum over every event and every byte written so far: equal for equal runs.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.state.borrow().log().fingerprint()
    }

    /// A log of this many events holds several lives between power cuts.
    pub const LOG_ENTRIES_DEFAULT: usize = limits::LOG_ENTRIES_DEFAULT;
}
