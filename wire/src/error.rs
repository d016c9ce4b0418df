//! What can be wrong with a frame, in three closed enums: with the header (the stream is lost), with the
//! body (the request is refused, the connection lives), with what a caller asks to be encoded. None of
//! them carries text of a peer.

use flatbuffers::InvalidFlatbuffer;
use thiserror::Error;

use crate::kind::MessageKind;
use crate::limits::{PAYLOAD_LENGTH_BYTES_MAX, TABLE_LENGTH_BYTES_MAX};
use crate::status::Status;

/// A header that cannot be believed. Where the next frame begins is unknown, so the only thing left is to
/// close the connection, after an answer with [`Status::Malformed`] if that can still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The peer does not speak this protocol, or the stream has slipped.
    #[error("a frame begins with {found:#06x}, not with the mark of the protocol")]
    Mark {
        /// The first two bytes, read little-endian.
        found: u16,
    },
    /// Zeroed memory.
    #[error("message kind zero")]
    KindZero,
    /// Flags that no agreed feature allows.
    #[error("unknown flags {found:#04x}")]
    Flags {
        /// The flag byte.
        found: u8,
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes hold {found:#010x}")]
    Reserved {
        /// The four reserved bytes.
        found: u32,
    },
    /// A table section that is too long or no multiple of 8.
    #[error(
        "table section of {found_bytes} bytes; at most {TABLE_LENGTH_BYTES_MAX}, a multiple of 8"
    )]
    TableLength {
        /// The length that the header gives.
        found_bytes: u32,
    },
    /// A payload section that is too long.
    #[error("payload of {found_bytes} bytes; at most {PAYLOAD_LENGTH_BYTES_MAX}")]
    PayloadLength {
        /// The length that the header gives.
        found_bytes: u32,
    },
    /// A partition that does not exist, or one in an answer.
    #[error("no partition {found}")]
    Partition {
        /// The partition field.
        found: u16,
    },
    /// An answer without a status.
    #[error("status zero")]
    StatusZero,
}

/// A body that does not keep its header's or its schema's promises. The frame's end is known, so the
/// connection goes on; [`DecodeError::status`] is the answer's status.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The kind is not one of this version.
    #[error("unknown message kind {number}")]
    UnknownKind {
        /// The kind's number.
        number: u8,
    },
    /// A request where an answer was due, or the other way round.
    #[error("a {kind:?} message travels in the wrong direction")]
    Direction {
        /// The frame's kind.
        kind: MessageKind,
    },
    /// The caller handed in another number of bytes than the header announces.
    #[error("body of {found_bytes} bytes, header says {expected_bytes}")]
    BodyLength {
        /// What the header announces.
        expected_bytes: u32,
        /// What was handed in.
        found_bytes: usize,
    },
    /// The bytes after the payload are not zero.
    #[error("padding after the payload is not zero")]
    Padding,
    /// The kind needs a table section and there is none.
    #[error("a {kind:?} message without its table")]
    TableMissing {
        /// The frame's kind.
        kind: MessageKind,
    },
    /// The kind has no table section, but the frame has.
    #[error("a {kind:?} message with a table of {found_bytes} bytes")]
    TableUnexpected {
        /// The frame's kind.
        kind: MessageKind,
        /// Length of its table section.
        found_bytes: u32,
    },
    /// The kind has no payload section, but the frame has.
    #[error("a {kind:?} message with a payload of {found_bytes} bytes")]
    PayloadUnexpected {
        /// The frame's kind.
        kind: MessageKind,
        /// Length of its payload section.
        found_bytes: u32,
    },
    /// The table is not a valid flatbuffer of the kind's root table, or exceeds the verifier's bounds.
    #[error("table: {0}")]
    Table(InvalidFlatbuffer),
    /// The request needs a namespace and names none.
    #[error("a {kind:?} request without a namespace")]
    NamespaceMissing {
        /// The frame's kind.
        kind: MessageKind,
    },
    /// The partition in the header, by which the request was routed, is not the digest's.
    #[error("the header says partition {header}, the digest belongs to {digest}")]
    PartitionMismatch {
        /// The header's partition, 65535 if it names none.
        header: u16,
        /// The digest's partition.
        digest: u16,
    },
    /// A field without a value where one is needed.
    #[error("field {field} is not set")]
    FieldUnset {
        /// The field's name in the schema.
        field: &'static str,
    },
    /// A field with a value outside its range.
    #[error("field {field} holds {found}; at most {max}")]
    FieldRange {
        /// The field's name in the schema.
        field: &'static str,
        /// The value.
        found: u64,
        /// The largest value that is valid.
        max: u64,
    },
    /// A text or list that is too long.
    #[error("field {field} has {found} elements; at most {max}")]
    FieldLength {
        /// The field's name in the schema.
        field: &'static str,
        /// Its length: bytes of a text, elements of a list.
        found: usize,
        /// The longest that is valid.
        max: usize,
    },
    /// A list that must rise strictly does not.
    #[error("field {field} does not rise at element {index}")]
    FieldOrder {
        /// The field's name in the schema.
        field: &'static str,
        /// The first element that is not above its predecessor.
        index: usize,
    },
    /// The entries of a scan page do not add up to its payload.
    #[error("the page's records take {expected_bytes} bytes, its payload has {found_bytes}")]
    PageLength {
        /// The sum of the entries' lengths.
        expected_bytes: u64,
        /// Length of the payload section.
        found_bytes: u32,
    },
    /// A digest that is known in part has a bit set that cannot be known.
    #[error("a digest of which a part is known has more than that part")]
    DigestPart,
    /// The magic number of a hello is another one.
    #[error("a hello with the magic number {found:#018x}")]
    Magic {
        /// The number found.
        found: u64,
    },
    /// The payload of a batch is not one row after another: from this row on it cannot be read.
    #[error("the batch's row {row} is no frame with the row's number")]
    BatchRow {
        /// Which, counted from zero.
        row: usize,
    },
    /// A batch without a row, or with too many.
    #[error("a batch of {found} rows; 1 to {}", crate::limits::BATCH_ROWS_MAX)]
    BatchRowCount {
        /// How many there are, or at how many reading was given up.
        found: usize,
    },
    /// A text that is not UTF-8 where it must be.
    #[error("statistics are not UTF-8")]
    StatisticsText,
}

impl DecodeError {
    /// The status with which a node answers a request that fails so.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            DecodeError::UnknownKind { .. } => Status::Unsupported,
            DecodeError::Magic { .. } => Status::Incompatible,
            DecodeError::FieldUnset { .. }
            | DecodeError::FieldRange { .. }
            | DecodeError::FieldLength { .. }
            | DecodeError::FieldOrder { .. }
            | DecodeError::PartitionMismatch { .. }
            | DecodeError::NamespaceMissing { .. } => Status::InvalidArgument,
            DecodeError::Direction { .. }
            | DecodeError::BodyLength { .. }
            | DecodeError::Padding
            | DecodeError::TableMissing { .. }
            | DecodeError::TableUnexpected { .. }
            | DecodeError::PayloadUnexpected { .. }
            | DecodeError::Table(_)
            | DecodeError::PageLength { .. }
            | DecodeError::DigestPart
            | DecodeError::BatchRow { .. }
            | DecodeError::BatchRowCount { .. }
            | DecodeError::StatisticsText => Status::Malformed,
        }
    }
}

/// A message that no frame can carry. Nothing was written to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A text or list is too long; shorten it.
    #[error("field {field} has {found} elements; at most {max}")]
    FieldLength {
        /// The field's name in the schema.
        field: &'static str,
        /// Its length: bytes of a text, elements of a list.
        found: usize,
        /// The longest that is valid.
        max: usize,
    },
    /// A number is outside its range.
    #[error("field {field} holds {found}; at most {max}")]
    FieldRange {
        /// The field's name in the schema.
        field: &'static str,
        /// The value.
        found: u64,
        /// The largest value that is valid.
        max: u64,
    },
    /// A list that must rise strictly does not.
    #[error("field {field} does not rise at element {index}")]
    FieldOrder {
        /// The field's name in the schema.
        field: &'static str,
        /// The first element that is not above its predecessor.
        index: usize,
    },
    /// A field without a value where one is needed.
    #[error("field {field} is not set")]
    FieldUnset {
        /// The field's name in the schema.
        field: &'static str,
    },
    /// The request needs a namespace and its envelope names none.
    #[error("a {kind:?} request without a namespace")]
    NamespaceMissing {
        /// The request's kind.
        kind: MessageKind,
    },
    /// The table section would be too long.
    #[error("table section of {found_bytes} bytes; at most {TABLE_LENGTH_BYTES_MAX}")]
    TableLength {
        /// Its length.
        found_bytes: usize,
    },
    /// The payload would be too long.
    #[error("payload of {found_bytes} bytes; at most {PAYLOAD_LENGTH_BYTES_MAX}")]
    PayloadLength {
        /// Its length.
        found_bytes: usize,
    },
}
