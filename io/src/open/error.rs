//! Why a device cannot be opened, in words for the operator: what is wrong, and what to do.

use std::fmt;
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::errno::Errno;

/// Who uses a block device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A mounted file system, on it or on one of its partitions.
    Mount {
        /// Where.
        mount_point: PathBuf,
    },
    /// Swap space.
    Swap,
    /// Another block device is built on it: LVM, RAID, encryption.
    Device {
        /// The kernel's name of that device.
        name: String,
    },
    /// Somebody who is not to be seen from here: another process that has it open for itself, or a mount in
    /// another container.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { mount_point } => {
                let place = mount_point.display();
                write!(
                    formatter,
                    "it (or a partition of it) is mounted at {place}: unmount that, "
                )?;
                write!(formatter, "or give another device")
            }
            Self::Swap => write!(
                formatter,
                "it is swap space: `swapoff` it, or give another device"
            ),
            Self::Device { name } => {
                write!(
                    formatter,
                    "the device {name} is built on it (LVM, RAID or encryption): "
                )?;
                write!(formatter, "give {name} itself, or another device")
            }
            Self::Unknown => {
                write!(
                    formatter,
                    "another process has it open for itself (a running corelithd?), or "
                )?;
                write!(
                    formatter,
                    "it is mounted in another container: stop that, or give another "
                )?;
                write!(formatter, "device")
            }
        }
    }
}

/// Why a device cannot be opened or a file created.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// No memory for a device in memory.
    #[error(
        "{name}: the kernel gives no {size_bytes} bytes of memory ({errno}): make it smaller, or see what limits the \
         process"
    )]
    Memory {
        /// What it was to be called.
        name: String,
        /// Asked for.
        size_bytes: u64,
        /// The kernel's answer.
        errno: Errno,
    },
    /// There is nothing at that path.
    #[error("{}: there is no such device or file: give an existing one, or create it", .path.display())]
    NotFound {
        /// As given.
        path: PathBuf,
    },
    /// The process may not.
    #[error(
        "{}: permission denied: run as a user who may read and write it (for a drive, a member of \
         the group `disk`)",
        .path.display()
    )]
    NotPermitted {
        /// As given.
        path: PathBuf,
    },
    /// A directory.
    #[error("{}: this is a directory: give a file in it, or a block device", .path.display())]
    Directory {
        /// As given.
        path: PathBuf,
    },
    /// A character device, such as /dev/ng0n1 or /dev/nvme0.
    #[error(
        "{}: this is a character device: give the block device of the drive, such as /dev/nvme0n1",
        .path.display()
    )]
    CharacterDevice {
        /// As given.
        path: PathBuf,
    },
    /// A pipe or a socket.
    #[error("{}: this is neither a block device nor a regular file", .path.display())]
    WrongType {
        /// As given.
        path: PathBuf,
    },
    /// A block device in use.
    #[error("{}: the device is in use: {holder}", .path.display())]
    Held {
        /// As given.
        path: PathBuf,
        /// By whom.
        holder: Holder,
    },
    /// A file in use.
    #[error(
        "{}: another process has locked the file (a running corelithd?): stop it, or give another \
         file",
        .path.display()
    )]
    Locked {
        /// As given.
        path: PathBuf,
    },
    /// Nothing fits on it.
    #[error(
        "{}: {} KiB are too few: a device has {} KiB at least; give a larger one",
        .path.display(), .size_bytes >> 10, .min_bytes >> 10
    )]
    TooSmall {
        /// As given.
        path: PathBuf,
        /// The device's size.
        size_bytes: u64,
        /// The bound.
        min_bytes: u64,
    },
    /// The file system cannot pass the page cache.
    #[error(
        "{}: direct I/O is not possible here: use a file system that has O_DIRECT (ext4, XFS, btrfs), \
         or a block device",
        .path.display()
    )]
    NoDirectIo {
        /// As given.
        path: PathBuf,
    },
    /// Blocks that no DMA buffer fits.
    #[error(
        "{}: a logical block of {logical_block_bytes} bytes is not supported: format the drive with 512 \
         or 4096 (for NVMe, `nvme format --lbaf`)",
        .path.display()
    )]
    LogicalBlock {
        /// As given.
        path: PathBuf,
        /// As the kernel says it.
        logical_block_bytes: u32,
    },
    /// Something is there already.
    #[error("{}: exists already: remove it, or open it instead of creating it", .path.display())]
    Exists {
        /// As given.
        path: PathBuf,
    },
    /// A size that no file volume has.
    #[error(
        "{}: a file of {size_bytes} bytes cannot be made: give a multiple of {unit_bytes}, at least \
         {min_bytes}",
        .path.display()
    )]
    Size {
        /// As given.
        path: PathBuf,
        /// As asked for.
        size_bytes: u64,
        /// What sizes are multiples of.
        unit_bytes: u64,
        /// The smallest size.
        min_bytes: u64,
    },
    /// The file system is full.
    #[error("{}: the file system has no room for {size_bytes} bytes", .path.display())]
    NoSpace {
        /// As given.
        path: PathBuf,
        /// As asked for.
        size_bytes: u64,
    },
    /// The file system cannot reserve space.
    #[error(
        "{}: the file system cannot reserve space for a file (fallocate): use ext4, XFS or btrfs, or a \
         block device",
        .path.display()
    )]
    NoPreallocation {
        /// As given.
        path: PathBuf,
    },
    /// Something else.
    #[error("{}: {errno}", .path.display())]
    System {
        /// As given.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

impl OpenError {
    /// What an error of looking at the path means.
    pub(super) fn unopened(path: &Path, error: &std::io::Error) -> Self {
        Self::refused(path, Errno::from_io(error))
    }

    /// What an error of opening means.
    pub(super) fn refused(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno.get() {
            libc::ENOENT | libc::ENOTDIR | libc::ENXIO => Self::NotFound { path },
            libc::EACCES | libc::EPERM => Self::NotPermitted { path },
            libc::EISDIR => Self::Directory { path },
            libc::EEXIST => Self::Exists { path },
            libc::EINVAL => Self::NoDirectIo { path },
            _ => Self::System { path, errno },
        }
    }

    pub(super) fn of_wrong_type(path: &Path, kind: FileType) -> Self {
        let path = path.to_owned();
        if kind.is_dir() {
            Self::Directory { path }
        } else if kind.is_char_device() {
            Self::CharacterDevice { path }
        } else {
            Self::WrongType { path }
        }
    }
}
