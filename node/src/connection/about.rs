//! What an operator may know of a connection.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use corelith_io::to_u64;

use super::Connection;

/// What a connection counts of itself, for listings.
#[derive(Default)]
pub(super) struct Account {
    /// By the monotonic clock.
    pub(super) opened_ns: u64,
    pub(super) peer: Option<SocketAddr>,
    /// What the client called itself in its hello.
    pub(super) client_name: RefCell<String>,
    pub(super) requests: Cell<u64>,
    received_bytes: Cell<u64>,
    sent_bytes: Cell<u64>,
}

impl Account {
    pub(super) fn new(opened_ns: u64, peer: Option<SocketAddr>) -> Self {
        Self {
            opened_ns,
            peer,
            ..Self::default()
        }
    }

    pub(super) fn received(&self, length_bytes: u64) {
        self.received_bytes
            .set(self.received_bytes.get() + length_bytes);
    }

    pub(super) fn sent(&self, length_bytes: u64) {
        self.sent_bytes.set(self.sent_bytes.get() + length_bytes);
    }
}

/// A connection as a listing shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConnectionReport {
    pub(crate) core: u16,
    /// Its number on its core.
    pub(crate) number: u64,
    pub(crate) peer: Option<SocketAddr>,
    /// Empty before its hello.
    pub(crate) client_name: String,
    pub(crate) age_ns: u64,
    pub(crate) requests: u64,
    pub(crate) in_flight: u32,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    /// Answers that it has not taken.
    pub(crate) waiting_bytes: u64,
}

impl Connection {
    /// Time since it came.
    pub(crate) const fn age(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(now_ns.saturating_sub(self.account.opened_ns))
    }

    /// Who is at its other end, if the socket says.
    pub(crate) const fn peer(&self) -> Option<SocketAddr> {
        self.account.peer
    }

    /// What is known of it.
    pub(crate) fn report(&self, core: u16, now_ns: u64) -> ConnectionReport {
        let account = &self.account;
        ConnectionReport {
            core,
            number: self.key.0,
            peer: account.peer,
            client_name: account.client_name.borrow().clone(),
            age_ns: now_ns.saturating_sub(account.opened_ns),
            requests: account.requests.get(),
            in_flight: self.in_flight.get(),
            received_bytes: account.received_bytes.get(),
            sent_bytes: account.sent_bytes.get(),
            waiting_bytes: to_u64(self.waiting_bytes()),
        }
    }
}
