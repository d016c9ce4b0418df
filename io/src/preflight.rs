//! Whether this machine lets the process have an io_uring, and if not, what to do about it, in one
//! message. It changes nothing.

use std::fmt;

use nix::sys::resource::{Resource, getrlimit};

use crate::errno::Errno;
use crate::sys::ring::{SetUp, Uring};

/// The oldest kernel: the first with deferred completions.
const KERNEL_MIN: KernelRelease = KernelRelease { major: 6, minor: 1 };

/// What was found on a machine that can run Corelith.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preflight {
    /// As `uname -r` says it.
    pub kernel_release: String,
    /// How much memory the process may lock; `None` if unlimited.
    pub memlock_bytes: Option<u64>,
}

impl Preflight {
    /// Makes a small ring and drops it.
    ///
    /// # Errors
    /// Why there is none, with the remedy.
    pub fn run() -> Result<Self, Refusal> {
        let surroundings = Surroundings::find();
        surroundings.check_kernel()?;
        match Uring::<()>::new(1, 4, 1, 0, SetUp::Plain) {
            Ok(_ring) => Ok(Self {
                kernel_release: surroundings.kernel_release,
                memlock_bytes: memlock_bytes(),
            }),
            Err(errno) => Err(surroundings.diagnose(errno)),
        }
    }
}

/// Why there is no io_uring. Each message names the remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// kernel.io_uring_disabled is 2.
    #[error(
        "io_uring is switched off on this machine (kernel.io_uring_disabled = 2): run \
         `sysctl kernel.io_uring_disabled=0` and make it last in /etc/sysctl.d"
    )]
    SwitchedOff,
    /// kernel.io_uring_disabled is 1 and the process is not privileged.
    #[error(
        "io_uring is for privileged processes only on this machine (kernel.io_uring_disabled = 1): \
         add this user to the group of kernel.io_uring_group, or run \
         `sysctl kernel.io_uring_disabled=0`"
    )]
    PrivilegedOnly,
    /// A seccomp profile filters the calls, as container engines do by default.
    #[error(
        "the container's seccomp profile forbids io_uring ({errno}): allow io_uring_setup, \
         io_uring_enter and io_uring_register in the profile (docker run \
         --security-opt seccomp=profile.json, or seccomp=unconfined to try; in Kubernetes \
         securityContext.seccompProfile)"
    )]
    Filtered {
        /// What the call gave.
        errno: Errno,
    },
    /// The kernel is older than 6.1.
    #[error("the kernel is too old: this is {release}, and Corelith needs Linux 6.1 or newer")]
    KernelTooOld {
        /// As `uname -r` says it.
        release: String,
    },
    /// The kernel was built without it, or is something else than Linux underneath.
    #[error(
        "this kernel ({release}) has no io_uring: it was built without CONFIG_IO_URING, or a \
         sandbox stands in for it; run on a Linux 6.1 or newer that has it"
    )]
    Missing {
        /// As `uname -r` says it.
        release: String,
    },
    /// No memory for the ring, or none that may be locked.
    #[error(
        "the kernel has no memory for a ring (limit of locked memory: {}): free memory, or raise \
         the limit (LimitMEMLOCK= of the systemd unit, `ulimit -l`)",
        .memlock_bytes.map_or_else(|| "none".to_owned(), |limit| format!("{limit} bytes"))
    )]
    NoMemory {
        /// RLIMIT_MEMLOCK; `None` if unlimited.
        memlock_bytes: Option<u64>,
    },
    /// Something else.
    #[error("the kernel ({release}) refused an io_uring: {errno}; a security module may forbid it")]
    Other {
        /// As `uname -r` says it.
        release: String,
        /// What the call gave.
        errno: Errno,
    },
}

/// RLIMIT_MEMLOCK; `None` if unlimited.
pub(crate) fn memlock_bytes() -> Option<u64> {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((limit, _)) if limit == libc::RLIM_INFINITY => None,
        Ok((limit, _)) => Some(limit),
        Err(_) => None,
    }
}

/// What the process can see of its surroundings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Surroundings {
    kernel_release: String,
    /// kernel.io_uring_disabled, where it exists (Linux 6.6).
    disabled: Option<u32>,
    /// Whether a seccomp filter is upon the process.
    filtered: bool,
}

impl Surroundings {
    pub(crate) fn find() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let release = nix::sys::utsname::uname().ok();
        let release = release
            .as_ref()
            .map(|names| names.release().to_string_lossy().into_owned());
        Self {
            kernel_release: release.unwrap_or_else(|| "unknown".to_owned()),
            disabled: disabled.ok().and_then(|text| text.trim().parse().ok()),
            filtered: seccomp_mode(&status) == Some(2),
        }
    }

    /// Refuses kernels before 6.1; a release that cannot be read is let through to the attempt.
    pub(crate) fn check_kernel(&self) -> Result<(), Refusal> {
        match KernelRelease::parse(&self.kernel_release) {
            Some(release) if release < KERNEL_MIN => Err(Refusal::KernelTooOld {
                release: self.kernel_release.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// What an error of io_uring_setup means here.
    pub(crate) fn diagnose(&self, errno: Errno) -> Refusal {
        let release = self.kernel_release.clone();
        match errno {
            Errno::EPERM | Errno::EACCES => match (self.disabled, self.filtered) {
                (Some(2), _) => Refusal::SwitchedOff,
                (Some(1), _) => Refusal::PrivilegedOnly,
                (_, true) => Refusal::Filtered { errno },
                (_, false) => Refusal::Other { release, errno },
            },
            Errno::ENOSYS if self.filtered => Refusal::Filtered { errno },
            Errno::ENOSYS => Refusal::Missing { release },
            Errno::EINVAL | Errno::EOPNOTSUPP => Refusal::KernelTooOld { release },
            Errno::ENOMEM => Refusal::NoMemory {
                memlock_bytes: memlock_bytes(),
            },
            errno => Refusal::Other { release, errno },
        }
    }
}

/// The number behind "Seccomp:" in /proc/self/status: 0 none, 1 strict, 2 filter.
fn seccomp_mode(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))?;
    line.trim().parse().ok()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct KernelRelease {
    major: u32,
    minor: u32,
}

impl KernelRelease {
    /// The first two numbers of "6.18.44-fc".
    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|character: char| !character.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for Preflight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Linux {}, ", self.kernel_release)?;
        match self.memlock_bytes {
            Some(limit) => write!(formatter, "{} KiB of lockable memory", limit >> 10),
            None => write!(formatter, "lockable memory unlimited"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KernelRelease, Preflight, Refusal, Surroundings, seccomp_mode};
    use crate::errno::Errno;

    fn surroundings(release: &str, disabled: Option<u32>, filtered: bool) -> Surroundings {
        Surroundings {
            kernel_release: release.to_owned(),
            disabled,
            filtered,
        }
    }

    #[test]
    fn this_machine_passes() {
        let preflight = Preflight::run().expect("the tests need io_uring");
        assert!(preflight.to_string().starts_with("Linux "));
    }

    #[test]
    fn each_cause_is_told_apart() {
        let released = "6.12.3";
        let sysctl_off = surroundings(released, Some(2), true);
        assert_eq!(sysctl_off.diagnose(Errno::EPERM), Refusal::SwitchedOff);
        let group_only = surroundings(released, Some(1), false);
        assert_eq!(group_only.diagnose(Errno::EPERM), Refusal::PrivilegedOnly);
        let container = surroundings(released, Some(0), true);
        let refusal = container.diagnose(Errno::EPERM);
        assert_eq!(
            refusal,
            Refusal::Filtered {
                errno: Errno::EPERM
            }
        );
        assert!(refusal.to_string().contains("seccomp"));
        let refusal = container.diagnose(Errno::ENOSYS);
        assert_eq!(
            refusal,
            Refusal::Filtered {
                errno: Errno::ENOSYS
            }
        );
        let bare = surroundings(released, None, false);
        assert!(matches!(
            bare.diagnose(Errno::ENOSYS),
            Refusal::Missing { .. }
        ));
        assert!(matches!(bare.diagnose(Errno::EPERM), Refusal::Other { .. }));
        assert!(matches!(
            bare.diagnose(Errno::EINVAL),
            Refusal::KernelTooOld { .. }
        ));
        assert!(matches!(
            bare.diagnose(Errno::ENOMEM),
            Refusal::NoMemory { .. }
        ));
    }

    #[test]
    fn old_kernels_are_refused_and_unknown_ones_tried() {
        for old in ["5.15.0-91-generic", "6.0.19", "4.18.0-513.el8.x86_64"] {
            let refused = surroundings(old, None, false).check_kernel();
            assert_eq!(
                refused,
                Err(Refusal::KernelTooOld {
                    release: old.to_owned()
                })
            );
        }
        for new in ["6.1.0-18-amd64", "6.18.44-fc", "7.0", "odd"] {
            assert_eq!(surroundings(new, None, false).check_kernel(), Ok(()));
        }
        let release = KernelRelease {
            major: 10,
            minor: 2,
        };
        assert_eq!(KernelRelease::parse("10.2-rc1"), Some(release));
    }

    #[test]
    fn the_seccomp_mode_is_found() {
        assert_eq!(
            seccomp_mode("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
            Some(2)
        );
        assert_eq!(seccomp_mode("Name:\tx\n"), None);
    }
}
