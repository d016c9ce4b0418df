//! The bytes between two headers, cut into table and payload. It checks that the cut is what the header
//! says and that the padding is zero; it never reads inside a section.

use crate::error::DecodeError;
use crate::header::FrameHeader;
use crate::kind::MessageKind;

/// The sections of one frame, borrowed from the receive buffer.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a> {
    pub(crate) kind: MessageKind,
    pub(crate) table: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Body<'a> {
    /// Cuts `bytes`, which must be exactly the body that `header` announces.
    pub(crate) fn split(
        kind: MessageKind,
        header: &FrameHeader,
        bytes: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let wrong_length = DecodeError::BodyLength {
            expected_bytes: header.body_length_bytes(),
            found_bytes: bytes.len(),
        };
        if u64::try_from(bytes.len()) != Ok(u64::from(header.body_length_bytes())) {
            return Err(wrong_length);
        }
        let cut = usize::try_from(header.table_length_bytes())
            .ok()
            .zip(usize::try_from(header.payload_length_bytes()).ok())
            .and_then(|(table_length, payload_length)| {
                let (table, rest) = bytes.split_at_checked(table_length)?;
                let (payload, padding) = rest.split_at_checked(payload_length)?;
                Some((table, payload, padding))
            });
        let Some((table, payload, padding)) = cut else {
            return Err(wrong_length);
        };
        if padding.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Padding);
        }
        Ok(Body {
            kind,
            table,
            payload,
        })
    }

    /// The table of a kind that must have one.
    pub(crate) fn table(&self) -> Result<&'a [u8], DecodeError> {
        if self.table.is_empty() {
            return Err(DecodeError::TableMissing { kind: self.kind });
        }
        Ok(self.table)
    }

    /// Refuses a table where the kind has none.
    pub(crate) fn without_table(&self) -> Result<(), DecodeError> {
        if self.table.is_empty() {
            return Ok(());
        }
        let found_bytes = u32::try_from(self.table.len()).unwrap_or(u32::MAX);
        Err(DecodeError::TableUnexpected {
            kind: self.kind,
            found_bytes,
        })
    }

    /// Refuses a payload where the kind has none.
    pub(crate) fn without_payload(&self) -> Result<(), DecodeError> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let found_bytes = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        Err(DecodeError::PayloadUnexpected {
            kind: self.kind,
            found_bytes,
        })
    }
}
