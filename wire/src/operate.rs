//! The request that reads and changes bins of one record, as one. The steps' codes stand in the table, the
//! bins that they take in the payload; what both mean is `corelith-record`'s.

use corelith_index::{Digest, Generation};

use crate::body::Body;
use crate::commit::Commit;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{
    check_length, encode_length, expected_generation, expected_generation_number, routed_digest,
};
use crate::generated::corelith::native as table;
use crate::header::FrameHeader;
use crate::limits::{OPERATE_STEPS_MAX, SET_NAME_BYTES_MAX};
use crate::put::PutMode;
use crate::ttl::Ttl;
use crate::verify::verified;

/// The smallest code of a step that writes.
const FIRST_WRITING_STEP: u8 = 16;

/// Carries out several steps on one record; answered with [`OperateAnswer`](crate::OperateAnswer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperateRequest<'a> {
    /// Whose record.
    pub digest: Digest,
    /// The codes of 1 to 1,024 steps, in their order; whether each is known is not looked at here.
    pub steps: &'a [u8],
    /// What the record must be before the steps, and whether they begin with its bins.
    pub mode: PutMode,
    /// The record's time to live, if a step writes.
    pub ttl: Ttl,
    /// The generation that the record must have; `None` for any.
    pub expected_generation: Option<Generation>,
    /// When it is to be answered.
    pub commit: Commit,
    /// The set's name, at most 63 bytes; empty for none.
    pub set: &'a str,
    /// The bins that the steps take and, if it shall be kept, the user key, as a list of bins in the
    /// encoding of `corelith-record`.
    pub arguments: &'a [u8],
}

impl<'a> OperateRequest<'a> {
    /// Whether a step makes a new version of the record.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.steps.iter().any(|code| *code >= FIRST_WRITING_STEP)
    }

    pub(crate) fn decode(header: &FrameHeader, body: &Body<'a>) -> Result<Self, DecodeError> {
        let found = verified::<table::OperateRequest<'a>>(body.table()?)?;
        let set = found.set().unwrap_or_default();
        check_length("OperateRequest.set", set.len(), SET_NAME_BYTES_MAX)?;
        let steps = found.steps().bytes();
        check_length("OperateRequest.steps", steps.len(), OPERATE_STEPS_MAX)?;
        if steps.is_empty() {
            return Err(DecodeError::FieldUnset {
                field: "OperateRequest.steps",
            });
        }
        Ok(OperateRequest {
            digest: routed_digest(header, found.digest())?,
            steps,
            mode: PutMode::decode("OperateRequest.mode", found.mode())?,
            ttl: Ttl::decode(found.ttl_rule(), found.ttl_s())?,
            expected_generation: expected_generation(found.expected_generation()),
            commit: Commit::decode("OperateRequest.commit", found.commit())?,
            set,
            arguments: body.payload,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length("OperateRequest.set", self.set.len(), SET_NAME_BYTES_MAX)?;
        encode_length("OperateRequest.steps", self.steps.len(), OPERATE_STEPS_MAX)?;
        if self.steps.is_empty() {
            return Err(EncodeError::FieldUnset {
                field: "OperateRequest.steps",
            });
        }
        let (ttl_rule, ttl_s) = self.ttl.encode()?;
        let set = (!self.set.is_empty()).then(|| scratch.builder.create_string(self.set));
        let steps = scratch.builder.create_vector(self.steps);
        let root = table::OperateRequest::create(
            scratch.builder,
            &table::OperateRequestArgs {
                digest: Some(&table::Digest(*self.digest.as_bytes())),
                steps: Some(steps),
                mode: self.mode.encode(),
                ttl_rule,
                ttl_s,
                expected_generation: expected_generation_number(self.expected_generation),
                set,
                commit: self.commit.encode(),
            },
        );
        Ok(root.as_union_value())
    }
}

#[cfg(test)]
mod tests {
    use corelith_record::StepKind;

    use super::*;

    #[test]
    fn codes_are_those_of_the_schema_and_limits_those_of_the_record() {
        let codes: Vec<u8> = StepKind::ALL.iter().map(|kind| kind.code()).collect();
        let schema = table::StepKind::ENUM_VALUES.iter().map(|kind| kind.0);
        let schema: Vec<u8> = schema.filter(|code| *code != 0).collect();
        assert_eq!(codes, schema);
        assert_eq!(FIRST_WRITING_STEP, StepKind::FIRST_WRITING);
        assert_eq!(OPERATE_STEPS_MAX, corelith_record::limits::STEP_COUNT_MAX);
    }
}
