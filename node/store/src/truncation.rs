//! Truncation: all records of a set, or of the whole shard, are deleted by one record of the store's own.
//!
//! Whether an entry of the index belongs to a truncated record follows from its place alone: records stand
//! in the log in the order in which they were accepted, so those that stand before the truncation are gone
//! and those behind it live. Nothing is read for that. A sweep in the background takes the entries out of
//! the index; once it has, nothing is left to compare, and the truncation is kept as a tombstone is.
//!
//! Invariants: readers see a truncation when it is durable; a write of a key that one on its way is about
//! to delete waits for it; one truncation of a shard is on its way at a time.

mod kept;

use std::rc::Rc;

use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, PartitionId, RecordAddress, RecordLength, Scanned,
    SetId,
};
use hashbrown::HashMap;

use crate::batch::{Appended, NewRecord};
use crate::commit::Commit;
use crate::committer::{Event, Work};
use crate::format::record_header::RecordFlags;
use crate::format::summary::RecordRow;
use crate::index_walk::WalkPosition;
use crate::outcome::{BatchEnd, Outcome};
use crate::pause::yield_once;
use crate::place::{RecordPlace, SegmentNumber};
use crate::segments::SegmentTable;
use crate::state::{ShardCore, State, TagKey, length_of};
use crate::writer::Append;
use crate::{Lsn, Version, WriteError};

/// Which records a truncation deletes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truncate<'a> {
    /// Those of the set with this name.
    Set(&'a str),
    /// All of the shard, with a set or without.
    All,
}

/// Why a set is not truncated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TruncateError {
    /// The definition of a set cannot be read: its records may be this set's, and nobody can tell.
    #[error(
        "the name of set {number} cannot be read back, so its records may belong to any set: truncate all"
    )]
    NameLost {
        /// The set's number in this shard.
        number: u16,
    },
}

/// A place in the log, comparable between segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct LogPosition {
    first_lsn: Lsn,
    offset_bytes: u64,
}

/// The newest durable truncation of a set, or of all.
#[derive(Clone, Copy, Debug)]
struct Cutoff {
    /// Where it first stood in the log: every record of the set before is gone.
    position: LogPosition,
    /// Where it stands.
    stands: LogPosition,
    /// Counts truncations since the start, so that a sweep knows which came after it had begun.
    number: u64,
    address: RecordAddress,
    length: RecordLength,
    version: Version,
    /// The index has no entry any more of what it deleted: it is a tombstone. Else it is live.
    is_swept: bool,
    /// It counts among the tombstones of its segment: it does from the sweep on, until that has been reclaimed.
    is_counted: bool,
}

/// A truncation on its way.
struct PendingTruncation {
    set: SetId,
    version: Version,
    outcome: Rc<Outcome>,
}

/// The truncations of one shard.
#[derive(Default)]
pub(crate) struct Truncations {
    /// The newest of each set, that of all under [`SetId::NONE`], but for those that a newer one of all
    /// covers.
    cutoffs: HashMap<SetId, Cutoff>,
    /// Of those, how many are not swept.
    unswept_count: u64,
    pending: Option<PendingTruncation>,
    /// Counts truncations that were appended.
    epoch: u64,
    /// Truncations that became durable, or were found, since the start.
    count: u64,
    is_sweeping: bool,
}

impl Truncations {
    /// A writer that finds another number than when it looked has decided on what is about to be deleted.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Truncations of which the index may still hold entries.
    pub(crate) const fn unswept_count(&self) -> u64 {
        self.unswept_count
    }

    /// True if a truncation has become durable, or was found, since the start.
    pub(crate) const fn has_been_used(&self) -> bool {
        self.count > 0
    }

    /// True while the index may hold entries of truncated records: memory and space are about to become free.
    pub(crate) const fn is_unswept(&self) -> bool {
        self.unswept_count > 0
    }

    /// True if a durable truncation has deleted the record of `entry`.
    #[inline]
    pub(crate) fn has_deleted(&self, segments: &SegmentTable, entry: &Entry) -> bool {
        self.is_unswept() && self.covers(segments, entry)
    }

    /// True if a truncation whose records may still be in the index stands in the segment that began at `first_lsn`.
    pub(crate) fn has_unswept_in(&self, first_lsn: Lsn) -> bool {
        let mut cutoffs = self.cutoffs.values();
        cutoffs.any(|cutoff| !cutoff.is_swept && cutoff.stands.first_lsn == first_lsn)
    }

    /// True if a truncation is durable that has deleted every version of a key of `set` up to `version`.
    pub(crate) fn has_deleted_version(&self, set: SetId, version: Version) -> bool {
        let is_newer = |set| {
            let cutoff = self.cutoffs.get(&set);
            cutoff.is_some_and(|cutoff| cutoff.version > version)
        };
        is_newer(SetId::NONE) || is_newer(set)
    }

    /// The digest of a copy of the truncation that `row` describes, if that is a tombstone and stands at
    /// `address`: it says where the truncation first stood.
    pub(crate) fn digest_to_move(
        &self,
        segments: &SegmentTable,
        (shard, row, address): (u16, &RecordRow, RecordAddress),
    ) -> Option<Digest> {
        let cutoff = self.cutoffs.get(&row.set)?;
        let is_this = cutoff.version == row.version
            && cutoff.address == address
            && position_of(segments, address) == Some(cutoff.stands);
        (is_this && cutoff.is_swept).then(|| cutoff.position.to_digest(shard))
    }

    /// Lets go of the truncations that stand in `segment`, of `segment_bytes`, which is durably free: they were below the
    /// pin, or it would not be. Not before: as long as a start may find the segment in the log, it may find in it,
    /// by an older page of a checkpoint, records that they have deleted.
    pub(crate) fn forget_in(&mut self, segment: SegmentNumber, segment_bytes: u64) {
        self.cutoffs.retain(|_, cutoff| {
            let place = RecordPlace::unpack(cutoff.address, segment_bytes);
            !cutoff.is_swept || place.is_none_or(|place| place.segment != segment)
        });
    }

    /// The segment has been reclaimed: its tombstones are not counted any more.
    pub(crate) fn uncount_in(&mut self, segment: SegmentNumber, segment_bytes: u64) {
        for cutoff in self.cutoffs.values_mut() {
            let place = RecordPlace::unpack(cutoff.address, segment_bytes);
            if place.is_some_and(|place| place.segment == segment) {
                cutoff.is_counted = false;
            }
        }
    }

    fn covers(&self, segments: &SegmentTable, entry: &Entry) -> bool {
        let Some(position) = position_of(segments, entry.address) else {
            return false;
        };
        let is_before = |set| {
            let cutoff = self.cutoffs.get(&set);
            cutoff.is_some_and(|cutoff| !cutoff.is_swept && position < cutoff.position)
        };
        is_before(SetId::NONE) || is_before(entry.set)
    }

    /// What a write waits for whose key has a durable record of `set`, if a truncation on its way is about to
    /// delete that. Else the write could survive a crash without the truncation that it rests on, which would
    /// then have deleted one record alone.
    pub(crate) fn pending_of(&self, set: SetId) -> Option<Rc<Outcome>> {
        let pending = self.pending.as_ref()?;
        let concerns = pending.set == SetId::NONE || pending.set == set;
        concerns.then(|| Rc::clone(&pending.outcome))
    }

    /// The same for a version that is on its way itself.
    pub(crate) fn pending_after(&self, set: SetId, version: Version) -> Option<Rc<Outcome>> {
        let pending = self.pending.as_ref()?;
        (version < pending.version).then(|| self.pending_of(set))?
    }

    /// The end of the truncation that is on its way.
    fn pending_outcome(&self) -> Option<Rc<Outcome>> {
        let pending = self.pending.as_ref()?;
        Some(Rc::clone(&pending.outcome))
    }

    /// The truncation that was on its way is durable, or has failed.
    pub(crate) fn forget_pending(&mut self) {
        self.pending = None;
    }
}

impl State {
    /// A truncation is durable.
    pub(crate) fn truncate(&mut self, appended: &Appended) {
        let place = (appended.address, length_of(appended));
        self.apply_truncation(&appended.row, place);
    }

    /// A truncation is durable, or replay has found it in its place in the log.
    pub(crate) fn apply_truncation(
        &mut self,
        row: &RecordRow,
        (address, length): (RecordAddress, RecordLength),
    ) {
        let Some(stands) = position_of(&self.segments, address) else {
            return;
        };
        let is_moved = row.flags.contains(RecordFlags::MOVED);
        let position = if is_moved {
            LogPosition::of_digest(&row.digest)
        } else {
            stands
        };
        // A copy may stand behind truncations that are newer than itself.
        if is_moved && self.truncations.has_deleted_version(row.set, row.version) {
            return;
        }
        // As long as entries of its records are in the index they count as live where they stand, and pin
        // nothing: it must itself be live for as long.
        self.segments
            .note_live(address, length, ExpirySeconds::NEVER);
        let truncations = &mut self.truncations;
        truncations.count += 1;
        truncations.unswept_count += 1;
        let cutoff = Cutoff {
            position,
            stands,
            number: truncations.count,
            address,
            length,
            version: row.version,
            is_swept: false,
            is_counted: false,
        };
        let is_covered = |set: &SetId, old: &mut Cutoff| {
            (row.set == SetId::NONE || *set == row.set) && old.version <= row.version
        };
        let covered = truncations.cutoffs.extract_if(is_covered);
        let covered: Vec<Cutoff> = covered.map(|(_, old)| old).collect();
        truncations.cutoffs.insert(row.set, cutoff);
        for old in covered {
            self.let_go(&old);
        }
        if row.set == SetId::NONE && !is_moved {
            self.segments.cover_tombstones();
        }
    }

    /// A copy of a truncation is durable: it is needed no more where it stood before.
    pub(crate) fn move_truncation(&mut self, appended: &Appended) {
        let row = &appended.row;
        let Some(stands) = position_of(&self.segments, appended.address) else {
            return;
        };
        let Some(cutoff) = self.truncations.cutoffs.get_mut(&row.set) else {
            return;
        };
        if cutoff.version != row.version || !cutoff.is_swept {
            return;
        }
        cutoff.stands = stands;
        cutoff.is_counted = true;
        cutoff.address = appended.address;
        cutoff.length = length_of(appended);
        if let Some(place) = RecordPlace::unpack(appended.address, self.segments.segment_bytes()) {
            self.segments.note_tombstone(place.segment, row.version);
        }
    }

    /// A newer truncation deletes all that `old` does.
    fn let_go(&mut self, old: &Cutoff) {
        if !old.is_swept {
            self.truncations.unswept_count -= 1;
            self.segments.note_swept(old.address, old.length);
            return;
        }
        let place = RecordPlace::unpack(old.address, self.segments.segment_bytes());
        if let Some(place) = place.filter(|_| old.is_counted) {
            self.segments.note_covered(place.segment);
        }
    }

    fn sweep_entry(&mut self, partition: PartitionId, scanned: &Scanned) -> bool {
        let entry = &scanned.entry;
        if !self.truncations.covers(&self.segments, entry) {
            return false;
        }
        let old = entry.address;
        let removed = self.index.remove_at(partition, scanned.position, old);
        if let Some(entry) = removed {
            self.segments
                .note_dead(old, entry.length, (entry.is_moved, entry.expiry));
        }
        removed.is_some()
    }

    /// A whole sweep at once, where nothing else is to run meanwhile.
    pub(crate) fn sweep_at_once(&mut self) {
        let up_to = self.truncations.count;
        let mut at = WalkPosition::first(self.index.shard());
        while let Some(position) = at {
            at = self.walk_step(position, Self::sweep_entry).next;
        }
        self.end_sweep(up_to);
    }

    /// The index has been seen whole since the truncation with the number `up_to` became durable: up to that
    /// one they are tombstones from here on.
    fn end_sweep(&mut self, up_to: u64) {
        let Self {
            truncations,
            segments,
            ..
        } = self;
        let cutoffs = truncations.cutoffs.values_mut();
        for cutoff in cutoffs.filter(|cutoff| !cutoff.is_swept && cutoff.number <= up_to) {
            cutoff.is_swept = true;
            cutoff.is_counted = true;
            truncations.unswept_count -= 1;
            segments.note_swept(cutoff.address, cutoff.length);
            if let Some(place) = RecordPlace::unpack(cutoff.address, segments.segment_bytes()) {
                segments.note_tombstone(place.segment, cutoff.version);
            }
        }
    }
}

impl ShardCore {
    /// Deletes the records of `target` that were accepted before. Answers when that is durable.
    pub(crate) async fn truncate(
        &self,
        target: Truncate<'_>,
    ) -> Result<(), WriteError<TruncateError>> {
        let set = match target {
            Truncate::All => SetId::NONE,
            // A name without a number has no record: a number is given out before the first of them.
            Truncate::Set(name) => {
                self.read_names_again().await?;
                let number = self.state.borrow().sets.number_of_all(name);
                match number {
                    Ok(Some(set)) => set,
                    Ok(None) => return self.check_open(),
                    Err(reason) => return Err(WriteError::Rejected(reason)),
                }
            }
        };
        let turn_key = TagKey::of(&truncation_digest(self.number));
        let turn = self
            .turns
            .take(turn_key)
            .await
            .map_err(|_| WriteError::KeyBusy)?;
        let outcome = self.append_truncation(set).await?;
        let end = self.end_of(outcome).await;
        drop(turn);
        match end {
            BatchEnd::Durable => Ok(()),
            BatchEnd::InDoubt => Err(WriteError::InDoubt),
            BatchEnd::NotWritten => Err(WriteError::NotWritten),
        }
    }

    /// Appends a truncation, with the turn for truncations held.
    async fn append_truncation(
        &self,
        set: SetId,
    ) -> Result<Rc<Outcome>, WriteError<TruncateError>> {
        loop {
            self.check_open()?;
            let room = self.room.wait();
            let pending = self.state.borrow().truncations.pending_outcome();
            if let Some(outcome) = pending {
                // Whoever asked for it has gone away before it was durable.
                self.end_of(outcome).await;
                continue;
            }
            let record = NewRecord {
                digest: truncation_digest(self.number),
                flags: RecordFlags::META.with(RecordFlags::TRUNCATION),
                generation: Generation::FIRST,
                set,
                expiry: ExpirySeconds::NEVER,
                updated_ms: self.clock.now_ms(),
                content: &[],
                previous: None,
                commit: Commit::Durable,
                is_above_acknowledged: false,
                replaced_bytes: 0,
                moved: None,
            };
            self.check_clock()?;
            match self.try_append(&record, &mut None)? {
                Append::Done(appended, outcome) => {
                    let truncations = &mut self.state.borrow_mut().truncations;
                    truncations.epoch += 1;
                    truncations.pending = Some(PendingTruncation {
                        set,
                        version: appended.row.version,
                        outcome: Rc::clone(&outcome),
                    });
                    return Ok(outcome);
                }
                Append::Wait => room.await,
            }
        }
    }
}

/// Starts the sweep that durable truncations have left to be done.
pub(crate) fn start_sweep(core: &Rc<ShardCore>, work: &mut Work) {
    let truncations = &mut core.state.borrow_mut().truncations;
    if !truncations.is_unswept() || truncations.is_sweeping {
        return;
    }
    truncations.is_sweeping = true;
    let task = Rc::clone(core);
    work.push(Box::pin(async move {
        sweep(&task).await;
        task.state.borrow_mut().truncations.is_sweeping = false;
        Event::Swept
    }));
}

/// Takes the entries of truncated records out of the index, a few at a time. Gives up when the shard closes:
/// the next start finds the truncations again.
async fn sweep(core: &ShardCore) {
    let (up_to, mut at) = {
        let state = core.state.borrow();
        let first = WalkPosition::first(state.index.shard());
        (state.truncations.count, first)
    };
    while let Some(position) = at {
        if core.closing.get() {
            return;
        }
        let walked = core
            .state
            .borrow_mut()
            .walk_step(position, State::sweep_entry);
        at = walked.next;
        if walked.removed > 0 {
            // A segment may hold nothing any more.
            core.work.notify_all();
        }
        yield_once().await;
    }
    core.state.borrow_mut().end_sweep(up_to);
}

fn position_of(segments: &SegmentTable, address: RecordAddress) -> Option<LogPosition> {
    let place = RecordPlace::unpack(address, segments.segment_bytes())?;
    Some(LogPosition {
        first_lsn: segments.get(place.segment)?.first_lsn,
        offset_bytes: place.offset_bytes,
    })
}

impl LogPosition {
    /// What a copy of a truncation carries for a digest: shard, first LSN of the segment and offset in it. Its
    /// end is text, which no RIPEMD-160 of a key will be.
    fn to_digest(self, shard: u16) -> Digest {
        let mut bytes = *b"..................tr";
        let first_lsn = self.first_lsn.get().to_le_bytes();
        let offset_bytes = self.offset_bytes.to_le_bytes();
        let parts = shard
            .to_le_bytes()
            .into_iter()
            .chain(first_lsn)
            .chain(offset_bytes);
        for (target, part) in bytes.iter_mut().zip(parts) {
            *target = part;
        }
        Digest::from_bytes(bytes)
    }

    /// The inverse.
    fn of_digest(digest: &Digest) -> Self {
        let [_, _, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, _, _] = *digest.as_bytes();
        Self {
            first_lsn: Lsn::new(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            offset_bytes: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }
}

/// The digest that the truncations of `shard` carry. Its partition is the first of the shard; the rest is
/// text, which no RIPEMD-160 of a key will be.
fn truncation_digest(shard: u16) -> Digest {
    let mut bytes = *b"..truncated records!";
    let [low, high] = shard.to_le_bytes();
    if let Some(target) = bytes.first_chunk_mut() {
        *target = [low, high];
    }
    Digest::from_bytes(bytes)
}
