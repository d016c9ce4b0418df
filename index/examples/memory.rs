//! Bytes of DRAM per record, and nanoseconds per operation, of the indexes of all shards of a node.
//!
//! `cargo run --release -p corelith-index --example memory -- [records ...] [--shards n]`
//!
//! Grows to each number of records in turn (1, 10 and 100 million unless told) and on the way reads
//! the resident memory of the process (VmRSS) a hundred times between half that number and the
//! number: the largest, less what the process had before the first index, is "the worst moment of
//! growth". Operations are timed at the full number, on keys in random order, in rounds of which the
//! fastest and the median are printed: on a shared machine the fastest is what the code costs, the
//! median what the neighbours add. A bare read of one random word in memory of the same size stands
//! beside them. Then everything is removed, and what memory is left is printed.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, Index, RecordAddress, RecordLength, SetId, Shard,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUND_COUNT: u64 = 20;
const ROUND_LENGTH: u64 = 50_000;
const BATCH: usize = 32;
/// Memory of the bare reads, at most.
const BARE_BYTES_MAX: u64 = 1 << 31;

fn main() -> Outcome<()> {
    let mut record_counts = Vec::new();
    let mut shard_count = 8;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--shards" {
            shard_count = arguments.next().ok_or("--shards wants a number")?.parse()?;
        } else {
            record_counts.push(argument.replace('_', "").parse::<u64>()?);
        }
    }
    if record_counts.is_empty() {
        record_counts = vec![1_000_000, 10_000_000, 100_000_000];
    }
    let resident_before = resident_bytes()?;
    let mut node = Node::new(shard_count, resident_before)?;
    println!("{shard_count} shards; {resident_before} bytes resident before the first index");
    for record_count in record_counts {
        node.grow(record_count)?;
        node.time_operations()?;
    }
    node.empty()
}

/// The indexes of all shards, filled with keys 0, 1, 2 and so on.
struct Node {
    indexes: Vec<Index>,
    shard: Shard,
    key_count: u64,
    resident_before: u64,
}

impl Node {
    fn new(shard_count: u16, resident_before: u64) -> Outcome<Self> {
        let shards = (0..shard_count).map(|number| Shard::new(number, shard_count));
        let shards = shards.collect::<Result<Vec<_>, _>>()?;
        let shard = *shards.first().ok_or("a node has a shard")?;
        let indexes = shards
            .into_iter()
            .map(|shard| Index::new(shard, u64::MAX))
            .collect();
        Ok(Self {
            indexes,
            shard,
            key_count: 0,
            resident_before,
        })
    }

    fn index_of(&self, digest: &Digest) -> Outcome<&Index> {
        let number = self.shard.owner_of(digest.partition()).number();
        Ok(self
            .indexes
            .get(usize::from(number))
            .ok_or("every partition has a shard")?)
    }

    fn index_of_mut(&mut self, digest: &Digest) -> Outcome<&mut Index> {
        let number = self.shard.owner_of(digest.partition()).number();
        Ok(self
            .indexes
            .get_mut(usize::from(number))
            .ok_or("every partition has a shard")?)
    }

    fn insert_next(&mut self) -> Outcome<()> {
        let digest = digest_of(self.key_count);
        let entry = entry_of(self.key_count)?;
        self.index_of_mut(&digest)?.insert(&digest, entry)?;
        self.key_count += 1;
        Ok(())
    }

    fn remove_last(&mut self) -> Outcome<()> {
        self.key_count -= 1;
        let digest = digest_of(self.key_count);
        let address = entry_of(self.key_count)?.address;
        let removed = self.index_of_mut(&digest)?.remove(&digest, address);
        removed.ok_or("a key that was inserted is there")?;
        Ok(())
    }

    fn grow(&mut self, record_count: u64) -> Outcome<()> {
        println!("\n{record_count} records");
        let start = now();
        let step = (record_count / 200).max(1);
        let (mut worst, mut worst_at, mut counted_worst) = (0.0_f64, 0, 0.0_f64);
        let first_new = self.key_count;
        while self.key_count < record_count {
            self.insert_next()?;
            if self.key_count >= record_count / 2 && self.key_count.is_multiple_of(step) {
                let per_record = self.resident_per_record()?;
                if per_record > worst {
                    (worst, worst_at) = (per_record, self.key_count);
                }
                let counted: u64 = self.indexes.iter().map(Index::memory_bytes).sum();
                counted_worst = counted_worst.max(real(counted) / real(self.key_count));
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let at_end = self.resident_per_record()?;
        let insert_ns = seconds * 1e9 / real(record_count - first_new);
        println!(
            "  resident at the worst moment {worst:7.2} bytes a record, at {worst_at} records"
        );
        println!("  resident at the end          {at_end:7.2} bytes a record");
        println!("  as the indexes count it      {counted_worst:7.2} bytes a record, worst moment");
        println!("  growing took {seconds:.1} s, {insert_ns:.0} ns an insert");
        Ok(())
    }

    fn time_operations(&mut self) -> Outcome<()> {
        let key_count = self.key_count;
        println!("  {:42}   best  median ns", "");
        time("making a digest (in all below)", |round| {
            let digests = keys(round).map(|key| digest_of(key % key_count));
            black_box(digests.fold(0, |sum, digest| sum ^ digest.partition().get()));
            Ok(())
        })?;
        self.time_bare_reads()?;
        time("lookup, hit, one after the other", |round| {
            self.look_up(keys(round).map(|key| key % key_count), ROUND_LENGTH)
        })?;
        time("lookup, miss, one after the other", |round| {
            self.look_up(keys(round).map(|key| key_count + key / 2), 0)
        })?;
        time("lookup, hit, each waiting for the last", |round| {
            self.look_up_chained(round)
        })?;
        self.time_batches()?;
        time("insert", |_| {
            (0..ROUND_LENGTH).try_for_each(|_| self.insert_next())
        })?;
        time("remove", |_| {
            (0..ROUND_LENGTH).try_for_each(|_| self.remove_last())
        })?;
        time("replace", |round| {
            self.replace_all(keys(round).map(|key| key % key_count))
        })
    }

    fn time_bare_reads(&self) -> Outcome<()> {
        let word_count = (self.key_count * 24).min(BARE_BYTES_MAX) / 8;
        let words: Vec<u64> = (0..word_count).collect();
        let word = |key: u64| {
            let place = usize::try_from(key % word_count).unwrap_or_default();
            words.get(place).copied().unwrap_or_default()
        };
        time("bare read, one after the other", |round| {
            black_box(keys(round).fold(0, |sum, key| sum ^ word(key)));
            Ok(())
        })?;
        time("bare read, each waiting for the last", |round| {
            black_box(keys(round).fold(0, |last, key| word(mix(key ^ last))));
            Ok(())
        })
    }

    fn look_up(&self, keys: impl Iterator<Item = u64>, expected_count: u64) -> Outcome<()> {
        let mut found_count = 0;
        for key in keys {
            let digest = digest_of(key);
            found_count += u64::from(self.index_of(&digest)?.lookup(&digest).only().is_some());
        }
        if found_count == expected_count {
            Ok(())
        } else {
            Err("a lookup was wrong".into())
        }
    }

    /// Each key depends on the entry found before: nothing of two lookups overlaps.
    fn look_up_chained(&self, round: u64) -> Outcome<()> {
        let mut last = 0;
        for key in keys(round) {
            let digest = digest_of(mix(key ^ last) % self.key_count);
            let entry = self.index_of(&digest)?.lookup(&digest).next();
            last = entry.ok_or("every key is there")?.address.packed();
        }
        black_box(last);
        Ok(())
    }

    /// On the first shard alone: a batch belongs to one.
    fn time_batches(&self) -> Outcome<()> {
        let first = self.indexes.first().ok_or("a node has a shard")?;
        let mut digests = (0..).map(|turn| digest_of(mix(turn) % self.key_count));
        time_only("lookup, hit, 32 prefetched together", |_| {
            let owned = digests
                .by_ref()
                .filter(|digest| first.shard().owns(digest.partition()));
            let owned: Vec<Digest> = owned.take(usize::try_from(ROUND_LENGTH)?).collect();
            let start = now();
            let mut found_count = 0;
            for batch in owned.chunks(BATCH) {
                first.prefetch(batch);
                let found = batch
                    .iter()
                    .filter(|digest| first.lookup(digest).only().is_some());
                found_count += found.count();
            }
            let elapsed = start.elapsed().as_secs_f64();
            if found_count == owned.len() {
                Ok(elapsed)
            } else {
                Err("a lookup was wrong".into())
            }
        })
    }

    fn replace_all(&mut self, mut keys: impl Iterator<Item = u64>) -> Outcome<()> {
        keys.try_for_each(|key| {
            let (digest, entry) = (digest_of(key), entry_of(key)?);
            let replaced = self
                .index_of_mut(&digest)?
                .replace(&digest, entry.address, entry);
            replaced.ok_or("every key is there")?;
            Ok(())
        })
    }

    fn empty(&mut self) -> Outcome<()> {
        println!("\nremoving everything");
        let mut worst = 0.0_f64;
        let (all, start) = (self.key_count, now());
        while self.key_count > 0 {
            self.remove_last()?;
            if self.key_count.is_multiple_of((all / 200).max(1)) && self.key_count > all / 10 {
                worst = worst.max(self.resident_per_record()?);
            }
        }
        let remove_ns = start.elapsed().as_secs_f64() * 1e9 / real(all);
        let left = resident_bytes()?.saturating_sub(self.resident_before);
        println!("  {remove_ns:.0} ns a removal");
        println!("  resident at the worst moment {worst:7.2} bytes a record, down to a tenth");
        println!("  resident when empty        {left:9} bytes");
        Ok(())
    }

    fn resident_per_record(&self) -> Outcome<f64> {
        let used = resident_bytes()?.saturating_sub(self.resident_before);
        Ok(real(used) / real(self.key_count))
    }
}

/// Runs and times rounds of [`ROUND_LENGTH`] operations.
fn time(what: &str, mut run: impl FnMut(u64) -> Outcome<()>) -> Outcome<()> {
    time_only(what, |round| {
        let start = now();
        run(round)?;
        Ok(start.elapsed().as_secs_f64())
    })
}

/// The same for rounds that time a part of themselves, in seconds.
fn time_only(what: &str, mut run: impl FnMut(u64) -> Outcome<f64>) -> Outcome<()> {
    let mut rounds = (0..ROUND_COUNT)
        .map(&mut run)
        .collect::<Outcome<Vec<f64>>>()?;
    rounds.sort_by(f64::total_cmp);
    let ns = |seconds: Option<&f64>| seconds.unwrap_or(&f64::NAN) * 1e9 / real(ROUND_LENGTH);
    let (best, median) = (ns(rounds.first()), ns(rounds.get(rounds.len() / 2)));
    println!("  {what:42} {best:6.1}  {median:6.1}");
    Ok(())
}

/// The keys of a round, in no order; other ones in each round.
fn keys(round: u64) -> impl Iterator<Item = u64> {
    (0..ROUND_LENGTH).map(move |turn| mix(round << 32 | turn))
}

/// A digest that is spread like a hash, for next to no time.
fn digest_of(key: u64) -> Digest {
    let word = mix(key);
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    let [i, j, k, l, m, n, o, p] = word.wrapping_mul(0xd6e8_feb8_6659_fd93).to_be_bytes();
    Digest::from_bytes([a, b, i, j, k, l, m, n, o, p, c, d, e, f, g, h, a, b, c, d])
}

fn entry_of(key: u64) -> Outcome<Entry> {
    Ok(Entry {
        address: RecordAddress::from_packed(key * 20 + 1).ok_or("the address is too large")?,
        length: RecordLength::round_up(300).ok_or("the length is too large")?,
        generation: Generation::FIRST,
        expiry: ExpirySeconds::NEVER,
        set: SetId::NONE,
        is_damaged: false,
        is_moved: false,
    })
}

/// A bijection that spreads numbers over all 64 bits.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark times itself, without io's clock"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::as_conversions,
    reason = "figures for people need no more than 53 bits"
)]
const fn real(count: u64) -> f64 {
    count as f64
}

fn resident_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("VmRSS is missing")?;
    Ok(number.parse::<u64>()? * 1024)
}
