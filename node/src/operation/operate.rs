//! Operate: several steps on one record, as one.
//!
//! What the steps do to a record's bins is `corelith-record`'s; here stand the conditions, the way to
//! the store and the answer. Steps that only read make no version; those that do not depend on what
//! the record holds cost no device read; all others cost one.

use corelith_index::SetId;
use corelith_record::{
    Content, Effect, KeyRef, Reads, Step, StepError, Steps, is_long, operate, operate_in_pieces,
};
use corelith_store::{Change, Current, Needs, Record, Shard, WriteError};
use corelith_wire::{
    Answer, BinCounts, OperateAnswer, OperateRequest, PutMode, RecordMetadata, Refusal, Status,
    limits,
};

use super::terms::Terms;
use super::{Outcome, check_generation, get, metadata_of};
use crate::limits::STEPS_AT_ONCE;
use crate::namespaces::Policy;
use crate::pace::pace;
use crate::refusal::{self, Rejection};

/// What is to be answered.
pub(crate) struct Operated {
    /// `None` if the record is no more.
    metadata: Option<RecordMetadata>,
    reads: Reads,
}

impl Operated {
    /// The answer.
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer::Operated(OperateAnswer {
            metadata: self.metadata,
            bin_counts: BinCounts::new(&self.reads.bin_counts),
            bins: &self.reads.bins,
        })
    }
}

pub(super) async fn run(shard: &Shard, request: &OperateRequest<'_>, terms: Terms<'_>) -> Outcome {
    let parsed = if is_long(request.arguments) {
        // In memory of its own, so that the futures of ordinary operates stay small.
        let (codes, arguments) = (request.steps, request.arguments);
        Box::pin(async { Steps::parse_in_pieces(codes, arguments, &mut pace()).await }).await
    } else {
        Steps::parse(request.steps, request.arguments)
    };
    let steps = match parsed {
        Ok(steps) => steps,
        Err(error) => return explained(Status::InvalidArgument, &error.to_string()),
    };
    let replaces = replaces(request.mode);
    if replaces && !steps.is_write() {
        return Outcome::Refused(
            Refusal::new(Status::InvalidArgument).explained(
                "steps that only read replace nothing: use the mode Merge or UpdateOnly",
            ),
        );
    }
    if replaces && steps.has_touch() {
        return Outcome::Refused(
            Refusal::new(Status::InvalidArgument)
                .explained("a touch keeps the record as it is: use the mode Merge or UpdateOnly"),
        );
    }
    if steps.is_write() {
        write(shard, request, (steps, terms)).await
    } else {
        read(shard, request, (steps, terms)).await
    }
}

async fn write(
    shard: &Shard,
    request: &OperateRequest<'_>,
    (steps, terms): (Steps<'_>, Terms<'_>),
) -> Outcome {
    let set = match shard.known_set(request.set) {
        Some(set) => set,
        None => match shard.set_id(request.set).await {
            Ok(set) => set,
            Err(error) => return Outcome::Refused(refusal::of_set(&error)),
        },
    };
    let needs = if steps.need_content() && !replaces(request.mode) {
        Needs::Content
    } else {
        Needs::Metadata
    };
    let now_ms = shard.now_ms();
    let mut reads = Reads::default();
    let mut is_gone = false;
    let mut claimed = None;
    let written = shard
        .write_in_pieces(
            terms.commit,
            (&request.digest, needs),
            &[],
            async |current: Option<Current<'_>>, made: &mut Vec<u8>| {
                terms.deadline.check()?;
                give_back(terms, &mut claimed);
                let policy = (terms.policy, set, now_ms);
                let decided = decide(request, steps, policy, current, (made, &mut reads));
                let change = decided.await?;
                // A write whose answer has no room is not carried out: it could not say what it read.
                if !terms.claim(length_of(&reads)) {
                    return Err(Rejection::BatchFull);
                }
                claimed = Some(length_of(&reads));
                is_gone = change == Change::Delete;
                Ok(change)
            },
        )
        .await;
    if written.is_err() {
        give_back(terms, &mut claimed);
    }
    match written {
        Ok(written) => Outcome::Operated(Box::new(Operated {
            metadata: (!is_gone).then(|| metadata_of(&written, now_ms)),
            reads,
        })),
        Err(WriteError::Rejected(Rejection::Step(error))) => failed(steps, &error),
        Err(error) => Outcome::Refused(refusal::of_write(&error)),
    }
}

async fn decide(
    request: &OperateRequest<'_>,
    steps: Steps<'_>,
    (policy, set, now_ms): (Policy, SetId, u64),
    current: Option<Current<'_>>,
    (made, reads): (&mut Vec<u8>, &mut Reads),
) -> Result<Change, Rejection> {
    match (request.mode, current) {
        (PutMode::CreateOnly, Some(_)) => return Err(Rejection::Exists),
        (PutMode::UpdateOnly | PutMode::ReplaceOnly, None) => return Err(Rejection::NotFound),
        (_, None) if steps.has_touch() => return Err(Rejection::NotFound),
        _ => {}
    }
    check_generation(request.expected_generation, current)?;
    let old = match current {
        Some(current) if !replaces(request.mode) && !current.content.is_empty() => current.content,
        _ => Content::EMPTY_BYTES,
    };
    let effect = carry_out(old, steps.key(), steps, (made, reads)).await?;
    match (effect, current) {
        (Effect::Written(0), Some(_)) => return Ok(Change::Delete),
        (Effect::Written(0), None) => return Err(Rejection::NotFound),
        _ => {}
    }
    let expiry = policy.lifetimes.expiry_of(request.ttl, current, now_ms)?;
    match effect {
        Effect::Written(_) => {
            policy.check_length(made)?;
            Ok(Change::PutMade { expiry, set })
        }
        // There is a write among the steps, so this is a touch, and a touch needs a record.
        Effect::Touched | Effect::Nothing => Ok(Change::Touch { expiry }),
    }
}

async fn read(
    shard: &Shard,
    request: &OperateRequest<'_>,
    (steps, terms): (Steps<'_>, Terms<'_>),
) -> Outcome {
    let needs_record = steps.need_content();
    let found = if needs_record {
        shard
            .get(&request.digest)
            .await
            .map(|record| record.map(|record| (get::metadata_of(&record), Some(record))))
    } else {
        shard
            .metadata(&request.digest)
            .await
            .map(|found| found.map(|found| (get::metadata_from_index(&found), None)))
    };
    let (metadata, record) = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Outcome::Refused(Refusal::new(Status::NotFound)),
        Err(error) => return Outcome::Refused(refusal::of_read(&error)),
    };
    if let Some(expected) = request.expected_generation
        && expected != metadata.generation
    {
        let found = u64::from(metadata.generation.get());
        return Outcome::Refused(
            Refusal::new(Status::GenerationMismatch).disagreement(expected.get().into(), found),
        );
    }
    let old = record
        .as_ref()
        .map_or(Content::EMPTY_BYTES, Record::content);
    let mut reads = Reads::default();
    match carry_out(old, None, steps, (&mut Vec::new(), &mut reads)).await {
        Ok(_) if !terms.claim(length_of(&reads)) => Outcome::Refused(refusal::batch_full()),
        Ok(_) => Outcome::Operated(Box::new(Operated {
            metadata: Some(metadata),
            reads,
        })),
        Err(Rejection::Step(error)) => failed(steps, &error),
        // The content was checked when it was put, and its checksum has been verified since.
        Err(_) => Outcome::Refused(Refusal::new(Status::Damaged)),
    }
}

/// What the answer takes for what was read, in bytes.
fn length_of(reads: &Reads) -> usize {
    reads.bins.len() + size_of_val(reads.bin_counts.as_slice())
}

/// A decision that is taken again claims again.
fn give_back(terms: Terms<'_>, claimed: &mut Option<usize>) {
    if let (Some(room), Some(length_bytes)) = (terms.room, claimed.take()) {
        room.give_back(length_bytes);
    }
}

/// Carries out the steps on a record's content as it is stored.
async fn carry_out<'a>(
    old: &'a [u8],
    key: Option<KeyRef<'a>>,
    steps: Steps<'a>,
    (made, reads): (&mut Vec<u8>, &mut Reads),
) -> Result<Effect, Rejection> {
    if !is_long(old) && !is_long(steps.arguments()) && steps.len() <= STEPS_AT_ONCE {
        let old = Content::from_stored(old).map_err(|_| Rejection::Content)?;
        return operate(&old, key, steps, made, reads).map_err(Rejection::Step);
    }
    Box::pin(async {
        let mut pace = pace();
        let old = Content::from_stored_in_pieces(old, &mut pace).await;
        let old = old.map_err(|_| Rejection::Content)?;
        let done = operate_in_pieces(&old, key, steps, (made, reads), &mut pace).await;
        done.map_err(Rejection::Step)
    })
    .await
}

/// Whether the steps begin with no bins, whatever the record holds.
const fn replaces(mode: PutMode) -> bool {
    match mode {
        PutMode::Replace | PutMode::ReplaceOnly | PutMode::CreateOnly => true,
        PutMode::Merge | PutMode::UpdateOnly => false,
    }
}

/// A step that cannot be carried out, with its number as people count and the bin that it is about.
fn failed(steps: Steps<'_>, error: &StepError) -> Outcome {
    let status = refusal::status_of_step(error);
    let number = u32::from(error.step) + 1;
    let reason = error.error;
    let text = match steps.iter().nth(usize::from(error.step)) {
        Some(Step::Read(bin) | Step::Edit(bin, _)) => {
            format!("step {number}, bin \"{bin}\": {reason}")
        }
        _ => format!("step {number}: {reason}"),
    };
    explained(status, &text)
}

/// A refusal whose text is made for the occasion.
fn explained(status: Status, text: &str) -> Outcome {
    let cut = text.floor_char_boundary(limits::REFUSAL_TEXT_BYTES_MAX);
    let text = text.get(..cut).unwrap_or_default();
    Outcome::Explained(Box::new((status, text.to_owned())))
}
