//! The fixed header that opens every frame: 32 bytes, little-endian, laid out in `PROTOCOL.md` ("Header").
//! It never looks at the sections that follow. A header that parses has lengths within `limits.rs`, known
//! flags and zeroed reserved bytes, so a receiver can size its buffer and a core can route by it before a
//! single byte of the body is verified.

use corelith_index::PartitionId;

use crate::error::FrameError;
use crate::kind::{ANSWER_BIT, MessageKind};
use crate::limits::{PAYLOAD_LENGTH_BYTES_MAX, TABLE_LENGTH_BYTES_MAX};
use crate::namespace::NamespaceId;
use crate::status::Status;

/// Bytes of a header.
pub const HEADER_LENGTH_BYTES: u32 = 32;

/// The first two bytes of every frame, C0 4C: no text, no TLS record and no Aerospike message begins so.
pub const FRAME_MARK: u16 = 0x4CC0;

pub(crate) const HEADER_SIZE: usize = 32;

pub(crate) const OFFSET_MARK: usize = 0;
pub(crate) const OFFSET_KIND: usize = 2;
pub(crate) const OFFSET_FLAGS: usize = 3;
pub(crate) const OFFSET_NAMESPACE_OR_STATUS: usize = 4;
pub(crate) const OFFSET_PARTITION: usize = 6;
pub(crate) const OFFSET_REQUEST_ID: usize = 8;
pub(crate) const OFFSET_TABLE_LENGTH: usize = 16;
pub(crate) const OFFSET_PAYLOAD_LENGTH: usize = 20;
pub(crate) const OFFSET_TIME: usize = 24;
pub(crate) const OFFSET_RESERVED: usize = 28;

/// The partition field of a request that belongs to no partition. Answers carry zero there.
pub(crate) const PARTITION_NONE: u16 = 0xFFFF;

const _: () = assert!(OFFSET_RESERVED + 4 == HEADER_SIZE);

/// The number by which a client finds the answer to its request; the node only repeats it. A client may
/// choose any number that none of its requests in flight on the same connection bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// The id that a node uses where it cannot know the request's: an answer to an unreadable frame.
    pub const UNKNOWN: RequestId = RequestId(0);

    /// The request id of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        RequestId(number)
    }

    /// The number as it travels.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a request says of itself beside its message: everything that its header carries and its message
/// does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestEnvelope {
    /// Repeated in the answer.
    pub request_id: RequestId,
    /// The namespace that the request is about; needed by requests about records and scans.
    pub namespace: Option<NamespaceId>,
    /// How long the request may wait, in ms from the arrival of its header; past that it is dropped
    /// unexecuted and answered with [`Status::Timeout`]. Zero means no limit.
    pub deadline_ms: u32,
}

/// A verified header. Its accessors say what the 32 bytes said; none of them can fail later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    kind_number: u8,
    /// Namespace of a request, status of an answer.
    namespace_or_status: u16,
    /// Partition of a request, zero in an answer.
    partition: u16,
    request_id: RequestId,
    table_length_bytes: u32,
    payload_length_bytes: u32,
    /// Deadline of a request, retry-after of an answer.
    time_ms: u32,
}

impl FrameHeader {
    /// The header of a request whose sections are still empty.
    pub(crate) fn request(
        kind: MessageKind,
        envelope: &RequestEnvelope,
        partition: Option<PartitionId>,
    ) -> Self {
        FrameHeader {
            kind_number: kind.number(),
            namespace_or_status: envelope.namespace.map_or(0, NamespaceId::get),
            partition: partition.map_or(PARTITION_NONE, PartitionId::get),
            request_id: envelope.request_id,
            table_length_bytes: 0,
            payload_length_bytes: 0,
            time_ms: envelope.deadline_ms,
        }
    }

    /// The header of an answer whose sections are still empty. `request_kind_number` is the request's own,
    /// known or not.
    pub(crate) fn answer(
        request_kind_number: u8,
        request_id: RequestId,
        status: Status,
        retry_after_ms: u32,
    ) -> Self {
        FrameHeader {
            kind_number: request_kind_number | ANSWER_BIT,
            namespace_or_status: status.number(),
            partition: 0,
            request_id,
            table_length_bytes: 0,
            payload_length_bytes: 0,
            time_ms: retry_after_ms,
        }
    }

    /// Reads the header at the start of `bytes`. `Ok(None)` asks for more bytes: fewer than
    /// [`HEADER_LENGTH_BYTES`] are there and none of them is wrong yet.
    ///
    /// # Errors
    ///
    /// A [`FrameError`] means that the stream cannot be understood from here on: close the connection.
    pub fn parse(bytes: &[u8]) -> Result<Option<FrameHeader>, FrameError> {
        let Some(fixed) = bytes.first_chunk::<HEADER_SIZE>() else {
            // Two bytes tell a stranger apart; a short text would else be waited for for ever.
            return match bytes.first_chunk::<2>() {
                Some(mark) => check_mark(u16::from_le_bytes(*mark)).map(|()| None),
                None => Ok(None),
            };
        };
        check_mark(read_u16::<OFFSET_MARK>(fixed))?;
        let header = FrameHeader {
            kind_number: read_u8::<OFFSET_KIND>(fixed),
            namespace_or_status: read_u16::<OFFSET_NAMESPACE_OR_STATUS>(fixed),
            partition: read_u16::<OFFSET_PARTITION>(fixed),
            request_id: RequestId(read_u64::<OFFSET_REQUEST_ID>(fixed)),
            table_length_bytes: read_u32::<OFFSET_TABLE_LENGTH>(fixed),
            payload_length_bytes: read_u32::<OFFSET_PAYLOAD_LENGTH>(fixed),
            time_ms: read_u32::<OFFSET_TIME>(fixed),
        };
        let flags = read_u8::<OFFSET_FLAGS>(fixed);
        if flags != 0 {
            return Err(FrameError::Flags { found: flags });
        }
        let reserved = read_u32::<OFFSET_RESERVED>(fixed);
        if reserved != 0 {
            return Err(FrameError::Reserved { found: reserved });
        }
        header.check()?;
        Ok(Some(header))
    }

    /// Whether the frame is an answer; else it is a request.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.kind_number & ANSWER_BIT != 0
    }

    /// What the frame asks or answers; `None` for a kind that this version does not know.
    #[must_use]
    pub const fn kind(&self) -> Option<MessageKind> {
        MessageKind::from_number(self.kind_number & !ANSWER_BIT)
    }

    /// The number of the request's kind, known or not, without the bit that marks answers.
    #[must_use]
    pub const fn kind_number(&self) -> u8 {
        self.kind_number & !ANSWER_BIT
    }

    /// The id that joins request and answer.
    #[must_use]
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The namespace that a request names; `None` in answers and in requests about none.
    #[must_use]
    pub fn namespace(&self) -> Option<NamespaceId> {
        if self.is_answer() {
            None
        } else {
            NamespaceId::new(self.namespace_or_status)
        }
    }

    /// The partition by which a request is routed; `None` in answers and in requests about none.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionId> {
        if self.is_answer() {
            None
        } else {
            PartitionId::new(self.partition).ok()
        }
    }

    /// How long a request may wait, in ms from the arrival of its header; `None` without a limit.
    #[must_use]
    pub const fn deadline_ms(&self) -> Option<u32> {
        if self.is_answer() || self.time_ms == 0 {
            None
        } else {
            Some(self.time_ms)
        }
    }

    /// When a refused request is worth repeating, in ms from now; `None` where the node has no opinion.
    #[must_use]
    pub const fn retry_after_ms(&self) -> Option<u32> {
        if self.is_answer() && self.time_ms != 0 {
            Some(self.time_ms)
        } else {
            None
        }
    }

    /// The status number of an answer, known or not; zero in requests.
    #[must_use]
    pub const fn status_number(&self) -> u16 {
        if self.is_answer() {
            self.namespace_or_status
        } else {
            0
        }
    }

    /// Bytes of the table section, a multiple of 8, at most [`TABLE_LENGTH_BYTES_MAX`].
    #[must_use]
    pub const fn table_length_bytes(&self) -> u32 {
        self.table_length_bytes
    }

    /// Bytes of the payload section without its padding, at most [`PAYLOAD_LENGTH_BYTES_MAX`].
    #[must_use]
    pub const fn payload_length_bytes(&self) -> u32 {
        self.payload_length_bytes
    }

    /// Bytes between this header and the next: table, payload and padding.
    #[must_use]
    pub const fn body_length_bytes(&self) -> u32 {
        self.table_length_bytes + padded(self.payload_length_bytes)
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub const fn frame_length_bytes(&self) -> u32 {
        HEADER_LENGTH_BYTES + self.body_length_bytes()
    }

    /// The same header with the lengths of its sections. The encoder has checked both.
    pub(crate) fn with_lengths(self, table_length_bytes: u32, payload_length_bytes: u32) -> Self {
        FrameHeader {
            table_length_bytes,
            payload_length_bytes,
            ..self
        }
    }

    /// The header as it travels.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        write::<OFFSET_MARK, _>(&mut bytes, FRAME_MARK.to_le_bytes());
        write::<OFFSET_KIND, _>(&mut bytes, [self.kind_number]);
        write::<OFFSET_NAMESPACE_OR_STATUS, _>(&mut bytes, self.namespace_or_status.to_le_bytes());
        write::<OFFSET_PARTITION, _>(&mut bytes, self.partition.to_le_bytes());
        write::<OFFSET_REQUEST_ID, _>(&mut bytes, self.request_id.0.to_le_bytes());
        write::<OFFSET_TABLE_LENGTH, _>(&mut bytes, self.table_length_bytes.to_le_bytes());
        write::<OFFSET_PAYLOAD_LENGTH, _>(&mut bytes, self.payload_length_bytes.to_le_bytes());
        write::<OFFSET_TIME, _>(&mut bytes, self.time_ms.to_le_bytes());
        bytes
    }

    fn check(&self) -> Result<(), FrameError> {
        if self.kind_number() == 0 {
            return Err(FrameError::KindZero);
        }
        if self.table_length_bytes > TABLE_LENGTH_BYTES_MAX
            || !self.table_length_bytes.is_multiple_of(8)
        {
            return Err(FrameError::TableLength {
                found_bytes: self.table_length_bytes,
            });
        }
        if self.payload_length_bytes > PAYLOAD_LENGTH_BYTES_MAX {
            return Err(FrameError::PayloadLength {
                found_bytes: self.payload_length_bytes,
            });
        }
        if self.is_answer() {
            if self.namespace_or_status == 0 {
                return Err(FrameError::StatusZero);
            }
            if self.partition != 0 {
                return Err(FrameError::Partition {
                    found: self.partition,
                });
            }
        } else if self.partition != PARTITION_NONE && PartitionId::new(self.partition).is_err() {
            return Err(FrameError::Partition {
                found: self.partition,
            });
        }
        Ok(())
    }
}

/// `length` rounded up to a multiple of 8.
pub(crate) const fn padded(length: u32) -> u32 {
    length.next_multiple_of(8)
}

const fn check_mark(found: u16) -> Result<(), FrameError> {
    if found == FRAME_MARK {
        Ok(())
    } else {
        Err(FrameError::Mark { found })
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "the const assertion bounds the index"
)]
const fn read_u8<const AT: usize>(bytes: &[u8; HEADER_SIZE]) -> u8 {
    const { assert!(AT < HEADER_SIZE) };
    bytes[AT]
}

#[expect(
    clippy::indexing_slicing,
    reason = "the const assertion bounds the indices"
)]
const fn read_u16<const AT: usize>(bytes: &[u8; HEADER_SIZE]) -> u16 {
    const { assert!(AT + 2 <= HEADER_SIZE) };
    u16::from_le_bytes([bytes[AT], bytes[AT + 1]])
}

#[expect(
    clippy::indexing_slicing,
    reason = "the const assertion bounds the indices"
)]
const fn read_u32<const AT: usize>(bytes: &[u8; HEADER_SIZE]) -> u32 {
    const { assert!(AT + 4 <= HEADER_SIZE) };
    u32::from_le_bytes([bytes[AT], bytes[AT + 1], bytes[AT + 2], bytes[AT + 3]])
}

#[expect(
    clippy::indexing_slicing,
    reason = "the const assertion bounds the slice"
)]
fn read_u64<const AT: usize>(bytes: &[u8; HEADER_SIZE]) -> u64 {
    const { assert!(AT + 8 <= HEADER_SIZE) };
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[AT..AT + 8]);
    u64::from_le_bytes(word)
}

#[expect(
    clippy::indexing_slicing,
    reason = "the const assertion bounds the slice"
)]
fn write<const AT: usize, const N: usize>(bytes: &mut [u8; HEADER_SIZE], field: [u8; N]) {
    const { assert!(AT + N <= HEADER_SIZE) };
    bytes[AT..AT + N].copy_from_slice(&field);
}
