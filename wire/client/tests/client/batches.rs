//! Batches: results in the caller's order, split by owner and size, tried again row by row.

use corelith_client::mock::{Fault, MockNode, MockOptions};
use corelith_client::{
    BatchBuilder, Batched, ClientOptions, ConnectError, ContentBuilder, Doubt, Error, PutMode, Set,
    Status, StepsBuilder, Ttl, ValueRef, WriteOptions, blocking,
};
use corelith_wire::MessageKind;

use crate::{connect_with, patient, run};

fn bins(value: i64) -> ContentBuilder {
    ContentBuilder::new().bin("a", value)
}

/// So many keys of the set "demo", each with its number.
async fn filled(set: &Set, count: i64) {
    for key in 0..count {
        set.put(key, &bins(key)).await.unwrap();
    }
}

fn number_of(result: &Result<Batched, Error>) -> Option<i64> {
    match result.as_ref().unwrap().record()?.get("a") {
        Some(ValueRef::Integer(number)) => Some(number),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_row() {
    run(async {
        let node = MockNode::start();
        let client = connect_with(&node, patient()).await;
        let namespace = client.namespace("test");
        let count = StepsBuilder::new().add("a", 5).read("a");
        let once = WriteOptions {
            mode: PutMode::CreateOnly,
            ..WriteOptions::default()
        };
        let batch = BatchBuilder::new("demo")
            .put("k", &bins(1))
            .operate("k", &count)
            .get("k")
            .get_bins("k", &["b"])
            .get_metadata("k")
            .touch("k", Ttl::Seconds(60))
            .put_with("k", &bins(2), &once)
            .get("x".repeat(100_000).as_str())
            .set("other")
            .get("k")
            .delete("k")
            .touch("k", Ttl::Never)
            .set("demo")
            .delete("k")
            .get("k");
        assert_eq!(batch.len(), 13);
        let results = namespace.batch(&batch).await;
        assert_eq!(results.len(), 13);
        assert!(
            matches!(&results[0], Ok(Batched::Written(written)) if written.generation.get() == 1)
        );
        let Ok(Batched::Operated(operated)) = &results[1] else {
            panic!("{:?}", results[1]);
        };
        assert_eq!(operated.get("a"), Some(ValueRef::Integer(6)));
        assert_eq!(number_of(&results[2]), Some(6));
        let part = results[3].as_ref().unwrap().record().unwrap();
        assert!(part.content().bins().is_empty());
        let metadata = results[4].as_ref().unwrap().record().unwrap();
        assert_eq!(metadata.generation().get(), 2);
        assert!(
            matches!(&results[5], Ok(Batched::Written(written)) if written.generation.get() == 3)
        );
        assert_eq!(
            results[6].as_ref().unwrap_err().status(),
            Some(Status::Exists)
        );
        assert!(matches!(results[7], Err(Error::Key(_))));
        for absent in [8, 9, 10, 12] {
            assert!(matches!(results[absent], Ok(Batched::NotFound)), "{absent}");
        }
        assert!(matches!(results[11], Ok(Batched::Deleted)));
        assert!(namespace.batch(&BatchBuilder::new("")).await.is_empty());
    });
}

#[test]
fn any_number_of_keys_goes_to_their_owners_and_comes_back_in_order() {
    run(async {
        let options = MockOptions {
            core_count: 3,
            in_flight_max: 50,
            ..MockOptions::default()
        };
        let node = MockNode::start_with(options);
        let client = connect_with(&node, patient()).await;
        let set = client.namespace("test").set("demo");
        filled(&set, 500).await;
        let before: Vec<u64> = node
            .core_ports()
            .iter()
            .map(|port| node.served_count(*port))
            .collect();
        let keys: Vec<i64> = (0..1000).rev().collect();
        let results = set.get_many(&keys).await;
        for (key, result) in keys.iter().zip(&results) {
            let found = result.as_ref().unwrap().as_ref();
            let expected = (*key < 500).then_some(ValueRef::Integer(*key));
            assert_eq!(found.and_then(|record| record.get("a")), expected);
        }
        assert_eq!(node.served_count(node.address().port()), 0);
        for (port, before) in node.core_ports().iter().zip(before) {
            let requests = node.served_count(*port) - before;
            // Some 333 rows each, at most 50 of them in a request.
            assert!((5..=12).contains(&requests), "{requests}");
        }
    });
}

#[test]
fn rows_are_tried_again_by_themselves() {
    run(async {
        let node = MockNode::start();
        let options = ClientOptions {
            retry_count_max: 2,
            shard_aware: false,
            ..patient()
        };
        let client = connect_with(&node, options).await;
        let set = client.namespace("test").set("demo");
        filled(&set, 3).await;
        let batch = BatchBuilder::new("demo").get(0).get(1).get(2);
        // The first row meets "busy" twice, and is alone with it the second time.
        for _ in 0..2 {
            node.inject(MessageKind::Get, Fault::Refuse(Status::Busy, 1));
        }
        let results = client.namespace("test").batch(&batch).await;
        let numbers: Vec<_> = results.iter().map(number_of).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
        assert_eq!(node.pending_fault_count(), 0);
        // No room in the answer: asked for by itself, without a try used up.
        node.inject(MessageKind::Get, Fault::Refuse(Status::BatchFull, 0));
        let results = client.namespace("test").batch(&batch).await;
        assert!(results.iter().all(|result| number_of(result).is_some()));
        // A whole batch that is lost is read again.
        node.inject(MessageKind::Batch, Fault::CloseAfter);
        node.inject(MessageKind::Batch, Fault::Refuse(Status::Busy, 1));
        let results = client.namespace("test").batch(&batch).await;
        assert!(results.iter().all(|result| number_of(result).is_some()));
        assert_eq!(node.pending_fault_count(), 0);
    });
}

#[test]
fn doubt_is_a_matter_of_each_row() {
    run(async {
        let node = MockNode::start();
        let options = ClientOptions {
            retry_count_max: 3,
            shard_aware: false,
            ..patient()
        };
        let client = connect_with(&node, options.clone()).await;
        let namespace = client.namespace("test");
        let batch = BatchBuilder::new("demo").put(0, &bins(0)).get(1).delete(2);
        namespace.set("demo").put(1, &bins(1)).await.unwrap();
        // The answer is lost: the writes are in doubt, the read is made again.
        node.inject(MessageKind::Batch, Fault::CloseAfter);
        let results = namespace.batch(&batch).await;
        let is_lost = |result: &Result<Batched, Error>| {
            matches!(
                result,
                Err(Error::InDoubt(Doubt::Disconnected(
                    ConnectError::ClosedByNode { .. } | ConnectError::Io { .. }
                )))
            )
        };
        assert!(is_lost(&results[0]), "{:?}", results[0]);
        assert_eq!(number_of(&results[1]), Some(1));
        assert!(is_lost(&results[2]), "{:?}", results[2]);
        // One row in doubt is no matter of the others.
        node.inject(MessageKind::Put, Fault::Refuse(Status::InDoubt, 0));
        let results = namespace.batch(&batch).await;
        assert!(results[0].as_ref().is_err_and(Error::is_in_doubt));
        assert!(matches!(results[2], Ok(Batched::NotFound)));
        assert_eq!(node.pending_fault_count(), 0);

        let again = ClientOptions {
            retry_in_doubt: true,
            ..options
        };
        let client = connect_with(&node, again).await;
        let namespace = client.namespace("test");
        let twice = BatchBuilder::new("demo")
            .put(7, &bins(0))
            .put(8, &bins(0))
            .delete(1);
        node.inject(MessageKind::Batch, Fault::CloseAfter);
        let results = namespace.batch(&twice).await;
        for result in &results[..2] {
            assert!(
                matches!(result, Ok(Batched::Written(written)) if written.generation.get() == 2)
            );
        }
        // The second try finds nothing to delete, which says nothing about the first.
        assert!(is_lost(&results[2]), "{:?}", results[2]);
    });
}

#[test]
fn rows_that_break_a_rule_are_not_sent() {
    run(async {
        let node = MockNode::start();
        let client = connect_with(&node, patient()).await;
        let namespace = client.namespace("test");
        let long = "s".repeat(64);
        let batch = BatchBuilder::new("demo")
            .put(1, &bins(1))
            .set(&long)
            .put(1, &bins(1))
            .set("demo")
            .put(1, &bins(2));
        let results = namespace.batch(&batch).await;
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        assert!(matches!(results[1], Err(Error::Invalid(_))));
        let unknown = client.namespace("nowhere").batch(&batch).await;
        let error = unknown[0].as_ref().unwrap_err();
        assert!(matches!(error, Error::UnknownNamespace { .. }), "{error:?}");
    });
}

#[test]
fn plain_threads() {
    let node = MockNode::start();
    let client = blocking::Client::connect(&node.address().to_string(), patient()).unwrap();
    let namespace = client.namespace("test");
    let batch = (0..20).fold(BatchBuilder::new("demo"), |batch, key| {
        batch.put(key, &bins(i64::from(key)))
    });
    assert!(namespace.batch(&batch).iter().all(Result::is_ok));
    let found = namespace.set("demo").get_many(&[19, 20]);
    assert!(found[0].as_ref().unwrap().is_some());
    assert!(found[1].as_ref().unwrap().is_none());
}
