//! A namespace as a client sees it: operations by digest, with content as bytes. [`Set`](crate::Set) adds
//! keys and bins; tools that have digests or encoded contents already work here.

use std::sync::Arc;

use corelith_wire::{
    Answer, DeleteRequest, FrameHeader, GetRequest, OperateRequest, PutRequest, RecordMetadata,
    Request, Status, TouchRequest, TruncateRequest, TruncateTarget,
};

use crate::batch::{BatchBuilder, Batched};
use crate::client::{Client, decode};
use crate::error::{Doubt, Error, Refused, Unreadable};
use crate::operated::{Operated, finish_operate};
use crate::record::Record;
use crate::scan::{Scan, ScanOptions};
use crate::set::Set;

/// A namespace of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    client: Client,
    name: Arc<str>,
}

impl Namespace {
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Namespace {
            client,
            name: name.into(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client that it belongs to.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A set of the namespace; the empty name is for records without one. Nothing is sent.
    #[must_use]
    pub fn set(&self, name: &str) -> Set {
        Set::new(self.clone(), name)
    }

    /// Reads one record; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but doubt.
    pub async fn get(&self, request: &GetRequest<'_>) -> Result<Option<Record>, Error> {
        let result = self
            .client
            .call(Some(&self.name), &Request::Get(*request), finish_get)
            .await;
        match result {
            Ok(parts) => parts.into_record().map(Some),
            Err(error) if error.status() == Some(Status::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes one record and returns its metadata.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn put(&self, request: &PutRequest<'_>) -> Result<RecordMetadata, Error> {
        self.client
            .call(Some(&self.name), &Request::Put(*request), |header, body| {
                decode(header, body, |answer| match answer {
                    Answer::Written(metadata) => Some(metadata),
                    _ => None,
                })
            })
            .await
    }

    /// Removes one record; returns whether it was there.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn delete(&self, request: &DeleteRequest) -> Result<bool, Error> {
        let result = self
            .client
            .call(
                Some(&self.name),
                &Request::Delete(*request),
                |header, body| {
                    decode(header, body, |answer| {
                        matches!(answer, Answer::Deleted).then_some(())
                    })
                },
            )
            .await;
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.status() == Some(Status::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives one record another time to live; returns its metadata, `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn touch(&self, request: &TouchRequest) -> Result<Option<RecordMetadata>, Error> {
        let result = self
            .client
            .call(
                Some(&self.name),
                &Request::Touch(*request),
                |header, body| {
                    decode(header, body, |answer| match answer {
                        Answer::Touched(metadata) => Some(metadata),
                        _ => None,
                    })
                },
            )
            .await;
        match result {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.status() == Some(Status::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Carries out steps on one record, as one; `None` if it is not there and the steps, or their mode, do
    /// not make it.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened, and never of steps that only
    /// read.
    pub async fn operate(&self, request: &OperateRequest<'_>) -> Result<Option<Operated>, Error> {
        let request = Request::Operate(*request);
        let result = self
            .client
            .call(Some(&self.name), &request, finish_operate)
            .await;
        match result {
            // The steps are done, whatever can be read of what they saw.
            Ok(parts) => parts.into_operated().map(Some).map_err(|error| {
                if request.is_write() {
                    Error::InDoubt(Doubt::Unreadable(error))
                } else {
                    Error::Unreadable(error)
                }
            }),
            Err(error) if error.status() == Some(Status::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Carries out many requests about records, and returns the result of each, in their order. A request that
    /// fails, fails no other.
    ///
    /// The rows go to the cores that own their records, several requests at a time, and each is tried again as
    /// a request of its own would be. The timeout of the options holds for each of those requests, so a batch
    /// of very many rows may take longer. Rows about one key are carried out in their order as far as they
    /// travel together, which a core's rows do up to [`BATCH_ROW_COUNT`](crate::limits::BATCH_ROW_COUNT)
    /// unless one of them has to be tried again.
    pub async fn batch(&self, batch: &BatchBuilder) -> Vec<Result<Batched, Error>> {
        self.client.batch(&self.name, batch).await
    }

    /// Deletes every record of the namespace that was written before, with a set or without; of one set, see
    /// [`Set::truncate`]. Returns how many shards have, which is all.
    ///
    /// # Errors
    ///
    /// Any [`Error`]. After [`Error::InDoubt`] some shards may have deleted theirs and others not: to ask
    /// again is the remedy, and also deletes what was written in between.
    pub async fn truncate(&self) -> Result<u16, Error> {
        self.truncate_target(TruncateTarget::All).await
    }

    pub(crate) async fn truncate_target(&self, target: TruncateTarget<'_>) -> Result<u16, Error> {
        let request = Request::Truncate(TruncateRequest { target });
        self.client
            .call(Some(&self.name), &request, |header, body| {
                decode(header, body, |answer| match answer {
                    Answer::Truncated(answer) => Some(answer.shard_count),
                    _ => None,
                })
            })
            .await
    }

    /// Reads all records, or those that the options ask for, in no particular order.
    #[must_use]
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::new(self.clone(), options)
    }
}

/// A record before its content was looked at.
struct RecordParts {
    metadata: RecordMetadata,
    bytes: Vec<u8>,
    content_start: usize,
    content_end: usize,
}

impl RecordParts {
    fn into_record(self) -> Result<Record, Error> {
        Record::new(
            self.metadata,
            self.bytes,
            self.content_start,
            self.content_end,
        )
        .map_err(Error::Unreadable)
    }
}

/// Takes the whole body out of the slot: the record keeps it, so that its content is not copied again.
fn finish_get(
    header: &FrameHeader,
    body: &mut Vec<u8>,
) -> Result<Result<RecordParts, Refused>, Unreadable> {
    let metadata = decode(header, body, |answer| match answer {
        Answer::Record(record) => Some(record.metadata),
        _ => None,
    })?;
    Ok(metadata.map(|metadata| {
        let content_start = header.table_length_bytes() as usize;
        let content_end = content_start + header.payload_length_bytes() as usize;
        RecordParts {
            metadata,
            bytes: std::mem::take(body),
            content_start,
            content_end,
        }
    }))
}
