//! The memory that the index takes while it grows and shrinks, and the room that it asks for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, Index, IndexFull, RecordAddress, RecordLength, SetId,
    Shard, limits,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Keys 0, 1, 2 and so on of a shard, spread like hashes over its partitions.
struct Keys {
    shard: Shard,
    seed: u64,
}

impl Keys {
    fn digest(&self, number: u64) -> Digest {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed << 40 | number);
        let mut bytes = [0; Digest::LENGTH_BYTES];
        random.fill_bytes(&mut bytes);
        let rank = u16::from_le_bytes([bytes[0], bytes[1]]) % self.shard.partition_count();
        let partition = rank * self.shard.count() + self.shard.number();
        bytes[..2].copy_from_slice(&partition.to_le_bytes());
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
}

/// Grows to `record_count` and shrinks to nothing. From `bounded_from` records on, `bytes_max` holds for each at every
/// moment of growth; while it shrinks, a quarter more and the chunks that are kept.
fn check(shard: Shard, record_count: u64, bounded_from: u64, bytes_max: u64) {
    let keys = Keys { shard, seed: 1 };
    let mut index = Index::new(shard, u64::MAX);
    for number in 0..record_count {
        index
            .insert(&keys.digest(number), Keys::entry(number))
            .unwrap();
        let (used, len) = (index.memory_bytes(), index.len());
        assert!(
            len < bounded_from || used <= len * bytes_max,
            "{used} bytes for {len} records"
        );
    }
    for number in 0..record_count {
        assert!(
            index
                .remove(&keys.digest(number), Keys::entry(number).address)
                .is_some()
        );
        let (used, len) = (index.memory_bytes(), index.len());
        assert!(
            used <= len * bytes_max * 5 / 4 + 5_000_000,
            "{used} bytes for {len} records"
        );
    }
    assert!(index.is_empty());
}

#[test]
fn record_costs_at_most_26_bytes_while_the_table_grows() {
    check(Shard::new(0, 8).unwrap(), 600_000, 300_000, 26);
}

#[test]
fn record_costs_at_most_26_bytes_with_few_partitions() {
    check(Shard::new(255, 256).unwrap(), 600_000, 300_000, 26);
}

#[test]
fn record_costs_at_most_26_bytes_with_all_partitions() {
    check(Shard::new(0, 1).unwrap(), 600_000, 500_000, 26);
}

#[test]
fn new_keys_are_admitted_up_to_the_limit() {
    let shard = Shard::new(0, 8).unwrap();
    let keys = Keys { shard, seed: 2 };
    let limit_bytes = 4_000_000;
    let mut index = Index::new(shard, limit_bytes);
    let mut number = 0;
    while index.admit(100).is_ok() {
        for _ in 0..100 {
            index
                .insert(&keys.digest(number), Keys::entry(number))
                .unwrap();
            number += 1;
        }
    }
    let wanted_bytes = 100 * limits::NEW_KEY_BYTES_MAX;
    let used_bytes = index.used_bytes();
    assert_eq!(
        index.admit(100),
        Err(IndexFull {
            used_bytes,
            wanted_bytes,
            limit_bytes
        })
    );
    // Slabs are taken whole, so the limit can be overstepped by a few.
    assert!(used_bytes > limit_bytes - 10_000 && used_bytes < limit_bytes + 100_000);
    assert!(number > 120_000, "{number} keys were admitted");
    // What is there can still be changed and removed, and then there is room again.
    let first = keys.digest(0);
    assert!(
        index
            .replace(&first, Keys::entry(0).address, Keys::entry(number))
            .is_some()
    );
    // At once, although the system has not got the memory back.
    let held_bytes = index.memory_bytes();
    for other in 1..number {
        assert!(
            index
                .remove(&keys.digest(other), Keys::entry(other).address)
                .is_some()
        );
        if other == number / 20 {
            let (held, used) = (index.memory_bytes(), index.used_bytes());
            assert!(
                held > held_bytes - 60_000 && used < held - 100_000,
                "{held} {used}"
            );
            assert_eq!(index.admit(1000), Ok(()));
        }
    }
    assert_eq!(index.admit(1000), Ok(()));
    index.set_memory_limit_bytes(0);
    assert!(index.admit(0).is_err());
}

#[test]
fn tags_are_trusted_while_a_false_match_is_rarer_than_a_read_error() {
    let shard = Shard::new(0, 8).unwrap();
    let keys = Keys { shard, seed: 3 };
    let mut index = Index::new(shard, u64::MAX);
    let partition = keys.digest(0).partition();
    assert!(index.tag_is_trusted(partition));
    index.insert(&keys.digest(0), Keys::entry(0)).unwrap();
    assert_eq!(index.partition_len(partition), 1);
    assert_eq!(
        index.tag_match_chance(partition).to_bits(),
        2.0_f64.powi(-64).to_bits()
    );
    assert!(index.tag_is_trusted(partition));
}
