//! The request that removes one record.

use corelith_index::{Digest, Generation};

use crate::body::Body;
use crate::commit::Commit;
use crate::encoder::{Root, Scratch};
use crate::error::DecodeError;
use crate::field::{expected_generation, expected_generation_number, routed_digest};
use crate::generated::corelith::native as table;
use crate::header::FrameHeader;
use crate::verify::verified;

/// Removes one record; answered without a table, or with not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Whose record.
    pub digest: Digest,
    /// The generation that the record must have; `None` for any.
    pub expected_generation: Option<Generation>,
    /// When it is to be answered.
    pub commit: Commit,
}

impl DeleteRequest {
    pub(crate) fn decode(header: &FrameHeader, body: &Body<'_>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::DeleteRequest<'_>>(body.table()?)?;
        Ok(DeleteRequest {
            digest: routed_digest(header, found.digest())?,
            expected_generation: expected_generation(found.expected_generation()),
            commit: Commit::decode("DeleteRequest.commit", found.commit())?,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Root {
        let root = table::DeleteRequest::create(
            scratch.builder,
            &table::DeleteRequestArgs {
                digest: Some(&table::Digest(*self.digest.as_bytes())),
                expected_generation: expected_generation_number(self.expected_generation),
                commit: self.commit.encode(),
            },
        );
        root.as_union_value()
    }
}
