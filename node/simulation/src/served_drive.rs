//! One simulated drive under requests from outside: what `corelith-drive` puts behind a block device of a guest. The crash
//! model is that of the simulated machine and no other.
//!
//! Everything that happens to it is an [`Input`], and the same seed with the same inputs gives the same drive, bit for bit: a
//! journal of them (`journal`) is a whole run. It never sees a socket or the time: who serves it decides when it steps.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use corelith_io::{
    BufferPool, BufferPoolConfig, Device, DeviceError, DeviceOffset, DriveConfig, DriveFaults,
    DriveId, Errno, Fault, Honesty, PlannedFault, SimulatedMachine, to_usize,
};

use crate::limits::{POOL_ARENA_BYTES, SERVED_DRIVE_BYTES_MAX, SERVED_REQUEST_BYTES_MAX};

pub mod journal;

use journal::JournalError;

/// What is asked of the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bytes from a place.
    Read {
        /// Where, in bytes.
        offset: u64,
        /// How many.
        length_bytes: u32,
    },
    /// Bytes to a place.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Makes durable what had completed.
    Flush,
    /// A range that is not needed any more.
    Discard {
        /// Where, in bytes.
        offset: u64,
        /// How many.
        length_bytes: u64,
    },
}

/// All that can happen to the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request arrives. Requests are numbered from 1 in the order of their arrival.
    Request(Request),
    /// One operation completes.
    Step,
    /// The power fails. Until it is back every request fails.
    PowerCut,
    /// The power is back.
    PowerOn,
    /// From now on the drive keeps its word about durability, or does not.
    Honesty(Honesty),
    /// The next operation that can suffer this fault does.
    Fault(Fault),
    /// A remark of whoever drives the run. Changes nothing.
    Mark(String),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out.
    Done,
    /// It was carried out, and these are the bytes.
    Bytes(Vec<u8>),
    /// It failed as the kernel would say it.
    Failed(Errno),
}

/// An answer to the request of this number.
pub type Answered = (u64, Answer);

/// What a drive is like, and all of its luck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedConfig {
    /// Where its choices come from.
    pub seed: u64,
    /// Its size: a multiple of 4,096.
    pub size_bytes: u64,
    /// Its logical block: 512 or 4,096.
    pub logical_block_bytes: u32,
}

/// What a power cut met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutReport {
    /// Logical blocks that held something which was not durable.
    pub cached_blocks: usize,
    /// Requests that were on their way.
    pub in_flight: usize,
    /// A sum over all that has happened to the drive so far.
    pub fingerprint: u64,
}

/// The drive.
pub struct ServedDrive {
    machine: SimulatedMachine,
    drive: DriveId,
    faults: DriveFaults,
    /// `None` while the power is off.
    device: Option<Device>,
    pool: BufferPool,
    pending: Vec<(u64, Pending)>,
    request_count: u64,
    last_cut: Option<CutReport>,
    signal: Arc<Signal>,
}

type Pending = Pin<Box<dyn Future<Output = Answer>>>;

/// Says that a pass over the pending requests has made another one worth while.
#[derive(Default)]
struct Signal(AtomicBool);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl ServedConfig {
    /// Itself, if its fields keep their rules.
    ///
    /// # Errors
    /// [`JournalError::Config`].
    fn check(self) -> Result<Self, JournalError> {
        let block = u64::from(self.logical_block_bytes);
        let is_sound = matches!(block, 512 | 4096)
            && self.size_bytes > 0
            && self.size_bytes <= SERVED_DRIVE_BYTES_MAX
            && self.size_bytes.is_multiple_of(4096);
        if is_sound {
            return Ok(self);
        }
        Err(JournalError::Config(self))
    }

    fn drive(&self) -> DriveConfig {
        DriveConfig {
            logical_block_bytes: self.logical_block_bytes,
            ..DriveConfig::new(self.size_bytes)
        }
    }
}

impl ServedDrive {
    /// An empty drive, honest and under power.
    ///
    /// # Errors
    /// If a field of `config` breaks its rule, or there is no memory for its buffers.
    pub fn new(config: ServedConfig) -> Result<Self, JournalError> {
        let config = config.check()?;
        let machine = SimulatedMachine::new(config.seed);
        let drive = machine.add_drive(config.drive());
        Ok(Self {
            faults: machine.faults(drive),
            device: Some(machine.device(drive)),
            machine,
            drive,
            pool: BufferPool::new(BufferPoolConfig {
                arena_bytes: POOL_ARENA_BYTES,
                ..BufferPoolConfig::default()
            })
            .map_err(JournalError::Memory)?,
            pending: Vec::new(),
            request_count: 0,
            last_cut: None,
            signal: Arc::default(),
        })
    }

    /// Lets one thing happen. What has ended by that is answered, in the order of the requests.
    pub fn take(&mut self, input: Input) -> Vec<Answered> {
        match input {
            Input::Request(request) => {
                self.request_count += 1;
                let pending = self.submit(request);
                self.pending.push((self.request_count, pending));
            }
            Input::Step => {
                // With nothing pending there is nothing to complete.
                let _stepped = self.machine.step();
            }
            Input::PowerCut => self.power_cut(),
            Input::PowerOn => self.device = Some(self.machine.device(self.drive)),
            Input::Honesty(honesty) => self.faults.set_honesty(honesty),
            Input::Fault(fault) => self.faults.plan(PlannedFault::next(fault)),
            Input::Mark(_) => {}
        }
        self.poll()
    }

    /// Requests that have not been answered.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// What the latest power cut met.
    #[must_use]
    pub fn last_cut(&self) -> Option<CutReport> {
        self.last_cut
    }

    /// A sum over all that has happened so far: equal for equal runs.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.machine.fingerprint()
    }

    /// Copies what the drive holds at `offset` into `bytes`, behind its back.
    ///
    /// # Panics
    /// If the range is not of whole logical blocks inside the drive.
    pub fn inspect(&self, offset: DeviceOffset, bytes: &mut [u8]) {
        self.faults.inspect(offset, bytes);
    }

    fn power_cut(&mut self) {
        let cached_blocks = self.faults.cached_block_count();
        self.machine.power_cut();
        self.device = None;
        self.last_cut = Some(CutReport {
            cached_blocks,
            in_flight: self.pending.len(),
            fingerprint: self.machine.fingerprint(),
        });
    }

    /// Submits at once: what the future does later is wait.
    fn submit(&self, request: Request) -> Pending {
        let Some(device) = &self.device else {
            return ready(Answer::Failed(Errno::EIO));
        };
        match request {
            Request::Read {
                offset,
                length_bytes,
            } => self.submit_read(device, offset, length_bytes),
            Request::Write { offset, bytes } => self.submit_write(device, offset, &bytes),
            Request::Flush => {
                let flush = device.flush();
                Box::pin(async move { answer(flush.await) })
            }
            Request::Discard {
                offset,
                length_bytes,
            } => {
                let discard = device.discard(DeviceOffset::new(offset), length_bytes);
                Box::pin(async move { answer(discard.await) })
            }
        }
    }

    fn submit_read(&self, device: &Device, offset: u64, length_bytes: u32) -> Pending {
        let length = to_usize(u64::from(length_bytes));
        let Some(buffer) = self.buffer(length) else {
            return ready(Answer::Failed(Errno::EINVAL));
        };
        let read = device.read(DeviceOffset::new(offset), buffer, length);
        Box::pin(async move {
            let (buffer, outcome) = read.await;
            match (outcome, buffer.as_slice().get(..length)) {
                (Ok(()), Some(bytes)) => Answer::Bytes(bytes.to_vec()),
                (Ok(()), None) => Answer::Failed(Errno::EINVAL),
                (Err(error), _) => Answer::Failed(errno_of(&error)),
            }
        })
    }

    fn submit_write(&self, device: &Device, offset: u64, bytes: &[u8]) -> Pending {
        let buffer = self.buffer(bytes.len()).and_then(|mut buffer| {
            let target = buffer.as_mut_slice().get_mut(..bytes.len())?;
            target.copy_from_slice(bytes);
            Some(buffer.freeze())
        });
        let Some(buffer) = buffer else {
            return ready(Answer::Failed(Errno::EINVAL));
        };
        let write = device.write(DeviceOffset::new(offset), buffer, 0..bytes.len());
        Box::pin(async move { answer(write.await) })
    }

    /// Memory for a request; `None` if it is longer than any may be.
    fn buffer(&self, length: usize) -> Option<corelith_io::DmaBuffer> {
        (length <= SERVED_REQUEST_BYTES_MAX).then(|| self.pool.take(length).ok())?
    }

    /// Polls what is pending until a pass changes nothing: a flush, say, submits itself one poll after it has joined.
    fn poll(&mut self) -> Vec<Answered> {
        let mut answered = Vec::new();
        let waker = Waker::from(Arc::clone(&self.signal));
        let mut context = Context::from_waker(&waker);
        loop {
            self.signal.0.store(false, Ordering::Relaxed);
            self.pending.retain_mut(|(number, pending)| {
                let Poll::Ready(answer) = pending.as_mut().poll(&mut context) else {
                    return true;
                };
                answered.push((*number, answer));
                false
            });
            if !self.signal.0.load(Ordering::Relaxed) {
                return answered;
            }
        }
    }
}

fn ready(answer: Answer) -> Pending {
    Box::pin(std::future::ready(answer))
}

fn answer(outcome: Result<(), DeviceError>) -> Answer {
    match outcome {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(errno_of(&error)),
    }
}

/// How a block device says this.
fn errno_of(error: &DeviceError) -> Errno {
    match error {
        DeviceError::Read { errno, .. }
        | DeviceError::Write { errno, .. }
        | DeviceError::Flush { errno }
        | DeviceError::Discard { errno, .. } => *errno,
        DeviceError::Misaligned { .. }
        | DeviceError::OutOfBounds { .. }
        | DeviceError::OutsideBuffer { .. } => Errno::EINVAL,
        DeviceError::Unsupported => Errno::EOPNOTSUPP,
        DeviceError::Short { .. }
        | DeviceError::Fenced
        | DeviceError::Gone
        | DeviceError::Busy { .. } => Errno::EIO,
    }
}

#[cfg(test)]
mod tests;
