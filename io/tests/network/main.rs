//! Listeners and streams of the ring against plain blocking clients.
#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test; helpers are not seen as such by the lints, and clients are threads"
)]

mod listening;
mod rig;
mod streaming;
