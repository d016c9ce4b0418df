//! Reclaim: what lives in a mostly dead segment is copied to the end of the log, so that the segment can be freed.
//!
//! Copies go through the same batches as the writes of clients. One is appended only in the step in which the index points at
//! the old place, no newer version of the key is on its way, and no truncation is about to delete it: so the log
//! holds the versions of each key in order, copies included, and replay needs no other rule than that what stands
//! behind counts. `docs/decisions/0021-reclaim.md` says why.
//!
//! Steps: `choice` says which segment, `victim` reads it, `fate` decides record by record, `copies` appends and settles.
//! The segment itself is freed by `allocation`, by the rule for all segments, when nothing in it is needed any more.
//!
//! Invariants: what cannot be read back stays where it is, and its segment with it, so that no loss is hidden; a segment counts
//! as emptied only when all its copies are durable.

mod choice;
mod copies;
mod fate;
mod victim;

use std::collections::VecDeque;
use std::rc::Rc;

use corelith_io::BufferError;

use self::copies::Step;
use self::victim::{Survivor, Victim};
use crate::WriteError;
use crate::committer::{Event, Work};
use crate::format::fields::u64_of;
use crate::format::summary::{RecordRow, SummaryRow};
use crate::limits::{
    RECLAIM_BATCHES_MAX, RECLAIM_PASSES_MAX, RECLAIM_PIECE_BYTES, RECLAIM_RECORD_COST,
    RECLAIM_ROWS_AT_ONCE,
};
use crate::outcome::{BatchEnd, Outcome};
use crate::pause::yield_once;
use crate::pieces::is_long;
use crate::record::Record;
use crate::segments::Segment;
use crate::state::{ShardCore, State};

/// What reclaim is doing in a shard.
#[derive(Default)]
pub(crate) struct Reclaim {
    is_running: bool,
    /// Segments tried since a client's record was last appended.
    tried: usize,
}

impl Reclaim {
    pub(crate) const fn is_running(&self) -> bool {
        self.is_running
    }

    /// True if every one of `segments` has been tried twice and nobody has written since: what is dead lies so
    /// that moving what lives does not make room.
    pub(crate) const fn is_futile(&self, segments: usize) -> bool {
        self.tried > 2 * segments
    }

    /// A client's record has been appended.
    pub(crate) const fn note_append(&mut self) {
        self.tried = 0;
    }
}

/// Why reclaim leaves a segment before it is through.
enum Stop {
    /// The shard closes, or nothing can be written any more.
    Over,
    /// The log has no room for survivors, or the pool no memory.
    NoRoom,
    /// Copies did not become durable.
    Failed,
}

/// Starts reclaim if it is needed and there may be something for it.
pub(crate) fn start_reclaim(core: &Rc<ShardCore>, work: &mut Work) {
    {
        let state = &mut *core.state.borrow_mut();
        if state.reclaim.is_running
            || !state.may_reclaim()
            || !core.wants_reclaim(state)
            || core.is_fenced()
        {
            return;
        }
        state.reclaim.is_running = true;
    }
    let task = Rc::clone(core);
    work.push(Box::pin(async move {
        run(&task).await;
        task.state.borrow_mut().reclaim.is_running = false;
        Event::Reclaimed
    }));
}

async fn run(core: &ShardCore) {
    while !core.closing.get() && !core.is_fenced() {
        let Some(victim) = core.next_victim() else {
            return;
        };
        let ended = Mover::new(core, &victim).empty().await;
        core.work.notify_all();
        core.room.notify_all();
        match ended {
            Ok(()) => wait_for_freeing(core).await,
            Err(Stop::Failed) => {}
            Err(Stop::NoRoom) => {
                core.state.borrow_mut().segments.note_nothing_reclaimable();
                return;
            }
            Err(Stop::Over) => return,
        }
    }
}

/// Waits until what can be freed is free: only then is it known how much is still missing.
async fn wait_for_freeing(core: &ShardCore) {
    while !core.closing.get() {
        let changed = core.room.wait();
        {
            let state = &mut *core.state.borrow_mut();
            let waits = state.segments.is_freeing()
                || core.wants_reclaim(state) && state.segments.freeable().is_some();
            if !waits {
                return;
            }
        }
        changed.await;
    }
}

/// Moves what lives in one segment.
struct Mover<'a> {
    core: &'a ShardCore,
    victim: &'a Victim,
    /// Batches with copies in them that are not known to be durable, oldest first.
    batches: VecDeque<Rc<Outcome>>,
    /// What has to be looked at again when these have ended.
    left: Vec<RecordRow>,
    waits: Vec<Rc<Outcome>>,
    /// Records that cannot be moved.
    unmovable: u32,
    /// Bytes checked and copied since others had their turn.
    cost: u64,
}

impl<'a> Mover<'a> {
    const fn new(core: &'a ShardCore, victim: &'a Victim) -> Self {
        Self {
            core,
            victim,
            batches: VecDeque::new(),
            left: Vec::new(),
            waits: Vec::new(),
            unmovable: 0,
            cost: 0,
        }
    }

    /// Moves all that lives, waits until the copies are durable, and notes how the segment stands then.
    async fn empty(mut self) -> Result<(), Stop> {
        let Some(rows) = self.victim.rows(self.core).await? else {
            self.core.state.borrow_mut().note_stuck(self.victim, 1);
            return Ok(());
        };
        let mut rows: Vec<RecordRow> = rows.iter().filter_map(record_of).collect();
        let mut is_whole = false;
        for _ in 0..RECLAIM_PASSES_MAX {
            self.pass(&rows).await?;
            self.settle(0).await?;
            for outcome in std::mem::take(&mut self.waits) {
                self.core.end_of(outcome).await;
            }
            rows = std::mem::take(&mut self.left);
            is_whole = rows.is_empty();
            if is_whole {
                break;
            }
        }
        let mut state = self.core.state.borrow_mut();
        if self.unmovable > 0 {
            state.note_stuck(self.victim, self.unmovable);
        } else if is_whole {
            state.note_emptied(self.victim);
        }
        Ok(())
    }

    /// Goes once through records of the segment.
    async fn pass(&mut self, rows: &[RecordRow]) -> Result<(), Stop> {
        for rows in rows.chunks(RECLAIM_ROWS_AT_ONCE) {
            self.check()?;
            let survivors = self.core.sift(self.victim, rows);
            yield_once().await;
            let (headers, records): (Vec<_>, Vec<_>) = survivors
                .into_iter()
                .partition(|survivor| survivor.is_header);
            for header in &headers {
                self.move_record(header, None).await?;
            }
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let (group, behind) = rest.split_at(victim::group(rest));
                rest = behind;
                self.move_group(group).await?;
            }
        }
        Ok(())
    }

    /// Reads neighbours at once and moves each.
    async fn move_group(&mut self, group: &[Survivor]) -> Result<(), Stop> {
        let bytes = self.victim.read_group(self.core, group).await?;
        for survivor in group {
            match self
                .victim
                .record(self.core, survivor, bytes.as_ref())
                .await?
            {
                Some(record) => self.move_record(survivor, Some(&record)).await?,
                None => {
                    if self.core.still_needs(self.victim, survivor) {
                        self.unmovable += 1;
                    }
                }
            }
            let stored = u64_of(survivor.stored_bytes());
            self.cost += stored + RECLAIM_RECORD_COST;
            if self.cost >= RECLAIM_PIECE_BYTES {
                self.cost = 0;
                yield_once().await;
            }
        }
        Ok(())
    }

    /// Appends a copy of a record, or without one the header of an expired record, as soon as there is room for it.
    async fn move_record(
        &mut self,
        survivor: &Survivor,
        record: Option<&Record>,
    ) -> Result<(), Stop> {
        let core = self.core;
        let content = record.map_or(&[][..], |record| record.content());
        let mut preparation = None;
        let mut prepared = None;
        let mut asked = None;
        loop {
            self.check()?;
            let room = core.room.wait();
            if is_long(content.len()) && prepared.is_none() {
                preparation = preparation.or_else(|| core.begin_preparation());
                match preparation {
                    Some(_) => prepared = Some(core.prepare(content).await?),
                    None => room.await,
                }
                continue;
            }
            let step = core.try_move(self.victim, (survivor, record), &mut prepared, &asked)?;
            match step {
                Step::Done => return Ok(()),
                Step::Appended(outcome) => {
                    core.note_copy(survivor);
                    return self.note_batch(outcome).await;
                }
                Step::Later(outcome) => {
                    self.left.push(survivor.row);
                    self.waits.push(outcome);
                    return Ok(());
                }
                Step::Wait => room.await,
                Step::Ask(candidates) => {
                    match core.holds_key(&survivor.row.digest, &candidates).await {
                        Some(true) => return Ok(()),
                        Some(false) => asked = Some(candidates),
                        // Whether the key has a newer version cannot be read: the tombstone stays.
                        None => {
                            self.unmovable += 1;
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    async fn note_batch(&mut self, outcome: Rc<Outcome>) -> Result<(), Stop> {
        let is_known = self
            .batches
            .back()
            .is_some_and(|last| Rc::ptr_eq(last, &outcome));
        if !is_known {
            self.batches.push_back(outcome);
        }
        self.settle(RECLAIM_BATCHES_MAX).await
    }

    /// Waits until no more than `count_max` batches with copies are on their way.
    async fn settle(&mut self, count_max: usize) -> Result<(), Stop> {
        while self.batches.len() > count_max {
            let Some(oldest) = self.batches.pop_front() else {
                return Ok(());
            };
            match self.core.end_of(oldest).await {
                BatchEnd::Durable => {}
                BatchEnd::InDoubt | BatchEnd::NotWritten => return Err(Stop::Failed),
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Stop> {
        if self.core.closing.get() || self.core.is_fenced() {
            return Err(Stop::Over);
        }
        Ok(())
    }
}

impl From<BufferError> for Stop {
    fn from(_: BufferError) -> Self {
        Self::NoRoom
    }
}

/// Nobody's own reason to reject a copy.
type CopyError = WriteError<std::convert::Infallible>;

impl From<CopyError> for Stop {
    fn from(error: CopyError) -> Self {
        match error {
            WriteError::Closed | WriteError::Fenced => Self::Over,
            WriteError::InDoubt | WriteError::NotWritten => Self::Failed,
            WriteError::Rejected(_)
            | WriteError::OutOfSpace
            | WriteError::IndexFull
            | WriteError::TooLarge { .. }
            | WriteError::Clock { .. }
            | WriteError::KeyBusy
            | WriteError::Read(_)
            | WriteError::Buffer(_) => Self::NoRoom,
        }
    }
}

impl State {
    /// All that lived in the segment has a durable copy elsewhere, its tombstones included.
    fn note_emptied(&mut self, victim: &Victim) {
        self.counters.segments_reclaimed += 1;
        let segment_bytes = self.segments.segment_bytes();
        self.truncations.uncount_in(victim.number, segment_bytes);
        self.segments.change(victim.number, Segment::forget_buried);
    }

    /// Some of what lives in the segment cannot be moved: it is left alone until less lives in it.
    fn note_stuck(&mut self, victim: &Victim, count: u32) {
        self.counters.reclaim_damaged += u64::from(count);
        self.segments.change(victim.number, |segment| {
            segment.unmovable = segment.live_records.max(1);
        });
        tracing::error!(
            slot = victim.place.slot,
            segment_offset_bytes = victim.place.offset_bytes,
            records = count,
            "reclaim cannot read records back: they are answered with errors, and their segment is kept; put or \
             delete them, or restore them from a backup"
        );
    }
}

fn record_of(row: &SummaryRow) -> Option<RecordRow> {
    match row {
        SummaryRow::Record(record) => Some(*record),
        SummaryRow::Batch(_) => None,
    }
}
