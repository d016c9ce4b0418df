//! The one place where a table section becomes a readable table: the flatbuffers verifier with our bounds.
//! It never trusts a length or an offset of the peer's and allocates only to describe a fault, a few words.

use flatbuffers::{Follow, Verifiable, VerifierOptions};

use crate::error::DecodeError;
use crate::limits::{TABLE_APPARENT_BYTES_MAX, TABLE_DEPTH_MAX, TABLES_MAX};

const OPTIONS: VerifierOptions = VerifierOptions {
    max_depth: TABLE_DEPTH_MAX,
    max_tables: TABLES_MAX,
    max_apparent_size: TABLE_APPARENT_BYTES_MAX,
    ignore_missing_null_terminator: false,
};

/// The root table of a section, verified whole.
pub(crate) fn verified<'a, T>(section: &'a [u8]) -> Result<T::Inner, DecodeError>
where
    T: Follow<'a> + Verifiable + 'a,
{
    flatbuffers::root_with_opts::<T>(&OPTIONS, section).map_err(DecodeError::Table)
}
