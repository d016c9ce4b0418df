//! Devices in memory under a shard: a get is over when it is asked for, and sees what any other get sees.

use corelith_index::{ExpirySeconds, SetId};
use corelith_io::{BufferPool, BufferPoolConfig, Clock, LocalTasks, OpenDevice, Ring, RingConfig};
use corelith_store::limits::PIECE_BYTES;
use corelith_store::volume::{FormatOptions, format_volume};
use corelith_store::{Change, Needs, Shard, ShardOptions};

use crate::harness::{NotMet, PLAIN, content, digest};

async fn change(shard: &Shard, key: u64, input: &[u8], change: Change) {
    let decide = |_: Option<corelith_store::Current<'_>>, _: &mut Vec<u8>| Ok::<_, NotMet>(change);
    let digest = digest(key);
    let written = shard.write(&digest, Needs::Metadata, input, decide).await;
    assert!(written.is_ok());
}

async fn check(shard: &Shard) {
    assert!(shard.may_get_at_once());
    assert!(shard.get_at_once(&digest(1)).unwrap().is_none());
    for version in [1, 2] {
        let bytes = content(1, version, 700);
        change(shard, 1, &bytes, PLAIN).await;
        let record = shard.get_at_once(&digest(1)).unwrap().unwrap();
        assert_eq!(record.content(), bytes);
        assert_eq!(u64::from(record.metadata().generation.get()), version);
    }
    assert_eq!(shard.statistics().counters.device_reads, 2);
    change(shard, 1, b"", Change::Delete).await;
    assert!(shard.get_at_once(&digest(1)).unwrap().is_none());

    let past = Change::PutInput {
        expiry: ExpirySeconds::new(1),
        set: SetId::NONE,
    };
    change(shard, 2, b"gone", past).await;
    assert!(shard.get_at_once(&digest(2)).unwrap().is_none());

    // One that is verified in pieces is left to those who can wait.
    let long = content(3, 1, PIECE_BYTES + 1);
    change(shard, 3, &long, PLAIN).await;
    assert!(shard.get_at_once(&digest(3)).is_none());
    let record = shard.get(&digest(3)).await.unwrap().unwrap();
    assert_eq!(record.content(), long);
}

#[test]
fn a_get_from_a_device_in_memory_waits_for_nothing() {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 1 << 20,
        limit_bytes: 64 << 20,
    })
    .unwrap();
    let ring = Ring::new(RingConfig::default(), &pool).unwrap();
    let devices = [OpenDevice::in_memory("memory", 16 << 20)
        .unwrap()
        .attach(&ring)
        .unwrap()];
    let format = FormatOptions {
        segment_bytes: 1 << 20,
        extent_bytes: Some(1 << 20),
        ..FormatOptions::new("test", 1, [1; 16], vec![[2; 16]])
    };
    let options = ShardOptions {
        shard: 0,
        index_memory_bytes: 1 << 20,
        record_cache_bytes: 0,
        accept_stale: false,
        checkpoint: corelith_store::CheckpointPace::NONE,
        index_bytes_cached: 1 << 20,
    };
    let tasks = LocalTasks::new(&ring);
    let work = async {
        let volume = format_volume(&devices, &pool, &format).await.unwrap();
        let clock = Clock::real();
        let shard = Shard::open(&volume, &devices, (&pool, &clock), &options)
            .await
            .unwrap();
        let committer = tasks.spawn(shard.run()).unwrap();
        check(&shard).await;
        shard.close();
        committer.await;
    };
    tasks.block_on(work).unwrap();
}
