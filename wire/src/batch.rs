//! Many requests about records in one frame, and their answers in another. The payload is a sequence of
//! frames, each a row: header, table, payload and padding as if it came alone, so that a row is read, routed
//! and answered by the code that reads, routes and answers a request.
//!
//! Here only the framing is checked. What is wrong inside a row is that row's matter.

use crate::body::Body;
use crate::error::DecodeError;
use crate::header::{FrameHeader, HEADER_SIZE};
use crate::limits::BATCH_ROWS_MAX;

/// The request: its rows. Answered with [`BatchRows`] of answers, one for each row, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRequest<'a> {
    /// The rows, made by [`FrameEncoder::batch_row`](crate::FrameEncoder::batch_row) in the order of their
    /// numbers; 1 to [`BATCH_ROWS_MAX`] of them.
    pub rows: BatchRows<'a>,
}

impl<'a> BatchRequest<'a> {
    /// Whether a row may change a record.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.header.kind().is_none_or(|kind| kind.is_write()))
    }

    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        body.without_table()?;
        Ok(BatchRequest {
            rows: BatchRows::decode(body.payload, Direction::Requests)?,
        })
    }
}

/// Which way rows go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Requests,
    Answers,
}

/// Frames one after the other. The request id of each is the number of its row, counted from zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchRows<'a>(&'a [u8]);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow<'a> {
    /// Its header; the request id is its number.
    pub header: FrameHeader,
    /// What follows the header.
    pub body: &'a [u8],
    /// All of it.
    pub frame: &'a [u8],
}

impl BatchRow<'_> {
    /// Its number, counted from zero.
    #[must_use]
    pub fn number(&self) -> usize {
        usize::try_from(self.header.request_id().get()).unwrap_or(usize::MAX)
    }
}

impl<'a> BatchRows<'a> {
    /// Rows that were put together by the caller. What is no whole frame ends them.
    #[must_use]
    pub const fn new(rows: &'a [u8]) -> Self {
        BatchRows(rows)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The rows in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = BatchRow<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (row, after) = split(rest)?;
            rest = after;
            Some(row)
        })
    }

    pub(crate) fn decode(payload: &'a [u8], direction: Direction) -> Result<Self, DecodeError> {
        let mut rest = payload;
        let mut count = 0;
        while !rest.is_empty() {
            let Some((row, after)) = split(rest) else {
                return Err(DecodeError::BatchRow { row: count });
            };
            let is_right = match direction {
                // Requests stand in the order of their numbers and leave the rest to the batch.
                Direction::Requests => {
                    let header = row.header;
                    let is_bare = header.namespace().is_none() && header.deadline_ms().is_none();
                    !header.is_answer() && row.number() == count && is_bare
                }
                Direction::Answers => row.header.is_answer() && row.number() < BATCH_ROWS_MAX,
            };
            if !is_right {
                return Err(DecodeError::BatchRow { row: count });
            }
            count += 1;
            rest = after;
            if count > BATCH_ROWS_MAX {
                return Err(DecodeError::BatchRowCount { found: count });
            }
        }
        if count == 0 {
            return Err(DecodeError::BatchRowCount { found: 0 });
        }
        Ok(BatchRows(payload))
    }
}

/// The row at the start of `bytes`, and what follows it.
fn split(bytes: &[u8]) -> Option<(BatchRow<'_>, &[u8])> {
    let header = FrameHeader::parse(bytes).ok()??;
    let length = usize::try_from(header.frame_length_bytes()).ok()?;
    let (frame, after) = bytes.split_at_checked(length)?;
    let body = frame.get(HEADER_SIZE..)?;
    let row = BatchRow {
        header,
        body,
        frame,
    };
    Some((row, after))
}

impl std::fmt::Debug for BatchRows<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers = self.iter().map(|row| row.header);
        formatter.debug_list().entries(headers).finish()
    }
}
