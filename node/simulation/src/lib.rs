//! The store under seeded faults: a deterministic executor, clients, power cuts, and an oracle that knows
//! what may be answered.
//!
//! A run follows from its seed alone. A failure prints the seed; the seed replays it.
//!
//! Reading order: what is simulated (`subject`), what it may answer (`oracle`), who asks (`client`), what a
//! seed stands for (`scenario`), how one run goes (`run`). Apart from these, the same drives for a real kernel (`served_drive`).
#![forbid(unsafe_code)]

pub mod limits;

pub mod subject;
pub mod time;
pub mod value;

pub mod executor;
pub mod feed;
pub mod oracle;

pub mod client;
pub mod harm;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seeds;
pub mod shard_subject;

pub mod served_drive;
