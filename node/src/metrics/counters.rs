//! The counters of one core: cells that only its own tasks touch.

use std::cell::{Cell, RefCell};

use corelith_wire::Status;

/// By status: how many.
pub(crate) type StatusCounts = [u64; Status::ALL.len()];

/// Counters of one core.
pub(crate) struct CoreMetrics {
    refusals: RefCell<StatusCounts>,
    pub(crate) connections: Cell<u64>,
    pub(crate) connections_accepted: Cell<u64>,
    pub(crate) connections_refused: Cell<u64>,
    pub(crate) accept_failures: Cell<u64>,
    pub(crate) requests: Cell<u64>,
    pub(crate) batch_rows: Cell<u64>,
    pub(crate) requests_from_other_cores: Cell<u64>,
    pub(crate) requests_to_other_cores: Cell<u64>,
    pub(crate) received_bytes: Cell<u64>,
    pub(crate) sent_bytes: Cell<u64>,
    pub(crate) broken_streams: Cell<u64>,
    pub(crate) hello_timeouts: Cell<u64>,
}

impl CoreMetrics {
    pub(crate) const fn new() -> Self {
        Self {
            refusals: RefCell::new([0; Status::ALL.len()]),
            connections: Cell::new(0),
            connections_accepted: Cell::new(0),
            connections_refused: Cell::new(0),
            accept_failures: Cell::new(0),
            requests: Cell::new(0),
            batch_rows: Cell::new(0),
            requests_from_other_cores: Cell::new(0),
            requests_to_other_cores: Cell::new(0),
            received_bytes: Cell::new(0),
            sent_bytes: Cell::new(0),
            broken_streams: Cell::new(0),
            hello_timeouts: Cell::new(0),
        }
    }

    /// A request was refused before it became an operation.
    pub(crate) fn refused(&self, status: Status) {
        let number = usize::from(status.number().saturating_sub(1));
        if let Some(count) = self.refusals.borrow_mut().get_mut(number) {
            *count += 1;
        }
    }

    /// Refusals as they are now.
    pub(crate) fn refusals(&self) -> StatusCounts {
        *self.refusals.borrow()
    }
}

/// Adds one.
pub(crate) fn bump(cell: &Cell<u64>) {
    add(cell, 1);
}

/// Adds so many.
pub(crate) fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get() + count);
}
