//! The state of one simulated machine: drives, virtual time, and what is in flight. Operations complete in
//! the order of the times that the seed gives them. It wakes nobody itself: wakers are returned, to be
//! called when the machine is no longer borrowed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::task::Waker;

use super::clock::SimulatedClock;
use super::drive::Drive;
use super::drive_config::{DriveConfig, DriveId};
use super::fault::{Fault, OperationKind};
use super::log::{Ending, Event, OperationLog};
use super::media::{BlockWrite, Persistence};
use super::operation::{Operation, Work};
use super::random::SeededRandom;
use super::slot::{Completer, Submitted};
use crate::buffer::{DmaBuffer, FrozenBuffer};
use crate::device::{DeviceError, ReadOutcome};
use crate::durability::Force;
use crate::width::{to_u64, to_usize};

/// Stream of the machine's own choices; drive `n` has stream `n + 1`.
const MACHINE_STREAM: u64 = 0;

/// Longest time between a power cut or a kill and the next start, in nanoseconds.
const DOWN_TIME_NS_MAX: u64 = 2_000_000_000;

/// A simulated machine's state.
pub(crate) struct Machine {
    seed: u64,
    random: SeededRandom,
    clock: SimulatedClock,
    drives: Vec<Drive>,
    /// By the time of completion, then by number, so that no two are alike.
    pending: BTreeMap<(u64, u64), Pending>,
    operation_count: u64,
    life: u64,
    log: OperationLog,
}

/// What an operation is, apart from what it does.
struct Submission {
    drive: DriveId,
    offset: u64,
    length: u64,
    harm: Option<Fault>,
    latency_ns: u64,
}

/// What is to come.
enum Pending {
    Operation(Operation),
    Timer(Completer<()>),
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            random: SeededRandom::new(seed, MACHINE_STREAM),
            clock: SimulatedClock::new(),
            drives: Vec::new(),
            pending: BTreeMap::new(),
            operation_count: 0,
            life: 0,
            log: OperationLog::new(0),
        }
    }

    /// The same machine at the same moment with other luck from here. What awaits the original's
    /// operations is not part of it.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        let drives = (1..).zip(&self.drives);
        let pending = self
            .pending
            .iter()
            .filter_map(|(&key, pending)| match pending {
                Pending::Operation(operation) => Some((key, Pending::Operation(operation.fork()?))),
                Pending::Timer(_) => None,
            });
        Self {
            seed,
            random: SeededRandom::new(seed, MACHINE_STREAM),
            clock: self.clock.fork(),
            drives: drives
                .map(|(stream, drive)| drive.fork(SeededRandom::new(seed, stream)))
                .collect(),
            pending: pending.collect(),
            operation_count: self.operation_count,
            life: self.life,
            log: self.log.clone(),
        }
    }

    pub(crate) fn add_drive(&mut self, config: DriveConfig) -> DriveId {
        let number = u32::try_from(self.drives.len()).unwrap_or(u32::MAX);
        let id = DriveId::new(number);
        let random = SeededRandom::new(self.seed, u64::from(number) + 1);
        self.drives.push(Drive::new(id, config, random));
        id
    }

    pub(crate) fn drive_count(&self) -> usize {
        self.drives.len()
    }

    #[expect(
        clippy::expect_used,
        reason = "a drive of another machine is the test's own mistake"
    )]
    pub(crate) fn drive(&self, id: DriveId) -> &Drive {
        self.drives
            .get(position(id))
            .expect("a drive of this machine")
    }

    #[expect(
        clippy::expect_used,
        reason = "a drive of another machine is the test's own mistake"
    )]
    pub(crate) fn drive_mut(&mut self, id: DriveId) -> &mut Drive {
        self.drives
            .get_mut(position(id))
            .expect("a drive of this machine")
    }

    pub(crate) fn clock(&self) -> &SimulatedClock {
        &self.clock
    }

    pub(crate) fn log(&self) -> &OperationLog {
        &self.log
    }

    pub(crate) fn log_mut(&mut self) -> &mut OperationLog {
        &mut self.log
    }

    /// Counts the starts of the machine's software. Handles of an earlier life are dead.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn submit_read(
        &mut self,
        id: DriveId,
        offset: u64,
        buffer: DmaBuffer,
        length: usize,
    ) -> Submitted<ReadOutcome> {
        let length = to_u64(length);
        let (latency_ns, harm) = self.drive_mut(id).draw(OperationKind::Read, offset, length);
        let block = self.drive_mut(id).prepare_read(offset, length, harm);
        let (submitted, completer) = Submitted::new();
        let work = Work::Read {
            block,
            buffer,
            completer,
        };
        self.submit(
            Submission {
                drive: id,
                offset,
                length,
                harm,
                latency_ns,
            },
            work,
        );
        submitted
    }

    pub(crate) fn submit_write(
        &mut self,
        id: DriveId,
        offset: u64,
        (buffer, range): (FrozenBuffer, Range<usize>),
        force: Force,
    ) -> Submitted<Result<(), DeviceError>> {
        let length = to_u64(range.len());
        let (latency_ns, harm) = self
            .drive_mut(id)
            .draw(OperationKind::Write, offset, length);
        let bytes = buffer.get(range).unwrap_or_default();
        self.log.mix_bytes(bytes);
        let mut write = self.drive_mut(id).prepare_write(offset, bytes, force, harm);
        write.buffer = Some(buffer);
        let (submitted, completer) = Submitted::new();
        let work = Work::Write { write, completer };
        self.submit(
            Submission {
                drive: id,
                offset,
                length,
                harm,
                latency_ns,
            },
            work,
        );
        submitted
    }

    pub(crate) fn submit_flush(&mut self, id: DriveId) -> Submitted<Result<(), DeviceError>> {
        let (latency_ns, harm) = self.drive_mut(id).draw(OperationKind::Flush, 0, 0);
        let (submitted, completer) = Submitted::new();
        let work = Work::Flush {
            mark: self.drive(id).media().flush_mark(),
            completer,
        };
        self.submit(
            Submission {
                drive: id,
                offset: 0,
                length: 0,
                harm,
                latency_ns,
            },
            work,
        );
        submitted
    }

    pub(crate) fn submit_discard(
        &mut self,
        id: DriveId,
        offset: u64,
        length: u64,
    ) -> Submitted<Result<(), DeviceError>> {
        let (latency_ns, harm) = self
            .drive_mut(id)
            .draw(OperationKind::Discard, offset, length);
        let (submitted, completer) = Submitted::new();
        let work = Work::Discard { completer };
        self.submit(
            Submission {
                drive: id,
                offset,
                length,
                harm,
                latency_ns,
            },
            work,
        );
        submitted
    }

    pub(crate) fn submit_timer(&mut self, duration_ns: u64) -> Submitted<()> {
        let (submitted, completer) = Submitted::new();
        self.operation_count += 1;
        let due_ns = self.clock.now_ns().saturating_add(duration_ns);
        self.pending
            .insert((due_ns, self.operation_count), Pending::Timer(completer));
        submitted
    }

    /// Completes what is due next. `None` if nothing is pending, else the waker of whoever awaits it.
    pub(crate) fn step(&mut self) -> Option<Option<Waker>> {
        let ((due_ns, _), pending) = self.pending.pop_first()?;
        self.clock.advance_to(due_ns);
        match pending {
            Pending::Timer(completer) => Some(completer.complete(())),
            Pending::Operation(operation) => Some(self.complete(operation)),
        }
    }

    /// The power fails. Returns the wakers of all that was pending.
    pub(crate) fn power_cut(&mut self) -> Vec<Waker> {
        let pending = std::mem::take(&mut self.pending);
        self.add_event(Event::PowerCut {
            pending_count: pending.len(),
        });
        let mut in_flight: Vec<Vec<BlockWrite>> = vec![Vec::new(); self.drives.len()];
        let mut wakers = Vec::new();
        for pending in pending.into_values() {
            match pending {
                Pending::Timer(completer) => wakers.extend(completer.complete(())),
                Pending::Operation(mut operation) => {
                    match in_flight.get_mut(position(operation.drive)) {
                        Some(blocks) if matches!(operation.work, Work::Write { .. }) => {
                            blocks.extend(operation.in_flight_blocks());
                        }
                        Some(_) | None => self.drive_mut(operation.drive).orphan(&mut operation),
                    }
                    wakers.extend(operation.finish(Ending::Gone));
                }
            }
        }
        for (drive, blocks) in self.drives.iter_mut().zip(in_flight) {
            drive.power_cut(blocks);
        }
        self.restart();
        self.clock.reboot();
        wakers
    }

    /// The process is killed. Returns the wakers of all that was pending.
    pub(crate) fn process_kill(&mut self) -> Vec<Waker> {
        let pending = std::mem::take(&mut self.pending);
        self.add_event(Event::ProcessKill {
            pending_count: pending.len(),
        });
        let mut wakers = Vec::new();
        for pending in pending.into_values() {
            match pending {
                Pending::Timer(completer) => wakers.extend(completer.complete(())),
                Pending::Operation(mut operation) => {
                    self.drive_mut(operation.drive).orphan(&mut operation);
                    wakers.extend(operation.finish(Ending::Gone));
                }
            }
        }
        for drive in &mut self.drives {
            drive.release();
        }
        self.restart();
        wakers
    }

    /// A drive is pulled out at once. What is in flight on it finds that out when it would complete.
    pub(crate) fn remove_drive(&mut self, id: DriveId) {
        self.remove_drive_during(id, Vec::new());
    }

    /// Adds a line to the log.
    pub(crate) fn add_event(&mut self, event: Event) {
        self.log.add(self.clock.now_ns(), event);
    }

    fn submit(&mut self, submission: Submission, work: Work) {
        let Submission {
            drive,
            offset,
            length,
            harm,
            latency_ns,
        } = submission;
        self.operation_count += 1;
        let number = self.operation_count;
        let (kind, durable) = match &work {
            Work::Read { .. } => (OperationKind::Read, false),
            Work::Write { write, .. } => (
                OperationKind::Write,
                write.persistence == Persistence::Durable,
            ),
            Work::Flush { .. } => (OperationKind::Flush, false),
            Work::Discard { .. } => (OperationKind::Discard, false),
        };
        self.add_event(Event::Submitted {
            operation: number,
            drive,
            kind,
            durable,
            offset,
            length,
            fault: harm,
        });
        let due_ns = self.clock.now_ns().saturating_add(latency_ns);
        let cut_off = self.drive(drive).is_gone();
        let operation = Operation {
            number,
            drive,
            offset,
            length_bytes: length,
            harm,
            cut_off,
            work,
        };
        self.pending
            .insert((due_ns, number), Pending::Operation(operation));
    }

    fn complete(&mut self, mut operation: Operation) -> Option<Waker> {
        if let Work::Read { block, .. } = operation.work {
            self.expose(operation.drive, block, operation.length_bytes);
        }
        let id = operation.drive;
        if operation.harm == Some(Fault::DeviceGone) {
            self.remove_drive_during(id, operation.in_flight_blocks());
            operation.cut_off = true;
        }
        let ending = self.drive_mut(id).complete(&mut operation);
        self.add_event(Event::Completed {
            operation: operation.number,
            ending,
        });
        operation.finish(ending)
    }

    /// A drive is pulled out while these blocks are in flight, beside those of the pending operations.
    fn remove_drive_during(&mut self, id: DriveId, mut in_flight: Vec<BlockWrite>) {
        for pending in self.pending.values_mut() {
            let Pending::Operation(operation) = pending else {
                continue;
            };
            if operation.drive == id {
                in_flight.extend(operation.in_flight_blocks());
                operation.cut_off = true;
            }
        }
        self.drive_mut(id).remove(in_flight);
    }

    /// Lets a read see writes that are in flight on the same blocks.
    fn expose(&mut self, id: DriveId, block: u64, length: u64) {
        let Some(drive) = self.drives.get_mut(position(id)) else {
            return;
        };
        let block_count = drive.block_at(length);
        for pending in self.pending.values_mut() {
            let Pending::Operation(operation) = pending else {
                continue;
            };
            let sound = operation.harm.is_none() && operation.drive == id;
            if let (Work::Write { write, .. }, true) = (&mut operation.work, sound) {
                drive.expose(block, block_count, write);
            }
        }
    }

    fn restart(&mut self) {
        self.life += 1;
        let down_ns = self.random.between(1, DOWN_TIME_NS_MAX);
        self.clock.advance_to(self.clock.now_ns() + down_ns);
    }
}

fn position(id: DriveId) -> usize {
    to_usize(u64::from(id.number()))
}
