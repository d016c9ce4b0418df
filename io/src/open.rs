//! Opening a block device or a file for this process alone: direct I/O asserted, its facts found out,
//! everything refused that is not plainly free, each with a message that says what to do. It never
//! writes to what it opens.

use std::fs::Metadata;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::sys::stat::Mode;

use crate::device::Device;
use crate::durability::Fence;
use crate::errno::Errno;
use crate::geometry::{Durability, Geometry};
use crate::limits::{BUFFER_ALIGNMENT_BYTES, DEVICE_BYTES_MIN};
use crate::memory_device::{MemoryDevice, OpenMemory};
use crate::ring::device::RingDevice;
use crate::ring::{Ring, RingError};
use crate::sys::mapping::HugePages;
use crate::width::to_u64;

mod create;
mod error;
mod facts;
mod holder;

pub use error::{Holder, OpenError};

/// For what a device is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// To read and write, for this process alone.
    #[default]
    Exclusive,
    /// To look at it, even while another process uses it. Writes fail.
    ReadOnly,
}

/// How writes are to become durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DurabilityChoice {
    /// As the kernel says the device works.
    #[default]
    Kernel,
    /// By flushes. To compare; right on every device.
    Flush,
    /// By forced writes. To compare; right on every device, but where a block device has none the kernel
    /// adds a flush to every write.
    Fua,
}

/// How a device is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenOptions {
    /// For what.
    pub access: Access,
    /// How writes become durable.
    pub durability: DurabilityChoice,
}

/// A device that this process has open. Goes to every core; each attaches to it. Released when this and all
/// attached devices are dropped.
#[derive(Clone)]
pub struct OpenDevice {
    opened: AnyOpened,
}

#[derive(Clone)]
enum AnyOpened {
    Real(Arc<Opened>),
    Memory(Arc<OpenMemory>),
}

impl OpenDevice {
    /// Opens a block device or a file.
    ///
    /// # Errors
    /// What is wrong with it and what to do; see [`OpenError`].
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let metadata =
            std::fs::metadata(path).map_err(|error| OpenError::unopened(path, &error))?;
        let kind = metadata.file_type();
        let opened = if kind.is_block_device() {
            open_block(path, &metadata, options)?
        } else if kind.is_file() {
            open_file(path, &metadata, options)?
        } else {
            return Err(OpenError::of_wrong_type(path, kind));
        };
        Ok(Self {
            opened: AnyOpened::Real(Arc::new(opened)),
        })
    }

    /// Creates a preallocated file, filled by the file system as it likes, and opens it for this process
    /// alone.
    ///
    /// # Errors
    /// There is something already, no space, or a file system without preallocation or direct I/O. What
    /// was created is removed again.
    pub fn create_file(path: &Path, size_bytes: u64) -> Result<Self, OpenError> {
        let opened = create::create(path, size_bytes)?;
        Ok(Self {
            opened: AnyOpened::Real(Arc::new(opened)),
        })
    }

    /// A device in memory, zeroed, which is gone when this and all attached devices are dropped. Pages are taken
    /// from the kernel as they are first written.
    ///
    /// # Errors
    /// [`OpenError::Size`] for a size that no device may have, [`OpenError::Memory`] if there is not so much.
    pub fn in_memory(name: &str, size_bytes: u64) -> Result<Self, OpenError> {
        let (unit_bytes, min_bytes) = (to_u64(BUFFER_ALIGNMENT_BYTES), DEVICE_BYTES_MIN);
        if !size_bytes.is_multiple_of(unit_bytes) || size_bytes < min_bytes {
            return Err(OpenError::Size {
                path: name.into(),
                size_bytes,
                unit_bytes,
                min_bytes,
            });
        }
        let memory = OpenMemory::new(name, size_bytes).map_err(|errno| OpenError::Memory {
            name: name.to_owned(),
            size_bytes,
            errno,
        })?;
        Ok(Self {
            opened: AnyOpened::Memory(Arc::new(memory)),
        })
    }

    /// The device's facts.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        match &self.opened {
            AnyOpened::Real(opened) => opened.geometry(),
            AnyOpened::Memory(opened) => opened.geometry(),
        }
    }

    /// Whether a flush or forced write failed on any core: nothing is acknowledged on it any more.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        match &self.opened {
            AnyOpened::Real(opened) => opened.fence().is_raised(),
            AnyOpened::Memory(opened) => opened.fence().is_raised(),
        }
    }

    /// The path it was opened by; of a device in memory what it was called.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.opened {
            AnyOpened::Real(opened) => opened.name(),
            AnyOpened::Memory(opened) => opened.name(),
        }
    }

    /// What stands behind the pages of a device in memory; `None` of any other.
    #[must_use]
    pub fn huge_pages(&self) -> Option<HugePages> {
        match &self.opened {
            AnyOpened::Real(_) => None,
            AnyOpened::Memory(opened) => Some(opened.huge_pages()),
        }
    }

    /// The calling core's handle, with a descriptor of its own, so that every core sees every flush error.
    ///
    /// # Errors
    /// No descriptor, or more devices than a ring serves.
    pub fn attach(&self, ring: &Ring) -> Result<Device, RingError> {
        match &self.opened {
            AnyOpened::Real(opened) => {
                let descriptor = opened.reopen()?;
                let device = RingDevice::new(&ring.inner, descriptor, Arc::clone(opened))?;
                Ok(Device::real(device))
            }
            AnyOpened::Memory(opened) => {
                let ring = Rc::clone(&ring.inner);
                let device = MemoryDevice::new(Arc::clone(opened), ring);
                Ok(Device::memory(device))
            }
        }
    }
}

/// What all handles on one device share.
pub(crate) struct Opened {
    name: String,
    geometry: Geometry,
    fence: Fence,
    access: Access,
    claim: Claim,
}

/// The descriptor that keeps others out.
enum Claim {
    /// Of a block device, opened with O_EXCL; or of anything that is only looked at.
    Descriptor(OwnedFd),
    /// Of a locked file.
    Locked(Flock<OwnedFd>),
}

impl Claim {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Descriptor(descriptor) => descriptor.as_fd(),
            Self::Locked(descriptor) => descriptor.as_fd(),
        }
    }
}

impl Opened {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// One more descriptor on the very same device, whatever its path leads to by now.
    fn reopen(&self) -> Result<OwnedFd, RingError> {
        let path = format!("/proc/self/fd/{}", self.claim.descriptor().as_raw_fd());
        let attached = |errno: nix::errno::Errno| RingError::Attach {
            errno: errno.into(),
        };
        let flags = mode_of(self.access) | OFlag::O_DIRECT | OFlag::O_CLOEXEC;
        let descriptor = nix::fcntl::open(path.as_str(), flags, Mode::empty()).map_err(attached)?;
        if !has_direct_io(descriptor.as_fd()) {
            return Err(RingError::Attach {
                errno: Errno::EINVAL,
            });
        }
        Ok(descriptor)
    }
}

fn mode_of(access: Access) -> OFlag {
    match access {
        Access::Exclusive => OFlag::O_RDWR,
        Access::ReadOnly => OFlag::O_RDONLY,
    }
}

/// Whether the descriptor's reads and writes really pass the page cache.
fn has_direct_io(descriptor: BorrowedFd<'_>) -> bool {
    fcntl(descriptor, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_DIRECT))
}

fn open_block(path: &Path, metadata: &Metadata, options: OpenOptions) -> Result<Opened, OpenError> {
    let mut flags = mode_of(options.access) | OFlag::O_DIRECT | OFlag::O_CLOEXEC;
    if options.access == Access::Exclusive {
        flags |= OFlag::O_EXCL;
    }
    let descriptor = match nix::fcntl::open(path, flags, Mode::empty()) {
        Ok(descriptor) => descriptor,
        Err(nix::errno::Errno::EBUSY) => {
            let holder = holder::find(path, metadata.rdev());
            return Err(OpenError::Held {
                path: path.to_owned(),
                holder,
            });
        }
        Err(errno) => return Err(OpenError::refused(path, errno.into())),
    };
    let geometry = facts::of_block(path, descriptor.as_fd(), metadata.rdev())?;
    finish(path, geometry, Claim::Descriptor(descriptor), options)
}

fn open_file(path: &Path, metadata: &Metadata, options: OpenOptions) -> Result<Opened, OpenError> {
    let flags = mode_of(options.access) | OFlag::O_DIRECT | OFlag::O_CLOEXEC;
    let descriptor = nix::fcntl::open(path, flags, Mode::empty())
        .map_err(|errno| OpenError::refused(path, errno.into()))?;
    let geometry = facts::of_file(path, descriptor.as_fd(), metadata)?;
    let claim = match options.access {
        Access::Exclusive => Claim::Locked(lock(path, descriptor)?),
        Access::ReadOnly => Claim::Descriptor(descriptor),
    };
    finish(path, geometry, claim, options)
}

/// Keeps other processes, and other opens of this one, out of a file.
fn lock(path: &Path, descriptor: OwnedFd) -> Result<Flock<OwnedFd>, OpenError> {
    Flock::lock(descriptor, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == nix::errno::Errno::EWOULDBLOCK {
            OpenError::Locked {
                path: path.to_owned(),
            }
        } else {
            OpenError::refused(path, errno.into())
        }
    })
}

fn finish(
    path: &Path,
    mut geometry: Geometry,
    claim: Claim,
    options: OpenOptions,
) -> Result<Opened, OpenError> {
    if !has_direct_io(claim.descriptor()) {
        return Err(OpenError::NoDirectIo {
            path: path.to_owned(),
        });
    }
    let (size_bytes, min_bytes) = (geometry.size_bytes, DEVICE_BYTES_MIN);
    if size_bytes < min_bytes {
        return Err(OpenError::TooSmall {
            path: path.to_owned(),
            size_bytes,
            min_bytes,
        });
    }
    geometry.durability = match options.durability {
        DurabilityChoice::Kernel => geometry.durability,
        DurabilityChoice::Flush => Durability::Flush,
        DurabilityChoice::Fua => Durability::Fua,
    };
    Ok(Opened {
        name: path.display().to_string(),
        geometry,
        fence: Fence::new(),
        access: options.access,
        claim,
    })
}
