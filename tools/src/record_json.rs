//! One record as a JSON object with everything that is known of it: what `get`, `scan` and `export`
//! print for programs.

use std::time::SystemTime;

use corelith_client::{Digest, Record};
use corelith_io::Clock;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::json::{JsonBins, JsonKey};
use crate::time_text::display_time;

/// The members: `key` (null if it was not kept and is not known), `digest`, `set`, `generation`,
/// `ttl_s` (null for never), `updated_at` (null where only metadata was asked for), `bins`.
pub struct RecordObject<'a> {
    /// Its identity.
    pub digest: Digest,
    /// Its set.
    pub set: &'a str,
    /// The record.
    pub record: &'a Record,
    /// The key, where the caller knows it.
    pub key: Option<JsonKey<'a>>,
    /// Whether there are bins to show, or metadata alone.
    pub has_bins: bool,
}

impl Serialize for RecordObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let stored = self.record.key().map(JsonKey);
        object.serialize_entry("key", &self.key.as_ref().or(stored.as_ref()))?;
        object.serialize_entry("digest", &self.digest.to_string())?;
        object.serialize_entry("set", self.set)?;
        object.serialize_entry("generation", &self.record.generation().get())?;
        object.serialize_entry("ttl_s", &ttl_s(self.record))?;
        let updated_at = self.record.updated_at().map(display_time);
        object.serialize_entry("updated_at", &updated_at)?;
        if self.has_bins {
            object.serialize_entry("bins", &JsonBins(self.record.content().bins()))?;
        }
        object.end()
    }
}

/// Seconds until the record expires by this machine's clock, at least 0; `None` for never.
#[must_use]
pub fn ttl_s(record: &Record) -> Option<u64> {
    let expiry = record.expires_at()?;
    let since_1970 = expiry
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Some(
        since_1970
            .as_secs()
            .saturating_sub(Clock::real().wall_ms() / 1000),
    )
}
