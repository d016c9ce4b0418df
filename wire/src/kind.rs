//! What a frame asks or answers: the number in its header. Zero is no kind, so a zeroed header is never
//! valid; an answer bears its request's number with the highest bit set.

/// Set in the kind of every answer.
pub(crate) const ANSWER_BIT: u8 = 0x80;

/// The kind of answer that belongs to no request: the last word on a connection whose bytes could not be
/// read as a frame. No request has it.
pub(crate) const KIND_CONNECTION: u8 = 0x7F;

/// A kind of message, the same for a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// First on every connection: version, features, limits, namespaces.
    Hello,
    /// Which core owns which shard, and the port of each core.
    Topology,
    /// Nothing but a sign of life, with the number of the current map.
    Ping,
    /// The node's counters as text.
    Statistics,
    /// One record: all bins, named bins or metadata alone.
    Get,
    /// Writes one record.
    Put,
    /// Removes one record.
    Delete,
    /// Writes one record anew with another time to live.
    Touch,
    /// One page of the records of some partitions.
    Scan,
    /// Removes all records of a set or of a namespace.
    Truncate,
    /// Reads and changes bins of one record, as one.
    Operate,
    /// Many requests about records at once.
    Batch,
}

impl MessageKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [MessageKind; 12] = [
        MessageKind::Hello,
        MessageKind::Topology,
        MessageKind::Ping,
        MessageKind::Statistics,
        MessageKind::Get,
        MessageKind::Put,
        MessageKind::Delete,
        MessageKind::Touch,
        MessageKind::Scan,
        MessageKind::Truncate,
        MessageKind::Operate,
        MessageKind::Batch,
    ];

    /// The number as it travels in a request.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            MessageKind::Hello => 1,
            MessageKind::Topology => 2,
            MessageKind::Ping => 3,
            MessageKind::Statistics => 4,
            MessageKind::Get => 16,
            MessageKind::Put => 17,
            MessageKind::Delete => 18,
            MessageKind::Touch => 19,
            MessageKind::Scan => 20,
            MessageKind::Truncate => 21,
            MessageKind::Operate => 24,
            MessageKind::Batch => 25,
        }
    }

    /// The kind of this number, without the bit that marks answers.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(MessageKind::Hello),
            2 => Some(MessageKind::Topology),
            3 => Some(MessageKind::Ping),
            4 => Some(MessageKind::Statistics),
            16 => Some(MessageKind::Get),
            17 => Some(MessageKind::Put),
            18 => Some(MessageKind::Delete),
            19 => Some(MessageKind::Touch),
            20 => Some(MessageKind::Scan),
            21 => Some(MessageKind::Truncate),
            24 => Some(MessageKind::Operate),
            25 => Some(MessageKind::Batch),
            _ => None,
        }
    }

    /// Whether requests of this kind may change records. Whether one does is for
    /// [`Request::is_write`](crate::Request::is_write) to say.
    #[must_use]
    pub const fn is_write(self) -> bool {
        match self {
            MessageKind::Put
            | MessageKind::Delete
            | MessageKind::Touch
            | MessageKind::Truncate
            | MessageKind::Operate
            | MessageKind::Batch => true,
            MessageKind::Hello
            | MessageKind::Topology
            | MessageKind::Ping
            | MessageKind::Statistics
            | MessageKind::Get
            | MessageKind::Scan => false,
        }
    }

    /// Whether such a request can be a row of a batch: it is about one record.
    #[must_use]
    pub const fn fits_batch(self) -> bool {
        match self {
            MessageKind::Get
            | MessageKind::Put
            | MessageKind::Delete
            | MessageKind::Touch
            | MessageKind::Operate => true,
            MessageKind::Hello
            | MessageKind::Topology
            | MessageKind::Ping
            | MessageKind::Statistics
            | MessageKind::Scan
            | MessageKind::Truncate
            | MessageKind::Batch => false,
        }
    }

    /// Whether the request is about a namespace, which its header must then name.
    #[must_use]
    pub const fn needs_namespace(self) -> bool {
        match self {
            MessageKind::Get
            | MessageKind::Put
            | MessageKind::Delete
            | MessageKind::Touch
            | MessageKind::Scan
            | MessageKind::Truncate
            | MessageKind::Operate
            | MessageKind::Batch => true,
            MessageKind::Hello
            | MessageKind::Topology
            | MessageKind::Ping
            | MessageKind::Statistics => false,
        }
    }
}
