//! The native protocol from outside: golden frames, hostile frames, round trips, allocations.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod allocations;
mod batches;
mod golden;
mod hostile;
mod round_trip;
mod samples;
