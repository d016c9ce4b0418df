//! Records longer than a piece: copied and summed with pauses, and what may happen in these.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use corelith_index::{ExpirySeconds, SetId};
use corelith_io::{Fault, PlannedFault};
use corelith_store::limits::PIECE_BYTES;
use corelith_store::{Change, Commit, Current, Needs, Shard, Truncate, WriteError, Written};

use crate::harness::{NotMet, PLAIN, Rig, Shape, content, digest, get, put};

/// Room for records of some pieces.
fn shape() -> Shape {
    Shape {
        segments: 8,
        segment_bytes: 4 << 20,
        ..Shape::default()
    }
}

/// Polls once, as an executor does whose other tasks are all idle.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// How often `future` lets others go first, while the machine moves on.
fn pauses<T>(rig: &mut Rig, future: impl Future<Output = T>) -> (T, usize) {
    let mut future = pin!(future);
    let mut pauses = 0;
    loop {
        if let Poll::Ready(outcome) = poll(future.as_mut()) {
            return (outcome, pauses);
        }
        pauses += 1;
        rig.settle();
        if rig.machine.step() {
            rig.settle();
        }
    }
}

#[test]
fn long_records_pause_once_a_piece_and_come_back_whole() {
    let mut rig = Rig::new(1, shape());
    let shard = rig.open_sound();
    rig.put(&shard, 0, b"opens a segment");
    let lengths = [
        PIECE_BYTES,
        PIECE_BYTES + 1,
        3 * PIECE_BYTES,
        7 * PIECE_BYTES + 17,
    ];
    for (key, length) in (1..).zip(lengths) {
        let bytes = content(key, 1, length);
        let pieces = length.div_ceil(PIECE_BYTES);
        let is_long = length > PIECE_BYTES;
        let write = put(&shard, digest(key), &bytes);
        let (written, paused) = pauses(&mut rig, write);
        written.unwrap();
        assert!(!is_long || paused >= pieces, "{length}: {paused} pauses");
        let (found, paused) = pauses(&mut rig, get(&shard, digest(key)));
        assert_eq!(found.unwrap().as_deref(), Some(&bytes[..]));
        assert!(!is_long || paused >= pieces, "{length}: {paused} pauses");
    }
    rig.power_cut();
    let shard = rig.open_sound();
    for (key, length) in (1..).zip(lengths) {
        rig.check(&shard, key, Some(&content(key, 1, length)));
    }
}

#[test]
fn a_damaged_piece_is_an_error() {
    let mut rig = Rig::new(1, shape());
    let shard = rig.open_sound();
    let bytes = content(1, 1, 5 * PIECE_BYTES);
    rig.put(&shard, 1, &bytes);
    rig.run_until_idle();
    let (number, at) = rig.find(&bytes[4 * PIECE_BYTES..4 * PIECE_BYTES + 64]);
    rig.flip_bit(number, at);
    assert!(rig.get(&shard, 1).is_err());
}

#[test]
fn one_that_is_given_up_between_two_pieces_leaves_nothing_behind() {
    let mut rig = Rig::new(1, shape());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"old");
    rig.run_until_idle();
    let free = rig.pool.statistics().outside_bytes;
    let bytes = content(1, 1, 5 * PIECE_BYTES);
    for pieces in 1..5 {
        let mut write = Box::pin(put(&shard, digest(1), &bytes));
        for _ in 0..pieces {
            assert!(poll(write.as_mut()).is_pending());
        }
        assert!(rig.pool.statistics().outside_bytes > free);
        // Others have their turn, even of the same log.
        rig.put(&shard, 2, b"another");
        drop(write);
        assert_eq!(shard.statistics().pending, 0);
    }
    rig.run_until_idle();
    assert_eq!(rig.pool.statistics().outside_bytes, free);
    rig.check(&shard, 1, Some(b"old"));
    rig.put(&shard, 1, &bytes);
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(&bytes));
    rig.check(&shard, 2, Some(b"another"));
}

/// A put of key 1 that has copied two of its pieces.
macro_rules! begun {
    ($shard:expr, $bytes:expr) => {{
        let mut write = Box::pin(put($shard, digest(1), $bytes));
        for _ in 0..2 {
            assert!(poll(write.as_mut()).is_pending());
        }
        write
    }};
}

#[test]
fn a_fence_and_a_truncation_between_two_pieces() {
    let bytes = content(1, 1, 5 * PIECE_BYTES);
    let mut rig = Rig::new(1, shape());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"old");
    rig.put(&shard, 2, b"old");
    let write = begun!(&shard, &bytes);
    rig.run(shard.truncate(Truncate::All)).unwrap();
    let (written, _) = pauses(&mut rig, write);
    let written = written.unwrap();
    assert_eq!((written.existed, written.generation.get()), (false, 1));
    rig.check(&shard, 1, Some(&bytes));
    rig.check(&shard, 2, None);

    let write = begun!(&shard, &bytes);
    rig.faults(0).plan(PlannedFault::next(Fault::FlushError));
    assert_eq!(
        rig.run(put(&shard, digest(3), b"fences")),
        Err(WriteError::InDoubt)
    );
    let (written, _) = pauses(&mut rig, write);
    assert_eq!(written, Err(WriteError::Fenced));
    rig.check(&shard, 1, Some(&bytes));
}

/// Adds a byte to what key 1 holds.
async fn append(shard: &Shard, commit: Commit) -> Result<Written, WriteError<NotMet>> {
    let decide = |current: Option<Current<'_>>, made: &mut Vec<u8>| {
        made.extend(current.map_or(&[][..], |current| current.content));
        made.push(b'!');
        Ok(Change::PutMade {
            expiry: ExpirySeconds::NEVER,
            set: SetId::NONE,
        })
    };
    let key = (&digest(1), Needs::Content);
    shard.write_as(commit, key, &[], decide).await
}

#[test]
fn writers_and_readers_share_the_bytes_of_one_on_its_way() {
    let mut rig = Rig::new(1, shape());
    let shard = rig.open_sound();
    rig.put(&shard, 2, b"opens a segment");
    let bytes = content(1, 1, 3 * PIECE_BYTES);
    let reads = shard.statistics().counters.device_reads;
    let write = {
        let (shard, bytes) = (shard.clone(), bytes.clone());
        async move {
            let key = (&digest(1), Needs::Metadata);
            let decide = |_: Option<Current<'_>>, _: &mut Vec<u8>| Ok::<_, NotMet>(PLAIN);
            shard
                .write_as(Commit::Buffered, key, &bytes, decide)
                .await
                .unwrap();
            // No byte of it is durable yet: the machine does not move while tasks are ready.
            append(&shard, Commit::Buffered).await.unwrap();
            get(&shard, digest(1)).await.unwrap()
        }
    };
    let seen = rig.spawn(write);
    rig.settle();
    let expected = [&bytes[..], b"!"].concat();
    assert_eq!(seen.take().unwrap().as_deref(), Some(&expected[..]));
    assert!(shard.statistics().pending > 0, "still on their way");
    assert_eq!(shard.statistics().counters.device_reads, reads);
    rig.run_until_idle();
    rig.run(append(&shard, Commit::Durable)).unwrap();
    rig.power_cut();
    let shard = rig.open_sound();
    rig.check(&shard, 1, Some(&[&bytes[..], b"!!"].concat()));
}

/// Only so many are prepared at once as may wait for the device: the memory of a flood is bounded.
#[test]
fn a_flood_of_long_records_takes_bounded_memory() {
    let mut rig = Rig::new(
        1,
        Shape {
            segments: 24,
            ..shape()
        },
    );
    let shard = rig.open_sound();
    rig.put(&shard, 99, b"opens a segment");
    rig.run_until_idle();
    let held = rig.pool.statistics().outside_bytes;
    let length = 3 * PIECE_BYTES;
    let writes: Vec<_> = (0..40_u64)
        .map(|key| {
            let shard = shard.clone();
            rig.spawn(async move { put(&shard, digest(key), &content(key, 1, length)).await })
        })
        .collect();
    rig.settle();
    // Four that are prepared or wait, four more that wait, eight in flight, and what a segment takes to open; each
    // rounded up to a power of two.
    let most = 17 << 20;
    loop {
        let taken = rig.pool.statistics().outside_bytes - held;
        assert!(taken <= most, "{taken} bytes of at most {most}");
        if !rig.machine.step() {
            break;
        }
        rig.settle();
    }
    for write in writes {
        write.take().unwrap().unwrap();
    }
    for key in 0..40 {
        rig.check(&shard, key, Some(&content(key, 1, length)));
    }
}
