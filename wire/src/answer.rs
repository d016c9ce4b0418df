//! An answer of any kind, as a view over the frame that brought it or as what a node wants sent. Only
//! [`Answer::decode`] makes one from a peer's bytes, and only after everything in it has been checked.

use crate::batch::{BatchRows, Direction};
use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::generated::corelith::native as table;
use crate::header::FrameHeader;
use crate::hello::HelloAnswer;
use crate::kind::{KIND_CONNECTION, MessageKind};
use crate::operate_answer::OperateAnswer;
use crate::page::ScanPage;
use crate::record::{RecordAnswer, RecordMetadata};
use crate::refusal::Refusal;
use crate::request::without_sections;
use crate::status::Status;
use crate::topology::TopologyAnswer;
use crate::truncate::TruncateAnswer;
use crate::verify::verified;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To a hello: what holds on this connection from now on.
    Hello(Box<HelloAnswer>),
    /// To a topology request: the map.
    Topology(Box<TopologyAnswer>),
    /// To a ping.
    Pong {
        /// The number of the current map.
        map_generation: u64,
    },
    /// To a statistics request: counters in the Prometheus text form.
    Statistics(&'a str),
    /// To a get: the record.
    Record(RecordAnswer<'a>),
    /// To a put: the record's metadata after the write.
    Written(RecordMetadata),
    /// To a delete: the record was there and is gone.
    Deleted,
    /// To a touch: the record's metadata after the write.
    Touched(RecordMetadata),
    /// To a scan request: one page.
    Page(ScanPage<'a>),
    /// To a truncation: done in every shard.
    Truncated(TruncateAnswer),
    /// To an operate: what became of the record, and what the reading steps saw.
    Operated(OperateAnswer<'a>),
    /// To a batch: the answer to each row, in the order of the rows.
    Batch(BatchRows<'a>),
    /// To a request of any kind: not done, and why.
    Refused {
        /// The request's kind as a number, [`FrameHeader::kind_number`]; 127 if the refusal is about the
        /// connection and no request.
        kind_number: u8,
        /// Why.
        refusal: Refusal<'a>,
    },
}

impl<'a> Answer<'a> {
    /// Reads the answer behind `header`; `body` is exactly the [`FrameHeader::body_length_bytes`] bytes
    /// after it. Nothing is copied but hellos and maps.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] means that the node breaks the protocol: what its answer meant is not known.
    pub fn decode(header: &FrameHeader, body: &'a [u8]) -> Result<Answer<'a>, DecodeError> {
        let kind_number = header.kind_number();
        if header.status_number() != Status::Ok.number() && header.is_answer() {
            // A refusal is readable even if its kind is not.
            let kind = header.kind().unwrap_or(MessageKind::Ping);
            let body = Body::split(kind, header, body)?;
            let refusal = Refusal::decode(header, &body)?;
            return Ok(Answer::Refused {
                kind_number,
                refusal,
            });
        }
        let kind = header.kind().ok_or(DecodeError::UnknownKind {
            number: kind_number,
        })?;
        if !header.is_answer() {
            return Err(DecodeError::Direction { kind });
        }
        Answer::decode_done(&Body::split(kind, header, body)?)
    }

    /// The status and the retry-after that the header carries.
    #[must_use]
    pub const fn status(&self) -> (Status, u32) {
        match self {
            Answer::Refused { refusal, .. } => (refusal.status, refusal.retry_after_ms),
            Answer::Hello(_)
            | Answer::Topology(_)
            | Answer::Pong { .. }
            | Answer::Statistics(_)
            | Answer::Record(_)
            | Answer::Written(_)
            | Answer::Deleted
            | Answer::Touched(_)
            | Answer::Page(_)
            | Answer::Truncated(_)
            | Answer::Operated(_)
            | Answer::Batch(_) => (Status::Ok, 0),
        }
    }

    /// The number of the request's kind.
    #[must_use]
    pub const fn kind_number(&self) -> u8 {
        match self {
            Answer::Hello(_) => MessageKind::Hello.number(),
            Answer::Topology(_) => MessageKind::Topology.number(),
            Answer::Pong { .. } => MessageKind::Ping.number(),
            Answer::Statistics(_) => MessageKind::Statistics.number(),
            Answer::Record(_) => MessageKind::Get.number(),
            Answer::Written(_) => MessageKind::Put.number(),
            Answer::Deleted => MessageKind::Delete.number(),
            Answer::Touched(_) => MessageKind::Touch.number(),
            Answer::Page(_) => MessageKind::Scan.number(),
            Answer::Truncated(_) => MessageKind::Truncate.number(),
            Answer::Operated(_) => MessageKind::Operate.number(),
            Answer::Batch(_) => MessageKind::Batch.number(),
            Answer::Refused { kind_number, .. } => *kind_number,
        }
    }

    /// Whether the answer is about the whole connection, which its sender then closes.
    #[must_use]
    pub const fn is_about_connection(&self) -> bool {
        self.kind_number() == KIND_CONNECTION
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Option<Root>, EncodeError> {
        match self {
            Answer::Hello(answer) => answer.build(scratch).map(Some),
            Answer::Topology(answer) => answer.build(scratch).map(Some),
            Answer::Pong { map_generation } => {
                let arguments = table::PingAnswerArgs {
                    map_generation: *map_generation,
                };
                let root = table::PingAnswer::create(scratch.builder, &arguments);
                Ok(Some(root.as_union_value()))
            }
            Answer::Record(answer) => Ok(Some(answer.metadata.build(scratch))),
            Answer::Written(metadata) | Answer::Touched(metadata) => {
                Ok(Some(metadata.build(scratch)))
            }
            Answer::Statistics(_) | Answer::Deleted | Answer::Batch(_) => Ok(None),
            Answer::Page(page) => page.build(scratch).map(Some),
            Answer::Truncated(answer) => Ok(Some(answer.build(scratch))),
            Answer::Operated(answer) => answer.build(scratch).map(Some),
            Answer::Refused { refusal, .. } => refusal.build(scratch),
        }
    }

    /// What follows the table in its frame; empty for most.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        match self {
            Answer::Record(answer) => answer.content,
            Answer::Statistics(text) => text.as_bytes(),
            Answer::Page(page) => page.payload(),
            Answer::Operated(answer) => answer.bins,
            Answer::Batch(rows) => rows.as_bytes(),
            Answer::Hello(_)
            | Answer::Topology(_)
            | Answer::Pong { .. }
            | Answer::Written(_)
            | Answer::Deleted
            | Answer::Touched(_)
            | Answer::Truncated(_)
            | Answer::Refused { .. } => &[],
        }
    }

    fn decode_done(body: &Body<'a>) -> Result<Answer<'a>, DecodeError> {
        match body.kind {
            MessageKind::Hello => {
                HelloAnswer::decode(body).map(|answer| Answer::Hello(Box::new(answer)))
            }
            MessageKind::Topology => {
                TopologyAnswer::decode(body).map(|answer| Answer::Topology(Box::new(answer)))
            }
            MessageKind::Ping => {
                body.without_payload()?;
                let found = verified::<table::PingAnswer<'a>>(body.table()?)?;
                Ok(Answer::Pong {
                    map_generation: found.map_generation(),
                })
            }
            MessageKind::Statistics => {
                body.without_table()?;
                let text = std::str::from_utf8(body.payload);
                text.map(Answer::Statistics)
                    .map_err(|_| DecodeError::StatisticsText)
            }
            MessageKind::Get => RecordAnswer::decode(body).map(Answer::Record),
            MessageKind::Put => written(body).map(Answer::Written),
            MessageKind::Delete => without_sections(body).map(|()| Answer::Deleted),
            MessageKind::Touch => written(body).map(Answer::Touched),
            MessageKind::Scan => ScanPage::decode(body).map(Answer::Page),
            MessageKind::Truncate => TruncateAnswer::decode(body).map(Answer::Truncated),
            MessageKind::Operate => OperateAnswer::decode(body).map(Answer::Operated),
            MessageKind::Batch => {
                body.without_table()?;
                BatchRows::decode(body.payload, Direction::Answers).map(Answer::Batch)
            }
        }
    }
}

/// The metadata that a write answers, without content.
fn written(body: &Body<'_>) -> Result<RecordMetadata, DecodeError> {
    body.without_payload()?;
    RecordAnswer::decode(body).map(|answer| answer.metadata)
}
