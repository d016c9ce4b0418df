//! When a request gives back what its connection's turn has paid for it.

use std::pin::pin;

use corelith_wire::{FrameHeader, MessageKind};

use crate::turns::{Turns, cost_units};

/// True for a write that reads nothing first, for the most part: its work is done when it is in a batch.
pub(super) fn is_write(header: &FrameHeader) -> bool {
    matches!(header.kind(), Some(MessageKind::Put | MessageKind::Delete))
}

/// Does the work of a request, and gives back what its connection's turn has paid for it: a write when it waits for its
/// batch, where a thousand cost no more than one; anything else when it is done, because until then it may be in a
/// device's queue before the others.
pub(super) async fn paid_back<T>(
    turns: &Turns,
    (header, frame_bytes): (&FrameHeader, usize),
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut paid_units = Some(cost_units(header, frame_bytes));
    let is_write = is_write(header);
    std::future::poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if (polled.is_ready() || is_write)
            && let Some(units) = paid_units.take()
        {
            turns.release(units);
        }
        polled
    })
    .await
}
