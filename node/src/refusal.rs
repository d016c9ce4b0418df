//! Refusals: what each error of the store says to a client. One place, so that a status means the
//! same whichever request met it.

use corelith_record::{EditError, StepError};
use corelith_store::{ReadError, RecordError, SetError, TruncateError, WriteError};
use corelith_wire::{Damage, Refusal, Status};

use crate::limits::RETRY_AFTER_MS;

/// Why the node rejects a write before the store does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rejection {
    /// Its time was up before its turn came.
    Late,
    /// No such record.
    NotFound,
    /// It must not be there.
    Exists,
    /// The record has another generation; zero stands for "no record".
    Generation {
        /// The one asked for.
        expected: u16,
        /// The record's.
        found: u16,
    },
    /// A time to live beyond the longest of the namespace.
    Lifetime {
        /// The longest, in seconds.
        max_s: u32,
        /// Asked for, in seconds; zero for "never".
        asked_s: u32,
    },
    /// Longer content than the namespace takes.
    TooLong {
        /// The longest, in bytes.
        max_bytes: u64,
        /// The write's, in bytes.
        found_bytes: u64,
    },
    /// The write leaves no bin.
    NoBins,
    /// The content cannot be made: too large, or too many bins.
    Content,
    /// A step of an operate cannot be carried out.
    Step(StepError),
    /// What it read has no room in its batch's answer.
    BatchFull,
}

/// What a client is told of a failed read.
pub(crate) fn of_read(error: &ReadError) -> Refusal<'static> {
    match error {
        ReadError::Damaged(_) | ReadError::Misdirected | ReadError::Device(_) => {
            Refusal::new(Status::Damaged)
        }
        ReadError::Buffer(_) | ReadError::Busy => busy(),
        ReadError::MayBeStale => Refusal::new(Status::MayBeStale),
        ReadError::Address => Refusal::new(Status::Internal),
    }
}

/// What the page of a scan says of a record that could not be read.
pub(crate) fn damage_of(error: &ReadError) -> Damage {
    match error {
        ReadError::Damaged(RecordError::ContentChecksum { .. } | RecordError::Length { .. }) => {
            Damage::Content
        }
        ReadError::Damaged(RecordError::HeaderChecksum { .. } | RecordError::Field { .. })
        | ReadError::Misdirected
        | ReadError::Address => Damage::Header,
        // The others pass, and end a page rather than stand on it.
        ReadError::Device(_) | ReadError::Buffer(_) | ReadError::Busy | ReadError::MayBeStale => {
            Damage::Device
        }
    }
}

/// What a client is told of a failed write.
pub(crate) fn of_write(error: &WriteError<Rejection>) -> Refusal<'static> {
    match error {
        WriteError::Rejected(rejection) => of_rejection(*rejection),
        WriteError::InDoubt
        | WriteError::NotWritten
        | WriteError::Fenced
        | WriteError::OutOfSpace
        | WriteError::IndexFull
        | WriteError::TooLarge { .. }
        | WriteError::Clock { .. }
        | WriteError::KeyBusy
        | WriteError::Read(_)
        | WriteError::Buffer(_)
        | WriteError::Closed => of_store(error),
    }
}

/// What a client is told when a set could not be named.
pub(crate) fn of_set(error: &WriteError<SetError>) -> Refusal<'static> {
    match error {
        WriteError::Rejected(SetError::Name { .. }) => Refusal::new(Status::InvalidArgument)
            .explained("a set's name has 1 to 63 bytes and no zero byte"),
        WriteError::Rejected(SetError::Full) => Refusal::new(Status::InvalidArgument)
            .explained("the namespace holds as many sets as it can: 4095"),
        // The definition may or may not be there; the record itself was not written.
        WriteError::InDoubt => busy(),
        WriteError::NotWritten
        | WriteError::Fenced
        | WriteError::OutOfSpace
        | WriteError::IndexFull
        | WriteError::TooLarge { .. }
        | WriteError::Clock { .. }
        | WriteError::KeyBusy
        | WriteError::Read(_)
        | WriteError::Buffer(_)
        | WriteError::Closed => of_store(error),
    }
}

/// What a client is told when a shard was not truncated.
pub(crate) fn of_truncation(error: &WriteError<TruncateError>) -> Refusal<'static> {
    match error {
        WriteError::Rejected(TruncateError::NameLost { .. }) => Refusal::new(Status::Damaged)
            .explained("the name of a set cannot be read back, so its records may belong to any set: only the whole namespace can be truncated"),
        WriteError::InDoubt
        | WriteError::NotWritten
        | WriteError::Fenced
        | WriteError::OutOfSpace
        | WriteError::IndexFull
        | WriteError::TooLarge { .. }
        | WriteError::Clock { .. }
        | WriteError::KeyBusy
        | WriteError::Read(_)
        | WriteError::Buffer(_)
        | WriteError::Closed => of_store(error),
    }
}

/// "Busy, try again."
pub(crate) const fn busy() -> Refusal<'static> {
    Refusal::new(Status::Busy).retry_after(RETRY_AFTER_MS)
}

/// "There is no room for this row's answer: ask for it by itself."
pub(crate) const fn batch_full() -> Refusal<'static> {
    Refusal::new(Status::BatchFull)
}

fn of_rejection(rejection: Rejection) -> Refusal<'static> {
    match rejection {
        Rejection::Late => Refusal::new(Status::Timeout),
        Rejection::BatchFull => batch_full(),
        Rejection::NotFound => Refusal::new(Status::NotFound),
        Rejection::Exists => Refusal::new(Status::Exists),
        Rejection::Generation { expected, found } => {
            Refusal::new(Status::GenerationMismatch).disagreement(expected.into(), found.into())
        }
        Rejection::Lifetime { max_s, asked_s } => Refusal::new(Status::InvalidArgument)
            .disagreement(max_s.into(), asked_s.into())
            .explained(
                "the namespace has a longest time to live (ttl_max, in seconds: the value expected): \
                 ask for no more, and not for \"never\" (the value found is 0)",
            ),
        Rejection::TooLong {
            max_bytes,
            found_bytes,
        } => Refusal::new(Status::TooLarge)
            .disagreement(max_bytes, found_bytes)
            .explained("the namespace takes shorter records only (record_size_max)"),
        Rejection::NoBins => Refusal::new(Status::InvalidArgument)
            .explained("the write leaves the record without a bin: delete it instead"),
        Rejection::Content => Refusal::new(Status::TooLarge),
        Rejection::Step(error) => Refusal::new(status_of_step(&error)),
    }
}

/// What a step that cannot be carried out is answered with.
pub(crate) const fn status_of_step(error: &StepError) -> Status {
    match error.error {
        EditError::WrongKind { .. } => Status::WrongKind,
        EditError::Content(_) => Status::TooLarge,
    }
}

/// What all writes can answer. Rejections are the caller's.
fn of_store<E>(error: &WriteError<E>) -> Refusal<'static> {
    match error {
        WriteError::Rejected(_) => Refusal::new(Status::Internal),
        WriteError::NotWritten => {
            busy().explained("the device failed before the record was written to it")
        }
        WriteError::InDoubt => Refusal::new(Status::InDoubt).because_of(Status::Fenced),
        WriteError::Fenced => Refusal::new(Status::Fenced),
        WriteError::OutOfSpace => Refusal::new(Status::OutOfSpace),
        WriteError::IndexFull => Refusal::new(Status::OutOfMemory),
        WriteError::TooLarge {
            found_bytes,
            limit_bytes,
        } => Refusal::new(Status::TooLarge).disagreement(*limit_bytes, *found_bytes),
        WriteError::Clock { .. } => Refusal::new(Status::ReadOnly).explained(
            "the wall clock of the node has stepped too far ahead (clock_jump_max), so no write is taken by it: set the \
             clock right, or accept it with `corelith config set node.clock_jump_max none`",
        ),
        WriteError::KeyBusy => Refusal::new(Status::KeyBusy).retry_after(RETRY_AFTER_MS),
        WriteError::Read(error) => of_read(error),
        WriteError::Buffer(_) => busy(),
        WriteError::Closed => Refusal::new(Status::Stopping),
    }
}
