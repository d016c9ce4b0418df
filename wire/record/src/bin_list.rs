//! Bins one after the other, as a request's arguments and an answer's results carry them: names may
//! repeat, and nil may stand for a value.
//!
//! Never stored. The bytes are those of an update without directory; `CONTENT.md` describes them.

use crate::bin::{Bin, explain};
use crate::bins::BinsIter;
use crate::content::split_head;
use crate::error::ContentError;
use crate::key_ref::KeyRef;
use crate::limits::BIN_COUNT_MAX;
use crate::pace::{BIN_COST, Pace};

/// Bins in their order, checked.
#[derive(Clone, Copy)]
pub struct BinList<'a> {
    bytes: &'a [u8],
    key: Option<KeyRef<'a>>,
    region: &'a [u8],
    bin_count: u16,
}

impl<'a> BinList<'a> {
    /// No key and no bin.
    pub const EMPTY: BinList<'static> = BinList {
        bytes: &[],
        key: None,
        region: &[],
        bin_count: 0,
    };

    /// Checks everything about bytes that came from a peer. No byte at all is a list without bins.
    ///
    /// Linear in the bytes; no allocation, no recursion.
    ///
    /// # Errors
    /// [`ContentError`] says which rule of `CONTENT.md` the bytes break, and where.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContentError> {
        if bytes.is_empty() {
            return Ok(Self::EMPTY);
        }
        let (list, mut rest) = Self::cut(bytes)?;
        for ordinal in 0..list.bin_count {
            let bin = take(&mut rest, ordinal)?;
            bin.check()
                .map_err(|error| ContentError::Bin { ordinal, error })?;
        }
        list.ending_with(rest)
    }

    /// [`Self::parse`], in pieces.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub async fn parse_in_pieces<P: AsyncFnMut()>(
        bytes: &'a [u8],
        pace: &mut Pace<P>,
    ) -> Result<Self, ContentError> {
        if bytes.is_empty() {
            return Ok(Self::EMPTY);
        }
        let (list, mut rest) = Self::cut(bytes)?;
        for ordinal in 0..list.bin_count {
            pace.spend(BIN_COST).await;
            let bin = take(&mut rest, ordinal)?;
            let checked = bin.check_in_pieces(pace).await;
            checked.map_err(|error| ContentError::Bin { ordinal, error })?;
        }
        list.ending_with(rest)
    }

    /// The list if its bins are what they should be, and where they begin.
    fn cut(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ContentError> {
        let head = split_head(bytes)?;
        if head.bin_count > BIN_COUNT_MAX {
            return Err(ContentError::TooManyBins {
                found: usize::from(head.bin_count),
            });
        }
        let list = Self {
            bytes,
            key: head.key,
            region: head.rest,
            bin_count: head.bin_count,
        };
        Ok((list, head.rest))
    }

    /// The list, if no byte is behind its last bin.
    fn ending_with(self, rest: &[u8]) -> Result<Self, ContentError> {
        match rest.len() {
            0 => Ok(self),
            length_bytes => Err(ContentError::TrailingBytes { length_bytes }),
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The user key, where it is to be kept with the record.
    #[must_use]
    pub const fn key(&self) -> Option<KeyRef<'a>> {
        self.key
    }

    /// How many bins there are.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.bin_count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bin_count == 0
    }

    /// The bins in order.
    #[must_use]
    pub const fn iter(&self) -> BinsIter<'a> {
        BinsIter::new(self.region, self.bin_count)
    }
}

/// Takes a bin off the head of `rest`.
fn take<'a>(rest: &mut &'a [u8], ordinal: u16) -> Result<Bin<'a>, ContentError> {
    Bin::take(rest).ok_or_else(|| ContentError::Bin {
        ordinal,
        error: explain(rest),
    })
}

impl<'a> IntoIterator for BinList<'a> {
    type Item = Bin<'a>;
    type IntoIter = BinsIter<'a>;

    fn into_iter(self) -> BinsIter<'a> {
        self.iter()
    }
}

/// Equal when the bytes are.
impl PartialEq for BinList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for BinList<'_> {}

impl std::fmt::Debug for BinList<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
