//! A record as a get or a scan returns it. It owns the answer's bytes; bins are read from them in place.

use std::time::{Duration, SystemTime};

use corelith_index::{ExpirySeconds, Generation};
use corelith_record::{Content, KeyRef, ValueRef};
use corelith_wire::RecordMetadata;

use crate::error::Unreadable;

/// One record: metadata, and the bins that were asked for.
#[derive(Clone)]
pub struct Record {
    metadata: RecordMetadata,
    /// The answer's body, with the content at its end.
    bytes: Vec<u8>,
    content_start: usize,
    content_end: usize,
}

impl Record {
    /// Takes `bytes[start..end]` for the content, after a look at every byte of it.
    pub(crate) fn new(
        metadata: RecordMetadata,
        bytes: Vec<u8>,
        content_start: usize,
        content_end: usize,
    ) -> Result<Self, Unreadable> {
        let record = Record {
            metadata,
            bytes,
            content_start,
            content_end,
        };
        if content_start != content_end {
            Content::parse(record.content_bytes())?;
        }
        Ok(record)
    }

    /// What is known of the record beside its bins.
    #[must_use]
    pub fn metadata(&self) -> RecordMetadata {
        self.metadata
    }

    /// How often it has been written.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.metadata.generation
    }

    /// The bins that were asked for and the user key, if the record has one. Empty where only metadata was
    /// asked for.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        Content::from_stored(self.content_bytes()).unwrap_or(Content::empty())
    }

    /// The content as it travelled; no byte where only metadata was asked for.
    #[must_use]
    pub fn content_bytes(&self) -> &[u8] {
        self.bytes
            .get(self.content_start..self.content_end)
            .unwrap_or_default()
    }

    /// The value of one bin.
    #[must_use]
    pub fn get(&self, bin: &str) -> Option<ValueRef<'_>> {
        self.content().get(bin).map(|value| value.decode())
    }

    /// The user key, where it was kept with the record.
    #[must_use]
    pub fn key(&self) -> Option<KeyRef<'_>> {
        self.content().key()
    }

    /// When the record ceases to be visible; `None` for never.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        let expiry = self.metadata.expiry;
        (!expiry.is_never()).then(|| epoch() + Duration::from_secs(u64::from(expiry.get())))
    }

    /// When the record was last written, by the node's clock; `None` where the node does not say, which is
    /// so when a get asked for metadata alone.
    #[must_use]
    pub fn updated_at(&self) -> Option<SystemTime> {
        let last_update = self.metadata.last_update?;
        Some(epoch() + Duration::from_millis(last_update.get()))
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("metadata", &self.metadata)
            .field("content", &self.content())
            .finish()
    }
}

/// Equal when metadata and content are, whatever else came with the answer.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.metadata == other.metadata && self.content_bytes() == other.content_bytes()
    }
}

/// What expiry and last update count from: 2010-01-01 00:00:00 UTC.
fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(ExpirySeconds::UNIX_OFFSET_SECONDS)
}
