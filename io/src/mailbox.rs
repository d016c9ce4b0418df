//! A mailbox from one core to another: a bounded queue with one sender and one reader, whose sender wakes
//! a parked reader. Nothing is shared beyond the queue and the reader's waker; a full mailbox gives the
//! message back. For why no wake-up is lost see [`crate::CoreWaker`]: the sender publishes, then
//! notifies; the reader takes the notification, then looks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::limits::MAILBOX_CAPACITY_MAX;
use crate::ring::{Ring, Watched};
use crate::wake::CoreWaker;

/// A mailbox of `capacity` messages (1 to 65,536; others are brought into these bounds) for the core behind
/// `reader`. Each end moves to its core.
#[must_use]
pub fn mailbox<T: Send>(
    capacity: usize,
    reader: &CoreWaker,
) -> (MailboxSender<T>, MailboxReceiver<T>) {
    let (producer, consumer) = RingBuffer::new(capacity.clamp(1, MAILBOX_CAPACITY_MAX));
    let reader = Reader {
        waker: reader.clone(),
    };
    (
        MailboxSender { producer, reader },
        MailboxReceiver { consumer },
    )
}

/// The sending end. Dropped, it closes the mailbox: what is in it can still be read.
pub struct MailboxSender<T> {
    producer: Producer<T>,
    /// Behind the queue's end, so that the reader is told when that is gone.
    reader: Reader,
}

impl<T: Send> MailboxSender<T> {
    /// Puts a message in and sees to it that the reader looks.
    ///
    /// # Errors
    /// The message, if the mailbox is full (or its reader is gone, which `is_abandoned` tells).
    pub fn try_send(&mut self, message: T) -> Result<(), T> {
        match self.producer.push(message) {
            Ok(()) => {
                self.reader.waker.wake();
                Ok(())
            }
            Err(PushError::Full(message)) => Err(message),
        }
    }

    /// Puts in as many messages as fit, in order, with one notification for all. The number sent.
    pub fn try_send_all(&mut self, messages: &mut VecDeque<T>) -> usize {
        let mut sent_count = 0;
        while let Some(message) = messages.pop_front() {
            if let Err(PushError::Full(message)) = self.producer.push(message) {
                messages.push_front(message);
                break;
            }
            sent_count += 1;
        }
        if sent_count > 0 {
            self.reader.waker.wake();
        }
        sent_count
    }

    /// How many messages fit now; the reader may make room at any time.
    #[must_use]
    pub fn free_count(&self) -> usize {
        self.producer.slots()
    }

    /// Whether the reader is gone: then nothing is ever read any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.producer.is_abandoned()
    }
}

/// The reader's core, told once more at the end.
struct Reader {
    waker: CoreWaker,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.waker.wake();
    }
}

/// The reading end on its way to its core.
pub struct MailboxReceiver<T> {
    consumer: Consumer<T>,
}

impl<T: Send + 'static> MailboxReceiver<T> {
    /// Settles on the core whose waker the mailbox was made with.
    #[must_use]
    pub fn attach(self, ring: &Ring) -> Mailbox<T> {
        let queue = Rc::new(Queue {
            state: RefCell::new(QueueState {
                consumer: self.consumer,
                reader: None,
            }),
        });
        let watched: Weak<Queue<T>> = Rc::downgrade(&queue);
        ring.inner.watch(watched);
        Mailbox { queue }
    }
}

/// The reading end on its core.
pub struct Mailbox<T> {
    queue: Rc<Queue<T>>,
}

impl<T: Send> Mailbox<T> {
    /// The next message, without waiting.
    #[must_use]
    pub fn try_receive(&self) -> Option<T> {
        self.queue.state.borrow_mut().consumer.pop().ok()
    }

    /// The next message; `None` when the mailbox is empty and its sender gone. One task reads at a time.
    pub fn receive(&self) -> MailboxFuture<'_, T> {
        MailboxFuture { mailbox: self }
    }

    /// How many messages wait.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.queue.state.borrow().consumer.slots()
    }
}

/// A message on its way; see [`Mailbox::receive`].
#[must_use = "a message comes with the future's outcome"]
pub struct MailboxFuture<'mailbox, T> {
    mailbox: &'mailbox Mailbox<T>,
}

impl<T: Send> Future for MailboxFuture<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.mailbox.queue.state.borrow_mut();
        if let Ok(message) = state.consumer.pop() {
            return Poll::Ready(Some(message));
        }
        if state.consumer.is_abandoned() {
            // The sender may have put something in just before it went.
            return Poll::Ready(state.consumer.pop().ok());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

struct Queue<T> {
    state: RefCell<QueueState<T>>,
}

struct QueueState<T> {
    consumer: Consumer<T>,
    reader: Option<Waker>,
}

impl<T> Watched for Queue<T> {
    fn look(&self) {
        let mut state = self.state.borrow_mut();
        let has_news = !state.consumer.is_empty() || state.consumer.is_abandoned();
        let reader = if has_news { state.reader.take() } else { None };
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
