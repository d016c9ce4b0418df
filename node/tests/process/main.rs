//! `corelithd` as a process, as its operator, its supervisor and its clients meet it: what it says when it cannot
//! start, that whatever strangers send it goes on serving, and that a stop loses nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "tests: a failure is to stop them where it happens"
)]

mod bad_days;
mod batches;
mod clocks;
mod connections;
mod copies;
mod deadlines;
mod full_device;
mod hot_keys;
mod large_records;
mod memory;
mod memory_answers;
mod operators;
mod order;
mod peer;
mod running;
mod scans;
mod starting;
mod stopping;
mod strangers;
mod supervised;
mod unprivileged;
