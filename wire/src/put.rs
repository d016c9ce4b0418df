//! The request that writes one record.

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
use crate::limits::SET_NAME_BYTES_MAX;
use crate::ttl::Ttl;
use crate::verify::verified;

/// What a put does with the record that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// The content's bins join those of the record, which is created if it is not there.
    Merge,
    /// The content becomes the record, whatever was there.
    Replace,
    /// The record must not be there.
    CreateOnly,
    /// As merge, but the record must be there.
    UpdateOnly,
    /// As replace, but the record must be there.
    ReplaceOnly,
}

/// Writes one record; answered with [`RecordAnswer`](crate::RecordAnswer) without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutRequest<'a> {
    /// Whose record.
    pub digest: Digest,
    /// What to do with the record that is there.
    pub mode: PutMode,
    /// The record's time to live.
    pub ttl: Ttl,
    /// The generation that the record must have; `None` for any. A record that is not there has none.
    pub expected_generation: Option<Generation>,
    /// When it is to be answered.
    pub commit: Commit,
    /// The set's name, at most 63 bytes; empty for none.
    pub set: &'a str,
    /// The bins and, if it shall be kept, the user key, in the encoding of `corelith-record`.
    pub content: &'a [u8],
}

impl<'a> PutRequest<'a> {
    pub(crate) fn decode(header: &FrameHeader, body: &Body<'a>) -> Result<Self, DecodeError> {
        let found = verified::<table::PutRequest<'a>>(body.table()?)?;
        let set = found.set().unwrap_or_default();
        check_length("PutRequest.set", set.len(), SET_NAME_BYTES_MAX)?;
        Ok(PutRequest {
            digest: routed_digest(header, found.digest())?,
            mode: PutMode::decode("PutRequest.mode", found.mode())?,
            ttl: Ttl::decode(found.ttl_rule(), found.ttl_s())?,
            expected_generation: expected_generation(found.expected_generation()),
            commit: Commit::decode("PutRequest.commit", found.commit())?,
            set,
            content: body.payload,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length("PutRequest.set", self.set.len(), SET_NAME_BYTES_MAX)?;
        let (ttl_rule, ttl_s) = self.ttl.encode()?;
        let set = (!self.set.is_empty()).then(|| scratch.builder.create_string(self.set));
        let root = table::PutRequest::create(
            scratch.builder,
            &table::PutRequestArgs {
                digest: Some(&table::Digest(*self.digest.as_bytes())),
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

impl PutMode {
    pub(crate) fn decode(field: &'static str, found: table::PutMode) -> Result<Self, DecodeError> {
        match found {
            table::PutMode::Merge => Ok(PutMode::Merge),
            table::PutMode::Replace => Ok(PutMode::Replace),
            table::PutMode::CreateOnly => Ok(PutMode::CreateOnly),
            table::PutMode::UpdateOnly => Ok(PutMode::UpdateOnly),
            table::PutMode::ReplaceOnly => Ok(PutMode::ReplaceOnly),
            table::PutMode::Unset => Err(DecodeError::FieldUnset { field }),
            table::PutMode(number) => Err(DecodeError::FieldRange {
                field,
                found: u64::from(number),
                max: u64::from(table::PutMode::ENUM_MAX),
            }),
        }
    }

    pub(crate) const fn encode(self) -> table::PutMode {
        match self {
            PutMode::Merge => table::PutMode::Merge,
            PutMode::Replace => table::PutMode::Replace,
            PutMode::CreateOnly => table::PutMode::CreateOnly,
            PutMode::UpdateOnly => table::PutMode::UpdateOnly,
            PutMode::ReplaceOnly => table::PutMode::ReplaceOnly,
        }
    }
}
