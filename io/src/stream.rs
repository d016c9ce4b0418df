//! A TCP connection on the ring: received bytes come in the ring's own buffers, sends are whole. It
//! knows bytes, never a frame. A connection that is read too slowly stops receiving after a stated
//! number of pieces, and goes on when they have been taken. Dropped, it cancels what it has in flight
//! and is closed by the ring.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockaddrStorage, getpeername, setsockopt, sockopt};

use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::limits::RECEIVED_PENDING_MAX;
use crate::received::Received;
use crate::ring::{Outcome, Pending, Ring, RingInner};
use crate::send_buffer::SendBuffer;
use crate::sys::operation::{Operation, Progress};
use crate::sys::ring::Completion;
use crate::sys::slots::Key;

/// Why a connection can do no more, or not now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection broke while receiving.
    #[error("receiving failed: {errno}")]
    Receive {
        /// What the kernel said.
        errno: Errno,
    },
    /// The connection broke while sending; some of the bytes may have arrived.
    #[error("sending {length_bytes} bytes failed: {errno}")]
    Send {
        /// How many bytes were to be sent.
        length_bytes: usize,
        /// What the kernel said.
        errno: Errno,
    },
    /// The caller's mistake: bytes of two sends at once would mix.
    #[error("a send is in flight on this connection already")]
    SendInFlight,
    /// The caller's mistake: the range passes the end of the bytes.
    #[error("bytes up to {end} of {length_bytes} were to be sent")]
    OutsideBuffer {
        /// End of the range asked for.
        end: usize,
        /// How many bytes there are.
        length_bytes: usize,
    },
    /// More operations at once than the ring was made for; try again when some have completed.
    #[error("all {slot_count} operation slots of the ring are in use")]
    Busy {
        /// The ring's bound.
        slot_count: u32,
    },
    /// A socket could not be prepared for the ring.
    #[error("the socket could not be set up ({what}): {errno}")]
    SetUp {
        /// Which step.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

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
                self.inbox.state.borrow_mut().reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// What has been received already, without waiting; `None` if nothing has.
    pub fn try_receive(&self) -> Option<Result<Option<Received>, StreamError>> {
        let mut state = self.inbox.state.borrow_mut();
        let received = state.received.pop_front();
        let may_arm = state.may_arm();
        let end = if received.is_none() { state.end } else { None };
        drop(state);
        if may_arm {
            Inbox::arm(&self.inbox, &self.ring);
        }
        match (received, end) {
            (Some(received), _) => Some(Ok(Some(received))),
            (None, Some(End::Closed)) => Some(Ok(None)),
            (None, Some(End::Failed(errno))) => Some(Err(StreamError::Receive { errno })),
            (None, None) => None,
        }
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
        let socket = Rc::clone(&self.inbox.socket);
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
        let socket = Rc::clone(&self.inbox.socket);
        let started = self.ring.start(Operation::Shutdown { socket });
        ShutdownFuture {
            pending: started.ok(),
            slot_count: self.ring.slot_count(),
        }
    }

    /// Who is at the other end; `None` if it is gone already or no internet address.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        let socket = self.inbox.socket.borrow()?;
        let address: SockaddrStorage = getpeername(socket.as_fd().as_raw_fd()).ok()?;
        internet_address(&address)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let armed = {
            let mut state = self.inbox.state.borrow_mut();
            state.end = Some(End::Closed);
            state.reader = None;
            state.armed.filter(|_| !state.cancelling)
        };
        let received = std::mem::take(&mut self.inbox.state.borrow_mut().received);
        drop(received);
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

/// The receiving side of a connection, shared with the ring while a receive is armed.
pub(crate) struct Inbox {
    socket: Rc<Descriptor>,
    state: RefCell<InboxState>,
}

struct InboxState {
    received: VecDeque<Received>,
    reader: Option<Waker>,
    /// The receive that the kernel has.
    armed: Option<Key>,
    /// Its cancellation is on its way.
    cancelling: bool,
    /// It waits in the ring's queue for a buffer or a slot.
    starved: bool,
    /// Nothing more will come.
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Failed(Errno),
}

impl InboxState {
    /// Whether a receive is to be armed: half of what a connection may hold has been taken.
    fn may_arm(&self) -> bool {
        self.armed.is_none()
            && !self.starved
            && self.end.is_none()
            && self.received.len() <= RECEIVED_PENDING_MAX / 2
    }
}

impl Inbox {
    fn new(socket: Rc<Descriptor>) -> Self {
        let state = InboxState {
            received: VecDeque::with_capacity(RECEIVED_PENDING_MAX),
            reader: None,
            armed: None,
            cancelling: false,
            starved: false,
            end: None,
        };
        Self {
            socket,
            state: RefCell::new(state),
        }
    }

    /// Has the kernel receive, or waits in the ring's queue until that is possible.
    fn arm(inbox: &Rc<Self>, ring: &RingInner) {
        let socket = Rc::clone(&inbox.socket);
        let receive = if ring.multishot_receive() {
            Ok(Operation::Receive {
                socket,
                limit_bytes: ring.receive_limit_bytes(),
            })
        } else {
            let length = crate::width::index(ring.receive_buffer_bytes());
            ring.pool()
                .take(length)
                .map(|buffer| Operation::ReceiveInto { socket, buffer })
        };
        let started = receive
            .ok()
            .and_then(|receive| ring.start_receive(receive, inbox));
        let mut state = inbox.state.borrow_mut();
        state.starved = started.is_none();
        state.armed = started;
        drop(state);
        if started.is_none() {
            ring.wait_for_buffer(Rc::clone(inbox));
        }
    }

    /// Called by the ring when there may be buffers and slots again.
    pub(crate) fn revive(inbox: &Rc<Self>, ring: &RingInner) {
        let may_arm = {
            let mut state = inbox.state.borrow_mut();
            state.starved = false;
            state.may_arm()
        };
        if may_arm {
            Self::arm(inbox, ring);
        }
    }

    /// Called by the ring with each completion of the armed receive; `operation` is that receive if
    /// this is the last.
    pub(crate) fn deliver(
        inbox: &Rc<Self>,
        ring: &RingInner,
        completion: Completion,
        operation: Option<Operation>,
    ) {
        let is_last = completion.is_last;
        let fate = Fate::of(completion, operation);
        let mut state = inbox.state.borrow_mut();
        if is_last {
            state.armed = None;
            state.cancelling = false;
        }
        match &fate {
            Fate::Starved => ring.count(|statistics| statistics.starved_count += 1),
            Fate::Unsupported { limited } => ring.do_with_less_in_receives(*limited),
            Fate::Received(_) | Fate::End(_) | Fate::Nothing => (),
        }
        let next = state.accept(fate, is_last);
        let reader = if state.has_news() {
            state.reader.take()
        } else {
            None
        };
        drop(state);
        if let Some(reader) = reader {
            ring.wake_later(reader);
        }
        match next {
            Next::Arm => Self::arm(inbox, ring),
            Next::WaitForBuffer => ring.wait_for_buffer(Rc::clone(inbox)),
            Next::HoldBack(key) => {
                ring.count(|statistics| statistics.held_back_count += 1);
                ring.cancel(key);
            }
            Next::Nothing => (),
        }
    }
}

/// What is to be done about a connection's receive.
enum Next {
    Arm,
    WaitForBuffer,
    HoldBack(Key),
    Nothing,
}

impl InboxState {
    fn has_news(&self) -> bool {
        !self.received.is_empty() || self.end.is_some()
    }

    /// Notes what came, and says what is to be done about the receive.
    fn accept(&mut self, fate: Fate, is_last: bool) -> Next {
        if self.end.is_some() {
            // A stream that was dropped, or that failed, wants nothing any more.
            return Next::Nothing;
        }
        match fate {
            // What comes beyond the bound must not take the ring's buffers from other connections.
            Fate::Received(received) if self.received.len() >= RECEIVED_PENDING_MAX => {
                self.received.push_back(received.copied_out());
            }
            Fate::Received(received) => self.received.push_back(received),
            Fate::End(end) => self.end = Some(end),
            Fate::Starved | Fate::Unsupported { .. } if is_last => {
                self.starved = true;
                return Next::WaitForBuffer;
            }
            Fate::Starved | Fate::Unsupported { .. } | Fate::Nothing => (),
        }
        match self.armed {
            Some(key) if self.received.len() >= RECEIVED_PENDING_MAX && !self.cancelling => {
                self.cancelling = true;
                Next::HoldBack(key)
            }
            None if self.may_arm() => Next::Arm,
            Some(_) | None => Next::Nothing,
        }
    }
}

/// What a completion means for a connection.
enum Fate {
    Received(Received),
    End(End),
    /// No buffer was left.
    Starved,
    /// The kernel does not know multishot receives, or bounds on them.
    Unsupported {
        limited: bool,
    },
    Nothing,
}

impl Fate {
    fn of(completion: Completion, operation: Option<Operation>) -> Self {
        let Ok(length) = usize::try_from(completion.result) else {
            let errno = Errno::new(completion.result.saturating_neg());
            return match errno {
                Errno::ECANCELED | Errno::EINTR | Errno::EAGAIN => Self::Nothing,
                Errno::ENOBUFS | Errno::ENOMEM => Self::Starved,
                errno => match operation {
                    Some(Operation::Receive { limit_bytes, .. }) if errno == Errno::EINVAL => {
                        Self::Unsupported {
                            limited: limit_bytes > 0,
                        }
                    }
                    Some(_) | None => Self::End(End::Failed(errno)),
                },
            };
        };
        if length == 0 {
            return Self::End(End::Closed);
        }
        match (completion.bytes, operation) {
            (Some(bytes), _) => Self::Received(Received::provided(bytes)),
            (None, Some(Operation::ReceiveInto { buffer, .. })) => {
                Self::Received(Received::pooled(buffer.freeze(), length))
            }
            (None, _) => Self::End(End::Failed(Errno::EIO)),
        }
    }
}

/// A receive on its way; see [`Stream::receive`].
#[must_use = "received bytes come with the future's outcome"]
pub struct ReceiveFuture<'stream> {
    stream: &'stream Stream,
}

impl Future for ReceiveFuture<'_> {
    type Output = Result<Option<Received>, StreamError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.stream.poll_receive(context)
    }
}

/// A send on its way; see [`Stream::send`]. The bytes come back with the outcome.
#[must_use = "a send's outcome is known only from its future"]
pub struct SendFuture {
    state: SendState,
}

enum SendState {
    Rejected(Option<(SendBuffer, Result<(), StreamError>)>),
    Pending(Pending),
}

impl SendFuture {
    fn rejected(bytes: SendBuffer, outcome: Result<(), StreamError>) -> Self {
        Self {
            state: SendState::Rejected(Some((bytes, outcome))),
        }
    }
}

impl Future for SendFuture {
    type Output = (SendBuffer, Result<(), StreamError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            SendState::Rejected(rejected) => rejected.take().map_or(Poll::Pending, Poll::Ready),
            SendState::Pending(pending) => {
                let Poll::Ready((operation, outcome)) = pending.poll(context) else {
                    return Poll::Pending;
                };
                let Operation::Send {
                    bytes, progress, ..
                } = operation
                else {
                    return Poll::Pending;
                };
                let length_bytes = progress.length();
                let outcome = match outcome {
                    Outcome::Done(_) => Ok(()),
                    Outcome::Failed(errno) => Err(StreamError::Send {
                        length_bytes,
                        errno,
                    }),
                    Outcome::Short => Err(StreamError::Send {
                        length_bytes,
                        errno: Errno::EPIPE,
                    }),
                };
                Poll::Ready((bytes, outcome))
            }
        }
    }
}

/// The end of the sending side on its way; see [`Stream::shutdown`].
#[must_use = "await it, or drop it on purpose: the shutdown goes on"]
pub struct ShutdownFuture {
    pending: Option<Pending>,
    slot_count: u32,
}

impl Future for ShutdownFuture {
    type Output = Result<(), StreamError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slot_count = self.slot_count;
        let Some(pending) = &mut self.pending else {
            return Poll::Ready(Err(StreamError::Busy { slot_count }));
        };
        pending.poll(context).map(|(_, outcome)| match outcome {
            Outcome::Done(_) | Outcome::Short => Ok(()),
            Outcome::Failed(errno) => Err(StreamError::Send {
                length_bytes: 0,
                errno,
            }),
        })
    }
}
