//! How much memory the node may plan with: what the configuration says, or a share of what the machine or
//! the control group of the process has.

use std::fmt;
use std::path::Path;

use crate::limits::{MACHINE_BYTES_UNKNOWN, MEMORY_LIMIT_PERCENT};

/// A limit, and where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemoryLimit {
    pub(crate) bytes: u64,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Configured,
    Machine { total_bytes: u64 },
    ControlGroup { limit_bytes: u64 },
    Unknown,
}

impl MemoryLimit {
    /// As the configuration says, or a share of what there is.
    pub(crate) fn of(configured_bytes: Option<u64>) -> Self {
        configured_bytes.map_or_else(|| Self::found_in(Path::new("/")), Self::configured)
    }

    /// As the configuration says.
    pub(crate) const fn configured(bytes: u64) -> Self {
        Self {
            bytes,
            source: Source::Configured,
        }
    }

    /// Who says it, in a word.
    pub(crate) const fn source(&self) -> &'static str {
        match self.source {
            Source::Configured => "configured",
            Source::Machine { .. } => "machine",
            Source::ControlGroup { .. } => "control_group",
            Source::Unknown => "unknown",
        }
    }

    /// A share of what the kernel says below `root`.
    fn found_in(root: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        let total_bytes = read("proc/meminfo").and_then(|text| total_bytes(&text));
        let group_bytes = read("proc/self/cgroup").and_then(|groups| group_bytes(root, &groups));
        let (there_bytes, source) = match (total_bytes, group_bytes) {
            (Some(total_bytes), Some(limit_bytes)) if limit_bytes >= total_bytes => {
                (total_bytes, Source::Machine { total_bytes })
            }
            (_, Some(limit_bytes)) => (limit_bytes, Source::ControlGroup { limit_bytes }),
            (Some(total_bytes), None) => (total_bytes, Source::Machine { total_bytes }),
            (None, None) => (MACHINE_BYTES_UNKNOWN, Source::Unknown),
        };
        Self {
            bytes: there_bytes / 100 * MEMORY_LIMIT_PERCENT,
            source,
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes >> 20;
        write!(formatter, "{} MiB", mebibytes(self.bytes))?;
        let (what, of_bytes) = match self.source {
            Source::Configured => return write!(formatter, ", as configured"),
            Source::Unknown => {
                return write!(formatter, ", as the machine does not say what it has");
            }
            Source::Machine { total_bytes } => ("the machine's", total_bytes),
            Source::ControlGroup { limit_bytes } => ("the control group's", limit_bytes),
        };
        let of = mebibytes(of_bytes);
        write!(formatter, ", {MEMORY_LIMIT_PERCENT} % of {what} {of} MiB")
    }
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least limit of the process's control groups and of those above them. Version 2 has one hierarchy and says
/// "max" for none; version 1 has one for memory and a number beyond all machines.
fn group_bytes(root: &Path, groups: &str) -> Option<u64> {
    let of_groups = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = Path::new(path.trim_start_matches('/'));
        let is_memory = controllers
            .split(',')
            .any(|controller| controller == "memory");
        if controllers.is_empty() {
            let files = ["memory.max", "memory.high"];
            least_above(&root.join("sys/fs/cgroup"), path, &files)
        } else if is_memory {
            let files = ["memory.limit_in_bytes"];
            least_above(&root.join("sys/fs/cgroup/memory"), path, &files)
        } else {
            None
        }
    });
    of_groups.min()
}

/// The least number in `files` of `base`/`path` and of every folder above, up to `base`. In a container `path` may
/// be one of the host's that is not to be seen, and its own group is at `base`.
fn least_above(base: &Path, path: &Path, files: &[&str]) -> Option<u64> {
    let folders = path.ancestors().map(|folder| base.join(folder));
    let texts = folders
        .flat_map(|folder| files.iter().map(move |file| folder.join(file)))
        .filter_map(|file| std::fs::read_to_string(file).ok());
    texts.filter_map(|text| text.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> MemoryLimit {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        MemoryLimit::found_in(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:  1048576 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_machine_s_memory_is_shared() {
        let limit = machine(&[MEMINFO]);
        let gibibyte = 1 << 30;
        assert_eq!(limit.bytes, gibibyte / 100 * MEMORY_LIMIT_PERCENT);
        assert!(limit.to_string().contains("machine's 1024 MiB"), "{limit}");
        assert!(machine(&[]).bytes > 0);
        assert_eq!(MemoryLimit::of(Some(7)).bytes, 7);
        assert!(MemoryLimit::of(None).bytes > 0);
    }

    #[test]
    fn a_control_group_s_limit_goes_before_if_it_is_less() {
        let of_group = |files: &[(&str, &str)]| machine(&[&[MEMINFO], files].concat());
        let is_group = |limit: MemoryLimit, mebibytes: u64| {
            assert_eq!(limit.bytes, (mebibytes << 20) / 100 * MEMORY_LIMIT_PERCENT);
            assert!(limit.to_string().contains("control group"), "{limit}");
        };
        let second = ("proc/self/cgroup", "0::/system.slice/corelithd.service\n");
        is_group(
            of_group(&[
                second,
                (
                    "sys/fs/cgroup/system.slice/corelithd.service/memory.max",
                    "max\n",
                ),
                ("sys/fs/cgroup/system.slice/memory.max", "268435456\n"),
            ]),
            256,
        );
        is_group(
            of_group(&[
                second,
                (
                    "sys/fs/cgroup/system.slice/corelithd.service/memory.max",
                    "536870912\n",
                ),
                (
                    "sys/fs/cgroup/system.slice/corelithd.service/memory.high",
                    "134217728\n",
                ),
            ]),
            128,
        );
        // The host's path is not to be seen from within.
        let first = (
            "proc/self/cgroup",
            "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n",
        );
        let inside = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
        is_group(of_group(&[first, inside]), 64);
        let none = (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        let limit = of_group(&[first, none]);
        assert!(limit.to_string().contains("machine"), "{limit}");
    }
}
