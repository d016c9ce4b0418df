//! A record as it was read: verified bytes, in the buffer that the device filled or in the memory of the
//! record cache, and what the header says.

use std::ops::Range;
use std::rc::Rc;

use corelith_index::{Digest, ExpirySeconds, Generation, SetId};
use corelith_io::FrozenBuffer;

use crate::Life;
use crate::Version;
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u64_of, usize_of, usize_of_u32};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordError, RecordHeader};
use crate::pieces::sum_of;
use crate::planted::{PlantedBug, is_planted};

/// A verified record, cheap to clone. The content stays where it is: in the device's buffer or in the cache's memory.
#[derive(Clone)]
pub struct Record {
    bytes: Bytes,
    /// Where in them the record begins, header first.
    start: usize,
    header: RecordHeader,
    life: Life,
}

#[derive(Clone)]
enum Bytes {
    /// As the device returned them; shared by all readers that joined the read.
    Read(FrozenBuffer),
    /// Shared with the record cache.
    Cached(Rc<[u8]>),
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
    /// device. A long content is summed in pieces: the buffer is this record's own, or of a batch whose bytes
    /// do not change any more, so nothing that goes on meanwhile can touch it.
    pub(crate) async fn verify(
        buffer: FrozenBuffer,
        start: u64,
        binding: DeviceBinding,
        (offset_bytes, life): (u64, Life),
    ) -> Result<Self, RecordError> {
        let bytes: &[u8] = &buffer;
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
        let content = header.content_in(behind)?;
        let compared = header.compare_content(sum_of(content).await);
        if !is_planted(PlantedBug::SkipContentChecksum) {
            compared?;
        }
        Ok(Self {
            bytes: Bytes::Read(buffer),
            start: begin,
            header,
            life,
        })
    }

    /// A record from the cache, which was verified when it came in; `None` if the bytes are no record.
    pub(crate) fn from_cache(bytes: Rc<[u8]>, life: Life) -> Option<Self> {
        let header = RecordHeader::fields(bytes.first_chunk::<RECORD_HEADER_BYTES>()?).ok()?;
        Some(Self {
            bytes: Bytes::Cached(bytes),
            start: 0,
            header,
            life,
        })
    }

    /// Header and content as they stand on the device.
    pub(crate) fn encoded(&self) -> &[u8] {
        let end = self.content_range().end;
        self.all_bytes().get(self.start..end).unwrap_or_default()
    }

    /// What its header says.
    pub(crate) const fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// The life of the segment that it was read from.
    pub(crate) const fn life(&self) -> Life {
        self.life
    }

    fn all_bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Read(buffer) => buffer,
            Bytes::Cached(bytes) => bytes,
        }
    }

    fn content_range(&self) -> Range<usize> {
        let first = self.start + RECORD_HEADER_BYTES;
        first..first + usize_of_u32(self.header.content_bytes)
    }

    /// The record's bytes, as they were put.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        self.all_bytes()
            .get(self.content_range())
            .unwrap_or_default()
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
