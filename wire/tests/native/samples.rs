//! One frame of every kind and of every shape that a field can take. The golden files, the hostile frames
//! and the seeds of the fuzzers all come from here.

use corelith_index::{Digest, ExpirySeconds, Generation, KnownDigest, PartitionId, ScanPosition};
use corelith_wire::{
    Answer, BatchRequest, BatchRows, BinCounts, BinNames, BinSelection, Commit, Damage,
    DamagedRecord, DeleteRequest, Features, FrameEncoder, GetRequest, HelloAnswer, HelloRequest,
    LastUpdateMs, MessageKind, Namespace, NamespaceId, OperateAnswer, OperateRequest,
    PartitionList, PutMode, PutRequest, RecordAnswer, RecordMetadata, Refusal, Request,
    RequestEnvelope, RequestId, ScanPageBuilder, ScanRecord, ScanRequest, StatisticsRequest,
    Status, TopologyAnswer, TouchRequest, TruncateAnswer, TruncateRequest, TruncateTarget, Ttl,
};

/// One frame with its name, which is also the name of its golden file.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// The key "k1" of set "demo": partition 1975.
pub(crate) fn digest() -> Digest {
    "b747f5854d0b33259928d0cfab7fad81d6abfbf6".parse().unwrap()
}

/// What the index keeps of it.
pub(crate) fn part_of_digest() -> KnownDigest {
    KnownDigest::of_position(digest().partition(), ScanPosition::of(&digest()))
}

pub(crate) fn metadata() -> RecordMetadata {
    RecordMetadata {
        generation: Generation::new(3).unwrap(),
        expiry: ExpirySeconds::new(530_000_000),
        last_update: LastUpdateMs::new(529_999_000_123),
    }
}

pub(crate) fn envelope(kind: MessageKind) -> RequestEnvelope {
    let namespace = kind.needs_namespace().then(|| NamespaceId::new(1).unwrap());
    RequestEnvelope {
        request_id: RequestId::new(0x0102_0304_0506_0708),
        namespace,
        deadline_ms: 250,
    }
}

pub(crate) fn namespaces(shard_cores: &[u16]) -> Vec<Namespace> {
    vec![
        Namespace {
            id: NamespaceId::new(1).unwrap(),
            name: "test".to_owned(),
            shard_count: 8,
            shard_cores: shard_cores.to_vec(),
        },
        Namespace {
            id: NamespaceId::new(2).unwrap(),
            name: "flights".to_owned(),
            shard_count: 1,
            shard_cores: shard_cores.first().map(|_| vec![1]).unwrap_or_default(),
        },
    ]
}

/// Not a content of `corelith-record`: the codec does not look inside.
pub(crate) const CONTENT: &[u8] = b"\x01content of 21 bytes!";

pub(crate) fn with_requests(mut visit: impl FnMut(&'static str, Request<'_>)) {
    with_node_requests(&mut visit);
    with_gets_and_puts(&mut visit);
    with_other_writes(&mut visit);
    with_scans(&mut visit);
    with_operates(&mut visit);
    with_batches(&mut visit);
}

/// Reads and a write, and a row that belongs in no batch.
fn with_batches(visit: &mut dyn FnMut(&'static str, Request<'_>)) {
    let mut encoder = FrameEncoder::new();
    let mut rows = Vec::new();
    let mut number = 0;
    let mut row = |request: &Request<'_>| {
        encoder.batch_row(&mut rows, number, request).unwrap();
        number += 1;
    };
    with_gets_and_puts(&mut |_, request| row(&request));
    row(&Request::Delete(DeleteRequest {
        digest: digest(),
        expected_generation: None,
        commit: Commit::NamespaceDefault,
    }));
    row(&Request::Ping);
    let rows = BatchRows::new(&rows);
    visit("request_batch", Request::Batch(BatchRequest { rows }));
}

const NAMES: [&str; 3] = ["carrier", "flight", "gr\u{f6}\u{df}e"];

fn with_node_requests(visit: &mut dyn FnMut(&'static str, Request<'_>)) {
    let features = Features {
        compatible: 1,
        read_only_compatible: 2,
        incompatible: 4,
    };
    let hello = HelloRequest {
        version_min: 1,
        version_max: 1,
        features,
        client_name: "sample 1.0",
    };
    visit("request_hello", Request::Hello(hello));
    visit("request_topology", Request::Topology);
    visit("request_ping", Request::Ping);
    visit(
        "request_statistics",
        Request::Statistics(StatisticsRequest { prefix: "store_" }),
    );
}

fn with_gets_and_puts(visit: &mut dyn FnMut(&'static str, Request<'_>)) {
    let get = |selection| {
        Request::Get(GetRequest {
            digest: digest(),
            selection,
        })
    };
    visit("request_get_all", get(BinSelection::All));
    visit("request_get_metadata", get(BinSelection::MetadataOnly));
    visit(
        "request_get_named",
        get(BinSelection::Named(BinNames::new(&NAMES))),
    );
    visit(
        "request_get_key_only",
        get(BinSelection::Named(BinNames::new(&[]))),
    );

    let put = PutRequest {
        digest: digest(),
        mode: PutMode::Merge,
        ttl: Ttl::NamespaceDefault,
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set: "demo",
        content: CONTENT,
    };
    visit("request_put_merge", Request::Put(put));
    let replace = PutRequest {
        mode: PutMode::Replace,
        ttl: Ttl::Seconds(3600),
        expected_generation: Generation::new(7),
        set: "",
        ..put
    };
    visit("request_put_replace", Request::Put(replace));
    let create = PutRequest {
        mode: PutMode::CreateOnly,
        ttl: Ttl::Never,
        content: b"",
        ..put
    };
    visit("request_put_create", Request::Put(create));
    visit(
        "request_put_update",
        Request::Put(PutRequest {
            mode: PutMode::UpdateOnly,
            ..put
        }),
    );
    let replace_only = PutRequest {
        mode: PutMode::ReplaceOnly,
        ttl: Ttl::Keep,
        ..put
    };
    visit("request_put_replace_only", Request::Put(replace_only));
    let buffered = PutRequest {
        commit: Commit::Buffered,
        ..put
    };
    visit("request_put_buffered", Request::Put(buffered));
}

fn with_other_writes(visit: &mut dyn FnMut(&'static str, Request<'_>)) {
    let delete = DeleteRequest {
        digest: digest(),
        expected_generation: None,
        commit: Commit::NamespaceDefault,
    };
    visit("request_delete", Request::Delete(delete));
    let durable = DeleteRequest {
        commit: Commit::Durable,
        ..delete
    };
    visit("request_delete_durable", Request::Delete(durable));
    let touch = TouchRequest {
        digest: digest(),
        ttl: Ttl::Seconds(315_360_000),
        expected_generation: Generation::new(65_535),
        commit: Commit::NamespaceDefault,
    };
    visit("request_touch", Request::Touch(touch));
    let buffered = TouchRequest {
        commit: Commit::Buffered,
        ..touch
    };
    visit("request_touch_buffered", Request::Touch(buffered));
    for (name, target) in [
        ("request_truncate_set", TruncateTarget::Set("demo")),
        ("request_truncate_all", TruncateTarget::All),
    ] {
        visit(name, Request::Truncate(TruncateRequest { target }));
    }
}

fn with_scans(visit: &mut dyn FnMut(&'static str, Request<'_>)) {
    let partitions: Vec<PartitionId> = [7, 15, 4095]
        .iter()
        .map(|number| PartitionId::new(*number).unwrap())
        .collect();
    let scan = ScanRequest {
        partitions: PartitionList::new(&partitions),
        resume: &[],
        set: None,
        selection: BinSelection::All,
        records_max: 0,
        payload_length_bytes_max: 0,
    };
    visit("request_scan", Request::Scan(scan));
    let resumed = ScanRequest {
        resume: &[0xA5; 32],
        set: Some("demo"),
        selection: BinSelection::Named(BinNames::new(&NAMES)),
        records_max: 100,
        payload_length_bytes_max: 65_536,
        ..scan
    };
    visit("request_scan_resumed", Request::Scan(resumed));
}

fn with_operates(visit: &mut dyn FnMut(&'static str, Request<'_>)) {
    let operate = OperateRequest {
        digest: digest(),
        steps: &[1, 17, 33],
        mode: PutMode::UpdateOnly,
        ttl: Ttl::Seconds(60),
        expected_generation: Generation::new(7),
        commit: Commit::Buffered,
        set: "demo",
        arguments: CONTENT,
    };
    visit("request_operate", Request::Operate(operate));
    let read = OperateRequest {
        steps: &[2],
        mode: PutMode::Merge,
        ttl: Ttl::NamespaceDefault,
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set: "",
        arguments: b"",
        ..operate
    };
    visit("request_operate_read", Request::Operate(read));
}

fn with_batch_answers(visit: &mut dyn FnMut(&'static str, Answer<'_>)) {
    let mut encoder = FrameEncoder::new();
    let mut rows = Vec::new();
    let mut row = |number, answer: Answer<'_>| {
        let id = RequestId::new(number);
        encoder.answer(&mut rows, id, &answer).unwrap();
    };
    // In the order in which they were done.
    row(1, Answer::Written(metadata()));
    let record = RecordAnswer {
        metadata: metadata(),
        content: CONTENT,
    };
    row(0, Answer::Record(record));
    row(3, Answer::Deleted);
    let refused = Answer::Refused {
        kind_number: 16,
        refusal: Refusal::new(Status::BatchFull),
    };
    row(2, refused);
    visit("answer_batch", Answer::Batch(BatchRows::new(&rows)));
}

pub(crate) fn with_answers(mut visit: impl FnMut(&'static str, Answer<'_>)) {
    with_batch_answers(&mut visit);
    with_node_answers(&mut visit);
    with_record_answers(&mut visit);
    with_pages(&mut visit);
    with_refusals(&mut visit);
}

fn with_node_answers(visit: &mut dyn FnMut(&'static str, Answer<'_>)) {
    let hello = HelloAnswer {
        version: 1,
        features: Features {
            compatible: 1,
            read_only_compatible: 0,
            incompatible: 0,
        },
        payload_length_bytes_max: 8 << 20,
        in_flight_max: 256,
        record_length_bytes_max: 1 << 20,
        node_id: 0x00C0_FFEE,
        map_generation: 3,
        core: 1,
        server_name: "corelithd 0.1.0".to_owned(),
        namespaces: namespaces(&[]),
    };
    visit("answer_hello", Answer::Hello(Box::new(hello)));
    let topology = TopologyAnswer {
        node_id: 0x00C0_FFEE,
        map_generation: 3,
        shared_port: 4100,
        core_ports: vec![4101, 4102],
        namespaces: namespaces(&[0, 1, 0, 1, 0, 1, 0, 1]),
    };
    visit("answer_topology", Answer::Topology(Box::new(topology)));
    visit("answer_ping", Answer::Pong { map_generation: 3 });
    visit(
        "answer_statistics",
        Answer::Statistics("store_puts_total 12\n"),
    );
}

fn with_record_answers(visit: &mut dyn FnMut(&'static str, Answer<'_>)) {
    let record = |content| {
        Answer::Record(RecordAnswer {
            metadata: metadata(),
            content,
        })
    };
    visit("answer_get", record(CONTENT));
    visit("answer_get_metadata", record(b""));
    visit("answer_put", Answer::Written(metadata()));
    visit("answer_delete", Answer::Deleted);
    let expires_never = RecordMetadata {
        expiry: ExpirySeconds::NEVER,
        ..metadata()
    };
    visit("answer_touch", Answer::Touched(expires_never));
    visit(
        "answer_truncate",
        Answer::Truncated(TruncateAnswer { shard_count: 8 }),
    );
    let operated = OperateAnswer {
        metadata: Some(metadata()),
        bin_counts: BinCounts::new(&[1, 3, 0]),
        bins: CONTENT,
    };
    visit("answer_operate", Answer::Operated(operated));
    let gone = OperateAnswer {
        metadata: None,
        bin_counts: BinCounts::new(&[]),
        bins: b"",
    };
    visit("answer_operate_gone", Answer::Operated(gone));
}

fn with_pages(visit: &mut dyn FnMut(&'static str, Answer<'_>)) {
    let mut page = ScanPageBuilder::new();
    for (byte, set, content) in [(1, "demo", CONTENT), (2, "", b"x"), (3, "demo", b"")] {
        let record = ScanRecord {
            digest: Digest::from_bytes([byte; 20]),
            metadata: metadata(),
            set,
            content,
        };
        page.push(&record).unwrap();
    }
    page.end(2, b"twelve bytes");
    visit("answer_scan", Answer::Page(page.page()));
    let part = part_of_digest();
    let whole = KnownDigest::of(&digest());
    for (digest, set, damage) in [
        (whole, "demo", Damage::Content),
        (part, "", Damage::Header),
        (part, "lost", Damage::Device),
    ] {
        let damaged = DamagedRecord {
            digest,
            set,
            damage,
        };
        page.push_damaged(&damaged).unwrap();
    }
    visit("answer_scan_damaged", Answer::Page(page.page()));
    visit(
        "answer_scan_empty",
        Answer::Page(ScanPageBuilder::new().page()),
    );
}

fn with_refusals(visit: &mut dyn FnMut(&'static str, Answer<'_>)) {
    let refused = |refusal| Answer::Refused {
        kind_number: 17,
        refusal,
    };
    visit(
        "answer_busy",
        refused(Refusal::new(Status::Busy).retry_after(15)),
    );
    let mismatch = Refusal::new(Status::GenerationMismatch).disagreement(7, 3);
    visit("answer_generation", refused(mismatch));
    let doubt = Refusal::new(Status::InDoubt)
        .because_of(Status::Internal)
        .explained("device 3");
    visit("answer_in_doubt", refused(doubt));
    let unread = Refusal::new(Status::Malformed).explained("not a frame");
    visit(
        "answer_connection",
        Answer::Refused {
            kind_number: 127,
            refusal: unread,
        },
    );
}

/// The frames of all requests.
pub(crate) fn requests() -> Vec<Sample> {
    let mut encoder = FrameEncoder::new();
    let mut samples = Vec::new();
    with_requests(|name, request| {
        let mut bytes = Vec::new();
        encoder
            .request(&mut bytes, &envelope(request.kind()), &request)
            .unwrap();
        samples.push(Sample { name, bytes });
    });
    samples
}

/// The frames of all answers.
pub(crate) fn answers() -> Vec<Sample> {
    let mut encoder = FrameEncoder::new();
    let mut samples = Vec::new();
    with_answers(|name, answer| {
        let mut bytes = Vec::new();
        encoder
            .answer(&mut bytes, RequestId::new(0x0102_0304_0506_0708), &answer)
            .unwrap();
        samples.push(Sample { name, bytes });
    });
    samples
}
