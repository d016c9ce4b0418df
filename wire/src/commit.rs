//! What a write says of the moment of its answer.

use crate::error::DecodeError;
use crate::field::check_range;

/// When a write is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Commit {
    /// As the namespace does by itself.
    #[default]
    NamespaceDefault,
    /// When it is durable.
    Durable,
    /// As soon as it is accepted and every read sees it; a crash of the node soon after may take it back.
    Buffered,
}

impl Commit {
    pub(crate) fn decode(field: &'static str, found: u8) -> Result<Self, DecodeError> {
        check_range(field, u64::from(found), 2)?;
        Ok(match found {
            0 => Commit::NamespaceDefault,
            1 => Commit::Durable,
            _ => Commit::Buffered,
        })
    }

    pub(crate) const fn encode(self) -> u8 {
        match self {
            Commit::NamespaceDefault => 0,
            Commit::Durable => 1,
            Commit::Buffered => 2,
        }
    }
}
