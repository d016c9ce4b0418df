//! The page against its list, and against what was counted.

use std::collections::BTreeMap;

use corelith_index::Digest;
use corelith_io::{DeviceStatistics, OperationStatistics};
use corelith_store::{RecoveryReport, ShardStatistics};
use corelith_wire::{MessageKind, Status};

use super::counters::bump;
use super::snapshot::{DeviceSnapshot, ShardSnapshot};
use super::*;
use crate::configuration::Configuration;
use crate::hot_keys::HotKeys;
use crate::memory_plan::MemoryPlan;

/// Figures of one namespace in which every family has a sample.
fn namespace(name: &str, outcomes: &Outcomes, shard: u16) -> NamespaceSnapshot {
    let statistics = DeviceStatistics {
        reads: OperationStatistics {
            count: 5,
            bytes: 20_480,
            ..OperationStatistics::default()
        },
        ..DeviceStatistics::default()
    };
    let hot_keys = HotKeys::default();
    for _ in 0..1000 {
        hot_keys.count(|| Some(Digest::from_bytes([0xab; 20])));
    }
    NamespaceSnapshot {
        name: name.into(),
        hot_keys: hot_keys.snapshot(),
        operations: outcomes.snapshot(),
        shards: vec![ShardSnapshot {
            shard,
            statistics: ShardStatistics {
                records: 11,
                ..ShardStatistics::default()
            },
            recovery: RecoveryReport::default(),
        }],
        devices: vec![DeviceSnapshot {
            name: "/dev/nvme0n1".into(),
            statistics,
        }],
    }
}

fn full_page() -> String {
    let outcomes = Outcomes::default();
    outcomes.count(MessageKind::Get, Status::Ok);
    outcomes.count(MessageKind::Get, Status::Ok);
    outcomes.count(MessageKind::Put, Status::InDoubt);
    outcomes.took(MessageKind::Get, 15_000);
    outcomes.took(MessageKind::Get, 3_000_000);
    let snapshots = [0, 1].map(|core| {
        let metrics = CoreMetrics::new();
        bump(&metrics.requests);
        metrics.refused(Status::UnknownNamespace);
        let mut snapshot = metrics.snapshot(core);
        snapshot.namespaces = vec![
            namespace("test", &outcomes, core),
            namespace("a \"quoted\" \\ name", &outcomes, core),
        ];
        snapshot
    });
    let memory = MemoryPlan::new(&Configuration::default(), 1, &[]).unwrap();
    let node = NodeFigures {
        states: vec![("loading", false), ("serving", true)],
        memory: &memory,
    };
    render(&node, &snapshots)
}

#[test]
fn the_page_has_what_was_counted() {
    let page = full_page();
    let has = |line: &str| {
        let count = page.lines().filter(|found| *found == line).count();
        assert_eq!(count, 1, "{line}\n{page}");
    };
    has(r#"corelith_operations_total{core="1",namespace="test",operation="get",status="ok"} 2"#);
    has(
        r#"corelith_operations_total{core="0",namespace="a \"quoted\" \\ name",operation="put",status="in_doubt"} 1"#,
    );
    let duration = |end: &str| format!(r#"corelith_request_duration_seconds_{end}"#,);
    let labels = r#"core="0",namespace="test",operation="get""#;
    has(&duration(&format!("bucket{{{labels},le=\"0.00001\"}} 0")));
    has(&duration(&format!("bucket{{{labels},le=\"0.00002\"}} 1")));
    has(&duration(&format!("bucket{{{labels},le=\"0.005\"}} 2")));
    has(&duration(&format!("bucket{{{labels},le=\"+Inf\"}} 2")));
    has(&duration(&format!("sum{{{labels}}} 0.003015")));
    has(&duration(&format!("count{{{labels}}} 2")));
    let digest = "ab".repeat(20);
    has(&format!(
        r#"corelith_hot_key_share{{core="1",namespace="test",digest="{digest}"}} 0.5"#
    ));
    has(r#"corelith_requests_total{core="1"} 1"#);
    has(r#"corelith_requests_refused_total{core="0",status="unknown_namespace"} 1"#);
    has(r#"corelith_records{namespace="test",shard="1"} 11"#);
    has(
        r#"corelith_device_bytes_total{core="1",namespace="test",device="/dev/nvme0n1",operation="read"} 20480"#,
    );
    has(r#"corelith_device_fenced{namespace="test",device="/dev/nvme0n1"} 0"#);
    has(r#"corelith_state{state="serving"} 1"#);
}

#[test]
fn a_prefix_selects_families() {
    let snapshots = [CoreMetrics::new().snapshot(0)];
    let mut page = Page::new(&snapshots, "corelith_connections");
    while page.step() {}
    let text = page.into_text();
    assert!(text.contains("corelith_connections{core=\"0\"} 0\n"));
    assert!(!text.contains("corelith_requests_total"));
}

/// Kind, labels and meaning of a family.
type Listed = (String, String, String);

/// The families of a page, with the labels of their samples.
fn families_of(page: &str) -> BTreeMap<String, Listed> {
    let mut families: BTreeMap<String, Listed> = BTreeMap::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            let listed = (String::new(), String::new(), help.to_owned());
            let twice = families.insert(name.to_owned(), listed);
            assert!(twice.is_none(), "{name} is there twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            families.get_mut(name).unwrap().0 = kind.to_owned();
        } else {
            let (name, rest) = line.split_once('{').unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|name| families.contains_key(*name))
                .unwrap_or(name);
            let (kind, labels, _) = families.get_mut(family).unwrap();
            if kind == "histogram" && !name.ends_with("_sum") {
                continue;
            }
            // No value of these tests holds an equals sign.
            let names: Vec<&str> = rest
                .split("=\"")
                .filter_map(|part| part.rsplit(['{', ',']).next())
                .collect();
            *labels = names[..names.len() - 1].join(", ");
        }
    }
    families
}

/// The families of the list.
fn listed() -> BTreeMap<String, Listed> {
    let list = include_str!("../../METRICS.md");
    let rows = list
        .lines()
        .filter(|line| line.starts_with("| `corelith_"))
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let listed: Vec<(String, Listed)> = rows
        .map(|row| {
            let (name, rest) = row.split_once("` | ").unwrap();
            let cells: Vec<&str> = rest.split(" | ").collect();
            let [kind, labels, meaning] = cells[..] else {
                panic!("{row}")
            };
            let cells = (kind.to_owned(), labels.to_owned(), meaning.to_owned());
            (name.to_owned(), cells)
        })
        .collect();
    let count = listed.len();
    let listed: BTreeMap<_, _> = listed.into_iter().collect();
    assert_eq!(listed.len(), count, "a family is listed twice");
    listed
}

#[test]
fn the_page_and_its_list_name_the_same_families() {
    let page = families_of(&full_page());
    let rows = |families: &BTreeMap<String, Listed>| -> Vec<String> {
        let row = |(name, (kind, labels, help)): (&String, &Listed)| {
            format!("| `{name}` | {kind} | {labels} | {help} |")
        };
        families.iter().map(row).collect()
    };
    assert_eq!(
        rows(&page),
        rows(&listed()),
        "the page, and node/METRICS.md"
    );
}

#[test]
fn names_follow_the_conventions() {
    for (name, (kind, labels, _)) in families_of(&full_page()) {
        assert!(!labels.is_empty(), "{name} has no sample here");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        // A gauge may be a time as well.
        let is_time = name.ends_with("_seconds");
        assert!(is_time || kind != "histogram", "{name}");
        assert!(!is_time || kind != "counter", "{name}");
    }
}
