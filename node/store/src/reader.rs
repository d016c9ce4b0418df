//! Reads: index, then the record cache, or one device read and its verification. Misses, expired records
//! and trusted metadata cost no device read.

use std::rc::Rc;

use corelith_index::{Digest, Entry, KnownDigest, RecordAddress, ScanPosition};
use corelith_io::DeviceOffset;
use futures_util::FutureExt;

use crate::format::fields::usize_of;
use crate::joined_reads::{Entrance, ReadResult};
use crate::limits::{READ_ATTEMPTS_MAX, RECOVERY_READ_ATTEMPTS_MAX};
use crate::outcome::Outcome;
use crate::pieces::is_long;
use crate::place::RecordPlace;
use crate::planted::{PlantedBug, is_planted};
use crate::record::{Metadata, Record};
use crate::state::{ShardCore, State, TagKey};
use crate::{Life, ReadError};

/// What a look-up found out about a key.
pub(crate) enum Found {
    /// No entry has the digest's tag, or those that have are other keys' (`twin`).
    Absent { twin: bool },
    /// A truncation has deleted the record whose entry is still at this address: the key's next version may
    /// take its place.
    Truncated { previous: RecordAddress },
    /// A writer asked, and this truncation, which is on its way, is about to delete the record.
    Truncating(Rc<Outcome>),
    /// The entry, trusted by its tag; not read, and perhaps known to be damaged.
    Entry(Entry),
    /// The entry and its record; `twin` if another key has the same tag.
    Record {
        entry: Entry,
        record: Record,
        twin: bool,
        /// It had expired when it was looked up. Later the entry may not be the newest any more: to ask the clock then would make
        /// a record absent that was written anew in time.
        has_expired: bool,
    },
}

/// Whether a look-up may stop at the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// The entry is enough if its tag can be trusted.
    Entry,
    /// The record is wanted.
    Record,
}

/// Who looks: writers see what is on its way, readers do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum View {
    /// What is durable.
    Reader,
    /// What will be, if nothing fails.
    Writer,
}

/// What truncations say of an entry.
enum Fate {
    Lives,
    Deleted,
    /// Will be, when this is durable.
    WillBe(Rc<Outcome>),
}

impl State {
    /// What a look-up finds whose only candidate is `entry`, if that is deleted.
    fn truncated(&self, entry: &Entry, view: View) -> Option<Found> {
        let previous = entry.address;
        match self.fate_of(entry, view) {
            Fate::Lives => None,
            Fate::Deleted => Some(Found::Truncated { previous }),
            Fate::WillBe(outcome) => Some(Found::Truncating(outcome)),
        }
    }

    fn fate_of(&self, entry: &Entry, view: View) -> Fate {
        if self.truncations.has_deleted(&self.segments, entry) {
            return Fate::Deleted;
        }
        match view {
            View::Reader => Fate::Lives,
            View::Writer => match self.truncations.pending_of(entry.set) {
                Some(outcome) => Fate::WillBe(outcome),
                None => Fate::Lives,
            },
        }
    }
}

impl ShardCore {
    /// Gets the newest durable version of a record; `None` if there is none or it has expired.
    pub(crate) async fn read(&self, digest: &Digest) -> Result<Option<Record>, ReadError> {
        self.announce(digest).await;
        self.read_fetched(digest).await
    }

    /// [`ShardCore::read`] of a key whose look-up needs not be announced.
    pub(crate) async fn read_fetched(&self, digest: &Digest) -> Result<Option<Record>, ReadError> {
        if self.stale.get() {
            return Err(ReadError::MayBeStale);
        }
        if let Some(pending) = self.ahead_of_index(digest).await {
            return self.read_pending(&pending).await;
        }
        match self.find(digest, Depth::Record, View::Reader).await? {
            Found::Record {
                record,
                has_expired: false,
                ..
            } => Ok(Some(record)),
            Found::Record { .. }
            | Found::Absent { .. }
            | Found::Truncated { .. }
            | Found::Truncating(_)
            | Found::Entry(_) => Ok(None),
        }
    }

    /// The same without waiting, if index and cache, or devices that never let anyone wait, are enough; `None` if they
    /// are not.
    pub(crate) fn read_at_once(&self, digest: &Digest) -> Option<Option<Record>> {
        if self.stale.get() {
            return None;
        }
        let (entry, trusted) = {
            let state = self.state.borrow();
            if !self.answers_from_memory(&state) {
                return None;
            }
            if state.acknowledged > 0 && state.pending.contains_key(&TagKey::of(digest)) {
                return None;
            }
            let candidates = state.index.lookup(digest);
            if candidates.len() == 0 {
                return Some(None);
            }
            let entry = candidates.only()?;
            if state.truncated(&entry, View::Reader).is_some() {
                return Some(None);
            }
            (entry, state.index.tag_is_trusted(digest.partition()))
        };
        if self.clock.is_past(entry.expiry) {
            return trusted.then_some(None);
        }
        let record = self
            .cached(&entry)
            .or_else(|| self.read_place_at_once(&entry))?;
        (record.digest() == digest).then_some(Some(record))
    }

    /// The record of `entry` from a device in memory. `None` if the device is none, the record is so long that it is
    /// verified in pieces, or anything is wrong with it: then the way of all reads says what.
    fn read_place_at_once(&self, entry: &Entry) -> Option<Record> {
        let length_bytes = usize_of(u64::from(entry.length.bytes_max()));
        if !self.devices_are_memory || is_long(length_bytes) {
            return None;
        }
        // Over when it is first asked: such a device has its answers ready.
        let record = self.read_place(entry).now_or_never()?.ok()?;
        (record.metadata().generation == entry.generation).then_some(record)
    }

    /// Gets generation, expiry and set of a record; `None` if there is none or it has expired.
    pub(crate) async fn read_metadata(
        &self,
        digest: &Digest,
    ) -> Result<Option<Metadata>, ReadError> {
        if self.stale.get() {
            return Err(ReadError::MayBeStale);
        }
        if let Some(pending) = self.ahead_of_index(digest).await {
            return Ok(self.pending_metadata(&pending));
        }
        let mut found = self.find(digest, Depth::Entry, View::Reader).await?;
        if matches!(&found, Found::Entry(entry) if entry.is_damaged) {
            found = self.find(digest, Depth::Record, View::Reader).await?;
        }
        let entry = match found {
            Found::Absent { .. } | Found::Truncated { .. } | Found::Truncating(_) => {
                return Ok(None);
            }
            Found::Entry(entry) if self.clock.is_past(entry.expiry) => return Ok(None),
            Found::Record {
                has_expired: true, ..
            } => return Ok(None),
            Found::Entry(entry) | Found::Record { entry, .. } => entry,
        };
        Ok(Some(Metadata {
            generation: entry.generation,
            expiry: entry.expiry,
            set: entry.set,
        }))
    }

    /// Looks a key up as deep as asked. An expired record may be returned as its entry, unread.
    pub(crate) async fn find(
        &self,
        digest: &Digest,
        depth: Depth,
        view: View,
    ) -> Result<Found, ReadError> {
        for _ in 0..READ_ATTEMPTS_MAX {
            if let Some(found) = self.find_once(digest, depth, view).await? {
                return Ok(found);
            }
        }
        Err(ReadError::Busy)
    }

    /// One attempt; `None` if an entry changed while its record was read.
    async fn find_once(
        &self,
        digest: &Digest,
        depth: Depth,
        view: View,
    ) -> Result<Option<Found>, ReadError> {
        let (only, trusted) = {
            let state = self.state.borrow();
            let candidates = state.index.lookup(digest);
            if candidates.len() == 0 {
                return Ok(Some(Found::Absent { twin: false }));
            }
            let only = candidates.only();
            if let Some(truncated) = only.and_then(|entry| state.truncated(&entry, view)) {
                return Ok(Some(truncated));
            }
            (only, state.index.tag_is_trusted(digest.partition()))
        };
        let Some(entry) = only else {
            return self.find_among_twins(digest, view).await;
        };
        let has_expired = self.clock.is_past(entry.expiry);
        if trusted && (depth == Depth::Entry || has_expired) {
            return Ok(Some(Found::Entry(entry)));
        }
        Ok(match self.read_at(digest, &entry).await? {
            Attempt::Found(record) => Some(Found::Record {
                entry,
                record,
                twin: false,
                has_expired,
            }),
            Attempt::Other => Some(Found::Absent { twin: true }),
            Attempt::Moved => None,
        })
    }

    /// Several entries share the tag: their records tell which is the key's. One that cannot be read
    /// stands in the way only if the key is none of the others.
    async fn find_among_twins(
        &self,
        digest: &Digest,
        view: View,
    ) -> Result<Option<Found>, ReadError> {
        let candidates: Vec<Entry> = self.state.borrow().index.lookup(digest).collect();
        let mut unreadable = None;
        for entry in candidates {
            // While the one before was read, this one's record may have been superseded and its place
            // been given to another record, even of the same tag and not yet durable.
            if !self.is_current(digest, &entry) {
                return Ok(None);
            }
            let has_expired = self.clock.is_past(entry.expiry);
            let fate = self.state.borrow().fate_of(&entry, view);
            match fate {
                Fate::Lives => {}
                Fate::Deleted => continue,
                // Perhaps it is the other key's; to wait does no harm.
                Fate::WillBe(outcome) => return Ok(Some(Found::Truncating(outcome))),
            }
            match self.read_at(digest, &entry).await {
                Ok(Attempt::Found(record)) => {
                    return Ok(Some(Found::Record {
                        entry,
                        record,
                        twin: true,
                        has_expired,
                    }));
                }
                Ok(Attempt::Other) => {}
                Ok(Attempt::Moved) => return Ok(None),
                Err(error) => unreadable = Some(error),
            }
        }
        match unreadable {
            Some(error) => Err(error),
            None => Ok(Some(Found::Absent { twin: true })),
        }
    }

    /// Reads the record of `entry` and compares it with what was asked for.
    async fn read_at(&self, digest: &Digest, entry: &Entry) -> Result<Attempt, ReadError> {
        let read = match self.cached(entry) {
            Some(record) => Ok(record),
            None => match self.enter(entry) {
                Entrance::Joins(joined) => match joined.await {
                    Some(read) => read,
                    // Given up; by now the entry may not be the key's any more.
                    None => return Ok(Attempt::Moved),
                },
                entrance @ (Entrance::Leads(_) | Entrance::Alone) => {
                    let read = self.read_place(entry).await;
                    self.leave(entry, entrance, &read);
                    read
                }
            },
        };
        let record = match read {
            Ok(record) => record,
            Err(error) if self.is_current(digest, entry) => {
                let of_key = (digest.partition(), ScanPosition::of(digest));
                self.note_unreadable(of_key, entry, (&KnownDigest::of(digest), &error));
                return Err(error);
            }
            Err(_) => return Ok(Attempt::Moved),
        };
        if record.digest() != digest && !is_planted(PlantedBug::SkipDigest) {
            let same_tag = ScanPosition::of(record.digest()) == ScanPosition::of(digest)
                && record.digest().partition() == digest.partition();
            return if same_tag {
                Ok(Attempt::Other)
            } else {
                self.misdirected(digest, entry)
            };
        }
        if record.metadata().generation != entry.generation {
            return self.misdirected(digest, entry);
        }
        if entry.is_damaged {
            self.note_readable((digest.partition(), ScanPosition::of(digest)), entry);
        }
        Ok(Attempt::Found(record))
    }

    /// What a read ends with that found another record than that of `entry`.
    fn misdirected(&self, digest: &Digest, entry: &Entry) -> Result<Attempt, ReadError> {
        if !self.is_current(digest, entry) {
            return Ok(Attempt::Moved);
        }
        let error = ReadError::Misdirected;
        let of_key = (digest.partition(), ScanPosition::of(digest));
        self.note_unreadable(of_key, entry, (&KnownDigest::of(digest), &error));
        Err(error)
    }

    /// How the record of `entry` is read: by this reader, or by one that reads it already.
    fn enter(&self, entry: &Entry) -> Entrance<'_> {
        let mut state = self.state.borrow_mut();
        let entrance = match state.segments.life_at(entry.address) {
            Some(life) => self.joined_reads.enter(entry.address, life),
            None => Entrance::Alone,
        };
        match (&entrance, &mut state.record_cache) {
            (Entrance::Joins(_), _) => state.counters.joined_reads += 1,
            (Entrance::Leads(_) | Entrance::Alone, Some(cache)) => cache.missed(),
            (Entrance::Leads(_) | Entrance::Alone, None) => {}
        }
        entrance
    }

    /// After a reader's own read: keeps the record, and tells who joined.
    fn leave(&self, entry: &Entry, entrance: Entrance<'_>, read: &ReadResult) {
        if let Ok(record) = read {
            self.cache_read(entry, record);
        }
        if let Entrance::Leads(leader) = entrance {
            leader.tell(read);
        }
    }

    /// The record of `entry` from the cache. Its place and the life that the place has now name one version;
    /// nothing else can be found by them.
    fn cached(&self, entry: &Entry) -> Option<Record> {
        let state = &mut *self.state.borrow_mut();
        let cache = state.record_cache.as_mut()?;
        let life = state.segments.life_at(entry.address)?;
        Record::from_cache(cache.get(entry.address, life)?, life)
    }

    /// The same for a scan, which leaves the cache as it is.
    pub(crate) fn glimpse(&self, entry: &Entry) -> Option<Record> {
        let state = self.state.borrow();
        let cache = state.record_cache.as_ref()?;
        let life = state.segments.life_at(entry.address)?;
        Record::from_cache(cache.peek(entry.address, life)?, life)
    }

    /// Keeps a record that was read from the device. If the key has a newer version meanwhile, nothing
    /// will ask for this one, and it leaves like any other that is not used.
    fn cache_read(&self, entry: &Entry, record: &Record) {
        if let Some(cache) = &mut self.state.borrow_mut().record_cache {
            cache.insert(entry.address, record.life(), record.encoded());
        }
    }

    /// One device read, verified against the life that the segment had when it began.
    pub(crate) async fn read_place(&self, entry: &Entry) -> Result<Record, ReadError> {
        let (place, segment_place, life, segment_bytes) = {
            let state = self.state.borrow();
            let segment_bytes = state.segments.segment_bytes();
            let place =
                RecordPlace::unpack(entry.address, segment_bytes).ok_or(ReadError::Address)?;
            let segment = state
                .segments
                .get(place.segment)
                .ok_or(ReadError::Address)?;
            (place, segment.place, segment.life, segment_bytes)
        };
        let attached = self.device(segment_place.slot).ok_or(ReadError::Address)?;
        let block = self.logical_block_bytes;
        let first = place.offset_bytes / block * block;
        let end = (place.offset_bytes + u64::from(entry.length.bytes_max()))
            .next_multiple_of(block)
            .min(segment_bytes);
        let length = usize_of(end - first);
        let buffer = self.pool.take(length)?;
        let offset = DeviceOffset::new(segment_place.offset_bytes + first);
        let (buffer, result) = attached.device.read(offset, buffer, length).await;
        {
            let mut state = self.state.borrow_mut();
            state.counters.device_reads += 1;
            state.counters.device_read_bytes += end - first;
        }
        result?;
        let on_device: (u64, Life) = (segment_place.offset_bytes + place.offset_bytes, life);
        let start = place.offset_bytes - first;
        Record::verify(buffer.freeze(), start, attached.binding, on_device)
            .await
            .map_err(ReadError::Damaged)
    }

    /// The same where nothing else tells what stands there: a fault that passes is waited for.
    pub(crate) async fn read_place_stubbornly(&self, entry: &Entry) -> ReadResult {
        let mut read = self.read_place(entry).await;
        for _ in 1..RECOVERY_READ_ATTEMPTS_MAX {
            if read.is_ok() {
                break;
            }
            read = self.read_place(entry).await;
        }
        read
    }

    /// True if the key's entry is still the one that was looked up, whether or not damage has been noted since.
    fn is_current(&self, digest: &Digest, entry: &Entry) -> bool {
        let state = self.state.borrow();
        let mut candidates = state.index.lookup(digest);
        candidates.any(|candidate| is_same(&candidate, entry))
    }
}

/// True if both are of one version of one key, whether or not damage has been noted of it.
pub(crate) fn is_same(one: &Entry, other: &Entry) -> bool {
    let is_damaged = other.is_damaged;
    Entry { is_damaged, ..*one } == *other
}

/// How the read of one candidate went.
enum Attempt {
    /// It is the key.
    Found(Record),
    /// It is another key with the same tag.
    Other,
    /// The entry changed meanwhile.
    Moved,
}
