//! The CPUs that this process may run on, in the order in which cores take them.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The CPUs of the process's affinity mask, lowest first. Never empty: a process runs somewhere.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return vec![0];
    };
    let allowed: Vec<usize> = (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect();
    if allowed.is_empty() { vec![0] } else { allowed }
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_a_cpu() {
        assert!(!super::allowed_cpus().is_empty());
    }
}
