//! Expired records: absent at once by the store's clock, taken out of the index in the background, and kept in the log by their
//! headers for as long as an older version could come back without them.
//!
//! The owner of a shard gives it a tick now and then. While the clock is trusted, a tick notes up to when records have expired for
//! good, and has a sweep through the index begin, if accounts of segments say that there may be something for it, and go on a
//! bounded number of entries. Reclaim takes out what it meets. `docs/decisions/0026-expiry.md` says why.
//!
//! Invariants: an entry is taken out only at a time of a trusted clock, and the store's clock is never behind that time in
//! what is written from then on; a record that was taken out counts as the tombstone of its version.

use std::rc::Rc;

use corelith_index::{Entry, ExpirySeconds, PartitionId, RecordAddress, ScanPosition, Scanned};

use crate::committer::{Event, Work};
use crate::format::summary::RecordRow;
use crate::index_walk::WalkPosition;
use crate::limits::{EXPIRY_ENTRIES_PER_TICK, EXPIRY_INTERVAL_SECONDS};
use crate::pause::yield_once;
use crate::state::{ShardCore, State, TagKey};
use crate::store_clock::is_expired_by;

/// What sweeps of expired records are doing in a shard.
pub(crate) struct Expiry {
    /// One is to begin.
    is_wanted: bool,
    is_sweeping: bool,
    /// Somebody waits for the room that it makes: it does not wait for ticks.
    is_urgent: bool,
    /// What the last one was for: nothing that expires up to here was left in the index, but for what had a write on its way.
    swept: ExpirySeconds,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            is_wanted: false,
            is_sweeping: false,
            is_urgent: false,
            swept: ExpirySeconds::NEVER,
        }
    }
}

impl ShardCore {
    /// Some time has passed. The owner calls it about once a second, or the space of expired records stays taken.
    pub(crate) fn tick(&self) {
        if let Some(doubt) = self.clock.news() {
            self.tell_doubt(doubt.is_some());
        }
        if self.closing.get() || self.stale.get() {
            return;
        }
        let Some(expired) = self.clock.removable() else {
            return;
        };
        {
            let state = &mut *self.state.borrow_mut();
            state.segments.note_time(expired);
            let passed = expired.get().saturating_sub(state.expiry.swept.get());
            let is_due = passed >= EXPIRY_INTERVAL_SECONDS;
            state.expiry.is_wanted |= is_due && state.may_expire_more();
        }
        self.ticks.notify_all();
        self.work.notify_all();
    }

    fn tell_doubt(&self, is_doubtful: bool) {
        let shard = self.number;
        match self.clock.doubt() {
            Some(doubt) if is_doubtful => tracing::warn!(
                shard,
                %doubt,
                "the clock is not trusted: expired records are invisible but not removed until it has run evenly for an hour. \
                 Look after the time service; if the time is right, set clock_jump_max to none and back"
            ),
            Some(_) | None => {
                tracing::info!(
                    shard,
                    "the clock is trusted again: expired records are removed"
                );
            }
        }
    }

    /// True if a sweep of expired records is under way, or begins now, that may make room for who asks.
    pub(crate) fn may_expire(&self, state: &mut State) -> bool {
        if !state.expiry.is_sweeping {
            let Some(expired) = self.clock.removable() else {
                return false;
            };
            let passed = expired.get().saturating_sub(state.expiry.swept.get());
            state.segments.note_time(expired);
            if passed < EXPIRY_INTERVAL_SECONDS || !state.may_expire_more() {
                return false;
            }
            state.expiry.is_wanted = true;
        }
        state.expiry.is_urgent = true;
        self.ticks.notify_all();
        self.work.notify_all();
        true
    }
}

impl State {
    /// True if something may have expired that no sweep has been for.
    fn may_expire_more(&self) -> bool {
        self.segments.may_hold_expired(self.expiry.swept)
    }

    /// Takes an entry out of the index whose record has expired for good, unless something is on its way that builds on it.
    /// True if it did.
    pub(crate) fn expire(&mut self, (partition, scanned): (PartitionId, &Scanned)) -> bool {
        let entry = &scanned.entry;
        let key = TagKey::at(partition, scanned.position);
        let is_left = !is_expired_by(entry.expiry, self.segments.expired())
            || self.pending.contains_key(&key)
            || self.moving.contains_key(&entry.address)
            || self.truncations.has_deleted(&self.segments, entry);
        if is_left {
            return false;
        }
        let removed = self
            .index
            .remove_at(partition, scanned.position, entry.address);
        if let Some(entry) = removed {
            self.note_expired(&entry);
        }
        removed.is_some()
    }

    /// The same with the record of a row at `address`, if the index points there.
    pub(crate) fn expire_row(&mut self, row: &RecordRow, address: RecordAddress) {
        let mut candidates = self.index.lookup(&row.digest);
        if let Some(entry) = candidates.find(|entry| entry.address == address) {
            let position = ScanPosition::of(&row.digest);
            self.expire((row.digest.partition(), &Scanned { position, entry }));
        }
    }

    fn note_expired(&mut self, entry: &Entry) {
        let Entry {
            address, length, ..
        } = *entry;
        self.segments
            .note_expired(address, length, (entry.is_moved, entry.expiry));
        self.relocations += 1;
        self.counters.expired_records += 1;
        self.counters.expired_bytes += u64::from(length.bytes_max());
        if let Some(cache) = &mut self.record_cache {
            cache.remove(address);
        }
    }
}

/// Starts the sweep that is wanted.
pub(crate) fn start_expiry(core: &Rc<ShardCore>, work: &mut Work) {
    let state = &mut *core.state.borrow_mut();
    if !state.expiry.is_wanted || state.expiry.is_sweeping {
        return;
    }
    state.expiry.is_wanted = false;
    state.expiry.is_sweeping = true;
    let task = Rc::clone(core);
    work.push(Box::pin(async move {
        sweep(&task).await;
        let expiry = &mut task.state.borrow_mut().expiry;
        expiry.is_sweeping = false;
        expiry.is_urgent = false;
        Event::Expired
    }));
}

/// Goes once through the index. Gives up when the shard closes, or the clock is doubted.
async fn sweep(core: &ShardCore) {
    let (up_to, mut at) = {
        let state = core.state.borrow();
        let first = WalkPosition::first(state.index.shard());
        (state.segments.expired(), first)
    };
    let mut looked_at = 0;
    while let Some(position) = at {
        let tick = core.ticks.wait();
        if core.closing.get() || core.clock.removable().is_none() {
            return;
        }
        let (walked, is_urgent) = {
            let state = &mut *core.state.borrow_mut();
            let walked = state.walk_step(position, |state, partition, scanned| {
                state.expire((partition, scanned))
            });
            (walked, state.expiry.is_urgent)
        };
        at = walked.next;
        looked_at += walked.looked_at.max(1);
        if walked.removed > 0 {
            // A segment may hold nothing any more, and who waits for room may have it.
            core.work.notify_all();
            core.room.notify_all();
        }
        if looked_at >= EXPIRY_ENTRIES_PER_TICK && !is_urgent && at.is_some() {
            looked_at = 0;
            tick.await;
        } else {
            yield_once().await;
        }
    }
    let state = &mut *core.state.borrow_mut();
    state.expiry.swept = up_to;
    state.counters.expiry_sweeps += 1;
}
