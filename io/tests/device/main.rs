//! Real devices through the real ring: loop devices and files.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "a test; helpers are not seen as such by the lints"
)]

mod opening;
mod operations;
mod rig;
mod ring_limits;
