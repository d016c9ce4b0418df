//! What runs a core: the driver with its parking, tasks, and mailboxes between threads.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test; helpers are not seen as such by the lints, and cores are threads"
)]

mod driving;
mod executor;
mod mailboxes;
mod tasks;
