//! What can go wrong with an operation, sorted by what the caller must know first: did it happen? Only
//! [`Error::InDoubt`] leaves that open; after every other error nothing was changed.

use std::net::SocketAddr;
use std::sync::Arc;

use corelith_record::{ContentError, KeyError};
use corelith_wire::{DecodeError, EncodeError, FrameError, Refusal, Status, UnknownFeatures};
use thiserror::Error;

/// Why an operation failed.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// A write that was sent and whose outcome is unknown: it may have happened, may happen yet, or not.
    /// Read the record before writing again.
    #[error("in doubt: {0}")]
    InDoubt(Doubt),
    /// The node said no; nothing was changed.
    #[error("refused: {0}")]
    Refused(Refused),
    /// The time was up before the operation was sent, or before the answer to a read was there.
    #[error("timed out")]
    TimedOut,
    /// No connection: nothing was sent, or the answer to a read was lost. All tries are used up.
    #[error("no connection: {0}")]
    Disconnected(ConnectError),
    /// The node has no namespace of this name.
    #[error("the node has no namespace {name:?}")]
    UnknownNamespace {
        /// The name asked for.
        name: String,
    },
    /// The request breaks a rule of the protocol; it was not sent.
    #[error("invalid request: {0}")]
    Invalid(#[from] EncodeError),
    /// The key breaks its rules; nothing was sent.
    #[error("invalid key: {0}")]
    Key(#[from] KeyError),
    /// The bins break their rules; nothing was sent.
    #[error("invalid bins: {0}")]
    Content(#[from] ContentError),
    /// The node's answer to a read breaks the protocol.
    #[error("unreadable answer: {0}")]
    Unreadable(Unreadable),
    /// This connection is read-only, since the node uses features that writes depend on and that this
    /// client does not know. Nothing was sent.
    #[error("the node uses features that this client cannot write with")]
    ReadOnly,
    /// The client was closed. Nothing was sent.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether the operation may have happened in spite of the error.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        matches!(self, Error::InDoubt(_))
    }

    /// What the node said, if it said no.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match self {
            Error::Refused(refused) => Some(refused.status),
            _ => None,
        }
    }
}

/// What left a write in doubt.
#[derive(Clone, Debug, Error)]
pub enum Doubt {
    /// The answer did not come in time.
    #[error("the answer did not come in time")]
    TimedOut,
    /// The connection broke after the request was sent, wholly or in part.
    #[error("the connection broke: {0}")]
    Disconnected(ConnectError),
    /// The node itself does not know, or met a fault of its own.
    #[error("the node says so: {0}")]
    Node(Refused),
    /// The node answered something that cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(Unreadable),
}

/// A refusal, owned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{status}{}", self.details())]
pub struct Refused {
    /// What happened.
    pub status: Status,
    /// The number of the status, also where this client does not know it.
    pub status_number: u16,
    /// The node's advice when to try again, in ms; zero for none.
    pub retry_after_ms: u32,
    /// With a status of doubt: the status number of what went wrong.
    pub cause_number: u16,
    /// What was expected or is allowed, where two values disagreed.
    pub expected: u64,
    /// What was found instead.
    pub found: u64,
    /// The node's words for people.
    pub text: String,
}

impl Refused {
    fn details(&self) -> String {
        let mut details = String::new();
        if Status::from_number(self.status_number).is_none() {
            details.push_str(&format!(" (status {})", self.status_number));
        }
        if self.expected != 0 || self.found != 0 {
            details.push_str(&format!(
                " (expected {}, found {})",
                self.expected, self.found
            ));
        }
        if !self.text.is_empty() {
            details.push_str(": ");
            details.push_str(&self.text);
        }
        details
    }
}

impl From<&Refusal<'_>> for Refused {
    fn from(refusal: &Refusal<'_>) -> Self {
        Refused {
            status: refusal.status,
            status_number: refusal.status_number,
            retry_after_ms: refusal.retry_after_ms,
            cause_number: refusal.cause_number,
            expected: refusal.expected,
            found: refusal.found,
            text: refusal.text.to_owned(),
        }
    }
}

/// An answer that breaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Its header; the connection is closed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its body.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The record in it.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// It answers a request that was not made; the connection is closed.
    #[error("an answer to request {request_id:#x}, which was not made")]
    Unasked {
        /// The id in the answer.
        request_id: u64,
    },
    /// A page of a scan without a record and without a step forward.
    #[error("a page that leads nowhere")]
    NoProgress,
    /// The bins that an operate's steps saw are not as many as the answer says.
    #[error("the steps saw {expected} bins, the answer has {found}")]
    BinCount {
        /// As many as the answer's counts together.
        expected: usize,
        /// As many as it has.
        found: u16,
    },
    /// The answer of a batch has none for a row.
    #[error("no answer to row {row} of the batch")]
    RowMissing {
        /// The row's number.
        row: usize,
    },
    /// It answers another kind of request than was made under its id.
    #[error("an answer of kind {found} to a request of kind {expected}")]
    Kind {
        /// The request's kind number.
        expected: u8,
        /// The answer's kind number.
        found: u8,
    },
}

/// Why there is no connection, or no longer one.
#[derive(Clone, Debug, Error)]
pub enum ConnectError {
    /// The address names no host.
    #[error("{address} cannot be resolved: {error}")]
    Resolve {
        /// The address as given.
        address: String,
        /// The system's word on it.
        error: Arc<std::io::Error>,
    },
    /// The network or the node refused, or the connection broke.
    #[error("{address}: {error}")]
    Io {
        /// The node's address.
        address: SocketAddr,
        /// The system's word on it.
        error: Arc<std::io::Error>,
    },
    /// The node closed the connection.
    #[error("{address}: closed by the node")]
    ClosedByNode {
        /// The node's address.
        address: SocketAddr,
    },
    /// Connection and hello took too long.
    #[error("{address}: no hello in time")]
    TimedOut {
        /// The node's address.
        address: SocketAddr,
    },
    /// The node refused the hello, or the whole connection later.
    #[error("{address}: {refused}")]
    Refused {
        /// The node's address.
        address: SocketAddr,
        /// What it said.
        refused: Refused,
    },
    /// The node speaks a version that this client does not.
    #[error("{address}: the node chose version {version} of the protocol")]
    Version {
        /// The node's address.
        address: SocketAddr,
        /// The version in its hello.
        version: u16,
    },
    /// The node uses features without which nothing can be understood.
    #[error("{address}: {features}")]
    Features {
        /// The node's address.
        address: SocketAddr,
        /// Which.
        features: UnknownFeatures,
    },
    /// What came is not the protocol.
    #[error("{address}: {unreadable}")]
    Unreadable {
        /// The node's address.
        address: SocketAddr,
        /// What is wrong with it.
        unreadable: Unreadable,
    },
    /// A request stayed unanswered long after its caller gave up.
    #[error("{address}: the node does not answer")]
    Unresponsive {
        /// The node's address.
        address: SocketAddr,
    },
    /// This side closed it.
    #[error("closed")]
    Closed,
}

impl ConnectError {
    /// Whether another attempt may succeed with nobody changing anything: a node that is being restarted,
    /// say, but not one of another version.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            ConnectError::Io { .. }
            | ConnectError::ClosedByNode { .. }
            | ConnectError::TimedOut { .. }
            | ConnectError::Unresponsive { .. } => true,
            ConnectError::Refused { refused, .. } => refused.status.is_worth_retrying(),
            ConnectError::Resolve { .. }
            | ConnectError::Version { .. }
            | ConnectError::Features { .. }
            | ConnectError::Unreadable { .. }
            | ConnectError::Closed => false,
        }
    }
}
