//! What the fuzz targets call: hostile bytes through the codec, and what it accepts through it again. Each
//! function must return, whatever the bytes; a panic is a finding. Not for production use.

use crate::answer::Answer;
use crate::encoder::FrameEncoder;
use crate::feature::Features;
use crate::header::{FrameHeader, RequestEnvelope};
use crate::kind::MessageKind;
use crate::page::ScanPageBuilder;
use crate::request::Request;
use crate::version::ProtocolVersion;

/// Every frame that `bytes` begins with, read as requests. What is accepted must come back the same after
/// it has been written and read again.
pub fn request_frames(bytes: &[u8]) {
    for_each_frame(bytes, |header, body| {
        if let Ok(request) = Request::decode(header, body) {
            check_request(header, &request);
            check_rows(&request);
        }
    });
}

/// Every frame that `bytes` begins with, read as answers.
pub fn answer_frames(bytes: &[u8]) {
    for_each_frame(bytes, |header, body| {
        if let Ok(answer) = Answer::decode(header, body) {
            check_answer(header, &answer);
            if let Answer::Batch(rows) = answer {
                for row in rows.iter() {
                    if let Ok(answer) = Answer::decode(&row.header, row.body) {
                        check_answer(&row.header, &answer);
                    }
                }
            }
        }
    });
}

/// One hello, read from both sides and agreed on.
pub fn hello(bytes: &[u8]) {
    for_each_frame(bytes, |header, body| {
        if header.kind() != Some(MessageKind::Hello) {
            return;
        }
        if let Ok(Request::Hello(hello)) = Request::decode(header, body) {
            let version = ProtocolVersion::agree(hello.version_min, hello.version_max);
            let access = hello.features.access(&Features::KNOWN);
            assert!(version.is_none_or(|version| version.number() >= hello.version_min));
            assert!(access.is_ok() || hello.features.incompatible != 0);
            check_request(header, &Request::Hello(hello));
        }
        if let Ok(answer) = Answer::decode(header, body) {
            check_answer(header, &answer);
        }
    });
}

fn for_each_frame(bytes: &[u8], mut visit: impl FnMut(&FrameHeader, &[u8])) {
    let mut rest = bytes;
    while let Ok(Some(header)) = FrameHeader::parse(rest) {
        let frame = usize::try_from(header.frame_length_bytes())
            .ok()
            .and_then(|length| rest.split_at_checked(length));
        let Some((frame, after)) = frame else { return };
        let body = frame
            .split_at_checked(crate::header::HEADER_SIZE)
            .map(|(_, body)| body);
        visit(&header, body.unwrap_or_default());
        rest = after;
    }
}

#[expect(
    clippy::expect_used,
    reason = "a panic here is what a fuzz target reports"
)]
fn check_request(header: &FrameHeader, request: &Request<'_>) {
    let envelope = RequestEnvelope {
        request_id: header.request_id(),
        namespace: header.namespace(),
        deadline_ms: header.deadline_ms().unwrap_or(0),
    };
    let mut out = Vec::new();
    FrameEncoder::new()
        .request(&mut out, &envelope, request)
        .expect("what was accepted can be written");
    let (header, body) = read_back(&out);
    let again = Request::decode(&header, body).expect("what was written can be read");
    assert_eq!(&again, request);
}

/// The rows of a batch, as its owner reads them.
#[expect(
    clippy::expect_used,
    reason = "a panic here is what a fuzz target reports"
)]
fn check_rows(request: &Request<'_>) {
    let Request::Batch(batch) = request else {
        return;
    };
    let mut encoder = FrameEncoder::new();
    for row in batch.rows.iter() {
        let Ok(request) = Request::decode_row(&row.header, row.body) else {
            continue;
        };
        let mut out = Vec::new();
        encoder
            .batch_row(&mut out, row.header.request_id().get(), &request)
            .expect("what was accepted can be written");
        let (header, body) = read_back(&out);
        let again = Request::decode_row(&header, body).expect("what was written can be read");
        assert_eq!(again, request);
    }
}

#[expect(
    clippy::expect_used,
    reason = "a panic here is what a fuzz target reports"
)]
fn check_answer(header: &FrameHeader, answer: &Answer<'_>) {
    if let Answer::Page(page) = answer {
        let mut builder = ScanPageBuilder::new();
        for record in page.records() {
            builder
                .push(&record)
                .expect("a record of a page fits a page");
        }
        for record in page.damaged() {
            builder
                .push_damaged(&record)
                .expect("a damaged record of a page fits a page");
        }
        assert_eq!(builder.len(), page.len() + page.damaged_count());
        assert_eq!(builder.payload_length_bytes(), page.payload().len());
    }
    let mut out = Vec::new();
    FrameEncoder::new()
        .answer(&mut out, header.request_id(), answer)
        .expect("what was accepted can be written");
    let (header, body) = read_back(&out);
    let again = Answer::decode(&header, body).expect("what was written can be read");
    // An unknown status is written as the one that it reads as.
    if !matches!(answer, Answer::Refused { .. }) {
        assert_eq!(&again, answer);
    }
}

#[expect(
    clippy::expect_used,
    reason = "a panic here is what a fuzz target reports"
)]
fn read_back(frame: &[u8]) -> (FrameHeader, &[u8]) {
    let header = FrameHeader::parse(frame)
        .expect("our header is right")
        .expect("and whole");
    let (_, body) = frame
        .split_at_checked(crate::header::HEADER_SIZE)
        .expect("as is the frame");
    (header, body)
}
