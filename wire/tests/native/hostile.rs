//! Frames from strangers: nothing may panic, and what is wrong must be told from what is not yet there.

use corelith_index::KnownDigest;
use corelith_wire::{
    Answer, DecodeError, FrameError, FrameHeader, Request, Status, fuzzing, limits,
};
use proptest::prelude::*;

use crate::samples::{self, Sample};

fn all() -> impl Iterator<Item = Sample> {
    samples::requests().into_iter().chain(samples::answers())
}

fn read_everything(bytes: &[u8]) {
    fuzzing::request_frames(bytes);
    fuzzing::answer_frames(bytes);
    fuzzing::hello(bytes);
}

#[test]
fn every_truncation_asks_for_more_and_none_decodes() {
    for Sample { name, bytes } in all() {
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            read_everything(cut);
            let parsed = FrameHeader::parse(cut);
            if length < 32 {
                assert_eq!(parsed, Ok(None), "{name} cut to {length}");
                continue;
            }
            let header = parsed.unwrap().unwrap();
            let missing = Err(DecodeError::BodyLength {
                expected_bytes: header.body_length_bytes(),
                found_bytes: length - 32,
            });
            if header.is_answer() {
                assert_eq!(
                    Answer::decode(&header, &cut[32..]).map(drop),
                    missing,
                    "{name}"
                );
            } else {
                assert_eq!(
                    Request::decode(&header, &cut[32..]).map(drop),
                    missing,
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_survived() {
    let mut frame_count = 0_u32;
    for Sample { bytes, .. } in all() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read_everything(&flipped);
            frame_count += 1;
        }
    }
    assert!(frame_count > 20_000, "only {frame_count} frames were tried");
}

#[test]
fn every_overwritten_word_is_survived() {
    for Sample { bytes, .. } in all() {
        for at in (0..bytes.len() - 3).step_by(4) {
            for word in [0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFC, 0xFFFF_FFFF_u32] {
                let mut broken = bytes.clone();
                broken[at..at + 4].copy_from_slice(&word.to_le_bytes());
                read_everything(&broken);
            }
        }
    }
}

#[track_caller]
fn check_header(at: usize, value: &[u8], expected: FrameError) {
    let mut frame = samples::requests().remove(0).bytes;
    frame[at..at + value.len()].copy_from_slice(value);
    assert_eq!(FrameHeader::parse(&frame), Err(expected));
}

#[test]
fn headers_are_refused_for_what_is_wrong_with_them() {
    check_header(
        0,
        b"GE",
        FrameError::Mark {
            found: u16::from_le_bytes(*b"GE"),
        },
    );
    check_header(2, &[0], FrameError::KindZero);
    check_header(2, &[0x80], FrameError::KindZero);
    check_header(3, &[1], FrameError::Flags { found: 1 });
    check_header(6, &[0, 0x10], FrameError::Partition { found: 4096 });
    check_header(
        16,
        &[4, 0, 0, 0],
        FrameError::TableLength { found_bytes: 4 },
    );
    let table = limits::TABLE_LENGTH_BYTES_MAX + 8;
    check_header(
        16,
        &table.to_le_bytes(),
        FrameError::TableLength { found_bytes: table },
    );
    let payload = limits::PAYLOAD_LENGTH_BYTES_MAX + 1;
    check_header(
        20,
        &payload.to_le_bytes(),
        FrameError::PayloadLength {
            found_bytes: payload,
        },
    );
    check_header(
        20,
        &[0xFF; 4],
        FrameError::PayloadLength {
            found_bytes: u32::MAX,
        },
    );
    check_header(28, &[0, 0, 1, 0], FrameError::Reserved { found: 0x1_0000 });
}

#[test]
fn answers_have_a_status_and_no_partition() {
    let frame = samples::answers().remove(0).bytes;
    let mut without_status = frame.clone();
    without_status[4..6].fill(0);
    assert_eq!(
        FrameHeader::parse(&without_status),
        Err(FrameError::StatusZero)
    );
    let mut with_partition = frame;
    with_partition[6] = 9;
    assert_eq!(
        FrameHeader::parse(&with_partition),
        Err(FrameError::Partition { found: 9 })
    );
}

#[test]
fn a_stranger_is_known_by_two_bytes() {
    assert_eq!(FrameHeader::parse(b""), Ok(None));
    assert_eq!(FrameHeader::parse(b"\xC0"), Ok(None));
    assert_eq!(FrameHeader::parse(b"\xC0\x4C"), Ok(None));
    assert!(matches!(
        FrameHeader::parse(b"PING\r\n"),
        Err(FrameError::Mark { .. })
    ));
    assert!(matches!(
        FrameHeader::parse(&[22, 3, 1]),
        Err(FrameError::Mark { .. })
    ));
}

/// The frame of one sample, changed.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> (FrameHeader, Vec<u8>) {
    let mut frame = all().find(|sample| sample.name == name).unwrap().bytes;
    change(&mut frame);
    let header = FrameHeader::parse(&frame).unwrap().unwrap();
    (header, frame.split_off(32))
}

#[track_caller]
fn check_request(
    name: &str,
    change: impl FnOnce(&mut Vec<u8>),
    expected: DecodeError,
    status: Status,
) {
    let (header, body) = changed(name, change);
    let error = Request::decode(&header, &body).unwrap_err();
    assert_eq!(error, expected);
    assert_eq!(error.status(), status);
}

#[test]
fn bodies_are_refused_for_what_is_wrong_with_them() {
    use corelith_wire::MessageKind::{Get, Ping, Put};
    let kind = |number| move |frame: &mut Vec<u8>| frame[2] = number;
    let unknown = DecodeError::UnknownKind { number: 99 };
    check_request("request_ping", kind(99), unknown, Status::Unsupported);
    let direction = DecodeError::Direction { kind: Ping };
    let as_answer = |frame: &mut Vec<u8>| {
        frame[2] = 0x83;
        frame[4] = 1;
        frame[6..8].fill(0);
    };
    check_request("request_ping", as_answer, direction, Status::Malformed);
    let partition = DecodeError::PartitionMismatch {
        header: 1976,
        digest: 1975,
    };
    let other = |frame: &mut Vec<u8>| frame[6] = 0xB8;
    check_request("request_get_all", other, partition, Status::InvalidArgument);
    let missing = DecodeError::NamespaceMissing { kind: Get };
    let nameless = |frame: &mut Vec<u8>| frame[4] = 0;
    check_request(
        "request_get_all",
        nameless,
        missing,
        Status::InvalidArgument,
    );
    let padding = |frame: &mut Vec<u8>| *frame.last_mut().unwrap() = 1;
    check_request(
        "request_put_merge",
        padding,
        DecodeError::Padding,
        Status::Malformed,
    );
    let no_table = |frame: &mut Vec<u8>| {
        let table = usize::from(frame[16]);
        frame.drain(32..32 + table);
        frame[16] = 0;
    };
    let missing = DecodeError::TableMissing { kind: Put };
    check_request("request_put_merge", no_table, missing, Status::Malformed);
    let table = |frame: &mut Vec<u8>| {
        frame[16] = 8;
        frame.extend([0; 8]);
    };
    let unexpected = DecodeError::TableUnexpected {
        kind: Ping,
        found_bytes: 8,
    };
    check_request("request_ping", table, unexpected, Status::Malformed);
    let payload = |frame: &mut Vec<u8>| {
        frame[20] = 1;
        frame.extend([0; 8]);
    };
    let unexpected = DecodeError::PayloadUnexpected {
        kind: Get,
        found_bytes: 1,
    };
    check_request("request_get_all", payload, unexpected, Status::Malformed);
}

/// The page of damaged records with `bytes` at `at` of the row of this digest.
#[track_caller]
fn check_damaged_row(digest: &KnownDigest, (at, bytes): (usize, &[u8]), expected: DecodeError) {
    let (header, body) = changed("answer_scan_damaged", |frame| {
        let row = frame
            .windows(20)
            .position(|window| window == digest.as_bytes());
        let at = row.unwrap() + at;
        frame[at..at + bytes.len()].copy_from_slice(bytes);
    });
    assert_eq!(Answer::decode(&header, &body), Err(expected));
}

#[test]
fn damaged_records_are_refused_for_what_is_wrong_with_them() {
    let whole = KnownDigest::of(&samples::digest());
    let part = samples::part_of_digest();
    let unset = |field| DecodeError::FieldUnset { field };
    let range = |field, found, max| DecodeError::FieldRange { field, found, max };
    check_damaged_row(&whole, (22, &[0]), unset("ScanDamage.damage"));
    check_damaged_row(&whole, (22, &[4]), range("ScanDamage.damage", 4, 3));
    check_damaged_row(&whole, (23, &[0]), unset("ScanDamage.known"));
    check_damaged_row(&part, (23, &[3]), range("ScanDamage.known", 3, 2));
    check_damaged_row(&whole, (20, &[3, 0]), range("ScanDamage.set_index", 3, 2));
    check_damaged_row(&part, (1, &[0x17]), DecodeError::DigestPart);
    check_damaged_row(&part, (19, &[1]), DecodeError::DigestPart);
    check_damaged_row(&whole, (23, &[2]), DecodeError::DigestPart);
}

#[test]
fn an_unknown_status_reads_as_an_internal_error() {
    let (header, body) = changed("answer_busy", |frame| {
        frame[4..6].copy_from_slice(&[0xE8, 3])
    });
    let Answer::Refused {
        kind_number,
        refusal,
    } = Answer::decode(&header, &body).unwrap()
    else {
        panic!("a refusal");
    };
    assert_eq!((kind_number, refusal.status), (17, Status::Internal));
    assert_eq!((refusal.status_number, refusal.retry_after_ms), (1000, 15));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_behind_a_mark_are_survived(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        read_everything(&bytes);
        bytes.splice(..2.min(bytes.len()), [0xC0, 0x4C]);
        read_everything(&bytes);
    }

    #[test]
    fn random_tables_behind_a_valid_header_are_survived(
        kind in prop::sample::select(vec![1_u8, 2, 3, 4, 16, 17, 18, 19, 20]),
        answer in any::<bool>(),
        mut table in proptest::collection::vec(any::<u8>(), 0..256),
        small in any::<bool>(),
    ) {
        // Small offsets and lengths come deeper into the verifier than random ones.
        if small {
            table.iter_mut().skip(1).step_by(2).for_each(|byte| *byte = 0);
        }
        table.resize(table.len().next_multiple_of(8), 0);
        let mut frame = vec![0xC0, 0x4C, kind, 0, 1, 0, 0, 0];
        if answer {
            frame[2] |= 0x80;
        }
        frame.extend(7_u64.to_le_bytes());
        frame.extend(u32::try_from(table.len()).unwrap().to_le_bytes());
        frame.extend([0; 12]);
        frame.extend(&table);
        prop_assert!(FrameHeader::parse(&frame).is_ok());
        read_everything(&frame);
    }

    #[test]
    fn mutated_frames_are_survived(
        choice in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut samples: Vec<Sample> = all().collect();
        let mut bytes = samples.swap_remove(choice.index(samples.len())).bytes;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_everything(&bytes);
    }
}
