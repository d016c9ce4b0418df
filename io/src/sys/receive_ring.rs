//! The buffers that the kernel receives into by its own choice, and the ring by which they are offered
//! to it. A buffer is either offered or lent out as `ProvidedBytes`, never both; the last holder of
//! its bytes offers it again. It knows no connection.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::cell::Cell;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::errno::Errno;
use crate::limits::{BUFFER_ALIGNMENT_BYTES, RECEIVE_BUFFER_COUNT_MAX};
use crate::sys::mapping::Mapping;
use crate::sys::memory::Block;
use crate::width::{index, to_u64};

/// The number under which the ring knows the buffers. Each ring has one group.
pub(crate) const RECEIVE_GROUP: u16 = 0;

/// The receive buffers of one ring.
pub(crate) struct ReceiveRing {
    /// The entries that the kernel reads; page-aligned.
    entries: Block,
    /// The buffers, one behind the other.
    data: Block,
    buffer_bytes: u32,
    /// A power of two.
    count: u16,
    /// Where the next entry goes; wraps.
    tail: Cell<u16>,
    /// Per buffer: how many `ProvidedBytes` refer to it. 0 means that it is offered.
    holders: Box<[Cell<u32>]>,
    lent_count: Cell<u16>,
}

impl ReceiveRing {
    /// Buffers that are not yet offered: `publish` does that. `count` is rounded up to a power of two.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> Result<Rc<Self>, Errno> {
        let count = count.clamp(1, RECEIVE_BUFFER_COUNT_MAX).next_power_of_two();
        let entry_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let entry_bytes = entry_bytes.next_multiple_of(BUFFER_ALIGNMENT_BYTES);
        let data_bytes = usize::from(count) * index(buffer_bytes);
        let ring = Self {
            entries: Block::from_mapping(Mapping::new(entry_bytes)?),
            data: Block::from_mapping(Mapping::new(data_bytes)?),
            buffer_bytes,
            count,
            tail: Cell::new(0),
            holders: (0..count).map(|_| Cell::new(0)).collect(),
            lent_count: Cell::new(0),
        };
        for buffer in 0..count {
            ring.offer(buffer);
        }
        Ok(Rc::new(ring))
    }

    /// Where the kernel finds the entries.
    pub(in crate::sys) fn entries_address(&self) -> u64 {
        to_u64(self.entries.start().as_ptr().expose_provenance())
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Buffers that the kernel can receive into now.
    pub(crate) fn offered_count(&self) -> u16 {
        self.count - self.lent_count.get()
    }

    /// The bytes of a completed receive. Only for a buffer that the kernel has just given back:
    /// a number out of range or lent already is our mistake or the kernel's.
    pub(in crate::sys) fn claim(self: &Rc<Self>, buffer: u16, length: u32) -> ProvidedBytes {
        assert!(
            buffer < self.count,
            "the kernel named a buffer that does not exist"
        );
        assert!(
            length <= self.buffer_bytes,
            "the kernel filled more than a buffer"
        );
        let holders = self.holders_of(buffer);
        assert!(
            holders.get() == 0,
            "the kernel gave a buffer that it had given before"
        );
        holders.set(1);
        self.lent_count.set(self.lent_count.get() + 1);
        ProvidedBytes {
            ring: Rc::clone(self),
            buffer,
            start: 0,
            end: length,
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "callers hold a number below the count"
    )]
    fn holders_of(&self, buffer: u16) -> &Cell<u32> {
        &self.holders[usize::from(buffer)]
    }

    fn buffer_start(&self, buffer: u16) -> NonNull<u8> {
        let offset = usize::from(buffer) * index(self.buffer_bytes);
        // SAFETY: `buffer` is below the count (checked in `claim`, a loop bound in `new`), and the
        // data block is count times buffer_bytes long.
        unsafe { self.data.start().add(offset) }
    }

    /// A claim as the ring makes it, for tests of what is built on it.
    #[cfg(test)]
    pub(crate) fn claim_for_test(self: &Rc<Self>, bytes: &[u8]) -> ProvidedBytes {
        assert!(bytes.len() <= index(self.buffer_bytes));
        let claimed = self.claim(0, u32::try_from(bytes.len()).unwrap());
        for (position, byte) in bytes.iter().enumerate() {
            // SAFETY: inside buffer 0, by the assertion above.
            let place = unsafe { self.buffer_start(0).add(position) };
            // SAFETY: a byte of the data block, which nobody reads yet: `claimed` has not left this
            // function.
            unsafe { place.write(*byte) };
        }
        claimed
    }

    /// Gives a buffer to the kernel. Its bytes must not be read any more.
    fn offer(&self, buffer: u16) {
        let position = usize::from(self.tail.get() & (self.count - 1));
        let base = self.entries.start().cast::<BufRingEntry>();
        // SAFETY: the position is masked below the count, and the entries block holds that many.
        let mut entry = unsafe { base.add(position) };
        // SAFETY: the block is initialised, aligned to a page, and only this thread writes entries;
        // the kernel does not read this one before the tail passes it.
        let entry = unsafe { entry.as_mut() };
        let address = self.buffer_start(buffer).as_ptr().expose_provenance();
        entry.set_addr(to_u64(address));
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail.set(self.tail.get().wrapping_add(1));
        self.publish();
    }

    fn publish(&self) {
        let base = self.entries.start().cast::<BufRingEntry>();
        // SAFETY: `base` is the first entry of the ring, initialised, as the function asks.
        let tail = unsafe { BufRingEntry::tail(base.as_ptr()) };
        // SAFETY: the tail is an aligned u16 of the entries block, which outlives this reference;
        // on our side all accesses to it go through this atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail.get(), Ordering::Release);
    }

    fn release(&self, buffer: u16) {
        let holders = self.holders_of(buffer);
        holders.set(holders.get() - 1);
        if holders.get() == 0 {
            self.lent_count.set(self.lent_count.get() - 1);
            self.offer(buffer);
        }
    }
}

/// Received bytes in a buffer of the ring: a part of it that this value may read. The buffer is
/// offered to the kernel again when its last part is dropped.
pub(crate) struct ProvidedBytes {
    ring: Rc<ReceiveRing>,
    buffer: u16,
    start: u32,
    end: u32,
}

impl ProvidedBytes {
    /// Narrows to a part, given relative to what this value shows now; bounds beyond it are cut.
    pub(crate) fn narrow(&mut self, part: &Range<usize>) {
        let length = self.end - self.start;
        let end = u32::try_from(part.end).unwrap_or(u32::MAX).min(length);
        let start = u32::try_from(part.start).unwrap_or(u32::MAX).min(end);
        self.end = self.start + end;
        self.start += start;
    }
}

impl Clone for ProvidedBytes {
    fn clone(&self) -> Self {
        let holders = self.ring.holders_of(self.buffer);
        holders.set(holders.get() + 1);
        Self {
            ring: Rc::clone(&self.ring),
            ..*self
        }
    }
}

impl Deref for ProvidedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let length = index(self.end - self.start);
        let buffer = self.ring.buffer_start(self.buffer);
        // SAFETY: `start` is at most the buffer's length: `claim` sets 0, `narrow` stays within.
        let start = unsafe { buffer.add(index(self.start)) };
        // SAFETY: start and length lie in one buffer of the initialised data block, and the kernel
        // does not write to it: it is not offered before the last holder, this one among them, ends.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }
}

impl Drop for ProvidedBytes {
    fn drop(&mut self) {
        self.ring.release(self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::ReceiveRing;

    #[test]
    fn a_buffer_is_offered_again_with_its_last_holder() {
        let ring = ReceiveRing::new(4, 4096).unwrap();
        assert_eq!(ring.offered_count(), 4);
        let whole = ring.claim(2, 100);
        assert_eq!(ring.offered_count(), 3);
        let mut part = whole.clone();
        part.narrow(&(10..20));
        assert_eq!(part.len(), 10);
        drop(whole);
        assert_eq!(ring.offered_count(), 3);
        assert_eq!(ring.tail.get(), 4);
        drop(part);
        assert_eq!(ring.offered_count(), 4);
        assert_eq!(ring.tail.get(), 5);
    }

    #[test]
    fn parts_of_parts_stay_inside() {
        let ring = ReceiveRing::new(1, 4096).unwrap();
        let mut bytes = ring.claim(0, 100);
        bytes.narrow(&(40..90));
        bytes.narrow(&(10..usize::MAX));
        assert_eq!(bytes.len(), 40);
        assert_eq!((bytes.start, bytes.end), (50, 90));
        bytes.narrow(&(70..80));
        assert_eq!(bytes.len(), 0);
    }

    #[test]
    #[should_panic(expected = "given before")]
    fn a_lent_buffer_cannot_be_claimed() {
        let ring = ReceiveRing::new(2, 4096).unwrap();
        let _first = ring.claim(1, 1);
        let _second = ring.claim(1, 1);
    }
}
