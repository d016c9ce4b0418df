//! A record in a block of a backup, as `BACKUP.md` has it. The content stays as the node gave it, byte for
//! byte, whatever kinds of values it holds.

use corelith_client::{Digest, ExpirySeconds, Generation, LastUpdateMs, RecordMetadata};
use corelith_wire::limits::{PAYLOAD_LENGTH_BYTES_MAX, SET_NAME_BYTES_MAX};

use super::fields::{u16_at, u32_at, u64_at};

/// Length of what stands before a record's set and content, in bytes.
pub const FIXED_LENGTH_BYTES: usize = 40;

const LENGTH_AT: usize = 0;
const DIGEST_AT: usize = 4;
const EXPIRY_AT: usize = 24;
const UPDATE_AT: usize = 28;
const GENERATION_AT: usize = 36;
const SET_LENGTH_AT: usize = 38;
const RESERVED_AT: usize = 39;

/// All that a record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackupRecord<'a> {
    /// Its identity.
    pub digest: Digest,
    /// Generation, absolute expiry and time of the last update, by the node's clock.
    pub metadata: RecordMetadata,
    /// The name of its set; empty for none.
    pub set: &'a str,
    /// The key, if it was kept, and all bins.
    pub content: &'a [u8],
}

impl<'a> BackupRecord<'a> {
    /// Appends it to a block's body.
    pub fn write(&self, body: &mut Vec<u8>) {
        let update_ms = self.metadata.last_update.map_or(0, LastUpdateMs::get);
        body.extend_from_slice(&(self.content.len() as u32).to_le_bytes());
        body.extend_from_slice(self.digest.as_bytes());
        body.extend_from_slice(&self.metadata.expiry.get().to_le_bytes());
        body.extend_from_slice(&update_ms.to_le_bytes());
        body.extend_from_slice(&self.metadata.generation.get().to_le_bytes());
        body.extend_from_slice(&[self.set.len() as u8, 0]);
        body.extend_from_slice(self.set.as_bytes());
        body.extend_from_slice(self.content);
    }

    /// The record at the start of `bytes`, and what stands behind it; `None` where there is none.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_LENGTH_BYTES)?;
        let set_length = usize::from(fixed[SET_LENGTH_AT]);
        let content_length = u32_at(fixed, LENGTH_AT);
        if set_length > SET_NAME_BYTES_MAX
            || content_length > PAYLOAD_LENGTH_BYTES_MAX
            || fixed[RESERVED_AT] != 0
        {
            return None;
        }
        let (set, rest) = rest.split_at_checked(set_length)?;
        let (content, rest) = rest.split_at_checked(content_length as usize)?;
        let mut digest = [0; Digest::LENGTH_BYTES];
        digest.copy_from_slice(&fixed[DIGEST_AT..EXPIRY_AT]);
        let record = Self {
            digest: Digest::from_bytes(digest),
            metadata: RecordMetadata {
                generation: Generation::new(u16_at(fixed, GENERATION_AT))?,
                expiry: ExpirySeconds::new(u32_at(fixed, EXPIRY_AT)),
                last_update: LastUpdateMs::new(u64_at(fixed, UPDATE_AT)),
            },
            set: std::str::from_utf8(set).ok()?,
            content,
        };
        Some((record, rest))
    }
}
