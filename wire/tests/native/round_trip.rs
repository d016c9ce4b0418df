//! Random messages through encoder and decoder, and the rules that both sides hold them to.

use corelith_index::{Digest, ExpirySeconds, Generation, KnownDigest, PartitionId, ScanPosition};
use corelith_wire::{
    Answer, BinNames, BinSelection, Commit, Damage, DamagedRecord, EncodeError, FrameEncoder,
    FrameHeader, GetRequest, LastUpdateMs, MessageKind, PartitionList, PutMode, PutRequest,
    RecordAnswer, RecordMetadata, Request, RequestEnvelope, RequestId, ScanPageBuilder, ScanRecord,
    ScanRequest, StatisticsRequest, Ttl, limits,
};
use proptest::prelude::*;

use crate::samples::{digest, envelope, metadata};

/// Writes behind some bytes that were there before and reads back.
fn through(request: &Request<'_>, verify: impl FnOnce(&FrameHeader, Request<'_>)) {
    let mut out = b"earlier".to_vec();
    FrameEncoder::new()
        .request(&mut out, &envelope(request.kind()), request)
        .unwrap();
    let frame = out.strip_prefix(b"earlier").unwrap();
    let header = FrameHeader::parse(frame).unwrap().unwrap();
    assert_eq!(frame.len() % 8, 0);
    verify(&header, Request::decode(&header, &frame[32..]).unwrap());
}

#[track_caller]
fn refused(request: &Request<'_>, expected: EncodeError) {
    let mut out = b"earlier".to_vec();
    let mut encoder = FrameEncoder::new();
    let result = encoder.request(&mut out, &envelope(request.kind()), request);
    assert_eq!(result, Err(expected));
    assert_eq!(out, b"earlier", "a refused message leaves nothing behind");
    // The encoder is as good as before.
    encoder
        .request(&mut out, &envelope(MessageKind::Ping), &Request::Ping)
        .unwrap();
    assert_eq!(out.len(), 7 + 32);
}

fn put(content: &[u8]) -> PutRequest<'_> {
    PutRequest {
        digest: digest(),
        mode: PutMode::Replace,
        ttl: Ttl::Never,
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set: "demo",
        content,
    }
}

#[test]
fn bounds_hold_when_writing() {
    let set = "s".repeat(limits::SET_NAME_BYTES_MAX + 1);
    let request = Request::Put(PutRequest {
        set: &set,
        ..put(b"")
    });
    refused(
        &request,
        EncodeError::FieldLength {
            field: "PutRequest.set",
            found: 64,
            max: 63,
        },
    );

    let content = vec![0; 8 * 1024 * 1024 + 1];
    let too_long = EncodeError::PayloadLength {
        found_bytes: content.len(),
    };
    refused(&Request::Put(put(&content)), too_long);

    let request = Request::Put(PutRequest {
        ttl: Ttl::Seconds(0),
        ..put(b"")
    });
    let range = |found| EncodeError::FieldRange {
        field: "ttl_s",
        found,
        max: 315_360_000,
    };
    refused(&request, range(0));
    let request = Request::Put(PutRequest {
        ttl: Ttl::Seconds(315_360_001),
        ..put(b"")
    });
    refused(&request, range(315_360_001));
}

#[test]
fn bounds_of_lists_hold_when_writing() {
    let names = vec!["b"; limits::BIN_NAMES_MAX + 1];
    let selection = BinSelection::Named(BinNames::new(&names));
    let request = Request::Get(GetRequest {
        digest: digest(),
        selection,
    });
    refused(
        &request,
        EncodeError::FieldLength {
            field: "bin_names",
            found: 1025,
            max: 1024,
        },
    );

    let name = "n".repeat(255);
    let names = vec![name.as_str(); 1000];
    let selection = BinSelection::Named(BinNames::new(&names));
    let mut out = Vec::new();
    let request = Request::Get(GetRequest {
        digest: digest(),
        selection,
    });
    let result = FrameEncoder::new().request(&mut out, &envelope(MessageKind::Get), &request);
    assert!(
        matches!(result, Err(EncodeError::TableLength { .. })),
        "{result:?}"
    );
    assert!(out.is_empty());

    let prefix = "p".repeat(256);
    let request = Request::Statistics(StatisticsRequest { prefix: &prefix });
    let field = "StatisticsRequest.prefix";
    refused(
        &request,
        EncodeError::FieldLength {
            field,
            found: 256,
            max: 255,
        },
    );
}

fn scan(partitions: &[PartitionId]) -> Request<'_> {
    Request::Scan(ScanRequest {
        partitions: PartitionList::new(partitions),
        resume: &[],
        set: None,
        selection: BinSelection::All,
        records_max: 0,
        payload_length_bytes_max: 0,
    })
}

#[test]
fn scans_list_rising_partitions() {
    let partitions = |numbers: &[u16]| -> Vec<PartitionId> {
        numbers
            .iter()
            .map(|number| PartitionId::new(*number).unwrap())
            .collect()
    };
    let field = "ScanRequest.partitions";
    refused(
        &scan(&partitions(&[])),
        EncodeError::FieldOrder { field, index: 0 },
    );
    refused(
        &scan(&partitions(&[1, 1])),
        EncodeError::FieldOrder { field, index: 1 },
    );
    refused(
        &scan(&partitions(&[1, 5, 4])),
        EncodeError::FieldOrder { field, index: 2 },
    );
    let all: Vec<PartitionId> = PartitionId::all().collect();
    through(&scan(&all), |header, read| {
        assert_eq!(read, scan(&all));
        assert_eq!(header.partition(), PartitionId::new(0).ok());
    });
}

#[test]
fn requests_about_records_name_a_namespace() {
    let envelope = RequestEnvelope {
        request_id: RequestId::new(1),
        namespace: None,
        deadline_ms: 0,
    };
    let mut out = Vec::new();
    let result = FrameEncoder::new().request(&mut out, &envelope, &Request::Put(put(b"")));
    assert_eq!(
        result,
        Err(EncodeError::NamespaceMissing {
            kind: MessageKind::Put
        })
    );
    assert!(out.is_empty());
}

#[test]
fn an_answer_in_two_pieces_is_the_answer_in_one() {
    let content = b"as the device holds it";
    let answer = Answer::Record(RecordAnswer {
        metadata: metadata(),
        content,
    });
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let mut encoder = FrameEncoder::new();
    encoder
        .answer(&mut whole, RequestId::new(5), &answer)
        .unwrap();
    let padding = encoder
        .answer_head(&mut pieces, RequestId::new(5), &answer, content.len())
        .unwrap();
    assert_eq!(padding, 2);
    pieces.extend_from_slice(content);
    pieces.resize(pieces.len() + padding, 0);
    assert_eq!(pieces, whole);
}

#[test]
fn a_page_says_when_it_is_full() {
    let mut page = ScanPageBuilder::new();
    let record = ScanRecord {
        digest: digest(),
        metadata: metadata(),
        set: "demo",
        content: b"1234",
    };
    for _ in 0..limits::SCAN_ENTRIES_MAX {
        page.push(&record).unwrap();
    }
    let full = EncodeError::FieldLength {
        field: "ScanAnswer.entries",
        found: 2049,
        max: 2048,
    };
    assert_eq!(page.push(&record), Err(full));
    assert_eq!(page.payload_length_bytes(), 4 * limits::SCAN_ENTRIES_MAX);

    page.clear();
    let large = vec![1; 5 << 20];
    let large = ScanRecord {
        content: &large,
        ..record
    };
    page.push(&large).unwrap();
    let too_long = EncodeError::PayloadLength {
        found_bytes: 10 << 20,
    };
    assert_eq!(page.push(&large), Err(too_long));
    assert_eq!(page.len(), 1);

    page.clear();
    let names: Vec<String> = (0..=limits::SCAN_SETS_MAX)
        .map(|n| format!("{n:063}"))
        .collect();
    for name in &names[..limits::SCAN_SETS_MAX] {
        page.push(&ScanRecord {
            set: name,
            ..record
        })
        .unwrap();
    }
    let full = EncodeError::FieldLength {
        field: "ScanAnswer.sets",
        found: 257,
        max: 256,
    };
    let last = ScanRecord {
        set: &names[limits::SCAN_SETS_MAX],
        ..record
    };
    assert_eq!(page.push(&last), Err(full));
    // The fullest page still fits a table.
    let known = ScanRecord {
        set: &names[0],
        ..record
    };
    while page.push(&known).is_ok() {}
    assert_eq!(page.len(), limits::SCAN_ENTRIES_MAX);
    page.end(1, &[1; 32]);
    let mut frame = Vec::new();
    let answer = Answer::Page(page.page());
    FrameEncoder::new()
        .answer(&mut frame, RequestId::new(1), &answer)
        .unwrap();
    let header = FrameHeader::parse(&frame).unwrap().unwrap();
    assert_eq!(Answer::decode(&header, &frame[32..]).unwrap(), answer);
}

#[test]
fn damaged_records_share_a_page_with_the_others() {
    let mut page = ScanPageBuilder::new();
    let record = ScanRecord {
        digest: digest(),
        metadata: metadata(),
        set: "demo",
        content: b"1234",
    };
    let damaged = DamagedRecord {
        digest: KnownDigest::of(&digest()),
        set: "demo",
        damage: Damage::Content,
    };
    for _ in 0..limits::SCAN_ENTRIES_MAX / 2 {
        page.push(&record).unwrap();
        page.push_damaged(&damaged).unwrap();
    }
    let full = |field| {
        Err(EncodeError::FieldLength {
            field,
            found: 2049,
            max: 2048,
        })
    };
    assert_eq!(page.push_damaged(&damaged), full("ScanAnswer.damaged"));
    assert_eq!(page.push(&record), full("ScanAnswer.entries"));
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![
        Just(Ttl::NamespaceDefault),
        Just(Ttl::Never),
        Just(Ttl::Keep),
        (1..=limits::TTL_S_MAX).prop_map(Ttl::Seconds),
    ]
}

fn mode() -> impl Strategy<Value = PutMode> {
    prop::sample::select(vec![
        PutMode::Merge,
        PutMode::Replace,
        PutMode::CreateOnly,
        PutMode::UpdateOnly,
        PutMode::ReplaceOnly,
    ])
}

proptest! {
    #[test]
    fn puts(
        digest in any::<[u8; 20]>(),
        mode in mode(),
        ttl in ttl(),
        generation in any::<u16>(),
        set in "[a-z]{0,63}",
        content in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let request = Request::Put(PutRequest {
            digest: Digest::from_bytes(digest),
            mode,
            ttl,
            expected_generation: Generation::new(generation),
            commit: Commit::NamespaceDefault,
            set: &set,
            content: &content,
        });
        through(&request, |header, read| {
            assert_eq!(read, request);
            assert_eq!(header.partition(), Some(Digest::from_bytes(digest).partition()));
        });
    }

    #[test]
    fn gets(digest in any::<[u8; 20]>(), names in prop::collection::vec("\\PC{0,60}", 0..40)) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let request = Request::Get(GetRequest {
            digest: Digest::from_bytes(digest),
            selection: BinSelection::Named(BinNames::new(&names)),
        });
        through(&request, |_, read| {
            assert_eq!(read, request);
        });
    }

    #[test]
    fn pages(
        records in prop::collection::vec(
            (
                any::<[u8; 20]>(),
                (1..=u16::MAX, any::<u32>(), any::<u64>()),
                prop::sample::select(vec!["", "demo", "other", "third"]),
                prop::collection::vec(any::<u8>(), 0..50),
            ),
            0..30,
        ),
        damaged in prop::collection::vec(
            (
                any::<[u8; 20]>(),
                any::<bool>(),
                prop::sample::select(vec!["", "demo", "lost"]),
                prop::sample::select(vec![Damage::Header, Damage::Content, Damage::Device]),
            ),
            0..10,
        ),
        done in any::<u16>(),
        resume in prop::collection::vec(any::<u8>(), 0..=32),
    ) {
        let damaged: Vec<DamagedRecord<'_>> = damaged
            .iter()
            .map(|(digest, is_whole, set, damage)| {
                let digest = Digest::from_bytes(*digest);
                let part = KnownDigest::of_position(digest.partition(), ScanPosition::of(&digest));
                DamagedRecord {
                    digest: if *is_whole { KnownDigest::of(&digest) } else { part },
                    set,
                    damage: *damage,
                }
            })
            .collect();
        let records: Vec<ScanRecord<'_>> = records
            .iter()
            .map(|(digest, (generation, expiry, update), set, content)| ScanRecord {
                digest: Digest::from_bytes(*digest),
                metadata: RecordMetadata {
                    generation: Generation::new(*generation).unwrap(),
                    expiry: ExpirySeconds::new(*expiry),
                    last_update: LastUpdateMs::new(*update),
                },
                set,
                content,
            })
            .collect();
        let mut builder = ScanPageBuilder::new();
        for record in &records {
            builder.push(record).unwrap();
        }
        for record in &damaged {
            builder.push_damaged(record).unwrap();
        }
        builder.end(done, &resume);
        let mut frame = Vec::new();
        let answer = Answer::Page(builder.page());
        FrameEncoder::new().answer(&mut frame, RequestId::new(9), &answer).unwrap();
        let header = FrameHeader::parse(&frame).unwrap().unwrap();
        let Answer::Page(page) = Answer::decode(&header, &frame[32..]).unwrap() else {
            panic!("a page");
        };
        prop_assert_eq!(page.records().collect::<Vec<_>>(), records);
        prop_assert_eq!(page.damaged_count(), damaged.len());
        prop_assert_eq!(page.damaged().collect::<Vec<_>>(), damaged);
        prop_assert_eq!((page.partitions_done(), page.resume()), (done, resume.as_slice()));
    }
}
