//! What a write says of a record's time to live: a rule, and seconds where the rule needs them.

use crate::error::{DecodeError, EncodeError};
use crate::generated::corelith::native as table;
use crate::limits::TTL_S_MAX;

/// The time to live that a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// What the namespace or set says.
    NamespaceDefault,
    /// The record does not expire.
    Never,
    /// The record's present expiry stays; a new record gets the namespace's default.
    Keep,
    /// Seconds from now, 1 to 315,360,000 (ten years).
    Seconds(u32),
}

impl Ttl {
    pub(crate) fn decode(rule: table::TtlRule, seconds: u32) -> Result<Self, DecodeError> {
        let ttl = match rule {
            table::TtlRule::NamespaceDefault => Ttl::NamespaceDefault,
            table::TtlRule::Never => Ttl::Never,
            table::TtlRule::Keep => Ttl::Keep,
            table::TtlRule::Seconds => Ttl::Seconds(seconds),
            table::TtlRule::Unset => return Err(DecodeError::FieldUnset { field: "ttl_rule" }),
            table::TtlRule(number) => {
                return Err(DecodeError::FieldRange {
                    field: "ttl_rule",
                    found: u64::from(number),
                    max: u64::from(table::TtlRule::ENUM_MAX),
                });
            }
        };
        let max = if rule == table::TtlRule::Seconds {
            TTL_S_MAX
        } else {
            0
        };
        if seconds > max {
            return Err(DecodeError::FieldRange {
                field: "ttl_s",
                found: u64::from(seconds),
                max: u64::from(max),
            });
        }
        if ttl == Ttl::Seconds(0) {
            return Err(DecodeError::FieldUnset { field: "ttl_s" });
        }
        Ok(ttl)
    }

    pub(crate) fn encode(self) -> Result<(table::TtlRule, u32), EncodeError> {
        match self {
            Ttl::NamespaceDefault => Ok((table::TtlRule::NamespaceDefault, 0)),
            Ttl::Never => Ok((table::TtlRule::Never, 0)),
            Ttl::Keep => Ok((table::TtlRule::Keep, 0)),
            Ttl::Seconds(seconds) if (1..=TTL_S_MAX).contains(&seconds) => {
                Ok((table::TtlRule::Seconds, seconds))
            }
            Ttl::Seconds(seconds) => Err(EncodeError::FieldRange {
                field: "ttl_s",
                found: u64::from(seconds),
                max: u64::from(TTL_S_MAX),
            }),
        }
    }
}
