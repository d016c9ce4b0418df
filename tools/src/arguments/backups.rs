//! `corelith backup` and `corelith restore`: what they take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{NodeArguments, PlaceArguments};
use crate::set_name::parse_set;
use crate::size::parse_size;

/// What to back up, and where to.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "All that the records have is kept: key, set, digest, bins byte for byte, generation, time of expiry and of the \
last update. The file is packed, each of its blocks has checksums, and it appears under its name when it is whole.

The node goes on serving. Each record is as it was at some moment between the first and the last read of its partition (there are \
4,096, read one after the other, several at once); a record written or deleted meanwhile may be in or not. This is no \
snapshot: two records that were written together may be there in an old and a new version.

A backup that was interrupted, however hard, is gone on with by the same command; what was read already is not read again.

--since-backup takes records written since an earlier backup began. Records that were deleted since are not told: a restore of \
both brings them back.

Examples:
  corelith backup --output test.backup
  corelith backup --output flights.backup --set flights --rate 50M
  corelith backup --output monday.backup --since-backup test.backup
  corelith backup verify test.backup

Exit code 2 says that the backup is whole but for damaged records, which are named, or that it is unfinished."
)]
pub struct BackupArguments {
    /// What to do with a backup that is there.
    #[command(subcommand)]
    pub command: Option<BackupCommand>,

    /// Node and namespace.
    #[command(flatten)]
    pub place: PlaceArguments,

    /// The file; it must not be there.
    #[arg(long, value_name = "FILE", required = true)]
    pub output: Option<PathBuf>,

    /// Only records of this set; the empty name is for records without one.
    #[arg(long, value_name = "NAME", value_parser = parse_set)]
    pub set: Option<String>,

    /// Only records written since this earlier backup began (ten minutes earlier, for clocks that differ).
    #[arg(long, value_name = "FILE")]
    pub since_backup: Option<PathBuf>,

    /// Bytes of records to read each second at most; K, M and G are powers of 1024 [default: no bound]
    #[arg(long = "rate", value_name = "SIZE", value_parser = parse_size)]
    pub rate_bytes: Option<u64>,

    /// Partitions to read at once. Each takes up to 20 MiB of memory while it is read, mostly far less.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: u16,
}

/// What to do with a backup that is there.
#[derive(Subcommand, Debug)]
pub enum BackupCommand {
    /// Read a backup from its start to its end and check all of it
    Verify(BackupVerifyArguments),
}

/// Which backup.
#[derive(Args, Debug)]
#[command(after_help = "No node is needed.

Examples:
  corelith backup verify test.backup
  corelith backup verify test.backup --json

Exit code 1 says that the backup is cut off, damaged or none; the message has the place.")]
pub struct BackupVerifyArguments {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What to write back, and how.
#[derive(Args, Debug)]
#[command(
    after_help = "Each record gets back its key, set, bins and time of expiry; those that have expired since are left out and counted. Its \
generation begins anew: 1 where there was no record, one more than before where there was. Its time of last update is that of \
the restore. The node may have other shards, cores and drives than the one that was backed up.

A write whose answer was lost is tried again: that is safe here, because a record restored twice is the same record.

With --journal a restore that was interrupted is gone on with by the same command; without one it begins anew, which comes to \
the same records.

Examples:
  corelith restore test.backup --mode create-only
  corelith restore test.backup --namespace test --mode newer-update --journal restore.journal
  corelith restore flights.backup --rate 50M --json

Exit code 2 says that some records were not restored; the counts say how many."
)]
pub struct RestoreArguments {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The node.
    #[command(flatten)]
    pub node: NodeArguments,

    /// The namespace to write into [default: the one that was backed up]
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// What to do where a record is there.
    #[arg(long, value_name = "MODE", default_value = "replace")]
    pub mode: RestoreMode,

    /// Note in this file what has been restored, and go on from there if it is there. It is removed at the
    /// end.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// Bytes of records to write each second at most; K, M and G are powers of 1024 [default: no bound]
    #[arg(long = "rate", value_name = "SIZE", value_parser = parse_size)]
    pub rate_bytes: Option<u64>,

    /// Records on their way at once.
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,

    /// Stop after so many records that cannot be restored.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub failures_max: u64,
}

/// What a restore does with records that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum RestoreMode {
    /// The record of the backup replaces it.
    Replace,
    /// It stays.
    CreateOnly,
    /// The one with the higher generation stays. A record that was restored before begins with 1 again.
    NewerGeneration,
    /// The one that was last written later stays.
    NewerUpdate,
}
