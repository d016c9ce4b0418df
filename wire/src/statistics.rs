//! The counters of the whole node as text, for people and scripts; a metrics system reads the node's own page
//! instead.

use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::PEER_NAME_BYTES_MAX;
use crate::verify::verified;

/// Asks for the counters whose names begin with `prefix`; empty for all. Answered with a payload of UTF-8
/// text in the Prometheus text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatisticsRequest<'a> {
    /// How the names begin; at most 255 bytes.
    pub prefix: &'a str,
}

impl<'a> StatisticsRequest<'a> {
    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::StatisticsRequest<'a>>(body.table()?)?;
        let prefix = found.prefix().unwrap_or_default();
        check_length(
            "StatisticsRequest.prefix",
            prefix.len(),
            PEER_NAME_BYTES_MAX,
        )?;
        Ok(StatisticsRequest { prefix })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length(
            "StatisticsRequest.prefix",
            self.prefix.len(),
            PEER_NAME_BYTES_MAX,
        )?;
        let prefix = (!self.prefix.is_empty()).then(|| scratch.builder.create_string(self.prefix));
        let root = table::StatisticsRequest::create(
            scratch.builder,
            &table::StatisticsRequestArgs { prefix },
        );
        Ok(root.as_union_value())
    }
}
