//! What a record holds: an optional user key and its bins. And what a write says: the same bytes,
//! in which nil deletes.
//!
//! Both are views over bytes that were checked once. Nothing here allocates, decodes values or
//! knows where the bytes came from. The bytes are described in `CONTENT.md`.

use crate::bin_value::BinValue;
use crate::bins::{Bins, NilRule, Scrutiny, write_bins};
use crate::display;
use crate::error::{ContentError, Part};
use crate::key_ref::{KeyRef, write_key};
use crate::limits::CONTENT_LENGTH_BYTES_MAX;
use crate::pace::Pace;

/// The format of the bytes. A new one says here what it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentFormat {
    /// The first.
    One = 1,
}

impl ContentFormat {
    /// The format that the first byte names.
    const fn from_byte(byte: u8) -> Result<Self, ContentError> {
        match byte {
            1 => Ok(Self::One),
            found => Err(ContentError::UnknownFormat { found }),
        }
    }

    /// The first byte of a content in this format.
    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::One => 1,
        }
    }
}

/// Where the format stands.
pub(crate) const FORMAT_OFFSET: usize = 0;
/// Where the kind of the user key stands.
pub(crate) const KEY_KIND_OFFSET: usize = 1;
/// Where the number of bins stands, 16 bits little-endian.
pub(crate) const BIN_COUNT_OFFSET: usize = 2;
/// Where the key or the first bin starts.
pub(crate) const HEADER_LENGTH: usize = 4;

const _: () = assert!(KEY_KIND_OFFSET == FORMAT_OFFSET + 1);
const _: () = assert!(BIN_COUNT_OFFSET == KEY_KIND_OFFSET + 1);
const _: () = assert!(HEADER_LENGTH == BIN_COUNT_OFFSET + 2);

/// What a record holds, checked.
///
/// It may have no bin at all: that is how an answer without bins looks. A record without bins is
/// not kept; that is the node's rule, not the format's.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    view: View<'a>,
}

/// What a write says, checked: as a [`Content`], but a nil value means "delete this bin".
#[derive(Clone, Copy)]
pub struct Update<'a> {
    view: View<'a>,
}

/// What both have.
#[derive(Clone, Copy)]
struct View<'a> {
    bytes: &'a [u8],
    key: Option<KeyRef<'a>>,
    bins: Bins<'a>,
}

impl<'a> Content<'a> {
    /// No key and no bin.
    pub const EMPTY_BYTES: &'static [u8] = &[1, 0, 0, 0];

    /// Checks everything about bytes that came from a peer; whatever is read from the result later
    /// cannot fail. The slice is the content exactly, nothing behind it.
    ///
    /// Linear in the bytes; no allocation, no recursion.
    ///
    /// # Errors
    /// [`ContentError`] says which rule of `CONTENT.md` the bytes break, and where.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContentError> {
        Ok(Self {
            view: View::parse(bytes, NilRule::Refused, Scrutiny::Full)?,
        })
    }

    /// For bytes that were checked by [`Self::parse`] or written by this crate and have lain under
    /// a checksum since, which the caller has verified. Lengths and kinds are checked again, names
    /// and values are not: linear in the bins, whatever their size.
    ///
    /// On other bytes the readers return less than the bytes say, or empty values; they never
    /// panic and never read outside of the slice.
    ///
    /// # Errors
    /// [`ContentError`] where the lengths do not fit each other.
    pub fn from_stored(bytes: &'a [u8]) -> Result<Self, ContentError> {
        Ok(Self {
            view: View::parse(bytes, NilRule::Refused, Scrutiny::Lengths)?,
        })
    }

    /// [`Self::from_stored`], in pieces.
    ///
    /// # Errors
    /// As [`Self::from_stored`].
    pub async fn from_stored_in_pieces<P: AsyncFnMut()>(
        bytes: &'a [u8],
        pace: &mut Pace<P>,
    ) -> Result<Self, ContentError> {
        let rules = (NilRule::Refused, Scrutiny::Lengths);
        Ok(Self {
            view: View::parse_in_pieces(bytes, rules, pace).await?,
        })
    }

    /// The bytes: what a frame carries and what the device holds.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.view.bytes
    }

    /// The user key, where the writer asked for it to be kept.
    #[must_use]
    pub const fn key(&self) -> Option<KeyRef<'a>> {
        self.view.key
    }

    /// The bins.
    #[must_use]
    pub const fn bins(&self) -> Bins<'a> {
        self.view.bins
    }

    /// The value of one bin.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<BinValue<'a>> {
        self.view.bins.get(name)
    }
}

impl Content<'static> {
    /// No key and no bin: what a write to an absent record builds on.
    #[must_use]
    pub const fn empty() -> Self {
        let bytes = Self::EMPTY_BYTES;
        Self {
            view: View {
                bytes,
                key: None,
                bins: Bins::none(bytes),
            },
        }
    }
}

impl<'a> Update<'a> {
    /// As [`Content::parse`], with nil allowed as a value.
    ///
    /// # Errors
    /// [`ContentError`] says which rule of `CONTENT.md` the bytes break, and where.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContentError> {
        Ok(Self {
            view: View::parse(bytes, NilRule::Allowed, Scrutiny::Full)?,
        })
    }

    /// [`Self::parse`], in pieces.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub async fn parse_in_pieces<P: AsyncFnMut()>(
        bytes: &'a [u8],
        pace: &mut Pace<P>,
    ) -> Result<Self, ContentError> {
        let rules = (NilRule::Allowed, Scrutiny::Full);
        Ok(Self {
            view: View::parse_in_pieces(bytes, rules, pace).await?,
        })
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.view.bytes
    }

    /// The user key, where the writer asks for it to be kept.
    #[must_use]
    pub const fn key(&self) -> Option<KeyRef<'a>> {
        self.view.key
    }

    /// The bins, those to be deleted with nil.
    #[must_use]
    pub const fn bins(&self) -> Bins<'a> {
        self.view.bins
    }

    /// The same bytes as a content, where no bin is to be deleted: a record that is created or
    /// replaced is stored as it came.
    #[must_use]
    pub fn as_content(&self) -> Option<Content<'a>> {
        (!self.view.bins.has_nil()).then_some(Content { view: self.view })
    }
}

impl<'a> From<Content<'a>> for Update<'a> {
    fn from(content: Content<'a>) -> Self {
        Self { view: content.view }
    }
}

impl<'a> View<'a> {
    fn parse(bytes: &'a [u8], nil_rule: NilRule, scrutiny: Scrutiny) -> Result<Self, ContentError> {
        let head = split_head(bytes)?;
        let first_bin = bytes.len().saturating_sub(head.rest.len());
        let bins = Bins::parse(bytes, (first_bin, head.bin_count), nil_rule, scrutiny)?;
        let key = head.key;
        Ok(Self { bytes, key, bins })
    }

    async fn parse_in_pieces<P: AsyncFnMut()>(
        bytes: &'a [u8],
        rules: (NilRule, Scrutiny),
        pace: &mut Pace<P>,
    ) -> Result<Self, ContentError> {
        let head = split_head(bytes)?;
        let first_bin = bytes.len().saturating_sub(head.rest.len());
        let place = (first_bin, head.bin_count);
        let bins = Bins::parse_in_pieces(bytes, place, rules, pace).await?;
        let key = head.key;
        Ok(Self { bytes, key, bins })
    }

    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        display::write_bounded(formatter, |out| {
            if let Some(key) = self.key {
                write_key(out, key.value())?;
                out.write_char(' ')?;
            }
            write_bins(out, &self.bins)
        })
    }
}

/// What stands before the bins.
pub(crate) struct Head<'a> {
    pub(crate) key: Option<KeyRef<'a>>,
    pub(crate) bin_count: u16,
    /// From the first bin on.
    pub(crate) rest: &'a [u8],
}

/// Checks length, format and key.
pub(crate) fn split_head(bytes: &[u8]) -> Result<Head<'_>, ContentError> {
    if bytes.len() > CONTENT_LENGTH_BYTES_MAX {
        return Err(ContentError::TooLarge {
            length_bytes: bytes.len(),
        });
    }
    let Some(([format, key_kind, count_low, count_high], mut rest)) =
        bytes.split_first_chunk::<HEADER_LENGTH>()
    else {
        let (needed, available) = (HEADER_LENGTH, bytes.len());
        return Err(ContentError::Truncated {
            part: Part::Header,
            needed,
            available,
        });
    };
    match ContentFormat::from_byte(*format)? {
        ContentFormat::One => {}
    }
    let key = KeyRef::split_off(*key_kind, &mut rest)?;
    let bin_count = u16::from_le_bytes([*count_low, *count_high]);
    Ok(Head {
        key,
        bin_count,
        rest,
    })
}

/// Equal when the bytes are: keys, and bins with their order.
impl PartialEq for Content<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Equal when the bytes are.
impl PartialEq for Update<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl std::fmt::Display for Content<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view.fmt(formatter)
    }
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view.fmt(formatter)
    }
}

impl std::fmt::Debug for Update<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view.fmt(formatter)
    }
}
