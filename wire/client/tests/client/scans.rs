//! Scans: everything once, in pages of any size, over broken connections, and only what was asked for.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use corelith_client::mock::{Fault, MockNode};
use corelith_client::{
    Client, ClientOptions, ContentBuilder, Damage, Error, Key, KnownDigest, PartitionId, ScanBins,
    ScanOptions, Scanned, Status, ValueRef, WriteOptions, digest_of,
};
use corelith_index::ScanPosition;
use corelith_wire::MessageKind;
use futures_util::StreamExt;

use crate::{connect_with, patient, run};

const RECORD_COUNT: i64 = 500;

async fn filled(node: &MockNode, options: ClientOptions) -> Client {
    let client = connect_with(node, options).await;
    for set in ["one", "two"] {
        let set = client.namespace("test").set(set);
        let keyed = WriteOptions {
            store_key: true,
            ..WriteOptions::default()
        };
        for key in 0..RECORD_COUNT {
            let bins = ContentBuilder::new().bin("n", key).bin("text", "abc");
            set.put_with(key, &bins, &keyed).await.unwrap();
        }
    }
    client
}

async fn numbers(client: &Client, options: ScanOptions) -> Vec<i64> {
    let mut scan = client.namespace("test").scan(options);
    let mut numbers = Vec::new();
    while let Some(found) = scan.next().await.unwrap() {
        let found = found.readable().unwrap();
        let Some(ValueRef::Integer(number)) = found.record.get("n") else {
            panic!("{found:?}")
        };
        numbers.push(number);
    }
    numbers.sort_unstable();
    numbers
}

#[test]
fn no_more_than_so_many_and_one_page_at_a_time_where_there_is_a_rate() {
    run(async {
        let node = MockNode::start();
        let client = filled(&node, patient()).await;
        for limit in [0, 1, 499] {
            let options = ScanOptions {
                set: Some("one".to_owned()),
                record_count_max: Some(limit),
                ..ScanOptions::default()
            };
            assert_eq!(numbers(&client, options).await.len() as u64, limit);
        }
        let served = |node: &MockNode| -> u64 {
            let ports = node.core_ports().iter();
            ports.map(|port| node.served_count(*port)).sum()
        };
        let before = served(&node);
        let paced = ScanOptions {
            record_count_max: Some(100),
            records_per_second: NonZeroU32::new(400),
            ..ScanOptions::default()
        };
        assert_eq!(numbers(&client, paced).await.len(), 100);
        // Pages of 40, and perhaps the one after them.
        let page_count = served(&node) - before;
        assert!((3..=4).contains(&page_count), "{page_count}");
    });
}

#[test]
fn everything_once_whatever_the_pages() {
    run(async {
        let node = MockNode::start();
        let client = filled(&node, patient()).await;
        let all: Vec<i64> = (0..RECORD_COUNT).collect();
        for (page_record_count, page_length_bytes, parallel_count) in [
            (1000, 1 << 20, 4),
            (1, 1 << 20, 8),
            (7, 100, 3),
            (1000, 1, 1),
            (0, 0, 0),
        ] {
            let options = ScanOptions {
                set: Some("one".to_owned()),
                page_record_count,
                page_length_bytes,
                parallel_count,
                ..ScanOptions::default()
            };
            assert_eq!(
                numbers(&client, options).await,
                all,
                "pages of {page_record_count}"
            );
        }
        let both = numbers(&client, ScanOptions::default()).await;
        assert_eq!(both.len(), 2 * all.len());
    });
}

#[test]
fn only_what_was_asked_for() {
    run(async {
        let node = MockNode::start();
        let client = filled(&node, patient()).await;
        let namespace = client.namespace("test");

        let partitions: Vec<PartitionId> = PartitionId::all().step_by(3).collect();
        let options = ScanOptions {
            partitions: Some(partitions.clone()),
            ..ScanOptions::default()
        };
        let mut scan = namespace.scan(options);
        let mut found = 0;
        while let Some(found_one) = scan.next().await.unwrap() {
            let record = found_one.readable().unwrap();
            assert!(partitions.contains(&record.digest.partition()));
            found += 1;
        }
        assert!(
            found > 200 && found < 500,
            "{found} of 1000 in a third of the partitions"
        );

        let keys = ScanOptions {
            bins: ScanBins::Named(Vec::new()),
            ..ScanOptions::default()
        };
        let mut scan = namespace.scan(keys);
        let mut seen = BTreeSet::new();
        while let Some(found) = scan.next().await.unwrap() {
            let found = found.readable().unwrap();
            assert_eq!(found.record.content().bins().len(), 0);
            seen.insert((
                found.set.to_string(),
                found.record.key().unwrap().to_string(),
            ));
        }
        assert_eq!(seen.len(), 1000);

        let bare = ScanOptions {
            bins: ScanBins::MetadataOnly,
            ..ScanOptions::default()
        };
        let mut scan = namespace.scan(bare);
        let first = scan.next().await.unwrap().unwrap().readable().unwrap();
        assert!(first.record.content_bytes().is_empty());

        let empty = ScanOptions {
            set: Some("none".to_owned()),
            ..ScanOptions::default()
        };
        assert_eq!(namespace.scan(empty).next().await.unwrap(), None);
    });
}

#[test]
fn a_partition_is_gone_on_with_from_a_token_that_was_kept() {
    run(async {
        let node = MockNode::start();
        let mut client = filled(&node, patient()).await;
        let options = std::sync::Arc::new(ScanOptions {
            page_record_count: 1,
            ..ScanOptions::default()
        });
        let mut seen = BTreeSet::new();
        let mut pages = 0;
        for partition in PartitionId::all() {
            let mut resume = Vec::new();
            loop {
                let namespace = client.namespace("test");
                let page = namespace.scan_page(partition, &resume, &options);
                let page = page.await.unwrap();
                for found in page.found {
                    let record = found.readable().unwrap();
                    assert_eq!(record.digest.partition(), partition);
                    assert!(seen.insert(record.digest), "{} twice", record.digest);
                }
                pages += 1;
                resume = page.resume;
                if page.is_last {
                    break;
                }
                // A program that begins anew has nothing but the token.
                if pages % 500 == 0 {
                    let address = node.address().to_string();
                    client = Client::connect(&address, patient()).await.unwrap();
                }
            }
        }
        assert_eq!(seen.len(), 1000);
        assert!(pages > 4096, "some partitions have several pages");
    });
}

#[test]
fn broken_connections_cost_a_page() {
    run(async {
        let node = MockNode::start();
        let options = ClientOptions {
            retry_count_max: 20,
            ..patient()
        };
        let client = filled(&node, options).await;
        for _ in 0..5 {
            node.inject(MessageKind::Scan, Fault::CloseAfter);
        }
        let options = ScanOptions {
            page_record_count: 10,
            ..ScanOptions::default()
        };
        assert_eq!(numbers(&client, options).await.len(), 1000);
        assert_eq!(node.pending_fault_count(), 0);
    });
}

#[test]
fn an_error_ends_a_scan() {
    run(async {
        let node = MockNode::start();
        let client = filled(&node, patient()).await;
        node.inject(MessageKind::Scan, Fault::CloseBefore);
        let mut scan = client.namespace("test").scan(ScanOptions::default());
        let mut last = scan.next().await;
        while matches!(last, Ok(Some(_))) {
            last = scan.next().await;
        }
        assert!(matches!(last, Err(Error::Disconnected(_))), "{last:?}");
        assert_eq!(scan.next().await.unwrap(), None);

        let mut scan = client.namespace("nowhere").scan(ScanOptions::default());
        assert!(matches!(
            scan.next().await,
            Err(Error::UnknownNamespace { .. })
        ));
    });
}

#[test]
fn damaged_records_are_named_and_the_scan_goes_on() {
    run(async {
        let node = MockNode::start();
        let client = filled(&node, patient()).await;
        let key = |key: i64| digest_of("one", &Key::from(key).as_key_ref().unwrap());
        let harm = [
            (7, Damage::Header),
            (8, Damage::Content),
            (9, Damage::Device),
        ];
        for (number, damage) in harm {
            assert!(node.damage("test", key(number), damage));
        }
        for page_record_count in [1000, 1] {
            let options = ScanOptions {
                page_record_count,
                ..ScanOptions::default()
            };
            let mut scan = client.namespace("test").scan(options);
            let (mut read_count, mut damaged) = (0, Vec::new());
            while let Some(found) = scan.next().await.unwrap() {
                match found {
                    Scanned::Record(_) => read_count += 1,
                    Scanned::Damaged(record) => damaged.push(record),
                }
            }
            assert_eq!(read_count, 2 * RECORD_COUNT - 3);
            damaged.sort_by_key(|record| record.damage as u8);
            let [header, content, device] = &damaged[..] else {
                panic!("{damaged:?}")
            };
            assert_eq!(header.digest.whole(), None);
            assert_eq!(header.digest.position(), ScanPosition::of(&key(7)));
            assert_eq!(content.digest, KnownDigest::of(&key(8)));
            assert_eq!(device.digest, KnownDigest::of(&key(9)));
            assert!(damaged.iter().all(|record| *record.set == *"one"));
            let text = content.to_string();
            assert!(text.contains(&key(8).to_string()), "{text}");
        }
        let set = client.namespace("test").set("one");
        assert_eq!(
            set.get(8).await.unwrap_err().status(),
            Some(Status::Damaged)
        );
        for number in [7, 8, 9] {
            assert!(set.delete(number).await.unwrap());
        }
        let all = numbers(&client, ScanOptions::default()).await;
        assert_eq!(all.len() as i64, 2 * RECORD_COUNT - 3);
    });
}

#[test]
fn a_scan_is_a_stream() {
    run(async {
        let node = MockNode::start();
        let client = filled(&node, patient()).await;
        let scan = client.namespace("test").set("two").scan();
        let total = scan
            .fold(0, |total, found| async move {
                match found.unwrap().readable().unwrap().record.get("n") {
                    Some(ValueRef::Integer(number)) => total + number,
                    other => panic!("{other:?}"),
                }
            })
            .await;
        assert_eq!(total, RECORD_COUNT * (RECORD_COUNT - 1) / 2);
    });
}
