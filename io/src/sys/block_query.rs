//! What the kernel says about an open block device or file through calls that take pointers. Only
//! numbers come out; nobody's memory goes in.
#![expect(
    unsafe_code,
    reason = "ioctl and statx fill in memory that they are given"
)]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::errno::Errno;

/// `_IOR(0x12, 114, size_t)`, which libc does not name.
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;

/// The sizes of a block device, as the kernel gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockSizes {
    pub(crate) size_bytes: u64,
    pub(crate) logical_block_bytes: u32,
    /// `None` where the kernel does not say.
    pub(crate) physical_block_bytes: Option<u32>,
}

/// Asks a block device for its sizes.
pub(crate) fn block_sizes(device: BorrowedFd<'_>) -> Result<BlockSizes, Errno> {
    let mut size_bytes = 0_u64;
    // SAFETY: BLKGETSIZE64 writes one u64 to its argument, which is one.
    let asked = unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut size_bytes) };
    nix::errno::Errno::result(asked)?;
    let mut logical: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int to its argument, which is one.
    let asked = unsafe { libc::ioctl(device.as_raw_fd(), libc::BLKSSZGET, &raw mut logical) };
    nix::errno::Errno::result(asked)?;
    let mut physical: libc::c_uint = 0;
    // SAFETY: BLKPBSZGET writes one unsigned int to its argument, which is one.
    let asked = unsafe { libc::ioctl(device.as_raw_fd(), libc::BLKPBSZGET, &raw mut physical) };
    let physical_block_bytes = nix::errno::Errno::result(asked).ok().map(|_| physical);
    let logical_block_bytes = u32::try_from(logical).unwrap_or(0);
    Ok(BlockSizes {
        size_bytes,
        logical_block_bytes,
        physical_block_bytes,
    })
}

/// The alignment that direct I/O on a file needs in offsets and lengths, and in memory; `None` where the
/// file system does not say.
pub(crate) fn direct_io_alignment(file: BorrowedFd<'_>) -> Option<(u32, u32)> {
    // SAFETY: statx consists of integers, for which zero is a value.
    let mut facts: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is an empty string that ends with a zero, as AT_EMPTY_PATH asks, and `facts` is a
    // statx for the kernel to fill in.
    let asked = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut facts,
        )
    };
    let told = asked == 0 && facts.stx_mask & libc::STATX_DIOALIGN != 0;
    let (offset, memory) = (facts.stx_dio_offset_align, facts.stx_dio_mem_align);
    (told && offset > 0 && memory > 0).then_some((offset, memory))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::{block_sizes, direct_io_alignment};
    use crate::errno::Errno;

    #[test]
    fn a_file_is_no_block_device() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(block_sizes(file.as_fd()), Err(Errno::new(libc::ENOTTY)));
    }

    #[test]
    fn alignments_are_powers_of_two_where_they_are_known() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        if let Some((offset, memory)) = direct_io_alignment(file.as_fd()) {
            assert!(offset.is_power_of_two());
            assert!(memory.is_power_of_two());
        }
        let odd = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(direct_io_alignment(odd.as_fd()), None);
    }
}
