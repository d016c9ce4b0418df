//! Memory that gets are about to read, fetched for many of them at once, so that their misses overlap instead of
//! following one another. It never changes what a get finds.
//!
//! Who knows several keys beforehand names them ([`fetch_ahead`]). Gets that come one by one each wait for one
//! round of the core's tasks; the first that comes back has the lines fetched that all of them will read.

use std::cell::RefCell;

use corelith_index::{Digest, Entry};
use corelith_io::{DeviceOffset, prefetch_line};

use crate::format::fields::usize_of;
use crate::limits::{ANNOUNCED_MAX, CACHE_LINE_BYTES, PREFETCHED_LINES_MAX};
use crate::pause::yield_once;
use crate::place::RecordPlace;
use crate::shard::Shard;
use crate::state::{ShardCore, State};

/// The keys of gets that wait for their round to end.
pub(crate) struct Announced {
    digests: RefCell<Vec<Digest>>,
}

impl Announced {
    /// None yet; the memory is taken now.
    pub(crate) fn new() -> Self {
        Self {
            digests: RefCell::new(Vec::with_capacity(ANNOUNCED_MAX)),
        }
    }
}

/// Has what gets of these keys are about to read fetched into the CPU's cache: lines of the index, and records in the
/// record cache with what leads there. Each key comes with the shard that owns it. It changes nothing and waits
/// for nothing. At most [`ANNOUNCED_MAX`] keys; more are passed over.
pub fn fetch_ahead<'a>(keys: impl Iterator<Item = (&'a Shard, &'a Digest)> + Clone) {
    let keys = keys
        .map(|(shard, digest)| (shard.core(), digest))
        .filter(|(core, _)| core.is_worth_fetching())
        .take(ANNOUNCED_MAX);
    fetch(keys);
}

/// One step for all keys before the next, since each step reads what the one before has fetched.
fn fetch<'a>(keys: impl Iterator<Item = (&'a ShardCore, &'a Digest)> + Clone) {
    // One alone would only do its look-up twice.
    if keys.clone().nth(1).is_none() {
        return;
    }
    for (core, digest) in keys.clone() {
        let index = &core.state.borrow().index;
        index.prefetch_directory(digest, prefetch_line);
    }
    for (core, digest) in keys.clone() {
        let index = &core.state.borrow().index;
        index.prefetch_entries(digest, prefetch_line);
    }
    let mut places: [Option<(&ShardCore, Entry)>; ANNOUNCED_MAX] = [None; ANNOUNCED_MAX];
    for (place, (core, digest)) in places.iter_mut().zip(keys) {
        let state = core.state.borrow();
        let only = state.index.lookup(digest).only();
        let Some(entry) = only.filter(|_| core.answers_from_memory(&state)) else {
            continue;
        };
        if let Some(cache) = &state.record_cache {
            cache.prefetch_bucket(entry.address, prefetch_line);
        }
        *place = Some((core, entry));
    }
    for (core, entry) in places.iter().flatten() {
        if let Some(cache) = &core.state.borrow().record_cache {
            cache.prefetch_slot(entry.address, prefetch_line);
        }
    }
    for (core, entry) in places.iter().flatten() {
        let state = core.state.borrow();
        match &state.record_cache {
            Some(cache) => cache.prefetch_record(entry.address, prefetch_line),
            None => core.prefetch_place(&state, entry),
        }
    }
}

impl ShardCore {
    /// True if gets of this shard miss the CPU's caches so often that fetching ahead is worth its while.
    pub(crate) fn is_worth_fetching(&self) -> bool {
        let state = self.state.borrow();
        self.answers_from_memory(&state) || state.index.memory_bytes() > self.index_bytes_cached
    }

    /// True if records may be found in the record cache or on devices in memory.
    pub(crate) fn answers_from_memory(&self, state: &State) -> bool {
        state.record_cache.is_some() || self.devices_are_memory
    }

    /// Has a record fetched whose device is memory.
    fn prefetch_place(&self, state: &State, entry: &Entry) {
        let place = RecordPlace::unpack(entry.address, state.segments.segment_bytes());
        let Some(place) = place else {
            return;
        };
        let segment = state.segments.get(place.segment);
        let device = segment.and_then(|segment| self.device(segment.place.slot));
        if let (Some(segment), Some(attached)) = (segment, device) {
            let offset = DeviceOffset::new(segment.place.offset_bytes + place.offset_bytes);
            let length = usize_of(u64::from(entry.length.bytes_max()));
            attached
                .device
                .prefetch(offset, length.min(PREFETCHED_LINES_MAX * CACHE_LINE_BYTES));
        }
    }

    /// Announces a look-up and waits for one round, if the index is so large that the look-up would miss the
    /// caches.
    pub(crate) async fn announce(&self, digest: &Digest) {
        if self.state.borrow().index.memory_bytes() <= self.index_bytes_cached {
            return;
        }
        let announced = {
            let mut digests = self.announced.digests.borrow_mut();
            digests.push(*digest);
            digests.len()
        };
        if announced < ANNOUNCED_MAX {
            yield_once().await;
        }
        let mut digests = self.announced.digests.borrow_mut();
        fetch(digests.iter().map(|digest| (self, digest)));
        digests.clear();
    }
}
