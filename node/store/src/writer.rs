//! Writes: look at the newest version, let the caller decide, append, wait until it is durable.
//!
//! The caller decides with the key's turn held, so a decision is atomic for its key, however often it lets
//! others go first. What may change meanwhile is looked at before the append. An answer that rests on a version still on its way waits for that version; if that one
//! fails, the decision is taken again on what is left.

use std::rc::Rc;

use corelith_index::{Digest, ExpirySeconds, Generation, SetId};

use crate::allocation::open_segment;
use crate::batch::{Appended, NewRecord};
use crate::commit::Commit;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordFlags, RecordHeader};
use crate::limits::{BATCHES_QUEUED_MAX, RECORD_BYTES_MAX};
use crate::newest::{Newest, PendingContent};
use crate::outcome::{BatchEnd, Outcome};
use crate::pieces::{Prepared, is_long};
use crate::reader::{Depth, Found, View};
use crate::room::Room;
use crate::segments::SegmentState;
use crate::state::{Pending, ShardCore, State, TagKey};
use crate::{Lsn, ReadError, Version, WriteError};

/// What a decision needs to see of the current version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Generation, expiry and set: no device read.
    Metadata,
    /// The content too.
    Content,
}

/// The newest version of a record, as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// Count of the record's writes.
    pub generation: Generation,
    /// When it expires.
    pub expiry: ExpirySeconds,
    /// The set.
    pub set: SetId,
    /// The content; empty unless it was asked for.
    pub content: &'a [u8],
}

/// What a decision does to the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new version with the content that the request brought.
    PutInput {
        /// When it expires.
        expiry: ExpirySeconds,
        /// The set.
        set: SetId,
    },
    /// A new version with the content that the decision made.
    PutMade {
        /// When it expires.
        expiry: ExpirySeconds,
        /// The set.
        set: SetId,
    },
    /// A new version with the old content and another expiry: only of a record that is there, and
    /// only with [`Needs::Content`]; anything else is the caller's mistake and stops the process.
    Touch {
        /// When it expires.
        expiry: ExpirySeconds,
    },
    /// A tombstone, if there is a record; [`Written::existed`] tells.
    Delete,
}

/// An acknowledged write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The record's generation now; that of the deleted version after a delete.
    pub generation: Generation,
    /// When it expires.
    pub expiry: ExpirySeconds,
    /// Identity of the write; [`Version::NONE`] if a delete found nothing.
    pub version: Version,
    /// True if there was a record before.
    pub existed: bool,
}

/// How an attempt to append went.
pub(crate) enum Append {
    /// It is in the open batch.
    Done(Appended, Rc<Outcome>),
    /// There is no room just now.
    Wait,
}

/// How one attempt at a write went.
enum Attempt {
    /// The answer.
    Answered(Written),
    /// What the decision rested on has failed: decide again on what is left.
    Again,
}

impl ShardCore {
    /// Runs one write. `input` is the content that came with the request; `decide` sees the newest
    /// version and may make a content of its own in the scratch that it is given.
    pub(crate) async fn write<E>(
        &self,
        digest: &Digest,
        (needs, commit): (Needs, Commit),
        input: &[u8],
        mut decide: impl AsyncFnMut(Option<Current<'_>>, &mut Vec<u8>) -> Result<Change, E>,
    ) -> Result<Written, WriteError<E>> {
        loop {
            let attempt = self
                .attempt_write(digest, (needs, commit), input, &mut decide)
                .await?;
            if let Attempt::Answered(written) = attempt {
                return Ok(written);
            }
        }
    }

    async fn attempt_write<E>(
        &self,
        digest: &Digest,
        (needs, commit): (Needs, Commit),
        input: &[u8],
        decide: &mut impl AsyncFnMut(Option<Current<'_>>, &mut Vec<u8>) -> Result<Change, E>,
    ) -> Result<Attempt, WriteError<E>> {
        let turn = self
            .turns
            .take(TagKey::of(digest))
            .await
            .map_err(|_| WriteError::KeyBusy)?;
        self.check_open()?;
        if let Some(outcome) = self.pending_twin(digest) {
            drop(turn);
            self.end_of(outcome).await;
            return Ok(Attempt::Again);
        }
        let epoch = Epoch::of(&self.state.borrow());
        let newest = self.newest(digest, needs).await?;
        if let Newest::Truncating(outcome) = newest {
            drop(turn);
            self.end_of(outcome).await;
            return Ok(Attempt::Again);
        }
        let current = newest.current(&self.clock);
        let existed = current.is_some();
        let mut made = Vec::new();
        let record = match decide(current, &mut made).await {
            Ok(change) => {
                assert!(
                    needs == Needs::Content || !matches!(change, Change::Touch { .. }),
                    "a touch writes the old content again, so it must have asked for it"
                );
                self.new_record(digest, (&newest, current), (change, commit), (input, &made))
            }
            Err(reason) => {
                drop(turn);
                return self
                    .settled((&newest, commit), Err(WriteError::Rejected(reason)))
                    .await;
            }
        };
        let Some(record) = record else {
            drop(turn);
            return self.settled((&newest, commit), Ok(NOTHING_TO_DELETE)).await;
        };
        self.check_clock()?;
        let (generation, expiry) = (record.generation, record.expiry);
        let appended = self
            .append_when_possible(&record, newest.outcome(), epoch)
            .await?;
        drop(turn);
        let Some((appended, outcome)) = appended else {
            return Ok(Attempt::Again);
        };
        let answer = Attempt::Answered(Written {
            generation,
            expiry,
            version: appended.row.version,
            existed,
        });
        if commit == Commit::Buffered {
            return Ok(answer);
        }
        match self.end_of(outcome).await {
            BatchEnd::Durable => Ok(answer),
            BatchEnd::InDoubt => Err(WriteError::InDoubt),
            BatchEnd::NotWritten => Err(WriteError::NotWritten),
        }
    }

    /// An error if the time of the record that was made just now is not to be written.
    pub(crate) fn check_clock<E>(&self) -> Result<(), WriteError<E>> {
        match self.clock.too_far_ahead_ms() {
            Some(ahead_ms) => Err(WriteError::Clock { ahead_ms }),
            None => Ok(()),
        }
    }

    /// An error if no write is accepted just now.
    pub(crate) fn check_open<E>(&self) -> Result<(), WriteError<E>> {
        if self.closing.get() {
            return Err(WriteError::Closed);
        }
        if self.stale.get() {
            return Err(WriteError::Read(ReadError::MayBeStale));
        }
        if self.is_fenced() {
            return Err(WriteError::Fenced);
        }
        Ok(())
    }

    /// The newest version of a key, pending or durable.
    async fn newest<E>(&self, digest: &Digest, needs: Needs) -> Result<Newest, WriteError<E>> {
        if let Some(newest) = self.newest_pending(digest, needs) {
            return Ok(newest);
        }
        let depth = match needs {
            Needs::Metadata => Depth::Entry,
            Needs::Content => Depth::Record,
        };
        Ok(match self.find(digest, depth, View::Writer).await? {
            Found::Absent { twin } => Newest::Absent {
                previous: None,
                twin,
            },
            Found::Truncated { previous } => Newest::Absent {
                previous: Some(previous),
                twin: false,
            },
            Found::Truncating(outcome) => Newest::Truncating(outcome),
            Found::Entry(entry) => Newest::Durable {
                entry,
                record: None,
                twin: false,
            },
            Found::Record {
                entry,
                record,
                twin,
                ..
            } => Newest::Durable {
                entry,
                record: Some(record),
                twin,
            },
        })
    }

    /// The batch of another key with the same tag, if one is on its way.
    fn pending_twin(&self, digest: &Digest) -> Option<Rc<Outcome>> {
        let state = self.state.borrow();
        let pending = state.pending.get(&TagKey::of(digest))?;
        (pending.appended.row.digest != *digest).then(|| Rc::clone(&pending.outcome))
    }

    fn newest_pending(&self, digest: &Digest, needs: Needs) -> Option<Newest> {
        let state = self.state.borrow();
        let pending = state.pending.get(&TagKey::of(digest))?.clone();
        let row = &pending.appended.row;
        if let Some(outcome) = state.truncations.pending_after(row.set, row.version) {
            return Some(Newest::Truncating(outcome));
        }
        let content = match needs {
            Needs::Metadata => PendingContent::Copied(Vec::new()),
            Needs::Content => {
                let content = state.log.pending_content(pending.lsn, row);
                assert!(
                    content.is_some(),
                    "a version that is on its way is in a batch"
                );
                let content = content.unwrap_or_default();
                match state.log.pending_shared(pending.lsn, row) {
                    Some((buffer, start)) if is_long(content.len()) => {
                        let first = usize_of(start) + RECORD_HEADER_BYTES;
                        PendingContent::Shared(buffer, first..first + content.len())
                    }
                    Some(_) | None => PendingContent::Copied(content.to_vec()),
                }
            }
        };
        Some(Newest::Pending { pending, content })
    }

    /// The record that `change` makes; `None` for a delete of nothing.
    fn new_record<'a>(
        &self,
        digest: &Digest,
        (newest, current): (&'a Newest, Option<Current<'a>>),
        (change, commit): (Change, Commit),
        (input, made): (&'a [u8], &'a [u8]),
    ) -> Option<NewRecord<'a>> {
        let generation = current.map_or(Generation::FIRST, |current| current.generation.next());
        let (flags, expiry, set, content): (_, _, _, &'a [u8]) = match change {
            Change::PutInput { expiry, set } => (RecordFlags::NONE, expiry, set, input),
            Change::PutMade { expiry, set } => (RecordFlags::NONE, expiry, set, made),
            Change::Touch { expiry } => {
                let Some(current) = current else {
                    unreachable!("only a record that is there can be touched");
                };
                (RecordFlags::NONE, expiry, current.set, current.content)
            }
            Change::Delete => (
                RecordFlags::TOMBSTONE,
                ExpirySeconds::NEVER,
                current?.set,
                &[],
            ),
        };
        let twin = if newest.is_twin() {
            RecordFlags::TWIN
        } else {
            RecordFlags::NONE
        };
        Some(NewRecord {
            digest: *digest,
            flags: flags.with(twin),
            generation,
            set,
            expiry,
            updated_ms: self.clock.now_ms(),
            content,
            previous: newest.previous(),
            commit,
            is_above_acknowledged: newest.is_above_acknowledged(),
            replaced_bytes: newest.live_bytes(),
            moved: None,
        })
    }

    /// Appends as soon as the log has room, or says why it never will. `None` if the version that the
    /// record builds on failed meanwhile, or is about to be truncated.
    async fn append_when_possible<E>(
        &self,
        record: &NewRecord<'_>,
        rests_on: Option<Rc<Outcome>>,
        epoch: Epoch,
    ) -> Result<Option<(Appended, Rc<Outcome>)>, WriteError<E>> {
        let mut prepared = None;
        let mut preparation = None;
        loop {
            self.check_open()?;
            if !self.state.borrow().still_holds(epoch, record) {
                return Ok(None);
            }
            let end = rests_on.as_ref().and_then(|outcome| outcome.end());
            if matches!(end, Some(BatchEnd::InDoubt | BatchEnd::NotWritten)) {
                return Ok(None);
            }
            let room = self.room.wait();
            if is_long(record.content.len()) && prepared.is_none() {
                self.check_length(record)?;
                preparation = preparation.or_else(|| self.begin_preparation());
                match preparation {
                    Some(_) => prepared = Some(self.prepare(record.content).await?),
                    None => room.await,
                }
                // Others have had their turns.
                continue;
            }
            if let Append::Done(appended, outcome) = self.try_append(record, &mut prepared)? {
                return Ok(Some((appended, outcome)));
            }
            room.await;
        }
    }

    /// The longest record that this shard takes, header included, in bytes.
    pub(crate) fn record_bytes_max(&self) -> u64 {
        let geometry = self.state.borrow().log.geometry();
        let half = geometry.segment_bytes / 2;
        half.min(RECORD_BYTES_MAX)
    }

    /// Appends a record if there is room for it in the open batch, or for a new one.
    /// A content that has been prepared is taken when it is appended.
    pub(crate) fn try_append<E>(
        &self,
        record: &NewRecord<'_>,
        prepared: &mut Option<Prepared>,
    ) -> Result<Append, WriteError<E>> {
        let stored = self.check_length(record)?;
        match self.admit(record) {
            // The sweep makes room, and wakes who waits for it.
            Err(WriteError::IndexFull) if self.index_may_shrink() => {
                return Ok(Append::Wait);
            }
            admitted => admitted?,
        }
        let Room::Free { may_open } = self.room_for(record)? else {
            return Ok(Append::Wait);
        };
        let fits = self.state.borrow().log.fits_open_batch(stored);
        let checksum = prepared.as_ref().map(|prepared| prepared.content_checksum);
        if !fits && !self.make_room(stored, may_open, prepared)? {
            return Ok(Append::Wait);
        }
        let mut state = self.state.borrow_mut();
        let (appended, lsn, outcome) = state.append(record, checksum);
        if checksum.is_some() {
            // Nothing joins it, and closed it can be shared.
            state.log.close_batch(self.clock.now_ms());
            self.work.notify_all();
        }
        if !record.flags.contains(RecordFlags::META) {
            state.pending_inserts += u64::from(appended.previous.is_none());
            state.acknowledged += u64::from(appended.is_acknowledged);
            let pending = Pending {
                appended,
                lsn,
                outcome: Rc::clone(&outcome),
            };
            state.pending.insert(TagKey::of(&record.digest), pending);
        }
        drop(state);
        if record.commit == Commit::Durable {
            self.want(&outcome);
        }
        Ok(Append::Done(appended, outcome))
    }

    /// True if something is about to take entries out of the index.
    fn index_may_shrink(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.truncations.is_unswept() || self.may_expire(state)
    }

    /// What the record takes in the log, in bytes, or an error if that is too much.
    fn check_length<E>(&self, record: &NewRecord<'_>) -> Result<u64, WriteError<E>> {
        let found_bytes = RecordHeader::stored_bytes(u64_of(record.content.len()));
        let limit_bytes = self.record_bytes_max();
        if found_bytes > limit_bytes {
            return Err(WriteError::TooLarge {
                found_bytes,
                limit_bytes,
            });
        }
        Ok(found_bytes)
    }

    /// Gives `answer` when what it rests on may be shown: when that is durable, or to a buffered write when it
    /// was answered before.
    async fn settled<E>(
        &self,
        (rests_on, commit): (&Newest, Commit),
        answer: Result<Written, WriteError<E>>,
    ) -> Result<Attempt, WriteError<E>> {
        let end = match rests_on.outcome() {
            None => BatchEnd::Durable,
            Some(_) if commit == Commit::Buffered && rests_on.is_acknowledged() => {
                BatchEnd::Durable
            }
            Some(outcome) => self.end_of(outcome).await,
        };
        match end {
            BatchEnd::Durable => answer.map(Attempt::Answered),
            BatchEnd::InDoubt | BatchEnd::NotWritten => Ok(Attempt::Again),
        }
    }

    /// Opens a batch that has room for a record of `stored` bytes, in another segment if it must be.
    /// `Ok(false)` if that needs something to be done first.
    pub(crate) fn make_room<E>(
        &self,
        stored: u64,
        may_open: bool,
        prepared: &mut Option<Prepared>,
    ) -> Result<bool, WriteError<E>> {
        let mut state = self.state.borrow_mut();
        state.log.close_batch(self.clock.now_ms());
        self.work.notify_all();
        if state.log.queued_batches() >= BATCHES_QUEUED_MAX {
            return Ok(false);
        }
        if !state.log.fits_open_segment(stored) {
            if !may_open {
                return self.wait_for_room(&mut state).map(|_| false);
            }
            if let Some(number) = state.log.close_segment() {
                state.segments.set_state(number, SegmentState::Closed);
            }
            drop(state);
            if !open_segment(self)? {
                return Ok(false);
            }
            state = self.state.borrow_mut();
        }
        let buffer = match prepared.take() {
            Some(prepared) => prepared.buffer,
            None => self.pool.take(state.log.batch_buffer_bytes(stored))?,
        };
        state.log.open_batch(buffer);
        Ok(true)
    }
}

/// When a writer looked at what it builds on.
#[derive(Clone, Copy)]
pub(crate) struct Epoch {
    truncations: u64,
    relocations: u64,
}

impl Epoch {
    fn of(state: &State) -> Self {
        Self {
            truncations: state.truncations.epoch(),
            relocations: state.relocations,
        }
    }
}

impl State {
    /// False if what `record` builds on is about to be truncated, or may have been moved, since `epoch`: then its
    /// writer looks again.
    fn still_holds(&self, epoch: Epoch, record: &NewRecord<'_>) -> bool {
        if self.truncations.epoch() != epoch.truncations {
            return false;
        }
        let Some(previous) = record
            .previous
            .filter(|_| self.relocations != epoch.relocations)
        else {
            return true;
        };
        let pending = self.pending.get(&TagKey::of(&record.digest));
        pending.is_some_and(|pending| pending.appended.address == previous)
            || self
                .index
                .lookup(&record.digest)
                .any(|entry| entry.address == previous)
    }

    /// Appends a record to the open batch. What builds on a record that is being moved builds on its copy.
    fn append(
        &mut self,
        record: &NewRecord<'_>,
        prepared: Option<u32>,
    ) -> (Appended, Lsn, Rc<Outcome>) {
        self.reclaim.note_append();
        let moving = record
            .previous
            .and_then(|old| self.moving.get(&old).copied());
        let Some(previous) = moving else {
            return self.log.append(record, prepared);
        };
        let record = NewRecord {
            previous,
            ..*record
        };
        self.log.append(&record, prepared)
    }
}

/// The answer to a delete that found nothing.
const NOTHING_TO_DELETE: Written = Written {
    generation: Generation::FIRST,
    expiry: ExpirySeconds::NEVER,
    version: Version::NONE,
    existed: false,
};
