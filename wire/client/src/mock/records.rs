//! The mock's records: maps from digest to content, with the rules of writes as `PROTOCOL.md` has them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::SystemTime;

use corelith_index::{Digest, ExpirySeconds, Generation, KnownDigest, PartitionId, ScanPosition};
use corelith_record::{
    Content, EditError, Effect, Reads, Steps, Update, merge, operate, project, replace,
};
use corelith_wire::{
    BinSelection, Damage, DamagedRecord, DeleteRequest, LastUpdateMs, NamespaceId, OperateRequest,
    PutMode, PutRequest, RecordMetadata, Refusal, ScanPageBuilder, ScanRecord, ScanRequest, Status,
    TouchRequest, TruncateTarget, Ttl,
};

/// All records, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// By partition first, so that a scan is a walk.
    stored: BTreeMap<(NamespaceName, u16, Digest), Stored>,
}

type NamespaceName = String;

#[derive(Debug)]
struct Stored {
    metadata: RecordMetadata,
    set: String,
    content: Vec<u8>,
    damage: Option<Damage>,
}

type Outcome<T> = Result<T, Refusal<'static>>;

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.stored.len()
    }

    pub(crate) fn get(
        &self,
        namespace: &str,
        digest: Digest,
        selection: &BinSelection<'_>,
    ) -> Outcome<(RecordMetadata, Vec<u8>)> {
        let found = self.find(namespace, digest);
        let found = found.ok_or(Refusal::new(Status::NotFound))?;
        check_damage(found)?;
        let mut metadata = found.metadata;
        if matches!(selection, BinSelection::MetadataOnly) {
            // A node answers from its index, which does not keep it.
            metadata.last_update = None;
        }
        Ok((metadata, select(&found.content, selection)))
    }

    pub(crate) fn truncate(&mut self, namespace: &str, target: TruncateTarget<'_>) {
        self.stored.retain(|(of, _, _), stored| {
            let is_meant = match target {
                TruncateTarget::All => true,
                TruncateTarget::Set(set) => stored.set == set,
            };
            !(of == namespace && is_meant)
        });
    }

    pub(crate) fn put(
        &mut self,
        namespace: &str,
        request: &PutRequest<'_>,
    ) -> Outcome<RecordMetadata> {
        let update = Update::parse(request.content);
        let update = update.map_err(|_| Refusal::new(Status::InvalidArgument))?;
        let old = self.find(namespace, request.digest);
        match request.mode {
            PutMode::CreateOnly if old.is_some() => return Err(Refusal::new(Status::Exists)),
            PutMode::UpdateOnly | PutMode::ReplaceOnly if old.is_none() => {
                return Err(Refusal::new(Status::NotFound));
            }
            _ => {}
        }
        check_generation(old, request.expected_generation)?;
        let mut content = Vec::new();
        let written = match (request.mode, old) {
            (PutMode::Merge | PutMode::UpdateOnly, Some(old)) => {
                check_damage(old)?;
                let old = Content::from_stored(&old.content).unwrap_or(Content::empty());
                merge(&old, &update, &mut content)
            }
            _ => replace(&update, &mut content),
        };
        let bin_count = written.map_err(|_| Refusal::new(Status::TooLarge))?;
        let metadata = next(old, request.ttl);
        let set = request.set.to_owned();
        let key = key(namespace, request.digest);
        if bin_count == 0 {
            self.stored.remove(&key);
        } else {
            self.stored.insert(
                key,
                Stored {
                    metadata,
                    set,
                    content,
                    damage: None,
                },
            );
        }
        Ok(metadata)
    }

    pub(crate) fn delete(&mut self, namespace: &str, request: &DeleteRequest) -> Outcome<()> {
        let old = self.find(namespace, request.digest);
        let found = old.ok_or(Refusal::new(Status::NotFound))?;
        check_generation(Some(found), request.expected_generation)?;
        self.stored.remove(&key(namespace, request.digest));
        Ok(())
    }

    pub(crate) fn touch(
        &mut self,
        namespace: &str,
        request: &TouchRequest,
    ) -> Outcome<RecordMetadata> {
        let old = self.find(namespace, request.digest);
        let found = old.ok_or(Refusal::new(Status::NotFound))?;
        check_generation(Some(found), request.expected_generation)?;
        check_damage(found)?;
        let metadata = next(old, request.ttl);
        if let Some(stored) = self.stored.get_mut(&key(namespace, request.digest)) {
            stored.metadata = metadata;
        }
        Ok(metadata)
    }

    pub(crate) fn operate(
        &mut self,
        namespace: &str,
        request: &OperateRequest<'_>,
        reads: &mut Reads,
    ) -> Outcome<Option<RecordMetadata>> {
        let steps = Steps::parse(request.steps, request.arguments);
        let steps = steps.map_err(|_| Refusal::new(Status::InvalidArgument))?;
        let replaces = !matches!(request.mode, PutMode::Merge | PutMode::UpdateOnly);
        if replaces && (!steps.is_write() || steps.has_touch()) {
            return Err(Refusal::new(Status::InvalidArgument));
        }
        let old = self.find(namespace, request.digest);
        let needs_record = !steps.is_write()
            || steps.has_touch()
            || matches!(request.mode, PutMode::UpdateOnly | PutMode::ReplaceOnly);
        if old.is_none() && needs_record {
            return Err(Refusal::new(Status::NotFound));
        }
        if old.is_some() && request.mode == PutMode::CreateOnly {
            return Err(Refusal::new(Status::Exists));
        }
        check_generation(old, request.expected_generation)?;
        let mut bins = Content::empty();
        if let Some(old) = old.filter(|_| steps.need_content() && !replaces) {
            check_damage(old)?;
            bins = Content::from_stored(&old.content).unwrap_or(bins);
        }
        let mut content = Vec::new();
        let effect = operate(&bins, steps.key(), steps, &mut content, reads);
        let effect = effect.map_err(|failed| match failed.error {
            EditError::WrongKind { .. } => Refusal::new(Status::WrongKind),
            EditError::Content(_) => Refusal::new(Status::TooLarge),
        })?;
        let mut metadata = next(old, request.ttl);
        let key = key(namespace, request.digest);
        match (effect, old) {
            (Effect::Written(0), None) => return Err(Refusal::new(Status::NotFound)),
            (Effect::Written(0), Some(_)) => {
                self.stored.remove(&key);
                return Ok(None);
            }
            (Effect::Written(_), _) => {
                let stored = Stored {
                    metadata,
                    set: request.set.to_owned(),
                    content,
                    damage: None,
                };
                self.stored.insert(key, stored);
            }
            (Effect::Touched, _) => {
                if let Some(stored) = self.stored.get_mut(&key) {
                    stored.metadata = metadata;
                }
            }
            (Effect::Nothing, _) => {
                metadata = old.map_or(metadata, |old| old.metadata);
                if !steps.need_content() {
                    metadata.last_update = None;
                }
            }
        }
        Ok(Some(metadata))
    }

    pub(crate) fn damage(&mut self, namespace: &str, digest: Digest, damage: Damage) -> bool {
        let found = self.stored.get_mut(&key(namespace, digest));
        found.is_some_and(|stored| {
            stored.damage = Some(damage);
            true
        })
    }

    /// One page. The resume token is the digest of the last record on the page before.
    pub(crate) fn scan(
        &self,
        namespace: &str,
        request: &ScanRequest<'_>,
        page: &mut ScanPageBuilder,
    ) -> Outcome<()> {
        let mut after = match request.resume {
            [] => None,
            token => {
                let token = <[u8; 20]>::try_from(token);
                Some(Digest::from_bytes(
                    token.map_err(|_| Refusal::new(Status::InvalidArgument))?,
                ))
            }
        };
        page.clear();
        for (done, partition) in (0_u16..).zip(request.partitions.iter()) {
            let mut last = after.take();
            for (digest, stored) in self.of_partition(namespace, partition, last) {
                if request.set.is_some_and(|set| set != stored.set) {
                    continue;
                }
                if !add(page, digest, stored, request) {
                    let token = last.map_or(Vec::new(), |last| last.as_bytes().to_vec());
                    page.end(done, &token);
                    return Ok(());
                }
                last = Some(digest);
            }
            page.end(done + 1, &[]);
        }
        Ok(())
    }

    fn of_partition(
        &self,
        namespace: &str,
        partition: PartitionId,
        after: Option<Digest>,
    ) -> impl Iterator<Item = (Digest, &Stored)> {
        let key = |digest| (namespace.to_owned(), partition.get(), digest);
        let from = match after {
            Some(digest) => Bound::Excluded(key(digest)),
            None => Bound::Included(key(Digest::from_bytes([0; 20]))),
        };
        let to = Bound::Included(key(Digest::from_bytes([0xFF; 20])));
        let stored = self
            .stored
            .range((from, to))
            .map(|((_, _, digest), stored)| (*digest, stored));
        stored.filter(|(_, stored)| !is_expired(stored))
    }

    fn find(&self, namespace: &str, digest: Digest) -> Option<&Stored> {
        self.stored
            .get(&key(namespace, digest))
            .filter(|stored| !is_expired(stored))
    }
}

/// Adds a record to a page, or says that the page is full.
fn add(
    page: &mut ScanPageBuilder,
    digest: Digest,
    stored: &Stored,
    request: &ScanRequest<'_>,
) -> bool {
    let count_max = if request.records_max == 0 {
        100
    } else {
        request.records_max as usize
    };
    if page.len() >= count_max {
        return false;
    }
    if let Some(damage) = stored.damage {
        let digest = match damage {
            Damage::Header => {
                KnownDigest::of_position(digest.partition(), ScanPosition::of(&digest))
            }
            Damage::Content | Damage::Device => KnownDigest::of(&digest),
        };
        let set = &stored.set;
        return page
            .push_damaged(&DamagedRecord {
                digest,
                set,
                damage,
            })
            .is_ok();
    }
    let content = select(&stored.content, &request.selection);
    let length = page.payload_length_bytes() + content.len();
    let length_max = request.payload_length_bytes_max as usize;
    if length_max != 0 && length > length_max && !page.is_empty() {
        return false;
    }
    let metadata = stored.metadata;
    let record = ScanRecord {
        digest,
        metadata,
        set: &stored.set,
        content: &content,
    };
    page.push(&record).is_ok()
}

/// The name under which a mock knows a namespace of this number: the numbers change with each restart.
pub(crate) fn namespace_of(
    names: &[String],
    id: NamespaceId,
    map_generation: u64,
) -> Option<&String> {
    let first = u64::from(id.get()).checked_sub(map_generation)?;
    names.get(usize::try_from(first).ok()?)
}

fn key(namespace: &str, digest: Digest) -> (NamespaceName, u16, Digest) {
    (namespace.to_owned(), digest.partition().get(), digest)
}

fn select(content: &[u8], selection: &BinSelection<'_>) -> Vec<u8> {
    match selection {
        BinSelection::All => content.to_vec(),
        BinSelection::MetadataOnly => Vec::new(),
        BinSelection::Named(names) => {
            let mut selected = Vec::new();
            let content = Content::from_stored(content).unwrap_or(Content::empty());
            let projected = project(&content, names.iter(), &mut selected);
            debug_assert!(projected.is_ok());
            selected
        }
    }
}

fn check_damage(found: &Stored) -> Outcome<()> {
    match found.damage {
        Some(_) => Err(Refusal::new(Status::Damaged)),
        None => Ok(()),
    }
}

fn check_generation(old: Option<&Stored>, expected: Option<Generation>) -> Outcome<()> {
    let found = old.map(|stored| stored.metadata.generation);
    match expected {
        Some(expected) if found != Some(expected) => {
            let found = found.map_or(0, Generation::get);
            Err(Refusal::new(Status::GenerationMismatch)
                .disagreement(u64::from(expected.get()), u64::from(found)))
        }
        _ => Ok(()),
    }
}

fn next(old: Option<&Stored>, ttl: Ttl) -> RecordMetadata {
    let now_ms = now_ms();
    let expiry = match (ttl, old) {
        (Ttl::Seconds(seconds), _) => {
            let now_s = u32::try_from(now_ms / 1000).unwrap_or(u32::MAX);
            ExpirySeconds::new(now_s.saturating_add(seconds))
        }
        (Ttl::Keep, Some(old)) => old.metadata.expiry,
        (Ttl::Keep | Ttl::Never | Ttl::NamespaceDefault, _) => ExpirySeconds::NEVER,
    };
    RecordMetadata {
        generation: old.map_or(Generation::FIRST, |old| old.metadata.generation.next()),
        expiry,
        last_update: LastUpdateMs::new(now_ms),
    }
}

fn is_expired(stored: &Stored) -> bool {
    let expiry = stored.metadata.expiry;
    !expiry.is_never() && u64::from(expiry.get()) <= now_ms() / 1000
}

/// Milliseconds since 2010.
#[expect(
    clippy::disallowed_methods,
    reason = "the mock is no node: its clock is the machine's"
)]
fn now_ms() -> u64 {
    let unix = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
    unix_ms.saturating_sub(ExpirySeconds::UNIX_OFFSET_SECONDS * 1000)
}
