//! What a key-value store must offer to be simulated. The store itself is behind this face: the real one in
//! `shard_subject`, small wrong ones in the tests.

use std::fmt;
use std::future::Future;

use corelith_io::{BufferPool, Clock, Device};

/// A key, by its number in the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u32);

/// The identity of one value that a client writes: unique in a run, so that a read tells which write it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueId(pub u64);

impl ValueId {
    /// The value with this number, which expires at `expiry`, or never if that is 0.
    pub fn new(number: u32, expiry: u32) -> Self {
        Self(u64::from(expiry) << 32 | u64::from(number))
    }

    /// When it expires, on the scale of [`Subject::now_seconds`]; `None` for never.
    pub fn expiry(self) -> Option<u32> {
        u32::try_from(self.0 >> 32)
            .ok()
            .filter(|expiry| *expiry > 0)
    }
}

/// What one life of a process has: fresh handles on the machine's drives, memory, and the clock.
#[derive(Clone)]
pub struct Process {
    /// The drives in the order of their slots.
    pub devices: Vec<Device>,
    /// The core's memory.
    pub pool: BufferPool,
    /// The machine's clock.
    pub clock: Clock,
    /// Whether an operator has accepted that the store may have lost something.
    pub accepts_loss: bool,
    /// Whether it is to read everything it holds in the background.
    pub scrubs: bool,
}

/// What a store says of a key since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It knows what the key holds, or that it cannot be read.
    Sure,
    /// Something was lost, perhaps of this key: it is not answered.
    MayBeStale,
    /// Something was lost, perhaps of this key, and it is answered all the same because an operator has
    /// accepted that.
    LossAccepted,
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// The newest value.
    Get,
    /// Whether there is a record, and its generation.
    Look,
    /// A new value, whatever was there.
    Put(ValueId),
    /// A new value if there is none.
    Create(ValueId),
    /// A new value if there is one of this generation.
    PutIf {
        /// The generation that is expected.
        generation: u16,
        /// The new value.
        value: ValueId,
    },
    /// No value any more.
    Delete,
    /// No value of any key of a log, or of a set in it, any more: see [`Subject::truncate`].
    Truncate,
}

/// A record, as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Which write it is.
    pub value: ValueId,
    /// Count of writes since the key was created.
    pub generation: u16,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// To a get.
    Found(Option<Stored>),
    /// To a look: the generation.
    Seen(Option<u16>),
    /// To a put: done, durable, and the generation that it has.
    Written(u16),
    /// To a delete: done, durable, and whether there was a record.
    Deleted(bool),
    /// To a truncation: done and durable.
    Truncated,
    /// To a conditional put: the condition was not met, nothing was done.
    Refused,
    /// To a write: it failed, nothing was done, nothing ever will be.
    NotDone(String),
    /// To a write: it may have been done, or not.
    InDoubt,
    /// To a read: an error. Nothing is known.
    Unreadable(String),
    /// To a read: bytes that no client wrote.
    Mangled(String),
}

/// What checkpoints have come to in one life of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointFigures {
    /// Logs that it started from pages and what came after.
    pub starts: u64,
    /// Logs that had pages which could not be used.
    pub unusable: u64,
    /// Pages that were damaged and would have been used.
    pub pages_damaged: u64,
    /// Rounds that went through everything.
    pub rounds: u64,
    /// Segments that the log took back.
    pub given_back: u64,
}

impl CheckpointFigures {
    /// Adds what another life, or another log, has come to.
    pub fn add(&mut self, other: &Self) {
        self.starts += other.starts;
        self.unusable += other.unusable;
        self.pages_damaged += other.pages_damaged;
        self.rounds += other.rounds;
        self.given_back += other.given_back;
    }
}

/// One change, as a follower of a log is given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedChange {
    /// Where it stands: its batch's position in the log, and its number there.
    pub place: (u64, u32),
    /// Identity of the write.
    pub version: u64,
    /// What it does.
    pub meaning: FeedMeaning,
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedMeaning {
    /// The key holds this, and belongs to this set, 0 for none.
    Put {
        /// The key.
        key: Key,
        /// What it holds.
        stored: Stored,
        /// The set, by the log's own number.
        set: u16,
    },
    /// The key holds nothing.
    Delete(Key),
    /// No key of this set, or of the log if that is 0, holds anything.
    Truncate(u16),
    /// A set has a number.
    DefineSet,
    /// Bytes that no client wrote.
    Mangled,
}

/// What a follower of a log is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// A change.
    Change(FeedChange),
    /// What stands before this position is not there any more: it goes on from there.
    Reclaimed {
        /// The oldest position that is there.
        oldest: u64,
    },
    /// Something up to this position cannot be read: it goes on behind.
    Damaged {
        /// The last position concerned.
        last: u64,
    },
    /// All that is durable has been given; this is where it goes on.
    End {
        /// The next position.
        next: u64,
    },
}

/// How far a log is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowTo {
    /// To the last change that is durable by then.
    Watermark,
    /// For ever.
    Ever,
}

/// A store in one life of its process. A clone is another handle on the same store.
pub trait Subject: Clone + 'static {
    /// Makes the drives ready for a first start.
    fn format(process: Process) -> impl Future<Output = Result<(), String>>;

    /// Starts the store on what the drives hold.
    fn open(process: Process) -> impl Future<Output = Result<Self, String>>;

    /// What must run beside the operations, until [`Subject::close`].
    fn background(&self) -> impl Future<Output = ()> + 'static;

    /// Does one operation on one key. A value is encoded by [`crate::value::encode`].
    fn apply(&self, key: Key, operation: Operation) -> impl Future<Output = Answer>;

    /// [`Subject::apply`] of a write that may be answered ahead of the device.
    fn apply_buffered(&self, key: Key, operation: Operation) -> impl Future<Output = Answer> {
        self.apply(key, operation)
    }

    /// Has what was answered ahead of the device leave for it.
    fn flush(&self) {}

    /// Whether everything that was answered of a log is durable, as far as the store knows.
    fn is_settled(&self, _log: u64) -> bool {
        false
    }

    /// Truncates the keys of one of its logs: those of a set, or all of them. Only asked for keys of
    /// [`Key::SETS_START`] and above.
    fn truncate(&self, _log: u64, _set: Option<u32>) -> impl Future<Output = Answer> {
        std::future::ready(Answer::NotDone("no truncation".to_owned()))
    }

    /// Which of its logs holds a key. What it makes durable in one log says nothing of another.
    fn log_of(&self, _: Key) -> u64 {
        0
    }

    /// What its checkpoints have come to since its start.
    fn checkpoints(&self) -> CheckpointFigures {
        CheckpointFigures::default()
    }

    /// What it says of a key since its start.
    fn trust(&self, _: Key) -> Trust {
        Trust::Sure
    }

    /// All keys that have a record, in any order, or `None` if that cannot be told just now. A record of
    /// no known key is an error.
    fn keys(&self) -> impl Future<Output = Result<Option<Vec<Key>>, String>>;

    /// What its log takes the time to be, in seconds on the scale of expiries.
    fn now_seconds(&self, _log: u64) -> u32 {
        0
    }

    /// Some time has passed.
    fn tick(&self) {}

    /// How many expired records it has removed, in this life.
    fn expired_records(&self) -> u64 {
        0
    }

    /// How many segments it has emptied by moving what lived in them, in this life.
    fn segments_reclaimed(&self) -> u64 {
        0
    }

    /// Gives `sink` what a follower of a log is told from a position on. Ends early where the log cannot be followed now.
    fn follow(
        &self,
        _log: u64,
        (_from, _to): (u64, FollowTo),
        _sink: impl FnMut(FeedEvent) + 'static,
    ) -> impl Future<Output = ()> + 'static {
        std::future::ready(())
    }

    /// The oldest position that a log can be followed from; `None` if it cannot be.
    fn oldest(&self, _log: u64) -> Option<u64> {
        None
    }

    /// Its logs.
    fn logs(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Lets [`Subject::background`] end when everything accepted is done.
    fn close(&self);
}

impl Key {
    /// From here on keys come in pairs: the identities of 2n and 2n + 1 agree in all that an index may
    /// keep of them.
    pub const TWINS_START: u32 = 1000;

    /// From here on the same begins again with keys that belong to sets, and are truncated.
    pub const SETS_START: u32 = 2000;

    /// Whether it is one of a pair.
    pub fn is_twin(self) -> bool {
        self.0 % Self::SETS_START >= Self::TWINS_START
    }

    /// Whether it is truncated now and then.
    pub fn is_truncated(self) -> bool {
        self.0 >= Self::SETS_START
    }

    /// Which set it belongs to; `None` if it does to none. Twins belong to different ones.
    pub fn set(self) -> Option<u32> {
        let number = self.0 % 3;
        (self.is_truncated() && number > 0).then_some(number)
    }
}

impl Operation {
    /// Whether it can change the record.
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::Look)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key {}", self.0)
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expiry() {
            Some(expiry) => write!(
                formatter,
                "v{} until {expiry}",
                self.0 & u64::from(u32::MAX)
            ),
            None => write!(formatter, "v{}", self.0),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => write!(formatter, "get"),
            Self::Look => write!(formatter, "look"),
            Self::Put(value) => write!(formatter, "put {value}"),
            Self::Create(value) => write!(formatter, "create {value}"),
            Self::PutIf { generation, value } => write!(formatter, "put {value} if g{generation}"),
            Self::Delete => write!(formatter, "delete"),
            Self::Truncate => write!(formatter, "truncate"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(None) => write!(formatter, "nothing there"),
            Self::Found(Some(stored)) => write!(formatter, "{stored}"),
            Self::Seen(None) => write!(formatter, "no generation"),
            Self::Seen(Some(generation)) => write!(formatter, "generation {generation}"),
            Self::Written(generation) => write!(formatter, "written as g{generation}"),
            Self::Deleted(true) => write!(formatter, "deleted"),
            Self::Deleted(false) => write!(formatter, "nothing to delete"),
            Self::Truncated => write!(formatter, "truncated"),
            Self::Refused => write!(formatter, "condition not met"),
            Self::NotDone(reason) => write!(formatter, "not done: {reason}"),
            Self::InDoubt => write!(formatter, "in doubt"),
            Self::Unreadable(reason) => write!(formatter, "unreadable: {reason}"),
            Self::Mangled(reason) => write!(formatter, "MANGLED: {reason}"),
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} g{}", self.value, self.generation)
    }
}
