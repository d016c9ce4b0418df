//! What operations on a shard answer when they do not succeed. One enum an operation.

use corelith_io::{BufferError, DeviceError};

use crate::format::record_header::RecordError;

/// Why a get has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The record was durable and its bytes are no longer what was written: bit rot, or a write that
    /// was lost or went elsewhere. Other records are not concerned.
    #[error("the record is damaged: {0}")]
    Damaged(RecordError),
    /// Another record lies where this one should: a misdirected read or write.
    #[error("the device returned another record than the one asked for")]
    Misdirected,
    /// The device did not return the bytes.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No memory for the record just now: try again.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// Part of the log that was durable could not be read at start: what is here may be older than
    /// what was acknowledged. An operator decides whether to accept that.
    #[error("part of this shard's log was lost: answers may be stale until an operator accepts it")]
    MayBeStale,
    /// The record kept moving while it was read: try again.
    #[error("the record was rewritten each time it was read: try again")]
    Busy,
    /// The content was asked for in a way that needs an index address which does not exist.
    #[error("the index holds an address outside this shard")]
    Address,
}

/// Why a write was not acknowledged. `E` is the caller's own reason to reject it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The caller's condition was not met; nothing was written.
    #[error("the condition is not met")]
    Rejected(E),
    /// Given to a device that failed: it may have happened or not, and a later read tells.
    #[error("in doubt: the device failed while the record was on its way")]
    InDoubt,
    /// Not given to any device; nothing was written.
    #[error("the device failed before the record was written")]
    NotWritten,
    /// A device was fenced after a failed flush; nothing was written.
    #[error("the device is fenced after a failed flush: restart after replacing it")]
    Fenced,
    /// No segment is free; nothing was written. Deletes still work.
    #[error("out of space")]
    OutOfSpace,
    /// The index may not grow further; nothing was written. Overwrites and deletes still work.
    #[error("out of memory for the index")]
    IndexFull,
    /// Longer than half a segment or 8 MiB; nothing was written.
    #[error("the record would take {found_bytes} bytes, at most {limit_bytes} are allowed")]
    TooLarge {
        /// Header and content, in bytes.
        found_bytes: u64,
        /// The bound in bytes.
        limit_bytes: u64,
    },
    /// The wall clock has stepped too far ahead to write its time down; nothing was written. Reads go on.
    #[error("the wall clock has stepped {} s ahead, further than a write may be: set it right", .ahead_ms / 1000)]
    Clock {
        /// How far, in ms.
        ahead_ms: u64,
    },
    /// Too many operations wait for this key; nothing was written.
    #[error("too many operations wait for this key")]
    KeyBusy,
    /// The old record, which the write builds on, could not be read; nothing was written.
    #[error("the old record cannot be read: {0}")]
    Read(#[from] ReadError),
    /// No memory for the batch just now: try again. Nothing was written.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The shard is closing; nothing was written.
    #[error("the shard is closing")]
    Closed,
}

/// Why a shard cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The volume has no such shard, or none of its extents.
    #[error("the volume has no shard {shard}")]
    NoSuchShard {
        /// The number asked for.
        shard: u16,
    },
    /// A device of the volume was not handed over.
    #[error("no device for slot {slot} of the volume")]
    NoDevice {
        /// The slot.
        slot: u16,
    },
    /// More segments than the index can address.
    #[error(
        "shard {shard} has {found} segments, at most {limit} can be addressed: use larger segments"
    )]
    TooManySegments {
        /// The shard.
        shard: u16,
        /// Segments of the shard.
        found: u64,
        /// Segments that fit 16 TiB.
        limit: u64,
    },
    /// A device failed during recovery in a way that leaves nothing to serve.
    #[error("{device}: {error}")]
    Device {
        /// Its name.
        device: String,
        /// What it answered.
        error: DeviceError,
    },
    /// The system has no memory for the record cache's tables.
    #[error(
        "no memory for the record cache of shard {shard}, {wanted_bytes} bytes: make it smaller (--record-cache)"
    )]
    CacheMemory {
        /// The shard.
        shard: u16,
        /// Size of its cache in bytes.
        wanted_bytes: u64,
    },
    /// No memory for recovery.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The index may not hold the records that the device has.
    #[error(
        "shard {shard}: the index of its {records} records takes {used_bytes} bytes and may take {limit_bytes}: give it \
         more (index_memory of the namespace, or memory_limit)"
    )]
    IndexFull {
        /// The shard.
        shard: u16,
        /// Records that the devices hold.
        records: u64,
        /// What their index takes.
        used_bytes: u64,
        /// What it was granted.
        limit_bytes: u64,
    },
}
