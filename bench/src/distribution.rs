//! Which key comes next: uniform, or zipf with the constant 0.99 that the field's workloads use.

use clap::ValueEnum;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How keys are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Distribution {
    /// Every key is as likely as every other.
    Uniform,
    /// Few keys get most requests: theta 0.99, ranks scattered over the key space.
    Zipf,
}

/// Chooses keys below a count.
pub struct KeyChooser {
    key_count: u64,
    zipf: Option<Zipf>,
}

impl KeyChooser {
    pub fn new(distribution: Distribution, key_count: u64) -> Self {
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Some(Zipf::new(key_count)),
        };
        Self { key_count, zipf }
    }

    /// The next key.
    pub fn next(&self, random: &mut ChaCha8Rng) -> u64 {
        match &self.zipf {
            None => random.random_range(0..self.key_count),
            Some(zipf) => scatter(zipf.rank(random.random::<f64>()), self.key_count),
        }
    }
}

/// Zipf ranks by the inversion of Gray and others, "Quickly generating billion-record synthetic
/// databases" (1994), which YCSB uses too.
struct Zipf {
    key_count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    fn new(key_count: u64) -> Self {
        let zeta = |count: u64| {
            (1..=count)
                .map(|rank| (rank as f64).powf(-THETA))
                .sum::<f64>()
        };
        let all = zeta(key_count);
        let count = key_count as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - THETA)) / (1.0 - zeta(2.min(key_count)) / all);
        Self {
            key_count: count,
            zeta: all,
            alpha: 1.0 / (1.0 - THETA),
            eta,
        }
    }

    /// The rank, from 0, for a number drawn evenly from 0 to 1.
    fn rank(&self, drawn: f64) -> u64 {
        let scaled = drawn * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let rank = self.key_count * (self.eta * drawn - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.key_count as u64 - 1)
    }
}

/// Spreads ranks over the key space, so that hot keys are not neighbours.
fn scatter(rank: u64, key_count: u64) -> u64 {
    let mixed = rank
        .wrapping_add(0x9e37_79b9_7f4a_7c15)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)) % key_count
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn counts(distribution: Distribution) -> Vec<u64> {
        let chooser = KeyChooser::new(distribution, 1000);
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut counts = vec![0; 1000];
        for _ in 0..200_000 {
            counts[chooser.next(&mut random) as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn uniform_is_even() {
        let counts = counts(Distribution::Uniform);
        assert!(
            counts[0] < 300 && counts[999] > 120,
            "{} {}",
            counts[0],
            counts[999]
        );
    }

    #[test]
    fn zipf_gives_the_hottest_key_its_share() {
        // 1 / zeta(1000, 0.99) is 0.128.
        let counts = counts(Distribution::Zipf);
        let share = counts[0] as f64 / 200_000.0;
        assert!((0.12..0.14).contains(&share), "{share}");
        assert!(counts[..100].iter().sum::<u64>() > 100_000);
    }
}
