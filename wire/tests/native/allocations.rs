//! The request path takes no memory: 10,000 frames written and read with buffers that are used again.

use corelith_wire::{
    Answer, BinSelection, Commit, FrameEncoder, FrameHeader, GetRequest, MessageKind, PutMode,
    PutRequest, RecordAnswer, Request, RequestId, Ttl,
};

use crate::samples::{digest, envelope, metadata};

#[test]
fn ten_thousand_requests_and_answers_allocate_nothing() {
    let content = [7_u8; 256];
    let get = Request::Get(GetRequest {
        digest: digest(),
        selection: BinSelection::All,
    });
    let put = Request::Put(PutRequest {
        digest: digest(),
        mode: PutMode::Replace,
        ttl: Ttl::Seconds(60),
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set: "demo",
        content: &content,
    });
    let record = Answer::Record(RecordAnswer {
        metadata: metadata(),
        content: &content,
    });
    let written = Answer::Written(metadata());
    let mut encoder = FrameEncoder::new();
    let mut buffer = Vec::new();
    let mut round = |encoder: &mut FrameEncoder| {
        for request in [&get, &put] {
            buffer.clear();
            encoder
                .request(&mut buffer, &envelope(MessageKind::Get), request)
                .unwrap();
            let header = FrameHeader::parse(&buffer).unwrap().unwrap();
            assert_eq!(&Request::decode(&header, &buffer[32..]).unwrap(), request);
        }
        for answer in [&record, &written] {
            buffer.clear();
            encoder
                .answer(&mut buffer, RequestId::new(1), answer)
                .unwrap();
            let header = FrameHeader::parse(&buffer).unwrap().unwrap();
            assert_eq!(&Answer::decode(&header, &buffer[32..]).unwrap(), answer);
        }
    };
    // The first rounds let the buffers grow.
    (0..10).for_each(|_| round(&mut encoder));
    let info = allocation_counter::measure(|| (0..10_000).for_each(|_| round(&mut encoder)));
    assert_eq!(info.count_total, 0);
}
