//! Get: one record, all of its bins, some of them, or what is known of it beside them.

use corelith_record::{Content, project};
use corelith_store::{Metadata, Record, Shard};
use corelith_wire::{
    Answer, BinSelection, GetRequest, RecordAnswer, RecordMetadata, Refusal, Status,
};

use super::terms::{Lookup, Terms};
use super::{Outcome, Reply, Room, last_update};
use crate::refusal::{self, batch_full};

/// A record that was found, with what of it is to be answered.
pub(crate) enum Found {
    /// Everything, from the device's own buffer.
    Whole(Record),
    /// The bins that were asked for.
    Part {
        metadata: RecordMetadata,
        content: Vec<u8>,
    },
}

impl Found {
    /// Writes the answer: the one copy of the content between device and socket.
    pub(crate) fn write(&self, reply: &mut Reply<'_>) {
        let (metadata, content) = match self {
            Self::Whole(record) => (metadata_of(record), record.content()),
            Self::Part { metadata, content } => (*metadata, content.as_slice()),
        };
        reply.answer(&Answer::Record(RecordAnswer { metadata, content }));
    }
}

pub(super) async fn run(shard: &Shard, get: &GetRequest<'_>, terms: Terms<'_>) -> Outcome {
    if let BinSelection::MetadataOnly = get.selection {
        return metadata_only(shard, get).await;
    }
    if terms.room.is_some_and(Room::is_used_up) {
        return Outcome::Refused(batch_full());
    }
    let found = match terms.lookup {
        Lookup::Alone => shard.get(&get.digest).await,
        Lookup::Fetched => shard.get_fetched(&get.digest).await,
    };
    let record = match found {
        Ok(Some(record)) => record,
        Ok(None) => return Outcome::Refused(Refusal::new(Status::NotFound)),
        Err(error) => return Outcome::Refused(refusal::of_read(&error)),
    };
    let part = select(&record, &get.selection);
    let length_bytes = match &part {
        Ok(Some(content)) => content.len(),
        Ok(None) => record.content().len(),
        Err(_) => 0,
    };
    if !terms.claim(length_bytes) {
        return Outcome::Refused(batch_full());
    }
    match part {
        Ok(None) => Outcome::Record(Box::new(Found::Whole(record))),
        Ok(Some(content)) => {
            let metadata = metadata_of(&record);
            Outcome::Record(Box::new(Found::Part { metadata, content }))
        }
        Err(refusal) => Outcome::Refused(refusal),
    }
}

/// Answered from the index, without a device read.
async fn metadata_only(shard: &Shard, get: &GetRequest<'_>) -> Outcome {
    match shard.metadata(&get.digest).await {
        Ok(Some(found)) => {
            let metadata = metadata_from_index(&found);
            Outcome::Record(Box::new(Found::Part {
                metadata,
                content: Vec::new(),
            }))
        }
        Ok(None) => Outcome::Refused(Refusal::new(Status::NotFound)),
        Err(error) => Outcome::Refused(refusal::of_read(&error)),
    }
}

/// The part of a record's content that a selection asks for; `None` for all of it.
pub(super) fn select(
    record: &Record,
    selection: &BinSelection<'_>,
) -> Result<Option<Vec<u8>>, Refusal<'static>> {
    match selection {
        BinSelection::All => Ok(None),
        BinSelection::MetadataOnly => Ok(Some(Vec::new())),
        BinSelection::Named(names) => {
            // The content was checked when it was put, and its checksum has been verified since.
            let content = Content::from_stored(record.content())
                .map_err(|_| Refusal::new(Status::Damaged))?;
            let mut part = Vec::with_capacity(record.content().len());
            project(&content, names.iter(), &mut part)
                .map_err(|_| Refusal::new(Status::Internal))?;
            Ok(Some(part))
        }
    }
}

/// What the index knows of a record: not when it was last written, and the answer does not say.
pub(super) const fn metadata_from_index(found: &Metadata) -> RecordMetadata {
    RecordMetadata {
        generation: found.generation,
        expiry: found.expiry,
        last_update: None,
    }
}

pub(super) fn metadata_of(record: &Record) -> RecordMetadata {
    let metadata = record.metadata();
    RecordMetadata {
        generation: metadata.generation,
        expiry: metadata.expiry,
        last_update: last_update(record.updated_ms()),
    }
}
