//! Signals: SIGTERM and SIGINT ask for a clean stop; a second one ends the process at once, which
//! loses nothing that was acknowledged. SIGHUP asks for another look at the configuration.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// The signals that the main thread waits for.
pub(crate) struct OperatorSignals(SigSet);

impl OperatorSignals {
    /// Blocks the signals for this thread and all that it starts from here on, so that only
    /// [`OperatorSignals::wait`] receives them.
    ///
    /// # Errors
    /// The kernel's, which a sane system never gives.
    pub(crate) fn block() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGINT);
        set.add(Signal::SIGHUP);
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
