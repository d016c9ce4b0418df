//! One record of a backup: whether it is written, how, and what its answer means. Nothing here is told
//! or counted.

use corelith_client::{
    BinNames, BinSelection, Commit, Error, ExpirySeconds, GetRequest, LastUpdateMs, Namespace,
    PutMode, PutRequest, Record, RecordMetadata, Status, Ttl,
};
use corelith_io::Clock;

use crate::arguments::RestoreMode;
use crate::backup::ms_since_2010;
use crate::backup::record::BackupRecord;
use crate::pace::{Pauses, TRIES_MAX, is_passing};

/// How often a record is looked at anew that others write at the same time.
const DECISIONS_MAX: u32 = 10;

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decided {
    /// It is in the namespace.
    Restored,
    /// The one that is there was kept.
    Kept,
    /// It has expired since the backup.
    Expired,
}

/// The way of all records of one restore.
pub(super) struct One {
    namespace: Namespace,
    mode: RestoreMode,
    clock: Clock,
}

/// An error, and whether an earlier try may have happened.
struct Missed {
    error: Error,
    was_in_doubt: bool,
}

impl One {
    pub(super) fn new(namespace: Namespace, mode: RestoreMode) -> Self {
        let clock = Clock::real();
        Self {
            namespace,
            mode,
            clock,
        }
    }

    /// Decides and writes.
    pub(super) async fn restore(&self, record: &BackupRecord<'_>) -> Result<Decided, Error> {
        let now_ms = ms_since_2010(&self.clock);
        let Some(ttl) = ttl_of(record.metadata.expiry, now_ms / 1000) else {
            return Ok(Decided::Expired);
        };
        let request = PutRequest {
            digest: record.digest,
            mode: PutMode::CreateOnly,
            ttl,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
            set: record.set,
            content: record.content,
        };
        match self.mode {
            RestoreMode::Replace => {
                let mode = PutMode::Replace;
                let put = self.put(&PutRequest { mode, ..request }).await;
                put.map(|()| Decided::Restored)
                    .map_err(|missed| missed.error)
            }
            RestoreMode::CreateOnly => match self.put(&request).await {
                Ok(()) => Ok(Decided::Restored),
                Err(missed) if missed.error.status() == Some(Status::Exists) => {
                    let is_ours = missed.was_in_doubt && self.is_there(record).await?;
                    Ok(if is_ours {
                        Decided::Restored
                    } else {
                        Decided::Kept
                    })
                }
                Err(missed) => Err(missed.error),
            },
            RestoreMode::NewerGeneration | RestoreMode::NewerUpdate => {
                self.restore_newer(record, &request).await
            }
        }
    }

    /// Writes the record if none is there or the one that is there is older, and looks again where somebody
    /// wrote in between.
    async fn restore_newer(
        &self,
        record: &BackupRecord<'_>,
        create: &PutRequest<'_>,
    ) -> Result<Decided, Error> {
        let mut last = None;
        for _ in 0..DECISIONS_MAX {
            let missed = match self.put(create).await {
                Ok(()) => return Ok(Decided::Restored),
                Err(missed) if missed.error.status() == Some(Status::Exists) => missed,
                Err(missed) => return Err(missed.error),
            };
            if missed.was_in_doubt && self.is_there(record).await? {
                return Ok(Decided::Restored);
            }
            let Some(found) = self.metadata(record).await? else {
                last = Some(missed.error);
                continue;
            };
            if !is_newer(self.mode, &record.metadata, &found) {
                return Ok(Decided::Kept);
            }
            let replace = PutRequest {
                mode: PutMode::Replace,
                expected_generation: Some(found.generation),
                ..*create
            };
            let missed = match self.put(&replace).await {
                Ok(()) => return Ok(Decided::Restored),
                Err(missed) => missed,
            };
            if missed.was_in_doubt && self.is_there(record).await? {
                return Ok(Decided::Restored);
            }
            match missed.error.status() {
                Some(Status::GenerationMismatch | Status::NotFound) => last = Some(missed.error),
                _ => return Err(missed.error),
            }
        }
        last.map_or(Ok(Decided::Kept), Err)
    }

    /// Writes; a busy node is given time, and a write in doubt is made again.
    async fn put(&self, request: &PutRequest<'_>) -> Result<(), Missed> {
        let mut pauses = Pauses::default();
        let mut was_in_doubt = false;
        for tries in 1.. {
            let error = match self.namespace.put(request).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            was_in_doubt |= error.is_in_doubt();
            if tries >= TRIES_MAX || !may_pass(&error) {
                return Err(Missed {
                    error,
                    was_in_doubt,
                });
            }
            pauses.wait().await;
        }
        Ok(())
    }

    /// Whether the record is there as the backup has it.
    async fn is_there(&self, record: &BackupRecord<'_>) -> Result<bool, Error> {
        let found = self.get(record, BinSelection::All).await?;
        Ok(found.is_some_and(|found| found.content_bytes() == record.content))
    }

    /// What is known of the record that is there, as far as the mode needs it.
    async fn metadata(&self, record: &BackupRecord<'_>) -> Result<Option<RecordMetadata>, Error> {
        // The index does not keep the time of the last update: that is read from the device, without bins.
        let selection = match self.mode {
            RestoreMode::NewerUpdate => BinSelection::Named(BinNames::new(&[])),
            RestoreMode::Replace | RestoreMode::CreateOnly | RestoreMode::NewerGeneration => {
                BinSelection::MetadataOnly
            }
        };
        let found = self.get(record, selection).await?;
        Ok(found.map(|found| found.metadata()))
    }

    async fn get(
        &self,
        record: &BackupRecord<'_>,
        selection: BinSelection<'_>,
    ) -> Result<Option<Record>, Error> {
        let digest = record.digest;
        let mut pauses = Pauses::default();
        for _ in 1..TRIES_MAX {
            match self.namespace.get(&GetRequest { digest, selection }).await {
                Err(error) if may_pass(&error) => pauses.wait().await,
                found => return found,
            }
        }
        self.namespace.get(&GetRequest { digest, selection }).await
    }
}

/// Whether it may go well a little later: the node is busy, or away for a moment, or the answer was lost.
fn may_pass(error: &Error) -> bool {
    let is_away = matches!(error, Error::Disconnected(_) | Error::TimedOut);
    is_passing(error) || error.is_in_doubt() || is_away
}

/// The time to live that leads to the same expiry; `None` if that has passed.
fn ttl_of(expiry: ExpirySeconds, now_s: u64) -> Option<Ttl> {
    if expiry.is_never() {
        return Some(Ttl::Never);
    }
    let left_s = u64::from(expiry.get()).checked_sub(now_s)?;
    let left_s = left_s.min(u64::from(corelith_wire::limits::TTL_S_MAX));
    (left_s > 0).then_some(Ttl::Seconds(left_s as u32))
}

/// Whether the backup's record is the newer one.
fn is_newer(mode: RestoreMode, backed_up: &RecordMetadata, found: &RecordMetadata) -> bool {
    match mode {
        RestoreMode::Replace => true,
        RestoreMode::CreateOnly => false,
        RestoreMode::NewerGeneration => backed_up.generation.get() > found.generation.get(),
        RestoreMode::NewerUpdate => {
            let update_ms =
                |metadata: &RecordMetadata| metadata.last_update.map_or(0, LastUpdateMs::get);
            update_ms(backed_up) > update_ms(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelith_client::Generation;

    #[test]
    fn the_expiry_stays_where_it_was() {
        for (expiry_s, now_s, ttl) in [
            (0, 100, Some(Ttl::Never)),
            (150, 100, Some(Ttl::Seconds(50))),
            (101, 100, Some(Ttl::Seconds(1))),
            (100, 100, None),
            (99, 100, None),
            (u32::MAX, 0, Some(Ttl::Seconds(315_360_000))),
        ] {
            assert_eq!(ttl_of(ExpirySeconds::new(expiry_s), now_s), ttl);
        }
    }

    #[test]
    fn which_is_newer() {
        let metadata = |generation, update_ms| RecordMetadata {
            generation: Generation::new(generation).unwrap(),
            expiry: ExpirySeconds::NEVER,
            last_update: LastUpdateMs::new(update_ms),
        };
        let (old, new) = (metadata(2, 500), metadata(1, 900));
        assert!(is_newer(RestoreMode::NewerGeneration, &old, &new));
        assert!(!is_newer(RestoreMode::NewerUpdate, &old, &new));
        assert!(is_newer(RestoreMode::NewerUpdate, &new, &old));
        assert!(!is_newer(RestoreMode::NewerUpdate, &new, &new));
        assert!(!is_newer(RestoreMode::NewerGeneration, &old, &old));
    }
}
