//! A record as it was read: the device's own buffer, verified, and what the header says.

use std::ops::Range;

use corelith_index::{Digest, ExpirySeconds, Generation, SetId};
use corelith_io::DmaBuffer;

use crate::Life;
use crate::Version;
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordError, RecordHeader};

/// A verified record. The content stays in the buffer that the device filled.
pub struct Record {
    buffer: DmaBuffer,
    content: Range<usize>,
    header: RecordHeader,
}

/// What the index or a header says of a record, without its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Count of the record's writes.
    pub generation: Generation,
    /// When it expires.
    pub expiry: ExpirySeconds,
    /// The set, by the shard's own numbering.
    pub set: SetId,
}

impl Record {
    /// Verifies the record whose header begins at `start` of `buffer` and at `offset_bytes` of the
    /// device.
    pub(crate) fn verify(
        buffer: DmaBuffer,
        start: u64,
        binding: DeviceBinding,
        (offset_bytes, life): (u64, Life),
    ) -> Result<Self, RecordError> {
        let bytes = buffer.as_slice();
        let begin = usize_of(start);
        let at_hand = bytes.get(begin..).unwrap_or_default();
        let block = at_hand
            .first_chunk::<RECORD_HEADER_BYTES>()
            .ok_or(RecordError::Length {
                needed_bytes: u64_of(RECORD_HEADER_BYTES),
                available_bytes: u64_of(at_hand.len()),
            })?;
        let header = RecordHeader::decode(block, binding, offset_bytes, life)?;
        let behind = at_hand.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        let length = header.verify_content(behind)?.len();
        let first = begin + RECORD_HEADER_BYTES;
        Ok(Self {
            buffer,
            content: first..first + length,
            header,
        })
    }

    /// The record's bytes, as they were put.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        self.buffer
            .as_slice()
            .get(self.content.clone())
            .unwrap_or_default()
    }

    /// The buffer and where in it the content stands, to be sent as it is.
    #[must_use]
    pub fn into_parts(self) -> (DmaBuffer, Range<usize>) {
        (self.buffer, self.content)
    }

    /// Identity of the record.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.header.digest
    }

    /// Identity of the write.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.header.version
    }

    /// When the write was accepted, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn updated_ms(&self) -> u64 {
        self.header.updated_ms
    }

    /// Generation, expiry and set.
    #[must_use]
    pub const fn metadata(&self) -> Metadata {
        Metadata {
            generation: self.header.generation,
            expiry: self.header.expiry,
            set: self.header.set,
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
