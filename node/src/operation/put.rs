//! Put: the bins of a request become the record, or join it.
//!
//! A replacing put is blind: no device read. A merging one reads the old record first, if there is
//! one. Bins that are nil are deleted; a record that is left without bins is no more.

use corelith_index::SetId;
use corelith_record::{
    Content, ContentError, Update, is_long, merge, merge_in_pieces, replace, replace_in_pieces,
};
use corelith_store::{Change, Current, Needs, Shard};
use corelith_wire::{PutMode, PutRequest, Refusal, Status};

use super::terms::Terms;
use super::{Outcome, check_generation, metadata_of};
use crate::namespaces::Policy;
use crate::pace::pace;
use crate::refusal::{self, Rejection};

pub(super) async fn run(shard: &Shard, put: &PutRequest<'_>, terms: Terms<'_>) -> Outcome {
    let parsed = if is_long(put.content) {
        // In memory of its own, so that the futures of ordinary puts stay small.
        Box::pin(async { Update::parse_in_pieces(put.content, &mut pace()).await }).await
    } else {
        Update::parse(put.content)
    };
    let Ok(update) = parsed else {
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
        .write_in_pieces(
            terms.commit,
            (&put.digest, needs),
            put.content,
            async |current: Option<Current<'_>>, made: &mut Vec<u8>| {
                terms.deadline.check()?;
                let policy = (terms.policy, set, now_ms);
                decide(put, &update, policy, current, made).await
            },
        )
        .await;
    match written {
        Ok(written) => Outcome::Written(metadata_of(&written, now_ms)),
        Err(error) => Outcome::Refused(refusal::of_write(&error)),
    }
}

async fn decide(
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
            let merged = merge_into(current.content, update, made).await;
            merged.map_err(|_| Rejection::Content)?
        }
        _ => match update.as_content() {
            Some(content) if !content.bins().is_empty() => {
                policy.check_length(put.content)?;
                return Ok(Change::PutInput { expiry, set });
            }
            _ => replace_with(update, made)
                .await
                .map_err(|_| Rejection::Content)?,
        },
    };
    policy.check_length(made)?;
    match (bins, current) {
        (0, Some(_)) if merges => Ok(Change::Delete),
        (0, _) => Err(Rejection::NoBins),
        _ => Ok(Change::PutMade { expiry, set }),
    }
}

async fn merge_into(
    old: &[u8],
    update: &Update<'_>,
    made: &mut Vec<u8>,
) -> Result<u16, ContentError> {
    if !is_long(old) && !is_long(update.as_bytes()) {
        return merge(&Content::from_stored(old)?, update, made);
    }
    Box::pin(async {
        let mut pace = pace();
        let old = Content::from_stored_in_pieces(old, &mut pace).await?;
        merge_in_pieces(&old, update, made, &mut pace).await
    })
    .await
}

async fn replace_with(update: &Update<'_>, made: &mut Vec<u8>) -> Result<u16, ContentError> {
    if !is_long(update.as_bytes()) {
        return replace(update, made);
    }
    Box::pin(async { replace_in_pieces(update, made, &mut pace()).await }).await
}
