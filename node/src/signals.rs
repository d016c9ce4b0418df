//! Signals: SIGTERM and SIGINT ask for a clean stop; a second one ends the process at once, which
//! loses nothing that was acknowledged.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// The signals that the main thread waits for.
pub(crate) struct StopSignals(SigSet);

impl StopSignals {
    /// Blocks the signals for this thread and all that it starts from here on, so that only
    /// [`StopSignals::wait`] receives them.
    ///
    /// # Errors
    /// The kernel's, which a sane system never gives.
    pub(crate) fn block() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGINT);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        Ok(Self(set))
    }

    /// Waits for the next one.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn wait(&self) -> nix::Result<Signal> {
        self.0.wait()
    }
}
