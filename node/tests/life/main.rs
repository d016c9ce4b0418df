//! The node as a process: started, loaded, watched and stopped, judged by its answers, its exit code and what it
//! tells its supervisor.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "tests: a failure is to stop them where it happens"
)]

mod client;
mod process;
mod starting;
mod stopping;
