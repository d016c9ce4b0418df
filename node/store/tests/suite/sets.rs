//! Names of sets: numbered by the shard, durable before they are used, out of reach of digests.

use corelith_index::{Digest, ExpirySeconds, SetId};
use corelith_io::{Fault, PlannedFault};
use corelith_store::{Change, Needs, SetError, Truncate, TruncateError, WriteError};

use crate::harness::{NotMet, Rig, Shape, digest, put};

#[test]
fn sets_survive_restarts() {
    let mut rig = Rig::new(1, Shape::default());
    let mut shard = rig.open_sound();
    let users = rig.run(shard.set_id("users")).unwrap();
    let events = rig.run(shard.set_id("events")).unwrap();
    assert_ne!(users, events);
    for crash in [false, true, false, true] {
        if crash {
            rig.power_cut();
        } else {
            rig.close(shard);
        }
        shard = rig.open_sound();
        assert_eq!(shard.known_set("users"), Some(users));
        assert_eq!(rig.run(shard.set_id("events")), Ok(events));
        assert_eq!(shard.set_name(users), "users");
        assert_eq!(
            shard.sets(),
            [(users, "users".to_owned()), (events, "events".to_owned())]
        );
        assert_eq!(shard.statistics().records, 0, "definitions are no records");
    }
    let third = rig.run(shard.set_id("third")).unwrap();
    assert!(third != users && third != events);
}

#[test]
fn names_are_checked_and_the_empty_one_is_no_set() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    assert_eq!(rig.run(shard.set_id("")), Ok(SetId::NONE));
    let long = "x".repeat(64);
    let refused = rig.run(shard.set_id(&long));
    assert_eq!(
        refused,
        Err(WriteError::Rejected(SetError::Name { found_bytes: 64 }))
    );
    assert_eq!(shard.known_set("never"), None);
}

#[test]
fn many_who_name_one_set_at_once_get_one_number() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let handles: Vec<_> = (0..60)
        .map(|number| {
            let shard = shard.clone();
            let name = ["a", "b", "c"][number % 3];
            rig.spawn(async move { (name, shard.set_id(name).await.unwrap()) })
        })
        .collect();
    rig.run_until_idle();
    for handle in handles {
        let (name, set) = handle.take().unwrap();
        assert_eq!(shard.known_set(name), Some(set));
    }
    assert_eq!(shard.sets().len(), 3);
}

#[test]
fn one_who_gives_up_naming_a_set_leaves_no_second_number() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    // Polled until its definition is on its way, then dropped.
    let mut first = Box::pin(shard.set_id("users"));
    rig.run(std::future::poll_fn(|context| {
        let _ = first.as_mut().poll(context);
        std::task::Poll::Ready(())
    }));
    drop(first);
    let users = rig.run(shard.set_id("users")).unwrap();
    rig.run_until_idle();
    assert_eq!(shard.sets(), [(users, "users".to_owned())]);
    rig.power_cut();
    let shard = rig.open_sound();
    assert_eq!(shard.sets(), [(users, "users".to_owned())]);
}

#[test]
fn no_digest_reaches_a_definition() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let users = rig.run(shard.set_id("users")).unwrap();
    let mut bytes = [0; 20];
    bytes[2..4].copy_from_slice(&users.get().to_le_bytes());
    bytes[4..14].copy_from_slice(b"define set");
    let forged = Digest::from_bytes(bytes);
    assert!(rig.run(shard.get(&forged)).unwrap().is_none());
    rig.run(put(&shard, forged, b"not a name")).unwrap();
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(shard.set_name(users), "users");
    let deleted: Result<_, WriteError<NotMet>> = rig.run(crate::harness::delete(&shard, forged));
    assert!(deleted.unwrap().existed);
    rig.close(shard);
    let shard = rig.open_sound();
    assert_eq!(shard.set_name(users), "users");
}

#[test]
fn a_number_whose_definition_is_gone_is_neither_forgotten_nor_given_again() {
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    rig.put(&shard, 1, b"before");
    rig.run_until_idle();
    let range = rig.segment_range(0);
    rig.faults(0)
        .plan(PlannedFault::next(Fault::WriteLost).within(range));
    let users = rig.run(shard.set_id("users")).unwrap();
    assert_eq!(rig.faults(0).struck_count(Fault::WriteLost), 1);
    let change = Change::PutInput {
        expiry: ExpirySeconds::NEVER,
        set: users,
    };
    let key = digest(2);
    rig.run(shard.write(&key, Needs::Metadata, b"a user", |_, _| {
        Ok::<_, NotMet>(change)
    }))
    .unwrap();
    rig.put(&shard, 3, b"after");
    rig.run_until_idle();
    drop(shard);
    rig.power_cut();

    rig.shape.accept_stale = true;
    let shard = rig.open();
    rig.check(&shard, 2, Some(b"a user"));
    assert_eq!(shard.known_set("users"), None);
    // Its records may be of any set: to answer that this one has none would be a lie.
    let refused = rig.run(shard.truncate(Truncate::Set("users")));
    let number = users.get();
    assert_eq!(
        refused,
        Err(WriteError::Rejected(TruncateError::NameLost { number }))
    );
    // Nor do they become those of the next set.
    let events = rig.run(shard.set_id("events")).unwrap();
    assert_ne!(events, users);
    assert_eq!(shard.set_name(users), "");
    rig.run(shard.truncate(Truncate::All)).unwrap();
    rig.check(&shard, 2, None);
}

#[test]
fn a_name_that_cannot_be_read_just_now_does_not_get_a_second_number() {
    // Story: a start could not read the definition of a set. A put defined its name anew, the next start read both,
    // and a truncation of the name deleted the records of one number only.
    let mut rig = Rig::new(1, Shape::default());
    let shard = rig.open_sound();
    let users = rig.run(shard.set_id("users")).unwrap();
    rig.run_until_idle();
    rig.power_cut();
    let (segment, at) = rig.find(b"users");
    let place = rig.segment_range(segment).start + at;
    // As often as a start tries, and whoever asks then; the scan of the segment reads it, too.
    let refuse = |rig: &Rig, times: u64| {
        for _ in 0..times {
            let fault = PlannedFault::next(Fault::ReadError).within(place..place + 1);
            rig.faults(0).plan(fault);
        }
    };
    let mut shard = None;
    // How many reads of the segment come before: found by trying.
    for before in 0..8 {
        let mut other = rig.fork(before);
        for _ in 0..8 {
            let fault = PlannedFault::next(Fault::ReadError).within(place..place + 1);
            other.faults(0).plan(fault.after(before));
        }
        let opened = other.open();
        if opened.known_set("users").is_none() && !opened.may_be_stale() {
            shard = Some((other, opened));
            break;
        }
    }
    let (mut rig, shard) = shard.expect("a start that cannot read the name");
    refuse(
        &rig,
        8 - u64::try_from(rig.faults(0).planned_count()).unwrap(),
    );
    let refused = rig.run(shard.set_id("users"));
    assert!(matches!(refused, Err(WriteError::Read(_))), "{refused:?}");
    refuse(&rig, 8);
    let refused = rig.run(shard.truncate(Truncate::Set("users")));
    assert!(matches!(refused, Err(WriteError::Read(_))), "{refused:?}");
    assert_eq!(rig.run(shard.set_id("users")), Ok(users));
    assert_eq!(shard.set_name(users), "users");
}
