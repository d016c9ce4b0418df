//! Who is spoken to: the owner where it can be reached, the shared port where not, the new owner after a
//! restart.

use std::time::Duration;

use corelith_client::mock::{Fault, MockNode, MockOptions};
use corelith_client::{ClientOptions, ContentBuilder, Error, Status};
use corelith_wire::MessageKind;

use crate::{connect, connect_with, patient, run};

fn bins() -> ContentBuilder {
    ContentBuilder::new().bin("a", 1)
}

#[test]
fn requests_go_to_the_owning_core() {
    run(async {
        let node = MockNode::start_with(MockOptions {
            core_count: 2,
            ..MockOptions::default()
        });
        let set = connect_with(&node, patient())
            .await
            .namespace("test")
            .set("demo");
        for key in 0..200 {
            set.put(key, &bins()).await.unwrap();
        }
        let [first, second] = *node.core_ports() else {
            panic!("two cores")
        };
        assert_eq!(node.served_count(node.address().port()), 0);
        assert_eq!(node.served_count(first) + node.served_count(second), 200);
        // 8 shards, even ones on the first core: the digest of each key says which.
        let even = (0..200_i64)
            .map(|key| corelith_client::digest_of("demo", &corelith_client::KeyRef::integer(key)))
            .filter(|digest| digest.partition().get() % 8 % 2 == 0)
            .count();
        assert_eq!(node.served_count(first), u64::try_from(even).unwrap());
        assert_eq!(node.connection_count(), 3);
    });
}

#[test]
fn so_many_of_a_hundred_go_to_another_core_as_are_asked_for() {
    run(async {
        for (core_count, crossing_percent) in [(2, 0), (2, 30), (2, 100), (1, 100)] {
            let node = MockNode::start_with(MockOptions {
                core_count,
                ..MockOptions::default()
            });
            let options = ClientOptions {
                crossing_percent,
                ..patient()
            };
            let client = connect_with(&node, options).await;
            let set = client.namespace("test").set("demo");
            // One key, so that one core owns all: the other one serves what crosses.
            let owner = corelith_client::digest_of("demo", &corelith_client::KeyRef::integer(7));
            let owner = usize::from(owner.partition().get() % 8) % usize::from(core_count);
            for _ in 0..200 {
                set.put(7, &bins()).await.unwrap();
            }
            let crossing = match core_count {
                1 => 0,
                _ => 2 * u64::from(crossing_percent),
            };
            let by_owner = node.served_count(node.core_ports()[owner]);
            assert_eq!(
                by_owner,
                200 - crossing,
                "{crossing_percent} % of {core_count} cores"
            );
        }
    });
}

#[test]
fn without_core_ports_the_shared_one_serves() {
    run(async {
        let node = MockNode::start_with(MockOptions {
            core_count: 0,
            ..MockOptions::default()
        });
        let set = connect_with(&node, patient())
            .await
            .namespace("test")
            .set("demo");
        for key in 0..20 {
            set.put(key, &bins()).await.unwrap();
        }
        assert_eq!(node.served_count(node.address().port()), 20);
        assert_eq!(node.connection_count(), 1);
    });
}

#[test]
fn shard_awareness_can_be_switched_off() {
    run(async {
        let node = MockNode::start();
        let options = ClientOptions {
            shard_aware: false,
            ..patient()
        };
        let set = connect_with(&node, options)
            .await
            .namespace("test")
            .set("demo");
        for key in 0..20 {
            set.put(key, &bins()).await.unwrap();
        }
        assert_eq!(node.served_count(node.address().port()), 20);
    });
}

#[test]
fn a_restart_on_other_cores_is_survived() {
    run(async {
        let mut node = MockNode::start();
        let client = connect(&node).await;
        let set = client.namespace("test").set("demo");
        for key in 0..50 {
            set.put(key, &bins()).await.unwrap();
        }
        node.stop();
        let gone = set.get(1).await.unwrap_err();
        assert!(
            matches!(gone, Error::Disconnected(_) | Error::TimedOut),
            "{gone:?}"
        );
        // One core less, and other numbers for the namespaces.
        node.start_again(1);
        for key in 0..50 {
            let found = loop {
                match set.get(key).await {
                    Ok(found) => break found,
                    Err(Error::Disconnected(_) | Error::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(found.is_some(), "key {key}");
        }
        let first = node.core_ports()[0];
        let before = node.served_count(first);
        for key in 0..50 {
            assert!(set.get(key).await.unwrap().is_some());
        }
        assert_eq!(node.served_count(first), before + 50);
    });
}

#[test]
fn a_wrong_owner_leads_to_a_new_map() {
    run(async {
        let node = MockNode::start();
        let options = ClientOptions {
            retry_count_max: 1,
            ..patient()
        };
        let set = connect_with(&node, options)
            .await
            .namespace("test")
            .set("demo");
        node.inject(MessageKind::Put, Fault::Refuse(Status::NotOwner, 0));
        set.put(1, &bins()).await.unwrap();
        assert_eq!(node.pending_fault_count(), 0);
        assert_eq!(node.record_count(), 1);
    });
}

#[test]
fn a_node_that_comes_back_in_time_is_waited_for() {
    run(async {
        let mut node = MockNode::start();
        let options = ClientOptions {
            retry_count_max: 1,
            ..patient()
        };
        let set = connect_with(&node, options)
            .await
            .namespace("test")
            .set("demo");
        set.put(1, &bins()).await.unwrap();
        node.stop();
        let back = async {
            // Several pauses of the client's long.
            tokio::time::sleep(Duration::from_millis(200)).await;
            node.start_again(2);
        };
        let (found, ()) = tokio::join!(set.get(1), back);
        assert!(found.unwrap().is_some());
    });
}
