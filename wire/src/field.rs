//! The checks that fields of several messages share: lengths and ranges against `limits.rs`, the same when
//! read as when written, so that what we encode we also accept.

use corelith_index::{Digest, Generation, PartitionId};

use crate::error::{DecodeError, EncodeError};
use crate::generated::corelith::native as table;
use crate::header::{FrameHeader, PARTITION_NONE};

/// A list or text read from a peer is at most `max` long.
pub(crate) const fn check_length(
    field: &'static str,
    found: usize,
    max: usize,
) -> Result<(), DecodeError> {
    if found <= max {
        Ok(())
    } else {
        Err(DecodeError::FieldLength { field, found, max })
    }
}

/// A list or text to be written is at most `max` long.
pub(crate) const fn encode_length(
    field: &'static str,
    found: usize,
    max: usize,
) -> Result<(), EncodeError> {
    if found <= max {
        Ok(())
    } else {
        Err(EncodeError::FieldLength { field, found, max })
    }
}

/// A number read from a peer is at most `max`.
pub(crate) const fn check_range(
    field: &'static str,
    found: u64,
    max: u64,
) -> Result<(), DecodeError> {
    if found <= max {
        Ok(())
    } else {
        Err(DecodeError::FieldRange { field, found, max })
    }
}

/// An expected generation: zero means that any will do.
pub(crate) fn expected_generation(number: u16) -> Option<Generation> {
    Generation::new(number)
}

/// The number of an expected generation as it travels.
pub(crate) fn expected_generation_number(expected: Option<Generation>) -> u16 {
    expected.map_or(0, Generation::get)
}

/// The digest of a request, which must belong to the partition by which the request was routed.
pub(crate) fn routed_digest(
    header: &FrameHeader,
    found: &table::Digest,
) -> Result<Digest, DecodeError> {
    let digest = Digest::from_bytes(found.0);
    if header.partition() == Some(digest.partition()) {
        return Ok(digest);
    }
    Err(DecodeError::PartitionMismatch {
        header: header.partition().map_or(PARTITION_NONE, PartitionId::get),
        digest: digest.partition().get(),
    })
}
