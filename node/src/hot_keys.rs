//! The hottest digests of one namespace on one core: a sample of its requests in a sketch of bounded size.
//!
//! The sketch keeps the space-saving counts of Metwally, Agrawal and El Abbadi: a digest that is not in it takes the
//! place and the count of the least. So every digest with more than a 64th of the sampled requests is there, and
//! what it may have inherited is known: shares are told without that, never too high. Counts are halved
//! every 65,536 samples, so that they speak of the last minutes and not of last week. Never knows: a key, a record.

use std::cell::{Cell, RefCell};

use corelith_index::Digest;

use crate::limits::{HOT_KEYS_MAX, HOT_KEYS_SHOWN_MAX, SAMPLE_EVERY, SAMPLES_MAX};

/// What has been sampled.
pub(crate) struct HotKeys {
    /// Requests until the next sample.
    until_sample: Cell<u32>,
    random: Cell<u64>,
    sketch: RefCell<Sketch>,
}

struct Sketch {
    samples: u64,
    keys: Vec<HotKey>,
}

/// A digest that is asked for often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HotKey {
    pub(crate) digest: Digest,
    /// Its samples, and what it has inherited.
    count: u64,
    inherited: u64,
}

impl HotKey {
    /// Samples that were surely its own.
    pub(crate) const fn own_samples(&self) -> u64 {
        self.count - self.inherited
    }
}

/// The hottest digests as they were when a core was asked, hottest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct HotKeysSnapshot {
    /// Samples of all digests, aged as theirs are.
    pub(crate) samples: u64,
    pub(crate) keys: Vec<HotKey>,
}

impl Default for HotKeys {
    fn default() -> Self {
        Self {
            until_sample: Cell::new(SAMPLE_EVERY),
            random: Cell::new(0x9E37_79B9_7F4A_7C15),
            // All at once: the road of a request allocates nothing.
            sketch: RefCell::new(Sketch {
                samples: 0,
                keys: Vec::with_capacity(HOT_KEYS_MAX),
            }),
        }
    }
}

impl HotKeys {
    /// One request more, for the digest that `digest` gives if it is one that is sampled.
    pub(crate) fn count(&self, digest: impl FnOnce() -> Option<Digest>) {
        let left = self.until_sample.get() - 1;
        self.until_sample.set(left);
        if left == 0 {
            self.until_sample.set(self.next_gap());
            if let Some(digest) = digest() {
                self.sketch.borrow_mut().add(&digest);
            }
        }
    }

    /// As it is now.
    pub(crate) fn snapshot(&self) -> HotKeysSnapshot {
        let sketch = self.sketch.borrow();
        let mut keys = sketch.keys.clone();
        keys.sort_by_key(|key| std::cmp::Reverse(key.own_samples()));
        keys.truncate(HOT_KEYS_SHOWN_MAX);
        HotKeysSnapshot {
            samples: sketch.samples,
            keys,
        }
    }

    /// From 1 to twice the mean: a fixed gap would see one key alone of a client that asks in a fixed order.
    fn next_gap(&self) -> u32 {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        let spread = u64::from(2 * SAMPLE_EVERY - 1);
        u32::try_from(1 + random % spread).unwrap_or(SAMPLE_EVERY)
    }
}

impl Sketch {
    fn add(&mut self, digest: &Digest) {
        if self.samples >= SAMPLES_MAX {
            self.age();
        }
        self.samples += 1;
        if let Some(key) = self.keys.iter_mut().find(|key| key.digest == *digest) {
            key.count += 1;
        } else if self.keys.len() < HOT_KEYS_MAX {
            self.keys.push(HotKey {
                digest: *digest,
                count: 1,
                inherited: 0,
            });
        } else if let Some(least) = self.keys.iter_mut().min_by_key(|key| key.count) {
            *least = HotKey {
                digest: *digest,
                count: least.count + 1,
                inherited: least.count,
            };
        }
    }

    fn age(&mut self) {
        self.samples /= 2;
        for key in &mut self.keys {
            key.count /= 2;
            key.inherited /= 2;
        }
        self.keys.retain(|key| key.count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        let mut bytes = [3; 20];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Digest::from_bytes(bytes)
    }

    /// Every fifth request is for one digest, the others for ever new ones.
    fn ask(hot: &HotKeys, requests: u32, hottest: u32) {
        for number in 0..requests {
            let asked = if number % 5 == 0 {
                hottest
            } else {
                1000 + number
            };
            hot.count(|| Some(digest(asked)));
        }
    }

    #[test]
    fn the_hottest_is_found_among_many_and_its_share_is_not_overstated() {
        let hot = HotKeys::default();
        ask(&hot, 1_000_000, 7);
        let found = hot.snapshot();
        assert!(found.keys.len() <= HOT_KEYS_SHOWN_MAX);
        assert!(hot.sketch.borrow().keys.len() <= HOT_KEYS_MAX);
        let samples = 1_000_000 / u64::from(SAMPLE_EVERY);
        assert!(found.samples.abs_diff(samples) < samples / 20);
        let first = found.keys.first().unwrap();
        assert_eq!(first.digest, digest(7));
        let (own, fifth) = (first.own_samples(), found.samples / 5);
        assert!(
            own > fifth * 8 / 10 && own < fifth * 11 / 10,
            "{own} {fifth}"
        );
        let rest = found.keys.iter().skip(1);
        let others: u64 = rest.map(HotKey::own_samples).sum();
        assert!(others < fifth / 10, "{others}");
    }

    #[test]
    fn what_was_hot_is_forgotten() {
        let hot = HotKeys::default();
        let sampled = u32::try_from(SAMPLES_MAX).unwrap() * SAMPLE_EVERY;
        ask(&hot, sampled, 7);
        ask(&hot, 4 * sampled, 8);
        let found = hot.snapshot();
        assert!(found.samples <= SAMPLES_MAX);
        assert_eq!(found.keys.first().unwrap().digest, digest(8));
        let old = found.keys.iter().find(|key| key.digest == digest(7));
        let share = old.map_or(0, HotKey::own_samples);
        assert!(share < found.samples / 50, "{share}");
    }

    #[test]
    fn requests_without_a_digest_are_not_sampled() {
        let hot = HotKeys::default();
        for _ in 0..1000 {
            hot.count(|| None);
        }
        assert_eq!(hot.snapshot(), HotKeysSnapshot::default());
    }
}
