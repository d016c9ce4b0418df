//! Builds a content in a buffer of its own: for clients, tools and tests. The node writes into its
//! buffers with [`ContentWriter`](crate::ContentWriter).

use crate::content_writer::ContentWriter;
use crate::error::{BinError, ContentError};
use crate::key::Key;
use crate::key_ref::KeyRef;
use crate::name::BinName;
use crate::value::Value;

/// Collects a key and bins and encodes them at the end. The first error is kept and returned then.
///
/// ```
/// # use corelith_record::{Content, ContentBuilder};
/// let bytes = ContentBuilder::new().key("k1").bin("a", 1).bin("s", "xyz").finish_content()?;
/// let content = Content::parse(&bytes)?;
/// assert_eq!(content.to_string(), r#""k1" {"a": 1, "s": "xyz"}"#);
/// # Ok::<(), corelith_record::ContentError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ContentBuilder {
    key: Option<Key>,
    bins: Vec<(String, Value)>,
}

impl ContentBuilder {
    /// No key, no bin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The user key, to be kept with the record.
    #[must_use]
    pub fn key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// One more bin. In an update, [`Value::Nil`] deletes it.
    #[must_use]
    pub fn bin(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.bins.push((name.into(), value.into()));
        self
    }

    /// In an update: delete this bin.
    #[must_use]
    pub fn delete(self, name: impl Into<String>) -> Self {
        self.bin(name, Value::Nil)
    }

    /// The bytes of what a record holds.
    ///
    /// # Errors
    /// [`ContentError`] for a name, value or key that breaks its rules, for two bins of one name,
    /// for nil, and for more than a record may hold.
    pub fn finish_content(&self) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?.finish_content()?;
        Ok(bytes)
    }

    /// The bytes of what a write says.
    ///
    /// # Errors
    /// As [`Self::finish_content`], but nil is allowed.
    pub fn finish_update(&self) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?.finish_update()?;
        Ok(bytes)
    }

    fn write<'o>(&self, bytes: &'o mut Vec<u8>) -> Result<ContentWriter<'o>, ContentError> {
        let key: Option<KeyRef<'_>> = self.key.as_ref().map(Key::as_key_ref).transpose()?;
        let mut writer = ContentWriter::new(bytes, key);
        for (ordinal, (name, value)) in self.bins.iter().enumerate() {
            let name = BinName::new(name).map_err(|error| ContentError::Bin {
                ordinal: u16::try_from(ordinal).unwrap_or(u16::MAX),
                error: BinError::Name(error),
            })?;
            writer.put_value(name, value)?;
        }
        Ok(writer)
    }
}
