//! Handing a descriptor to a library that takes raw ones (an executor's own sockets and eventfds). It
//! opens and closes nothing.
#![expect(
    unsafe_code,
    reason = "ownership of a descriptor passes through a raw number"
)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// Makes a library's own type over a descriptor, which it owns from then on. The type must be one for such
/// descriptors: a socket's for a socket.
#[must_use]
pub fn adopt_descriptor<T: FromRawFd>(descriptor: OwnedFd) -> T {
    let raw = descriptor.into_raw_fd();
    // SAFETY: `raw` is open and owned by nobody else: it was just taken out of its only owner.
    unsafe { T::from_raw_fd(raw) }
}
