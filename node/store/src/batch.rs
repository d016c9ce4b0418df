//! Batch: records on their way to the device, while it takes more of them and when it is closed.
//!
//! Invariants: a batch has its place and LSN from the moment it is opened, so that of every record in
//! it is known when it is appended; its bytes do not change once it is closed, and can be read until
//! it is settled.

use std::rc::Rc;

use corelith_index::{Digest, ExpirySeconds, Generation, RecordAddress, SetId};
use corelith_io::{DmaBuffer, FrozenBuffer};

use crate::commit::Commit;
use crate::format::batch_header::{BATCH_HEADER_BYTES, BatchHeader};
use crate::format::binding::DeviceBinding;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordFlags, RecordHeader};
use crate::format::summary::RecordRow;
use crate::outcome::Outcome;
use crate::place::SegmentNumber;
use crate::{Lsn, Version};

/// A record to append.
pub(crate) struct NewRecord<'a> {
    pub(crate) digest: Digest,
    pub(crate) flags: RecordFlags,
    pub(crate) generation: Generation,
    pub(crate) set: SetId,
    pub(crate) expiry: ExpirySeconds,
    pub(crate) updated_ms: u64,
    pub(crate) content: &'a [u8],
    /// The place of the version that this one replaces in the index.
    pub(crate) previous: Option<RecordAddress>,
    /// When its writer is answered.
    pub(crate) commit: Commit,
    /// The version that it builds on is on its way, and its writer or one before was answered.
    pub(crate) is_above_acknowledged: bool,
    /// What the version that it replaces counts as live, in bytes; 0 if there is none.
    pub(crate) replaced_bytes: u64,
    /// What a copy keeps of the record that is moved; `None` for a new version.
    pub(crate) moved: Option<Moved>,
}

/// What a move leaves as it is, beside what every record says.
#[derive(Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) version: Version,
    pub(crate) content_checksum: u32,
}

/// A record in a batch, with what its application to the index needs.
#[derive(Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) row: RecordRow,
    pub(crate) address: RecordAddress,
    /// The place of the version that this one replaces in the index.
    pub(crate) previous: Option<RecordAddress>,
    /// Its writer is answered ahead of the device.
    pub(crate) is_acknowledged: bool,
    /// A version below it that is on its way as well is, or may be, one whose writer was.
    pub(crate) is_above_acknowledged: bool,
}

/// The writes of a batch: what is left of it when its bytes are of no use any more.
#[derive(Default)]
pub(crate) struct Writes {
    pub(crate) records: Vec<Appended>,
    pub(crate) outcome: Rc<Outcome>,
}

/// A batch that takes records.
pub(crate) struct OpenBatch {
    pub(crate) lsn: Lsn,
    /// Where it begins in its segment, in bytes.
    pub(crate) offset_bytes: u64,
    /// Header and records so far, in bytes.
    pub(crate) used_bytes: usize,
    pub(crate) writes: Writes,
    /// The batch's own row among the segment's rows.
    pub(crate) row: usize,
    buffer: DmaBuffer,
}

/// A closed batch.
pub(crate) struct Batch {
    pub(crate) lsn: Lsn,
    pub(crate) segment: SegmentNumber,
    /// Where it begins in its segment, in bytes.
    pub(crate) offset_bytes: u64,
    /// Its length on the device, in bytes.
    pub(crate) length_bytes: usize,
    pub(crate) buffer: FrozenBuffer,
    pub(crate) writes: Writes,
}

impl OpenBatch {
    /// An empty batch at `offset_bytes` of its segment.
    pub(crate) fn new(lsn: Lsn, offset_bytes: u64, row: usize, buffer: DmaBuffer) -> Self {
        let writes = Writes::default();
        Self {
            lsn,
            offset_bytes,
            used_bytes: BATCH_HEADER_BYTES,
            writes,
            row,
            buffer,
        }
    }

    /// Where the next record would begin in the segment, in bytes.
    pub(crate) fn end_bytes(&self) -> u64 {
        self.offset_bytes + u64_of(self.used_bytes)
    }

    /// Bytes that the batch can grow to.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        u64_of(self.buffer.capacity())
    }

    /// Adds the header of a record whose content the buffer brought with it: the batch's only one.
    pub(crate) fn add_prepared(
        &mut self,
        header: &[u8; RECORD_HEADER_BYTES],
        content_bytes: usize,
    ) {
        assert!(
            self.used_bytes == BATCH_HEADER_BYTES,
            "a record that was prepared is a batch of its own"
        );
        let begin = self.used_bytes + RECORD_HEADER_BYTES;
        let end = self.used_bytes + usize_of(RecordHeader::stored_bytes(u64_of(content_bytes)));
        let bytes = self.buffer.as_mut_slice();
        if let Some(target) = bytes.get_mut(self.used_bytes..begin) {
            target.copy_from_slice(header);
        }
        let padding = bytes.get_mut(begin + content_bytes..end);
        padding.unwrap_or_default().fill(0);
        self.used_bytes = end;
    }

    /// Adds the bytes of a record, which the caller has found to fit.
    pub(crate) fn add(&mut self, header: &[u8; RECORD_HEADER_BYTES], content: &[u8]) {
        let stored = usize_of(RecordHeader::stored_bytes(u64_of(content.len())));
        let end = self.used_bytes + stored;
        let Some(target) = self.buffer.as_mut_slice().get_mut(self.used_bytes..end) else {
            unreachable!("the caller has found that the record fits the batch");
        };
        let (head, rest) = target.split_at_mut(RECORD_HEADER_BYTES);
        head.copy_from_slice(header);
        let (body, padding) = rest.split_at_mut(content.len());
        body.copy_from_slice(content);
        padding.fill(0);
        self.used_bytes = end;
    }

    /// Length on the device if it were closed now, in bytes.
    pub(crate) fn padded_bytes(&self, write_unit_bytes: u64) -> usize {
        self.used_bytes.next_multiple_of(usize_of(write_unit_bytes))
    }

    /// Completes the batch with its header, which is for `place` (device and offset on it).
    pub(crate) fn close(
        mut self,
        header: &BatchHeader,
        segment: SegmentNumber,
        (binding, offset_on_device_bytes): (DeviceBinding, u64),
    ) -> Batch {
        let length = usize_of(header.length_bytes.into());
        let encoded = header.encode(binding, offset_on_device_bytes);
        let bytes = self.buffer.as_mut_slice();
        if let Some(target) = bytes.get_mut(..BATCH_HEADER_BYTES) {
            target.copy_from_slice(&encoded);
        }
        bytes
            .get_mut(self.used_bytes..length)
            .unwrap_or_default()
            .fill(0);
        Batch {
            lsn: self.lsn,
            segment,
            offset_bytes: self.offset_bytes,
            length_bytes: length,
            buffer: self.buffer.freeze(),
            writes: self.writes,
        }
    }

    /// Header and content of a record in it.
    pub(crate) fn stored(&self, row: &RecordRow) -> Option<&[u8]> {
        stored_in(self.buffer.as_slice(), self.offset_bytes, row)
    }
}

impl Batch {
    /// The content of a record in it.
    pub(crate) fn content(&self, row: &RecordRow) -> Option<&[u8]> {
        self.stored(row)?.get(RECORD_HEADER_BYTES..)
    }

    /// Header and content of a record in it.
    pub(crate) fn stored(&self, row: &RecordRow) -> Option<&[u8]> {
        stored_in(&self.buffer, self.offset_bytes, row)
    }

    /// The batch's bytes, and where in them the record begins.
    pub(crate) fn shared(&self, row: &RecordRow) -> Option<(FrozenBuffer, u64)> {
        let start = row.offset_bytes.checked_sub(self.offset_bytes)?;
        Some((self.buffer.clone(), start))
    }
}

fn stored_in<'a>(bytes: &'a [u8], batch_offset_bytes: u64, row: &RecordRow) -> Option<&'a [u8]> {
    let start = usize_of(row.offset_bytes.checked_sub(batch_offset_bytes)?);
    bytes.get(start..start + RECORD_HEADER_BYTES + usize_of(row.content_bytes.into()))
}
