//! A listening TCP socket on the ring. Accepted connections come as descriptors, so that another core
//! can take them over before their first byte is read. Accepting stops after a stated number that nobody
//! takes; the kernel's backlog then holds the rest.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, listen,
    setsockopt, socket, sockopt,
};

use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::limits::{ACCEPTED_PENDING_MAX, LISTEN_BACKLOG};
use crate::ring::{Ring, RingInner};
use crate::stream::internet_address;
use crate::sys::operation::Operation;
use crate::sys::ring::Completion;
use crate::sys::slots::Key;

/// Whether several sockets, one of each core, may listen on one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortUse {
    /// This listener alone.
    Exclusive,
    /// The kernel spreads connections over all listeners of the address (SO_REUSEPORT).
    Shared,
}

/// Why an address cannot be listened on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenError {
    /// A step of making the socket failed; the address is in use, is none of this machine's, or needs a
    /// privilege.
    #[error("cannot listen on {address} ({step}): {errno}")]
    Bind {
        /// What was to be listened on.
        address: SocketAddr,
        /// The system call that failed.
        step: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// Accepting failed: out of descriptors or memory. The listener goes on at the next call.
    #[error("accepting a connection failed: {errno}")]
    Accept {
        /// What the kernel said.
        errno: Errno,
    },
}

/// A listening socket of this core. Dropping it stops listening.
pub struct Listener {
    ring: Rc<RingInner>,
    arrivals: Rc<Arrivals>,
    local_address: SocketAddr,
}

impl Listener {
    /// Listens on an address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(ring: &Ring, address: SocketAddr, port: PortUse) -> Result<Self, ListenError> {
        let failed = |step| {
            move |errno: nix::errno::Errno| ListenError::Bind {
                address,
                step,
                errno: errno.into(),
            }
        };
        let family = if address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let descriptor = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .map_err(failed("socket"))?;
        setsockopt(&descriptor, sockopt::ReuseAddr, &true).map_err(failed("SO_REUSEADDR"))?;
        if port == PortUse::Shared {
            setsockopt(&descriptor, sockopt::ReusePort, &true).map_err(failed("SO_REUSEPORT"))?;
        }
        let wanted = SockaddrStorage::from(address);
        bind(descriptor.as_raw_fd(), &wanted).map_err(failed("bind"))?;
        let backlog = Backlog::new(LISTEN_BACKLOG).map_err(failed("listen"))?;
        listen(&descriptor.as_fd(), backlog).map_err(failed("listen"))?;
        let bound: SockaddrStorage =
            getsockname(descriptor.as_raw_fd()).map_err(failed("getsockname"))?;
        let local_address = internet_address(&bound).unwrap_or(address);
        let ring = Rc::clone(&ring.inner);
        let arrivals = Rc::new(Arrivals::new(ring.adopt(descriptor)));
        Ok(Self {
            ring,
            arrivals,
            local_address,
        })
    }

    /// What is listened on, with the port that was found.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// The next connection, for [`crate::Stream::adopt`] on this core or another. After an error
    /// wait a little before the next call: connections have to end before there are descriptors again.
    pub fn accept(&self) -> AcceptFuture<'_> {
        AcceptFuture { listener: self }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.arrivals.state.borrow_mut();
        state.closed = true;
        let accepted = std::mem::take(&mut state.accepted);
        let armed = state.armed;
        drop(state);
        drop(accepted);
        if let Some(key) = armed {
            self.ring.cancel(key);
        }
    }
}

/// An accept on its way; see [`Listener::accept`].
#[must_use = "an accepted connection comes with the future's outcome"]
pub struct AcceptFuture<'listener> {
    listener: &'listener Listener,
}

impl Future for AcceptFuture<'_> {
    type Output = Result<OwnedFd, ListenError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Listener { ring, arrivals, .. } = self.listener;
        let mut state = arrivals.state.borrow_mut();
        let accepted = state.accepted.pop_front();
        let failure = if accepted.is_none() {
            state.failure.take()
        } else {
            None
        };
        let may_arm = state.may_arm() && failure.is_none();
        if accepted.is_none() && failure.is_none() {
            state.acceptor = Some(context.waker().clone());
        }
        drop(state);
        if may_arm && !Arrivals::arm(arrivals, ring) {
            context.waker().wake_by_ref();
        }
        match (accepted, failure) {
            (Some(accepted), _) => Poll::Ready(Ok(accepted)),
            (None, Some(errno)) => Poll::Ready(Err(ListenError::Accept { errno })),
            (None, None) => Poll::Pending,
        }
    }
}

/// What has been accepted, shared with the ring while an accept is armed.
pub(crate) struct Arrivals {
    socket: Rc<Descriptor>,
    state: RefCell<ArrivalsState>,
}

struct ArrivalsState {
    accepted: VecDeque<OwnedFd>,
    acceptor: Option<Waker>,
    armed: Option<Key>,
    cancelling: bool,
    failure: Option<Errno>,
    closed: bool,
}

impl ArrivalsState {
    fn may_arm(&self) -> bool {
        self.armed.is_none()
            && self.failure.is_none()
            && !self.closed
            && self.accepted.len() <= ACCEPTED_PENDING_MAX / 2
    }
}

impl Arrivals {
    fn new(socket: Rc<Descriptor>) -> Self {
        let state = ArrivalsState {
            accepted: VecDeque::with_capacity(ACCEPTED_PENDING_MAX),
            acceptor: None,
            armed: None,
            cancelling: false,
            failure: None,
            closed: false,
        };
        Self {
            socket,
            state: RefCell::new(state),
        }
    }

    /// Has the kernel accept; false if the ring has no slot just now.
    fn arm(arrivals: &Rc<Self>, ring: &RingInner) -> bool {
        let multishot = ring.multishot_accept();
        let accept = Operation::Accept {
            socket: Rc::clone(&arrivals.socket),
            multishot,
        };
        let armed = ring.start_accept(accept, arrivals);
        arrivals.state.borrow_mut().armed = armed;
        armed.is_some()
    }

    /// Called by the ring with each completion of the armed accept.
    pub(crate) fn deliver(arrivals: &Rc<Self>, ring: &RingInner, completion: Completion) {
        let Completion {
            result,
            is_last,
            accepted,
            ..
        } = completion;
        let mut state = arrivals.state.borrow_mut();
        if is_last {
            state.armed = None;
            state.cancelling = false;
        }
        if state.closed {
            return;
        }
        if let Some(accepted) = accepted {
            state.accepted.push_back(accepted);
        } else {
            match Errno::new(result.saturating_neg()) {
                Errno::ECANCELED | Errno::EINTR | Errno::EAGAIN => (),
                Errno::EINVAL if ring.multishot_accept() => ring.do_without_multishot_accept(),
                errno => state.failure = Some(errno),
            }
        }
        let hold_back = match state.armed {
            Some(key) if state.accepted.len() >= ACCEPTED_PENDING_MAX && !state.cancelling => {
                state.cancelling = true;
                Some(key)
            }
            Some(_) | None => None,
        };
        // The acceptor arms again when it comes.
        if let Some(acceptor) = state.acceptor.take() {
            ring.wake_later(acceptor);
        }
        drop(state);
        if let Some(key) = hold_back {
            ring.cancel(key);
        }
    }
}
