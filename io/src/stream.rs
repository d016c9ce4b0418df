//! A TCP connection on the ring: received bytes come in the ring's own buffers, sends are whole. It
//! knows bytes, never a frame. A connection that is read too slowly stops receiving after a stated
//! number of pieces, and goes on when they have been taken. Dropped, it cancels what it has in flight
//! and is closed by the ring.

use std::cell::Cell;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockaddrStorage, getpeername, setsockopt, sockopt};

use crate::received::Received;
use crate::ring::{Ring, RingInner};
use crate::send_buffer::SendBuffer;
use crate::sys::operation::{Operation, Progress};
use crate::sys::slots::Key;
use futures::SendState;

mod error;
mod futures;
mod inbox;

pub use error::StreamError;
pub use futures::{ReceiveFuture, SendFuture, ShutdownFuture};
pub(crate) use inbox::Inbox;

/// A connection of this core. Dropping it closes it and aborts a send in flight.
pub struct Stream {
    ring: Rc<RingInner>,
    inbox: Rc<Inbox>,
    /// The send that was started last.
    sending: Cell<Option<Key>>,
}

impl Stream {
    /// Takes over a connected socket, perhaps accepted by another core, and begins to receive. Sends
    /// leave at once (TCP_NODELAY); a socket that is not TCP is taken as well.
    ///
    /// # Errors
    /// The descriptor is not a connected socket.
    pub fn adopt(ring: &Ring, socket: OwnedFd) -> Result<Self, StreamError> {
        // The ring waits by itself; a socket that does not block would answer "try again" instead.
        let flags = fcntl(&socket, FcntlArg::F_GETFL).map_err(|errno| StreamError::SetUp {
            what: "F_GETFL",
            errno: errno.into(),
        })?;
        let flags = OFlag::from_bits_retain(flags);
        if flags.contains(OFlag::O_NONBLOCK) {
            fcntl(&socket, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).map_err(|errno| {
                StreamError::SetUp {
                    what: "F_SETFL",
                    errno: errno.into(),
                }
            })?;
        }
        match setsockopt(&socket, sockopt::TcpNoDelay, &true) {
            Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOPROTOOPT) => (),
            Err(errno) => {
                return Err(StreamError::SetUp {
                    what: "TCP_NODELAY",
                    errno: errno.into(),
                });
            }
        }
        let ring = Rc::clone(&ring.inner);
        let inbox = Rc::new(Inbox::new(ring.adopt(socket)));
        Inbox::arm(&inbox, &ring);
        Ok(Self {
            ring,
            inbox,
            sending: Cell::new(None),
        })
    }

    /// The next received bytes, whatever number of them has arrived; `None` when the peer has ended
    /// its side. One task receives at a time. The bytes hold a buffer of the ring: use them and drop
    /// them, or copy what has to wait.
    pub fn receive(&self) -> ReceiveFuture<'_> {
        ReceiveFuture { stream: self }
    }

    /// The same as a poll.
    pub fn poll_receive(
        &self,
        context: &Context<'_>,
    ) -> Poll<Result<Option<Received>, StreamError>> {
        match self.try_receive() {
            Some(received) => Poll::Ready(received),
            None => {
                self.inbox.set_reader(context.waker());
                Poll::Pending
            }
        }
    }

    /// What has been received already, without waiting; `None` if nothing has.
    pub fn try_receive(&self) -> Option<Result<Option<Received>, StreamError>> {
        Inbox::take(&self.inbox, &self.ring)
    }

    /// Sends `range` of the bytes, all of it. One send at a time. If the future is dropped, the send
    /// goes on.
    pub fn send(&self, bytes: impl Into<SendBuffer>, range: Range<usize>) -> SendFuture {
        let bytes = bytes.into();
        let length_bytes = bytes.as_slice().len();
        if range.end > length_bytes {
            let error = StreamError::OutsideBuffer {
                end: range.end,
                length_bytes,
            };
            return SendFuture::rejected(bytes, Err(error));
        }
        if range.is_empty() {
            return SendFuture::rejected(bytes, Ok(()));
        }
        if self
            .sending
            .get()
            .is_some_and(|key| self.ring.is_in_kernel(key))
        {
            return SendFuture::rejected(bytes, Err(StreamError::SendInFlight));
        }
        let socket = Rc::clone(self.inbox.socket());
        let progress = Progress::new(range.len(), 1);
        let send = Operation::Send {
            socket,
            bytes,
            start: range.start,
            progress,
        };
        match self.ring.start(send) {
            Ok(pending) => {
                self.sending.set(pending.key());
                SendFuture {
                    state: SendState::Pending(pending),
                }
            }
            Err(operation) => {
                let error = StreamError::Busy {
                    slot_count: self.ring.slot_count(),
                };
                let bytes = operation
                    .into_send_buffer()
                    .unwrap_or_else(|| Vec::new().into());
                SendFuture::rejected(bytes, Err(error))
            }
        }
    }

    /// Ends this side of the connection after what has been sent: the peer sees the end, and can
    /// still send.
    pub fn shutdown(&self) -> ShutdownFuture {
        let socket = Rc::clone(self.inbox.socket());
        let started = self.ring.start(Operation::Shutdown { socket });
        ShutdownFuture {
            pending: started.ok(),
            slot_count: self.ring.slot_count(),
        }
    }

    /// Who is at the other end; `None` if it is gone already or no internet address.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        let socket = self.inbox.socket().borrow()?;
        let address: SockaddrStorage = getpeername(socket.as_fd().as_raw_fd()).ok()?;
        internet_address(&address)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let armed = self.inbox.abandon();
        let sending = self
            .sending
            .get()
            .filter(|key| self.ring.is_in_kernel(*key));
        for key in armed.into_iter().chain(sending) {
            self.ring.cancel(key);
        }
    }
}

/// An address of the kernel's form in the standard library's.
pub(crate) fn internet_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((address.ip(), address.port())));
    }
    let address = address.as_sockaddr_in6()?;
    Some(SocketAddr::from((address.ip(), address.port())))
}
