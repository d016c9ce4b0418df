//! Memory of answers on their way out, shared by the connections of a core: a connection has some only while
//! answers wait or are being sent, so one that rests costs none.

use std::cell::{Cell, RefCell};

use crate::limits::{
    OUTBOX_BYTES_MAX, OUTBOX_BYTES_SHARE, OUTBOXES_BYTES_MAX, SEND_BUFFERS_BYTES_MAX,
};

/// Spare buffers, and how much waits in those that are out.
#[derive(Default)]
pub(crate) struct SendBuffers {
    spares: RefCell<Vec<Vec<u8>>>,
    spare_bytes: Cell<usize>,
    waiting_bytes: Cell<usize>,
}

impl SendBuffers {
    /// An empty buffer, the one used last if there is one.
    pub(crate) fn take(&self) -> Vec<u8> {
        let spare = self.spares.borrow_mut().pop().unwrap_or_default();
        let left_bytes = self.spare_bytes.get().saturating_sub(spare.capacity());
        self.spare_bytes.set(left_bytes);
        spare
    }

    /// Takes a buffer back; beyond the bound its memory goes back to the system.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        let kept_bytes = self.spare_bytes.get() + buffer.capacity();
        let is_usual = buffer.capacity() > 0 && buffer.capacity() <= 2 * OUTBOX_BYTES_MAX;
        if is_usual && kept_bytes <= SEND_BUFFERS_BYTES_MAX {
            buffer.clear();
            self.spare_bytes.set(kept_bytes);
            self.spares.borrow_mut().push(buffer);
        }
    }

    /// So many bytes more wait.
    pub(super) fn grew(&self, by_bytes: usize) {
        self.waiting_bytes.set(self.waiting_bytes.get() + by_bytes);
    }

    /// So many less.
    pub(super) fn shrank(&self, by_bytes: usize) {
        let left_bytes = self.waiting_bytes.get().saturating_sub(by_bytes);
        self.waiting_bytes.set(left_bytes);
    }

    /// Answers of all connections that wait to be sent, in bytes.
    pub(crate) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.get()
    }

    /// True while a connection for which so much waits may have more.
    pub(crate) const fn has_room(&self, own_bytes: usize) -> bool {
        let is_tight = self.waiting_bytes.get() >= OUTBOXES_BYTES_MAX;
        own_bytes < OUTBOX_BYTES_SHARE || (own_bytes < OUTBOX_BYTES_MAX && !is_tight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_bounded_and_used_again() {
        let buffers = SendBuffers::default();
        assert_eq!(buffers.take().capacity(), 0);
        for _ in 0..2 * SEND_BUFFERS_BYTES_MAX / OUTBOX_BYTES_MAX {
            buffers.give_back(vec![0; OUTBOX_BYTES_MAX]);
        }
        let kept = SEND_BUFFERS_BYTES_MAX / OUTBOX_BYTES_MAX;
        assert_eq!(buffers.spares.borrow().len(), kept);
        let spare = buffers.take();
        assert_eq!((spare.len(), spare.capacity()), (0, OUTBOX_BYTES_MAX));
        buffers.give_back(Vec::with_capacity(3 * OUTBOX_BYTES_MAX));
        assert_eq!(buffers.spares.borrow().len(), kept - 1, "too large to keep");
        buffers.give_back(spare);
        assert_eq!(buffers.spares.borrow().len(), kept);
    }

    #[test]
    fn many_slow_readers_have_less_room_each() {
        let buffers = SendBuffers::default();
        assert!(buffers.has_room(OUTBOX_BYTES_MAX - 1));
        assert!(!buffers.has_room(OUTBOX_BYTES_MAX));
        buffers.grew(OUTBOXES_BYTES_MAX);
        assert!(buffers.has_room(OUTBOX_BYTES_SHARE - 1));
        assert!(!buffers.has_room(OUTBOX_BYTES_SHARE));
        buffers.shrank(1);
        assert!(buffers.has_room(OUTBOX_BYTES_SHARE));
    }
}
