//! Writes a content, bin by bin, behind what a caller's buffer already holds.
//!
//! Allocates only when the buffer's capacity is too small: a buffer with room for
//! `CONTENT_LENGTH_BYTES_MAX` more bytes never grows. A content that is not finished is taken off
//! the buffer again.

use crate::bin::{Bin, encoded_length, write_head};
use crate::bin_value::BinValue;
use crate::bins::{Bins, NilRule, Scrutiny};
use crate::content::{BIN_COUNT_OFFSET, ContentFormat, HEADER_LENGTH};
use crate::directory::{
    NameOrder, Origin, Part, directory_length, write_directory, write_directory_in_pieces,
};
use crate::error::{BinError, ContentError, MsgpackError, ValueError};
use crate::key_ref::KeyRef;
use crate::kind::Kind;
use crate::limits::{BIN_COUNT_MAX, CONTENT_LENGTH_BYTES_MAX, WALKED_BIN_COUNT_MAX};
use crate::msgpack::LengthCounter;
use crate::name::BinName;
use crate::pace::{BIN_COST, Pace};
use crate::value::Value;

/// What stands before a GeoJSON text without cells.
const GEO_JSON_HEAD: &[u8] = &[0, 0, 0];

/// A content in the making. [`Self::finish_content`] or [`Self::finish_update`] completes it;
/// dropping it leaves the buffer as it was.
#[derive(Debug)]
pub struct ContentWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    first_bin: usize,
    bin_count: u16,
    has_nil: bool,
    is_finished: bool,
}

impl<'o> ContentWriter<'o> {
    /// Begins a content at the end of `out`, with the key if it is to be kept.
    pub fn new(out: &'o mut Vec<u8>, key: Option<KeyRef<'_>>) -> Self {
        let start = out.len();
        let key_kind = key.map_or(Kind::Nil.to_byte(), |key| key.kind().to_byte());
        out.extend_from_slice(&[ContentFormat::One.to_byte(), key_kind, 0, 0]);
        if let Some(key) = key {
            key.write(out);
        }
        let first_bin = out.len().saturating_sub(start);
        Self {
            out,
            start,
            first_bin,
            bin_count: 0,
            has_nil: false,
            is_finished: false,
        }
    }

    /// Adds a bin with a value as it came from a peer or a device.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] or [`ContentError::TooManyBins`]; nothing has been added then.
    pub fn put(&mut self, name: BinName<'_>, value: BinValue<'_>) -> Result<(), ContentError> {
        self.put_parts(name, value.kind(), &[value.as_bytes()])
    }

    /// Adds a bin with a value of the caller's own.
    ///
    /// # Errors
    /// [`ContentError::Bin`] for a value that cannot be a bin's, else as [`Self::put`].
    pub fn put_value(&mut self, name: BinName<'_>, value: &Value) -> Result<(), ContentError> {
        match value {
            Value::Nil => self.put(name, BinValue::NIL),
            Value::Bool(truth) => self.put_parts(name, Kind::Bool, &[&[u8::from(*truth)]]),
            Value::Integer(number) => self.put_parts(name, Kind::Integer, &[&number.to_be_bytes()]),
            Value::Double(number) => self.put_parts(name, Kind::Double, &[&number.to_be_bytes()]),
            Value::String(text) => self.put_parts(name, Kind::String, &[text.as_bytes()]),
            Value::Bytes(bytes) => self.put_parts(name, Kind::Bytes, &[bytes]),
            Value::HyperLogLog(bytes) => self.put_parts(name, Kind::HyperLogLog, &[bytes]),
            Value::GeoJson(text) => {
                self.put_parts(name, Kind::GeoJson, &[GEO_JSON_HEAD, text.as_bytes()])
            }
            Value::Opaque { kind_byte, bytes } => {
                let value = BinValue::parse(*kind_byte, bytes);
                self.put(name, value.map_err(|error| self.in_next_bin(error))?)
            }
            Value::List(_) => self.put_collection(name, Kind::List, value),
            Value::Map(_) => self.put_collection(name, Kind::Map, value),
            Value::Unsigned(_) | Value::Extension { .. } => {
                Err(self.in_next_bin(ValueError::OnlyNested))
            }
        }
    }

    /// Completes what a record holds. Returns the number of bins.
    ///
    /// # Errors
    /// [`ContentError::DuplicateName`], or [`BinError::Nil`] if nil was put; the buffer is then as
    /// it was.
    pub fn finish_content(self) -> Result<u16, ContentError> {
        if self.has_nil {
            let ordinal = self.first_nil();
            return Err(ContentError::Bin {
                ordinal,
                error: BinError::Nil,
            });
        }
        self.finish(NameOrder::Unknown)
    }

    /// Completes what a write says; nil deletes. Returns the number of bins, nil ones included.
    ///
    /// # Errors
    /// [`ContentError::DuplicateName`]; the buffer is then as it was.
    pub fn finish_update(self) -> Result<u16, ContentError> {
        self.finish(NameOrder::Unknown)
    }

    /// Completes a content whose bins come from where `origin` says: none is nil, and no two have one
    /// name.
    pub(crate) fn finish_from(self, origin: Origin<'_>) -> Result<u16, ContentError> {
        self.finish(NameOrder::From(origin))
    }

    /// Completes a content whose bins have the names of `bins`, in their order.
    pub(crate) fn finish_with_names_of(self, bins: &Bins<'_>) -> Result<u16, ContentError> {
        self.finish(order_of(bins))
    }

    /// [`Self::finish_from`] or [`Self::finish_with_names_of`], as `order` says, of many bins.
    pub(crate) async fn finish_in_pieces<P: AsyncFnMut()>(
        mut self,
        order: NameOrder<'_>,
        pace: &mut Pace<P>,
    ) -> Result<u16, ContentError> {
        self.write_count();
        let place = (self.start, self.first_bin);
        write_directory_in_pieces(self.out, place, (self.bin_count, order), pace).await?;
        self.is_finished = true;
        Ok(self.bin_count)
    }

    /// Completes a list of bins ([`BinList`](crate::BinList)): names may repeat, and there is no directory.
    pub(crate) fn finish_list(mut self) {
        self.write_count();
        self.is_finished = true;
    }

    /// Adds a bin of another content as it stands there.
    pub(crate) fn put_bin(&mut self, bin: &Bin<'_>) -> Result<(), ContentError> {
        self.make_room(bin.encoded().len())?;
        self.has_nil |= bin.value().is_nil();
        self.out.extend_from_slice(bin.encoded());
        self.bin_count += 1;
        Ok(())
    }

    /// [`Self::put_bin`] of one that may be long.
    pub(crate) async fn put_bin_in_pieces<P: AsyncFnMut()>(
        &mut self,
        bin: &Bin<'_>,
        pace: &mut Pace<P>,
    ) -> Result<(), ContentError> {
        self.make_room(bin.encoded().len())?;
        self.has_nil |= bin.value().is_nil();
        pace.spend(BIN_COST).await;
        pace.copy(bin.encoded(), self.out).await;
        self.bin_count += 1;
        Ok(())
    }

    /// [`Self::put_parts`] of those that may be long.
    pub(crate) async fn put_parts_in_pieces<P: AsyncFnMut()>(
        &mut self,
        (name, kind): (BinName<'_>, Kind),
        parts: impl Iterator<Item = &[u8]> + Clone,
        pace: &mut Pace<P>,
    ) -> Result<(), ContentError> {
        let lengths = parts.clone().map(<[u8]>::len);
        let value_length = lengths.fold(0, usize::saturating_add);
        self.make_room(encoded_length(kind, name, value_length))?;
        self.has_nil |= kind == Kind::Nil;
        pace.spend(BIN_COST).await;
        write_head(kind, name, value_length, self.out);
        for part in parts {
            pace.copy(part, self.out).await;
        }
        self.bin_count += 1;
        Ok(())
    }

    /// Adds a bin whose value is these parts one after the other.
    pub(crate) fn put_parts(
        &mut self,
        name: BinName<'_>,
        kind: Kind,
        parts: &[&[u8]],
    ) -> Result<(), ContentError> {
        let value_length = parts
            .iter()
            .fold(0, |sum: usize, part| sum.saturating_add(part.len()));
        self.make_room(encoded_length(kind, name, value_length))?;
        self.has_nil |= kind == Kind::Nil;
        write_head(kind, name, value_length, self.out);
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.bin_count += 1;
        Ok(())
    }

    fn put_collection(
        &mut self,
        name: BinName<'_>,
        kind: Kind,
        value: &Value,
    ) -> Result<(), ContentError> {
        let in_value = |writer: &Self, error: MsgpackError| {
            writer.in_next_bin(ValueError::Msgpack { offset: 0, error })
        };
        let mut length = LengthCounter::default();
        value
            .write_msgpack(0, &mut length)
            .map_err(|error| in_value(self, error))?;
        self.make_room(encoded_length(kind, name, length.0))?;
        write_head(kind, name, length.0, self.out);
        value
            .write_msgpack(0, self.out)
            .map_err(|error| in_value(self, error))?;
        self.bin_count += 1;
        Ok(())
    }

    /// Refuses the next bin before a byte of it is written, if it or its part of the directory
    /// would not fit.
    fn make_room(&mut self, bin_length: usize) -> Result<(), ContentError> {
        let bin_count = usize::from(self.bin_count) + 1;
        if bin_count > usize::from(BIN_COUNT_MAX) {
            return Err(ContentError::TooManyBins { found: bin_count });
        }
        let length_bytes = self
            .length()
            .saturating_add(bin_length)
            .saturating_add(directory_length(bin_count));
        if length_bytes > CONTENT_LENGTH_BYTES_MAX {
            return Err(ContentError::TooLarge { length_bytes });
        }
        Ok(())
    }

    fn length(&self) -> usize {
        self.out.len().saturating_sub(self.start)
    }

    fn in_next_bin(&self, error: ValueError) -> ContentError {
        ContentError::Bin {
            ordinal: self.bin_count,
            error: BinError::Value(error),
        }
    }

    fn finish(mut self, order: NameOrder<'_>) -> Result<u16, ContentError> {
        self.write_count();
        // Sorting more of them for the directory shows which are alike.
        if matches!(order, NameOrder::Unknown) && self.bin_count <= WALKED_BIN_COUNT_MAX {
            self.written_bins()?.check_names()?;
        }
        let place = (self.start, self.first_bin);
        write_directory(self.out, place, self.bin_count, order)?;
        self.is_finished = true;
        Ok(self.bin_count)
    }

    fn write_count(&mut self) {
        let count_at = self.start.saturating_add(BIN_COUNT_OFFSET);
        let count_end = self.start.saturating_add(HEADER_LENGTH);
        if let Some(count) = self.out.get_mut(count_at..count_end) {
            count.copy_from_slice(&self.bin_count.to_le_bytes());
        }
    }

    /// The bins written so far, which are too few for a directory.
    fn written_bins(&self) -> Result<Bins<'_>, ContentError> {
        let content = self.out.get(self.start..).unwrap_or_default();
        let place = (self.first_bin, self.bin_count);
        Bins::parse(content, place, NilRule::Allowed, Scrutiny::Lengths)
    }

    fn first_nil(&self) -> u16 {
        let content = self
            .out
            .get(self.start.saturating_add(self.first_bin)..)
            .unwrap_or_default();
        let mut rest = content;
        (0..self.bin_count)
            .find(|_| Bin::take(&mut rest).is_some_and(|bin| bin.value().is_nil()))
            .unwrap_or(0)
    }
}

impl Drop for ContentWriter<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.out.truncate(self.start);
        }
    }
}

/// The order of bins that have the names of these, at the same places.
pub(crate) fn order_of<'a>(bins: &Bins<'a>) -> NameOrder<'a> {
    match bins.directory() {
        Some(directory) => NameOrder::As(directory),
        // So few that no order is written.
        None => NameOrder::From(Origin {
            kept: Part::UNKNOWN,
            added: Part::UNKNOWN,
        }),
    }
}
