//! `corelithd` as a process, as its operator and its clients meet it on bad days: what it says when it cannot
//! start, and that whatever strangers send, it goes on serving and loses nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests: a failure is to stop them where it happens"
)]

mod full_device;
mod peer;
mod running;
mod starting;
mod strangers;
mod unprivileged;
