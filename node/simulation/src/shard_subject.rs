//! The real store behind the simulator's face: all shards of one volume in one process.

use std::pin::Pin;

use corelith_index::{Digest, ExpirySeconds, PartitionId, ScanPosition, SetId};
use corelith_store::limits::INDEX_BYTES_CACHED;
use corelith_store::volume::{FormatOptions, format_volume, open_volume};
use corelith_store::{
    Change, ChangeKind, Commit, Current, FollowError, LogChange, Lsn, Needs, ReadError, Record,
    Scrub, Shard, ShardOptions, Truncate, WriteError,
};

use crate::limits::{CHECKPOINT_PACE, RECORD_CACHE_BYTES};
use crate::subject::{
    Answer, CheckpointFigures, FeedChange, FeedEvent, FeedMeaning, FollowTo, Key, Operation,
    Process, Stored, Subject, Trust, ValueId,
};
use crate::value::{decode, encode};

/// Bytes of DRAM that a shard's index may take: never the bound here.
const INDEX_MEMORY_BYTES: u64 = 64 << 20;

/// Partitions that the keys fall into: few, so that keys are neighbours, in both shards of two.
const PARTITIONS: [u16; 4] = [0, 1, 2047, 4094];

/// Keys that exist: those below, and as many twins.
const KEYS_MAX: u32 = 64;

/// The shards of a volume, open.
#[derive(Clone)]
pub struct ShardSubject {
    shards: Vec<Shard>,
    scrubs: bool,
}

/// Why a conditional write wrote nothing.
enum Reason {
    ConditionNotMet,
    Mangled(String),
}

impl Subject for ShardSubject {
    async fn format(process: Process) -> Result<(), String> {
        // The shape follows from the drives, so that a seed needs no further word for it.
        let size_bytes: u64 = process
            .devices
            .iter()
            .map(|device| device.geometry().size_bytes)
            .sum();
        let options = FormatOptions {
            segment_bytes: 64 << 10,
            extent_bytes: Some(64 << 10),
            ..FormatOptions::new(
                "simulated",
                if size_bytes > 26 * (64 << 10) { 2 } else { 1 },
                [7; 16],
                (1..)
                    .map(|number| [number; 16])
                    .take(process.devices.len())
                    .collect(),
            )
        };
        let formatted = format_volume(&process.devices, &process.pool, &options).await;
        formatted.map(drop).map_err(|error| error.to_string())
    }

    async fn open(process: Process) -> Result<Self, String> {
        let Process {
            devices,
            pool,
            clock,
            accepts_loss,
            scrubs,
        } = process;
        let (volume, positions) = open_volume(&devices, &pool)
            .await
            .map_err(|error| error.to_string())?;
        let devices: Vec<_> = positions
            .iter()
            .filter_map(|position| devices.get(*position).cloned())
            .collect();
        let shard_count = volume.label().map_or(1, |label| label.shard_count);
        let mut shards = Vec::new();
        for shard in 0..shard_count {
            let options = ShardOptions {
                shard,
                index_memory_bytes: INDEX_MEMORY_BYTES,
                accept_stale: accepts_loss,
                // Every other shard: what a cache answers is to be as right as what a drive does.
                record_cache_bytes: u64::from(shard % 2) * RECORD_CACHE_BYTES,
                index_bytes_cached: INDEX_BYTES_CACHED,
                checkpoint: CHECKPOINT_PACE,
            };
            let opened = Shard::open(&volume, &devices, (&pool, &clock), &options).await;
            shards.push(opened.map_err(|error| error.to_string())?);
        }
        Ok(Self { shards, scrubs })
    }

    fn background(&self) -> impl Future<Output = ()> + 'static {
        type Background = Pin<Box<dyn Future<Output = ()>>>;
        let logs = self.shards.iter();
        let mut tasks: Vec<Background> = logs.map(|shard| Box::pin(shard.run()) as _).collect();
        let scrubbed = self.shards.iter().filter(|_| self.scrubs);
        tasks.extend(scrubbed.map(|shard| Box::pin(scrub_once(Scrub::new(shard))) as Background));
        let mut running: Vec<_> = tasks.into_iter().map(Some).collect();
        std::future::poll_fn(move |context| {
            for place in &mut running {
                if let Some(task) = place
                    && task.as_mut().poll(context).is_ready()
                {
                    *place = None;
                }
            }
            match running.iter().all(Option::is_none) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
    }

    async fn apply(&self, key: Key, operation: Operation) -> Answer {
        self.ask(key, operation, Commit::Durable).await
    }

    async fn apply_buffered(&self, key: Key, operation: Operation) -> Answer {
        self.ask(key, operation, Commit::Buffered).await
    }

    fn flush(&self) {
        self.shards.iter().for_each(Shard::flush);
    }

    fn is_settled(&self, log: u64) -> bool {
        let mut shards = self.shards.iter();
        let shard = shards.find(|shard| u64::from(shard.number()) == log);
        shard.is_some_and(|shard| shard.statistics().pending == 0)
    }

    async fn truncate(&self, log: u64, set: Option<u32>) -> Answer {
        let mut shards = self.shards.iter();
        let Some(shard) = shards.find(|shard| u64::from(shard.number()) == log) else {
            return Answer::NotDone("no shard".to_owned());
        };
        let name = set.map(set_name);
        let target = name.as_deref().map_or(Truncate::All, Truncate::Set);
        match shard.truncate(target).await {
            Ok(()) => Answer::Truncated,
            Err(error) => refused(error, |reason| Answer::NotDone(reason.to_string())),
        }
    }

    fn log_of(&self, key: Key) -> u64 {
        let shard = self.shard_of(&digest(key));
        shard.map_or(0, |shard| shard.number().into())
    }

    fn checkpoints(&self) -> CheckpointFigures {
        let mut figures = CheckpointFigures::default();
        for shard in &self.shards {
            let (report, counters) = (shard.report(), shard.statistics().counters);
            figures.add(&CheckpointFigures {
                starts: u64::from(report.checkpoint_pages > 0 && !report.checkpoint_unusable),
                unusable: u64::from(report.checkpoint_unusable),
                pages_damaged: report.checkpoint_pages_damaged,
                rounds: counters.checkpoint_rounds,
                given_back: counters.checkpoint_segments_given_back,
            });
        }
        figures
    }

    fn trust(&self, key: Key) -> Trust {
        match self.shard_of(&digest(key)) {
            Some(shard) if shard.may_be_stale() => Trust::MayBeStale,
            Some(shard) if shard.report().may_be_stale() => Trust::LossAccepted,
            Some(_) | None => Trust::Sure,
        }
    }

    async fn keys(&self) -> Result<Option<Vec<Key>>, String> {
        let mut found = Vec::new();
        for partition in PARTITIONS
            .iter()
            .filter_map(|number| PartitionId::new(*number).ok())
        {
            let Some(shard) = self.shard_of_partition(partition) else {
                continue;
            };
            let mut next = Some(ScanPosition::START);
            while let Some(from) = next {
                let page = match shard.scan(partition, from, 5).await {
                    Ok(page) => page,
                    Err(ReadError::MayBeStale) => return Ok(None),
                    Err(error) => return Err(error.to_string()),
                };
                next = page.next;
                for record in page.records {
                    // Damage is for the gets to judge.
                    let Ok(record) = record else { return Ok(None) };
                    let known = all_keys().find(|key| digest(*key) == *record.digest());
                    found.push(known.ok_or_else(|| format!("a record of nobody: {record:?}"))?);
                }
            }
        }
        let records: u64 = self
            .shards
            .iter()
            .map(|shard| shard.statistics().records)
            .sum();
        let swept = |shard: &Shard| {
            let statistics = shard.statistics();
            statistics.truncations_unswept + statistics.segments.expiring == 0
        };
        match u64::try_from(found.len()) {
            Ok(count) if count == records => Ok(Some(found)),
            // The index still counts records that are truncated or have expired.
            Ok(count) if count < records && !self.shards.iter().all(swept) => Ok(Some(found)),
            _ => Err(format!(
                "scans find {} records, the index counts {records}",
                found.len()
            )),
        }
    }

    fn now_seconds(&self, log: u64) -> u32 {
        let mut shards = self.shards.iter();
        let shard = shards.find(|shard| u64::from(shard.number()) == log);
        let now_ms = shard.map_or(0, Shard::now_ms);
        let seconds = (now_ms / 1000).saturating_sub(ExpirySeconds::UNIX_OFFSET_SECONDS);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    fn tick(&self) {
        self.shards.iter().for_each(Shard::tick);
    }

    fn expired_records(&self) -> u64 {
        let shards = self.shards.iter();
        let counts = shards.map(|shard| shard.statistics().counters.expired_records);
        counts.sum()
    }

    fn segments_reclaimed(&self) -> u64 {
        let shards = self.shards.iter();
        let counts = shards.map(|shard| shard.statistics().counters.segments_reclaimed);
        counts.sum()
    }

    fn follow(
        &self,
        log: u64,
        (from, to): (u64, FollowTo),
        sink: impl FnMut(FeedEvent) + 'static,
    ) -> impl Future<Output = ()> + 'static {
        let mut shards = self.shards.iter();
        let shard = shards.find(|shard| u64::from(shard.number()) == log);
        let shard = shard.cloned();
        async move {
            if let Some(shard) = shard {
                follow(shard, (from, to), sink).await;
            }
        }
    }

    fn oldest(&self, log: u64) -> Option<u64> {
        let mut shards = self.shards.iter();
        let shard = shards.find(|shard| u64::from(shard.number()) == log)?;
        Some(shard.oldest_lsn().get())
    }

    fn logs(&self) -> Vec<u64> {
        let shards = self.shards.iter();
        shards.map(|shard| shard.number().into()).collect()
    }

    fn close(&self) {
        self.shards.iter().for_each(Shard::close);
    }
}

/// Tells `sink` what a follower is told, until the log cannot be followed.
async fn follow(shard: Shard, (from, to): (u64, FollowTo), mut sink: impl FnMut(FeedEvent)) {
    let mut from = Lsn::new(from);
    loop {
        let mut follower = match shard.follow(from) {
            Ok(follower) => follower,
            Err(FollowError::Reclaimed { oldest }) => {
                sink(FeedEvent::Reclaimed {
                    oldest: oldest.get(),
                });
                from = oldest;
                continue;
            }
            Err(_) => return,
        };
        loop {
            let given = match to {
                FollowTo::Watermark => follower.step().await,
                FollowTo::Ever => follower.next().await.map(Some),
            };
            match given {
                Ok(None) => {
                    let next = follower.position().get();
                    sink(FeedEvent::End { next });
                    return;
                }
                Ok(Some(batch)) => {
                    if batch.damaged > 0 {
                        let last = batch.lsn.get();
                        sink(FeedEvent::Damaged { last });
                        continue;
                    }
                    for change in &batch.changes {
                        sink(FeedEvent::Change(feed_change(batch.lsn, change)));
                    }
                    let next = follower.position().get();
                    if to == FollowTo::Ever {
                        sink(FeedEvent::End { next });
                    }
                }
                Err(FollowError::Reclaimed { .. }) => {
                    from = follower.position();
                    break;
                }
                Err(FollowError::Damaged { last, .. }) => {
                    let last = last.get();
                    sink(FeedEvent::Damaged { last });
                    follower.accept_damage();
                }
                Err(_) => return,
            }
        }
    }
}

fn feed_change(lsn: Lsn, change: &LogChange) -> FeedChange {
    let record = &change.record;
    let key = key_of(record.digest());
    let set = record.metadata().set.get();
    let meaning = match (change.kind, key) {
        (ChangeKind::Put, Some(key)) => match decode(key, record.content()) {
            Ok(value) => {
                let generation = record.metadata().generation.get();
                let stored = Stored { value, generation };
                FeedMeaning::Put { key, stored, set }
            }
            Err(_) => FeedMeaning::Mangled,
        },
        (ChangeKind::Delete, Some(key)) => FeedMeaning::Delete(key),
        (ChangeKind::Put | ChangeKind::Delete, None) => FeedMeaning::Mangled,
        (ChangeKind::Truncate, _) => FeedMeaning::Truncate(set),
        (ChangeKind::DefineSet, _) => FeedMeaning::DefineSet,
    };
    FeedChange {
        place: (lsn.get(), change.number),
        version: record.version().get(),
        meaning,
    }
}

/// The key of a digest.
fn key_of(of: &Digest) -> Option<Key> {
    let number = of.as_bytes().get(10..)?.first_chunk()?;
    let key = Key(u32::from_be_bytes(*number));
    (digest(key) == *of).then_some(key)
}

impl ShardSubject {
    async fn ask(&self, key: Key, operation: Operation, commit: Commit) -> Answer {
        let digest = digest(key);
        let Some(shard) = self.shard_of(&digest) else {
            return Answer::Unreadable("no shard".to_owned());
        };
        match operation {
            Operation::Get => match shard.get(&digest).await {
                Ok(record) => found(key, record.as_ref()),
                Err(error) => Answer::Unreadable(error.to_string()),
            },
            // What the index says of a twin may be its sibling's: only the record tells.
            Operation::Look if key.is_twin() => match shard.get(&digest).await {
                Ok(record) => Answer::Seen(record.map(|record| record.metadata().generation.get())),
                Err(error) => Answer::Unreadable(error.to_string()),
            },
            Operation::Look => match shard.metadata(&digest).await {
                Ok(metadata) => Answer::Seen(metadata.map(|metadata| metadata.generation.get())),
                Err(error) => Answer::Unreadable(error.to_string()),
            },
            Operation::Put(value) => put((shard, commit), key, value, |_| true).await,
            Operation::Create(value) => {
                put((shard, commit), key, value, |generation| {
                    generation.is_none()
                })
                .await
            }
            Operation::PutIf { generation, value } => {
                put((shard, commit), key, value, move |found| {
                    found == Some(generation)
                })
                .await
            }
            Operation::Delete => delete((shard, commit), key).await,
            Operation::Truncate => Answer::NotDone("a key alone is not truncated".to_owned()),
        }
    }

    fn shard_of(&self, digest: &Digest) -> Option<&Shard> {
        self.shard_of_partition(digest.partition())
    }

    fn shard_of_partition(&self, partition: PartitionId) -> Option<&Shard> {
        self.shards
            .get(usize::from(partition.get()).checked_rem(self.shards.len())?)
    }
}

/// One pass over everything.
async fn scrub_once(mut scrub: Scrub) {
    while let Some(step) = scrub.step().await {
        if step.is_pass_over {
            return;
        }
    }
}

/// Writes if `condition` holds for the generation that is there.
async fn put(
    (shard, commit): (&Shard, Commit),
    key: Key,
    value: ValueId,
    condition: impl Fn(Option<u16>) -> bool,
) -> Answer {
    let bytes = encode(key, value);
    // Some writes look at the old content, some bring theirs as made by the decision.
    let needs = if key.is_twin() || value.0.is_multiple_of(3) {
        Needs::Content
    } else {
        Needs::Metadata
    };
    let made = value.0.is_multiple_of(2);
    let set = match key.set() {
        None => SetId::NONE,
        Some(set) => match shard.set_id(&set_name(set)).await {
            Ok(set) => set,
            // The put itself has not begun.
            Err(error) => return Answer::NotDone(error.to_string()),
        },
    };
    let decide = |current: Option<Current<'_>>, scratch: &mut Vec<u8>| {
        check_current(key, current.as_ref(), needs)?;
        if !condition(current.map(|current| current.generation.get())) {
            return Err(Reason::ConditionNotMet);
        }
        let expiry = expiry_of(value);
        if made {
            scratch.extend_from_slice(&bytes);
            return Ok(Change::PutMade { expiry, set });
        }
        Ok(Change::PutInput { expiry, set })
    };
    let input: &[u8] = if made { &[] } else { &bytes };
    let key = (&digest(key), needs);
    match shard.write_as(commit, key, input, decide).await {
        Ok(written) => Answer::Written(written.generation.get()),
        Err(error) => refused(error, Reason::answer),
    }
}

fn expiry_of(value: ValueId) -> ExpirySeconds {
    value
        .expiry()
        .map_or(ExpirySeconds::NEVER, ExpirySeconds::new)
}

fn set_name(set: u32) -> String {
    format!("set {set}")
}

async fn delete((shard, commit): (&Shard, Commit), key: Key) -> Answer {
    let needs = if key.is_twin() {
        Needs::Content
    } else {
        Needs::Metadata
    };
    let decide = |current: Option<Current<'_>>, _: &mut Vec<u8>| {
        check_current(key, current.as_ref(), needs).map(|()| Change::Delete)
    };
    let key = (&digest(key), needs);
    match shard.write_as(commit, key, &[], decide).await {
        Ok(written) => Answer::Deleted(written.existed),
        Err(error) => refused(error, Reason::answer),
    }
}

/// A decision must see what a get would.
fn check_current(key: Key, current: Option<&Current<'_>>, needs: Needs) -> Result<(), Reason> {
    match (current, needs) {
        (Some(current), Needs::Content) => match decode(key, current.content) {
            Ok(_) => Ok(()),
            Err(mangled) => Err(Reason::Mangled(format!("a decision saw {mangled:?}"))),
        },
        (Some(_) | None, _) => Ok(()),
    }
}

impl Reason {
    fn answer(self) -> Answer {
        match self {
            Self::ConditionNotMet => Answer::Refused,
            Self::Mangled(how) => Answer::Mangled(how),
        }
    }
}

fn refused<E>(error: WriteError<E>, rejected: impl FnOnce(E) -> Answer) -> Answer {
    match error {
        WriteError::Rejected(reason) => rejected(reason),
        WriteError::InDoubt => Answer::InDoubt,
        WriteError::NotWritten => Answer::NotDone("not written".to_owned()),
        WriteError::Fenced => Answer::NotDone("fenced".to_owned()),
        WriteError::OutOfSpace => Answer::NotDone("out of space".to_owned()),
        WriteError::IndexFull => Answer::NotDone("index full".to_owned()),
        WriteError::TooLarge { .. } => Answer::NotDone("too large".to_owned()),
        WriteError::Clock { .. } => Answer::NotDone("clock".to_owned()),
        WriteError::KeyBusy => Answer::NotDone("key busy".to_owned()),
        WriteError::Read(error) => Answer::NotDone(error.to_string()),
        WriteError::Buffer(error) => Answer::NotDone(error.to_string()),
        WriteError::Closed => Answer::NotDone("closed".to_owned()),
    }
}

fn found(key: Key, record: Option<&Record>) -> Answer {
    let Some(record) = record else {
        return Answer::Found(None);
    };
    match decode(key, record.content()) {
        Ok(value) if record.metadata().expiry != expiry_of(value) => {
            let expiry = record.metadata().expiry;
            Answer::Mangled(format!("{value} with {expiry:?}"))
        }
        Ok(value) => {
            let generation = record.metadata().generation.get();
            Answer::Found(Some(Stored { value, generation }))
        }
        Err(mangled) => Answer::Mangled(format!("{mangled:?}")),
    }
}

fn all_keys() -> impl Iterator<Item = Key> {
    let twins = Key::TWINS_START..Key::TWINS_START + KEYS_MAX;
    let keys = (0..KEYS_MAX).chain(twins);
    keys.flat_map(|key| [Key(key), Key(key + Key::SETS_START)])
}

/// The identity of a key. The first ten bytes of twins agree.
fn digest(key: Key) -> Digest {
    let pair = if key.is_twin() { key.0 / 2 } else { key.0 };
    let mut bytes = [0; Digest::LENGTH_BYTES];
    let spread = u64::from(pair + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let index = usize::try_from(spread >> 62).unwrap_or(0);
    let partition = PARTITIONS.get(index).copied().unwrap_or(0);
    let (head, tail) = bytes.split_at_mut(2);
    head.copy_from_slice(&partition.to_le_bytes());
    let (tag, rest) = tail.split_at_mut(8);
    tag.copy_from_slice(&spread.to_be_bytes());
    if let Some(number) = rest.first_chunk_mut() {
        *number = key.0.to_be_bytes();
    }
    Digest::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_digests_of_their_own_and_twins_share_their_beginning() {
        let digests: std::collections::BTreeSet<_> = all_keys().map(digest).collect();
        assert_eq!(digests.len(), 256);
        for key in (Key::TWINS_START..Key::TWINS_START + KEYS_MAX).step_by(2) {
            let (first, second) = (digest(Key(key)), digest(Key(key + 1)));
            assert_eq!(first.as_bytes()[..10], second.as_bytes()[..10]);
        }
        let partitions: std::collections::BTreeSet<_> = (0..16)
            .map(|key| digest(Key(key)).partition().get())
            .collect();
        assert_eq!(
            partitions.len(),
            PARTITIONS.len(),
            "all partitions are used"
        );
    }
}
