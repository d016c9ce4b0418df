//! Hops: a request that arrived at the wrong core travels to its owner and back in one envelope.
//!
//! Each ordered pair of cores has two mailboxes: requests one way, the same envelopes with their
//! answers the other. A core has at most as many envelopes out as either holds, so a reply always
//! finds its place, and two full cores never wait for each other. A client that meets the bound is
//! told "busy".

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;

use corelith_io::MailboxSender;

use crate::connection::{ConnectionKey, WriteMark};
use crate::core::{GatherBusy, Truncated, Truncation};
use crate::limits::HOPS_PER_PAIR_MAX;
use crate::metrics::CoreSnapshot;
use crate::operation::BatchPart;

/// A request on its way to its owner, or its answer on the way back.
pub(crate) struct Hop {
    /// Whose request it is, on the core where it arrived.
    pub(crate) connection: ConnectionKey,
    /// When it arrived, by the monotonic clock, in ns.
    pub(crate) arrived_ns: u64,
    /// When its owner began with it, and when the owner had the outcome; as `arrived_ns` until then.
    pub(crate) started_ns: u64,
    /// See `started_ns`.
    pub(crate) ended_ns: u64,
    /// Its owner.
    pub(crate) owner: u16,
    /// If it is a write: how its connection knows it.
    pub(crate) write: Option<WriteMark>,
    /// The frame as it came.
    pub(crate) frame: Vec<u8>,
    /// The answer's frame; empty on the way there.
    pub(crate) answer: Vec<u8>,
}

/// What a core sends another.
pub(crate) enum ToCore {
    /// Work.
    Request(Box<Hop>),
    /// The rows of a batch that the other core owns.
    Part(Box<BatchPart>),
    /// Say what you have counted, for the gathering of this number.
    Count(u64),
    /// Truncate your shards, for the gathering of this number.
    Truncate(u64, Truncation),
    /// A connection to serve.
    Connection(OwnedFd),
}

/// What comes back from another core.
pub(crate) enum FromCore {
    /// The envelope of a request, with its answer.
    Answer(Box<Hop>),
    /// Those rows, with their answers.
    Part(Box<BatchPart>),
    /// What it has counted.
    Count(Box<Count>),
    /// How its truncation went, for the gathering of this number.
    Truncated(u64, Box<Truncated>),
}

/// What a core has counted, for the one that asked.
pub(crate) struct Count {
    /// The gathering that it is for.
    pub(crate) number: u64,
    pub(crate) snapshot: CoreSnapshot,
}

/// One other core, as this one sees it.
pub(crate) struct Peer {
    requests: RefCell<MailboxSender<ToCore>>,
    answers: RefCell<MailboxSender<FromCore>>,
    out: Cell<usize>,
}

impl Peer {
    pub(crate) fn new(requests: MailboxSender<ToCore>, answers: MailboxSender<FromCore>) -> Self {
        Self {
            requests: RefCell::new(requests),
            answers: RefCell::new(answers),
            out: Cell::new(0),
        }
    }

    /// Sends a request to its owner; gives it back if too many are out already.
    pub(crate) fn send(&self, hop: Box<Hop>) -> Result<(), Box<Hop>> {
        if self.out.get() >= HOPS_PER_PAIR_MAX {
            return Err(hop);
        }
        match self.requests.borrow_mut().try_send(ToCore::Request(hop)) {
            Ok(()) => {
                self.out.set(self.out.get() + 1);
                Ok(())
            }
            Err(ToCore::Request(hop)) => Err(hop),
            Err(
                ToCore::Part(_) | ToCore::Connection(_) | ToCore::Count(_) | ToCore::Truncate(..),
            ) => Ok(()),
        }
    }

    /// Sends rows to their owner; gives them back if too much is out already.
    pub(crate) fn send_part(&self, part: Box<BatchPart>) -> Result<(), Box<BatchPart>> {
        if !self.has_room() {
            return Err(part);
        }
        match self.requests.borrow_mut().try_send(ToCore::Part(part)) {
            Ok(()) => {
                self.out.set(self.out.get() + 1);
                Ok(())
            }
            Err(ToCore::Part(part)) => Err(part),
            Err(
                ToCore::Request(_)
                | ToCore::Connection(_)
                | ToCore::Count(_)
                | ToCore::Truncate(..),
            ) => Ok(()),
        }
    }

    /// Gives a new connection to the core; gives it back if its mailbox is full.
    pub(crate) fn give(&self, socket: OwnedFd) -> Result<(), OwnedFd> {
        match self
            .requests
            .borrow_mut()
            .try_send(ToCore::Connection(socket))
        {
            Ok(())
            | Err(ToCore::Request(_) | ToCore::Part(_) | ToCore::Count(_) | ToCore::Truncate(..)) => {
                Ok(())
            }
            Err(ToCore::Connection(socket)) => Err(socket),
        }
    }

    /// Asks the core what it has counted, if not too much is out already.
    pub(crate) fn ask(&self, number: u64) -> Result<(), GatherBusy> {
        self.put_question(ToCore::Count(number))
    }

    /// Asks the core to truncate its shards, if not too much is out already.
    pub(crate) fn ask_to_truncate(
        &self,
        number: u64,
        truncation: Truncation,
    ) -> Result<(), GatherBusy> {
        self.put_question(ToCore::Truncate(number, truncation))
    }

    /// True if the core can be asked something more.
    pub(crate) fn has_room(&self) -> bool {
        self.out.get() < HOPS_PER_PAIR_MAX
    }

    fn put_question(&self, question: ToCore) -> Result<(), GatherBusy> {
        if !self.has_room() {
            return Err(GatherBusy);
        }
        let sent = self.requests.borrow_mut().try_send(question);
        sent.map_err(|_| GatherBusy)?;
        self.out.set(self.out.get() + 1);
        Ok(())
    }

    /// Tells the core that asked how the truncation went on this one.
    pub(crate) fn tell_truncated(&self, number: u64, outcome: Truncated) {
        self.send_back(FromCore::Truncated(number, Box::new(outcome)));
    }

    /// Tells the core that asked what this one has counted.
    pub(crate) fn tell(&self, count: Count) {
        self.send_back(FromCore::Count(Box::new(count)));
    }

    /// Sends rows back, with their answers.
    pub(crate) fn return_part(&self, part: Box<BatchPart>) {
        self.send_back(FromCore::Part(part));
    }

    /// Sends an envelope back to the core that it came from.
    pub(crate) fn answer(&self, hop: Box<Hop>) {
        self.send_back(FromCore::Answer(hop));
    }

    fn send_back(&self, message: FromCore) {
        let sent = self.answers.borrow_mut().try_send(message);
        assert!(
            sent.is_ok(),
            "a reply has its place reserved by the request's credit"
        );
    }

    /// Envelopes and questions that are out.
    pub(crate) const fn out(&self) -> usize {
        self.out.get()
    }

    /// An envelope or a count came back.
    pub(crate) fn returned(&self) {
        self.out.set(self.out.get().saturating_sub(1));
    }
}
