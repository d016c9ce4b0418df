//! Scans that go on while the table changes under them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;

use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, Index, PartitionId, RecordAddress, RecordLength,
    ScanPosition, SetId, Shard,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn digest(random: &mut ChaCha8Rng) -> Digest {
    let mut bytes = [0; Digest::LENGTH_BYTES];
    random.fill_bytes(&mut bytes);
    bytes[..2].copy_from_slice(&[16, 0]);
    Digest::from_bytes(bytes)
}

fn entry(number: u64) -> Entry {
    Entry {
        address: RecordAddress::from_packed(number + 1).unwrap(),
        length: RecordLength::round_up(100).unwrap(),
        generation: Generation::FIRST,
        expiry: ExpirySeconds::NEVER,
        set: SetId::NONE,
        is_damaged: false,
        is_moved: false,
    }
}

fn partition() -> PartitionId {
    PartitionId::new(16).unwrap()
}

/// Scans in steps of `count_max`; between two steps, `change` changes the table. Checks that positions ascend and
/// gives the addresses that were met.
fn scan(
    index: &mut Index,
    count_max: usize,
    mut change: impl FnMut(&mut Index),
) -> Vec<RecordAddress> {
    let mut found = Vec::new();
    let mut from = Some(ScanPosition::START);
    while let Some(position) = from {
        let step_start = found.len();
        from = index.scan(partition(), position, count_max, &mut found);
        let step = &found[step_start..];
        assert!(step.is_sorted_by_key(|scanned| scanned.position));
        assert!(step.iter().all(|scanned| scanned.position >= position));
        assert!(
            step.iter()
                .all(|scanned| from.is_none_or(|next| scanned.position < next))
        );
        change(index);
    }
    found.iter().map(|scanned| scanned.entry.address).collect()
}

/// Entries that stay throughout are met exactly once, whatever happens to the others.
fn check(count_max: usize, others_before: u64, change_count: u64, is_growing: bool) {
    let random = &mut ChaCha8Rng::seed_from_u64(others_before + change_count);
    let mut index = Index::new(Shard::new(0, 16).unwrap(), u64::MAX);
    let mut others = Vec::new();
    let mut number = 0;
    let mut add = |index: &mut Index, others: &mut Vec<(Digest, u64)>| {
        let digest = digest(random);
        index.insert(&digest, entry(number)).unwrap();
        others.push((digest, number));
        number += 1;
    };
    for _ in 0..20_000 {
        add(&mut index, &mut others);
    }
    let stay: HashSet<RecordAddress> = others
        .drain(..)
        .map(|(_, number)| entry(number).address)
        .collect();
    for _ in 0..others_before {
        add(&mut index, &mut others);
    }
    let met = scan(&mut index, count_max, |index| {
        for _ in 0..change_count {
            if is_growing {
                add(index, &mut others);
            } else if let Some((digest, number)) = others.pop() {
                assert!(index.remove(&digest, entry(number).address).is_some());
            }
        }
    });
    let distinct: HashSet<RecordAddress> = met.iter().copied().collect();
    assert_eq!(distinct.len(), met.len(), "an entry was met twice");
    assert_eq!(
        stay.difference(&distinct).count(),
        0,
        "an entry was not met"
    );
}

#[test]
fn table_that_does_not_change() {
    check(100, 0, 0, true);
    check(1, 0, 0, true);
    check(usize::MAX, 0, 0, true);
}

#[test]
fn table_that_grows() {
    check(100, 0, 500, true);
    check(7, 1000, 20, true);
}

#[test]
fn table_that_shrinks() {
    check(100, 100_000, 400, false);
    check(7, 50_000, 20, false);
}

#[test]
fn replaced_entries_are_met_once() {
    let random = &mut ChaCha8Rng::seed_from_u64(5);
    let mut index = Index::new(Shard::new(0, 16).unwrap(), u64::MAX);
    let digests: Vec<Digest> = (0..3000).map(|_| digest(random)).collect();
    for (digest, number) in digests.iter().zip(0..) {
        index.insert(digest, entry(number)).unwrap();
    }
    let mut turn = 0;
    let met = scan(&mut index, 50, |index| {
        for (digest, number) in digests.iter().zip(0..) {
            let old = entry(number + 10_000 * turn).address;
            let new = entry(number + 10_000 * (turn + 1));
            assert!(index.replace(digest, old, new).is_some());
        }
        turn += 1;
    });
    assert!(turn > 30);
    let mut numbers: Vec<u64> = met
        .iter()
        .map(|address| (address.packed() - 1) % 10_000)
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..3000));
}

#[test]
fn scan_goes_on_from_a_digest() {
    let random = &mut ChaCha8Rng::seed_from_u64(6);
    let mut index = Index::new(Shard::new(0, 16).unwrap(), u64::MAX);
    let mut digests: Vec<Digest> = (0..1000).map(|_| digest(random)).collect();
    for (digest, number) in digests.iter().zip(0..) {
        index.insert(digest, entry(number)).unwrap();
    }
    digests.sort_by_key(ScanPosition::of);
    let after = ScanPosition::of(&digests[499]).next().unwrap();
    assert_eq!(ScanPosition::from_number(after.get()), after);
    let mut found = Vec::new();
    assert_eq!(index.scan(partition(), after, 1000, &mut found), None);
    let positions: Vec<ScanPosition> = found.iter().map(|scanned| scanned.position).collect();
    let expected: Vec<ScanPosition> = digests[500..].iter().map(ScanPosition::of).collect();
    assert_eq!(positions, expected);
}

#[test]
fn sparse_table_is_scanned_in_bounded_steps() {
    let random = &mut ChaCha8Rng::seed_from_u64(8);
    let mut index = Index::new(Shard::new(0, 16).unwrap(), u64::MAX);
    // All in one corner of the directory: most of its slots are empty.
    for number in 0..20_000 {
        let mut bytes = *digest(random).as_bytes();
        bytes[2..6].copy_from_slice(&[0xff; 4]);
        index
            .insert(&Digest::from_bytes(bytes), entry(number))
            .unwrap();
    }
    let (mut found, mut step_count) = (Vec::new(), 0);
    let mut from = Some(ScanPosition::START);
    while let Some(position) = from {
        from = index.scan(partition(), position, 10, &mut found);
        step_count += 1;
    }
    assert_eq!(found.len(), 20_000);
    assert!(
        step_count > 2000 + 5,
        "{step_count} steps: some have met nothing but empty slots"
    );
}
