//! The request for one record.

use corelith_index::Digest;

use crate::bins::BinSelection;
use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::routed_digest;
use crate::generated::corelith::native as table;
use crate::header::FrameHeader;
use crate::verify::verified;

/// Asks for one record; answered with [`RecordAnswer`](crate::RecordAnswer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetRequest<'a> {
    /// Whose record.
    pub digest: Digest,
    /// Which of its bins.
    pub selection: BinSelection<'a>,
}

impl<'a> GetRequest<'a> {
    pub(crate) fn decode(header: &FrameHeader, body: &Body<'a>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::GetRequest<'a>>(body.table()?)?;
        Ok(GetRequest {
            digest: routed_digest(header, found.digest())?,
            selection: BinSelection::decode(found.selection(), found.bin_names())?,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        let (selection, bin_names) = self.selection.build(scratch)?;
        let root = table::GetRequest::create(
            scratch.builder,
            &table::GetRequestArgs {
                digest: Some(&table::Digest(*self.digest.as_bytes())),
                selection,
                bin_names,
            },
        );
        Ok(root.as_union_value())
    }
}
