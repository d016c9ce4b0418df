//! Gets of one record at once: one device read for all, and none of them sees less than it may.

use corelith_io::{Fault, PlannedFault};
use corelith_store::{Current, Needs, ReadError, Shard};

use crate::harness::{Handle, NotMet, PLAIN, Rig, Shape, content, digest};

type Read = Handle<Result<Option<Vec<u8>>, ReadError>>;

fn device_reads(shard: &Shard) -> u64 {
    shard.statistics().counters.device_reads
}

/// A get under way.
fn get(rig: &mut Rig, shard: &Shard, key: u64) -> Read {
    let shard = shard.clone();
    rig.spawn(async move {
        let found = shard.get(&digest(key)).await?;
        Ok(found.map(|record| record.content().to_vec()))
    })
}

#[test]
fn gets_of_one_record_at_once_are_one_device_read() {
    for record_cache_bytes in [0, 256 << 10] {
        let mut rig = Rig::new(
            1,
            Shape {
                record_cache_bytes,
                ..Shape::default()
            },
        );
        let shard = rig.open_sound();
        let bytes = content(1, 1, 700);
        rig.put(&shard, 1, &bytes);
        rig.put(&shard, 2, b"another");
        rig.close(shard);
        let shard = rig.open_sound();
        let gets: Vec<Read> = (0..50).map(|_| get(&mut rig, &shard, 1)).collect();
        let other = get(&mut rig, &shard, 2);
        rig.run_until_idle();
        for found in gets {
            assert_eq!(found.take().unwrap(), Ok(Some(bytes.clone())));
        }
        assert_eq!(other.take().unwrap(), Ok(Some(b"another".to_vec())));
        assert_eq!(device_reads(&shard), 2);
        let statistics = shard.statistics();
        assert_eq!(statistics.counters.joined_reads, 49);
        let cached = u64::from(record_cache_bytes > 0);
        assert_eq!(statistics.record_cache.misses, 2 * cached);
        // What is over is joined no more.
        rig.check(&shard, 1, Some(&bytes));
        assert_eq!(device_reads(&shard), 3 - cached);
    }
}

#[test]
fn a_read_that_fails_fails_all_and_the_next_one_is_made_anew() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"there");
    let reads_before = device_reads(&shard);
    rig.faults(0).plan(PlannedFault::next(Fault::ReadError));
    let gets: Vec<Read> = (0..9).map(|_| get(&mut rig, &shard, 1)).collect();
    rig.run_until_idle();
    for found in gets {
        assert!(matches!(found.take().unwrap(), Err(ReadError::Device(_))));
    }
    assert_eq!(device_reads(&shard), reads_before + 1);
    rig.check(&shard, 1, Some(b"there"));
}

#[test]
fn a_reader_that_is_gone_leaves_the_read_to_the_others() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"there");
    let (first, key) = (shard.clone(), digest(1));
    let mut first = Box::pin(async move { first.get(&key).await.is_ok() });
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    while rig.machine.pending_count() == 0 {
        assert!(first.as_mut().poll(&mut context).is_pending());
    }
    let second = get(&mut rig, &shard, 1);
    rig.settle();
    drop(first);
    rig.run_until_idle();
    assert_eq!(second.take().unwrap(), Ok(Some(b"there".to_vec())));
}

/// A get that begins when a newer version is acknowledged does not join the read of the older one, though that is
/// still under way.
#[test]
fn a_newer_version_is_not_taken_for_the_one_that_is_being_read() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"old");
    rig.faults(0).plan(PlannedFault::next(Fault::DelayLong));
    let early = get(&mut rig, &shard, 1);
    rig.settle();
    let writer = shard.clone();
    let put = rig.spawn(async move {
        let key = digest(1);
        let decide = |_: Option<Current<'_>>, _: &mut Vec<u8>| Ok::<_, NotMet>(PLAIN);
        let written = writer.write(&key, Needs::Metadata, b"new", decide);
        written.await.is_ok()
    });
    rig.settle();
    while put.borrow().is_none() {
        assert!(rig.machine.step());
        rig.settle();
    }
    assert!(early.borrow().is_none(), "the read is over already");
    let late = get(&mut rig, &shard, 1);
    rig.run_until_idle();
    assert_eq!(late.take().unwrap(), Ok(Some(b"new".to_vec())));
    assert!(early.take().unwrap().unwrap().is_some());
    assert_eq!(shard.statistics().counters.joined_reads, 0);
}
