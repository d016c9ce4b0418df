//! Writes frames into a caller's buffer. One encoder serves a connection or a core for ever: its scratch
//! memory is reused, so frames of ordinary size cost no allocation. It never sends anything and never
//! leaves half a frame behind: after an error the output is as it was.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use crate::answer::Answer;
use crate::error::EncodeError;
use crate::header::{FrameHeader, HEADER_SIZE, RequestEnvelope, RequestId, padded};
use crate::kind::KIND_CONNECTION;
use crate::limits::{BUILDER_CAPACITY_BYTES, PAYLOAD_LENGTH_BYTES_MAX, TABLE_LENGTH_BYTES_MAX};
use crate::refusal::Refusal;
use crate::request::Request;

/// The flatbuffers builder that all messages are built with.
pub(crate) type Builder<'f> = FlatBufferBuilder<'f>;

/// A finished root table, whatever its type.
pub(crate) type Root = WIPOffset<flatbuffers::UnionWIPOffset>;

/// Zero bytes, as many as the payload's padding can need.
const ZEROS: [u8; 8] = [0; 8];

/// Writes requests and answers.
pub struct FrameEncoder {
    builder: Builder<'static>,
    names: Vec<WIPOffset<&'static str>>,
    numbers: Vec<u16>,
}

impl FrameEncoder {
    /// An encoder with its scratch memory.
    #[must_use]
    pub fn new() -> Self {
        FrameEncoder {
            builder: FlatBufferBuilder::with_capacity(BUILDER_CAPACITY_BYTES),
            names: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Appends the frame of one request to `out`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a field breaks its rule; `out` is unchanged.
    pub fn request(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &RequestEnvelope,
        request: &Request<'_>,
    ) -> Result<(), EncodeError> {
        let kind = request.kind();
        if kind.needs_namespace() && envelope.namespace.is_none() {
            return Err(EncodeError::NamespaceMissing { kind });
        }
        let header = FrameHeader::request(kind, envelope, request.partition());
        let root = request.build(&mut self.scratch())?;
        self.append(out, header, root, request.payload())
    }

    /// Appends one row of a batch to `rows`: the frame of a request whose id is the row's number, counted from
    /// zero, and that names neither namespace nor deadline, since the batch does.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a field breaks its rule; `rows` is unchanged.
    pub fn batch_row(
        &mut self,
        rows: &mut Vec<u8>,
        number: u64,
        request: &Request<'_>,
    ) -> Result<(), EncodeError> {
        let envelope = RequestEnvelope {
            request_id: RequestId::new(number),
            namespace: None,
            deadline_ms: 0,
        };
        let header = FrameHeader::request(request.kind(), &envelope, request.partition());
        let root = request.build(&mut self.scratch())?;
        self.append(rows, header, root, request.payload())
    }

    /// Appends the frame of one answer to `out`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a field breaks its rule; `out` is unchanged.
    pub fn answer(
        &mut self,
        out: &mut Vec<u8>,
        request_id: RequestId,
        answer: &Answer<'_>,
    ) -> Result<(), EncodeError> {
        let (header, root) = self.begin_answer(request_id, answer)?;
        self.append(out, header, root, answer.payload())
    }

    /// Appends header and table of an answer whose payload is elsewhere, in a device's buffer say, and is
    /// sent right after `out` without having been copied; the answer's own payload is left out. Returns how
    /// many zero bytes, 0 to 7, must follow the payload.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a field breaks its rule; `out` is unchanged.
    pub fn answer_head(
        &mut self,
        out: &mut Vec<u8>,
        request_id: RequestId,
        answer: &Answer<'_>,
        payload_length_bytes: usize,
    ) -> Result<usize, EncodeError> {
        let (header, root) = self.begin_answer(request_id, answer)?;
        self.append_head(out, header, root, payload_length_bytes)
    }

    /// Appends the last answer on a connection whose bytes could not be read as a frame: no request is
    /// known that it could belong to, so it bears [`RequestId::UNKNOWN`] and a kind of its own.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a field breaks its rule; `out` is unchanged.
    pub fn connection_refusal(
        &mut self,
        out: &mut Vec<u8>,
        refusal: &Refusal<'_>,
    ) -> Result<(), EncodeError> {
        self.refusal(out, RequestId::UNKNOWN, KIND_CONNECTION, refusal)
    }

    /// Appends the refusal of a request whose kind need not be known: `kind_number` is
    /// [`FrameHeader::kind_number`] of the request.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a field breaks its rule; `out` is unchanged.
    pub fn refusal(
        &mut self,
        out: &mut Vec<u8>,
        request_id: RequestId,
        kind_number: u8,
        refusal: &Refusal<'_>,
    ) -> Result<(), EncodeError> {
        let header = FrameHeader::answer(
            kind_number,
            request_id,
            refusal.status,
            refusal.retry_after_ms,
        );
        let root = refusal.build(&mut self.scratch())?;
        self.append(out, header, root, &[])
    }

    fn begin_answer(
        &mut self,
        request_id: RequestId,
        answer: &Answer<'_>,
    ) -> Result<(FrameHeader, Option<Root>), EncodeError> {
        let (status, retry_after_ms) = answer.status();
        let header = FrameHeader::answer(answer.kind_number(), request_id, status, retry_after_ms);
        let root = answer.build(&mut self.scratch())?;
        Ok((header, root))
    }

    fn scratch(&mut self) -> Scratch<'_> {
        self.builder.reset();
        Scratch {
            builder: &mut self.builder,
            names: &mut self.names,
            numbers: &mut self.numbers,
        }
    }

    fn append(
        &mut self,
        out: &mut Vec<u8>,
        header: FrameHeader,
        root: Option<Root>,
        payload: &[u8],
    ) -> Result<(), EncodeError> {
        let padding = self.append_head(out, header, root, payload.len())?;
        out.extend_from_slice(payload);
        out.extend(ZEROS.iter().take(padding));
        Ok(())
    }

    fn append_head(
        &mut self,
        out: &mut Vec<u8>,
        header: FrameHeader,
        root: Option<Root>,
        payload_length: usize,
    ) -> Result<usize, EncodeError> {
        let table: &[u8] = match root {
            Some(root) => {
                self.builder.finish_minimal(root);
                self.builder.finished_data()
            }
            None => &[],
        };
        let table_padded = table.len().next_multiple_of(8);
        let table_length =
            bounded(table_padded, TABLE_LENGTH_BYTES_MAX).ok_or(EncodeError::TableLength {
                found_bytes: table_padded,
            })?;
        let payload_length_bytes = bounded(payload_length, PAYLOAD_LENGTH_BYTES_MAX).ok_or(
            EncodeError::PayloadLength {
                found_bytes: payload_length,
            },
        )?;
        let table_padding = table_padded - table.len();
        let payload_padding = payload_length.next_multiple_of(8) - payload_length;
        debug_assert!(padded(payload_length_bytes).is_multiple_of(8));
        out.reserve(HEADER_SIZE + table_padded + payload_length + payload_padding);
        out.extend_from_slice(
            &header
                .with_lengths(table_length, payload_length_bytes)
                .to_bytes(),
        );
        out.extend_from_slice(table);
        out.extend(ZEROS.iter().take(table_padding));
        Ok(payload_padding)
    }
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FrameEncoder")
            .finish_non_exhaustive()
    }
}

impl Default for FrameEncoder {
    fn default() -> Self {
        FrameEncoder::new()
    }
}

/// What a message builds its table with.
pub(crate) struct Scratch<'s> {
    pub(crate) builder: &'s mut Builder<'static>,
    names: &'s mut Vec<WIPOffset<&'static str>>,
    numbers: &'s mut Vec<u16>,
}

impl Scratch<'_> {
    /// Builds a list of texts without allocating for their offsets.
    pub(crate) fn strings<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> StringsOffset {
        self.names.clear();
        for name in names {
            let offset = self.builder.create_string(name);
            self.names.push(offset);
        }
        self.builder.create_vector(self.names)
    }

    /// Builds a list of numbers without allocating for it.
    pub(crate) fn numbers(
        &mut self,
        numbers: impl Iterator<Item = u16>,
    ) -> WIPOffset<flatbuffers::Vector<'static, u16>> {
        self.numbers.clear();
        self.numbers.extend(numbers);
        self.builder.create_vector(self.numbers)
    }
}

/// A list of texts of a table under construction.
pub(crate) type StringsOffset =
    WIPOffset<flatbuffers::Vector<'static, flatbuffers::ForwardsUOffset<&'static str>>>;

fn bounded(length: usize, max: u32) -> Option<u32> {
    u32::try_from(length).ok().filter(|length| *length <= max)
}
