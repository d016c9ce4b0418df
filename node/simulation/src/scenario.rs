//! What a seed stands for: drives, volume, clients, faults. Everything about a run that is not decided while
//! it runs. Pure.

use corelith_io::{
    DriveConfig, Durability, Fault, FaultRates, Honesty, PlannedFault, SeededRandom,
};

use crate::limits::{CLIENTS_MAX, SILENT_FAULT_DELAY_MAX};
use crate::subject::Key;

/// Streams of a run's own choices, above those of the machine.
const SCENARIO_STREAM: u64 = 1 << 32;
/// Which of those a crowd is drawn from.
const CROWD_STREAM: u64 = 1 << 20;

/// Which faults a run has, beside power cuts, kills and delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// None: the drives are healthy and keep their word.
    Honest,
    /// Operations fail, openly: read, write and flush errors, drives that disappear.
    Errors,
    /// Drives harm data silently, a few times in a run: bit rot, and lost, torn and misdirected writes and
    /// reads. In half of the runs they fail openly as well.
    Media,
    /// The negative control: drives that forget what they said was durable. A run must fail.
    Forgetful,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where all luck comes from.
    pub seed: u64,
    /// Which faults.
    pub profile: Profile,
    /// Power cuts and kills after which the run ends.
    pub cuts: u64,
    /// The drives. They are honest until they are formatted.
    pub drives: Vec<DriveConfig>,
    /// Shards of the volume.
    pub shard_count: u16,
    /// Segments in bytes.
    pub segment_bytes: u64,
    /// The keys that clients use.
    pub keys: Vec<Key>,
    /// Clients of each life.
    pub client_count: u64,
    /// Operations after which a client of a life stops.
    pub operations_max: u64,
    /// Further cuts from the same moment, each explored for what a start finds.
    pub forks_max: u64,
    /// What goes wrong by itself while faults are on. None of it harms data silently.
    pub fault_rates: FaultRates,
    /// Which drive, by its number, harms data silently and how. With many such faults no store can keep
    /// every copy of what tells it of a loss; with a few it must.
    pub silent_faults: Vec<(usize, PlannedFault)>,
    /// Whether clients ask for writes that are answered ahead of the device.
    pub buffered: bool,
    /// Whether the store reads everything that it holds, once in each life.
    pub scrubs: bool,
    /// Whether the drives are nearly full.
    pub crowded: bool,
    /// Whether values expire, time passes in leaps and clocks are set.
    pub expires: bool,
    /// Whether the logs are followed.
    pub follows: bool,
}

/// How a wish for a profile is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProfile {
    /// What was written.
    pub found: String,
}

impl Profile {
    /// All profiles, by name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("honest", Self::Honest),
        ("errors", Self::Errors),
        ("media", Self::Media),
        ("forgetful", Self::Forgetful),
    ];

    /// The name, as the command line and the list of seeds have it.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, profile)| *profile == self);
        known.map_or("?", |(name, _)| name)
    }

    fn fault_rates(self, random: &mut SeededRandom) -> FaultRates {
        // Now and then many, mostly few: both a storm and a single fault in a quiet life must occur.
        let unit = [100, 1_000, 10_000][usize::try_from(random.below(3)).unwrap_or(0)];
        let delays = FaultRates {
            delay_short_per_million: unit * 5,
            delay_long_per_million: unit / 10,
            ..FaultRates::NONE
        };
        let errors = FaultRates {
            read_error_per_million: unit,
            write_error_per_million: unit,
            flush_error_per_million: unit,
            device_gone_per_million: unit / 20,
            ..delays
        };
        match self {
            Self::Errors => errors,
            Self::Media if random.coin() => errors,
            Self::Honest | Self::Forgetful | Self::Media => delays,
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, profile)| *profile)
            .ok_or_else(|| UnknownProfile {
                found: text.to_owned(),
            })
    }
}

impl std::fmt::Display for UnknownProfile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = Profile::ALL.map(|(name, _)| name).join(", ");
        write!(
            formatter,
            "no profile is called {:?}: it is one of {names}",
            self.found
        )
    }
}

impl std::error::Error for UnknownProfile {}

impl Scenario {
    /// The faults by which a drive harms data without saying so.
    pub const SILENT_FAULTS: [Fault; 5] = [
        Fault::BitRot,
        Fault::ReadMisdirected,
        Fault::WriteLost,
        Fault::WriteTorn,
        Fault::WriteMisdirected,
    ];

    /// The run that a seed stands for.
    pub fn new(seed: u64, profile: Profile, cuts: u64) -> Self {
        let random = &mut SeededRandom::new(seed, SCENARIO_STREAM);
        let shard_count = if random.below(4) == 0 { 2 } else { 1 };
        let segment_bytes: u64 = 64 << 10;
        let drive_count = if random.below(3) == 0 { 2 } else { 1 };
        // Eight segments a shard are few enough to be used again and again, and enough to serve.
        let segments = u64::from(shard_count) * random.between(8, 20) / drive_count + 1;
        let logical = [512, 4096][usize::from(random.coin())];
        let drive = DriveConfig {
            logical_block_bytes: logical,
            physical_block_bytes: if random.coin() { 4096 } else { logical },
            durability: match random.below(3) {
                0 => Durability::WriteThrough,
                1 => Durability::Fua,
                _ => Durability::Flush,
            },
            latency_ns_max: if random.below(4) == 0 {
                12_000
            } else {
                300_000
            },
            // Labels and extent tables stand before the segments, a label behind them.
            ..DriveConfig::new((segments + 4) * segment_bytes)
        };
        // Some runs have pairs of keys that the index cannot tell apart by its tag. The harm that a drive
        // does to one record may then hide the other, and nobody has such keys by chance: not with silent
        // faults.
        let twins = random.below(4) == 0 && profile != Profile::Media;
        let first_key = if twins { Key::TWINS_START } else { 0 };
        let key_count = u32::try_from(random.between(1, 16)).unwrap_or(1);
        Self {
            seed,
            profile,
            cuts,
            drives: vec![drive; usize::try_from(drive_count).unwrap_or(1)],
            shard_count,
            segment_bytes,
            keys: (first_key..first_key + key_count).map(Key).collect(),
            client_count: random.between(1, CLIENTS_MAX),
            operations_max: [5, 40, 200][usize::try_from(random.below(3)).unwrap_or(0)],
            forks_max: random.below(4),
            fault_rates: profile.fault_rates(random),
            silent_faults: match profile {
                Profile::Media => silent_faults(drive_count, random),
                Profile::Honest | Profile::Errors | Profile::Forgetful => Vec::new(),
            },
            buffered: false,
            scrubs: false,
            crowded: false,
            expires: false,
            follows: false,
        }
    }

    /// The same, with clients that mix durable writes and buffered ones. Only for drives on which nothing fails:
    /// what a failing device takes back of what was answered, the oracle does not follow.
    #[must_use]
    pub fn with_buffered(mut self) -> Self {
        self.buffered = true;
        self
    }

    /// The same, where the store scrubs.
    #[must_use]
    pub fn with_scrub(mut self) -> Self {
        self.scrubs = true;
        self
    }

    /// The same, with values that expire, time that passes in leaps, and clocks that are set forward and back.
    #[must_use]
    pub fn with_expiry(mut self) -> Self {
        self.expires = true;
        self
    }

    /// The same, where the logs are followed.
    #[must_use]
    pub fn with_follower(mut self) -> Self {
        self.follows = true;
        self
    }

    /// The same, with keys that belong to sets, and clients that truncate them.
    #[must_use]
    pub fn with_truncation(mut self) -> Self {
        for key in self.keys.iter_mut().filter(|key| !key.is_truncated()) {
            key.0 += Key::SETS_START;
        }
        self
    }

    /// The same on drives that are nearly full, with many keys: segments are reclaimed all the time, and now and then
    /// there is no space.
    #[must_use]
    pub fn with_crowd(mut self) -> Self {
        // In every third there is more room than reclaim keeps free, so that pages of checkpoints come and go as well.
        let roomy = if self.seed % 3 == 2 { 6 } else { 0 };
        let random = &mut self.stream(CROWD_STREAM);
        // The least that a shard can work with, or a little more; labels and tables beside it.
        let segments = random.between(6, 9) + roomy;
        self.shard_count = 1;
        let drives = u64::try_from(self.drives.len()).unwrap_or(1);
        for drive in &mut self.drives {
            drive.size_bytes = (segments.div_ceil(drives) + 4) * self.segment_bytes;
        }
        let first = self.keys.first().map_or(0, |key| key.0);
        let count = u32::try_from(random.between(12, 40)).unwrap_or(12);
        self.keys = (first..first + count).map(Key).collect();
        self.crowded = true;
        self
    }

    /// Whether clients truncate.
    pub fn truncates(&self) -> bool {
        self.keys.iter().any(|key| key.is_truncated())
    }

    /// Whether the drives keep their word once they are formatted.
    pub fn honesty(&self) -> Honesty {
        match self.profile {
            Profile::Forgetful => Honesty::Forgetful,
            Profile::Honest | Profile::Errors | Profile::Media => Honesty::Honest,
        }
    }

    /// The shortest batch, in bytes.
    pub fn write_unit_bytes(&self) -> u64 {
        let drives = self.drives.iter();
        let units = drives.map(|drive| drive.logical_block_bytes.max(drive.physical_block_bytes));
        units.max().unwrap_or(512).into()
    }

    /// An independent stream of choices of this run.
    pub fn stream(&self, number: u64) -> SeededRandom {
        SeededRandom::new(self.seed, SCENARIO_STREAM + 1 + number)
    }

    /// The command that runs it again.
    pub fn command(&self) -> String {
        let Self {
            seed,
            profile,
            cuts,
            ..
        } = self;
        let profile = profile.name();
        let truncate = if self.truncates() { " --truncate" } else { "" };
        let buffered = if self.buffered { " --buffered" } else { "" };
        let scrub = if self.scrubs { " --scrub" } else { "" };
        let crowded = if self.crowded { " --crowded" } else { "" };
        let expire = if self.expires { " --expire" } else { "" };
        let follow = if self.follows { " --follow" } else { "" };
        format!(
            "corelith-simulation --profile {profile} --seed {seed} --cuts {cuts}{truncate}{buffered}{crowded}{scrub}{expire}{follow}"
        )
    }
}

/// One to three faults, each after its own number of operations: soon, or in a later life.
fn silent_faults(drive_count: u64, random: &mut SeededRandom) -> Vec<(usize, PlannedFault)> {
    let position = |below, random: &mut SeededRandom| usize::try_from(random.below(below));
    let mut faults = Vec::new();
    for _ in 0..random.between(1, 3) {
        let kinds = Scenario::SILENT_FAULTS;
        let drive = position(drive_count, random).unwrap_or(0);
        let kind = position(5, random).unwrap_or(0);
        let delay_max = [30, 300, 3_000, SILENT_FAULT_DELAY_MAX];
        let delay = delay_max[position(4, random).unwrap_or(0)];
        let fault = kinds.get(kind).copied().unwrap_or(Fault::BitRot);
        let after = random.below(delay);
        faults.push((drive, PlannedFault::next(fault).after(after)));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_one_scenario() {
        for seed in 0..50 {
            let scenario = |seed| format!("{:?}", Scenario::new(seed, Profile::Media, 9));
            assert_eq!(scenario(seed), scenario(seed));
            assert_ne!(scenario(seed), scenario(seed + 50));
        }
    }

    #[test]
    fn profiles_have_names_and_only_media_harms_silently() {
        for (name, profile) in Profile::ALL {
            assert_eq!(name.parse(), Ok(profile));
            assert_eq!(profile.name(), name);
            let scenarios: Vec<_> = (0..20)
                .map(|seed| Scenario::new(seed, profile, 1))
                .collect();
            let silent = scenarios.iter().any(|run| !run.silent_faults.is_empty());
            assert_eq!(silent, profile == Profile::Media);
            let open = scenarios
                .iter()
                .any(|run| run.fault_rates.flush_error_per_million > 0);
            assert_eq!(open, matches!(profile, Profile::Media | Profile::Errors));
        }
        assert!(
            "nonsense"
                .parse::<Profile>()
                .unwrap_err()
                .to_string()
                .contains("honest, errors")
        );
    }
}
