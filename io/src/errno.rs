//! An error number of the kernel, as the kernel gave it. It never interprets: whoever holds one decides what it means.

use std::fmt;

/// A positive `errno` of Linux.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The device failed: what media errors look like.
    pub const EIO: Self = Self(libc::EIO);
    /// The device is no more: it was removed, or the kernel has given it up.
    pub const ENODEV: Self = Self(libc::ENODEV);
    /// There is no such device behind the name, or no such place on it.
    pub const ENXIO: Self = Self(libc::ENXIO);
    /// Interrupted before anything was done.
    pub const EINTR: Self = Self(libc::EINTR);
    /// Nothing could be done just now.
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// Held by somebody else.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// Out of space.
    pub const ENOSPC: Self = Self(libc::ENOSPC);
    /// Out of memory.
    pub const ENOMEM: Self = Self(libc::ENOMEM);
    /// No buffer is left to receive into.
    pub const ENOBUFS: Self = Self(libc::ENOBUFS);
    /// The operation was cancelled.
    pub const ECANCELED: Self = Self(libc::ECANCELED);
    /// Not permitted.
    pub const EPERM: Self = Self(libc::EPERM);
    /// Access denied by mode bits or policy.
    pub const EACCES: Self = Self(libc::EACCES);
    /// The kernel does not have the call.
    pub const ENOSYS: Self = Self(libc::ENOSYS);
    /// An argument or flag that this kernel does not know.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// The operation is not supported on this object.
    pub const EOPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// The peer is gone.
    pub const EPIPE: Self = Self(libc::EPIPE);

    /// From the number as C has it.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number as C has it.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// From an error of the standard library; `EIO` where it carries no number.
    #[must_use]
    pub fn from_io(error: &std::io::Error) -> Self {
        error.raw_os_error().map_or(Self::EIO, Self)
    }
}

impl From<nix::errno::Errno> for Errno {
    #[expect(
        clippy::as_conversions,
        reason = "nix's enum is the number itself, an i32"
    )]
    fn from(errno: nix::errno::Errno) -> Self {
        Self(errno as i32)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(formatter)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", nix::errno::Errno::from_raw(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn shown_in_words_and_by_name() {
        assert!(Errno::EBUSY.to_string().contains("os error 16"));
        assert_eq!(format!("{:?}", Errno::ENOSPC), "ENOSPC");
    }

    #[test]
    fn kept_through_the_standard_library() {
        let error = std::io::Error::from_raw_os_error(libc::EROFS);
        assert_eq!(Errno::from_io(&error).get(), libc::EROFS);
        assert_eq!(Errno::from_io(&std::io::Error::other("none")), Errno::EIO);
    }
}
