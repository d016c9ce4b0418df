//! The store over the simulated machine: one subject a file.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::let_underscore_must_use,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests: a failure is to stop them where it happens"
)]

mod harness;
mod joined;

mod buffered;
mod building;
mod cache;
mod checkpoints;
mod damage;
mod devices;
mod expiry;
mod failures;
mod following;
mod freed_segments;
mod group_commit;
mod long_records;
mod lost_headers;
mod memory_devices;
mod metadata;
mod model;
mod puts;
mod queues;
mod reclaim;
mod restart;
mod scans;
mod scrubs;
mod sets;
mod sizes;
mod slow_decisions;
mod space;
mod summaries;
mod tombstones;
mod truncation;
mod twins;
mod volumes;
