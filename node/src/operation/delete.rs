//! Delete: a durable tombstone for a record that is there.

use corelith_store::{Change, Needs, Shard};
use corelith_wire::{DeleteRequest, Refusal, Status};

use super::terms::Terms;
use super::{Outcome, check_generation};
use crate::refusal::{self, Rejection};

pub(super) async fn run(shard: &Shard, delete: &DeleteRequest, terms: Terms<'_>) -> Outcome {
    let written = shard
        .write_as(
            terms.commit,
            (&delete.digest, Needs::Metadata),
            &[],
            |current, _| {
                terms.deadline.check()?;
                if current.is_none() {
                    return Err(Rejection::NotFound);
                }
                check_generation(delete.expected_generation, current)?;
                Ok(Change::Delete)
            },
        )
        .await;
    match written {
        Ok(written) if written.existed => Outcome::Deleted,
        Ok(_) => Outcome::Refused(Refusal::new(Status::NotFound)),
        Err(error) => Outcome::Refused(refusal::of_write(&error)),
    }
}
