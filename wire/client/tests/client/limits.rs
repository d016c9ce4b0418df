//! Many requests at once: all are answered, each with its own answer, and never more are in flight than the
//! node allows.

use std::time::Duration;

use corelith_client::mock::{Fault, MockNode, MockOptions};
use corelith_client::{ContentBuilder, Error, ValueRef};
use corelith_wire::MessageKind;
use tokio::task::JoinSet;

use crate::{connect_with, patient, run};

#[test]
fn ten_thousand_requests_through_few_places() {
    run(async {
        let options = MockOptions {
            in_flight_max: 7,
            ..MockOptions::default()
        };
        let node = MockNode::start_with(options);
        let client = connect_with(&node, patient()).await;
        let mut tasks = JoinSet::new();
        for task in 0..100_i64 {
            let set = client.namespace("test").set("demo");
            tasks.spawn(async move {
                for step in 0..50 {
                    let key = task * 1000 + step;
                    set.put(key, &ContentBuilder::new().bin("n", key))
                        .await
                        .unwrap();
                    let record = set.get(key).await.unwrap().unwrap();
                    assert_eq!(record.get("n"), Some(ValueRef::Integer(key)));
                }
            });
        }
        let mut done = 0;
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
            done += 1;
        }
        assert_eq!((done, node.record_count()), (100, 5000));
    });
}

#[test]
fn threads_share_a_client() {
    let node = MockNode::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = connect_with(&node, patient()).await;
        let mut tasks = JoinSet::new();
        for task in 0..16_i64 {
            let set = client.namespace("test").set("demo");
            tasks.spawn(async move {
                for step in 0..100 {
                    let key = task * 1000 + step;
                    set.put(key, &ContentBuilder::new().bin("n", key))
                        .await
                        .unwrap();
                    let record = set.get(key).await.unwrap().unwrap();
                    assert_eq!(record.get("n"), Some(ValueRef::Integer(key)));
                }
            });
        }
        tasks.join_all().await;
    });
    assert_eq!(node.record_count(), 1600);
}

#[test]
fn futures_that_are_dropped_give_their_places_back() {
    run(async {
        let options = MockOptions {
            in_flight_max: 4,
            core_count: 0,
            ..MockOptions::default()
        };
        let node = MockNode::start_with(options);
        let set = connect_with(&node, patient())
            .await
            .namespace("test")
            .set("demo");
        let mut dropped_count = 0;
        for round in 0..50 {
            node.inject(MessageKind::Get, Fault::Delay(Duration::from_millis(30)));
            let get = set.get(round);
            tokio::select! {
                biased;
                _ = get => {}
                () = tokio::time::sleep(Duration::from_millis(1)) => dropped_count += 1,
            }
        }
        assert!(dropped_count > 4, "more than there are places");
        assert_eq!(set.get(1).await.unwrap(), None);
    });
}

#[test]
fn without_a_place_the_time_runs_out_and_nothing_was_sent() {
    run(async {
        let options = MockOptions {
            in_flight_max: 1,
            core_count: 0,
            ..MockOptions::default()
        };
        let node = MockNode::start_with(options);
        let patient_set = connect_with(&node, patient())
            .await
            .namespace("test")
            .set("demo");
        patient_set.get(0).await.unwrap();
        let options = corelith_client::ClientOptions {
            timeout: Duration::from_millis(50),
            ..patient()
        };
        let set = connect_with(&node, options)
            .await
            .namespace("test")
            .set("demo");
        node.inject(MessageKind::Get, Fault::Silence);
        assert!(matches!(set.get(1).await, Err(Error::TimedOut)));
        while node.pending_fault_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = node.served_count(node.address().port());
        // Not in doubt, although it is a write: there was no place to send it.
        let put = set.put(2, &ContentBuilder::new().bin("a", 1)).await;
        assert!(matches!(put, Err(Error::TimedOut)), "{put:?}");
        assert_eq!(node.served_count(node.address().port()), before);
    });
}
