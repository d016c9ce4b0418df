//! Memory that several threads read and write at once: what a device in memory is made of. Words go one by one and
//! without an order between them, so two that touch one place at a time get a mixture of both, as from a drive, and
//! never undefined behaviour. What makes a write visible before a read is the message that tells of it.
#![expect(unsafe_code, reason = "a view of a mapping that threads share")]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::errno::Errno;
use crate::sys::fetch::prefetch_line;
use crate::sys::mapping::{HugePages, Mapping};

/// Bytes that a CPU fetches at a time.
const CACHE_LINE_BYTES: usize = 64;
/// Bytes of a word.
const WORD_BYTES: usize = size_of::<AtomicU64>();

/// Zeroed memory, taken from the kernel page by page as it is first written.
pub(crate) struct SharedMemory {
    mapping: Mapping,
}

// SAFETY: the mapping is owned memory of the process, not of a thread, and is unmapped by its last owner alone.
unsafe impl Send for SharedMemory {}
// SAFETY: all access through a shared reference goes by atomic words.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// At least `length` bytes; not 0.
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        let mapping = Mapping::new(length)?;
        Ok(Self { mapping })
    }

    /// What stands behind its pages.
    pub(crate) fn huge_pages(&self) -> HugePages {
        self.mapping.huge_pages()
    }

    /// Fills `bytes` from `offset` on. `None`, and nothing done, unless both are whole words and inside.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        let words = self.words(offset, bytes.len())?;
        let (parts, _) = bytes.as_chunks_mut::<WORD_BYTES>();
        for (part, word) in parts.iter_mut().zip(words) {
            *part = word.load(Ordering::Relaxed).to_le_bytes();
        }
        Some(())
    }

    /// Writes `bytes` at `offset`. `None`, and nothing done, unless both are whole words and inside.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        let words = self.words(offset, bytes.len())?;
        let (parts, _) = bytes.as_chunks::<WORD_BYTES>();
        for (part, word) in parts.iter().zip(words) {
            word.store(u64::from_le_bytes(*part), Ordering::Relaxed);
        }
        Some(())
    }

    /// Has the CPU fetch the cache lines from `offset` on, so far as they are inside.
    pub(crate) fn prefetch(&self, offset: usize, length: usize) {
        let first = offset / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
        let end = offset.saturating_add(length).min(self.mapping.length());
        let start = self.mapping.start().as_ptr();
        for line in (first..end).step_by(CACHE_LINE_BYTES) {
            prefetch_line(start.wrapping_add(line).cast());
        }
    }

    fn words(&self, offset: usize, length: usize) -> Option<&[AtomicU64]> {
        if !offset.is_multiple_of(WORD_BYTES) || !length.is_multiple_of(WORD_BYTES) {
            return None;
        }
        let count = self.mapping.length() / WORD_BYTES;
        let start = self.mapping.start().cast::<AtomicU64>().as_ptr();
        // SAFETY: the mapping is page-aligned, initialised memory of `count` words that lives as long as `self`, and
        // nobody reads or writes it but through these words.
        let words = unsafe { std::slice::from_raw_parts(start, count) };
        let first = offset / WORD_BYTES;
        words.get(first..first.checked_add(length / WORD_BYTES)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_beside_it() {
        let memory = SharedMemory::new(8192).unwrap();
        let mut page = [7; 4096];
        assert_eq!(memory.read(4096, &mut page), Some(()));
        assert_eq!(page, [0; 4096]);
        let bytes: Vec<u8> = (0..=255).cycle().take(512).collect();
        assert_eq!(memory.write(4096 + 512, &bytes), Some(()));
        assert_eq!(memory.read(4096, &mut page), Some(()));
        assert_eq!(page[512..1024], bytes);
        assert!(
            page[..512]
                .iter()
                .chain(&page[1024..])
                .all(|byte| *byte == 0)
        );
    }

    #[test]
    fn fetching_ahead_changes_nothing_wherever_it_is_asked_to() {
        let memory = SharedMemory::new(4096).unwrap();
        assert_eq!(memory.write(64, &[9; 128]), Some(()));
        for (offset, length) in [
            (70, 100),
            (4000, 4096),
            (5000, 10),
            (usize::MAX, usize::MAX),
        ] {
            memory.prefetch(offset, length);
        }
        let mut bytes = [0; 128];
        assert_eq!(memory.read(64, &mut bytes), Some(()));
        assert_eq!(bytes, [9; 128]);
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let memory = SharedMemory::new(4096).unwrap();
        let length = memory.mapping.length();
        for (offset, bytes) in [
            (length, 8),
            (length - 8, 16),
            (4, 8),
            (0, 4),
            (usize::MAX - 7, 16),
        ] {
            assert_eq!(memory.write(offset, &vec![1; bytes]), None, "{offset}");
            assert_eq!(memory.read(offset, &mut vec![1; bytes]), None, "{offset}");
        }
        assert_eq!(memory.write(length - 8, &[1; 8]), Some(()));
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "cores are threads, and this is what they share"
    )]
    fn threads_share_it() {
        let memory = std::sync::Arc::new(SharedMemory::new(4096).unwrap());
        let threads: Vec<_> = (0..4_u8)
            .map(|number| {
                let memory = std::sync::Arc::clone(&memory);
                std::thread::spawn(move || memory.write(usize::from(number) * 512, &[number; 512]))
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Some(()));
        }
        let mut bytes = [9; 2048];
        assert_eq!(memory.read(0, &mut bytes), Some(()));
        assert!(
            bytes
                .iter()
                .zip(0..)
                .all(|(byte, at)| usize::from(*byte) == at / 512)
        );
    }
}
