//! The hottest digests of the node: what every core has sampled, put together.

use std::fmt::Write;

use super::snapshot::CoreSnapshot;
use crate::limits::SAMPLE_EVERY;

/// Shares are told in parts of this.
const WHOLE: u64 = 10_000;

/// Sampled requests of a namespace on all cores.
pub(super) fn samples_of(snapshots: &[CoreSnapshot], namespace: &str) -> u64 {
    let namespaces = snapshots.iter().flat_map(|core| &core.namespaces);
    let same = namespaces.filter(|found| *found.name == *namespace);
    same.map(|found| found.hot_keys.samples).sum()
}

/// A share in ten-thousandths; a digest is on one core, so its samples there are all that it has.
pub(super) fn share(samples: u64, of_samples: u64) -> u64 {
    samples * WHOLE / of_samples.max(1)
}

/// The page `/hot`: share, namespace and digest, hottest first.
pub(crate) fn hot_page(snapshots: &[CoreSnapshot]) -> String {
    let mut rows = Vec::new();
    for namespace in snapshots.iter().flat_map(|core| &core.namespaces) {
        let of_samples = samples_of(snapshots, &namespace.name);
        for key in &namespace.hot_keys.keys {
            let share = share(key.own_samples(), of_samples);
            rows.push((share, &namespace.name, key.digest));
        }
    }
    rows.sort_by_key(|(share, ..)| std::cmp::Reverse(*share));
    let mut page = format!(
        "# share of the namespace's sampled requests (1 in {SAMPLE_EVERY}), namespace, digest\n"
    );
    for (share, namespace, digest) in rows.iter().filter(|(share, ..)| *share > 0) {
        let (whole, part) = (share / 100, share % 100);
        // Writing to a string cannot fail.
        let written = writeln!(page, "{whole:>3}.{part:02} %  {namespace}  {digest}");
        debug_assert!(written.is_ok());
    }
    page
}
