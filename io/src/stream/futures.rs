//! Receives, sends and shutdowns on their way, as futures.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Stream, StreamError};
use crate::errno::Errno;
use crate::received::Received;
use crate::ring::{Outcome, Pending};
use crate::send_buffer::SendBuffer;
use crate::sys::operation::Operation;

/// A receive on its way; see [`Stream::receive`].
#[must_use = "received bytes come with the future's outcome"]
pub struct ReceiveFuture<'stream> {
    pub(super) stream: &'stream Stream,
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
    pub(super) state: SendState,
}

pub(super) enum SendState {
    Rejected(Option<(SendBuffer, Result<(), StreamError>)>),
    Pending(Pending),
}

impl SendFuture {
    pub(super) fn rejected(bytes: SendBuffer, outcome: Result<(), StreamError>) -> Self {
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
    pub(super) pending: Option<Pending>,
    pub(super) slot_count: u32,
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
