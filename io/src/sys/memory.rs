//! Regions of aligned memory, and blocks cut from them. A block is the only way to its bytes: blocks are cut and joined by value,
//! so no two ever overlap, and each keeps its region alive. It makes no system call and knows no pool.
#![expect(
    unsafe_code,
    reason = "owned memory at a stable address, which the kernel may write to"
)]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::limits::BUFFER_ALIGNMENT_BYTES;
use crate::sys::mapping::Mapping;

/// Memory from one source, held for its drop alone, which comes with that of its last block.
enum Region {
    Heap { _memory: HeapMemory },
    Mapped { _mapping: Mapping },
}

/// Memory of the process's allocator.
struct HeapMemory {
    start: NonNull<u8>,
    layout: Layout,
}

impl HeapMemory {
    /// `length` zeroed bytes; `None` if the allocator has none or the length is 0 or absurd.
    fn zeroed(length: usize) -> Option<Self> {
        let layout = Layout::from_size_align(length, BUFFER_ALIGNMENT_BYTES).ok()?;
        if layout.size() == 0 {
            return None;
        }
        // SAFETY: the layout's size is not zero, checked just above.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(Self { start, layout })
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout in `zeroed`, and is freed only here.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// A run of initialised bytes, aligned to [`BUFFER_ALIGNMENT_BYTES`] in start and length, owned by this value alone.
pub(crate) struct Block {
    start: NonNull<u8>,
    length_bytes: usize,
    region: Rc<Region>,
}

impl Block {
    /// A block of its own from the heap, zeroed. `None` if the length is 0 or unaligned, or if there is no memory.
    pub(crate) fn from_heap(length: usize) -> Option<Self> {
        if !length.is_multiple_of(BUFFER_ALIGNMENT_BYTES) {
            return None;
        }
        let memory = HeapMemory::zeroed(length)?;
        let start = memory.start;
        Some(Self {
            start,
            length_bytes: length,
            region: Rc::new(Region::Heap { _memory: memory }),
        })
    }

    /// A block over a whole mapping, which is zeroed by nature and aligned by its own promise.
    pub(crate) fn from_mapping(mapping: Mapping) -> Self {
        let (start, length) = (mapping.start(), mapping.length());
        assert!(start.addr().get().is_multiple_of(BUFFER_ALIGNMENT_BYTES));
        assert!(length.is_multiple_of(BUFFER_ALIGNMENT_BYTES));
        Self {
            start,
            length_bytes: length,
            region: Rc::new(Region::Mapped { _mapping: mapping }),
        }
    }

    /// Bytes in this block.
    pub(crate) fn length(&self) -> usize {
        self.length_bytes
    }

    /// The first byte's address, as a number: for arithmetic and for the kernel, never to read through.
    pub(crate) fn address(&self) -> usize {
        self.start.addr().get()
    }

    /// The first byte, for the ring alone: what it does with it must be over before this block is read, written or dropped.
    pub(in crate::sys) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Cuts off what lies behind the first `at` bytes. `None`, and nothing done, unless both parts keep the alignment and are not
    /// empty.
    pub(crate) fn split_off(&mut self, at: usize) -> Option<Self> {
        if at == 0 || at >= self.length_bytes || !at.is_multiple_of(BUFFER_ALIGNMENT_BYTES) {
            return None;
        }
        // SAFETY: `at` is below the length, checked above, so the result stays inside the region.
        let start = unsafe { self.start.add(at) };
        let tail = Self {
            start,
            length_bytes: self.length_bytes - at,
            region: Rc::clone(&self.region),
        };
        self.length_bytes = at;
        Some(tail)
    }

    /// Takes in `next` if it is of the same region and begins where this block ends; gives it back otherwise.
    pub(crate) fn join(&mut self, next: Self) -> Result<(), Self> {
        let adjacent = self.address().checked_add(self.length_bytes) == Some(next.address());
        if adjacent && Rc::ptr_eq(&self.region, &next.region) {
            self.length_bytes += next.length_bytes;
            return Ok(());
        }
        Err(next)
    }

    /// All bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: start and length span initialised memory of a region that this block keeps alive, no other block overlaps it,
        // and the kernel writes only to blocks that the ring owns, which nobody else can borrow.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length_bytes) }
    }

    /// All bytes, to change.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; the exclusive borrow of the only block over these bytes makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::Block;
    use crate::limits::BUFFER_ALIGNMENT_BYTES as UNIT;

    #[test]
    fn heap_block_is_zeroed_and_aligned() {
        let block = Block::from_heap(3 * UNIT).unwrap();
        assert_eq!(block.address() % UNIT, 0);
        assert!(block.as_slice().iter().all(|byte| *byte == 0));
        assert!(Block::from_heap(0).is_none());
        assert!(Block::from_heap(UNIT + 1).is_none());
    }

    #[test]
    fn split_blocks_do_not_overlap_and_join_again() {
        let mut first = Block::from_heap(4 * UNIT).unwrap();
        let mut second = first.split_off(UNIT).unwrap();
        let third = second.split_off(2 * UNIT).unwrap();
        first.as_mut_slice().fill(1);
        second.as_mut_slice().fill(2);
        assert_eq!(first.length(), UNIT);
        assert_eq!(second.length(), 2 * UNIT);
        assert!(third.as_slice().iter().all(|byte| *byte == 0));

        let Err(third) = first.join(third) else {
            panic!("not adjacent")
        };
        assert!(first.join(second).is_ok());
        assert!(first.join(third).is_ok());
        assert_eq!(first.length(), 4 * UNIT);
        assert_eq!(first.as_slice()[UNIT - 1], 1);
        assert_eq!(first.as_slice()[UNIT], 2);
    }

    #[test]
    fn blocks_of_two_regions_never_join() {
        let mut blocks: Vec<Block> = (0..64).filter_map(|_| Block::from_heap(UNIT)).collect();
        blocks.sort_by_key(Block::address);
        let mut first = blocks.remove(0);
        for other in blocks {
            assert!(first.join(other).is_err());
        }
    }

    #[test]
    fn a_part_keeps_the_region_alive() {
        let mut first = Block::from_heap(2 * UNIT).unwrap();
        let mut second = first.split_off(UNIT).unwrap();
        drop(first);
        second.as_mut_slice().fill(7);
        assert_eq!(second.as_slice()[UNIT - 1], 7);
    }

    #[test]
    fn odd_splits_are_refused() {
        let mut block = Block::from_heap(2 * UNIT).unwrap();
        for at in [0, 1, UNIT + 1, 2 * UNIT, 3 * UNIT] {
            assert!(block.split_off(at).is_none(), "{at}");
        }
        assert_eq!(block.length(), 2 * UNIT);
    }
}
