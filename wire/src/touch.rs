//! The request that gives one record another time to live and, as every write does, a new generation.

use corelith_index::{Digest, Generation};

use crate::body::Body;
use crate::commit::Commit;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{expected_generation, expected_generation_number, routed_digest};
use crate::generated::corelith::native as table;
use crate::header::FrameHeader;
use crate::ttl::Ttl;
use crate::verify::verified;

/// Writes one record anew; answered with [`RecordAnswer`](crate::RecordAnswer) without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchRequest {
    /// Whose record.
    pub digest: Digest,
    /// The record's new time to live.
    pub ttl: Ttl,
    /// The generation that the record must have; `None` for any.
    pub expected_generation: Option<Generation>,
    /// When it is to be answered.
    pub commit: Commit,
}

impl TouchRequest {
    pub(crate) fn decode(header: &FrameHeader, body: &Body<'_>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::TouchRequest<'_>>(body.table()?)?;
        Ok(TouchRequest {
            digest: routed_digest(header, found.digest())?,
            ttl: Ttl::decode(found.ttl_rule(), found.ttl_s())?,
            expected_generation: expected_generation(found.expected_generation()),
            commit: Commit::decode("TouchRequest.commit", found.commit())?,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        let (ttl_rule, ttl_s) = self.ttl.encode()?;
        let root = table::TouchRequest::create(
            scratch.builder,
            &table::TouchRequestArgs {
                digest: Some(&table::Digest(*self.digest.as_bytes())),
                ttl_rule,
                ttl_s,
                expected_generation: expected_generation_number(self.expected_generation),
                commit: self.commit.encode(),
            },
        );
        Ok(root.as_union_value())
    }
}
