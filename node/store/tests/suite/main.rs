//! The store over the simulated machine: one subject a file.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::let_underscore_must_use,
    clippy::print_stdout,
    reason = "tests: a failure is to stop them where it happens"
)]

mod harness;

mod expiry;
mod group_commit;
mod metadata;
mod model;
mod puts;
mod restart;
mod sets;
mod sizes;
mod space;
mod tombstones;
mod twins;
