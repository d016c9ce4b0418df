//! Pages of scans: bounded in what they cost, several at once and no more, and complete together.

use std::collections::BTreeSet;

use corelith_index::{Digest, PartitionId};
use corelith_wire::{
    Answer, BinSelection, Commit, PartitionList, PutMode, PutRequest, Request, ScanRequest, Status,
    Ttl,
};

use crate::peer::{Peer, check_serves, content, digest};
use crate::running::Node;

/// The partitions of the first of four shards.
fn partitions() -> Vec<PartitionId> {
    PartitionId::all().filter(|id| id.get() % 4 == 0).collect()
}

/// A digest in the first shard.
fn in_shard(key: u64) -> Digest {
    let mut bytes = *digest(key).as_bytes();
    bytes[0] &= !3;
    Digest::from_bytes(bytes)
}

fn put_in<'a>(key: u64, set: &'a str, content: &'a [u8]) -> Request<'a> {
    Request::Put(PutRequest {
        digest: in_shard(key),
        mode: PutMode::Replace,
        ttl: Ttl::Never,
        expected_generation: None,
        commit: Commit::NamespaceDefault,
        set,
        content,
    })
}

/// Puts many, some hundred at a time.
fn fill(peer: &mut Peer, keys: std::ops::Range<u64>, set: &str, text: &str) {
    let content = content("v", text);
    let keys: Vec<u64> = keys.collect();
    for some in keys.chunks(500) {
        let frames: Vec<u8> = some
            .iter()
            .flat_map(|key| peer.frame(&put_in(*key, set, &content)))
            .collect();
        peer.send(&frames);
        for _ in some {
            assert_eq!(peer.receive().unwrap().status(), Status::Ok);
        }
    }
}

/// What a scan of the first shard found, and in how many pages.
fn scan(peer: &mut Peer, set: Option<&str>) -> (BTreeSet<Digest>, usize) {
    let mut partitions = partitions();
    let mut resume = Vec::new();
    let mut found = BTreeSet::new();
    let mut page_count = 0;
    while !partitions.is_empty() {
        let answered = peer.ask(&Request::Scan(ScanRequest {
            partitions: PartitionList::new(&partitions),
            resume: &resume,
            set,
            selection: BinSelection::All,
            records_max: 0,
            payload_length_bytes_max: 0,
        }));
        let Answer::Page(page) = answered.decode() else {
            panic!("{:?}", answered.decode());
        };
        for record in page.records() {
            assert!(found.insert(record.digest), "{} came twice", record.digest);
        }
        let before = (partitions.len(), resume);
        partitions.drain(..usize::from(page.partitions_done()));
        resume = page.resume().to_vec();
        assert_ne!(
            (partitions.len(), resume.clone()),
            before,
            "a page leads on"
        );
        page_count += 1;
    }
    (found, page_count)
}

#[test]
fn a_page_looks_at_so_much_and_reads_only_its_set() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    fill(&mut peer, 0..20_000, "", "of no set");
    fill(&mut peer, 20_000..20_010, "few", "of a small set");
    let reads = || node.metric("corelith_record_reads_total", &[]);
    let before = reads();
    let (few, page_count) = scan(&mut peer, Some("few"));
    let expected: BTreeSet<Digest> = (20_000..20_010).map(in_shard).collect();
    assert_eq!(few, expected);
    // At most, since some may be in the cache.
    assert!(reads() - before <= 10.0, "the index tells the set");
    // 20,010 entries and a step for each of 1,024 partitions, 8,192 a page.
    assert_eq!(page_count, 3);
    let (all, page_count) = scan(&mut peer, None);
    assert_eq!(all.len(), 20_010);
    assert_eq!(page_count, 20_010_usize.div_ceil(512));
    let (none, page_count) = scan(&mut peer, Some("never seen"));
    assert_eq!((none.len(), page_count), (0, 1));
}

#[test]
fn a_page_reads_so_much_from_the_device() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    // 64 records of 256 KiB: named bins of them take no payload.
    fill(&mut peer, 0..64, "", &"x".repeat(256 << 10));
    let mut left = partitions();
    let mut resume = Vec::new();
    let mut page_count = 0;
    while !left.is_empty() {
        let answered = peer.ask(&Request::Scan(ScanRequest {
            partitions: PartitionList::new(&left),
            resume: &resume,
            set: None,
            selection: BinSelection::MetadataOnly,
            records_max: 0,
            payload_length_bytes_max: 0,
        }));
        let Answer::Page(page) = answered.decode() else {
            panic!("{:?}", answered.decode());
        };
        assert!(page.len() <= 16, "{} of 256 KiB", page.len());
        left.drain(..usize::from(page.partitions_done()));
        resume = page.resume().to_vec();
        page_count += 1;
    }
    assert!((4..=6).contains(&page_count), "{page_count}");
}

#[test]
fn so_many_pages_at_once_and_no_more() {
    let node = Node::start();
    let mut peer = Peer::greet(&node);
    fill(&mut peer, 0..2000, "", "some text");
    let partitions = partitions();
    // A connection's turns pay for few pages at once: it takes many connections to meet the bound, and some rounds
    // until more pages come than are answered meanwhile.
    let mut peers: Vec<Peer> = (0..64).map(|_| Peer::greet(&node)).collect();
    let mut statuses = Vec::new();
    for _ in 0..500 {
        for peer in &mut peers {
            let frame = peer.frame(&Request::Scan(ScanRequest {
                partitions: PartitionList::new(&partitions),
                resume: &[],
                set: None,
                selection: BinSelection::All,
                records_max: 0,
                payload_length_bytes_max: 0,
            }));
            peer.send(&frame);
        }
        statuses.extend(
            peers
                .iter_mut()
                .map(|peer| peer.receive().unwrap().status()),
        );
        if statuses.contains(&Status::Busy) {
            break;
        }
    }
    assert!(statuses.contains(&Status::Busy), "no page was one too many");
    let of = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert!(of(Status::Ok) >= 16);
    assert_eq!(of(Status::Ok) + of(Status::Busy), statuses.len());
    // Places come back.
    for _ in 0..40 {
        assert_eq!(scan(&mut peer, None).0.len(), 2000);
    }
    check_serves(&node);
}
