//! Put, get, overwrite, delete, touch, and decisions on what is there.

use corelith_index::{ExpirySeconds, Generation, SetId};
use corelith_io::Durability;
use corelith_store::{Change, Needs, Version, WriteError};

use crate::harness::{NotMet, PLAIN, Rig, Shape, create, digest};

#[test]
fn a_put_is_read_back_whatever_makes_it_durable() {
    for durability in [Durability::WriteThrough, Durability::Fua, Durability::Flush] {
        for block_bytes in [512, 4096] {
            let mut rig = Rig::new(
                1,
                Shape {
                    durability,
                    block_bytes,
                    ..Shape::default()
                },
            );
            let shard = rig.open_sound();
            let written = rig.put(&shard, 1, b"first");
            assert_eq!(
                (written.generation, written.existed),
                (Generation::FIRST, false)
            );
            rig.check(&shard, 1, Some(b"first"));
            rig.check(&shard, 2, None);
            rig.close(shard);
        }
    }
}

#[test]
fn overwrites_count_generations_and_raise_versions() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let mut last = Version::NONE;
    for number in 1..=5_u16 {
        let written = rig.put(&shard, 7, &number.to_le_bytes());
        assert_eq!(written.generation.get(), number);
        assert_eq!(written.existed, number > 1);
        assert!(written.version > last);
        last = written.version;
        rig.check(&shard, 7, Some(&number.to_le_bytes()));
    }
    let record = rig.run(shard.get(&digest(7))).unwrap().unwrap();
    assert_eq!(
        (record.version(), record.metadata().generation.get()),
        (last, 5)
    );
    assert!(record.updated_ms() <= shard.now_ms());
}

#[test]
fn an_empty_content_is_a_record() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 7, b"");
    rig.check(&shard, 7, Some(b""));
}

#[test]
fn a_delete_leaves_nothing_and_a_new_record_begins_anew() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let nothing = rig.delete(&shard, 7);
    assert_eq!((nothing.existed, nothing.version), (false, Version::NONE));
    rig.put(&shard, 7, b"a");
    rig.put(&shard, 7, b"b");
    let deleted = rig.delete(&shard, 7);
    assert!(deleted.existed);
    rig.check(&shard, 7, None);
    assert!(!rig.delete(&shard, 7).existed);
    assert_eq!(shard.statistics().records, 0);
    assert_eq!(rig.put(&shard, 7, b"c").generation, Generation::FIRST);
    rig.check(&shard, 7, Some(b"c"));
}

#[test]
fn a_touch_changes_the_expiry_and_keeps_content_and_set() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let set = rig.run(shard.set_id("users")).unwrap();
    let put = Change::PutInput {
        expiry: ExpirySeconds::NEVER,
        set,
    };
    rig.run(shard.write::<NotMet>(&digest(7), Needs::Metadata, b"kept", |_, _| Ok(put)))
        .unwrap();
    let expiry = ExpirySeconds::new(2_000_000_000);
    let touched = rig
        .run(
            shard.write::<NotMet>(&digest(7), Needs::Content, &[], |current, _| {
                assert_eq!(current.unwrap().content, b"kept");
                Ok(Change::Touch { expiry })
            }),
        )
        .unwrap();
    assert_eq!((touched.generation.get(), touched.expiry), (2, expiry));
    let record = rig.run(shard.get(&digest(7))).unwrap().unwrap();
    assert_eq!(record.content(), b"kept");
    assert_eq!(
        (record.metadata().expiry, record.metadata().set),
        (expiry, set)
    );
}

#[test]
fn a_decision_sees_what_is_there_and_may_reject() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.run(create(&shard, digest(7), b"one")).unwrap();
    let again = rig.run(create(&shard, digest(7), b"two"));
    assert_eq!(again, Err(WriteError::Rejected(NotMet)));
    rig.check(&shard, 7, Some(b"one"));
    let expect = |number: u16, content: &'static [u8]| {
        let shard = shard.clone();
        async move {
            shard
                .write(&digest(7), Needs::Metadata, content, |current, _| {
                    let found = current.map(|current| current.generation.get());
                    if found == Some(number) {
                        Ok(PLAIN)
                    } else {
                        Err(NotMet)
                    }
                })
                .await
        }
    };
    assert_eq!(
        rig.run(expect(2, b"late")),
        Err(WriteError::Rejected(NotMet))
    );
    assert_eq!(rig.run(expect(1, b"right")).unwrap().generation.get(), 2);
    rig.check(&shard, 7, Some(b"right"));
}

#[test]
fn a_decision_may_make_the_content_from_the_old_one() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    for round in 0..4_u8 {
        rig.run(
            shard.write::<NotMet>(&digest(7), Needs::Content, &[round], |current, made| {
                made.extend(current.map_or(&[][..], |current| current.content));
                made.push(round);
                Ok(Change::PutMade {
                    expiry: ExpirySeconds::NEVER,
                    set: SetId::NONE,
                })
            }),
        )
        .unwrap();
    }
    rig.check(&shard, 7, Some(&[0, 1, 2, 3]));
}
