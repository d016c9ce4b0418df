//! What one core's handle on a device counts: operations, bytes, failures, latencies, and what is on its
//! way. Cells of that core alone; a snapshot of them may travel.
//!
//! A latency runs from the call to the turn of the ring in which the completion was seen, so it holds the
//! core's own waiting too: that is what a request waits for.

use std::cell::Cell;
use std::rc::Rc;

use super::DeviceError;
use crate::latency::{LatencyBuckets, LatencyHistogram};
use crate::ring::RingInner;
use crate::simulated::SimulatedClock;

/// Operations of one kind.
#[derive(Default)]
pub(super) struct OperationMeter {
    count: Cell<u64>,
    bytes: Cell<u64>,
    failed_count: Cell<u64>,
    in_flight_count: Cell<u64>,
    latency: LatencyHistogram,
}

/// Where the time of a device's operations comes from.
pub(crate) enum TimeSource {
    /// The turns of a core's ring.
    Ring(Rc<RingInner>),
    /// A simulated machine.
    Simulated(SimulatedClock),
}

/// All that is counted of a handle.
pub(super) struct Meter {
    time: TimeSource,
    pub(super) reads: OperationMeter,
    pub(super) writes: OperationMeter,
    pub(super) flushes: OperationMeter,
}

/// Operations of one kind on one device, by one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OperationStatistics {
    /// Operations that are over and did what they were to.
    pub count: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Operations that the device failed.
    pub failed_count: u64,
    /// Operations that are awaited now.
    pub in_flight_count: u64,
    /// From the call to the completion, of those that succeeded.
    pub latency: LatencyBuckets,
}

/// What one core's handle on a device has counted since it was attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceStatistics {
    /// Reads.
    pub reads: OperationStatistics,
    /// Writes, forced and plain.
    pub writes: OperationStatistics,
    /// Flushes as the device gets them: one serves all writes that wait for it.
    pub flushes: OperationStatistics,
    /// True if a flush or forced write failed on any core: nothing is acknowledged on it any more.
    pub is_fenced: bool,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl OperationMeter {
    pub(super) fn statistics(&self) -> OperationStatistics {
        OperationStatistics {
            count: self.count.get(),
            bytes: self.bytes.get(),
            failed_count: self.failed_count.get(),
            in_flight_count: self.in_flight_count.get(),
            latency: self.latency.buckets(),
        }
    }

    fn begin(&self) {
        add(&self.in_flight_count, 1);
    }

    fn end(&self) {
        self.in_flight_count
            .set(self.in_flight_count.get().saturating_sub(1));
    }
}

/// Which of a meter's kinds an operation is.
#[derive(Clone, Copy)]
pub(super) enum Metered {
    Read,
    Write,
    Flush,
}

impl Meter {
    pub(super) fn new(time: TimeSource) -> Self {
        Self {
            time,
            reads: OperationMeter::default(),
            writes: OperationMeter::default(),
            flushes: OperationMeter::default(),
        }
    }

    fn now_ns(&self) -> u64 {
        match &self.time {
            TimeSource::Ring(ring) => ring.turn_ns(),
            TimeSource::Simulated(clock) => clock.monotonic_ns(),
        }
    }

    const fn of(&self, kind: Metered) -> &OperationMeter {
        match kind {
            Metered::Read => &self.reads,
            Metered::Write => &self.writes,
            Metered::Flush => &self.flushes,
        }
    }
}

/// One operation under way. Dropped before its end it counts as nothing but a place in flight given back.
pub(super) struct UnderWay {
    meter: Rc<Meter>,
    kind: Metered,
    length_bytes: u64,
    started_ns: u64,
}

impl UnderWay {
    pub(super) fn begin(meter: &Rc<Meter>, kind: Metered, length_bytes: u64) -> Self {
        meter.of(kind).begin();
        Self {
            meter: Rc::clone(meter),
            kind,
            length_bytes,
            started_ns: meter.now_ns(),
        }
    }

    /// The operation is over.
    pub(super) fn end(&self, outcome: &Result<(), DeviceError>) {
        let meter = self.meter.of(self.kind);
        match outcome {
            Ok(()) => {
                add(&meter.count, 1);
                add(&meter.bytes, self.length_bytes);
                let now_ns = self.meter.now_ns();
                meter.latency.record(now_ns.saturating_sub(self.started_ns));
            }
            Err(
                DeviceError::Read { .. }
                | DeviceError::Write { .. }
                | DeviceError::Flush { .. }
                | DeviceError::Discard { .. }
                | DeviceError::Short { .. },
            ) => add(&meter.failed_count, 1),
            // The device was never asked, or is not there any more.
            Err(
                DeviceError::Busy { .. }
                | DeviceError::Gone
                | DeviceError::Fenced
                | DeviceError::Unsupported
                | DeviceError::Misaligned { .. }
                | DeviceError::OutOfBounds { .. }
                | DeviceError::OutsideBuffer { .. },
            ) => (),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.meter.of(self.kind).end();
    }
}

fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get().saturating_add(count));
}
