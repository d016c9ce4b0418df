//! When a write is answered: after it is durable, or as soon as it is in a batch.
//!
//! A buffered write is seen by every read from its answer on. A crash may take it back, if it came since
//! the owner of the shard last called [`Shard::flush`](crate::Shard::flush) and that flush reached the device: of each
//! key the newest version that did is found. Everything that waits for a batch (a durable write in it, an
//! answer that rests on one) has it leave at once.

use std::rc::Rc;

use corelith_index::Digest;

use crate::ReadError;
use crate::format::record_header::RecordFlags;
use crate::outcome::{BatchEnd, Outcome};
use crate::pieces::is_long;
use crate::place::RecordPlace;
use crate::record::{Metadata, Record};
use crate::state::{Pending, ShardCore, TagKey};

/// When a write is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Commit {
    /// When it is durable.
    #[default]
    Durable,
    /// When it is in a batch that will be written soon; a crash until then loses it.
    Buffered,
}

/// What is on its way for a key that a read must not pass over.
enum Unsettled {
    /// Nothing: the index has the version that a read is to see.
    Nothing,
    /// The newest version, answered ahead of the device.
    Acknowledged(Pending),
    /// A version that is not answered, above one that is: only its end tells which is to be seen.
    Undecided(Rc<Outcome>),
}

impl ShardCore {
    /// Waits for the end of a batch, and has it leave if it is still open.
    pub(crate) async fn end_of(&self, outcome: Rc<Outcome>) -> BatchEnd {
        self.want(&outcome);
        outcome.wait().await
    }

    /// Has a batch leave: somebody waits for it.
    pub(crate) fn want(&self, outcome: &Outcome) {
        if outcome.want() {
            self.work.notify_all();
        }
    }

    /// Has the open batch leave, if there is one.
    pub(crate) fn flush(&self) {
        let newest = self.state.borrow().log.open_outcome();
        if let Some(outcome) = newest {
            self.want(&outcome);
        }
    }

    /// Waits until every write that was answered ahead of the device is settled. Costs nothing if there is
    /// none.
    pub(crate) async fn settle_acknowledged(&self) {
        let newest = {
            let state = self.state.borrow();
            if state.acknowledged == 0 {
                return;
            }
            state.log.newest_outcome()
        };
        if let Some(outcome) = newest {
            self.end_of(outcome).await;
        }
    }

    /// The version of a key that a read is to see although the index does not have it yet.
    pub(crate) async fn ahead_of_index(&self, digest: &Digest) -> Option<Pending> {
        loop {
            match self.unsettled(digest) {
                Unsettled::Nothing => return None,
                Unsettled::Acknowledged(pending) => return Some(pending),
                // Its end, whatever it is, says no more than that one may look again.
                Unsettled::Undecided(outcome) => {
                    self.end_of(outcome).await;
                }
            }
        }
    }

    fn unsettled(&self, digest: &Digest) -> Unsettled {
        let state = self.state.borrow();
        if state.acknowledged == 0 {
            return Unsettled::Nothing;
        }
        match state.pending.get(&TagKey::of(digest)) {
            Some(pending) if pending.appended.row.digest != *digest => Unsettled::Nothing,
            Some(pending) if pending.appended.is_acknowledged => {
                Unsettled::Acknowledged(pending.clone())
            }
            Some(pending) if pending.appended.is_above_acknowledged => {
                Unsettled::Undecided(Rc::clone(&pending.outcome))
            }
            Some(_) | None => Unsettled::Nothing,
        }
    }

    /// The record of a version on its way; `None` if it is a tombstone or has expired. It is copied from its batch,
    /// or shares the bytes of one that it has for itself.
    pub(crate) async fn read_pending(
        &self,
        pending: &Pending,
    ) -> Result<Option<Record>, ReadError> {
        let row = &pending.appended.row;
        if row.flags.contains(RecordFlags::TOMBSTONE) || self.clock.is_past(row.expiry) {
            return Ok(None);
        }
        let (buffer, start, binding, on_device) = {
            let state = self.state.borrow();
            let segment_bytes = state.segments.segment_bytes();
            let place = RecordPlace::unpack(pending.appended.address, segment_bytes);
            let segment = place.and_then(|place| state.segments.get(place.segment));
            let attached = segment.and_then(|segment| self.device(segment.place.slot));
            let stored = state.log.pending_stored(pending.lsn, row);
            let (Some(stored), Some(segment), Some(attached)) = (stored, segment, attached) else {
                unreachable!("a version that is on its way is in a batch of a segment of a device");
            };
            let (buffer, start) = match state.log.pending_shared(pending.lsn, row) {
                Some(shared) if is_long(stored.len()) => shared,
                Some(_) | None => {
                    let mut buffer = self.pool.take(stored.len())?;
                    if let Some(target) = buffer.as_mut_slice().get_mut(..stored.len()) {
                        target.copy_from_slice(stored);
                    }
                    (buffer.freeze(), 0)
                }
            };
            let on_device = (segment.place.offset_bytes + row.offset_bytes, segment.life);
            (buffer, start, attached.binding, on_device)
        };
        Record::verify(buffer, start, binding, on_device)
            .await
            .map(Some)
            .map_err(ReadError::Damaged)
    }

    /// What is known of a version on its way beside its content; `None` as for
    /// [`ShardCore::read_pending`].
    pub(crate) fn pending_metadata(&self, pending: &Pending) -> Option<Metadata> {
        let row = &pending.appended.row;
        if row.flags.contains(RecordFlags::TOMBSTONE) || self.clock.is_past(row.expiry) {
            return None;
        }
        Some(Metadata {
            generation: row.generation,
            expiry: row.expiry,
            set: row.set,
        })
    }
}
