//! What a ring found and what it does without, for the boot log. It decides nothing.

use std::fmt;

use crate::errno::Errno;
use crate::sys::ring::SetUp;

/// Features that a ring is to do without, as if the kernel lacked them: for tests and for comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeatureMask {
    /// Completions worked off only by the owner's own calls (SINGLE_ISSUER and DEFER_TASKRUN).
    pub deferred_completions: bool,
    /// A table of registered files.
    pub registered_files: bool,
    /// The registered arena.
    pub registered_buffers: bool,
    /// Receives and accepts that go on until cancelled, and the buffers for them.
    pub multishot: bool,
    /// The kernel's own bound on what a multishot receive takes (Linux 6.16).
    pub receive_limit: bool,
}

/// What a ring works with. `Display` gives one line for the boot log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RingFeatures {
    /// How completions are worked off.
    pub(crate) set_up: SetUp,
    /// Places in the table of registered files.
    pub(crate) registered_file_count: u32,
    /// Registered bytes of the arena.
    pub(crate) registered_bytes: usize,
    pub(crate) multishot_receive: bool,
    pub(crate) multishot_accept: bool,
    /// Whether multishot receives are bounded by the kernel. Found out by the first.
    pub(crate) receive_limit: bool,
    /// What is missing, and why.
    pub(crate) lacking: Vec<Lack>,
}

impl RingFeatures {
    /// What is missing, and why; empty on a kernel and with limits as they should be.
    #[must_use]
    pub fn lacking(&self) -> &[Lack] {
        &self.lacking
    }

    /// Bytes of the arena that are registered; 0 if it is not.
    #[must_use]
    pub fn registered_bytes(&self) -> usize {
        self.registered_bytes
    }

    /// Whether the kernel bounds what such a receive takes; true until it has refused the first.
    #[must_use]
    pub fn has_receive_limit(&self) -> bool {
        self.receive_limit
    }

    /// Whether connections receive into the ring's own buffers until cancelled.
    #[must_use]
    pub fn has_multishot_receive(&self) -> bool {
        self.multishot_receive
    }
}

impl fmt::Display for RingFeatures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let completions = match self.set_up {
            SetUp::Deferred => "deferred completions",
            SetUp::Cooperative => "cooperative completions",
            SetUp::Plain => "interrupting completions",
        };
        write!(
            formatter,
            "{completions}, {} registered files",
            self.registered_file_count
        )?;
        write!(
            formatter,
            ", {} MiB registered buffers",
            self.registered_bytes >> 20
        )?;
        if self.multishot_receive {
            write!(formatter, ", multishot receive")?;
        }
        if self.multishot_accept {
            write!(formatter, ", multishot accept")?;
        }
        Ok(())
    }
}

/// A feature that is missing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Lack {
    /// The kernel refused SINGLE_ISSUER and DEFER_TASKRUN.
    #[error("no deferred completions: {errno}")]
    DeferredCompletions {
        /// What the kernel said.
        errno: Errno,
    },
    /// The queues had to be smaller than configured; busy cores enter the kernel more often.
    #[error(
        "a ring of {entries} entries instead of {wanted}: the limit of locked memory is {}: raise it \
         (LimitMEMLOCK= of the systemd unit, `ulimit -l`, /etc/security/limits.conf) or grant \
         CAP_IPC_LOCK",
        .limit_bytes.map_or_else(|| "not set".to_owned(), |limit| format!("{limit} bytes"))
    )]
    Entries {
        /// What was had.
        entries: u32,
        /// What was configured.
        wanted: u32,
        /// RLIMIT_MEMLOCK; `None` if unlimited.
        limit_bytes: Option<u64>,
    },
    /// The kernel refused the table of files.
    #[error("no registered files: {errno}")]
    RegisteredFiles {
        /// What the kernel said.
        errno: Errno,
    },
    /// The arena could not be registered; every device operation costs a little more.
    #[error(
        "no registered buffers: {errno}; the arena needs {arena_bytes} bytes of locked memory and \
         the limit is {}: raise it (LimitMEMLOCK= of the systemd unit, `ulimit -l`, \
         /etc/security/limits.conf) or grant CAP_IPC_LOCK",
        .limit_bytes.map_or_else(|| "not set".to_owned(), |limit| format!("{limit} bytes"))
    )]
    RegisteredBuffers {
        /// What the kernel said.
        errno: Errno,
        /// The arena's size.
        arena_bytes: usize,
        /// RLIMIT_MEMLOCK; `None` if unlimited.
        limit_bytes: Option<u64>,
    },
    /// The kernel refused the receive buffers.
    #[error("no multishot receive: {errno}")]
    MultishotReceive {
        /// What the kernel said.
        errno: Errno,
    },
    /// Left out by the configuration.
    #[error("{feature} left out by the configuration")]
    LeftOut {
        /// Which feature.
        feature: &'static str,
    },
}
