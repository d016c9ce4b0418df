//! A record that is in the index and cannot be read: which one it is, as far as that can be told, and why.
//!
//! The index keeps 76 bits of a digest; the rest is in the record's header. So the header is read once more
//! and alone: it is often right where the content is not, or lies in a block that the device returns
//! where it does not return the next.

use std::cell::Cell;

use corelith_index::{Digest, Entry, KnownDigest, PartitionId, ScanPosition, SetId};
use corelith_io::{DeviceError, DeviceOffset};

use crate::ReadError;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordHeader};
use crate::limits::DAMAGE_TOLD_MAX;
use crate::place::RecordPlace;
use crate::state::{AttachedDevice, ShardCore};

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

/// What a shard has said of one of its devices: each thing once.
#[derive(Default)]
pub(crate) struct DeviceTold {
    gone: Cell<bool>,
    fenced: Cell<bool>,
    damaged_records: Cell<u64>,
}

impl AttachedDevice {
    /// The device does not answer any more.
    pub(crate) fn tell_gone(&self, shard: u16) {
        if !self.told.gone.replace(true) {
            tracing::error!(
                shard,
                device = self.device.name(),
                "a device is gone: requests for its records are answered with an error, those of other devices go on; see \
                 its cable, its slot and the kernel's log, then start the node again"
            );
        }
    }

    /// If the device is fenced by now, says so.
    pub(crate) fn tell_fenced(&self, shard: u16) {
        if self.device.is_fenced() && !self.told.fenced.replace(true) {
            tracing::error!(
                shard,
                device = self.device.name(),
                "a device is fenced after a failed flush or forced write: nothing is acknowledged on it any more, its \
                 records can still be read; see the kernel's log and the drive's health, replace it or start the node again"
            );
        }
    }

    /// A record at `offset_bytes` cannot be read back. Said of so many records; then only counted.
    pub(crate) fn tell_damaged(
        &self,
        shard: u16,
        (offset_bytes, length_bytes): (u64, u64),
        (whose, why): (&dyn std::fmt::Display, &dyn std::fmt::Display),
    ) {
        let count = self.told.damaged_records.get() + 1;
        self.told.damaged_records.set(count);
        let device = self.device.name();
        if count <= DAMAGE_TOLD_MAX {
            tracing::error!(
                shard, device, offset_bytes, length_bytes, digest = %whose, error = %why,
                "a record cannot be read back: it is answered with an error until it is written or deleted again; \
                 restore it from a backup, and see the drive's health"
            );
        }
        if count == DAMAGE_TOLD_MAX {
            tracing::error!(
                shard,
                device,
                "more damaged records of this device are counted only (corelith_records_damaged_total); a scan or a \
                 backup names them all: replace the drive"
            );
        }
    }
}

impl ShardCore {
    /// The record of `entry`, which the index has, cannot be read back: it is counted, and said the first time, and the
    /// index notes it until the key is written again or the record can be read after all.
    pub(crate) fn note_unreadable(
        &self,
        (partition, position): (PartitionId, ScanPosition),
        entry: &Entry,
        (whose, error): (&KnownDigest, &ReadError),
    ) {
        match error {
            ReadError::Damaged(_)
            | ReadError::Misdirected
            | ReadError::Device(DeviceError::Read { .. } | DeviceError::Short { .. }) => {}
            ReadError::Device(DeviceError::Gone) => {
                self.state.borrow_mut().counters.reads_of_gone += 1;
                if let Some((attached, _)) = self.place_on_device(entry) {
                    attached.tell_gone(self.number);
                }
                return;
            }
            ReadError::Device(_)
            | ReadError::Buffer(_)
            | ReadError::MayBeStale
            | ReadError::Busy
            | ReadError::Address => return,
        }
        let is_new = {
            let state = &mut *self.state.borrow_mut();
            state.counters.damaged_reads += 1;
            let is_new = state
                .index
                .set_damaged(partition, position, (entry.address, true));
            state.counters.records_damaged += u64::from(is_new);
            is_new
        };
        if let Some((attached, offset_bytes)) = self.place_on_device(entry).filter(|_| is_new) {
            let place = (offset_bytes, entry.length.bytes_max().into());
            attached.tell_damaged(self.number, place, (whose, error));
        }
    }

    /// Says of each device that is fenced by now that it is.
    pub(crate) fn tell_fenced(&self) {
        for attached in &self.devices {
            attached.tell_fenced(self.number);
        }
    }

    /// A record that was noted as damaged can be read.
    pub(crate) fn note_readable(
        &self,
        (partition, position): (PartitionId, ScanPosition),
        entry: &Entry,
    ) {
        let state = &mut *self.state.borrow_mut();
        let address = entry.address;
        if state
            .index
            .set_damaged(partition, position, (address, false))
        {
            state.counters.records_readable_again += 1;
        }
    }

    /// The device of an entry's record, and where the record begins there.
    fn place_on_device(&self, entry: &Entry) -> Option<(&AttachedDevice, u64)> {
        let state = self.state.borrow();
        let place = RecordPlace::unpack(entry.address, state.segments.segment_bytes())?;
        let segment = state.segments.get(place.segment)?.place;
        let attached = self.device(segment.slot)?;
        Some((attached, segment.offset_bytes + place.offset_bytes))
    }

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
        self.note_unreadable((partition, position), entry, (&digest, &error));
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
