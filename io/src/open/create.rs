//! Creating a file for a file volume: reserved in full, so that no write meets a full file system later.
//! What goes wrong halfway is removed again.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno as SystemErrno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::stat::Mode;

use super::{Claim, OpenError, OpenOptions, Opened, facts, finish, lock};
use crate::buffer::BUFFER_ALIGNMENT_BYTES;
use crate::limits::DEVICE_BYTES_MIN;
use crate::width::to_u64;

/// Creates, reserves, locks and opens a file.
pub(super) fn create(path: &Path, size_bytes: u64) -> Result<Opened, OpenError> {
    let (unit_bytes, min_bytes) = (to_u64(BUFFER_ALIGNMENT_BYTES), DEVICE_BYTES_MIN);
    let offset_max = libc::off_t::MAX.unsigned_abs();
    if !size_bytes.is_multiple_of(unit_bytes) || !(min_bytes..=offset_max).contains(&size_bytes) {
        let path = path.to_owned();
        return Err(OpenError::Size {
            path,
            size_bytes,
            unit_bytes,
            min_bytes,
        });
    }
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let owner_only = Mode::S_IRUSR | Mode::S_IWUSR;
    let descriptor = nix::fcntl::open(path, flags, owner_only)
        .map_err(|errno| OpenError::refused(path, errno.into()))?;
    let unfinished = Unfinished {
        path: Some(path.to_owned()),
    };
    let opened = fill_and_open(path, descriptor, size_bytes)?;
    unfinished.keep();
    Ok(opened)
}

fn fill_and_open(path: &Path, descriptor: OwnedFd, size_bytes: u64) -> Result<Opened, OpenError> {
    let refused = |errno: SystemErrno| OpenError::refused(path, errno.into());
    let length = libc::off_t::try_from(size_bytes).unwrap_or(libc::off_t::MAX);
    match fallocate(descriptor.as_fd(), FallocateFlags::empty(), 0, length) {
        Ok(()) => (),
        Err(SystemErrno::ENOSPC | SystemErrno::EFBIG | SystemErrno::EDQUOT) => {
            return Err(OpenError::NoSpace {
                path: path.to_owned(),
                size_bytes,
            });
        }
        Err(SystemErrno::EOPNOTSUPP | SystemErrno::ENOSYS) => {
            return Err(OpenError::NoPreallocation {
                path: path.to_owned(),
            });
        }
        Err(errno) => return Err(refused(errno)),
    }
    let file = fs::File::from(descriptor);
    let unopened = |error: std::io::Error| OpenError::unopened(path, &error);
    file.sync_all().map_err(unopened)?;
    sync_folder(path).map_err(unopened)?;
    let metadata = file.metadata().map_err(unopened)?;
    let descriptor = OwnedFd::from(file);
    let flags = fcntl(&descriptor, FcntlArg::F_GETFL).map_err(refused)?;
    let direct = OFlag::from_bits_retain(flags) | OFlag::O_DIRECT;
    fcntl(&descriptor, FcntlArg::F_SETFL(direct)).map_err(refused)?;
    let geometry = facts::of_file(path, descriptor.as_fd(), &metadata)?;
    let claim = Claim::Locked(lock(path, descriptor)?);
    finish(path, geometry, claim, OpenOptions::default())
}

/// Makes the file's name durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::File::open(folder)?.sync_all()
}

/// A file of ours that is removed unless it is kept.
struct Unfinished {
    path: Option<PathBuf>,
}

impl Unfinished {
    fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished file could not be removed");
        }
    }
}
