//! Tests of the simulated machine through the face that everything above it uses.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::{DriveConfig, DriveId, Fault, PlannedFault, SimulatedMachine};
use crate::buffer::{BufferPool, BufferPoolConfig, DmaBuffer, FrozenBuffer};
use crate::device::{Device, DeviceError, OperationStatistics};
use crate::geometry::DeviceOffset;
use crate::width::{to_u64, to_usize};

mod crash_model;
mod faults;
mod machine;

/// Logical block of the tests' drives: the smallest, so that little data has many blocks.
const BLOCK_BYTES: u32 = 512;

/// One machine with one drive, and a process on it.
struct Rig {
    machine: SimulatedMachine,
    drive: DriveId,
    device: Device,
    pool: BufferPool,
}

impl Rig {
    fn new(seed: u64, config: DriveConfig) -> Self {
        let machine = SimulatedMachine::new(seed);
        let drive = machine.add_drive(config);
        let device = machine.device(drive);
        let config = BufferPoolConfig {
            arena_bytes: 0,
            ..BufferPoolConfig::default()
        };
        Self {
            machine,
            drive,
            device,
            pool: BufferPool::new(config).unwrap(),
        }
    }

    /// A small drive of 512-byte blocks.
    fn config(block_count: u64) -> DriveConfig {
        DriveConfig {
            logical_block_bytes: BLOCK_BYTES,
            physical_block_bytes: BLOCK_BYTES,
            ..DriveConfig::new(block_count * u64::from(BLOCK_BYTES))
        }
    }

    /// A new process after a cut or a kill.
    fn reopen(&mut self) {
        self.device = self.machine.device(self.drive);
    }

    /// Blocks filled with `byte` each.
    fn filled(&self, block_count: u64, byte: u8) -> (FrozenBuffer, Range<usize>) {
        let length = to_usize(block_count * u64::from(BLOCK_BYTES));
        let mut buffer = self.pool.take(length).unwrap();
        buffer.as_mut_slice().fill(byte);
        (buffer.freeze(), 0..length)
    }

    fn write(&self, block: u64, block_count: u64, byte: u8) -> Result<(), DeviceError> {
        let (buffer, range) = self.filled(block_count, byte);
        self.run(self.device.write(offset_of(block), buffer, range))
    }

    fn write_durable(&self, block: u64, block_count: u64, byte: u8) -> Result<(), DeviceError> {
        let (buffer, range) = self.filled(block_count, byte);
        self.run(self.device.write_durable(offset_of(block), buffer, range))
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.run(self.device.flush())
    }

    /// Reads blocks; each block's first byte stands for it. A block of mixed bytes is 255.
    fn read(&self, block: u64, block_count: u64) -> Result<Vec<u8>, DeviceError> {
        let length = to_usize(block_count * u64::from(BLOCK_BYTES));
        let buffer = self.pool.take(length).unwrap();
        let (buffer, result) = self.run(self.device.read(offset_of(block), buffer, length));
        result.map(|()| block_bytes(&buffer, block_count))
    }

    /// Steps the machine until the future is ready.
    fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = Box::pin(future);
        loop {
            if let Poll::Ready(output) = poll_once(future.as_mut()) {
                return output;
            }
            // A flush yields once before it submits; nothing may be pending at that moment.
            let _stepped = self.machine.step();
        }
    }
}

fn block_bytes(buffer: &DmaBuffer, block_count: u64) -> Vec<u8> {
    let blocks = buffer.as_slice().chunks(to_usize(u64::from(BLOCK_BYTES)));
    let byte = |block: &[u8]| {
        if block.iter().all(|byte| *byte == block[0]) {
            block[0]
        } else {
            255
        }
    };
    blocks.take(to_usize(block_count)).map(byte).collect()
}

fn offset_of(block: u64) -> DeviceOffset {
    DeviceOffset::new(block * u64::from(BLOCK_BYTES))
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn errno_of(error: &DeviceError) -> Option<i32> {
    if let DeviceError::Read { errno, .. }
    | DeviceError::Write { errno, .. }
    | DeviceError::Flush { errno } = error
    {
        return Some(errno.get());
    }
    None
}

#[test]
fn the_rig_itself_reads_what_it_wrote() {
    let rig = Rig::new(1, Rig::config(16));
    assert_eq!(rig.read(0, 4), Ok(vec![0; 4]));
    rig.write(1, 2, 7).unwrap();
    assert_eq!(rig.read(0, 4), Ok(vec![0, 7, 7, 0]));
    assert_eq!(to_u64(rig.filled(3, 1).1.len()), 3 * u64::from(BLOCK_BYTES));
}

/// One operation of each kind done, one of each failed, one read begun: (done, bytes, failed, in flight).
#[test]
fn a_handle_counts_what_it_did_and_what_failed() {
    let rig = Rig::new(3, Rig::config(256));
    rig.write_durable(100, 3, 1).unwrap();
    rig.read(100, 2).unwrap();
    let faults = rig.machine.faults(rig.drive);
    for fault in [Fault::ReadError, Fault::WriteError, Fault::FlushError] {
        faults.plan(PlannedFault::next(fault));
    }
    rig.read(100, 2).unwrap_err();
    rig.write(100, 3, 2).unwrap_err();
    rig.flush().unwrap_err();
    assert!(matches!(rig.flush(), Err(DeviceError::Fenced)));
    assert!(
        rig.read(0, 4000).is_err(),
        "beyond the drive: it is not asked"
    );
    let reading = rig
        .device
        .read(offset_of(0), rig.pool.take(512).unwrap(), 512);
    let statistics = rig.device.statistics();
    let figures = |of: &OperationStatistics| {
        assert_eq!(of.latency.count, of.count);
        (of.count, of.bytes, of.failed_count, of.in_flight_count)
    };
    assert_eq!(figures(&statistics.reads), (1, 1024, 1, 1));
    assert_eq!(figures(&statistics.writes), (1, 1536, 1, 0));
    assert_eq!(figures(&statistics.flushes), (1, 0, 1, 0));
    assert!(statistics.reads.latency.sum_ns > 0, "simulated time passed");
    assert!(statistics.is_fenced);
    drop(reading);
    assert_eq!(rig.device.statistics().reads.in_flight_count, 0);
}
