//! `corelith volume create` and `corelith volume show`: what they take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::size::parse_size;

/// What to do with volumes.
#[derive(Subcommand, Debug)]
pub enum VolumeCommand {
    /// Make one volume of devices or files
    Create(VolumeCreateArguments),
    /// Show what devices say of themselves; works beside a running node
    Show(VolumeShowArguments),
}

/// What to make of what.
#[derive(Args, Debug)]
#[command(
    after_help = "Every device must be plainly free: not in use, no signature of a file system, partition table, RAID, LVM, \
encryption, cache or other database on it, no label of ours, and zeros in its first and last MiB. What is found is said. \
--force overwrites what is there; what is in use is never overwritten.

A path at which there is nothing becomes a file of --size, its space reserved.

Examples:
  corelith volume create /dev/nvme0n1 /dev/nvme1n1
  corelith volume create --shards 16 --namespace payments /dev/nvme0n1
  corelith volume create --size 4G --shards 8 ./volume.corelith"
)]
pub struct VolumeCreateArguments {
    /// Block devices, preallocated files, or with --size paths of new files.
    #[arg(required = true, value_name = "DEVICE")]
    pub devices: Vec<PathBuf>,

    /// The namespace whose records the volume shall hold.
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub namespace: String,

    /// Shards, 1 to 256: the most cores that can ever serve the volume. Fixed for its life [default:
    /// the larger of 8 and the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: Option<u16>,

    /// Unit of allocation: a power of two from 64K to 64M. A record takes at most half of it.
    #[arg(long = "segment-size", value_name = "SIZE", default_value = "16M", value_parser = parse_size)]
    pub segment_size_bytes: u64,

    /// Unit in which devices are shared among shards: a power of two from the segment size to 1G
    /// [default: the largest that gives each shard eight]
    #[arg(long = "extent-size", value_name = "SIZE", value_parser = parse_size)]
    pub extent_size_bytes: Option<u64>,

    /// Size of each file to be made where a path leads to nothing.
    #[arg(long = "size", value_name = "SIZE", value_parser = parse_size)]
    pub size_bytes: Option<u64>,

    /// Overwrite what is found on the devices. It is lost.
    #[arg(long)]
    pub force: bool,
}

/// What to look at.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corelith volume show /dev/nvme0n1 /dev/nvme1n1
  corelith --json volume show ./volume.corelith

Exit code 1 says that a device has no valid label, or that devices of a volume are missing; \
what could be read is shown all the same.")]
pub struct VolumeShowArguments {
    /// Block devices or files. All devices of a volume together show whether it is whole.
    #[arg(required = true, value_name = "DEVICE")]
    pub devices: Vec<PathBuf>,
}
