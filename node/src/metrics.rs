//! What a core counts, and the page that shows it: Prometheus text form, names in base units.
//!
//! Counters are a core's own cells; a snapshot of them travels to the control thread, or to another
//! core, when it asks. `node/METRICS.md` lists every family; a test holds page and list to each other.

mod counters;
mod figures;
mod hot;
mod operations;
mod page;
mod snapshot;

pub(crate) use counters::{CoreMetrics, add, bump};
pub(crate) use hot::hot_page;
pub(crate) use operations::Outcomes;
pub(crate) use page::{NodeFigures, Page, render};
#[cfg(test)]
pub(crate) use snapshot::ShardSnapshot;
pub(crate) use snapshot::{CoreSnapshot, NamespaceSnapshot};

#[cfg(test)]
mod tests;
