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
        let head = split_head(bytes)?;
        if head.bin_count > BIN_COUNT_MAX {
            return Err(ContentError::TooManyBins {
                found: usize::from(head.bin_count),
            });
        }
        let mut rest = head.rest;
        for ordinal in 0..head.bin_count {
            let at = rest;
            let Some(bin) = Bin::take(&mut rest) else {
                let error = explain(at);
                return Err(ContentError::Bin { ordinal, error });
            };
            bin.check()
                .map_err(|error| ContentError::Bin { ordinal, error })?;
        }
        if !rest.is_empty() {
            return Err(ContentError::TrailingBytes {
                length_bytes: rest.len(),
            });
        }
        Ok(Self {
            bytes,
            key: head.key,
            region: head.rest,
            bin_count: head.bin_count,
        })
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
