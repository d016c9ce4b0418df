//! What costs a device read and what does not.

use corelith_store::{Needs, Shard};

use crate::harness::{NotMet, PLAIN, Rig, Shape, create, digest};

fn reads(shard: &Shard) -> u64 {
    shard.statistics().counters.device_reads
}

#[test]
fn a_hit_is_one_read_and_nothing_else_is_any() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"a");
    rig.put(&shard, 1, b"b");
    rig.delete(&shard, 2);
    rig.check(&shard, 2, None);
    let metadata = rig.run(shard.metadata(&digest(1))).unwrap().unwrap();
    assert_eq!(metadata.generation.get(), 2);
    assert_eq!(rig.run(shard.metadata(&digest(2))).unwrap(), None);
    assert!(rig.run(create(&shard, digest(1), b"c")).is_err());
    assert_eq!(
        reads(&shard),
        0,
        "puts, deletes, misses, metadata, a create that is rejected"
    );
    rig.check(&shard, 1, Some(b"b"));
    assert_eq!(reads(&shard), 1);
    rig.run(
        shard.write::<NotMet>(&digest(1), Needs::Content, b"d", |current, _| {
            assert_eq!(current.unwrap().content, b"b");
            Ok(PLAIN)
        }),
    )
    .unwrap();
    assert_eq!(reads(&shard), 2);
}

#[test]
fn a_read_takes_the_blocks_of_the_record_only() {
    let mut rig = Rig::new(
        1,
        Shape {
            block_bytes: 512,
            ..Shape::default()
        },
    );
    let shard = rig.open_sound();
    rig.put(&shard, 1, &[7; 100]);
    rig.check(&shard, 1, Some(&[7; 100]));
    assert_eq!(shard.statistics().counters.device_read_bytes, 512);
    rig.put(&shard, 2, &[8; 1000]);
    rig.check(&shard, 2, Some(&[8; 1000]));
    // 64 bytes of batch header, 56 of record header and 1,000 of content are three blocks.
    assert_eq!(shard.statistics().counters.device_read_bytes, 512 + 1536);
}

#[test]
fn metadata_after_a_restart_costs_no_read_either() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"a");
    rig.close(shard);
    let shard = rig.open_sound();
    assert!(rig.run(shard.metadata(&digest(1))).unwrap().is_some());
    assert_eq!(reads(&shard), 0);
}
