//! The client's one kind of lock: short, never held across an await, and not poisoned by a panic of a
//! caller's own code, which never runs under it.

use std::sync::PoisonError;

/// A value that tasks of several threads take turns on.
#[derive(Debug, Default)]
#[expect(
    clippy::disallowed_types,
    reason = "the client is no core: its callers may share it between threads"
)]
pub(crate) struct Lock<T>(std::sync::Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        #[expect(clippy::disallowed_types, reason = "as above")]
        Lock(std::sync::Mutex::new(value))
    }

    /// Runs `work` on the value while nobody else does.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
