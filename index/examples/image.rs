//! How fast images of a table are taken and loaded: `cargo run --release -p corelith-index --example image -- KEYS...`.
//!
//! One shard of eight for each eighth of the keys, on one core, as a node has them. The load goes into fresh memory, with
//! a look at each entry as recovery takes it.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement takes the time and prints it"
)]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, ImageEntry, ImagePosition, Index, RecordAddress,
    RecordLength, SetId, Shard,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SHARDS: u16 = 8;
const PAGE_BYTES: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    println!("keys take_GB/s load_GB/s longest_take_us bytes_a_key");
    for argument in std::env::args().skip(1) {
        measure(argument.parse()?)?;
    }
    Ok(())
}

fn measure(keys: u64) -> Result<(), Box<dyn Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let shard = Shard::new(0, SHARDS)?;
    let mut index = Index::new(shard, u64::MAX);
    for number in 1..=keys / u64::from(SHARDS) {
        let mut bytes = [0; Digest::LENGTH_BYTES];
        random.fill(&mut bytes);
        let partition = random.random_range(0..shard.partition_count()) * SHARDS;
        [bytes[0], bytes[1]] = partition.to_le_bytes();
        let entry = Entry {
            address: RecordAddress::from_packed(number).ok_or("too many keys")?,
            length: RecordLength::round_up(320).ok_or("too long")?,
            generation: Generation::FIRST,
            expiry: ExpirySeconds::NEVER,
            set: SetId::NONE,
            is_damaged: false,
            is_moved: false,
        };
        index.insert(&Digest::from_bytes(bytes), entry)?;
    }
    let (pages, bytes, take_seconds, longest_us) = take(&index);
    let gigabytes = real(bytes) / 1e9;
    // What a page touches for the first time is the system's time, not the index's.
    let mut best_seconds = f64::MAX;
    for _ in 0..3 {
        let mut loaded = Index::new(shard, u64::MAX);
        let mut live_bytes = vec![0_u64; 1 << 16];
        let started = Instant::now();
        for (range, page) in &pages {
            let keep = |address: RecordAddress, entry: ImageEntry| {
                let segment = usize::try_from(address.packed() >> 20);
                let live_bytes = segment.ok().and_then(|number| live_bytes.get_mut(number));
                live_bytes
                    .map(|bytes| *bytes += u64::from(entry.length.bytes_max()))
                    .is_some()
            };
            loaded.load_image(page, range, keep)?;
        }
        best_seconds = best_seconds.min(started.elapsed().as_secs_f64());
        assert_eq!(black_box(&loaded).len(), index.len());
        black_box(&live_bytes);
    }
    println!(
        "{keys} {:.2} {:.2} {longest_us:.0} {:.2}",
        gigabytes / take_seconds,
        gigabytes / best_seconds,
        real(bytes) / real(usize::try_from(index.len())?)
    );
    Ok(())
}

type Pages = Vec<(std::ops::Range<ImagePosition>, Vec<u8>)>;

fn take(index: &Index) -> (Pages, usize, f64, f64) {
    let (mut pages, mut bytes, mut seconds, mut longest_us) = (Vec::new(), 0, 0.0, 0.0_f64);
    let mut at = ImagePosition::START;
    while at < ImagePosition::end(index.shard()) {
        let mut page = vec![0; PAGE_BYTES];
        let started = Instant::now();
        let (used, next) = index.take_image(at, &mut page);
        let elapsed = started.elapsed().as_secs_f64();
        seconds += elapsed;
        longest_us = longest_us.max(elapsed * 1e6);
        page.truncate(used);
        bytes += used;
        pages.push((at..next, page));
        at = next;
    }
    (pages, bytes, seconds, longest_us)
}

fn real(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::NAN, f64::from)
}
