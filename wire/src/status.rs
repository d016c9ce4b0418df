//! How a request ended: the number in an answer's header. Zero is no status. Each variant says what
//! happened and what the caller may do; `PROTOCOL.md` ("Statuses") repeats the list and a test compares.

/// The outcome of one request. A number that this version does not know reads as [`Status::Internal`]:
/// nothing is known of a read's result, and a write is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done; a write is as durable as its namespace promises.
    Ok,
    /// No such record, or it has expired. Nothing was changed.
    NotFound,
    /// The record exists and the put was create-only. Nothing was changed.
    Exists,
    /// The record's generation is not the expected one. Nothing was changed; read it and decide again.
    GenerationMismatch,
    /// The record or frame is larger than the node takes. Nothing was changed; make it smaller.
    TooLarge,
    /// The volume is full for new data. Nothing was changed; deletes still work, and so may a later try.
    OutOfSpace,
    /// Memory for the index is used up: new keys are refused, overwrites and deletes work.
    OutOfMemory,
    /// A queue of the node was full. Nothing was changed; try again after the answer's pause.
    Busy,
    /// Too many operations wait for this one key. Nothing was changed; slow down on it.
    KeyBusy,
    /// The deadline passed before the request was begun. Nothing was changed.
    Timeout,
    /// A write that may or may not have happened, for the refusal's cause. Read before writing again.
    InDoubt,
    /// The record's bytes on the device fail their checks. A put or delete of the key repairs it.
    Damaged,
    /// The partition lost data that nothing vouches for; an operator must accept that first.
    MayBeStale,
    /// No namespace of this number on this node. Take the names from a new hello.
    UnknownNamespace,
    /// This node does not own the partition. Ask for the map again.
    NotOwner,
    /// The node does not know this kind of message or a value in it. Do not repeat.
    Unsupported,
    /// The body is not what the header promises. A fault of the client.
    Malformed,
    /// A field has a value that its rule forbids. A fault of the caller.
    InvalidArgument,
    /// The node met a fault of its own. A write is in doubt.
    Internal,
    /// The device or partition takes no writes after a failed flush. Nothing was changed; an operator
    /// must look.
    Fenced,
    /// The namespace, or this connection by its features, takes no writes. Nothing was changed.
    ReadOnly,
    /// The node is stopping. Nothing was changed; connect again later.
    Stopping,
    /// The node is still loading. Nothing was changed; try again after the answer's pause.
    NotReady,
    /// Version or features cannot be agreed; the connection closes.
    Incompatible,
    /// The first frame was not a hello; the connection closes.
    HelloExpected,
    /// A step does not go together with the kind of value that its bin has. Nothing was changed.
    WrongKind,
    /// The answer of a batch has no room for this row's. Nothing was changed; ask for the row again.
    BatchFull,
}

impl Status {
    /// Every status, in the order of their numbers.
    pub const ALL: [Status; 27] = [
        Status::Ok,
        Status::NotFound,
        Status::Exists,
        Status::GenerationMismatch,
        Status::TooLarge,
        Status::OutOfSpace,
        Status::OutOfMemory,
        Status::Busy,
        Status::KeyBusy,
        Status::Timeout,
        Status::InDoubt,
        Status::Damaged,
        Status::MayBeStale,
        Status::UnknownNamespace,
        Status::NotOwner,
        Status::Unsupported,
        Status::Malformed,
        Status::InvalidArgument,
        Status::Internal,
        Status::Fenced,
        Status::ReadOnly,
        Status::Stopping,
        Status::NotReady,
        Status::Incompatible,
        Status::HelloExpected,
        Status::WrongKind,
        Status::BatchFull,
    ];

    /// The number as it travels.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Status::Ok => 1,
            Status::NotFound => 2,
            Status::Exists => 3,
            Status::GenerationMismatch => 4,
            Status::TooLarge => 5,
            Status::OutOfSpace => 6,
            Status::OutOfMemory => 7,
            Status::Busy => 8,
            Status::KeyBusy => 9,
            Status::Timeout => 10,
            Status::InDoubt => 11,
            Status::Damaged => 12,
            Status::MayBeStale => 13,
            Status::UnknownNamespace => 14,
            Status::NotOwner => 15,
            Status::Unsupported => 16,
            Status::Malformed => 17,
            Status::InvalidArgument => 18,
            Status::Internal => 19,
            Status::Fenced => 20,
            Status::ReadOnly => 21,
            Status::Stopping => 22,
            Status::NotReady => 23,
            Status::Incompatible => 24,
            Status::HelloExpected => 25,
            Status::WrongKind => 26,
            Status::BatchFull => 27,
        }
    }

    /// The status of this number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Status::ALL.get(index).copied()
    }

    /// Whether a write answered so certainly changed nothing. The opposite is not "it happened" but "it
    /// may have".
    #[must_use]
    pub const fn leaves_unchanged(self) -> bool {
        !matches!(self, Status::Ok | Status::InDoubt | Status::Internal)
    }

    /// Whether the same request may succeed later without anybody changing it.
    #[must_use]
    pub const fn is_worth_retrying(self) -> bool {
        matches!(
            self,
            Status::Busy
                | Status::KeyBusy
                | Status::Timeout
                | Status::OutOfSpace
                | Status::OutOfMemory
                | Status::Stopping
                | Status::NotReady
                | Status::NotOwner
        )
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Status::Ok => "done",
            Status::NotFound => "no such record",
            Status::Exists => "the record exists",
            Status::GenerationMismatch => "the record has another generation",
            Status::TooLarge => "too large",
            Status::OutOfSpace => "the volume is full",
            Status::OutOfMemory => "the node's memory for new keys is used up",
            Status::Busy => "the node is busy",
            Status::KeyBusy => "too many operations on this key",
            Status::Timeout => "the deadline passed before the node began",
            Status::InDoubt => "the write may or may not have happened",
            Status::Damaged => "the record is damaged on the device",
            Status::MayBeStale => "the partition may have lost writes",
            Status::UnknownNamespace => "unknown namespace",
            Status::NotOwner => "the node does not own the partition",
            Status::Unsupported => "unsupported",
            Status::Malformed => "malformed message",
            Status::InvalidArgument => "invalid argument",
            Status::Internal => "internal error of the node",
            Status::Fenced => "fenced: no writes are taken",
            Status::ReadOnly => "read-only",
            Status::Stopping => "the node is stopping",
            Status::NotReady => "the node is still loading",
            Status::Incompatible => "protocol versions or features do not agree",
            Status::HelloExpected => "the first frame must be a hello",
            Status::WrongKind => "the step does not fit the kind of the bin's value",
            Status::BatchFull => "the batch's answer has no room for this row: ask for it again",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_zero_is_none() {
        assert_eq!(Status::from_number(0), None);
        for status in Status::ALL {
            assert_eq!(Status::from_number(status.number()), Some(status));
        }
        assert_eq!(Status::from_number(28), None);
    }
}
