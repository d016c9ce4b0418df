//! Turns: writes on one key run one after another, in the order they came, through a bounded queue.
//!
//! A turn is held from the look at the newest version until the new one is in the open batch, not
//! until it is durable: a hot key is not limited to one write a device write.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;

use crate::limits::KEY_QUEUE_MAX;
use crate::state::TagKey;

/// One that waits for its turn on a key.
#[derive(Default)]
struct Waiter {
    /// 0 waiting, turned to `given` when the turn is handed to it.
    given: std::cell::Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The keys on which a write is looking or waiting.
#[derive(Default)]
pub(crate) struct KeyTurns {
    queues: RefCell<HashMap<TagKey, VecDeque<Rc<Waiter>>>>,
}

/// More operations wait for the key than the bound allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyBusy;

impl KeyTurns {
    /// Takes the key if nobody holds it; no waiting.
    pub(crate) fn try_take(&self, key: TagKey) -> Option<Turn<'_>> {
        let mut queues = self.queues.borrow_mut();
        if queues.contains_key(&key) {
            return None;
        }
        queues.insert(key, VecDeque::new());
        Some(Turn { turns: self, key })
    }

    /// Waits for the key, behind those who came before.
    pub(crate) async fn take(&self, key: TagKey) -> Result<Turn<'_>, KeyBusy> {
        if let Some(turn) = self.try_take(key) {
            return Ok(turn);
        }
        let waiter = Rc::new(Waiter::default());
        if let Some(queue) = self.queues.borrow_mut().get_mut(&key) {
            if queue.len() >= KEY_QUEUE_MAX {
                return Err(KeyBusy);
            }
            queue.push_back(Rc::clone(&waiter));
        }
        Ok(Given {
            turns: self,
            key,
            waiter: Some(waiter),
        }
        .await)
    }

    /// Keys held now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.queues.borrow().len()
    }

    fn pass_on(&self, key: TagKey) {
        let mut queues = self.queues.borrow_mut();
        let next = queues.get_mut(&key).and_then(VecDeque::pop_front);
        match next {
            Some(waiter) => {
                waiter.given.set(true);
                if let Some(waker) = waiter.waker.borrow_mut().take() {
                    waker.wake();
                }
            }
            None => {
                queues.remove(&key);
            }
        }
    }
}

/// The right to look at a key and write to it; passes on when dropped.
pub(crate) struct Turn<'a> {
    turns: &'a KeyTurns,
    key: TagKey,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.pass_on(self.key);
    }
}

/// Waits to be given the turn. Dropped while waiting, it leaves the queue or passes the turn on.
struct Given<'a> {
    turns: &'a KeyTurns,
    key: TagKey,
    waiter: Option<Rc<Waiter>>,
}

impl<'a> Future for Given<'a> {
    type Output = Turn<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn<'a>> {
        let given = self.waiter.as_ref().is_none_or(|waiter| waiter.given.get());
        if given {
            self.waiter = None;
            return Poll::Ready(Turn {
                turns: self.turns,
                key: self.key,
            });
        }
        if let Some(waiter) = &self.waiter {
            *waiter.waker.borrow_mut() = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        if waiter.given.get() {
            self.turns.pass_on(self.key);
        } else if let Some(queue) = self.turns.queues.borrow_mut().get_mut(&self.key) {
            queue.retain(|other| !Rc::ptr_eq(other, &waiter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn key(byte: u8) -> TagKey {
        TagKey::of(&corelith_index::Digest::from_bytes([byte; 20]))
    }

    #[test]
    fn turns_come_in_order_and_other_keys_do_not_wait() {
        let turns = KeyTurns::default();
        let held = turns.try_take(key(1)).unwrap();
        let mut second = Box::pin(turns.take(key(1)));
        let mut third = Box::pin(turns.take(key(1)));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        assert!(turns.try_take(key(2)).is_some());
        drop(held);
        assert!(poll(third.as_mut()).is_pending());
        let Poll::Ready(Ok(turn)) = poll(second.as_mut()) else {
            panic!("second's turn")
        };
        drop(turn);
        assert!(matches!(poll(third.as_mut()), Poll::Ready(Ok(_))));
        assert_eq!(turns.held(), 0);
    }

    #[test]
    fn one_that_gives_up_loses_no_turn() {
        let turns = KeyTurns::default();
        let held = turns.try_take(key(1)).unwrap();
        let mut second = Box::pin(turns.take(key(1)));
        let mut third = Box::pin(turns.take(key(1)));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        drop(held);
        drop(second);
        assert!(matches!(poll(third.as_mut()), Poll::Ready(Ok(_))));
    }

    #[test]
    fn the_queue_is_bounded() {
        let turns = KeyTurns::default();
        let _held = turns.try_take(key(1)).unwrap();
        let mut waiting = Vec::new();
        for _ in 0..KEY_QUEUE_MAX {
            let mut one = Box::pin(turns.take(key(1)));
            assert!(poll(one.as_mut()).is_pending());
            waiting.push(one);
        }
        let mut beyond = Box::pin(turns.take(key(1)));
        assert!(matches!(poll(beyond.as_mut()), Poll::Ready(Err(KeyBusy))));
    }
}
