//! The bytes of every message, frozen in `tests/golden`. A file that no longer matches means that the
//! protocol has changed for peers in the field: never renew one, add another beside it.

use std::path::PathBuf;

use corelith_wire::{Answer, FrameHeader, Request};

use crate::samples::{self, Sample};

fn path(name: &str) -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "tests",
        "golden",
        &format!("{name}.bin"),
    ]
    .iter()
    .collect()
}

#[track_caller]
fn check(sample: &Sample) -> Vec<u8> {
    assert!(
        path(sample.name).exists(),
        "{} is missing: see write_missing_files",
        sample.name
    );
    let golden = std::fs::read(path(sample.name)).unwrap();
    assert_eq!(
        sample.bytes, golden,
        "{} is written otherwise than it was frozen",
        sample.name
    );
    golden
}

fn split(frame: &[u8]) -> (FrameHeader, &[u8]) {
    let header = FrameHeader::parse(frame).unwrap().unwrap();
    assert_eq!(
        usize::try_from(header.frame_length_bytes()).unwrap(),
        frame.len()
    );
    (header, &frame[32..])
}

#[test]
fn requests_keep_their_bytes_and_read_back() {
    let mut frames = samples::requests().into_iter();
    samples::with_requests(|name, request| {
        let golden = check(&frames.next().unwrap());
        let (header, body) = split(&golden);
        assert_eq!(
            Request::decode(&header, body).as_ref(),
            Ok(&request),
            "{name}"
        );
        let envelope = samples::envelope(request.kind());
        assert_eq!(header.request_id(), envelope.request_id, "{name}");
        assert_eq!(header.namespace(), envelope.namespace, "{name}");
        assert_eq!(header.deadline_ms(), Some(250), "{name}");
        assert_eq!(header.partition(), request.partition(), "{name}");
        assert!(!header.is_answer());
    });
}

#[test]
fn answers_keep_their_bytes_and_read_back() {
    let mut frames = samples::answers().into_iter();
    samples::with_answers(|name, answer| {
        let golden = check(&frames.next().unwrap());
        let (header, body) = split(&golden);
        assert_eq!(
            Answer::decode(&header, body).as_ref(),
            Ok(&answer),
            "{name}"
        );
        assert_eq!(header.kind_number(), answer.kind_number(), "{name}");
        assert_eq!(header.namespace(), None);
        assert_eq!(header.partition(), None);
        assert!(header.is_answer());
    });
}

#[test]
fn every_golden_file_has_its_sample() {
    let known: Vec<_> = samples::requests()
        .iter()
        .chain(&samples::answers())
        .map(|s| path(s.name))
        .collect();
    let folder = path("x").parent().unwrap().to_owned();
    for entry in std::fs::read_dir(folder).unwrap() {
        let found = entry.unwrap().path();
        assert!(
            known.contains(&found),
            "{} belongs to no sample",
            found.display()
        );
    }
}

/// Run by hand after a new sample was added; files that exist are left alone.
#[test]
#[ignore = "writes into the source tree"]
fn write_missing_files() {
    let samples = samples::requests().into_iter().chain(samples::answers());
    for sample in samples.filter(|sample| !path(sample.name).exists()) {
        std::fs::write(path(sample.name), &sample.bytes).unwrap();
        assert!(path(sample.name).exists());
    }
}
