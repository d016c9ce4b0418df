//! The commands on single records, scans and counters: what they take.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use corelith_client::{PutMode, Ttl};
use corelith_index::Generation;

use super::commit::CommitArguments;
use super::{NodeArguments, PlaceArguments};
use crate::bin_argument::BinArgument;
use crate::key_text::KeyType;
use crate::set_name::{parse_named_set, parse_set};
use crate::ttl_text::parse_ttl;

/// Which record.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// The record's key. A composite key is its columns joined by `|`, as in "UA|1545" (`|` and `\` in a
    /// column get a `\` before them). One that begins with a hyphen and is no number comes after `--`.
    #[arg(allow_negative_numbers = true, value_name = "KEY")]
    pub key: String,

    /// What the key's text stands for. Keys of different types are different keys.
    #[arg(long, value_name = "TYPE", default_value = "string")]
    pub key_type: KeyType,

    /// The record's set.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = parse_set)]
    pub set: String,

    /// Node and namespace.
    #[command(flatten)]
    pub place: PlaceArguments,
}

/// Which records.
#[derive(Args, Clone, Debug)]
pub struct KeysArguments {
    /// The records' keys. A composite key is its columns joined by `|`, as in "UA|1545" (`|` and `\` in a
    /// column get a `\` before them). One that begins with a hyphen and is no number comes after `--`.
    #[arg(
        allow_negative_numbers = true,
        required_unless_present = "keys_file",
        conflicts_with = "keys_file",
        value_name = "KEY"
    )]
    pub keys: Vec<String>,

    /// A file with a key on each line; `-` for standard input.
    #[arg(long = "keys", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,

    /// What the keys' text stands for. Keys of different types are different keys.
    #[arg(long, value_name = "TYPE", default_value = "string")]
    pub key_type: KeyType,

    /// The records' set.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = parse_set)]
    pub set: String,

    /// Node and namespace.
    #[command(flatten)]
    pub place: PlaceArguments,
}

impl KeysArguments {
    /// The one record that is meant, where a single key was given on the command line.
    #[must_use]
    pub fn only(&self) -> Option<KeyArguments> {
        match (self.keys.as_slice(), &self.keys_file) {
            ([key], None) => Some(KeyArguments {
                key: key.clone(),
                key_type: self.key_type,
                set: self.set.clone(),
                place: self.place.clone(),
            }),
            _ => None,
        }
    }
}

/// What to write.
#[derive(Args, Debug)]
#[command(
    after_help = "Values: an integer (31), a double (1.5, 1e5), true or false, else a string. A type can be given: \
BIN:TYPE=VALUE with auto, integer, double, bool, string, bytes (base64), hex, json, geojson. Lists and maps are \
given as json. BIN:nil= removes the bin.

The bins join those of the record, which is made if it is not there; see the options for other ways.

Examples:
  corelith put alice city=Berlin age=31
  corelith put alice zip:string=10115 'tags:json=[\"new\",{\"x\":1}]'
  corelith put 17 --key-type integer --set seats by=anna --create-only --ttl 10m
  corelith put alice age=32 --generation 2"
)]
pub struct PutArguments {
    /// Which record.
    #[command(flatten)]
    pub key: KeyArguments,

    /// Bins and their values.
    #[arg(required = true, value_name = "BIN=VALUE", value_parser = BinArgument::parse)]
    pub bins: Vec<BinArgument>,

    /// Time to live: seconds, or with s, m, h, d; `never`, `keep`, or `default` (the namespace's).
    #[arg(long, value_name = "TIME", default_value = "default", value_parser = parse_ttl)]
    pub ttl: Ttl,

    /// The record must not be there.
    #[arg(long, conflicts_with_all = ["update_only", "replace", "replace_only", "generation"])]
    pub create_only: bool,

    /// The record must be there.
    #[arg(long)]
    pub update_only: bool,

    /// The bins become the whole record; others are removed.
    #[arg(long)]
    pub replace: bool,

    /// The same, and the record must be there.
    #[arg(long)]
    pub replace_only: bool,

    /// The generation that the record must have.
    #[arg(long, value_name = "N", value_parser = parse_generation)]
    pub generation: Option<Generation>,

    /// Keep the key with the record, so that scans and exports show it.
    #[arg(long)]
    pub store_key: bool,

    /// When it is answered.
    #[command(flatten)]
    pub commit: CommitArguments,
}

impl PutArguments {
    /// What to do with the record that is there.
    #[must_use]
    pub fn mode(&self) -> PutMode {
        let update_only = self.update_only || self.replace_only;
        mode(
            self.create_only,
            update_only,
            self.replace || self.replace_only,
        )
    }
}

/// The mode that three flags stand for.
pub(super) const fn mode(create_only: bool, update_only: bool, replace: bool) -> PutMode {
    match (create_only, update_only, replace) {
        (true, _, _) => PutMode::CreateOnly,
        (false, true, true) => PutMode::ReplaceOnly,
        (false, true, false) => PutMode::UpdateOnly,
        (false, false, true) => PutMode::Replace,
        (false, false, false) => PutMode::Merge,
    }
}

/// What to read.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corelith get alice
  corelith get alice --bins city,age
  corelith get 'UA|1545|2013-01-01T10:00:00Z' --set flights --json
  corelith get alice bob
  printf 'alice\nbob\n' | corelith get --keys -

With --json, values are written as `corelith export` writes them, of several records one a line. Exit code 3: no such
record, or not all of them.")]
pub struct GetArguments {
    /// Which records.
    #[command(flatten)]
    pub keys: KeysArguments,

    /// Only these bins.
    #[arg(
        long,
        value_name = "BIN,..",
        value_delimiter = ',',
        conflicts_with = "metadata"
    )]
    pub bins: Vec<String>,

    /// Only what is known of the record beside its bins: no device is read for it.
    #[arg(long)]
    pub metadata: bool,
}

/// What to look for.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corelith exists alice
  corelith exists 17 --key-type integer --set seats
  corelith exists alice bob

The node looks into its index; no device is read. Exit code 0: it is there, or all are. Exit code 3: it is not, or not
all are.")]
pub struct ExistsArguments {
    /// Which records.
    #[command(flatten)]
    pub keys: KeysArguments,
}

/// What to remove.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corelith delete alice
  corelith delete 17 --key-type integer --set seats --generation 1
  corelith delete bob carl

Exit code 3: there was no such record, or not all of them were there.")]
pub struct DeleteArguments {
    /// Which records.
    #[command(flatten)]
    pub keys: KeysArguments,

    /// The generation that the record must have; for a single one.
    #[arg(long, value_name = "N", value_parser = parse_generation)]
    pub generation: Option<Generation>,

    /// When it is answered.
    #[command(flatten)]
    pub commit: CommitArguments,
}

/// What to keep for longer, or not.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corelith touch alice --ttl 30d
  corelith touch alice --ttl never

Exit code 3: no such record.")]
pub struct TouchArguments {
    /// Which record.
    #[command(flatten)]
    pub key: KeyArguments,

    /// Time to live from now: seconds, or with s, m, h, d; `never`, `keep`, or `default` (the namespace's).
    #[arg(long, value_name = "TIME", default_value = "default", value_parser = parse_ttl)]
    pub ttl: Ttl,

    /// When it is answered.
    #[command(flatten)]
    pub commit: CommitArguments,
}

/// What to read.
#[derive(Args, Debug)]
#[command(
    after_help = "Records come in no particular order, one a line: the key (the digest, in brackets, where the key was not kept \
with the record) and the bins as JSON. With --json each line is one object with metadata.

Examples:
  corelith scan --limit 10
  corelith scan --set flights --bins carrier,flight --json
  corelith scan --rate 5000"
)]
pub struct ScanArguments {
    /// Node and namespace.
    #[command(flatten)]
    pub place: PlaceArguments,

    /// Only records of this set; the empty name is for records without one.
    #[arg(long, value_name = "NAME", value_parser = parse_set)]
    pub set: Option<String>,

    /// Only these bins.
    #[arg(long, value_name = "BIN,..", value_delimiter = ',')]
    pub bins: Vec<String>,

    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// Records a second that are not to be passed, to leave the node to others.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<NonZeroU32>,
}

/// What to delete.
#[derive(Args, Debug)]
#[command(
    group(clap::ArgGroup::new("what").required(true)),
    after_help = "Deletes what was written before, at once and for good, whatever its size; what is written meanwhile may stay. It asks for \
the name to be typed once more. Where the answer is that it is in doubt, run it again.

Examples:
  corelith truncate --set flights --yes
  corelith truncate --all --yes"
)]
pub struct TruncateArguments {
    /// Node and namespace.
    #[command(flatten)]
    pub place: PlaceArguments,

    /// The records of this set.
    #[arg(long, value_name = "NAME", group = "what", value_parser = parse_named_set)]
    pub set: Option<String>,

    /// All records of the namespace, with a set or without.
    #[arg(long, group = "what")]
    pub all: bool,

    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// Which counters.
#[derive(Args, Debug)]
#[command(
    after_help = "The figures are those of the whole node, all cores and shards together; of times, the mean and the \
buckets that half and 99 % of them are within. With --raw: the same figures as Prometheus text. With --json: one object of \
names, with labels where there are any, and numbers.

Examples:
  corelith stats
  corelith stats --prefix corelith_records
  corelith stats --raw --prefix corelith_operations
  corelith stats --each --json"
)]
pub struct StatsArguments {
    /// The node.
    #[command(flatten)]
    pub node: NodeArguments,

    /// Only counters whose names begin so.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,

    /// Each core and each shard by itself, as the control page shows them.
    #[arg(long)]
    pub each: bool,

    /// Prometheus text, for programs; --json goes before it.
    #[arg(long)]
    pub raw: bool,
}

pub(super) fn parse_generation(text: &str) -> Result<Generation, String> {
    let number = text.parse().ok().and_then(Generation::new);
    number
        .ok_or_else(|| "write a number from 1 to 65535, as `corelith get KEY` shows it".to_owned())
}
