//! Frames out of a byte stream, one at a time: whole frames are given out where they lie in the receive buffer, parts
//! wait in memory of their own that is as large as their header, once accepted, says. A large frame is given out with
//! that memory, so that nobody copies it.

use std::borrow::Cow;

use corelith_wire::{FrameError, FrameHeader, HEADER_LENGTH_BYTES};

use crate::limits::SPARE_VECTOR_BYTES_MAX;

/// Bytes of a header.
const HEADER: usize = 32;
const _: () = assert!(HEADER_LENGTH_BYTES == 32);

/// A whole frame: its header, and header and body together.
pub(crate) type Frame<'a> = (FrameHeader, Cow<'a, [u8]>);

/// The part of a frame that has arrived.
#[derive(Default)]
pub(crate) struct FrameAssembler {
    partial: Vec<u8>,
    /// The frame in it is whole and was given out.
    is_whole: bool,
}

impl FrameAssembler {
    /// The next whole frame, header and body together, of the stream that goes on with `input`: where it lies in the
    /// input, or else in memory of the assembler. What it took of the input is cut off there. `None` when the
    /// rest of the input is the part of a frame, or there is none.
    ///
    /// # Errors
    /// A [`FrameError`]: the stream cannot be understood any more.
    pub(crate) fn next<'frame, 'input: 'frame>(
        &'frame mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<Frame<'frame>>, FrameError> {
        if self.is_whole {
            self.release();
        }
        if self.partial.is_empty() {
            if let Some(header) = FrameHeader::parse(input)?
                && let Some((frame, rest)) = input.split_at_checked(frame_length(&header))
            {
                *input = rest;
                return Ok(Some((header, Cow::Borrowed(frame))));
            }
            self.keep(input)?;
            *input = &[];
            return Ok(None);
        }
        while !input.is_empty() {
            let wanted = self.wanted()?;
            let missing = wanted.saturating_sub(self.partial.len()).min(input.len());
            let (now, later) = input.split_at_checked(missing).unwrap_or((input, &[]));
            self.partial.extend_from_slice(now);
            *input = later;
            if let Some(header) = FrameHeader::parse(&self.partial)?
                && self.partial.len() >= frame_length(&header)
            {
                if self.partial.len() > SPARE_VECTOR_BYTES_MAX {
                    let frame = std::mem::take(&mut self.partial);
                    return Ok(Some((header, Cow::Owned(frame))));
                }
                self.is_whole = true;
                return Ok(Some((header, Cow::Borrowed(&self.partial))));
            }
        }
        Ok(None)
    }

    /// True if the next byte of the stream begins a frame.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.partial.is_empty() || self.is_whole
    }

    /// Memory for parts of frames, if it has none.
    pub(crate) fn lend(&mut self, spare: impl FnOnce() -> Vec<u8>) {
        if self.partial.capacity() == 0 {
            self.partial = spare();
        }
    }

    /// Its memory, while no part of a frame is in it.
    pub(crate) fn spare(&mut self) -> Option<Vec<u8>> {
        if self.is_whole {
            self.release();
        }
        let is_spare = self.partial.is_empty() && self.partial.capacity() > 0;
        is_spare.then(|| std::mem::take(&mut self.partial))
    }

    /// Bytes that wait for the rest of their frame.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.partial.len()
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), FrameError> {
        if rest.is_empty() {
            return Ok(());
        }
        let header = FrameHeader::parse(rest)?;
        self.partial
            .reserve_exact(header.map_or(HEADER, |header| frame_length(&header)));
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// How long the partial frame must be before it tells more.
    fn wanted(&mut self) -> Result<usize, FrameError> {
        let wanted =
            FrameHeader::parse(&self.partial)?.map_or(HEADER, |header| frame_length(&header));
        self.partial
            .reserve_exact(wanted.saturating_sub(self.partial.len()));
        Ok(wanted)
    }

    /// Empties the partial frame; memory of a large one is given back.
    fn release(&mut self) {
        self.is_whole = false;
        self.partial.clear();
        self.partial.shrink_to(4096);
    }
}

/// Header and body, in bytes.
pub(crate) fn frame_length(header: &FrameHeader) -> usize {
    HEADER + usize::try_from(header.body_length_bytes()).unwrap_or(usize::MAX - HEADER)
}

/// The body of a whole frame.
pub(crate) fn body_of(frame: &[u8]) -> &[u8] {
    frame.get(HEADER..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use corelith_index::Digest;
    use corelith_wire::{
        Commit, FrameEncoder, NamespaceId, PutMode, PutRequest, Request, RequestEnvelope,
        RequestId, StatisticsRequest, Ttl,
    };

    use super::*;

    fn stream_of(count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = FrameEncoder::new();
        for number in 0..count {
            let envelope = RequestEnvelope {
                request_id: RequestId::new(number),
                namespace: None,
                deadline_ms: 0,
            };
            let prefix = "x".repeat(usize::try_from(number % 200).unwrap());
            let request = Request::Statistics(StatisticsRequest { prefix: &prefix });
            encoder.request(&mut bytes, &envelope, &request).unwrap();
        }
        bytes
    }

    #[test]
    fn frames_survive_every_way_of_cutting_the_stream() {
        let bytes = stream_of(40);
        for piece in [1, 2, 7, 31, 32, 33, 64, 100, 1000, bytes.len()] {
            let mut assembler = FrameAssembler::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(piece) {
                let mut rest = part;
                while let Some((header, frame)) = assembler.next(&mut rest).unwrap() {
                    assert_eq!(frame.len(), frame_length(&header));
                    assert!(Request::decode(&header, body_of(&frame)).is_ok());
                    seen.push(header.request_id().get());
                }
                assert!(rest.is_empty());
            }
            assert_eq!(seen, (0..40).collect::<Vec<_>>(), "pieces of {piece}");
            assert!(assembler.spare().is_none_or(|spare| spare.is_empty()));
            assert_eq!(assembler.waiting_bytes(), 0);
        }
    }

    #[test]
    fn a_large_frame_is_handed_on_with_its_memory() {
        let mut bytes = Vec::new();
        let envelope = RequestEnvelope {
            request_id: RequestId::new(7),
            namespace: NamespaceId::new(1),
            deadline_ms: 0,
        };
        let content = vec![7; 100_000];
        let put = Request::Put(PutRequest {
            digest: Digest::from_bytes([1; 20]),
            mode: PutMode::Replace,
            ttl: Ttl::Never,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
            set: "",
            content: &content,
        });
        FrameEncoder::new()
            .request(&mut bytes, &envelope, &put)
            .unwrap();
        let small = stream_of(1);
        bytes.extend_from_slice(&small);
        let mut assembler = FrameAssembler::default();
        let mut seen = Vec::new();
        for part in bytes.chunks(4096) {
            let mut rest = part;
            while let Some((_, frame)) = assembler.next(&mut rest).unwrap() {
                seen.push((frame.len(), matches!(frame, Cow::Owned(_))));
            }
        }
        let large_length = bytes.len() - small.len();
        assert_eq!(seen, [(large_length, true), (small.len(), false)]);
    }

    #[test]
    fn foreign_bytes_are_an_error_at_once() {
        let mut assembler = FrameAssembler::default();
        let mut foreign: &[u8] = b"GET / HTTP/1.1\r\n";
        assert!(assembler.next(&mut foreign).is_err());
    }
}
