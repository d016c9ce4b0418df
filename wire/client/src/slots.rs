//! The requests in flight on one connection: a slab whose slots are used again, so that a request costs no
//! allocation. It knows nothing of sockets or clocks; time is a count of ticks. Invariants:
//!
//! - A slot's request id holds its generation, so a late answer never meets the slot's next user.
//! - A slot whose caller gave up stays taken until its answer comes: the node still counts it.

use std::task::{Context, Poll, Waker};

use corelith_wire::{FrameHeader, RequestId};

use crate::error::ConnectError;

/// The slab.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    tick: u64,
}

/// Names one use of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotKey {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot {
    /// Counts the slot's users, from 1, so that no request id is zero.
    generation: u32,
    state: State,
    waker: Option<Waker>,
    /// The answer's body; its memory stays with the slot.
    body: Vec<u8>,
    /// When the caller's time is up or, once it is gone, when the node is taken for dead.
    deadline_tick: u64,
    /// Where the request begins in the stream of everything sent.
    frame_start: u64,
    /// As how many requests the node counts it.
    weight: u32,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting,
    Answered(FrameHeader),
    Failed(Failure),
    /// Nobody waits any more, but the node has not answered.
    Abandoned,
}

/// How a request ended without an answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Its time was up after it had been handed to the connection.
    TimedOut,
    /// The connection broke before a byte of it was sent.
    Unsent(ConnectError),
    /// The connection broke after it was sent, wholly or in part.
    Lost(ConnectError),
}

/// What an answer's arrival means.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Its caller waits; wake it.
    Awaited(Option<Waker>),
    /// Its caller is gone; the slot is free again, and so are its places among the requests in flight.
    Freed(u32),
    /// Its caller's time was up, but it has not looked yet; it will free the slot.
    Late,
    /// No request of this id is in flight.
    Unasked,
}

/// What a tick of the clock found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Requests in flight, answered or not.
    pub(crate) in_flight_count: usize,
    /// A request stays unanswered long after its caller gave up.
    pub(crate) is_unresponsive: bool,
}

impl SlotKey {
    pub(crate) fn request_id(self) -> RequestId {
        RequestId::new(u64::from(self.generation) << 32 | u64::from(self.index))
    }

    fn from_request_id(id: RequestId) -> Self {
        let number = id.get();
        // Both halves fit by construction.
        SlotKey {
            index: number as u32,
            generation: (number >> 32) as u32,
        }
    }
}

impl Slots {
    /// Takes a slot for a request that begins at `frame_start`, may take `ticks` and counts as `weight`.
    pub(crate) fn insert(&mut self, frame_start: u64, ticks: u64, weight: u32) -> SlotKey {
        // The present tick may be almost over: one more, so that no request ends early.
        let deadline_tick = self.tick.saturating_add(ticks).saturating_add(1);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot {
                    generation: 0,
                    state: State::Free,
                    waker: None,
                    body: Vec::new(),
                    deadline_tick: 0,
                    frame_start: 0,
                    weight: 0,
                });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        slot.state = State::Waiting;
        slot.deadline_tick = deadline_tick;
        slot.frame_start = frame_start;
        slot.weight = weight;
        SlotKey {
            index,
            generation: slot.generation,
        }
    }

    /// Gives back the slot of a request that was not sent after all.
    pub(crate) fn withdraw(&mut self, key: SlotKey) {
        self.release(key);
    }

    /// Takes the answer to a request.
    pub(crate) fn answer(&mut self, header: &FrameHeader, body: &[u8]) -> Arrival {
        let key = SlotKey::from_request_id(header.request_id());
        let Some(slot) = self.get(key) else {
            return Arrival::Unasked;
        };
        match slot.state {
            State::Waiting => {
                slot.body.clear();
                slot.body.extend_from_slice(body);
                slot.state = State::Answered(*header);
                Arrival::Awaited(slot.waker.take())
            }
            State::Abandoned => {
                let weight = slot.weight;
                self.release(key);
                Arrival::Freed(weight)
            }
            // Timed out but not yet fetched by its caller: the answer is too late all the same.
            State::Failed(_) => {
                slot.frame_start = u64::MAX;
                Arrival::Late
            }
            State::Free | State::Answered(_) => Arrival::Unasked,
        }
    }

    /// Asks for the end of a request; keeps the waker for as long as there is none.
    pub(crate) fn poll(
        &mut self,
        key: SlotKey,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let Some(slot) = self.get(key) else {
            unreachable!("a slot belongs to its caller until it is released")
        };
        match &slot.state {
            State::Waiting => {
                match &mut slot.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            State::Answered(_) => Poll::Ready(Ok(())),
            State::Failed(failure) => Poll::Ready(Err(failure.clone())),
            State::Free | State::Abandoned => unreachable!("released while its caller waits"),
        }
    }

    /// The answer that [`Slots::poll`] announced. The body may be taken out or left.
    pub(crate) fn answered(&mut self, key: SlotKey) -> Option<(FrameHeader, &mut Vec<u8>)> {
        let slot = self.get(key)?;
        match slot.state {
            State::Answered(header) => Some((header, &mut slot.body)),
            State::Free | State::Waiting | State::Failed(_) | State::Abandoned => None,
        }
    }

    /// The caller is done with its slot. Returns whether the slot is free now; otherwise it is once the
    /// answer has come.
    pub(crate) fn let_go(&mut self, key: SlotKey, patience_ticks: u64) -> bool {
        let tick = self.tick;
        let Some(slot) = self.get(key) else {
            return false;
        };
        let awaits_answer = match slot.state {
            State::Waiting => true,
            // The mark of an answer that came after the end of the caller's time.
            State::Failed(Failure::TimedOut) => slot.frame_start != u64::MAX,
            State::Answered(_) | State::Failed(_) | State::Free | State::Abandoned => false,
        };
        if !awaits_answer {
            self.release(key);
            return true;
        }
        slot.state = State::Abandoned;
        slot.waker = None;
        slot.deadline_tick = tick.saturating_add(patience_ticks);
        false
    }

    /// One tick later: ends the requests whose time is up.
    pub(crate) fn tick(&mut self, wakers: &mut Vec<Waker>) -> Tick {
        self.tick += 1;
        let mut found = Tick::default();
        for slot in &mut self.slots {
            match slot.state {
                State::Free => continue,
                State::Waiting if slot.deadline_tick <= self.tick => {
                    slot.state = State::Failed(Failure::TimedOut);
                    wakers.extend(slot.waker.take());
                }
                State::Abandoned if slot.deadline_tick <= self.tick => found.is_unresponsive = true,
                State::Waiting | State::Answered(_) | State::Failed(_) | State::Abandoned => {}
            }
            found.in_flight_count += 1;
        }
        found
    }

    /// The connection is gone: ends every request. Those that begin at `unsent_from` or later were never
    /// sent.
    pub(crate) fn fail_all(
        &mut self,
        unsent_from: u64,
        reason: &ConnectError,
        wakers: &mut Vec<Waker>,
    ) {
        for slot in &mut self.slots {
            match slot.state {
                State::Waiting => {
                    slot.state = State::Failed(if slot.frame_start >= unsent_from {
                        Failure::Unsent(reason.clone())
                    } else {
                        Failure::Lost(reason.clone())
                    });
                    wakers.extend(slot.waker.take());
                }
                // A dead connection owes nobody an answer; its slab is not used again.
                State::Free | State::Answered(_) | State::Failed(_) | State::Abandoned => {}
            }
        }
    }

    fn get(&mut self, key: SlotKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation).then_some(slot)
    }

    fn release(&mut self, key: SlotKey) {
        let Some(slot) = self.get(key) else { return };
        slot.state = State::Free;
        slot.waker = None;
        if slot.body.capacity() > crate::limits::READ_LENGTH_BYTES {
            slot.body = Vec::new();
        }
        self.free.push(key.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelith_wire::{Answer, FrameEncoder};

    fn header(id: RequestId) -> FrameHeader {
        let mut frame = Vec::new();
        FrameEncoder::new()
            .answer(&mut frame, id, &Answer::Deleted)
            .unwrap();
        FrameHeader::parse(&frame).unwrap().unwrap()
    }

    fn poll(slots: &mut Slots, key: SlotKey) -> Poll<Result<(), Failure>> {
        slots.poll(key, &mut Context::from_waker(Waker::noop()))
    }

    fn tick(slots: &mut Slots, count: u64) -> Tick {
        let mut wakers = Vec::new();
        (0..count).map(|_| slots.tick(&mut wakers)).last().unwrap()
    }

    #[test]
    fn an_answer_finds_its_request() {
        let mut slots = Slots::default();
        let (first, second) = (slots.insert(0, 5, 1), slots.insert(10, 5, 1));
        assert_ne!(first.request_id(), second.request_id());
        assert_ne!(first.request_id(), RequestId::UNKNOWN);
        let arrival = slots.answer(&header(second.request_id()), b"body");
        assert!(matches!(arrival, Arrival::Awaited(None)));
        assert!(poll(&mut slots, first).is_pending());
        assert!(matches!(poll(&mut slots, second), Poll::Ready(Ok(()))));
        let (found, body) = slots.answered(second).unwrap();
        assert_eq!(
            (found.request_id(), body.as_slice()),
            (second.request_id(), &b"body"[..])
        );
        assert!(slots.let_go(second, 1));
        let twice = slots.answer(&header(second.request_id()), b"");
        assert!(matches!(twice, Arrival::Unasked));
    }

    #[test]
    fn a_slot_is_used_again_under_another_id() {
        let mut slots = Slots::default();
        let first = slots.insert(0, 5, 1);
        slots.answer(&header(first.request_id()), b"old");
        assert!(slots.let_go(first, 1));
        let second = slots.insert(0, 5, 1);
        assert_eq!(first.index, second.index);
        assert!(matches!(
            slots.answer(&header(first.request_id()), b""),
            Arrival::Unasked
        ));
        assert!(poll(&mut slots, second).is_pending());
    }

    #[test]
    fn time_ends_a_request_and_its_late_answer_frees_the_slot() {
        let mut slots = Slots::default();
        let key = slots.insert(0, 2, 1);
        assert_eq!(
            tick(&mut slots, 2),
            Tick {
                in_flight_count: 1,
                is_unresponsive: false
            }
        );
        assert!(poll(&mut slots, key).is_pending(), "never early");
        tick(&mut slots, 1);
        assert!(matches!(
            poll(&mut slots, key),
            Poll::Ready(Err(Failure::TimedOut))
        ));
        assert!(!slots.let_go(key, 10), "the node still counts it");
        assert_ne!(slots.insert(0, 1, 1).index, key.index);
        assert!(matches!(
            slots.answer(&header(key.request_id()), b""),
            Arrival::Freed(1)
        ));
        assert_eq!(slots.insert(0, 1, 1).index, key.index);
    }

    #[test]
    fn an_answer_between_time_out_and_look_frees_once() {
        let mut slots = Slots::default();
        let key = slots.insert(0, 0, 1);
        tick(&mut slots, 1);
        assert!(matches!(
            slots.answer(&header(key.request_id()), b""),
            Arrival::Late
        ));
        assert!(matches!(
            poll(&mut slots, key),
            Poll::Ready(Err(Failure::TimedOut))
        ));
        assert!(slots.let_go(key, 10));
    }

    #[test]
    fn a_node_that_never_answers_is_found_out() {
        let mut slots = Slots::default();
        let key = slots.insert(0, 100, 1);
        assert!(!slots.let_go(key, 3));
        assert!(!tick(&mut slots, 2).is_unresponsive);
        assert!(tick(&mut slots, 1).is_unresponsive);
    }

    #[test]
    fn a_broken_connection_tells_sent_from_unsent() {
        let mut slots = Slots::default();
        let (sent, unsent) = (slots.insert(90, 5, 1), slots.insert(100, 5, 1));
        let answered = slots.insert(0, 5, 1);
        slots.answer(&header(answered.request_id()), b"");
        slots.fail_all(100, &ConnectError::Closed, &mut Vec::new());
        assert!(matches!(
            poll(&mut slots, sent),
            Poll::Ready(Err(Failure::Lost(_)))
        ));
        assert!(matches!(
            poll(&mut slots, unsent),
            Poll::Ready(Err(Failure::Unsent(_)))
        ));
        assert!(matches!(poll(&mut slots, answered), Poll::Ready(Ok(()))));
    }
}
