//! Batches: what refuses all of one, and what refuses a row and no other.

use corelith_wire::{
    Answer, BatchRequest, BatchRows, DecodeError, FrameEncoder, FrameHeader, MessageKind, Request,
    RequestEnvelope, RequestId, limits,
};

use crate::samples;

fn ping_rows(numbers: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut encoder = FrameEncoder::new();
    for number in numbers {
        encoder
            .batch_row(&mut rows, number, &Request::Ping)
            .unwrap();
    }
    rows
}

#[track_caller]
fn check(rows: &[u8], expected: Result<usize, DecodeError>) {
    let mut frame = Vec::new();
    let batch = Request::Batch(BatchRequest {
        rows: BatchRows::new(rows),
    });
    FrameEncoder::new()
        .request(&mut frame, &samples::envelope(MessageKind::Batch), &batch)
        .unwrap();
    let header = FrameHeader::parse(&frame).unwrap().unwrap();
    let found = Request::decode(&header, &frame[32..]).map(|request| {
        let Request::Batch(batch) = request else {
            unreachable!("{request:?}")
        };
        batch.rows.iter().count()
    });
    assert_eq!(found, expected);
}

#[test]
fn rows_are_whole_bare_and_numbered_in_order() {
    check(&ping_rows(0..3), Ok(3));
    check(&[], Err(DecodeError::BatchRowCount { found: 0 }));
    let most = u64::try_from(limits::BATCH_ROWS_MAX).unwrap();
    check(&ping_rows(0..most), Ok(limits::BATCH_ROWS_MAX));
    let found = limits::BATCH_ROWS_MAX + 1;
    check(
        &ping_rows(0..most + 1),
        Err(DecodeError::BatchRowCount { found }),
    );
    check(
        &ping_rows([0, 2].into_iter()),
        Err(DecodeError::BatchRow { row: 1 }),
    );
    let rows = ping_rows(0..2);
    for cut in [1, 33, 63] {
        check(&rows[..cut], Err(DecodeError::BatchRow { row: cut / 32 }));
    }
    // Namespace, time and the answer bit of the second row.
    for (at, value) in [(4, 1), (24, 1), (2, 0x83)] {
        let mut changed = rows.clone();
        changed[32 + at] = value;
        check(&changed, Err(DecodeError::BatchRow { row: 1 }));
    }
}

#[test]
fn a_row_is_about_one_record() {
    let with_all = |visit: &mut dyn FnMut(Request<'_>)| {
        samples::with_requests(|_, request| visit(request));
    };
    with_all(&mut |request| {
        let mut row = Vec::new();
        FrameEncoder::new()
            .batch_row(&mut row, 0, &request)
            .unwrap();
        let row = BatchRows::new(&row).iter().next().unwrap();
        let found = Request::decode_row(&row.header, row.body);
        let expected = if request.kind().fits_batch() {
            Ok(request)
        } else {
            let number = request.kind().number();
            Err(DecodeError::UnknownKind { number })
        };
        assert_eq!(found, expected);
    });
}

#[test]
fn answers_stand_in_any_order_and_name_their_rows() {
    let encoded = |numbers: &[u64]| {
        let mut rows = Vec::new();
        for number in numbers {
            FrameEncoder::new()
                .answer(&mut rows, RequestId::new(*number), &Answer::Deleted)
                .unwrap();
        }
        let answer = Answer::Batch(BatchRows::new(&rows));
        let mut frame = Vec::new();
        FrameEncoder::new()
            .answer(&mut frame, RequestId::new(7), &answer)
            .unwrap();
        frame
    };
    let read = |frame: &[u8]| {
        let header = FrameHeader::parse(frame).unwrap().unwrap();
        Answer::decode(&header, &frame[32..]).map(|answer| {
            let Answer::Batch(rows) = answer else {
                unreachable!("{answer:?}")
            };
            rows.iter().map(|row| row.number()).collect::<Vec<_>>()
        })
    };
    assert_eq!(read(&encoded(&[2, 0, 1])), Ok(vec![2, 0, 1]));
    let beyond = u64::try_from(limits::BATCH_ROWS_MAX).unwrap();
    assert_eq!(
        read(&encoded(&[0, beyond])),
        Err(DecodeError::BatchRow { row: 1 })
    );
    let mut asking = encoded(&[0]);
    // The row says that it is a request.
    asking[32 + 2] = 18;
    assert_eq!(read(&asking), Err(DecodeError::BatchRow { row: 0 }));
}

#[test]
fn rows_take_the_namespace_of_their_batch() {
    let mut frame = Vec::new();
    let rows = ping_rows(0..1);
    let batch = Request::Batch(BatchRequest {
        rows: BatchRows::new(&rows),
    });
    let nowhere = RequestEnvelope {
        namespace: None,
        ..samples::envelope(MessageKind::Batch)
    };
    let refused = FrameEncoder::new().request(&mut frame, &nowhere, &batch);
    assert!(refused.is_err());
    assert_eq!(batch.partition(), None);
}
