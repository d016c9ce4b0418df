//! The receiving side of a connection, which the ring delivers to and the stream takes from. It decides
//! when the kernel is to receive: not while too much waits, not before there are buffers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use super::StreamError;
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::limits::RECEIVED_PENDING_MAX;
use crate::received::Received;
use crate::ring::RingInner;
use crate::sys::operation::Operation;
use crate::sys::ring::Completion;
use crate::sys::slots::Key;

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
    pub(super) fn new(socket: Rc<Descriptor>) -> Self {
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

    pub(super) fn socket(&self) -> &Rc<Descriptor> {
        &self.socket
    }

    /// What waits, or the end if nothing does and nothing will; `None` while more may come.
    pub(super) fn take(
        inbox: &Rc<Self>,
        ring: &RingInner,
    ) -> Option<Result<Option<Received>, StreamError>> {
        let mut state = inbox.state.borrow_mut();
        let received = state.received.pop_front();
        let may_arm = state.may_arm();
        let end = if received.is_none() { state.end } else { None };
        drop(state);
        if may_arm {
            Self::arm(inbox, ring);
        }
        match (received, end) {
            (Some(received), _) => Some(Ok(Some(received))),
            (None, Some(End::Closed)) => Some(Ok(None)),
            (None, Some(End::Failed(errno))) => Some(Err(StreamError::Receive { errno })),
            (None, None) => None,
        }
    }

    /// Has `reader` woken when something comes.
    pub(super) fn set_reader(&self, reader: &Waker) {
        let mut state = self.state.borrow_mut();
        match &mut state.reader {
            Some(known) => known.clone_from(reader),
            None => state.reader = Some(reader.clone()),
        }
    }

    /// Nobody takes anything any more. The receive that is to be cancelled, if one is armed.
    pub(super) fn abandon(&self) -> Option<Key> {
        let mut state = self.state.borrow_mut();
        state.end = Some(End::Closed);
        let reader = state.reader.take();
        let received = std::mem::take(&mut state.received);
        let armed = state.armed.filter(|_| !state.cancelling);
        drop(state);
        drop((reader, received));
        armed
    }

    /// Has the kernel receive, or waits in the ring's queue until that is possible.
    pub(super) fn arm(inbox: &Rc<Self>, ring: &RingInner) {
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
