//! Which bins of a record a request asks for.

use flatbuffers::{ForwardsUOffset, Vector};

use crate::encoder::{Scratch, StringsOffset};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::{BIN_NAME_BYTES_MAX, BIN_NAMES_MAX};
use crate::names::Names;

/// The bins that an answer shall carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinSelection<'a> {
    /// All of them.
    All,
    /// Those of the list that the record has. With an empty list the content carries the user key alone.
    Named(BinNames<'a>),
    /// No content at all: generation and expiry. A get is answered without a read of the device then.
    MetadataOnly,
}

impl<'a> BinSelection<'a> {
    pub(crate) fn decode(
        rule: table::BinSelection,
        names: Option<Vector<'a, ForwardsUOffset<&'a str>>>,
    ) -> Result<Self, DecodeError> {
        let found = names.map_or(0, |names| names.len());
        match rule {
            table::BinSelection::All | table::BinSelection::MetadataOnly => {
                check_length("bin_names", found, 0)?;
                if rule == table::BinSelection::All {
                    return Ok(BinSelection::All);
                }
                Ok(BinSelection::MetadataOnly)
            }
            table::BinSelection::Named => {
                check_length("bin_names", found, BIN_NAMES_MAX)?;
                let names = BinNames(Names::from_table(names));
                for name in names.iter() {
                    check_length("bin_names[]", name.len(), BIN_NAME_BYTES_MAX)?;
                }
                Ok(BinSelection::Named(names))
            }
            table::BinSelection::Unset => Err(DecodeError::FieldUnset { field: "selection" }),
            table::BinSelection(number) => Err(DecodeError::FieldRange {
                field: "selection",
                found: u64::from(number),
                max: u64::from(table::BinSelection::ENUM_MAX),
            }),
        }
    }

    /// The rule and, if there are names, their list.
    pub(crate) fn build(
        &self,
        scratch: &mut Scratch<'_>,
    ) -> Result<(table::BinSelection, Option<StringsOffset>), EncodeError> {
        match self {
            BinSelection::All => Ok((table::BinSelection::All, None)),
            BinSelection::MetadataOnly => Ok((table::BinSelection::MetadataOnly, None)),
            BinSelection::Named(names) => {
                encode_length("bin_names", names.len(), BIN_NAMES_MAX)?;
                for name in names.iter() {
                    encode_length("bin_names[]", name.len(), BIN_NAME_BYTES_MAX)?;
                }
                Ok((
                    table::BinSelection::Named,
                    Some(scratch.strings(names.iter())),
                ))
            }
        }
    }
}

/// Names of bins, borrowed from a caller's slice or from a frame. At most 1,024, each at most 255 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinNames<'a>(Names<'a>);

impl<'a> BinNames<'a> {
    /// The names of a slice.
    #[must_use]
    pub const fn new(names: &'a [&'a str]) -> Self {
        BinNames(Names::Borrowed(names))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter()
    }
}
