//! Devices, byte streams, the core's ring, DMA buffers and the clock, real and simulated behind one
//! face. This crate knows bytes, positions and descriptors; never a frame, a record, or who a peer is.
//!
//! Invariants:
//! - All of this workspace's `unsafe` but that of generated code is below `sys`, and what leaves `sys`
//!   is safe to call.
//! - Memory that a device may touch is owned by the operation until its completion has been taken,
//!   whatever becomes of the future.
//! - What a disk or a peer can cause is an error value.
//!
//! Everything of one core stays on one thread; [`OpenDevice`], [`CoreWaker`], the mailboxes' ends and
//! accepted descriptors are what crosses.
//!
//! The modules stand in reading order: the words, the buffers, the devices and how they become durable,
//! the ring that carries real ones, its streams, what crosses cores, and the simulated machine.

mod errno;
mod geometry;
pub mod limits;
mod width;

mod arena;
mod buffer;
mod clock;
mod latency;

mod device;
mod durability;
mod memory_device;
mod open;

mod descriptor;
mod preflight;
mod ring;
mod tasks;

mod listener;
mod received;
mod send_buffer;
mod stream;

mod mailbox;
mod wake;

mod simulated;
mod sys;

pub use buffer::{
    BUFFER_ALIGNMENT_BYTES, BufferError, BufferPool, BufferPoolConfig, BufferStatistics, DmaBuffer,
    FrozenBuffer, HugePages, SpareBuffers,
};
pub use clock::Clock;
pub use device::{
    Device, DeviceError, DeviceStatistics, DiscardFuture, DurableWriteFuture, FlushFuture,
    OperationStatistics, ReadFuture, ReadOutcome, WriteFuture,
};
pub use errno::Errno;
pub use geometry::{DeviceKind, DeviceOffset, Durability, Geometry};
pub use latency::{LATENCY_BOUNDS_NS, LatencyBuckets, LatencyHistogram};
pub use listener::{AcceptFuture, ListenError, Listener, PortUse};
pub use mailbox::{Mailbox, MailboxFuture, MailboxReceiver, MailboxSender, mailbox};
pub use open::{Access, DurabilityChoice, Holder, OpenDevice, OpenError, OpenOptions};
pub use preflight::{Preflight, Refusal};
pub use received::Received;
pub use ring::{
    FeatureMask, Idle, Lack, Ring, RingConfig, RingError, RingFeatures, RingStatistics,
};
pub use send_buffer::SendBuffer;
pub use stream::{ReceiveFuture, SendFuture, ShutdownFuture, Stream, StreamError};
pub use sys::fetch::prefetch_line;
pub use sys::handover::adopt_descriptor;
pub use sys::mapping::advise_huge_pages;
pub use tasks::{LocalTask, LocalTasks, TasksFull};
pub use wake::CoreWaker;
pub use width::{to_u64, to_usize};

// The simulated machine's public face.
pub use simulated::*;
