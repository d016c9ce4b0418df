//! The record log of one shard: segments, batches, recovery. Bins are opaque bytes here.
//!
//! Plain futures over `corelith_io`'s devices, driven by whoever runs them: the node on its cores, the
//! simulator on its own executor. Everything of a shard stays on one thread.
//!
//! Three invariants:
//! 1. A write is acknowledged, and shows in the index, only when it is durable; no reader ever sees
//!    what a power cut could take back.
//! 2. Nothing is updated in place: every byte of a segment is written once in a life, and every
//!    structure's checksum binds it to its volume, device, place and life.
//! 3. What a device returns is believed only after its checksums, digest and generation agree; damage
//!    is an error for the records concerned, never an older version and never a panic.
//!
//! Read `FORMAT.md` beside this crate first, then the modules in the order below.
#![forbid(unsafe_code)]

pub mod limits;

/// Whether deliberate faults can be planted in this build: never in a program that ships.
pub const HAS_PLANTED_BUGS: bool = cfg!(feature = "planted-bugs");

mod life;
mod lsn;
mod place;
mod version;

pub mod format;
mod joined_reads;
mod layout;
pub mod volume;

mod error;
mod record;
mod record_cache;
mod shard;

mod notify;
mod outcome;
mod pause;
mod pieces;
mod sets;
mod store_clock;
mod turns;

mod batch;
mod log;
mod segments;
mod state;

mod admission;
mod allocation;
mod announced;
mod chain;
mod checkpoint;
mod commit;
mod committer;
mod damage;
mod expiry;
mod following;
mod index_walk;
mod newest;
pub mod planted;
mod progress;
mod reader;
mod reclaim;
mod recovery;
mod room;
mod scan;
mod scrub;
mod seal;
mod truncation;
mod writer;

pub use announced::fetch_ahead;
pub use checkpoint::CheckpointPace;
pub use commit::Commit;
pub use damage::DamagedRecord;
pub use error::{OpenError, ReadError, WriteError};
pub use following::{ChangeBatch, ChangeKind, FollowError, Follower, LogChange};
pub use format::record_header::RecordError;
pub use layout::DeviceLayout;
pub use life::Life;
pub use lsn::Lsn;
pub use place::{SegmentNumber, SegmentPlace};
pub use progress::{RecoveredSoFar, RecoveryProgress};
pub use record::{Metadata, Record};
pub use record_cache::RecordCacheStatistics;
pub use recovery::RecoveryReport;
pub use scan::{ScanBounds, ScanPage};
pub use scrub::{Scrub, ScrubStep};
pub use segments::SegmentCounts;
pub use sets::SetError;
pub use shard::{Shard, ShardOptions, ShardStatistics};
pub use state::Counters;
pub use store_clock::ClockDoubt;
pub use truncation::{Truncate, TruncateError};
pub use version::Version;
pub use writer::{Change, Current, Needs, Written};
