//! `--check`: everything that a start would look at, looked at, and nothing done. Devices are only read, so a
//! node that is running with the same configuration goes on undisturbed.

use std::fmt::Write;

use corelith_io::{Access, Preflight};
use corelith_store::limits::INDEX_ADMITTED_PERCENT;

use super::{BootError, chosen_cpus};
use crate::configuration::{Configuration, Storage};
use crate::memory_plan::MemoryPlan;
use crate::volume_setup;

/// Looks at everything, and says what a start would do.
///
/// # Errors
/// Why a start would fail.
pub(crate) fn check(configuration: &Configuration) -> Result<String, BootError> {
    let found = Preflight::run()?;
    let mut report = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let written = writeln!(report, "{text}");
        debug_assert!(written.is_ok());
    };
    for setting in configuration.settings() {
        line(format_args!("{} = {}", setting.path, setting.value));
    }
    let volumes = volume_setup::open(configuration, Access::ReadOnly)?;
    let needs = volume_setup::needs_of_all(configuration, &volumes);
    for volume in &volumes {
        line(format_args!(
            "namespace {:?} would be served from {}",
            volume.namespace(),
            volume.describe()
        ));
    }
    for namespace in &configuration.namespaces {
        if namespace.is_in_memory {
            let shards = volume_setup::shard_count_of_new(namespace);
            line(format_args!(
                "namespace {:?} would be made in memory: {} MiB, {shards} shards",
                namespace.name(),
                namespace.size_bytes >> 20,
            ));
        }
        if let Storage::File(path) = namespace.storage()
            && !path.exists()
        {
            let shards = volume_setup::shard_count_of_new(namespace);
            line(format_args!(
                "namespace {:?} would be made in {}: {} MiB, {shards} shards",
                namespace.name(),
                path.display(),
                namespace.size_bytes >> 20,
            ));
        }
    }
    let shards = needs.iter().map(|needs| usize::from(needs.shard_count));
    let shard_count = shards.sum();
    let cpus = chosen_cpus(&configuration.cores, shard_count)?;
    line(format_args!(
        "cores on the CPUs {cpus:?}, {shard_count} shards, Linux {}",
        found.kernel_release
    ));
    let memory = MemoryPlan::new(configuration, cpus.len(), &needs)?;
    line(format_args!(
        "memory that is planned, and the keys that make it less (an index refuses new keys at \
         {INDEX_ADMITTED_PERCENT} % of its part):\n{memory}"
    ));
    line(format_args!(
        "nothing wrong was found; whether the addresses are free shows only at a start"
    ));
    Ok(report)
}
