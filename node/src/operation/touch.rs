//! Touch: another time to live for a record that is there, and a new generation.

use corelith_store::{Change, Needs, Shard};
use corelith_wire::TouchRequest;

use super::terms::Terms;
use super::{Outcome, check_generation, metadata_of};
use crate::refusal::{self, Rejection};

pub(super) async fn run(shard: &Shard, touch: &TouchRequest, terms: Terms<'_>) -> Outcome {
    let now_ms = shard.now_ms();
    let written = shard
        .write_as(
            terms.commit,
            (&touch.digest, Needs::Content),
            &[],
            |current, _| {
                terms.deadline.check()?;
                if current.is_none() {
                    return Err(Rejection::NotFound);
                }
                check_generation(touch.expected_generation, current)?;
                Ok(Change::Touch {
                    expiry: terms
                        .policy
                        .lifetimes
                        .expiry_of(touch.ttl, current, now_ms)?,
                })
            },
        )
        .await;
    match written {
        Ok(written) => Outcome::Touched(metadata_of(&written, now_ms)),
        Err(error) => Outcome::Refused(refusal::of_write(&error)),
    }
}
