//! Record cache: encoded records of one shard in memory, header and content as they stand on the device.
//!
//! A record is found by its place and its life, which the index and the segment table give: so what is
//! found is the version that they point at, and nothing here can be stale. It is verified before it comes
//! in and never again. It stands in memory of its own, copied once, so that a small record holds no large
//! buffer; a get shares that memory.
//!
//! Two queues in order of arrival decide what leaves. What comes in stands in the *probation* queue; what was
//! used there moves on to the *main* queue when its turn to leave comes, and what was used in the main queue
//! gets another round. What left probation unused is remembered by a fingerprint for a while, and goes
//! straight to the main queue when it comes again. So keys that are read once push out only each other.
//!
//! Invariants: memory of all records, slots and tables stays within the limit; every step is bounded,
//! whatever the size of the cache: no table grows, no walk is longer than `limits.rs` says. Never knows: a
//! key, whether a record is current, the time.

mod slots;

use std::ptr;
use std::rc::Rc;

use corelith_index::RecordAddress;

use self::slots::{NOWHERE, Queue, SLOT_BYTES, Slots};
use crate::Life;
use crate::format::fields::{u64_of, usize_of};
use crate::format::record_header::RECORD_HEADER_BYTES;
use crate::limits::{
    CACHE_LOOKS_MAX, CACHE_PROBATION_PERCENT, CACHE_SHARE_MIN, CACHED_RECORD_BYTES_MAX,
};

/// The allocator's own bytes for each piece of memory, and what it rounds lengths to.
const ALLOCATION_OVERHEAD_BYTES: u64 = 8;
const ALLOCATION_UNIT_BYTES: u64 = 16;
/// The two counts in front of shared bytes.
const SHARED_COUNTS_BYTES: u64 = 16;
/// Bytes of one bucket, and of one fingerprint.
const TABLE_ENTRY_BYTES: u64 = 4;

/// What a record of so many encoded bytes costs, all in.
const fn cost_bytes(encoded_bytes: u64) -> u64 {
    let taken = encoded_bytes + SHARED_COUNTS_BYTES + ALLOCATION_OVERHEAD_BYTES;
    taken.next_multiple_of(ALLOCATION_UNIT_BYTES) + SLOT_BYTES
}

/// What the cache holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordCacheStatistics {
    /// What it may take, in bytes; 0 if there is none.
    pub limit_bytes: u64,
    /// What it takes, in bytes: records, their slots, and the tables. Memory of a record that left while
    /// an answer is being made from it is not counted any more.
    pub used_bytes: u64,
    /// Records in it.
    pub records: u64,
    /// Reads of records that were found in it.
    pub hits: u64,
    /// Reads of records that were not.
    pub misses: u64,
    /// Records that left to make room.
    pub evictions: u64,
}

/// The cache of one shard.
pub(crate) struct RecordCache {
    slots: Slots,
    /// First slot of each bucket.
    buckets: Vec<u32>,
    /// Fingerprints of records that left probation unused; zero is none.
    departed: Vec<u32>,
    /// What tables take whatever is in the cache.
    tables_bytes: u64,
    statistics: RecordCacheStatistics,
}

/// There is no memory of that size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoCacheMemory;

impl RecordCache {
    /// An empty cache that never takes more than `limit_bytes`; `None` if that is too little for any record.
    pub(crate) fn new(limit_bytes: u64) -> Result<Option<Self>, NoCacheMemory> {
        let slots_max = limit_bytes / cost_bytes(u64_of(RECORD_HEADER_BYTES));
        let slots_max = u32::try_from(slots_max).unwrap_or(u32::MAX - 1);
        // Records are several times as long as the shortest: half a bucket for each of those is enough.
        let bucket_count = (u64::from(slots_max) / 2).next_power_of_two();
        let departed_count = (u64::from(slots_max) / 4).next_power_of_two();
        let tables_bytes = (bucket_count + departed_count) * TABLE_ENTRY_BYTES;
        if limit_bytes < CACHE_SHARE_MIN * cost_bytes(u64_of(RECORD_HEADER_BYTES)) + tables_bytes {
            return Ok(None);
        }
        Ok(Some(Self {
            slots: Slots::new(slots_max)?,
            buckets: zeros(bucket_count)?,
            departed: zeros(departed_count)?,
            tables_bytes,
            statistics: RecordCacheStatistics {
                limit_bytes,
                used_bytes: tables_bytes,
                ..RecordCacheStatistics::default()
            },
        }))
    }

    /// The encoded record at `address`, written in `life`; noted as used.
    pub(crate) fn get(&mut self, address: RecordAddress, life: Life) -> Option<Rc<[u8]>> {
        let number = self.find(address.packed());
        let found = self.slots.used(number, life);
        self.statistics.hits += u64::from(found.is_some());
        found
    }

    /// A record had to be read from the device. Counted apart from [`Self::get`], which may be asked twice
    /// for one read.
    pub(crate) const fn missed(&mut self) {
        self.statistics.misses += 1;
    }

    /// The same, without a trace: for scans, which say nothing about what will be read again.
    pub(crate) fn peek(&self, address: RecordAddress, life: Life) -> Option<Rc<[u8]>> {
        self.slots.bytes(self.find(address.packed()), life)
    }

    /// The first of three steps that have fetched what [`Self::get`] of a place will read, each for many places
    /// before the next: `hint` is called with an address in each line. This step's are its bucket's.
    pub(crate) fn prefetch_bucket(&self, address: RecordAddress, hint: impl Fn(*const u8)) {
        if let Some(first) = self.buckets.get(self.bucket_of(address.packed())) {
            hint(ptr::from_ref(first).cast());
        }
    }

    /// The second step: the first slot of the bucket, nearly always the only one.
    pub(crate) fn prefetch_slot(&self, address: RecordAddress, hint: impl Fn(*const u8)) {
        let first = self.buckets.get(self.bucket_of(address.packed()));
        self.slots.prefetch(first.copied().unwrap_or(NOWHERE), hint);
    }

    /// The third step: the record, if it is there.
    pub(crate) fn prefetch_record(&self, address: RecordAddress, hint: impl Fn(*const u8)) {
        self.slots.prefetch_bytes(self.find(address.packed()), hint);
    }

    /// Takes in a verified record. One that would crowd out too many others is left out.
    pub(crate) fn insert(&mut self, address: RecordAddress, life: Life, encoded: &[u8]) {
        let packed = address.packed();
        let at = departed_at(packed, self.departed_mask());
        let fingerprint = self.departed.get_mut(at);
        let queue = match fingerprint {
            Some(found) if *found == fingerprint_of(packed) => {
                *found = 0;
                Queue::Main
            }
            Some(_) | None => Queue::Probation,
        };
        self.insert_into(queue, (packed, life), encoded);
    }

    /// Takes in a record that was just written, in the place of its version before, if there was one: what
    /// the old one had earned is the new one's.
    pub(crate) fn insert_written(
        &mut self,
        (address, life): (RecordAddress, Life),
        previous: Option<RecordAddress>,
        encoded: &[u8],
    ) {
        let queue = previous.and_then(|old| self.remove(old));
        let queue = queue.unwrap_or(Queue::Probation);
        self.insert_into(queue, (address.packed(), life), encoded);
    }

    /// Forgets the record at `address`: nothing points there any more. Says in which queue it stood.
    pub(crate) fn remove(&mut self, address: RecordAddress) -> Option<Queue> {
        let number = self.find(address.packed());
        self.take_out(number)
    }

    /// What it holds and has done.
    pub(crate) const fn statistics(&self) -> RecordCacheStatistics {
        self.statistics
    }

    fn insert_into(&mut self, queue: Queue, (packed, life): (u64, Life), encoded: &[u8]) {
        let number = self.find(packed);
        self.take_out(number);
        let cost = cost_bytes(u64_of(encoded.len()));
        let room = self.statistics.limit_bytes - self.tables_bytes;
        if encoded.len() > CACHED_RECORD_BYTES_MAX || cost > room / CACHE_SHARE_MIN {
            return;
        }
        self.make_room(cost);
        let bucket = self.bucket_of(packed);
        let Some(first) = self.buckets.get_mut(bucket) else {
            return;
        };
        // The one copy into the cache, and its one allocation: off the road of a hit.
        let bytes: Rc<[u8]> = Rc::from(encoded);
        if let Some(number) = self.slots.add((packed, life), bytes, (queue, cost), *first) {
            *first = number;
            self.statistics.used_bytes += cost;
            self.statistics.records += 1;
        }
    }

    /// Lets records leave until `cost` bytes more fit.
    fn make_room(&mut self, cost: u64) {
        let mut looks = 0;
        while self.statistics.used_bytes + cost > self.statistics.limit_bytes {
            let room = self.statistics.limit_bytes - self.tables_bytes;
            let probation_bytes = room / 100 * CACHE_PROBATION_PERCENT;
            let queue = if self.slots.bytes_of(Queue::Probation) > probation_bytes
                || self.slots.oldest(Queue::Main) == NOWHERE
            {
                Queue::Probation
            } else {
                Queue::Main
            };
            let oldest = self.slots.oldest(queue);
            // Past the bound the oldest leaves, used or not: a walk may not take as long as it likes.
            if looks < CACHE_LOOKS_MAX && self.slots.spare(oldest, queue) {
                looks += 1;
                continue;
            }
            let Some(packed) = self.slots.packed(oldest) else {
                return;
            };
            self.take_out(oldest);
            self.statistics.evictions += 1;
            if queue == Queue::Probation {
                let at = departed_at(packed, self.departed_mask());
                if let Some(fingerprint) = self.departed.get_mut(at) {
                    *fingerprint = fingerprint_of(packed);
                }
            }
        }
    }

    /// Takes a slot out of its bucket and its queue.
    fn take_out(&mut self, number: u32) -> Option<Queue> {
        let packed = self.slots.packed(number)?;
        let bucket = self.bucket_of(packed);
        let first = self.buckets.get_mut(bucket)?;
        if *first == number {
            *first = self.slots.next_of(number);
        } else {
            let mut before = *first;
            while self.slots.next_of(before) != number {
                before = self.slots.next_of(before);
                if before == NOWHERE {
                    return None;
                }
            }
            self.slots.skip_next(before);
        }
        let (queue, cost) = self.slots.free(number)?;
        self.statistics.used_bytes -= cost;
        self.statistics.records -= 1;
        Some(queue)
    }

    fn find(&self, packed: u64) -> u32 {
        let mut number = self
            .buckets
            .get(self.bucket_of(packed))
            .copied()
            .unwrap_or(NOWHERE);
        while number != NOWHERE && self.slots.packed(number) != Some(packed) {
            number = self.slots.next_of(number);
        }
        number
    }

    fn bucket_of(&self, packed: u64) -> usize {
        usize_of(mix(packed) & (u64_of(self.buckets.len()) - 1))
    }

    fn departed_mask(&self) -> u64 {
        u64_of(self.departed.len()) - 1
    }
}

/// Spreads places over the tables. Peers do not choose places, so it needs no secret.
const fn mix(packed: u64) -> u64 {
    let mixed = (packed ^ packed >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 29
}

fn departed_at(packed: u64, mask: u64) -> usize {
    usize_of(mix(packed) >> 16 & mask)
}

/// Never zero. Of two places with one fingerprint one may enter the main queue too early: no harm.
fn fingerprint_of(packed: u64) -> u32 {
    let [a, b, c, d, ..] = mix(packed)
        .wrapping_mul(0xD6E8_FEB8_6659_FD93)
        .to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) | 1
}

/// A table of zeros, its memory taken at the start.
fn zeros(count: u64) -> Result<Vec<u32>, NoCacheMemory> {
    let mut probe: Vec<u32> = Vec::new();
    probe
        .try_reserve_exact(usize_of(count))
        .map_err(|_| NoCacheMemory)?;
    drop(probe);
    // Zeroed by the system page by page, as it is touched: a large table costs no time now.
    Ok(vec![0; usize_of(count)])
}

#[cfg(test)]
mod tests;
