//! Images of random tables, taken and loaded in every way in which a checkpoint does it, against a plain list.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::ops::Range;

use corelith_index::limits::IMAGE_BYTES_MIN;
use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, ImageError, ImagePosition, Index, RecordAddress,
    RecordLength, ScanPosition, SetId, Shard,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A part of a table, as bytes, with the positions between which it is whole.
struct Page {
    range: Range<ImagePosition>,
    bytes: Vec<u8>,
}

struct Table {
    random: ChaCha8Rng,
    shard: Shard,
    index: Index,
    keys: Vec<(Digest, RecordAddress)>,
    address_next: u64,
    /// Bits of the tag that differ between keys, and partitions that they fall into.
    spread: (u64, u16),
}

type Contents = BTreeMap<(u16, ScanPosition), Vec<Entry>>;

impl Table {
    fn new(seed: u64, spread: (u64, u16)) -> Self {
        let shard = Shard::new(3, 64).unwrap();
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            shard,
            index: Index::new(shard, u64::MAX),
            keys: Vec::new(),
            address_next: 1,
            spread,
        }
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

    fn insert(&mut self, count: usize) {
        for _ in 0..count {
            let mut bytes = [0; Digest::LENGTH_BYTES];
            self.random.fill(&mut bytes);
            let partition = self.random.random_range(0..self.spread.1) * 64 + 3;
            bytes[..2].copy_from_slice(&partition.to_le_bytes());
            let tag = self.random.random::<u64>() & self.spread.0;
            bytes[2..10].copy_from_slice(&tag.to_le_bytes());
            let (digest, entry) = (Digest::from_bytes(bytes), self.entry());
            if self.index.insert(&digest, entry).is_ok() {
                self.keys.push((digest, entry.address));
            }
        }
    }

    fn remove(&mut self, count: usize) {
        for _ in 0..count.min(self.keys.len()) {
            let place = self.random.random_range(0..self.keys.len());
            let (digest, address) = self.keys.swap_remove(place);
            assert!(self.index.remove(&digest, address).is_some());
        }
    }

    /// Images of the whole table in buffers of random sizes; `between` happens after each.
    fn pages(&mut self, mut between: impl FnMut(&mut Self)) -> Vec<Page> {
        let (mut pages, mut at) = (Vec::new(), ImagePosition::START);
        while at < ImagePosition::end(self.shard) {
            let room = self
                .random
                .random_range(IMAGE_BYTES_MIN..5 * IMAGE_BYTES_MIN);
            let mut bytes = vec![0xee; room];
            let (used, next) = self.index.take_image(at, &mut bytes);
            assert!(next > at, "every step leads on");
            bytes.truncate(used);
            pages.push(Page {
                range: at..next,
                bytes,
            });
            at = next;
            between(self);
        }
        pages
    }

    fn contents(&self) -> Contents {
        contents(&self.index)
    }
}

/// Every entry of a table; that it is damaged is not part of an image.
fn contents(index: &Index) -> Contents {
    let mut contents = Contents::new();
    for partition in index.shard().partitions() {
        let mut next = Some(ScanPosition::START);
        while let Some(from) = next {
            let mut found = Vec::new();
            next = index.scan(partition, from, 100, &mut found);
            for scanned in found {
                let key = (partition.get(), scanned.position);
                contents.entry(key).or_default().push(Entry {
                    is_damaged: false,
                    ..scanned.entry
                });
            }
        }
    }
    contents
}

fn load(index: &mut Index, page: &Page, range: &Range<ImagePosition>) -> u64 {
    let loaded = index.load_image(&page.bytes, range, |_, _| true).unwrap();
    loaded.kept_count
}

/// Spread tags in many partitions and in one; tags with the low bits, the high bits, or next to nothing different.
const SPREADS: [(u64, u16); 5] = [
    (u64::MAX, 64),
    (u64::MAX, 1),
    (u64::MAX << 40, 2),
    (u64::MAX >> 40, 2),
    (0x0100_0000_0000_0030, 3),
];

#[test]
fn a_table_comes_back_and_goes_on() {
    for (seed, spread) in (0..).zip(SPREADS) {
        for count in [0, 1, 40, 3_000, 20_000] {
            let mut table = Table::new(seed, spread);
            table.insert(count);
            table.remove(count / 3);
            let mut pages = table.pages(|_| {});
            // In whatever order they are read.
            let turn = table.random.random_range(0..pages.len());
            pages.rotate_left(turn);
            let mut loaded = Index::new(table.shard, u64::MAX);
            let kept: u64 = pages
                .iter()
                .map(|page| load(&mut loaded, page, &page.range))
                .sum();
            assert_eq!(kept, table.index.len());
            assert_eq!(loaded.len(), table.index.len());
            assert_eq!(contents(&loaded), table.contents());
            assert!(loaded.memory_bytes() <= table.index.memory_bytes() * 5 / 4 + (1 << 20));
            // It is a table like any other.
            table.index = loaded;
            table.insert(500);
            table.remove(count / 2);
            for (digest, address) in table.keys.clone() {
                assert!(
                    table
                        .index
                        .lookup(&digest)
                        .any(|entry| entry.address == address)
                );
            }
            table.remove(usize::MAX);
            assert!(table.index.is_empty());
            assert!(table.contents().is_empty());
        }
    }
}

#[test]
fn pages_of_different_moments_fit_together() {
    for (seed, spread) in (10..).zip(SPREADS) {
        let mut table = Table::new(seed, spread);
        table.insert(4_000);
        // A table that grows and shrinks while images of it are taken. What each page holds is what was there then.
        let mut expected = Contents::new();
        let mut pages = Vec::new();
        let mut at = ImagePosition::START;
        while at < ImagePosition::end(table.shard) {
            let mut bytes = vec![0; 2 * IMAGE_BYTES_MIN];
            let (used, next) = table.index.take_image(at, &mut bytes);
            bytes.truncate(used);
            let range = at..next;
            let now = table.contents();
            expected.extend(now.into_iter().filter(|((partition, position), _)| {
                let rank = (partition - 3) / 64;
                range.contains(&ImagePosition::from_numbers(rank, position.get()))
            }));
            pages.push(Page { range, bytes });
            at = next;
            if table.random.random_bool(0.5) {
                table.insert(2_000);
            } else {
                table.remove(2_000);
            }
        }
        let mut loaded = Index::new(table.shard, u64::MAX);
        for page in pages.iter().rev() {
            load(&mut loaded, page, &page.range);
        }
        assert_eq!(contents(&loaded), expected);
    }
}

#[test]
fn a_range_cuts_pages_anywhere() {
    for (seed, spread) in (20..).zip(SPREADS) {
        let mut table = Table::new(seed, spread);
        table.insert(5_000);
        let pages = table.pages(|_| {});
        let (digest, _) = table.keys[table.random.random_range(0..table.keys.len())];
        let cut = ImagePosition::of(table.shard, &digest).unwrap();
        let (start, end) = (ImagePosition::START, ImagePosition::end(table.shard));
        let mut halves = Index::new(table.shard, u64::MAX);
        for range in [cut..end, start..cut] {
            for page in &pages {
                load(&mut halves, page, &range);
            }
            let found = contents(&halves);
            let is_wanted = |(partition, position): &(u16, ScanPosition)| {
                let rank = (partition - 3) / 64;
                let position = ImagePosition::from_numbers(rank, position.get());
                range.start == start || range.contains(&position)
            };
            let mut expected = table.contents();
            expected.retain(|key, _| is_wanted(key));
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn what_is_not_wanted_is_left_out() {
    let mut table = Table::new(30, (u64::MAX, 4));
    table.insert(10_000);
    let pages = table.pages(|_| {});
    let mut loaded = Index::new(table.shard, u64::MAX);
    let is_wanted = |address: RecordAddress| address.packed().is_multiple_of(3);
    let (mut kept_count, mut dropped_count) = (0, 0);
    for page in &pages {
        let of_page = loaded
            .load_image(&page.bytes, &page.range, |address, _| is_wanted(address))
            .unwrap();
        kept_count += of_page.kept_count;
        dropped_count += of_page.dropped_count;
    }
    let mut expected = table.contents();
    for entries in expected.values_mut() {
        entries.retain(|entry| is_wanted(entry.address));
    }
    expected.retain(|_, entries| !entries.is_empty());
    assert_eq!(contents(&loaded), expected);
    assert_eq!(
        (kept_count, dropped_count),
        (loaded.len(), 10_000 - loaded.len())
    );
}

#[test]
fn damage_is_refused_or_harmless() {
    let mut table = Table::new(40, (u64::MAX, 2));
    table.insert(60);
    let page = table.pages(|_| {}).swap_remove(0);
    let end = ImagePosition::end(table.shard);
    let attempt = |bytes: &[u8]| {
        let mut index = Index::new(table.shard, 1 << 20);
        let loaded = index.load_image(bytes, &(ImagePosition::START..end), |_, _| true);
        // Whatever came in, the table can be gone through.
        let found = contents(&index);
        assert!(loaded.is_err() || index.len() == count(&found));
        loaded.map(|_| found)
    };
    let sound = attempt(&page.bytes).unwrap();
    let mut refused = 0;
    for bit in 0..page.bytes.len() * 8 {
        let mut bytes = page.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match attempt(&bytes) {
            Err(_) => refused += 1,
            // The number of slots is only a hint.
            Ok(found) => assert!(found != sound || is_in_header(&page.bytes, bit / 8)),
        }
    }
    // Of each entry its zero bit, an address or a generation of zero, and tags out of order.
    assert!(refused >= 56 * 8, "{refused}");
    for length in 0..page.bytes.len() {
        match attempt(&page.bytes[..length]) {
            Err(error) => assert_eq!(error, ImageError::Length),
            Ok(found) => assert!(found.len() < sound.len()),
        }
    }
    let mut random = ChaCha8Rng::seed_from_u64(41);
    for _ in 0..2_000 {
        let mut bytes = vec![0; random.random_range(0..400)];
        random.fill(&mut bytes[..]);
        if let Ok(found) = attempt(&bytes) {
            assert!(bytes.is_empty() || !found.is_empty());
        }
    }
}

fn count(contents: &Contents) -> u64 {
    u64::try_from(contents.values().flatten().count()).unwrap()
}

/// Whether the byte at `place` is one of a group's header.
fn is_in_header(page: &[u8], place: usize) -> bool {
    let mut start = 0;
    while start + 8 <= page.len() {
        if place < start {
            return false;
        }
        if place < start + 8 {
            return true;
        }
        start += 8 + usize::from(page[start + 3]) * 22;
    }
    false
}
