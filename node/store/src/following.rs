//! Following the log: all changes of a shard from a position on, in order, up to the durable watermark and on from there as
//! it rises.
//!
//! A follower is a cursor over the log on the devices: it keeps nothing alive, makes no writer wait, and holds one read at
//! a time. What it is behind by may be reclaimed under it: then it is told from where on everything is there.
//! `docs/decisions/0027-log-following.md` says what is promised, and why.
//!
//! Invariants: what is given is durable, and given once; copies that reclaim has made are no changes; nothing is passed over in
//! silence but positions that never counted.

mod rows;

use corelith_io::BufferError;

use self::rows::{BatchRows, Next, SealedRows, Stretch};
use crate::Lsn;
use crate::chain::Link;
use crate::format::fields::u64_of;
use crate::format::record_header::RecordFlags;
use crate::format::summary::{RecordRow, SummaryRow};
use crate::limits::{BATCH_RECORDS_MAX, FOLLOW_ATTEMPTS, FOLLOW_HOPS_MAX, FOLLOWERS_MAX};
use crate::log::OpenSegment;
use crate::pause::yield_once;
use crate::planted::{PlantedBug, is_planted};
use crate::record::Record;
use crate::segments::SegmentState;
use crate::shard::Shard;
use crate::state::{ShardCore, State};

/// Why a follower gets no change. But for [`FollowError::Reclaimed`] and [`FollowError::Closed`], asking again is right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FollowError {
    /// Changes at its position, or some behind it, are not in the log any more. Whoever wants all of them begins with a scan
    /// of the shard and follows from a position read before it.
    #[error("the log has been reclaimed there: it can be followed from position {oldest} on")]
    Reclaimed {
        /// From here on every change is there.
        oldest: Lsn,
    },
    /// Changes at these positions, both included, were durable and cannot be read. The follower stands before them, and goes on
    /// behind them when it is told to: see [`Follower::accept_damage`].
    #[error("the log is damaged from position {first} to {last}")]
    Damaged {
        /// The first.
        first: Lsn,
        /// The last.
        last: Lsn,
    },
    /// No log of this shard reaches so far.
    #[error("the log has not come to that position: its next is {next}")]
    Ahead {
        /// The next position that will be given.
        next: Lsn,
    },
    /// As many follow already as may.
    #[error("the shard has {limit} followers, and takes no more")]
    TooMany {
        /// How many that is.
        limit: usize,
    },
    /// The device is gone.
    #[error("the device of this part of the log is gone")]
    Gone,
    /// Part of the log was lost and nobody has accepted that.
    #[error(
        "part of this shard's log was lost: it cannot be followed until an operator accepts it"
    )]
    MayBeStale,
    /// No memory for it just now.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The shard has been closed, and everything was given.
    #[error("the shard is closed")]
    Closed,
}

/// What a change does.
///
/// A record that expires is a [`ChangeKind::Put`] with an expiry: it is gone, without a change of its own, when the store's clock,
/// which each batch carries, has come there. A record of an expiry would be told apart in `kind_of` alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// A version of a record.
    Put,
    /// The record is deleted.
    Delete,
    /// A number is given to a set: the content is the set's name.
    DefineSet,
    /// All records of the set, or of the shard if that is none, are deleted.
    Truncate,
}

/// One change.
#[derive(Clone, Debug)]
pub struct LogChange {
    /// What it does.
    pub kind: ChangeKind,
    /// Its number in its batch, in which copies made by reclaim are counted too.
    pub number: u32,
    /// Digest, set, version, generation, expiry, time, and content.
    pub record: Record,
}

/// The changes of one batch: all of them, or those behind the last batch that had any.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    /// Its position.
    pub lsn: Lsn,
    /// The store's clock when it was closed, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// In their order; not empty, unless all of them are damaged.
    pub changes: Vec<LogChange>,
    /// Changes that are missing, because the damage was accepted.
    pub damaged: u32,
}

/// A cursor over the changes of a shard. Each holds a place among the shard's followers until it is dropped.
pub struct Follower {
    shard: Shard,
    /// Everything before it has been given.
    next: Lsn,
    cursor: Option<Cursor>,
    accepts_damage: bool,
}

/// Where in a segment a follower is.
struct Cursor {
    first_lsn: Lsn,
    rows: Rows,
}

enum Rows {
    /// In memory: the row of a batch that all before `next` stand before.
    Live(usize),
    Sealed(SealedRows),
}

/// What is next to be done.
enum Step {
    /// Nothing, until the watermark rises.
    AtWatermark,
    /// Nothing, until the segment's summary is written.
    Sealing,
    /// To look again.
    Again,
    Read(Stretch, BatchRows),
    /// The footer of a segment.
    Footer(Stretch),
    /// More of a summary.
    Rows,
    /// The rows make no sense.
    Unreadable(Lsn),
}

impl Shard {
    /// Follows the log from `from` on: [`Lsn::NONE`] for from its beginning.
    ///
    /// # Errors
    /// [`FollowError::Ahead`], [`FollowError::TooMany`], [`FollowError::MayBeStale`] and [`FollowError::Reclaimed`].
    pub fn follow(&self, from: Lsn) -> Result<Follower, FollowError> {
        let core = self.core();
        let from = from.max(Lsn::new(1));
        {
            let state = core.state.borrow();
            let next = state.log.next_lsn();
            if from > next {
                return Err(FollowError::Ahead { next });
            }
            core.may_follow(&state, from)?;
        }
        if core.followers.get() >= FOLLOWERS_MAX {
            let limit = FOLLOWERS_MAX;
            return Err(FollowError::TooMany { limit });
        }
        core.followers.set(core.followers.get() + 1);
        Ok(Follower {
            shard: self.clone(),
            next: from,
            cursor: None,
            accepts_damage: false,
        })
    }

    /// The oldest position that the log can be followed from.
    #[must_use]
    pub fn oldest_lsn(&self) -> Lsn {
        self.core().state.borrow().chain.oldest()
    }

    /// The durable watermark: followers are given changes up to here.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.core().state.borrow().log.durable
    }
}

impl Follower {
    /// Where it goes on: every change before this position has been given. Whoever stores it goes on from there after a restart.
    #[must_use]
    pub const fn position(&self) -> Lsn {
        self.next
    }

    /// The next batch with changes; waits for one.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn next(&mut self) -> Result<ChangeBatch, FollowError> {
        let shard = self.shard.clone();
        loop {
            let changed = shard.core().followed.wait();
            if let Some(batch) = self.step().await? {
                return Ok(batch);
            }
            if shard.core().closing.get() && shard.core().state.borrow().log.is_drained() {
                return Err(FollowError::Closed);
            }
            changed.await;
        }
    }

    /// The next batch with changes, `None` if there is none up to the durable watermark.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn step(&mut self) -> Result<Option<ChangeBatch>, FollowError> {
        let shard = self.shard.clone();
        let core = shard.core();
        loop {
            let changed = core.followed.wait();
            let step = self.look(core)?;
            match step {
                Step::AtWatermark => return Ok(None),
                Step::Sealing => changed.await,
                Step::Again => {}
                Step::Read(stretch, rows) => {
                    if let Some(batch) = self.read(core, &stretch, &rows).await? {
                        return Ok(Some(batch));
                    }
                    if self.next <= rows.batch.lsn {
                        // Planted: the device does not have it yet.
                        return Ok(None);
                    }
                }
                Step::Footer(stretch) => {
                    let found = SealedRows::find(core, stretch).await?;
                    core.may_follow(&core.state.borrow(), self.next)?;
                    match found {
                        Some(rows) => {
                            self.cursor = Some(Cursor {
                                first_lsn: stretch.first_lsn,
                                rows: Rows::Sealed(rows),
                            });
                        }
                        None => self.meet_unreadable(core, stretch.first_lsn)?,
                    }
                }
                Step::Rows => self.read_rows(core).await?,
                Step::Unreadable(first_lsn) => self.meet_unreadable(core, first_lsn)?,
            }
            yield_once().await;
        }
    }

    /// Has the follower go on behind the damage that it stands before: the next batch lacks what is damaged, and says so; what
    /// is not known at all is passed over.
    pub fn accept_damage(&mut self) {
        self.accepts_damage = true;
    }

    /// What is next to be done, without waiting.
    fn look(&mut self, core: &ShardCore) -> Result<Step, FollowError> {
        let state = core.state.borrow();
        core.may_follow(&state, self.next)?;
        let watermark = match is_planted(PlantedBug::FollowPastWatermark) {
            true => state.log.last_counted(),
            false => state.log.durable,
        };
        let Some(link) = state.chain.find(self.next) else {
            return Ok(Step::AtWatermark);
        };
        if self.next > watermark {
            return Ok(Step::AtWatermark);
        }
        let Some(stretch) = core.stretch_of(&state, link) else {
            return Ok(Step::AtWatermark);
        };
        match open_rows(&state, link) {
            Some(segment) => {
                let first = match &self.cursor {
                    Some(Cursor {
                        first_lsn,
                        rows: Rows::Live(row),
                    }) if *first_lsn == link.first_lsn => *row,
                    Some(_) | None => 0,
                };
                Ok(self.look_at_open(&state, (segment, stretch), first, watermark))
            }
            None if state
                .segments
                .get(link.number)
                .is_some_and(|segment| segment.state == SegmentState::Closed) =>
            {
                Ok(Step::Sealing)
            }
            None => Ok(self.look_at_sealed(&state, stretch)),
        }
    }

    /// The next batch of a segment whose rows are in memory, from row `row` on.
    fn look_at_open(
        &mut self,
        state: &State,
        (segment, stretch): (&OpenSegment, Stretch),
        mut row: usize,
        watermark: Lsn,
    ) -> Step {
        for _ in 0..FOLLOW_HOPS_MAX {
            let batch = match segment.rows.get(row) {
                Some(SummaryRow::Batch(batch)) => *batch,
                Some(SummaryRow::Record(_)) | None => {
                    return self.leave(state, segment.first_lsn);
                }
            };
            if batch.lsn > watermark || batch.length_bytes == 0 {
                return Step::AtWatermark;
            }
            let count = usize::try_from(batch.record_count).unwrap_or(BATCH_RECORDS_MAX);
            if batch.lsn >= self.next {
                let records = segment.rows.iter().skip(row + 1).take(count);
                let records = records.filter_map(|row| match row {
                    SummaryRow::Record(record) => Some(*record),
                    SummaryRow::Batch(_) => None,
                });
                let records: Vec<RecordRow> = records.collect();
                return Step::Read(stretch, BatchRows { batch, records });
            }
            row += 1 + count;
            self.cursor = Some(Cursor {
                first_lsn: segment.first_lsn,
                rows: Rows::Live(row),
            });
        }
        Step::Again
    }

    /// The next batch of a segment that is sealed.
    fn look_at_sealed(&mut self, state: &State, stretch: Stretch) -> Step {
        let rows = match &mut self.cursor {
            Some(Cursor {
                first_lsn,
                rows: Rows::Sealed(rows),
            }) if *first_lsn == stretch.first_lsn && rows.stretch().life == stretch.life => rows,
            Some(_) | None => return Step::Footer(stretch),
        };
        match rows.next(self.next) {
            Some(Next::Batch(rows)) => Step::Read(stretch, rows),
            Some(Next::Unread) => Step::Rows,
            Some(Next::End) => self.leave(state, stretch.first_lsn),
            None => Step::Unreadable(stretch.first_lsn),
        }
    }

    /// The segment holds nothing more: goes on with the one behind it.
    fn leave(&mut self, state: &State, first_lsn: Lsn) -> Step {
        match state.chain.behind(first_lsn) {
            Some(link) => {
                self.next = self.next.max(link.first_lsn);
                self.cursor = None;
                Step::Again
            }
            None => Step::AtWatermark,
        }
    }

    /// Reads more rows of the sealed segment that the cursor is in.
    async fn read_rows(&mut self, core: &ShardCore) -> Result<(), FollowError> {
        let Some(Cursor {
            first_lsn,
            rows: Rows::Sealed(rows),
        }) = &mut self.cursor
        else {
            return Ok(());
        };
        let first_lsn = *first_lsn;
        let is_read = rows.read_more(core).await?;
        core.may_follow(&core.state.borrow(), self.next)?;
        match is_read {
            true => Ok(()),
            false => self.meet_unreadable(core, first_lsn),
        }
    }

    /// Nobody can say what is in the segment from here on.
    fn meet_unreadable(&mut self, core: &ShardCore, first_lsn: Lsn) -> Result<(), FollowError> {
        self.cursor = None;
        let state = core.state.borrow();
        let behind = state.chain.behind(first_lsn);
        let (first, last) = (
            self.next,
            behind.map_or(state.log.durable, |link| link.predecessor),
        );
        if first <= last && !self.accepts_damage {
            return Err(FollowError::Damaged { first, last });
        }
        self.accepts_damage &= first > last;
        // Positions in between are void: nobody is to look for them in this segment again.
        let next = behind.map_or(last.advanced(1), |link| link.first_lsn);
        self.next = self.next.max(next);
        Ok(())
    }

    /// Reads the changes of a batch; `None` if it has none.
    async fn read(
        &mut self,
        core: &ShardCore,
        stretch: &Stretch,
        rows: &BatchRows,
    ) -> Result<Option<ChangeBatch>, FollowError> {
        let lsn = rows.batch.lsn;
        let wanted: Vec<(u32, &RecordRow)> = (0..)
            .zip(&rows.records)
            .filter(|(_, row)| is_change(row.flags))
            .collect();
        let mut changes = Vec::new();
        for _ in 0..FOLLOW_ATTEMPTS {
            if wanted.is_empty() {
                break;
            }
            changes = read_changes(core, stretch, rows, &wanted).await?;
            // The segment may have been freed and used again meanwhile.
            core.may_follow(&core.state.borrow(), self.next)?;
            if changes.len() == wanted.len() {
                break;
            }
        }
        let damaged = wanted.len() - changes.len();
        if damaged > 0 {
            if is_planted(PlantedBug::FollowPastWatermark) {
                return Ok(None);
            }
            if !self.accepts_damage {
                let (first, last) = (lsn, lsn);
                return Err(FollowError::Damaged { first, last });
            }
            self.accepts_damage = false;
        }
        self.next = lsn.advanced(1);
        core.state.borrow_mut().counters.followed_changes += u64_of(changes.len());
        Ok((!wanted.is_empty()).then_some(ChangeBatch {
            lsn,
            time_ms: rows.batch.time_ms,
            changes,
            damaged: u32::try_from(damaged).unwrap_or(u32::MAX),
        }))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let followers = &self.shard.core().followers;
        followers.set(followers.get().saturating_sub(1));
    }
}

impl ShardCore {
    /// Whether every change from `next` on is still there.
    fn may_follow(&self, state: &State, next: Lsn) -> Result<(), FollowError> {
        if self.stale.get() {
            return Err(FollowError::MayBeStale);
        }
        let oldest = state.chain.oldest();
        match next < oldest {
            true => Err(FollowError::Reclaimed { oldest }),
            false => Ok(()),
        }
    }

    fn stretch_of(&self, state: &State, link: Link) -> Option<Stretch> {
        let segment = state.segments.get(link.number)?;
        let attached = self.device(segment.place.slot)?;
        Some(Stretch {
            first_lsn: link.first_lsn,
            place: segment.place,
            life: segment.life,
            binding: attached.binding,
            geometry: state.log.geometry(),
        })
    }
}

/// The rows of a segment that the log appends to, or of which not every batch is durable.
fn open_rows(state: &State, link: Link) -> Option<&OpenSegment> {
    let closed = state.log.closed.iter();
    let mut segments = closed.chain(&state.log.segment);
    segments.find(|segment| segment.first_lsn == link.first_lsn)
}

/// One read of a batch, and those of `wanted` that verify, if they are all of the first ones.
async fn read_changes(
    core: &ShardCore,
    stretch: &Stretch,
    rows: &BatchRows,
    wanted: &[(u32, &RecordRow)],
) -> Result<Vec<LogChange>, FollowError> {
    let (start, length) = (rows.batch.offset_bytes, u64::from(rows.batch.length_bytes));
    let is_possible = length > 0
        && start.is_multiple_of(core.logical_block_bytes)
        && length.is_multiple_of(core.logical_block_bytes)
        && start + length <= stretch.geometry.segment_bytes;
    if !is_possible {
        return Ok(Vec::new());
    }
    let Some(buffer) = stretch.read(core, start, length).await? else {
        return Ok(Vec::new());
    };
    let buffer = buffer.freeze();
    let mut changes = Vec::with_capacity(wanted.len());
    for (number, row) in wanted {
        let on_device = (stretch.place.offset_bytes + row.offset_bytes, stretch.life);
        let Some(at) = row.offset_bytes.checked_sub(start) else {
            continue;
        };
        let record = Record::verify(buffer.clone(), at, stretch.binding, on_device).await;
        let record = record.ok().filter(|record| {
            let header = record.header();
            header.version == row.version
                && header.digest == row.digest
                && header.flags == row.flags
        });
        changes.extend(record.map(|record| LogChange {
            kind: kind_of(row.flags),
            number: *number,
            record,
        }));
    }
    Ok(changes)
}

/// Whether a record tells of a change.
fn is_change(flags: RecordFlags) -> bool {
    !flags.contains(RecordFlags::MOVED) || is_planted(PlantedBug::FollowMoves)
}

fn kind_of(flags: RecordFlags) -> ChangeKind {
    if flags.contains(RecordFlags::TRUNCATION) {
        ChangeKind::Truncate
    } else if flags.contains(RecordFlags::META) {
        ChangeKind::DefineSet
    } else if flags.contains(RecordFlags::TOMBSTONE) {
        ChangeKind::Delete
    } else {
        ChangeKind::Put
    }
}
