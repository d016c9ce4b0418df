//! An answer that is not "done": the status, when to try again, and for some statuses the two values that
//! disagreed. The table is left out when it would say nothing.

use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::header::FrameHeader;
use crate::limits::REFUSAL_TEXT_BYTES_MAX;
use crate::status::Status;
use crate::verify::verified;

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What happened; never [`Status::Ok`]. Numbers that this version does not know read as
    /// [`Status::Internal`].
    pub status: Status,
    /// The status number as it came, known or not.
    pub status_number: u16,
    /// Pause after which another try is worthwhile, in ms; zero where the node has no opinion.
    pub retry_after_ms: u32,
    /// With [`Status::InDoubt`]: the status number of what went wrong; else zero.
    pub cause_number: u16,
    /// What was asked for or is allowed: a generation, a limit, feature bits; zero if nothing disagreed.
    pub expected: u64,
    /// What was found instead; zero if nothing disagreed.
    pub found: u64,
    /// A sentence for people, never for programs; at most 1,024 bytes, often empty.
    pub text: &'a str,
}

impl<'a> Refusal<'a> {
    /// A refusal that says no more than its status.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Refusal {
            status,
            status_number: status.number(),
            retry_after_ms: 0,
            cause_number: 0,
            expected: 0,
            found: 0,
            text: "",
        }
    }

    /// The same with a pause after which another try is worthwhile.
    #[must_use]
    pub const fn retry_after(self, retry_after_ms: u32) -> Self {
        Refusal {
            retry_after_ms,
            ..self
        }
    }

    /// The same with the values that disagreed.
    #[must_use]
    pub const fn disagreement(self, expected: u64, found: u64) -> Self {
        Refusal {
            expected,
            found,
            ..self
        }
    }

    /// The same with what put the write in doubt.
    #[must_use]
    pub const fn because_of(self, cause: Status) -> Self {
        Refusal {
            cause_number: cause.number(),
            ..self
        }
    }

    /// The same with a sentence for people.
    #[must_use]
    pub const fn explained(self, text: &'a str) -> Self {
        Refusal { text, ..self }
    }

    pub(crate) fn decode(header: &FrameHeader, body: &Body<'a>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let status_number = header.status_number();
        let status = Status::from_number(status_number).unwrap_or(Status::Internal);
        let retry_after_ms = header.retry_after_ms().unwrap_or(0);
        let bare = Refusal {
            status_number,
            ..Refusal::new(status).retry_after(retry_after_ms)
        };
        if body.table.is_empty() {
            return Ok(bare);
        }
        let found = verified::<table::Refusal<'a>>(body.table)?;
        let text = found.text().unwrap_or_default();
        check_length("Refusal.text", text.len(), REFUSAL_TEXT_BYTES_MAX)?;
        Ok(Refusal {
            cause_number: found.cause(),
            expected: found.expected(),
            found: found.found(),
            text,
            ..bare
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Option<Root>, EncodeError> {
        encode_length("Refusal.text", self.text.len(), REFUSAL_TEXT_BYTES_MAX)?;
        let says_more = self.cause_number != 0
            || self.expected != 0
            || self.found != 0
            || !self.text.is_empty();
        if !says_more {
            return Ok(None);
        }
        let text = (!self.text.is_empty()).then(|| scratch.builder.create_string(self.text));
        let root = table::Refusal::create(
            scratch.builder,
            &table::RefusalArgs {
                cause: self.cause_number,
                expected: self.expected,
                found: self.found,
                text,
            },
        );
        Ok(Some(root.as_union_value()))
    }
}
