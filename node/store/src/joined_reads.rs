//! Joined reads: who asks for a record that is just being read from the device waits for that read.
//!
//! A read under way is known by place and life, which a reader has from the index and the segment table in the very
//! step in which it asks: what stands at one place in one life is one version for ever, so whoever joins gets the
//! version that it would have read itself. A few hundred reads are known at a time, each in the one slot that its place
//! falls on; one whose slot is taken goes to the device alone. That costs a get a multiplication and a line of memory, where
//! a map of all reads would cost it two look-ups in a table.
//!
//! Never knows: a key, the index, whether a record is damaged.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use corelith_index::RecordAddress;

use crate::format::fields::usize_of;
use crate::limits::{JOINED_READERS_MAX, JOINED_READS_BITS};
use crate::record::Record;
use crate::{Life, ReadError};

/// What a read gave.
pub(crate) type ReadResult = Result<Record, ReadError>;

/// The reads under way that others may join.
pub(crate) struct JoinedReads {
    slots: RefCell<Box<[Slot]>>,
}

/// A read under way, or none.
#[derive(Clone, Default)]
struct Slot {
    read: Option<(RecordAddress, Life)>,
    /// Who waits for it; made for the first that does.
    readers: Option<Rc<Readers>>,
}

/// How a read is made.
pub(crate) enum Entrance<'a> {
    /// By reading, and telling the others.
    Leads(Leader<'a>),
    /// By waiting for who reads already.
    Joins(Joined),
    /// By reading: others cannot join.
    Alone,
}

impl JoinedReads {
    pub(crate) fn new() -> Self {
        let slots = vec![Slot::default(); 1 << JOINED_READS_BITS];
        Self {
            slots: RefCell::new(slots.into_boxed_slice()),
        }
    }

    /// How the record at `address` in `life` is read now.
    pub(crate) fn enter(&self, address: RecordAddress, life: Life) -> Entrance<'_> {
        let at = slot_of(address);
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(at) else {
            return Entrance::Alone;
        };
        match slot.read {
            None => {
                slot.read = Some((address, life));
                Entrance::Leads(Leader {
                    reads: self,
                    at,
                    has_told: false,
                })
            }
            Some(read) if read == (address, life) => {
                let readers = slot.readers.get_or_insert_default();
                match readers.add() {
                    Some(number) => Entrance::Joins(Joined {
                        readers: Rc::clone(readers),
                        number,
                    }),
                    None => Entrance::Alone,
                }
            }
            Some(_) => Entrance::Alone,
        }
    }

    /// Ends the read in a slot and tells who joined it.
    fn end(&self, at: usize, result: Option<&ReadResult>) {
        let readers = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(at) else {
                return;
            };
            slot.read = None;
            slot.readers.take()
        };
        if let Some(readers) = readers {
            readers.tell(result);
        }
    }
}

/// The reader that others may join. Dropped before it has told a result, it sends them to look again.
pub(crate) struct Leader<'a> {
    reads: &'a JoinedReads,
    at: usize,
    has_told: bool,
}

impl Leader<'_> {
    /// Tells all that have joined.
    pub(crate) fn tell(mut self, result: &ReadResult) {
        self.has_told = true;
        self.reads.end(self.at, Some(result));
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if !self.has_told {
            self.reads.end(self.at, None);
        }
    }
}

/// All that wait for one read.
#[derive(Default)]
struct Readers {
    wakers: RefCell<Vec<Option<Waker>>>,
    is_over: Cell<bool>,
    /// `None` if it was given up.
    result: RefCell<Option<ReadResult>>,
}

impl Readers {
    /// One more; its number, if they are not too many.
    fn add(&self) -> Option<usize> {
        let mut wakers = self.wakers.borrow_mut();
        let number = wakers.len();
        (number < JOINED_READERS_MAX).then(|| {
            wakers.push(None);
            number
        })
    }

    fn tell(&self, result: Option<&ReadResult>) {
        *self.result.borrow_mut() = result.cloned();
        self.is_over.set(true);
        for waker in self.wakers.take().into_iter().flatten() {
            waker.wake();
        }
    }
}

/// A wait for another's read: its result, or `None` if that reader gave up.
pub(crate) struct Joined {
    readers: Rc<Readers>,
    number: usize,
}

impl Future for Joined {
    type Output = Option<ReadResult>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.readers.is_over.get() {
            return Poll::Ready(self.readers.result.borrow().clone());
        }
        if let Some(waker) = self.readers.wakers.borrow_mut().get_mut(self.number) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The upper bits of a product: neighbours in a segment fall on different slots.
fn slot_of(address: RecordAddress) -> usize {
    let product = address.packed().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize_of(product >> (u64::BITS - JOINED_READS_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(packed: u64) -> RecordAddress {
        RecordAddress::from_packed(packed).unwrap()
    }

    fn poll(joined: &mut Joined) -> Poll<Option<ReadResult>> {
        Pin::new(joined).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn join(reads: &JoinedReads, packed: u64, life: Life) -> Joined {
        match reads.enter(address(packed), life) {
            Entrance::Joins(joined) => joined,
            Entrance::Leads(_) | Entrance::Alone => panic!("nobody reads it"),
        }
    }

    #[test]
    fn the_same_place_in_the_same_life_is_joined_and_no_other() {
        let (reads, life) = (JoinedReads::new(), Life::new(1));
        let Entrance::Leads(leader) = reads.enter(address(77), life) else {
            panic!("nobody else reads")
        };
        let (mut first, mut second) = (join(&reads, 77, life), join(&reads, 77, life));
        assert!(matches!(
            reads.enter(address(77), Life::new(2)),
            Entrance::Alone
        ));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        let failed = Err(ReadError::Busy);
        leader.tell(&failed);
        for joined in [&mut first, &mut second] {
            assert!(matches!(
                poll(joined),
                Poll::Ready(Some(Err(ReadError::Busy)))
            ));
        }
        let next = reads.enter(address(77), Life::new(2));
        assert!(matches!(next, Entrance::Leads(_)));
    }

    #[test]
    fn a_reader_that_gives_up_lets_the_others_look_again() {
        let (reads, life) = (JoinedReads::new(), Life::new(1));
        let leader = reads.enter(address(5), life);
        let mut joined = join(&reads, 5, life);
        assert!(poll(&mut joined).is_pending());
        drop(leader);
        assert!(matches!(poll(&mut joined), Poll::Ready(None)));
        assert!(matches!(reads.enter(address(5), life), Entrance::Leads(_)));
    }

    #[test]
    fn beyond_the_bound_readers_go_alone() {
        let (reads, life) = (JoinedReads::new(), Life::new(1));
        let _leader = reads.enter(address(5), life);
        for _ in 0..JOINED_READERS_MAX {
            drop(join(&reads, 5, life));
        }
        assert!(matches!(reads.enter(address(5), life), Entrance::Alone));
    }
}
