//! The client of plain threads.

use corelith_client::mock::MockNode;
use corelith_client::{ClientOptions, ContentBuilder, ScanOptions, Ttl, ValueRef, blocking};

use crate::patient;

fn connect(node: &MockNode, options: ClientOptions) -> blocking::Client {
    blocking::Client::connect(&node.address().to_string(), options).unwrap()
}

#[test]
fn every_operation() {
    let node = MockNode::start();
    let client = connect(&node, patient());
    client.ping().unwrap();
    assert_eq!(client.describe().unwrap().namespaces, ["test"]);
    assert_eq!(client.statistics("").unwrap(), "mock_up 1\n");
    let set = client.namespace("test").set("demo");
    set.put("k", &ContentBuilder::new().bin("a", 1).bin("b", 2))
        .unwrap();
    assert_eq!(
        set.get("k").unwrap().unwrap().get("a"),
        Some(ValueRef::Integer(1))
    );
    assert_eq!(
        set.get_bins("k", &["b"])
            .unwrap()
            .unwrap()
            .content()
            .bins()
            .len(),
        1
    );
    assert!(set.touch("k", Ttl::Seconds(60)).unwrap().is_some());
    assert_eq!(set.get_metadata("k").unwrap().unwrap().generation.get(), 2);
    assert_eq!(set.scan().map(Result::unwrap).count(), 1);
    assert!(set.delete("k").unwrap());
    for set in ["demo", "other", ""] {
        let set = client.namespace("test").set(set);
        set.put("t", &ContentBuilder::new().bin("a", 1)).unwrap();
    }
    assert!(set.truncate().unwrap() > 0);
    let left = client.namespace("test").scan(ScanOptions::default());
    let mut left: Vec<_> = left
        .map(|found| found.unwrap().readable().unwrap().set.to_string())
        .collect();
    left.sort();
    assert_eq!(left, ["", "other"]);
    let nameless = client.namespace("test").set("");
    assert!(matches!(
        nameless.truncate(),
        Err(corelith_client::Error::Invalid(_))
    ));
    assert!(client.namespace("test").truncate().unwrap() > 0);
    assert_eq!(
        client
            .namespace("test")
            .scan(ScanOptions::default())
            .count(),
        0
    );
}

#[test]
fn threads_share_a_client() {
    let node = MockNode::start();
    let client = connect(&node, patient());
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let set = client.namespace("test").set("demo");
            scope.spawn(move || {
                for step in 0..100 {
                    let key = thread * 1000 + step;
                    set.put(key, &ContentBuilder::new().bin("n", key)).unwrap();
                    let record = set.get(key).unwrap().unwrap();
                    assert_eq!(record.get("n"), Some(ValueRef::Integer(key)));
                }
            });
        }
    });
    assert_eq!(node.record_count(), 400);
}

/// Between two calls nobody looks at the socket: the first write after a restart went out on the dead
/// connection and came back in doubt.
#[test]
fn a_restart_between_two_calls_leaves_no_doubt() {
    let mut node = MockNode::start();
    let client = connect(
        &node,
        ClientOptions {
            retry_count_max: 3,
            ..patient()
        },
    );
    let set = client.namespace("test").set("demo");
    for round in 1..=5 {
        for key in 0..20 {
            set.put(key, &ContentBuilder::new().bin("n", round))
                .unwrap();
        }
        node.stop();
        node.start_again(2);
    }
    assert_eq!(set.get_metadata(1).unwrap().unwrap().generation.get(), 5);
}
