//! A record as an answer carries it: metadata in the table, content in the payload section exactly as the
//! device holds it. This file never looks inside the content; `corelith-record` does.

use std::num::NonZeroU64;

use corelith_index::{ExpirySeconds, Generation};

use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::DecodeError;
use crate::generated::corelith::native as table;
use crate::verify::verified;

/// When a record was last written: ms since 2010-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LastUpdateMs(NonZeroU64);

impl LastUpdateMs {
    /// Takes ms since 2010-01-01; `None` for zero, which stands for "not given".
    #[must_use]
    pub const fn new(milliseconds: u64) -> Option<Self> {
        match NonZeroU64::new(milliseconds) {
            Some(milliseconds) => Some(LastUpdateMs(milliseconds)),
            None => None,
        }
    }

    /// Milliseconds since 2010-01-01.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// What is known of a record beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// How often it has been written.
    pub generation: Generation,
    /// When it ceases to be visible.
    pub expiry: ExpirySeconds,
    /// When it was last written, by the node's clock; `None` where the node did not say: a get of metadata
    /// alone is answered from the index, which does not keep it.
    pub last_update: Option<LastUpdateMs>,
}

/// The answer to a get, put or touch that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordAnswer<'a> {
    /// The record's metadata, after the write if it was one.
    pub metadata: RecordMetadata,
    /// The bins asked for and the record's user key if it has one, in the encoding of `corelith-record`;
    /// empty in answers to writes and where only metadata was asked for.
    pub content: &'a [u8],
}

impl<'a> RecordAnswer<'a> {
    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        let found = verified::<table::RecordAnswer<'a>>(body.table()?)?;
        let generation = Generation::new(found.generation()).ok_or(DecodeError::FieldUnset {
            field: "RecordAnswer.generation",
        })?;
        Ok(RecordAnswer {
            metadata: RecordMetadata {
                generation,
                expiry: ExpirySeconds::new(found.expiry_s()),
                last_update: LastUpdateMs::new(found.last_update_ms()),
            },
            content: body.payload,
        })
    }
}

impl RecordMetadata {
    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Root {
        let root = table::RecordAnswer::create(
            scratch.builder,
            &table::RecordAnswerArgs {
                generation: self.generation.get(),
                expiry_s: self.expiry.get(),
                last_update_ms: self.last_update.map_or(0, LastUpdateMs::get),
            },
        );
        root.as_union_value()
    }
}
