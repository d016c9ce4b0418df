//! A request of any kind, as a view over the frame that brought it or as what a client wants sent. Only
//! [`Request::decode`] makes one from a peer's bytes, and only after everything in it has been checked.

use corelith_index::{Digest, PartitionId};

use crate::batch::BatchRequest;
use crate::body::Body;
use crate::commit::Commit;
use crate::delete::DeleteRequest;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::get::GetRequest;
use crate::header::FrameHeader;
use crate::hello::HelloRequest;
use crate::kind::MessageKind;
use crate::operate::OperateRequest;
use crate::put::PutRequest;
use crate::scan::ScanRequest;
use crate::statistics::StatisticsRequest;
use crate::touch::TouchRequest;
use crate::truncate::TruncateRequest;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// First on every connection.
    Hello(HelloRequest<'a>),
    /// The current map, please.
    Topology,
    /// A sign of life, please.
    Ping,
    /// The node's counters.
    Statistics(StatisticsRequest<'a>),
    /// One record.
    Get(GetRequest<'a>),
    /// Write one record.
    Put(PutRequest<'a>),
    /// Remove one record.
    Delete(DeleteRequest),
    /// Give one record another time to live.
    Touch(TouchRequest),
    /// One page of a scan.
    Scan(ScanRequest<'a>),
    /// Remove all records of a set or of a namespace.
    Truncate(TruncateRequest<'a>),
    /// Read and change bins of one record, as one.
    Operate(OperateRequest<'a>),
    /// Many requests about records at once.
    Batch(BatchRequest<'a>),
}

impl<'a> Request<'a> {
    /// Reads the request behind `header`; `body` is exactly the [`FrameHeader::body_length_bytes`] bytes
    /// after it. Nothing is copied.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] refuses this request with its [`DecodeError::status`]; the frame's end is known,
    /// so the connection can go on.
    pub fn decode(header: &FrameHeader, body: &'a [u8]) -> Result<Request<'a>, DecodeError> {
        let kind = header.kind().ok_or(DecodeError::UnknownKind {
            number: header.kind_number(),
        })?;
        if header.is_answer() {
            return Err(DecodeError::Direction { kind });
        }
        if kind.needs_namespace() && header.namespace().is_none() {
            return Err(DecodeError::NamespaceMissing { kind });
        }
        Request::decode_kind(kind, header, body)
    }

    /// Reads the row of a batch behind `header`: as [`Request::decode`], but the row names no namespace, since
    /// the batch does, and is about one record.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] refuses this row with its [`DecodeError::status`], and no other.
    pub fn decode_row(header: &FrameHeader, body: &'a [u8]) -> Result<Request<'a>, DecodeError> {
        let number = header.kind_number();
        let kind = header.kind().filter(|kind| kind.fits_batch());
        let kind = kind.ok_or(DecodeError::UnknownKind { number })?;
        Request::decode_kind(kind, header, body)
    }

    fn decode_kind(
        kind: MessageKind,
        header: &FrameHeader,
        body: &'a [u8],
    ) -> Result<Request<'a>, DecodeError> {
        let body = Body::split(kind, header, body)?;
        match kind {
            MessageKind::Hello => HelloRequest::decode(&body).map(Request::Hello),
            MessageKind::Topology => without_sections(&body).map(|()| Request::Topology),
            MessageKind::Ping => without_sections(&body).map(|()| Request::Ping),
            MessageKind::Statistics => StatisticsRequest::decode(&body).map(Request::Statistics),
            MessageKind::Get => GetRequest::decode(header, &body).map(Request::Get),
            MessageKind::Put => PutRequest::decode(header, &body).map(Request::Put),
            MessageKind::Delete => DeleteRequest::decode(header, &body).map(Request::Delete),
            MessageKind::Touch => TouchRequest::decode(header, &body).map(Request::Touch),
            MessageKind::Scan => ScanRequest::decode(header, &body).map(Request::Scan),
            MessageKind::Truncate => TruncateRequest::decode(&body).map(Request::Truncate),
            MessageKind::Operate => OperateRequest::decode(header, &body).map(Request::Operate),
            MessageKind::Batch => BatchRequest::decode(&body).map(Request::Batch),
        }
    }

    /// What is asked.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Request::Hello(_) => MessageKind::Hello,
            Request::Topology => MessageKind::Topology,
            Request::Ping => MessageKind::Ping,
            Request::Statistics(_) => MessageKind::Statistics,
            Request::Get(_) => MessageKind::Get,
            Request::Put(_) => MessageKind::Put,
            Request::Delete(_) => MessageKind::Delete,
            Request::Touch(_) => MessageKind::Touch,
            Request::Scan(_) => MessageKind::Scan,
            Request::Truncate(_) => MessageKind::Truncate,
            Request::Operate(_) => MessageKind::Operate,
            Request::Batch(_) => MessageKind::Batch,
        }
    }

    /// The record that the request is about, if it is about one.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Request::Get(request) => Some(&request.digest),
            Request::Put(request) => Some(&request.digest),
            Request::Delete(request) => Some(&request.digest),
            Request::Touch(request) => Some(&request.digest),
            Request::Operate(request) => Some(&request.digest),
            Request::Hello(_)
            | Request::Topology
            | Request::Ping
            | Request::Statistics(_)
            | Request::Scan(_)
            | Request::Truncate(_)
            | Request::Batch(_) => None,
        }
    }

    /// The set that a record is written into, by a put or an operate.
    #[must_use]
    pub const fn set(&self) -> Option<&'a str> {
        match self {
            Request::Put(request) => Some(request.set),
            Request::Operate(request) => Some(request.set),
            Request::Hello(_)
            | Request::Topology
            | Request::Ping
            | Request::Statistics(_)
            | Request::Get(_)
            | Request::Delete(_)
            | Request::Touch(_)
            | Request::Scan(_)
            | Request::Truncate(_)
            | Request::Batch(_) => None,
        }
    }

    /// Whether it changes records: if its answer is lost, its outcome is in doubt.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Request::Operate(request) => request.is_write(),
            Request::Batch(request) => request.is_write(),
            Request::Hello(_)
            | Request::Topology
            | Request::Ping
            | Request::Statistics(_)
            | Request::Get(_)
            | Request::Put(_)
            | Request::Delete(_)
            | Request::Touch(_)
            | Request::Scan(_)
            | Request::Truncate(_) => self.kind().is_write(),
        }
    }

    /// The partition by which the request is routed; `None` for requests that any core answers.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionId> {
        match self {
            Request::Get(request) => Some(request.digest.partition()),
            Request::Put(request) => Some(request.digest.partition()),
            Request::Delete(request) => Some(request.digest.partition()),
            Request::Touch(request) => Some(request.digest.partition()),
            Request::Scan(request) => request.partitions.first(),
            Request::Operate(request) => Some(request.digest.partition()),
            Request::Hello(_)
            | Request::Topology
            | Request::Ping
            | Request::Statistics(_)
            | Request::Truncate(_)
            | Request::Batch(_) => None,
        }
    }

    /// When the request wants its answer; only writes have a choice.
    #[must_use]
    pub const fn commit(&self) -> Commit {
        match self {
            Request::Put(request) => request.commit,
            Request::Delete(request) => request.commit,
            Request::Touch(request) => request.commit,
            Request::Operate(request) => request.commit,
            Request::Hello(_)
            | Request::Topology
            | Request::Ping
            | Request::Statistics(_)
            | Request::Get(_)
            | Request::Batch(_)
            | Request::Scan(_)
            | Request::Truncate(_) => Commit::NamespaceDefault,
        }
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Option<Root>, EncodeError> {
        match self {
            Request::Hello(request) => request.build(scratch).map(Some),
            Request::Topology | Request::Ping | Request::Batch(_) => Ok(None),
            Request::Statistics(request) => request.build(scratch).map(Some),
            Request::Get(request) => request.build(scratch).map(Some),
            Request::Put(request) => request.build(scratch).map(Some),
            Request::Delete(request) => Ok(Some(request.build(scratch))),
            Request::Touch(request) => request.build(scratch).map(Some),
            Request::Scan(request) => request.build(scratch).map(Some),
            Request::Truncate(request) => request.build(scratch).map(Some),
            Request::Operate(request) => request.build(scratch).map(Some),
        }
    }

    pub(crate) const fn payload(&self) -> &'a [u8] {
        match self {
            Request::Put(request) => request.content,
            Request::Operate(request) => request.arguments,
            Request::Batch(request) => request.rows.as_bytes(),
            Request::Hello(_)
            | Request::Topology
            | Request::Ping
            | Request::Statistics(_)
            | Request::Get(_)
            | Request::Delete(_)
            | Request::Touch(_)
            | Request::Scan(_)
            | Request::Truncate(_) => &[],
        }
    }
}

/// Refuses sections where the kind has none.
pub(crate) fn without_sections(body: &Body<'_>) -> Result<(), DecodeError> {
    body.without_table()?;
    body.without_payload()
}
