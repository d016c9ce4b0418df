//! The request that deletes all records of a set, or of a namespace, and its answer.

use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::SET_NAME_BYTES_MAX;
use crate::verify::verified;

/// Which records a truncation deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncateTarget<'a> {
    /// Those of the set with this name, which is not empty.
    Set(&'a str),
    /// All of the namespace, with a set or without.
    All,
}

/// Deletes every record of the target that was accepted before; answered with [`TruncateAnswer`] when that
/// is durable in every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateRequest<'a> {
    /// Which records.
    pub target: TruncateTarget<'a>,
}

/// Done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateAnswer {
    /// Shards that have truncated: all of the namespace.
    pub shard_count: u16,
}

const SCOPE: &str = "TruncateRequest.scope";
const SET: &str = "TruncateRequest.set";

impl<'a> TruncateRequest<'a> {
    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::TruncateRequest<'a>>(body.table()?)?;
        let set = found.set().unwrap_or_default();
        let target = match found.scope() {
            table::TruncateScope::Set if set.is_empty() => {
                return Err(DecodeError::FieldUnset { field: SET });
            }
            table::TruncateScope::Set => {
                check_length(SET, set.len(), SET_NAME_BYTES_MAX)?;
                TruncateTarget::Set(set)
            }
            table::TruncateScope::All => {
                check_length(SET, set.len(), 0)?;
                TruncateTarget::All
            }
            table::TruncateScope::Unset => return Err(DecodeError::FieldUnset { field: SCOPE }),
            table::TruncateScope(number) => {
                return Err(DecodeError::FieldRange {
                    field: SCOPE,
                    found: u64::from(number),
                    max: u64::from(table::TruncateScope::ENUM_MAX),
                });
            }
        };
        Ok(TruncateRequest { target })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        let (scope, set) = match self.target {
            TruncateTarget::Set("") => {
                return Err(EncodeError::FieldRange {
                    field: SET,
                    found: 0,
                    max: u64::try_from(SET_NAME_BYTES_MAX).unwrap_or(u64::MAX),
                });
            }
            TruncateTarget::Set(name) => {
                encode_length(SET, name.len(), SET_NAME_BYTES_MAX)?;
                let name = scratch.builder.create_string(name);
                (table::TruncateScope::Set, Some(name))
            }
            TruncateTarget::All => (table::TruncateScope::All, None),
        };
        let arguments = table::TruncateRequestArgs { scope, set };
        let root = table::TruncateRequest::create(scratch.builder, &arguments);
        Ok(root.as_union_value())
    }
}

impl TruncateAnswer {
    pub(crate) fn decode(body: &Body<'_>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::TruncateAnswer<'_>>(body.table()?)?;
        Ok(TruncateAnswer {
            shard_count: found.shard_count(),
        })
    }

    pub(crate) fn build(self, scratch: &mut Scratch<'_>) -> Root {
        let arguments = table::TruncateAnswerArgs {
            shard_count: self.shard_count,
        };
        let root = table::TruncateAnswer::create(scratch.builder, &arguments);
        root.as_union_value()
    }
}
