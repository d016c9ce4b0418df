//! Why an operation on a device failed: what the device did, or what the caller did wrong. Every variant
//! carries the values that disagreed.

use crate::errno::Errno;
use crate::geometry::DeviceOffset;

/// Why a device operation failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device did not give the bytes: a media error, or the drive is failing.
    #[error("reading {length_bytes} bytes at {offset} failed: {errno}")]
    Read {
        /// Where the read began.
        offset: DeviceOffset,
        /// How many bytes were asked for.
        length_bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The device did not take the bytes. Some of them may have been written.
    #[error("writing {length_bytes} bytes at {offset} failed: {errno}")]
    Write {
        /// Where the write began.
        offset: DeviceOffset,
        /// How many bytes were to be written.
        length_bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// A flush failed: anything since the last good one may be lost. The device is fenced now.
    #[error("flushing the device's cache failed: {errno}; the device is fenced")]
    Flush {
        /// What the kernel said.
        errno: Errno,
    },
    /// A discard failed; what the range holds now is unknown.
    #[error("discarding {length_bytes} bytes at {offset} failed: {errno}")]
    Discard {
        /// Where the range began.
        offset: DeviceOffset,
        /// Its length.
        length_bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The device ended before its stated size, or stopped taking bytes.
    #[error("the device stopped after {done_bytes} of {length_bytes} bytes at {offset}")]
    Short {
        /// Where the operation began.
        offset: DeviceOffset,
        /// How many bytes were asked for.
        length_bytes: u64,
        /// How many were transferred.
        done_bytes: u64,
    },
    /// An earlier flush failed; nothing is made durable on this device any more. Restart on it
    /// after looking at the drive.
    #[error("the device is fenced after a failed flush")]
    Fenced,
    /// The device was removed or does not answer any more, its machine is gone (a simulated power cut), or its
    /// ring is closed.
    #[error("the device is gone")]
    Gone,
    /// The caller's mistake: offset, start in the buffer and length must be multiples of the
    /// logical block, the length not 0.
    #[error(
        "{offset} and length {length_bytes} are not multiples of the {unit_bytes}-byte block (or the \
         length is 0)"
    )]
    Misaligned {
        /// The offset asked for, or the range's start in the buffer if that was the odd one.
        offset: DeviceOffset,
        /// The length asked for.
        length_bytes: u64,
        /// The logical block.
        unit_bytes: u32,
    },
    /// The caller's mistake: the range passes the device's end.
    #[error("{length_bytes} bytes at {offset} pass the device's end at {size_bytes}")]
    OutOfBounds {
        /// The offset asked for.
        offset: DeviceOffset,
        /// The length asked for.
        length_bytes: u64,
        /// The device's size.
        size_bytes: u64,
    },
    /// The caller's mistake: the range passes the buffer's end.
    #[error("bytes up to {end} of a buffer of {capacity_bytes} bytes were asked for")]
    OutsideBuffer {
        /// End of the range asked for.
        end: usize,
        /// The buffer's size.
        capacity_bytes: usize,
    },
    /// More operations at once than the ring was made for; submit again when some have completed.
    #[error("all {slot_count} operation slots of the ring are in use")]
    Busy {
        /// The ring's bound.
        slot_count: u32,
    },
    /// The device cannot do this (a discard where there is none).
    #[error("the device does not support this operation")]
    Unsupported,
}
