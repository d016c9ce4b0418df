//! Random operations on the index and on an ordered map, compared after every one of them.
//!
//! The digests of a run are of one shape: spread like hashes, all in one partition, sharing long
//! prefixes of their tags, or sharing whole tags.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, Index, InsertError, PartitionId, RecordAddress,
    RecordLength, ScanPosition, Scanned, SetId, Shard, limits,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the digests of a run are spread.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Like hashes over all partitions of the shard.
    Spread,
    /// Like hashes within one partition.
    OnePartition,
    /// In one partition, alike in the 48 bits of the tag by which the directory divides first.
    SharedLowBits,
    /// In one partition, alike in the 48 bits of the tag by which entries are found in a group.
    SharedHighBits,
    /// In one partition, with one of a few hundred tags.
    SharedTags,
}

const SHAPES: [Shape; 5] = [
    Shape::Spread,
    Shape::OnePartition,
    Shape::SharedLowBits,
    Shape::SharedHighBits,
    Shape::SharedTags,
];

/// What is looked up by digest, and in the order in which a scan has to give it.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(PartitionId, ScanPosition), Vec<Entry>>,
    len: u64,
}

struct Run {
    random: ChaCha8Rng,
    shape: Shape,
    shard: Shard,
    index: Index,
    model: Model,
    /// Keys that were inserted; those removed since are still among them until they are met.
    keys: Vec<(Digest, RecordAddress)>,
    address_next: u64,
    crowded_count: u64,
}

impl Run {
    fn new(seed: u64, shape: Shape) -> Self {
        let shard = Shard::new(3, 8).unwrap();
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            shape,
            shard,
            index: Index::new(shard, u64::MAX),
            model: Model::default(),
            keys: Vec::new(),
            address_next: 1,
            crowded_count: 0,
        }
    }

    fn digest(&mut self) -> Digest {
        let mut bytes = [0; Digest::LENGTH_BYTES];
        self.random.fill_bytes(&mut bytes);
        let rank = self.random.random_range(0..self.shard.partition_count());
        let rank = if matches!(self.shape, Shape::Spread) {
            rank
        } else {
            5
        };
        let partition = rank * self.shard.count() + self.shard.number();
        let number = partition | u16::from(bytes[1]) << 12;
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        match self.shape {
            Shape::Spread | Shape::OnePartition => {}
            Shape::SharedLowBits => {
                let bits = self.random.random_range(0..3_u8);
                bytes[2..8].copy_from_slice(&[bits.wrapping_mul(0x7f), 0, 0xff, 0, 0, bits]);
            }
            Shape::SharedHighBits => {
                let bits = self.random.random_range(0..3_u8);
                bytes[4..10].copy_from_slice(&[bits.wrapping_mul(0x7f), 0, 0xff, 0, 0, bits]);
            }
            Shape::SharedTags => {
                let tag = self.random.random_range(0..300_u64);
                let tag = if tag < 290 { tag << 55 } else { u64::MAX - tag };
                bytes[2..10].copy_from_slice(&tag.to_le_bytes());
            }
        }
        Digest::from_bytes(bytes)
    }

    fn entry(&mut self) -> Entry {
        let address = RecordAddress::from_packed(self.address_next).unwrap();
        self.address_next += 1;
        Entry {
            address,
            length: RecordLength::round_up(self.random.random_range(0..100_000)).unwrap(),
            generation: Generation::new(self.random.random_range(1..=u16::MAX)).unwrap(),
            expiry: ExpirySeconds::new(self.random.random()),
            set: SetId::new(self.random.random_range(0..SetId::COUNT)).unwrap(),
            is_damaged: self.random.random_bool(0.1),
            is_moved: self.random.random_bool(0.1),
        }
    }

    fn insert(&mut self) {
        let (digest, entry) = (self.digest(), self.entry());
        let key = (digest.partition(), ScanPosition::of(&digest));
        let same_tag_count = self.model.entries.get(&key).map_or(0, Vec::len);
        let result = self.index.insert(&digest, entry);
        if same_tag_count >= limits::SAME_TAG_COUNT_MAX {
            assert_eq!(result, Err(InsertError::TagCrowded { same_tag_count }));
            self.crowded_count += 1;
        } else {
            assert_eq!(result, Ok(()));
            self.model.entries.entry(key).or_default().push(entry);
            self.model.len += 1;
            self.keys.push((digest, entry.address));
        }
        self.check(&digest);
    }

    /// Removes or replaces an entry that is there, by its address or by one where nothing lies.
    fn change(&mut self, is_removal: bool) {
        if self.keys.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.keys.len());
        let (digest, address) = self.keys[place];
        let key = (digest.partition(), ScanPosition::of(&digest));
        let twins = self.model.entries.get_mut(&key).unwrap();
        let twin = twins
            .iter()
            .position(|entry| entry.address == address)
            .unwrap();
        if self.random.random_bool(0.1) {
            let nowhere = RecordAddress::from_packed(RecordAddress::PACKED_MAX).unwrap();
            assert_eq!(self.index.remove(&digest, nowhere), None);
        } else if is_removal {
            assert_eq!(
                self.index.remove(&digest, address),
                Some(twins.remove(twin))
            );
            if twins.is_empty() {
                self.model.entries.remove(&key);
            }
            self.model.len -= 1;
            self.keys.swap_remove(place);
        } else {
            let old = twins[twin];
            let new = self.entry();
            assert_eq!(self.index.replace(&digest, address, new), Some(old));
            self.model.entries.get_mut(&key).unwrap()[twin] = new;
            self.keys[place].1 = new.address;
        }
        self.check(&digest);
    }

    fn check(&mut self, digest: &Digest) {
        for digest in [*digest, self.digest()] {
            let key = (digest.partition(), ScanPosition::of(&digest));
            let expected = self.model.entries.get(&key).map_or(&[][..], Vec::as_slice);
            let candidates = self.index.lookup(&digest);
            assert_eq!(candidates.len(), expected.len());
            assert_eq!(candidates.clone().only().is_some(), expected.len() == 1);
            assert!(candidates.eq(expected.iter().copied()), "{digest:?}");
        }
        assert_eq!(self.index.len(), self.model.len);
    }

    /// Scans everything in steps of random length and compares it with the model.
    fn check_all(&mut self) {
        let mut found = Vec::new();
        for partition in self.shard.partitions() {
            let before = found.len();
            let mut from = Some(ScanPosition::START);
            while let Some(position) = from {
                let count_max = self.random.random_range(0..200);
                let step_start = found.len();
                from = self.index.scan(partition, position, count_max, &mut found);
                let most = count_max.max(1) + limits::SAME_TAG_COUNT_MAX - 1;
                assert!(found.len() - step_start <= most);
                assert!(from.is_none_or(|next| next > position));
            }
            let partition_count = u64::try_from(found.len() - before).unwrap();
            assert_eq!(self.index.partition_len(partition), partition_count);
        }
        let expected = self
            .model
            .entries
            .iter()
            .flat_map(|((_, position), twins)| {
                twins.iter().map(|entry| Scanned {
                    position: *position,
                    entry: *entry,
                })
            });
        assert!(found.into_iter().eq(expected));
    }

    /// Waves of growth and shrinking, the last one down to nothing.
    fn run(mut self, operation_count: u64, wave: u64) -> Self {
        for operation in 0..operation_count {
            let is_growing = (operation / wave).is_multiple_of(2);
            let insert_chance = if is_growing { 0.6 } else { 0.25 };
            if self.random.random_bool(insert_chance) {
                self.insert();
            } else {
                let is_removal = self.random.random_bool(0.6);
                self.change(is_removal);
            }
            if operation % (operation_count / 20).max(1) == 0 {
                self.check_all();
            }
        }
        self.check_all();
        while !self.keys.is_empty() {
            self.change(true);
            if self.random.random_bool(0.01) {
                self.insert();
            }
        }
        self.check_all();
        assert!(self.index.is_empty());
        self
    }
}

#[test]
fn digests_spread_like_hashes() {
    for seed in 0..3 {
        Run::new(seed, Shape::Spread).run(400_000, 90_000);
    }
}

#[test]
fn digests_of_one_partition() {
    for seed in 10..13 {
        Run::new(seed, Shape::OnePartition).run(400_000, 90_000);
    }
}

#[test]
fn digests_that_share_low_bits() {
    for seed in 20..23 {
        Run::new(seed, Shape::SharedLowBits).run(200_000, 45_000);
    }
}

#[test]
fn digests_that_share_high_bits() {
    for seed in 30..33 {
        Run::new(seed, Shape::SharedHighBits).run(200_000, 45_000);
    }
}

#[test]
fn digests_that_share_whole_tags() {
    for seed in 40..43 {
        let run = Run::new(seed, Shape::SharedTags).run(200_000, 60_000);
        assert!(
            run.crowded_count > 100,
            "the bound on one tag was met {}",
            run.crowded_count
        );
    }
}

#[test]
fn many_small_waves() {
    for seed in 100..120 {
        for shape in SHAPES {
            Run::new(seed, shape).run(5_000, 700);
        }
    }
}

/// The long form: `cargo test --release -p corelith-index --test model -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn hundred_million_operations() {
    for seed in 1000..1005 {
        Run::new(seed, Shape::Spread).run(10_000_000, 3_000_000);
        Run::new(seed, Shape::OnePartition).run(5_000_000, 1_500_000);
        Run::new(seed, Shape::SharedLowBits).run(3_000_000, 600_000);
        Run::new(seed, Shape::SharedHighBits).run(3_000_000, 600_000);
        Run::new(seed, Shape::SharedTags).run(2_000_000, 600_000);
    }
}
