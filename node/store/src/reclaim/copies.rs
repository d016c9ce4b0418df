//! Copies of records: appended if they are needed in that very step, and settled.

use std::rc::Rc;

use corelith_index::{Entry, ExpirySeconds};

use super::fate::{Fate, Kind};
use super::victim::{Survivor, Victim};
use super::{CopyError, WriteError};
use crate::batch::{Appended, Batch, Moved, NewRecord};
use crate::commit::Commit;
use crate::format::fields::u64_of;
use crate::format::record_header::{RecordFlags, RecordHeader};
use crate::outcome::Outcome;
use crate::pieces::Prepared;
use crate::place::RecordPlace;
use crate::record::Record;
use crate::state::{ShardCore, State, length_of};

/// How an attempt to move a record went.
pub(super) enum Step {
    /// It needs no copy.
    Done,
    /// A copy is in this batch.
    Appended(Rc<Outcome>),
    /// Only when this has ended it is known whether it needs one.
    Later(Rc<Outcome>),
    /// There is no room for the copy just now.
    Wait,
    /// Which of these keys it is must be read first.
    Ask(Vec<Entry>),
}

impl ShardCore {
    /// Appends a copy of a record, if one is needed and the log has room. `asked` are entries that are known to
    /// be other keys'; a content that has been prepared is taken when it is appended.
    pub(super) fn try_move(
        &self,
        victim: &Victim,
        (survivor, record): (&Survivor, Option<&Record>),
        prepared: &mut Option<Prepared>,
        asked: &Option<Vec<Entry>>,
    ) -> Result<Step, CopyError> {
        let fate = {
            let state = self.state.borrow();
            state.fate_of_row(self.number, victim, survivor, asked.as_deref())
        };
        let kind = match fate {
            Fate::Dead => return Ok(Step::Done),
            Fate::Later(outcome) => return Ok(Step::Later(outcome)),
            Fate::Ask(candidates) => return Ok(Step::Ask(candidates)),
            Fate::Lives(kind) => kind,
        };
        let copy = match record {
            Some(record) => copy_of((survivor, record), kind),
            None => header_of(survivor, kind, self.clock.now_ms()),
        };
        if !self.has_room_for_copy(&copy, prepared)? {
            return Ok(Step::Wait);
        }
        let state = &mut *self.state.borrow_mut();
        let checksum = prepared.as_ref().map(|prepared| prepared.content_checksum);
        let (appended, _, outcome) = state.log.append(&copy, checksum);
        if let Some(old) = copy.previous {
            state.moving.insert(old, Some(appended.address));
        }
        if checksum.is_some() {
            state.log.close_batch(self.clock.now_ms());
            self.work.notify_all();
        }
        Ok(Step::Appended(outcome))
    }

    /// A copy of `survivor` has been appended.
    pub(super) fn note_copy(&self, survivor: &Survivor) {
        let mut state = self.state.borrow_mut();
        state.counters.expired_headers_moved += u64::from(survivor.is_header);
    }

    /// Sees to an open batch that takes the copy; false if that needs something to be done first.
    fn has_room_for_copy(
        &self,
        copy: &NewRecord<'_>,
        prepared: &mut Option<Prepared>,
    ) -> Result<bool, CopyError> {
        let stored = RecordHeader::stored_bytes(u64_of(copy.content.len()));
        let may_open = {
            let mut state = self.state.borrow_mut();
            if prepared.is_none() && state.log.fits_open_batch(stored) {
                return Ok(true);
            }
            let is_left = state.segments.available(|slot| self.is_slot_fenced(slot)) > 0;
            if !is_left && !state.log.fits_open_segment_behind(stored) {
                let comes = state.segments.is_freeing() || state.segments.freeable().is_some();
                return match comes {
                    true => Ok(false),
                    false => Err(WriteError::OutOfSpace),
                };
            }
            is_left
        };
        self.make_room(stored, may_open, prepared)
    }
}

/// What is appended for a record. All that identifies the version stays as it is.
fn copy_of<'a>((survivor, record): (&Survivor, &'a Record), kind: Kind) -> NewRecord<'a> {
    let header = record.header();
    let twin = twin_of(kind);
    NewRecord {
        digest: match kind {
            Kind::Truncation(digest) => digest,
            Kind::Record { .. } | Kind::Tombstone { .. } | Kind::Definition => header.digest,
        },
        flags: header.flags.with(RecordFlags::MOVED).with(twin),
        generation: header.generation,
        set: header.set,
        expiry: header.expiry,
        updated_ms: header.updated_ms,
        content: record.content(),
        previous: match kind {
            Kind::Tombstone { .. } => None,
            Kind::Record { .. } | Kind::Definition | Kind::Truncation(_) => Some(survivor.address),
        },
        commit: Commit::Durable,
        is_above_acknowledged: false,
        replaced_bytes: 0,
        moved: Some(Moved {
            version: header.version,
            content_checksum: header.content_checksum,
        }),
    }
}

/// The flag by which a copy says that another key has its tag.
const fn twin_of(kind: Kind) -> RecordFlags {
    match kind {
        // Its own original may be gone when the copy is replayed, and only the twin be there.
        Kind::Record { has_twin: true } | Kind::Tombstone { has_twin: true } => RecordFlags::TWIN,
        Kind::Record { has_twin: false }
        | Kind::Tombstone { has_twin: false }
        | Kind::Definition
        | Kind::Truncation(_) => RecordFlags::NONE,
    }
}

/// What is appended for the header of an expired record: the tombstone of its version.
fn header_of<'a>(survivor: &Survivor, kind: Kind, now_ms: u64) -> NewRecord<'a> {
    let row = &survivor.row;
    let twin = twin_of(kind);
    NewRecord {
        digest: row.digest,
        flags: RecordFlags::TOMBSTONE.with(RecordFlags::MOVED).with(twin),
        generation: row.generation,
        set: row.set,
        expiry: ExpirySeconds::NEVER,
        updated_ms: now_ms,
        content: &[],
        previous: None,
        commit: Commit::Durable,
        is_above_acknowledged: false,
        replaced_bytes: 0,
        moved: Some(Moved {
            version: row.version,
            content_checksum: RecordHeader::checksum_content(&[]),
        }),
    }
}

impl State {
    /// A copy is durable: what points at the record points there from now on.
    pub(crate) fn apply_move(&mut self, batch: &Batch, appended: &Appended) {
        let row = &appended.row;
        self.counters.moved_records += 1;
        self.counters.moved_bytes += RecordHeader::stored_bytes(row.content_bytes.into());
        self.relocations += 1;
        let segment_bytes = self.segments.segment_bytes();
        if let Some(place) = RecordPlace::unpack(appended.address, segment_bytes) {
            self.segments.note_moved(place.segment, row.version);
        }
        if row.flags.contains(RecordFlags::TRUNCATION) {
            self.move_truncation(appended);
        } else if row.flags.contains(RecordFlags::META) {
            self.define(appended, batch.content(row).unwrap_or_default());
        } else if row.flags.contains(RecordFlags::TOMBSTONE) {
            self.bury(appended);
        } else {
            self.relocate(batch, appended);
        }
        self.forget_move(appended);
    }

    fn relocate(&mut self, batch: &Batch, appended: &Appended) {
        let row = &appended.row;
        let entry = Entry {
            address: appended.address,
            length: length_of(appended),
            generation: row.generation,
            expiry: row.expiry,
            set: row.set,
            is_damaged: false,
            is_moved: true,
        };
        let replaced = appended
            .previous
            .and_then(|old| self.index.replace(&row.digest, old, entry).zip(Some(old)));
        let Some((replaced, old)) = replaced else {
            self.segments.note_stale_copy(appended.address, row.expiry);
            return;
        };
        let is_cached = match (self.segments.life_at(old), &self.record_cache) {
            (Some(life), Some(cache)) => cache.peek(old, life).is_some(),
            (Some(_) | None, _) => false,
        };
        self.segments
            .note_dead(old, replaced.length, (replaced.is_moved, replaced.expiry));
        self.segments
            .note_live(appended.address, entry.length, entry.expiry);
        if is_cached {
            self.cache_written(batch, appended);
        }
    }

    /// A copy has been settled, or given up.
    pub(crate) fn forget_move(&mut self, appended: &Appended) {
        if let Some(old) = appended.previous {
            self.moving.remove(&old);
        }
    }
}
