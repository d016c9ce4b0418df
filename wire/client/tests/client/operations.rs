//! Every operation, once as it should go and once refused.

use std::time::{Duration, SystemTime};

use corelith_client::mock::{MockNode, MockOptions};
use corelith_client::{
    ContentBuilder, Error, Generation, PutMode, RecordMetadata, Status, StepsBuilder, Ttl, Value,
    ValueRef, WriteOptions,
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

#[test]
fn steps_on_one_record() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        // Reads alone make no record.
        let reads = StepsBuilder::new().read("n").read_metadata();
        assert!(set.operate("k", &reads).await.unwrap().is_none());
        assert!(!set.exists("k").await.unwrap());

        let steps = StepsBuilder::new()
            .read("n")
            .add("n", 5)
            .prepend("s", "b")
            .prepend("s", "a")
            .read_metadata()
            .read("n")
            .read_all();
        let done = set.operate("k", &steps).await.unwrap().unwrap();
        assert!(set.exists("k").await.unwrap());
        assert_eq!(done.metadata().unwrap().generation, Generation::FIRST);
        assert_eq!(done.read_count(), 4);
        let seen = |number| -> Vec<(String, String)> {
            let bins = done.read(number);
            bins.map(|bin| (bin.name().to_string(), bin.value().to_string()))
                .collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(seen(0), [pair("n", "nil")]);
        assert_eq!(seen(1), []);
        assert_eq!(seen(2), [pair("n", "5")]);
        assert_eq!(seen(3), [pair("n", "5"), pair("s", "\"ab\"")]);
        assert_eq!(seen(4), []);
        assert_eq!(done.get("n"), Some(ValueRef::Integer(5)));
        assert_eq!(done.get("none"), None);

        let touched = set.operate("k", &StepsBuilder::new().touch()).await;
        let generation = touched.unwrap().unwrap().metadata().unwrap().generation;
        assert_eq!(generation.get(), 2);
        let read = set.operate("k", &reads).await.unwrap().unwrap();
        assert_eq!(read.metadata().unwrap().generation.get(), 2);
        let gone = StepsBuilder::new().read("n").delete();
        let gone = set.operate("k", &gone).await.unwrap().unwrap();
        assert_eq!(gone.metadata(), None);
        assert_eq!(gone.get("n"), Some(ValueRef::Integer(5)));
        assert_eq!(node.record_count(), 0);
    });
}

#[test]
fn steps_that_are_refused() {
    run(async {
        let node = MockNode::start();
        let set = connect(&node).await.namespace("test").set("demo");
        let with = |mode, generation| WriteOptions {
            mode,
            expected_generation: Generation::new(generation),
            ..WriteOptions::default()
        };
        let status = |result: Result<_, Error>| result.unwrap_err().status();
        let add = StepsBuilder::new().add("a", 1);
        let update = with(PutMode::UpdateOnly, 0);
        assert!(set.operate_with(1, &add, &update).await.unwrap().is_none());
        assert!(
            set.operate(1, &StepsBuilder::new().touch())
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            set.operate(1, &StepsBuilder::new().remove("a"))
                .await
                .unwrap()
                .is_none()
        );
        set.put(1, &bins()).await.unwrap();

        let wrong = StepsBuilder::new().add("a", 1).append("a", "x");
        assert_eq!(
            status(set.operate(1, &wrong).await),
            Some(Status::WrongKind)
        );
        let create = set
            .operate_with(1, &add, &with(PutMode::CreateOnly, 0))
            .await;
        assert_eq!(status(create), Some(Status::Exists));
        let other = set.operate_with(1, &add, &with(PutMode::Merge, 9)).await;
        assert_eq!(status(other), Some(Status::GenerationMismatch));
        let touch = StepsBuilder::new().touch();
        let replace = set
            .operate_with(1, &touch, &with(PutMode::Replace, 0))
            .await;
        assert_eq!(status(replace), Some(Status::InvalidArgument));
        let none = set.operate(1, &StepsBuilder::new()).await;
        assert!(matches!(none, Err(Error::Invalid(_))), "{none:?}");
        let record = set.get(1).await.unwrap().unwrap();
        assert_eq!(record.get("a"), Some(ValueRef::Integer(1)));
        assert_eq!(record.generation(), Generation::FIRST);

        let done = set
            .operate_with(1, &add, &with(PutMode::ReplaceOnly, 1))
            .await;
        assert_eq!(
            done.unwrap().unwrap().metadata().unwrap().generation.get(),
            2
        );
        assert_eq!(set.get(1).await.unwrap().unwrap().content().bins().len(), 1);
    });
}
