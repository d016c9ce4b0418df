//! The number of descriptors that this process may open: raised as far as the system lets it, and said if that
//! is less than its connections can need.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::limits::DESCRIPTORS_PER_CORE;

/// Raises the limit, and says what is missing. A node goes on with any: connections beyond wait to be accepted.
pub(crate) fn raise_limit(core_count: usize, connections_and_devices: (usize, usize)) {
    let wanted = wanted(core_count, connections_and_devices);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(limit) if limit < wanted => tracing::warn!(
            limit,
            wanted,
            "fewer descriptors may be opened than all connections would need: beyond that, new ones wait; raise \
             LimitNOFILE= of the service, or `ulimit -n`"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of descriptors cannot be raised"),
    }
}

/// What all cores can need.
fn wanted(core_count: usize, (connections, devices): (usize, usize)) -> u64 {
    let per_core = connections + DESCRIPTORS_PER_CORE + devices;
    corelith_io::to_u64(per_core.saturating_mul(core_count))
}
