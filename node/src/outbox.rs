//! Outbox: the answers of one connection on their way out. While one send is in flight, the answers
//! that come up gather for the next, so a busy connection costs one send for many answers. Its memory is the core's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::send_buffers::SendBuffers;

/// Answers that wait, and who waits for them or for room.
#[derive(Default)]
pub(crate) struct Outbox {
    buffers: Rc<SendBuffers>,
    /// Without memory while nothing waits.
    bytes: RefCell<Vec<u8>>,
    /// Large answers, each in memory of its own, and what waited when they came. They go out before `bytes`.
    whole: RefCell<VecDeque<Vec<u8>>>,
    /// Bytes of those.
    whole_bytes: Cell<usize>,
    /// How many the sending task has taken and not sent yet.
    sending_bytes: Cell<usize>,
    sender: RefCell<Option<Waker>>,
    /// The reading task, while it waits for room or for requests to be answered.
    held_back: RefCell<Option<Waker>>,
    /// The reading task, to be told of the end whatever it waits for.
    reader: RefCell<Option<Waker>>,
    /// The sending task, to be told if the connection is cut while a send is in flight.
    sending: RefCell<Option<Waker>>,
    closed: Cell<bool>,
    abandoned: Cell<bool>,
}

impl Outbox {
    pub(crate) fn new(buffers: &Rc<SendBuffers>) -> Self {
        let mut outbox = Self::default();
        outbox.buffers = Rc::clone(buffers);
        outbox
    }

    /// Lets `write` append an answer. Nobody gets it once the connection is abandoned.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.abandoned.get() {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        if bytes.capacity() == 0 {
            *bytes = self.buffers.take();
        }
        let before = bytes.len();
        write(&mut bytes);
        self.buffers.grew(bytes.len().saturating_sub(before));
        drop(bytes);
        wake(&self.sender);
    }

    /// Adds an answer that has memory of its own, behind those that wait, without copying it.
    pub(crate) fn append_whole(&self, answer: Vec<u8>) {
        if self.abandoned.get() {
            return;
        }
        let before = std::mem::take(&mut *self.bytes.borrow_mut());
        self.whole_bytes
            .set(self.whole_bytes.get() + before.len() + answer.len());
        self.buffers.grew(answer.len());
        let whole = [before, answer].into_iter().filter(|part| !part.is_empty());
        self.whole.borrow_mut().extend(whole);
        wake(&self.sender);
    }

    /// No more requests are read: [`Outbox::next`] ends after the last answer.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        wake(&self.sender);
        self.wake_reader();
    }

    /// The reading task is to look again, whatever it waits for.
    pub(crate) fn wake_reader(&self) {
        wake(&self.held_back);
        wake(&self.reader);
    }

    /// The peer takes no more answers: what waits is dropped.
    pub(crate) fn abandon(&self) {
        self.abandoned.set(true);
        let dropped = std::mem::take(&mut *self.bytes.borrow_mut());
        self.buffers
            .shrank(dropped.len() + self.whole_bytes.replace(0));
        self.buffers.give_back(dropped);
        self.whole.borrow_mut().clear();
        self.close();
        wake(&self.sending);
    }

    /// Waits for a send, but not beyond [`Outbox::abandon`]: then it is dropped, and `None` is the answer.
    pub(crate) async fn unless_abandoned<T>(
        &self,
        send: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        let mut send = send;
        std::future::poll_fn(|context| {
            if self.abandoned.get() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(sent) = Pin::new(&mut send).poll(context) {
                return Poll::Ready(Some(sent));
            }
            let mut sending = self.sending.borrow_mut();
            match &mut *sending {
                Some(known) => known.clone_from(context.waker()),
                None => *sending = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    /// True after [`Outbox::close`].
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Bytes that the peer has not taken: those that wait, and those of the send in flight.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.borrow().len() + self.whole_bytes.get() + self.sending_bytes.get()
    }

    /// True while more requests may be read for this connection's sake.
    pub(crate) fn has_room(&self) -> bool {
        self.buffers.has_room(self.waiting_bytes())
    }

    /// The next bytes to send, when the ones before are sent; `None` when the outbox is closed and empty.
    pub(crate) fn next(&self) -> impl Future<Output = Option<Vec<u8>>> + '_ {
        std::future::poll_fn(move |context| {
            if let Some(taken) = self.whole.borrow_mut().pop_front() {
                self.whole_bytes
                    .set(self.whole_bytes.get().saturating_sub(taken.len()));
                self.sending_bytes.set(taken.len());
                return Poll::Ready(Some(taken));
            }
            let mut bytes = self.bytes.borrow_mut();
            if bytes.is_empty() {
                if self.closed.get() {
                    return Poll::Ready(None);
                }
                *self.sender.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            let taken = std::mem::take(&mut *bytes);
            drop(bytes);
            self.sending_bytes.set(taken.len());
            Poll::Ready(Some(taken))
        })
    }

    /// What [`Outbox::next`] gave is sent, or will not be.
    pub(crate) fn sent(&self, buffer: Vec<u8>) {
        self.buffers.shrank(self.sending_bytes.replace(0));
        self.buffers.give_back(buffer);
        wake(&self.held_back);
    }

    /// Wakes the reading task when there is room, or a request has been answered, or at the end.
    pub(crate) fn wait_for_room(&self, waker: &Waker) {
        *self.held_back.borrow_mut() = Some(waker.clone());
    }

    /// Wakes the reading task at the end.
    pub(crate) fn wait_for_end(&self, waker: &Waker) {
        let mut reader = self.reader.borrow_mut();
        match &mut *reader {
            Some(known) => known.clone_from(waker),
            None => *reader = Some(waker.clone()),
        }
    }

    /// A request was answered: a reading task that was held back looks again.
    pub(crate) fn made_room(&self) {
        wake(&self.held_back);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.buffers.shrank(self.waiting_bytes());
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    let taken = waker.borrow_mut().take();
    if let Some(waker) = taken {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;
    use crate::limits::OUTBOX_BYTES_MAX;

    #[test]
    fn answers_gather_and_the_end_comes_after_the_last() {
        let outbox = Outbox::default();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut next = pin!(outbox.next());
            assert!(next.as_mut().poll(&mut context).is_pending());
            outbox.append(|bytes| bytes.extend_from_slice(b"one"));
            outbox.append(|bytes| bytes.extend_from_slice(b"two"));
            assert_eq!(
                next.poll(&mut context),
                Poll::Ready(Some(b"onetwo".to_vec()))
            );
        }
        assert_eq!(outbox.waiting_bytes(), 6, "taken is not sent");
        outbox.append(|bytes| bytes.extend_from_slice(b"last"));
        assert_eq!(outbox.waiting_bytes(), 10);
        assert_eq!(outbox.buffers.waiting_bytes(), 10);
        outbox.sent(b"onetwo".to_vec());
        assert_eq!(outbox.buffers.waiting_bytes(), 4);
        outbox.close();
        let last = pin!(outbox.next()).poll(&mut context);
        assert_eq!(last, Poll::Ready(Some(b"last".to_vec())));
        assert_eq!(pin!(outbox.next()).poll(&mut context), Poll::Ready(None));
    }

    #[test]
    fn a_send_that_never_ends_ends_with_the_connection() {
        let outbox = Outbox::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut never = pin!(outbox.unless_abandoned(std::future::pending::<()>()));
        assert!(never.as_mut().poll(&mut context).is_pending());
        outbox.close();
        assert!(never.as_mut().poll(&mut context).is_pending());
        outbox.abandon();
        assert_eq!(never.poll(&mut context), Poll::Ready(None));
        let mut done = pin!(outbox.unless_abandoned(std::future::ready(1)));
        assert_eq!(done.as_mut().poll(&mut context), Poll::Ready(None));
    }

    #[test]
    fn a_large_answer_keeps_its_memory_and_its_place() {
        let outbox = Outbox::default();
        let mut context = Context::from_waker(Waker::noop());
        outbox.append(|bytes| bytes.extend_from_slice(b"before"));
        let large = vec![7; OUTBOX_BYTES_MAX];
        let place = large.as_ptr();
        outbox.append_whole(large);
        outbox.append(|bytes| bytes.extend_from_slice(b"behind"));
        assert!(!outbox.has_room());
        assert_eq!(outbox.waiting_bytes(), OUTBOX_BYTES_MAX + 12);
        let mut next = || match pin!(outbox.next()).poll(&mut context) {
            Poll::Ready(Some(bytes)) => bytes,
            Poll::Ready(None) | Poll::Pending => panic!("nothing to send"),
        };
        assert_eq!(next(), b"before");
        outbox.sent(Vec::new());
        let large = next();
        assert_eq!((large.len(), large.as_ptr()), (OUTBOX_BYTES_MAX, place));
        outbox.sent(large);
        assert!(outbox.has_room());
        assert_eq!(next(), b"behind");
        outbox.append_whole(vec![1]);
        outbox.abandon();
        outbox.append_whole(vec![1]);
        assert_eq!(outbox.waiting_bytes(), 6, "the send in flight");
        assert_eq!(outbox.buffers.waiting_bytes(), 6);
    }

    #[test]
    fn a_full_outbox_has_no_room_until_it_is_sent() {
        let buffers = Rc::default();
        let outbox = Outbox::new(&buffers);
        assert!(outbox.has_room());
        outbox.append(|bytes| bytes.resize(OUTBOX_BYTES_MAX, 0));
        assert!(!outbox.has_room());
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(sending)) = pin!(outbox.next()).poll(&mut context) else {
            panic!("nothing to send")
        };
        assert!(!outbox.has_room(), "a send in flight is not taken yet");
        outbox.sent(sending);
        assert!(outbox.has_room());
        outbox.append(|bytes| bytes.push(0));
        drop(outbox);
        assert_eq!(buffers.waiting_bytes(), 0);
    }
}
