//! A record that is in the index and cannot be read: which one it is, as far as that can be told, and why.
//!
//! The index keeps 76 bits of a digest; the rest is in the record's header. So the header is read once more
//! and alone: it is often right where the content is not, or lies in a block that the device returns
//! where it does not return the next.

use corelith_index::{Digest, Entry, KnownDigest, PartitionId, ScanPosition, SetId};
use corelith_io::DeviceOffset;

use crate::ReadError;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordHeader};
use crate::place::RecordPlace;
use crate::state::ShardCore;

/// A record that a scan met and could not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedRecord {
    /// Whose it is: whole where the record's header can be read.
    pub digest: KnownDigest,
    /// The set, by the shard's own numbering.
    pub set: SetId,
    /// What a get of it answers.
    pub error: ReadError,
}

impl ShardCore {
    /// Notes that the record of `entry`, which the index still has, cannot be read for `error`.
    pub(crate) async fn damaged(
        &self,
        partition: PartitionId,
        (position, entry): (ScanPosition, &Entry),
        error: ReadError,
    ) -> DamagedRecord {
        let of_header = self.digest_of_header(entry).await;
        let digest = match of_header {
            Some(digest) if is_at(&digest, partition, position) => KnownDigest::of(&digest),
            Some(_) | None => KnownDigest::of_position(partition, position),
        };
        if matches!(error, ReadError::Damaged(_)) {
            self.state.borrow_mut().counters.damaged_reads += 1;
            tracing::error!(shard = self.number, %digest, %error, "a scan met a record that cannot be read back; it names it and goes on");
        }
        DamagedRecord {
            digest,
            set: entry.set,
            error,
        }
    }

    /// The digest in the header of a record; `None` if the header cannot be read or fails its checks.
    async fn digest_of_header(&self, entry: &Entry) -> Option<Digest> {
        let (place, segment, life) = {
            let state = self.state.borrow();
            let place = RecordPlace::unpack(entry.address, state.segments.segment_bytes())?;
            let segment = state.segments.get(place.segment)?;
            (place, segment.place, segment.life)
        };
        let attached = self.device(segment.slot)?;
        let block = self.logical_block_bytes;
        let first = place.offset_bytes / block * block;
        let end = (place.offset_bytes + u64_of(RECORD_HEADER_BYTES)).next_multiple_of(block);
        let length = usize_of(end - first);
        let buffer = self.pool.take(length).ok()?;
        let offset = DeviceOffset::new(segment.offset_bytes + first);
        let (buffer, result) = attached.device.read(offset, buffer, length).await;
        result.ok()?;
        let header = buffer
            .as_slice()
            .get(usize_of(place.offset_bytes - first)..)?
            .first_chunk::<RECORD_HEADER_BYTES>()?;
        let on_device = segment.offset_bytes + place.offset_bytes;
        let header = RecordHeader::decode(header, attached.binding, on_device, life).ok()?;
        Some(header.digest)
    }
}

/// True if the key of `digest` stands at `position` of `partition`.
fn is_at(digest: &Digest, partition: PartitionId, position: ScanPosition) -> bool {
    digest.partition() == partition && ScanPosition::of(digest) == position
}
