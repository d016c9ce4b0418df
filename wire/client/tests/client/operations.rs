//! Every operation, once as it should go and once refused.

use std::time::{Duration, SystemTime};

use corelith_client::mock::{MockNode, MockOptions};
use corelith_client::{
    ContentBuilder, Error, Generation, PutMode, RecordMetadata, Status, Ttl, Value, ValueRef,
    WriteOptions,
};

use crate::{connect, run};

fn bins() -> ContentBuilder {
    ContentBuilder::new()
        .bin("a", 1)
        .bin("s", "text")
        .bin("d", 0.5)
        .bin("b", true)
}

#[test]
fn put_and_get() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        assert_eq!(set.get("k1").await.unwrap(), None);

        let written = set.put("k1", &bins()).await.unwrap();
        assert_eq!(written.generation, Generation::FIRST);
        let record = set.get("k1").await.unwrap().unwrap();
        assert_eq!(record.metadata(), written);
        assert_eq!(record.get("a"), Some(ValueRef::Integer(1)));
        assert_eq!(record.get("s"), Some(ValueRef::String("text")));
        assert_eq!(record.get("d"), Some(ValueRef::Double(0.5)));
        assert_eq!(record.get("b"), Some(ValueRef::Bool(true)));
        assert_eq!(record.get("none"), None);
        assert_eq!(record.key(), None);
        assert_eq!(record.expires_at(), None);
        let age = SystemTime::now()
            .duration_since(record.updated_at().unwrap())
            .unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");

        // Another set and another kind of key are other records.
        let other = connect(&node).await.namespace("test").set("other");
        assert_eq!(other.get("k1").await.unwrap(), None);
        assert_eq!(set.get(&b"k1"[..]).await.unwrap(), None);
    });
}

#[test]
fn a_merge_keeps_other_bins_and_nil_removes_one() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        set.put(7, &bins()).await.unwrap();
        let change = ContentBuilder::new().bin("a", 2).delete("s");
        assert_eq!(set.put(7, &change).await.unwrap().generation.get(), 2);
        let record = set.get(7).await.unwrap().unwrap();
        assert_eq!(record.get("a"), Some(ValueRef::Integer(2)));
        assert_eq!(record.get("s"), None);
        assert_eq!(record.get("b"), Some(ValueRef::Bool(true)));
    });
}

#[test]
fn get_some_bins_or_none() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        let keyed = WriteOptions {
            store_key: true,
            ..WriteOptions::default()
        };
        let written = set.put_with("k1", &bins(), &keyed).await.unwrap();
        let record = set
            .get_bins("k1", &["s", "missing"])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(record.content().bins().len(), 1);
        assert_eq!(record.get("s"), Some(ValueRef::String("text")));
        assert_eq!(record.key().unwrap().to_string(), "\"k1\"");
        let bare = set.get_bins("k1", &[]).await.unwrap().unwrap();
        assert_eq!(bare.content().bins().len(), 0);
        assert!(bare.key().is_some());
        // The index does not keep when a record was last written: not given, and no made-up time.
        assert!(written.last_update.is_some());
        let known = RecordMetadata {
            last_update: None,
            ..written
        };
        assert_eq!(set.get_metadata("k1").await.unwrap(), Some(known));
        assert_eq!(set.get_metadata("k2").await.unwrap(), None);
    });
}

#[test]
fn write_modes() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        let with = |mode| WriteOptions {
            mode,
            ..WriteOptions::default()
        };
        let status = |result: Result<_, Error>| result.unwrap_err().status();

        let update = set.put_with(1, &bins(), &with(PutMode::UpdateOnly)).await;
        assert_eq!(status(update), Some(Status::NotFound));
        let replace = set.put_with(1, &bins(), &with(PutMode::ReplaceOnly)).await;
        assert_eq!(status(replace), Some(Status::NotFound));
        set.put_with(1, &bins(), &with(PutMode::CreateOnly))
            .await
            .unwrap();
        let create = set.put_with(1, &bins(), &with(PutMode::CreateOnly)).await;
        assert_eq!(status(create), Some(Status::Exists));
        let one = ContentBuilder::new().bin("only", 1);
        set.put_with(1, &one, &with(PutMode::Replace))
            .await
            .unwrap();
        assert_eq!(set.get(1).await.unwrap().unwrap().content().bins().len(), 1);
    });
}

#[test]
fn generations_guard_writes_and_deletes() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        set.put(1, &bins()).await.unwrap();
        let expecting = |generation| WriteOptions {
            expected_generation: Generation::new(generation),
            ..WriteOptions::default()
        };
        set.put_with(1, &bins(), &expecting(1)).await.unwrap();
        let Err(Error::Refused(refused)) = set.put_with(1, &bins(), &expecting(1)).await else {
            panic!("the generation is 2 by now");
        };
        assert_eq!(refused.status, Status::GenerationMismatch);
        assert_eq!((refused.expected, refused.found), (1, 2));
        let late = set.delete_generation(1, Generation::new(1)).await;
        assert_eq!(late.unwrap_err().status(), Some(Status::GenerationMismatch));
        assert!(set.delete_generation(1, Generation::new(2)).await.unwrap());
        assert!(!set.delete(1).await.unwrap());
        assert_eq!(node.record_count(), 0);
    });
}

#[test]
fn times_to_live() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        let hour = WriteOptions {
            ttl: Ttl::Seconds(3600),
            ..WriteOptions::default()
        };
        set.put_with(1, &bins(), &hour).await.unwrap();
        let expires = set.get(1).await.unwrap().unwrap().expires_at().unwrap();
        let left = expires.duration_since(SystemTime::now()).unwrap();
        assert!(
            left > Duration::from_secs(3000) && left <= Duration::from_secs(3600),
            "{left:?}"
        );
        let touched = set.touch(1, Ttl::Never).await.unwrap().unwrap();
        assert!(touched.expiry.is_never());
        assert_eq!(touched.generation.get(), 2);
        assert_eq!(set.touch(2, Ttl::Never).await.unwrap(), None);
    });
}

#[test]
fn what_breaks_a_rule_is_not_sent() {
    run(async {
        let node = MockNode::start();
        let client = connect(&node).await;
        let sent = |node: &MockNode| -> u64 {
            let ports = node
                .core_ports()
                .iter()
                .copied()
                .chain([node.address().port()]);
            ports.map(|port| node.served_count(port)).sum()
        };
        let set = client.namespace("test").set("demo");
        let long_key = "k".repeat(70_000);
        assert!(matches!(
            set.get(long_key.as_str()).await,
            Err(Error::Key(_))
        ));
        let twice = ContentBuilder::new().bin("a", 1).bin("a", 2);
        assert!(matches!(set.put(1, &twice).await, Err(Error::Content(_))));
        let ttl = WriteOptions {
            ttl: Ttl::Seconds(0),
            ..WriteOptions::default()
        };
        assert!(matches!(
            set.put_with(1, &bins(), &ttl).await,
            Err(Error::Invalid(_))
        ));
        let long_set = client.namespace("test").set(&"s".repeat(64));
        assert!(matches!(
            long_set.put(1, &bins()).await,
            Err(Error::Invalid(_))
        ));
        let Err(Error::UnknownNamespace { name }) =
            client.namespace("nowhere").set("").get(1).await
        else {
            panic!("there is no such namespace");
        };
        assert_eq!(name, "nowhere");
        assert_eq!(sent(&node), 0);
        // And the connection is none the worse for it.
        set.put(1, &bins()).await.unwrap();
        assert_eq!(sent(&node), 1);
    });
}

#[test]
fn records_as_large_as_they_may_be() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("large");
        let bytes = vec![0xA5_u8; 8 * 1024 * 1024 - 100];
        let large = ContentBuilder::new().bin("x", Value::Bytes(bytes.clone()));
        set.put(1, &large).await.unwrap();
        let record = set.get(1).await.unwrap().unwrap();
        assert_eq!(record.get("x"), Some(ValueRef::Bytes(&bytes)));
    });
}

#[test]
fn the_node_describes_itself() {
    run(async {
        let node = MockNode::start();
        let client = connect(&node).await;
        client.ping().await.unwrap();
        let description = client.describe().await.unwrap();
        assert_eq!(
            (description.node_id, description.server_name.as_str()),
            (42, "mock")
        );
        assert_eq!(description.namespaces, ["test"]);
        assert_eq!(client.statistics("").await.unwrap(), "mock_up 1\n");
    });
}

#[test]
fn the_namespace_that_is_meant_is_the_only_one_or_test() {
    for (namespaces, meant) in [
        (vec!["payments"], "payments"),
        (vec!["payments", "test"], "test"),
        (vec!["payments", "carts"], "test"),
    ] {
        run(async {
            let node = MockNode::start_with(MockOptions {
                namespaces: namespaces.into_iter().map(str::to_owned).collect(),
                ..MockOptions::default()
            });
            let client = connect(&node).await;
            assert_eq!(client.default_namespace().await.unwrap().name(), meant);
        });
    }
}
