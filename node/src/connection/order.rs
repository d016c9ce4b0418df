//! The order of a connection's requests about one key: what only reads, and is sent behind an unanswered write of its key,
//! waits here until that is answered. So its answer has that version, or a newer one.
//!
//! A connection that writes nothing pays a look at an empty list for it. One that does both pays for each write to have it
//! on the list, and for each read to go through the list, which has a number for each of at most as many writes as may be
//! unanswered. Requests inside batches have an order of their own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use corelith_index::{Digest, PartitionId};
use corelith_wire::{FrameHeader, MessageKind, Request};

use super::requests::Arrived;
use crate::frames::body_of;

/// A key, as far as order is concerned: two that share one wait for each other without need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct KeyMark(u64);

impl KeyMark {
    /// The partition's bits of a digest and some more.
    fn of(digest: &Digest) -> Self {
        let bytes = digest.as_bytes();
        Self(
            bytes
                .first_chunk()
                .map_or(0, |first| u64::from_le_bytes(*first)),
        )
    }

    /// What it has of its partition, so that most others are told apart without being read.
    fn is_of(self, partition: PartitionId) -> bool {
        self.0 & 0xfff == u64::from(partition.get())
    }
}

/// An unanswered write: its key, and its number among the writes of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WriteMark {
    key: KeyMark,
    number: u32,
}

/// The unanswered writes of a connection, and the reads that wait for them.
#[derive(Default)]
pub(super) struct KeyOrder {
    next_number: Cell<u32>,
    /// `None` while nothing is in them: ten thousand connections that rest are not to hold lists.
    lists: RefCell<Option<Box<Lists>>>,
}

#[derive(Default)]
struct Lists {
    writes: Vec<WriteMark>,
    held: VecDeque<Held>,
}

/// A read that waits for a write.
struct Held {
    /// The newest write of its key that was sent before it.
    behind: WriteMark,
    owner: u16,
    arrived: Arrived,
}

impl KeyOrder {
    /// The write that a request must wait for, if it only reads and there is one.
    pub(super) fn holds_back(&self, header: &FrameHeader, frame: &[u8]) -> Option<WriteMark> {
        let lists = self.lists.borrow();
        lists.as_ref()?.newest_of_key(header, frame)
    }

    /// Notes a write that is about to be run; `None` for what is none, or cannot be understood.
    pub(super) fn begin(&self, header: &FrameHeader, frame: &[u8]) -> Option<WriteMark> {
        if !header.kind().is_some_and(MessageKind::is_write) {
            return None;
        }
        let request = Request::decode(header, body_of(frame)).ok()?;
        let key = KeyMark::of(request.digest().filter(|_| request.is_write())?);
        let number = self.next_number.get();
        self.next_number.set(number.wrapping_add(1));
        let write = WriteMark { key, number };
        let mut lists = self.lists.borrow_mut();
        lists.get_or_insert_default().writes.push(write);
        Some(write)
    }

    /// Keeps a request that [`KeyOrder::holds_back`] until `behind` has ended.
    pub(super) fn hold(&self, behind: WriteMark, (owner, arrived): (u16, Arrived)) {
        let mut lists = self.lists.borrow_mut();
        lists.get_or_insert_default().held.push_back(Held {
            behind,
            owner,
            arrived,
        });
    }

    /// A write has been answered.
    pub(super) fn end(&self, write: WriteMark) {
        let mut lists = self.lists.borrow_mut();
        let Some(Lists { writes, held }) = lists.as_deref_mut() else {
            return;
        };
        if let Some(at) = writes.iter().position(|found| *found == write) {
            writes.swap_remove(at);
        }
        if writes.is_empty() && held.is_empty() {
            *lists = None;
        }
    }

    /// The next request that waits for this write, which has ended, and its owner.
    pub(super) fn next_behind(&self, write: WriteMark) -> Option<(u16, Arrived)> {
        let mut lists = self.lists.borrow_mut();
        let Lists { writes, held } = lists.as_deref_mut()?;
        let at = held.iter().position(|held| held.behind == write)?;
        let next = held.remove(at)?;
        if writes.is_empty() && held.is_empty() {
            *lists = None;
        }
        Some((next.owner, next.arrived))
    }
}

impl Lists {
    /// The newest write of the key of a request that only reads.
    fn newest_of_key(&self, header: &FrameHeader, frame: &[u8]) -> Option<WriteMark> {
        let may_read = matches!(header.kind(), Some(MessageKind::Get | MessageKind::Operate));
        let partition = header.partition().filter(|_| may_read)?;
        self.writes
            .iter()
            .find(|write| write.key.is_of(partition))?;
        let request = Request::decode(header, body_of(frame)).ok()?;
        let key = KeyMark::of(request.digest().filter(|_| !request.is_write())?);
        let of_key = self.writes.iter().filter(|write| write.key == key);
        of_key.max_by_key(|write| write.number).copied()
    }
}

#[cfg(test)]
mod tests {
    use corelith_wire::{
        BinSelection, Commit, DeleteRequest, FrameEncoder, GetRequest, NamespaceId,
        RequestEnvelope, RequestId,
    };

    use super::*;

    fn digest(key: u8, partition: u8) -> Digest {
        let mut bytes = [key; 20];
        bytes[..2].copy_from_slice(&[partition, 0]);
        Digest::from_bytes(bytes)
    }

    fn get(digest: Digest) -> Request<'static> {
        Request::Get(GetRequest {
            digest,
            selection: BinSelection::All,
        })
    }

    fn delete(digest: Digest) -> Request<'static> {
        Request::Delete(DeleteRequest {
            digest,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
        })
    }

    fn frame(request: &Request<'_>) -> (FrameHeader, Vec<u8>) {
        let envelope = RequestEnvelope {
            request_id: RequestId::new(1),
            namespace: NamespaceId::new(1),
            deadline_ms: 0,
        };
        let mut bytes = Vec::new();
        let mut encoder = FrameEncoder::new();
        encoder.request(&mut bytes, &envelope, request).unwrap();
        (FrameHeader::parse(&bytes).unwrap().unwrap(), bytes)
    }

    fn begin(order: &KeyOrder, request: &Request<'_>) -> Option<WriteMark> {
        let (header, frame) = frame(request);
        order.begin(&header, &frame)
    }

    fn holds_back(order: &KeyOrder, request: &Request<'_>) -> Option<WriteMark> {
        let (header, frame) = frame(request);
        order.holds_back(&header, &frame)
    }

    fn hold(order: &KeyOrder, behind: WriteMark, arrived_ns: u64) {
        let (header, frame) = frame(&get(digest(1, 1)));
        let arrived = Arrived {
            header,
            frame,
            arrived_ns,
            write: None,
        };
        order.hold(behind, (0, arrived));
    }

    #[test]
    fn a_read_waits_for_the_last_write_of_its_key_before_it() {
        let order = KeyOrder::default();
        assert_eq!(begin(&order, &get(digest(1, 1))), None, "no write");
        assert_eq!(holds_back(&order, &get(digest(1, 1))), None);
        let first = begin(&order, &delete(digest(1, 1))).unwrap();
        let second = begin(&order, &delete(digest(1, 1))).unwrap();
        assert_eq!(holds_back(&order, &get(digest(1, 1))), Some(second));
        assert_eq!(holds_back(&order, &get(digest(2, 1))), None, "another key");
        assert_eq!(holds_back(&order, &get(digest(1, 2))), None);
        assert_eq!(holds_back(&order, &delete(digest(1, 1))), None, "a write");
        hold(&order, second, 7);
        // Whatever ends and begins beside it changes nothing.
        let third = begin(&order, &delete(digest(1, 1))).unwrap();
        order.end(first);
        assert!(order.next_behind(first).is_none());
        order.end(second);
        let (_, arrived) = order.next_behind(second).unwrap();
        assert_eq!(arrived.arrived_ns, 7);
        assert!(order.next_behind(second).is_none());
        order.end(third);
        assert_eq!(holds_back(&order, &get(digest(1, 1))), None);
    }

    #[test]
    fn those_that_wait_for_one_write_go_on_in_their_order() {
        let order = KeyOrder::default();
        let write = begin(&order, &delete(digest(1, 1))).unwrap();
        let other = begin(&order, &delete(digest(5, 1))).unwrap();
        hold(&order, write, 1);
        hold(&order, other, 2);
        hold(&order, write, 3);
        order.end(write);
        let free = || {
            order
                .next_behind(write)
                .map(|(_, arrived)| arrived.arrived_ns)
        };
        assert_eq!((free(), free(), free()), (Some(1), Some(3), None));
    }
}
