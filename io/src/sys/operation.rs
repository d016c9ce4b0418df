//! One operation of the ring, with all that the kernel needs to carry it out: it owns its buffer and
//! holds on to its file. It builds the submission entry; it never submits.
#![expect(
    unsafe_code,
    reason = "a field of the submission entry that the ring crate does not name"
)]

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use crate::buffer::{ArenaId, DmaBuffer, FrozenBuffer};
use crate::descriptor::{Descriptor, FixedFile, Target};
use crate::durability::Fence;
use crate::geometry::DeviceOffset;
use crate::limits::{REGISTERED_BUFFER_BYTES, TRANSFER_BYTES_MAX};
use crate::send_buffer::SendBuffer;
use crate::sys::block_query::block_sizes;
use crate::sys::receive_ring::RECEIVE_GROUP;
use crate::sys::slots::Key;
use crate::wake::CoreWaker;
use crate::width::to_u64;

/// What a slot of the ring holds until its completion has been taken.
pub(crate) enum Operation {
    /// Reads into the start of the buffer.
    Read {
        file: Rc<Descriptor>,
        offset: DeviceOffset,
        buffer: DmaBuffer,
        progress: Progress,
    },
    /// Writes from `start` of the buffer; past the device's cache if a fence is given, which is
    /// raised when that fails.
    Write {
        file: Rc<Descriptor>,
        offset: DeviceOffset,
        buffer: FrozenBuffer,
        start: usize,
        progress: Progress,
        forced: Option<Fence>,
    },
    /// Empties the device's cache; the fence is raised when that fails.
    Flush { file: Rc<Descriptor>, fence: Fence },
    /// Gives a range of a block device back.
    Discard {
        file: Rc<Descriptor>,
        offset: DeviceOffset,
        length_bytes: u64,
    },
    /// Accepts connections until cancelled, or one.
    Accept {
        socket: Rc<Descriptor>,
        multishot: bool,
    },
    /// Receives into the ring's own buffers until cancelled, or until so many bytes have come; 0 means
    /// no bound.
    Receive {
        socket: Rc<Descriptor>,
        limit_bytes: u32,
    },
    /// Receives once.
    ReceiveInto {
        socket: Rc<Descriptor>,
        buffer: DmaBuffer,
    },
    /// Sends from `start` of the bytes.
    Send {
        socket: Rc<Descriptor>,
        bytes: SendBuffer,
        start: usize,
        progress: Progress,
    },
    /// Ends the sending side of a connection.
    Shutdown { socket: Rc<Descriptor> },
    /// Closes a descriptor that nobody owns any more.
    Close { descriptor: RawFd },
    /// Gives back a place in the table of registered files.
    CloseFixed { file: FixedFile },
    /// Cancels another operation, which then completes by itself.
    Cancel { target: Key },
    /// Completes whenever the core's eventfd is readable.
    Watch { waker: CoreWaker },
}

/// How far a transfer has come: devices and sockets may do less than asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    length_bytes: usize,
    done: usize,
    /// A transfer is continued only at multiples of this.
    unit: usize,
    /// One submission asks for no more.
    piece_bytes: usize,
}

impl Progress {
    pub(crate) fn new(length: usize, unit: usize) -> Self {
        Self {
            length_bytes: length,
            done: 0,
            unit: unit.max(1),
            piece_bytes: TRANSFER_BYTES_MAX,
        }
    }

    /// The same transfer, of which no submission asks for more than so many bytes: a multiple of its unit.
    pub(crate) fn in_pieces(self, piece_bytes: usize) -> Self {
        Self {
            piece_bytes: piece_bytes.max(self.unit),
            ..self
        }
    }

    pub(crate) fn length(self) -> usize {
        self.length_bytes
    }

    pub(crate) fn done(self) -> usize {
        self.done
    }

    pub(crate) fn is_over(self) -> bool {
        self.done >= self.length_bytes
    }

    /// Counts transferred bytes. What passes the last whole unit is transferred again.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let reached = self.done.saturating_add(bytes);
        self.done = if reached >= self.length_bytes {
            self.length_bytes
        } else {
            reached - reached.checked_rem(self.unit).unwrap_or(0)
        };
    }

    /// What the next submission asks for.
    pub(crate) fn remaining(self) -> u32 {
        let remaining = self
            .length_bytes
            .saturating_sub(self.done)
            .min(self.piece_bytes);
        u32::try_from(remaining).unwrap_or(u32::MAX)
    }
}

impl Operation {
    /// The progress of a transfer; `None` for what completes at once.
    pub(crate) fn progress_mut(&mut self) -> Option<&mut Progress> {
        match self {
            Self::Read { progress, .. }
            | Self::Write { progress, .. }
            | Self::Send { progress, .. } => Some(progress),
            Self::Flush { .. }
            | Self::Discard { .. }
            | Self::Accept { .. }
            | Self::Receive { .. }
            | Self::ReceiveInto { .. }
            | Self::Shutdown { .. }
            | Self::Close { .. }
            | Self::CloseFixed { .. }
            | Self::Cancel { .. }
            | Self::Watch { .. } => None,
        }
    }

    /// The bytes of a send; `None` for anything else.
    pub(crate) fn into_send_buffer(self) -> Option<SendBuffer> {
        if let Self::Send { bytes, .. } = self {
            Some(bytes)
        } else {
            None
        }
    }

    /// Whether it is one of a block device that the kernel has given up: nothing is left of its size. Asks the kernel.
    pub(crate) fn is_of_removed_device(&self) -> bool {
        let file = match self {
            Self::Read { file, .. }
            | Self::Write { file, .. }
            | Self::Flush { file, .. }
            | Self::Discard { file, .. } => file,
            Self::Accept { .. }
            | Self::Receive { .. }
            | Self::ReceiveInto { .. }
            | Self::Send { .. }
            | Self::Shutdown { .. }
            | Self::Close { .. }
            | Self::CloseFixed { .. }
            | Self::Cancel { .. }
            | Self::Watch { .. } => return false,
        };
        let sizes = file.borrow().map(block_sizes);
        matches!(sizes, Some(Ok(sizes)) if sizes.size_bytes == 0)
    }

    /// The fence that a failure of this operation raises.
    pub(crate) fn fence(&self) -> Option<&Fence> {
        match self {
            Self::Flush { fence, .. } => Some(fence),
            Self::Write { forced, .. } => forced.as_ref(),
            Self::Read { .. }
            | Self::Discard { .. }
            | Self::Accept { .. }
            | Self::Receive { .. }
            | Self::ReceiveInto { .. }
            | Self::Send { .. }
            | Self::Shutdown { .. }
            | Self::Close { .. }
            | Self::CloseFixed { .. }
            | Self::Cancel { .. }
            | Self::Watch { .. } => None,
        }
    }

    /// The submission entry for what remains to be done. Its pointers lead into buffers that this
    /// operation owns; moving the operation moves none of them.
    pub(in crate::sys) fn entry(&self, registered: Option<Registered>) -> Entry {
        match self {
            Self::Read {
                file,
                offset,
                buffer,
                progress,
            } => {
                let fixed = registered.and_then(|arena| arena.index_of(buffer));
                read_entry(
                    file,
                    moved(*offset, *progress),
                    fixed,
                    Piece::of(buffer, *progress),
                )
            }
            Self::Write {
                file,
                offset,
                buffer,
                start,
                progress,
                forced,
            } => {
                let fixed = registered.and_then(|arena| arena.index_of_frozen(buffer));
                let address = address(buffer.block().start(), *start, *progress);
                let piece = Piece {
                    address,
                    length: progress.remaining(),
                };
                let flags = if forced.is_some() { libc::RWF_DSYNC } else { 0 };
                write_entry(file, moved(*offset, *progress), fixed, &piece, flags)
            }
            Self::Flush { file, .. } => {
                let (target, flags) = target(file);
                let datasync = types::FsyncFlags::DATASYNC;
                opcode::Fsync::new(target)
                    .flags(datasync)
                    .build()
                    .flags(flags)
            }
            Self::Discard {
                file,
                offset,
                length_bytes,
            } => {
                let (target, flags) = target(file);
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let discard = opcode::Fallocate::new(target, *length_bytes);
                discard.offset(offset.get()).mode(mode).build().flags(flags)
            }
            Self::Close { descriptor } => opcode::Close::new(types::Fd(*descriptor)).build(),
            Self::CloseFixed { file } => opcode::Close::new(types::Fixed(file.0)).build(),
            Self::Cancel { target } => opcode::AsyncCancel::new(target.user_data()).build(),
            Self::Watch { waker } => watch_entry(waker),
            Self::Accept { .. }
            | Self::Receive { .. }
            | Self::ReceiveInto { .. }
            | Self::Send { .. }
            | Self::Shutdown { .. } => self.socket_entry(),
        }
    }

    fn socket_entry(&self) -> Entry {
        match self {
            Self::Accept { socket, multishot } => {
                let (target, flags) = target(socket);
                if *multishot {
                    let accept = opcode::AcceptMulti::new(target).flags(libc::SOCK_CLOEXEC);
                    return accept.build().flags(flags);
                }
                let nobody = std::ptr::null_mut();
                let accept = opcode::Accept::new(target, nobody, std::ptr::null_mut());
                accept.flags(libc::SOCK_CLOEXEC).build().flags(flags)
            }
            Self::Receive {
                socket,
                limit_bytes,
            } => {
                let (target, flags) = target(socket);
                let mut entry = opcode::RecvMulti::new(target, RECEIVE_GROUP)
                    .build()
                    .flags(flags);
                set_receive_limit(&mut entry, *limit_bytes);
                entry
            }
            Self::ReceiveInto { socket, buffer } => {
                let (target, flags) = target(socket);
                let length = u32::try_from(buffer.capacity()).unwrap_or(u32::MAX);
                let start = buffer.block().start().as_ptr();
                opcode::Recv::new(target, start, length)
                    .build()
                    .flags(flags)
            }
            Self::Send {
                socket,
                bytes,
                start,
                progress,
            } => {
                let (target, flags) = target(socket);
                let address = address(bytes.start(), *start, *progress);
                let send = opcode::Send::new(target, address, progress.remaining());
                send.flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
                    .flags(flags)
            }
            Self::Shutdown { socket } => {
                let (target, flags) = target(socket);
                opcode::Shutdown::new(target, libc::SHUT_WR)
                    .build()
                    .flags(flags)
            }
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Flush { .. }
            | Self::Discard { .. }
            | Self::Close { .. }
            | Self::CloseFixed { .. }
            | Self::Cancel { .. }
            | Self::Watch { .. } => opcode::Nop::new().build(),
        }
    }
}

/// The arena that a ring has registered as its buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registered {
    pub(crate) arena: ArenaId,
    pub(crate) start_address: usize,
}

impl Registered {
    fn index_of(self, buffer: &DmaBuffer) -> Option<u16> {
        self.index(buffer.arena()?, buffer.block().address())
    }

    fn index_of_frozen(self, buffer: &FrozenBuffer) -> Option<u16> {
        self.index(buffer.arena()?, buffer.block().address())
    }

    fn index(self, arena: ArenaId, address: usize) -> Option<u16> {
        if arena != self.arena {
            return None;
        }
        let distance = address.checked_sub(self.start_address)?;
        u16::try_from(distance / REGISTERED_BUFFER_BYTES).ok()
    }
}

/// Where the kernel is to read or write.
struct Piece {
    address: *mut u8,
    length: u32,
}

impl Piece {
    fn of(buffer: &DmaBuffer, progress: Progress) -> Self {
        let address = address(buffer.block().start(), 0, progress);
        Self {
            address,
            length: progress.remaining(),
        }
    }
}

fn address(buffer: NonNull<u8>, start: usize, progress: Progress) -> *mut u8 {
    buffer
        .as_ptr()
        .wrapping_add(start)
        .wrapping_add(progress.done)
}

fn moved(offset: DeviceOffset, progress: Progress) -> u64 {
    offset.get().saturating_add(to_u64(progress.done))
}

/// A registered file's place is passed as if it were a descriptor, with a flag that says so.
fn target(descriptor: &Descriptor) -> (types::Fd, Flags) {
    match descriptor.target() {
        Target::Fixed(FixedFile(place)) => (
            types::Fd(i32::try_from(place).unwrap_or(-1)),
            Flags::FIXED_FILE,
        ),
        Target::Plain(number) => (types::Fd(number), Flags::empty()),
    }
}

fn read_entry(file: &Descriptor, offset: u64, fixed: Option<u16>, piece: Piece) -> Entry {
    let (target, flags) = target(file);
    let Piece { address, length } = piece;
    let entry = match fixed {
        Some(index) => opcode::ReadFixed::new(target, address, length, index)
            .offset(offset)
            .build(),
        None => opcode::Read::new(target, address, length)
            .offset(offset)
            .build(),
    };
    entry.flags(flags)
}

fn write_entry(
    file: &Descriptor,
    offset: u64,
    fixed: Option<u16>,
    piece: &Piece,
    rw_flags: i32,
) -> Entry {
    let (target, flags) = target(file);
    let Piece { address, length } = *piece;
    let entry = match fixed {
        Some(index) => opcode::WriteFixed::new(target, address, length, index)
            .offset(offset)
            .rw_flags(rw_flags)
            .build(),
        None => opcode::Write::new(target, address, length)
            .offset(offset)
            .rw_flags(rw_flags)
            .build(),
    };
    entry.flags(flags)
}

/// Where Linux 6.16 and newer look for the bound of a multishot receive (`optlen` of io_uring_sqe); older
/// kernels refuse anything but 0 there.
const RECEIVE_LIMIT_OFFSET: usize = 44;
const _: () = assert!(size_of::<Entry>() == 64 && align_of::<Entry>() >= align_of::<u32>());

fn set_receive_limit(entry: &mut Entry, limit_bytes: u32) {
    let entry: *mut Entry = entry;
    let field = entry.cast::<u32>().wrapping_byte_add(RECEIVE_LIMIT_OFFSET);
    // SAFETY: an Entry is the kernel's 64-byte structure of plain integers (`repr(C)`; its size and
    // alignment are asserted above), so this is an aligned u32 inside it.
    unsafe { field.write(limit_bytes) };
}

fn watch_entry(waker: &CoreWaker) -> Entry {
    use std::os::fd::AsRawFd;
    let readable = u32::from(libc::POLLIN.unsigned_abs());
    let eventfd = types::Fd(waker.eventfd().as_raw_fd());
    opcode::PollAdd::new(eventfd, readable).multi(true).build()
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn progress_continues_at_whole_units() {
        let mut progress = Progress::new(8192, 512);
        progress.advance(700);
        assert_eq!(progress.done(), 512);
        progress.advance(100);
        assert_eq!(progress.done(), 512);
        assert_eq!(progress.remaining(), 7680);
        progress.advance(7680);
        assert!(progress.is_over());
        progress.advance(usize::MAX);
        assert_eq!(progress.done(), 8192);
    }

    #[test]
    fn long_transfers_go_in_pieces() {
        let mut progress = Progress::new(10_000, 512).in_pieces(4096);
        let mut asked = Vec::new();
        while !progress.is_over() {
            asked.push(progress.remaining());
            progress.advance(usize::try_from(progress.remaining()).unwrap());
        }
        assert_eq!(asked, [4096, 4096, 1808]);
        assert_eq!(Progress::new(8192, 4096).in_pieces(512).remaining(), 4096);
    }

    #[test]
    fn streams_continue_at_any_byte() {
        let mut progress = Progress::new(10, 1);
        progress.advance(3);
        assert_eq!(progress.done(), 3);
        assert_eq!(progress.remaining(), 7);
        assert!(!progress.is_over());
    }
}
