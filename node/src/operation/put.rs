//! Put: the bins of a request become the record, or join it.
//!
//! A replacing put is blind: no device read. A merging one reads the old record first, if there is
//! one. Bins that are nil are deleted; a record that is left without bins is no more.

use corelith_index::SetId;
use corelith_record::{Content, Update, merge, replace};
use corelith_store::{Change, Current, Needs, Shard};
use corelith_wire::{PutMode, PutRequest, Refusal, Status};

use super::terms::Terms;
use super::{Outcome, check_generation, metadata_of};
use crate::namespaces::Policy;
use crate::refusal::{self, Rejection};

pub(super) async fn run(shard: &Shard, put: &PutRequest<'_>, terms: Terms<'_>) -> Outcome {
    let Ok(update) = Update::parse(put.content) else {
        return Outcome::Refused(
            Refusal::new(Status::Malformed).explained("the content breaks a rule of its encoding"),
        );
    };
    let set = match shard.known_set(put.set) {
        Some(set) => set,
        None => match shard.set_id(put.set).await {
            Ok(set) => set,
            Err(error) => return Outcome::Refused(refusal::of_set(&error)),
        },
    };
    let needs = match put.mode {
        PutMode::Merge | PutMode::UpdateOnly => Needs::Content,
        PutMode::Replace | PutMode::CreateOnly | PutMode::ReplaceOnly => Needs::Metadata,
    };
    let now_ms = shard.now_ms();
    let written = shard
        .write_as(
            terms.commit,
            (&put.digest, needs),
            put.content,
            |current, made| {
                terms.deadline.check()?;
                decide(put, &update, (terms.policy, set, now_ms), current, made)
            },
        )
        .await;
    match written {
        Ok(written) => Outcome::Written(metadata_of(&written, now_ms)),
        Err(error) => Outcome::Refused(refusal::of_write(&error)),
    }
}

fn decide(
    put: &PutRequest<'_>,
    update: &Update<'_>,
    (policy, set, now_ms): (Policy, SetId, u64),
    current: Option<Current<'_>>,
    made: &mut Vec<u8>,
) -> Result<Change, Rejection> {
    match (put.mode, current) {
        (PutMode::CreateOnly, Some(_)) => return Err(Rejection::Exists),
        (PutMode::UpdateOnly | PutMode::ReplaceOnly, None) => return Err(Rejection::NotFound),
        _ => {}
    }
    check_generation(put.expected_generation, current)?;
    let expiry = policy.lifetimes.expiry_of(put.ttl, current, now_ms)?;
    let merges = matches!(put.mode, PutMode::Merge | PutMode::UpdateOnly);
    let bins = match current {
        Some(current) if merges => {
            let old = Content::from_stored(current.content).map_err(|_| Rejection::Content)?;
            merge(&old, update, made).map_err(|_| Rejection::Content)?
        }
        _ => match update.as_content() {
            Some(content) if !content.bins().is_empty() => {
                policy.check_length(put.content)?;
                return Ok(Change::PutInput { expiry, set });
            }
            _ => replace(update, made).map_err(|_| Rejection::Content)?,
        },
    };
    policy.check_length(made)?;
    match (bins, current) {
        (0, Some(_)) if merges => Ok(Change::Delete),
        (0, _) => Err(Rejection::NoBins),
        _ => Ok(Change::PutMade { expiry, set }),
    }
}
