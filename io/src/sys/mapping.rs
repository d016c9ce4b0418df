//! Anonymous memory straight from the kernel, on huge pages where it has them. It never maps a file.
#![expect(unsafe_code, reason = "mmap, munmap and madvise")]

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::errno::Errno;
use crate::limits::{BUFFER_ALIGNMENT_BYTES, HUGE_PAGE_BYTES};

/// What stands behind a mapping's pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugePages {
    /// Pages of the kernel's reserved huge-page pool.
    Reserved,
    /// Ordinary pages, which the kernel was asked to merge into huge ones.
    Advised,
    /// Ordinary pages.
    None,
}

/// Asks the kernel to put memory on huge pages, as far as its ordinary pages lie wholly inside. Only advice: without huge
/// pages, or in a process that must not use them, nothing changes.
pub fn advise_huge_pages(memory: &mut [u8]) {
    let start = memory.as_mut_ptr();
    let head = start.addr().next_multiple_of(BUFFER_ALIGNMENT_BYTES) - start.addr();
    let length =
        memory.len().saturating_sub(head) / BUFFER_ALIGNMENT_BYTES * BUFFER_ALIGNMENT_BYTES;
    let Some(pages) = memory.get_mut(head..head + length) else {
        return;
    };
    let Some(pages_start) = NonNull::new(pages.as_mut_ptr()).filter(|_| length > 0) else {
        return;
    };
    // SAFETY: the range is memory that the caller has borrowed; the advice changes no content.
    let advised = unsafe { madvise(pages_start.cast(), length, MmapAdvise::MADV_HUGEPAGE) };
    if let Err(error) = advised {
        tracing::debug!(%error, "no huge pages");
    }
}

/// Readable, writable, zeroed private memory; unmapped when dropped.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length_bytes: usize,
    huge_pages: HugePages,
}

impl Mapping {
    /// At least `length` bytes (not 0), on ordinary pages below [`HUGE_PAGE_BYTES`], else rounded up to whole huge pages and aligned
    /// to them.
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        if length < HUGE_PAGE_BYTES {
            let length = length.checked_next_multiple_of(BUFFER_ALIGNMENT_BYTES);
            let length = length.ok_or(Errno::ENOMEM)?;
            let start = map(length, MapFlags::empty())?;
            return Ok(Self {
                start,
                length_bytes: length,
                huge_pages: HugePages::None,
            });
        }
        let length = length
            .checked_next_multiple_of(HUGE_PAGE_BYTES)
            .ok_or(Errno::ENOMEM)?;
        if let Ok(start) = map(length, MapFlags::MAP_HUGETLB) {
            return Ok(Self {
                start,
                length_bytes: length,
                huge_pages: HugePages::Reserved,
            });
        }
        Self::aligned_to_huge_pages(length)
    }

    /// Maps one huge page more than needed and gives both ends back, since only aligned ranges can be merged.
    fn aligned_to_huge_pages(length: usize) -> Result<Self, Errno> {
        let padded = length.checked_add(HUGE_PAGE_BYTES).ok_or(Errno::ENOMEM)?;
        let raw = map(padded, MapFlags::empty())?;
        let head = raw.addr().get().next_multiple_of(HUGE_PAGE_BYTES) - raw.addr().get();
        // SAFETY: `head` is below one huge page, and the mapping is longer than that.
        let start = unsafe { raw.add(head) };
        // SAFETY: `head + length` is at most `padded`, so this is inside the mapping or one past its end.
        let tail = unsafe { start.add(length) };
        unmap(raw, head);
        unmap(tail, HUGE_PAGE_BYTES - head);
        let mut mapping = Self {
            start,
            length_bytes: length,
            huge_pages: HugePages::None,
        };
        // SAFETY: the range is exactly this mapping; the advice changes no content.
        let advised = unsafe { madvise(start.cast(), length, MmapAdvise::MADV_HUGEPAGE) };
        if advised.is_ok() {
            mapping.huge_pages = HugePages::Advised;
        }
        Ok(mapping)
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes, a multiple of [`BUFFER_ALIGNMENT_BYTES`].
    pub(crate) fn length(&self) -> usize {
        self.length_bytes
    }

    pub(crate) fn huge_pages(&self) -> HugePages {
        self.huge_pages
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.start, self.length_bytes);
    }
}

fn map(length: usize, extra: MapFlags) -> Result<NonNull<u8>, Errno> {
    let length = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
    let flags = MapFlags::MAP_PRIVATE | extra;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that exists already.
    let start = unsafe {
        mmap_anonymous(
            None,
            length,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            flags,
        )
    }?;
    Ok(start.cast())
}

/// Gives pages back. Only for ranges that a `Mapping` under construction or in drop owns and nobody refers to any more.
fn unmap(start: NonNull<u8>, length: usize) {
    if length == 0 {
        return;
    }
    // SAFETY: the callers, both in this file, pass page-aligned ranges of their own mapping that nothing refers to any more.
    let unmapped = unsafe { munmap(start.cast(), length) };
    assert!(
        unmapped.is_ok(),
        "munmap refused a range of our own mapping: {unmapped:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::{Mapping, advise_huge_pages};
    use crate::limits::{BUFFER_ALIGNMENT_BYTES, HUGE_PAGE_BYTES};
    use crate::sys::memory::Block;

    #[test]
    fn small_and_large_mappings_are_aligned_and_zeroed() {
        for length in [
            1,
            BUFFER_ALIGNMENT_BYTES,
            HUGE_PAGE_BYTES - 1,
            HUGE_PAGE_BYTES + 1,
        ] {
            let mapping = Mapping::new(length).unwrap();
            assert!(mapping.length() >= length);
            let mut block = Block::from_mapping(mapping);
            assert!(block.as_slice().iter().all(|byte| *byte == 0));
            if length > HUGE_PAGE_BYTES {
                assert_eq!(block.address() % HUGE_PAGE_BYTES, 0);
            }
            block.as_mut_slice().fill(0xA5);
        }
    }

    /// What the kernel says of the mapping that holds `address`, in /proc.
    fn is_advised(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut holds_it = false;
        for line in maps.lines() {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let ends = range.and_then(|(start, end)| {
                let start = usize::from_str_radix(start, 16).ok()?;
                Some(start..usize::from_str_radix(end, 16).ok()?)
            });
            if let Some(range) = ends {
                holds_it = range.contains(&address);
            } else if holds_it && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().any(|flag| flag == "hg");
            }
        }
        panic!("no mapping has {address:x}");
    }

    #[test]
    fn advice_reaches_the_kernel_and_changes_no_content() {
        let mut memory = vec![7_u8; 3 * HUGE_PAGE_BYTES];
        advise_huge_pages(&mut memory);
        assert!(memory.iter().all(|byte| *byte == 7));
        assert!(is_advised(memory.as_ptr().addr() + HUGE_PAGE_BYTES));
        // Less than a page: there is nothing to advise.
        for length in [0, 1, 100, 4095] {
            let mut memory = vec![9_u8; length];
            advise_huge_pages(&mut memory);
            assert!(memory.iter().all(|byte| *byte == 9));
        }
    }

    #[test]
    fn impossible_lengths_are_errors() {
        assert!(Mapping::new(0).is_err());
        assert!(Mapping::new(usize::MAX).is_err());
        assert!(Mapping::new(1 << 60).is_err());
    }
}
