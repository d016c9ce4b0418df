//! DMA buffers: aligned memory that a device may write to, lent from the core's pool and given back when dropped. A buffer is always
//! initialised. While a device may touch it, the operation's slot owns it, and nobody can borrow it. A pool and its buffers stay on
//! one thread.

mod spares;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

pub use self::spares::SpareBuffers;
use self::spares::Spares;
use crate::arena::{Arena, Class};
use crate::errno::Errno;
pub use crate::limits::BUFFER_ALIGNMENT_BYTES;
use crate::limits::{
    ARENA_BYTES_DEFAULT, ARENA_BYTES_MAX, BUFFER_CLASS_BYTES_MAX, POOL_BYTES_DEFAULT,
};
pub use crate::sys::mapping::HugePages;
use crate::sys::mapping::Mapping;
use crate::sys::memory::Block;

/// Owned, aligned memory that a device may write to. Goes back to its pool when dropped. Not `Clone`.
pub struct DmaBuffer {
    loan: Loan,
}

impl DmaBuffer {
    /// Bytes in this buffer: a multiple of [`BUFFER_ALIGNMENT_BYTES`], at least what was asked for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.loan.block.length()
    }

    /// The whole capacity. Zeroed at first; a buffer used before holds what its last user left.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.loan.block.as_slice()
    }

    /// The whole capacity, to change.
    #[expect(
        clippy::expect_used,
        reason = "an invariant of this file: a DmaBuffer is its block's only holder"
    )]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        Rc::get_mut(&mut self.loan.block)
            .expect("the only holder of its block")
            .as_mut_slice()
    }

    /// Makes the buffer immutable and cheap to share, as a write needs it.
    #[must_use]
    pub fn freeze(self) -> FrozenBuffer {
        FrozenBuffer { loan: self.loan }
    }

    pub(crate) fn block(&self) -> &Block {
        &self.loan.block
    }

    /// The arena's registration number, if this buffer lies in an arena.
    pub(crate) fn arena(&self) -> Option<ArenaId> {
        self.loan.arena()
    }
}

impl fmt::Debug for DmaBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DmaBuffer")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Immutable, cheaply cloned view of a whole [`DmaBuffer`]: what a write takes, so that the writer can go on reading it while the
/// device does. The memory goes back to its pool with the last clone.
#[derive(Clone)]
pub struct FrozenBuffer {
    loan: Loan,
}

impl FrozenBuffer {
    /// The buffer back for reuse if this is its last handle; itself otherwise.
    ///
    /// # Errors
    /// The handle, while other clones exist (an operation in flight holds one).
    pub fn try_thaw(self) -> Result<DmaBuffer, Self> {
        if Rc::strong_count(&self.loan.block) == 1 {
            return Ok(DmaBuffer { loan: self.loan });
        }
        Err(self)
    }

    pub(crate) fn block(&self) -> &Block {
        &self.loan.block
    }

    pub(crate) fn arena(&self) -> Option<ArenaId> {
        self.loan.arena()
    }
}

impl Deref for FrozenBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.loan.block.as_slice()
    }
}

impl fmt::Debug for FrozenBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FrozenBuffer")
            .field("capacity", &self.len())
            .finish_non_exhaustive()
    }
}

/// Why a pool gave no buffer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BufferError {
    /// The pool's own bound; drop buffers or raise `limit_bytes`.
    #[error(
        "a buffer of {wanted_bytes} bytes would pass the pool's limit: {used_bytes} of {limit_bytes} bytes are in use"
    )]
    LimitReached {
        /// The buffer's size after rounding.
        wanted_bytes: usize,
        /// The arena and the buffers outside it, lent or not.
        used_bytes: usize,
        /// The configured bound.
        limit_bytes: usize,
    },
    /// The system has no memory of that size.
    #[error("the system gave no memory for {wanted_bytes} bytes: {errno}")]
    OutOfMemory {
        /// The buffer's or arena's size.
        wanted_bytes: usize,
        /// What the kernel said.
        errno: Errno,
    },
    /// The configuration asks for more than a ring can register.
    #[error(
        "an arena of {wanted_bytes} bytes is larger than the {max_bytes} that a ring can register"
    )]
    ArenaTooLarge {
        /// The configured size.
        wanted_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
}

/// What a pool is made of.
#[derive(Clone, Copy, Debug)]
pub struct BufferPoolConfig {
    /// The arena, rounded up to whole huge pages. 0 means none: every buffer is an allocation of its own, as tools that watch memory
    /// like it.
    pub arena_bytes: usize,
    /// Bound over the arena and all buffers outside it.
    pub limit_bytes: usize,
}

impl Default for BufferPoolConfig {
    fn default() -> Self {
        Self {
            arena_bytes: ARENA_BYTES_DEFAULT,
            limit_bytes: POOL_BYTES_DEFAULT,
        }
    }
}

/// The core's DMA memory: one arena, mapped once, on huge pages where the kernel has them, lent in size classes (powers of two from
/// 4 KiB to 1 MiB). Larger buffers, and all when the arena is used up, come from the system and go back to it. Cheap to clone.
#[derive(Clone)]
pub struct BufferPool {
    inner: Rc<Pool>,
}

impl BufferPool {
    /// Maps the arena.
    ///
    /// # Errors
    /// Too large an arena, one beyond the limit, or no memory.
    pub fn new(config: BufferPoolConfig) -> Result<Self, BufferError> {
        let BufferPoolConfig {
            arena_bytes,
            limit_bytes,
        } = config;
        if arena_bytes > ARENA_BYTES_MAX {
            return Err(BufferError::ArenaTooLarge {
                wanted_bytes: arena_bytes,
                max_bytes: ARENA_BYTES_MAX,
            });
        }
        if arena_bytes > limit_bytes {
            return Err(BufferError::LimitReached {
                wanted_bytes: arena_bytes,
                used_bytes: 0,
                limit_bytes,
            });
        }
        let mut huge_pages = HugePages::None;
        let mut arena = None;
        if arena_bytes > 0 {
            let wanted_bytes = arena_bytes.next_multiple_of(BUFFER_CLASS_BYTES_MAX);
            let mapping = Mapping::new(wanted_bytes).map_err(|errno| BufferError::OutOfMemory {
                wanted_bytes,
                errno,
            })?;
            huge_pages = mapping.huge_pages();
            arena = Some(Arena::new(Block::from_mapping(mapping)));
        }
        let extent = arena.as_ref().map_or((0, 0), Arena::extent);
        let inner = Pool {
            arena: RefCell::new(arena),
            extent,
            huge_pages,
            limit_bytes,
            outside_bytes: Cell::new(0),
            outside_count: Cell::new(0),
            spares: Spares::default(),
        };
        Ok(Self {
            inner: Rc::new(inner),
        })
    }

    /// A buffer of at least `length` bytes (0 counts as 1): from the arena, or from the system when the arena is used up or the length
    /// is beyond its classes.
    ///
    /// # Errors
    /// The pool's limit, or a system without memory.
    pub fn take(&self, length: usize) -> Result<DmaBuffer, BufferError> {
        let class = Class::for_length(length);
        if let (Some(class), Some(arena)) = (class, self.inner.arena.borrow_mut().as_mut())
            && let Some(block) = arena.take(class)
        {
            return Ok(DmaBuffer {
                loan: Loan {
                    block,
                    pool: Rc::clone(&self.inner),
                },
            });
        }
        let wanted_bytes = class
            .map_or(
                length.checked_next_multiple_of(BUFFER_ALIGNMENT_BYTES),
                |class| Some(class.block_bytes()),
            )
            .unwrap_or(usize::MAX);
        let block = self.inner.take_outside(wanted_bytes)?;
        Ok(DmaBuffer {
            loan: Loan {
                block,
                pool: Rc::clone(&self.inner),
            },
        })
    }

    /// What is in use.
    #[must_use]
    pub fn statistics(&self) -> BufferStatistics {
        let arena = self.inner.arena.borrow();
        BufferStatistics {
            arena_bytes: self.inner.extent.1,
            arena_lent_bytes: arena.as_ref().map_or(0, Arena::lent_bytes),
            outside_bytes: self.inner.outside_bytes.get() + self.inner.spares.kept_bytes(),
            outside_count: self.inner.outside_count.get(),
            limit_bytes: self.inner.limit_bytes,
            huge_pages: self.inner.huge_pages,
        }
    }

    /// The arena to register: its number, first byte and length; `None` without an arena.
    pub(crate) fn arena(&self) -> Option<(ArenaId, usize, usize)> {
        let (start_address, length) = self.inner.extent;
        (length > 0).then_some((ArenaId(start_address), start_address, length))
    }
}

/// Counters of a pool, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferStatistics {
    /// The arena's size.
    pub arena_bytes: usize,
    /// What of the arena is lent out, in whole blocks.
    pub arena_lent_bytes: usize,
    /// Buffers outside the arena that exist now.
    pub outside_bytes: usize,
    /// Buffers that were ever made outside the arena: when it grows steadily, the arena is too small.
    pub outside_count: u64,
    /// The configured bound over arena and outside buffers.
    pub limit_bytes: usize,
    /// What the arena lies on.
    pub huge_pages: HugePages,
}

/// Which arena a buffer lies in: its address, which no other arena of the process has at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ArenaId(usize);

struct Pool {
    arena: RefCell<Option<Arena>>,
    /// The arena's first byte and length, (0, 0) without one.
    extent: (usize, usize),
    huge_pages: HugePages,
    limit_bytes: usize,
    outside_bytes: Cell<usize>,
    outside_count: Cell<u64>,
    spares: Spares,
}

impl Pool {
    fn take_outside(&self, wanted_bytes: usize) -> Result<Rc<Block>, BufferError> {
        if let Some(block) = self.spares.take(wanted_bytes) {
            self.outside_bytes
                .set(self.outside_bytes.get().saturating_add(block.length()));
            return Ok(block);
        }
        let used_bytes = self.extent.1.saturating_add(self.outside_bytes.get());
        let left_bytes = self.limit_bytes.saturating_sub(used_bytes);
        self.spares
            .reduce_to(left_bytes.saturating_sub(wanted_bytes));
        if used_bytes.saturating_add(wanted_bytes) > self.limit_bytes {
            let limit_bytes = self.limit_bytes;
            return Err(BufferError::LimitReached {
                wanted_bytes,
                used_bytes,
                limit_bytes,
            });
        }
        let block = if wanted_bytes > BUFFER_CLASS_BYTES_MAX {
            Mapping::new(wanted_bytes).map(Block::from_mapping)
        } else {
            Block::from_heap(wanted_bytes).ok_or(Errno::ENOMEM)
        };
        let block = block.map_err(|errno| BufferError::OutOfMemory {
            wanted_bytes,
            errno,
        })?;
        self.outside_bytes
            .set(self.outside_bytes.get().saturating_add(block.length()));
        self.outside_count
            .set(self.outside_count.get().saturating_add(1));
        Ok(Rc::new(block))
    }

    fn holds(&self, block: &Block) -> bool {
        let (start, length) = self.extent;
        block
            .address()
            .checked_sub(start)
            .is_some_and(|offset| offset < length)
    }
}

/// A block on loan from a pool; goes back with the last clone.
#[derive(Clone)]
struct Loan {
    block: Rc<Block>,
    pool: Rc<Pool>,
}

impl Loan {
    fn arena(&self) -> Option<ArenaId> {
        self.pool
            .holds(&self.block)
            .then_some(ArenaId(self.pool.extent.0))
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if Rc::strong_count(&self.block) > 1 {
            return;
        }
        if !self.pool.holds(&self.block) {
            let outside_bytes = self.pool.outside_bytes.get();
            self.pool
                .outside_bytes
                .set(outside_bytes.saturating_sub(self.block.length()));
            if self.block.length() > BUFFER_CLASS_BYTES_MAX {
                self.pool.spares.give(&self.block);
            }
            return;
        }
        if let Some(arena) = self.pool.arena.borrow_mut().as_mut() {
            // This handle still counts; it ends with this drop, so that the arena's own is the only one when the block is lent
            // again.
            arena.give(Rc::clone(&self.block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFER_ALIGNMENT_BYTES, BufferError, BufferPool, BufferPoolConfig, HugePages};

    const MIB: usize = 1 << 20;

    fn pool(arena_bytes: usize, limit_bytes: usize) -> BufferPool {
        BufferPool::new(BufferPoolConfig {
            arena_bytes,
            limit_bytes,
        })
        .unwrap()
    }

    #[test]
    fn buffers_are_aligned_zeroed_and_large_enough() {
        let pool = pool(4 * MIB, 64 * MIB);
        for length in [0, 1, 4096, 5000, 65_536, MIB, MIB + 1, 9 * MIB] {
            let mut buffer = pool.take(length).unwrap();
            assert!(buffer.capacity() >= length.max(1));
            assert_eq!(buffer.capacity() % BUFFER_ALIGNMENT_BYTES, 0);
            assert_eq!(
                buffer.as_slice().as_ptr().addr() % BUFFER_ALIGNMENT_BYTES,
                0
            );
            assert!(buffer.as_slice().iter().all(|byte| *byte == 0), "{length}");
            buffer.as_mut_slice()[0] = 0;
        }
    }

    #[test]
    fn dropped_buffers_come_back() {
        let pool = pool(2 * MIB, 4 * MIB);
        for _ in 0..10_000 {
            let first = pool.take(MIB).unwrap();
            let second = pool.take(MIB).unwrap();
            assert_eq!(pool.statistics().arena_lent_bytes, 2 * MIB);
            drop((first, second));
        }
        assert_eq!(pool.statistics().arena_lent_bytes, 0);
        assert_eq!(pool.statistics().outside_count, 0);
    }

    #[test]
    fn beyond_the_arena_comes_from_the_system_up_to_the_limit() {
        let pool = pool(2 * MIB, 6 * MIB);
        let inside: Vec<_> = (0..2).map(|_| pool.take(MIB).unwrap()).collect();
        assert!(inside.iter().all(|buffer| buffer.arena().is_some()));
        let outside = pool.take(4096).unwrap();
        assert!(outside.arena().is_none());
        assert_eq!(pool.statistics().outside_bytes, 4096);
        let error = pool.take(4 * MIB).unwrap_err();
        assert_eq!(
            error,
            BufferError::LimitReached {
                wanted_bytes: 4 * MIB,
                used_bytes: 2 * MIB + 4096,
                limit_bytes: 6 * MIB,
            }
        );
        drop(outside);
        assert_eq!(pool.statistics().outside_bytes, 0);
        drop(pool.take(4 * MIB).unwrap());
        assert!(pool.take(usize::MAX).is_err());
    }

    #[test]
    fn frozen_bytes_stay_until_the_last_clone_and_thaw_only_then() {
        let pool = pool(2 * MIB, 2 * MIB);
        let mut buffer = pool.take(4096).unwrap();
        buffer.as_mut_slice()[..4].copy_from_slice(b"road");
        let frozen = buffer.freeze();
        let held_by_device = frozen.clone();
        let frozen = frozen.try_thaw().expect_err("a clone is out");
        assert_eq!(pool.statistics().arena_lent_bytes, 4096);
        drop(frozen);
        assert_eq!(&held_by_device[..4], b"road");
        let mut again = held_by_device.try_thaw().expect("the last handle");
        again.as_mut_slice()[0] = b'R';
        assert_eq!(&again.as_slice()[..4], b"Road");
        drop(again);
        assert_eq!(pool.statistics().arena_lent_bytes, 0);
    }

    #[test]
    fn buffers_outlive_their_pool() {
        let pool = pool(2 * MIB, 2 * MIB);
        let mut buffer = pool.take(8192).unwrap();
        drop(pool);
        buffer.as_mut_slice().fill(9);
        assert!(buffer.freeze().iter().all(|byte| *byte == 9));
    }

    #[test]
    fn a_pool_without_arena_serves_from_the_heap() {
        let pool = pool(0, MIB);
        let buffer = pool.take(4096).unwrap();
        assert!(buffer.arena().is_none());
        assert_eq!(pool.statistics().huge_pages, HugePages::None);
        assert_eq!(pool.statistics().outside_bytes, 4096);
    }

    #[test]
    fn absurd_configurations_are_refused() {
        let config = BufferPoolConfig {
            arena_bytes: 2 * MIB,
            limit_bytes: MIB,
        };
        assert!(matches!(
            BufferPool::new(config),
            Err(BufferError::LimitReached { .. })
        ));
        let config = BufferPoolConfig {
            arena_bytes: usize::MAX,
            limit_bytes: usize::MAX,
        };
        assert!(matches!(
            BufferPool::new(config),
            Err(BufferError::ArenaTooLarge { .. })
        ));
    }
}
