//! Builds the steps of an operate in buffers of its own: for clients, tools and tests.

use crate::content_writer::ContentWriter;
use crate::error::{BinError, ContentError};
use crate::key::Key;
use crate::name::BinName;
use crate::step::StepKind;
use crate::value::Value;

/// Collects steps in their order and encodes them at the end. The first error is kept and returned then.
///
/// ```
/// # use corelith_record::{Steps, StepsBuilder};
/// let encoded = StepsBuilder::new().add("visits", 1).read("visits").finish()?;
/// let steps = Steps::parse(&encoded.codes, &encoded.arguments)?;
/// assert_eq!(steps.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StepsBuilder {
    key: Option<Key>,
    codes: Vec<u8>,
    bins: Vec<(String, Value)>,
}

/// Steps as they travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedSteps {
    /// The code of each step.
    pub codes: Vec<u8>,
    /// The bins that they take, as a [`BinList`](crate::BinList).
    pub arguments: Vec<u8>,
}

impl StepsBuilder {
    /// No step.
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

    /// Reads one bin as the steps before have left it.
    #[must_use]
    pub fn read(self, bin: impl Into<String>) -> Self {
        self.step(StepKind::Read, bin, Value::Nil)
    }

    /// Reads all bins as the steps before have left them.
    #[must_use]
    pub fn read_all(self) -> Self {
        self.bare(StepKind::ReadAll)
    }

    /// Asks for generation and expiry alone. Every answer has them; this is for an operate that has nothing
    /// else to ask.
    #[must_use]
    pub fn read_metadata(self) -> Self {
        self.bare(StepKind::ReadMetadata)
    }

    /// Gives a bin this value.
    #[must_use]
    pub fn write(self, bin: impl Into<String>, value: impl Into<Value>) -> Self {
        self.step(StepKind::Write, bin, value)
    }

    /// Removes a bin; one that is not there stays so.
    #[must_use]
    pub fn remove(self, bin: impl Into<String>) -> Self {
        self.step(StepKind::Write, bin, Value::Nil)
    }

    /// Adds an integer to an integer, wrapping around at 64 bits, or a double to a double. A bin that is not
    /// there becomes the number.
    #[must_use]
    pub fn add(self, bin: impl Into<String>, number: impl Into<Value>) -> Self {
        self.step(StepKind::Add, bin, number)
    }

    /// Puts text behind a text, or bytes behind bytes. A bin that is not there becomes what is put.
    #[must_use]
    pub fn append(self, bin: impl Into<String>, run: impl Into<Value>) -> Self {
        self.step(StepKind::Append, bin, run)
    }

    /// Puts text before a text, or bytes before bytes. A bin that is not there becomes what is put.
    #[must_use]
    pub fn prepend(self, bin: impl Into<String>, run: impl Into<Value>) -> Self {
        self.step(StepKind::Prepend, bin, run)
    }

    /// Makes a new version although nothing else may change, as for another time to live. The record must be
    /// there.
    #[must_use]
    pub fn touch(self) -> Self {
        self.bare(StepKind::Touch)
    }

    /// Removes all bins: the record, unless later steps write some.
    #[must_use]
    pub fn delete(self) -> Self {
        self.bare(StepKind::Delete)
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The steps as they travel.
    ///
    /// # Errors
    /// [`ContentError`] for a name, value or key that breaks its rules, and for more bins or bytes than a
    /// record may hold.
    pub fn finish(&self) -> Result<EncodedSteps, ContentError> {
        let mut arguments = Vec::new();
        let key = self.key.as_ref().map(Key::as_key_ref).transpose()?;
        let mut writer = ContentWriter::new(&mut arguments, key);
        for (ordinal, (name, value)) in self.bins.iter().enumerate() {
            let name = BinName::new(name).map_err(|error| ContentError::Bin {
                ordinal: u16::try_from(ordinal).unwrap_or(u16::MAX),
                error: BinError::Name(error),
            })?;
            writer.put_value(name, value)?;
        }
        writer.finish_list();
        Ok(EncodedSteps {
            codes: self.codes.clone(),
            arguments,
        })
    }

    fn bare(mut self, kind: StepKind) -> Self {
        self.codes.push(kind.code());
        self
    }

    fn step(mut self, kind: StepKind, bin: impl Into<String>, value: impl Into<Value>) -> Self {
        self.codes.push(kind.code());
        self.bins.push((bin.into(), value.into()));
        self
    }
}
