//! Large buffers that are kept for the next taker while somebody takes and drops many of them. The kernel clears a new
//! mapping page by page, which costs more than to read the same bytes from a fast drive.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{BufferPool, Pool};
use crate::limits::HUGE_PAGE_BYTES;
use crate::sys::memory::Block;

/// As long as it lives, its pool keeps large buffers that are dropped, up to so many bytes for each of these that are alive.
#[must_use = "buffers are kept only as long as this lives"]
pub struct SpareBuffers {
    pool: Rc<Pool>,
    limit_bytes: usize,
}

impl BufferPool {
    /// Keeps up to `limit_bytes` of dropped buffers that are larger than the arena's classes, until the answer is dropped. They count
    /// towards the pool's limit, and give way where that would refuse a buffer.
    pub fn keep_spares(&self, limit_bytes: usize) -> SpareBuffers {
        self.inner.spares.grow(limit_bytes);
        SpareBuffers {
            pool: Rc::clone(&self.inner),
            limit_bytes,
        }
    }
}

impl Drop for SpareBuffers {
    fn drop(&mut self) {
        self.pool.spares.shrink(self.limit_bytes);
    }
}

/// What is kept. Nobody else holds one of these blocks.
#[derive(Default)]
pub(super) struct Spares {
    blocks: RefCell<Vec<Rc<Block>>>,
    kept_bytes: Cell<usize>,
    limit_bytes: Cell<usize>,
}

impl Spares {
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes.get()
    }

    /// A block as a new mapping of this length would be, if one is kept.
    pub(super) fn take(&self, length_bytes: usize) -> Option<Rc<Block>> {
        let mut blocks = self.blocks.borrow_mut();
        let as_new = length_bytes..length_bytes.saturating_add(HUGE_PAGE_BYTES);
        let position = blocks
            .iter()
            .position(|block| as_new.contains(&block.length()))?;
        let block = blocks.swap_remove(position);
        self.kept_bytes.set(self.kept_bytes.get() - block.length());
        Some(block)
    }

    /// Keeps a block that its last user is just letting go of, if there is room.
    pub(super) fn give(&self, block: &Rc<Block>) {
        let kept_bytes = self.kept_bytes.get().saturating_add(block.length());
        if kept_bytes <= self.limit_bytes.get() {
            self.kept_bytes.set(kept_bytes);
            self.blocks.borrow_mut().push(Rc::clone(block));
        }
    }

    /// Lets go of blocks until no more than `bytes` are kept, the oldest first.
    pub(super) fn reduce_to(&self, bytes: usize) {
        let mut blocks = self.blocks.borrow_mut();
        let mut kept_bytes = self.kept_bytes.get();
        while kept_bytes > bytes && !blocks.is_empty() {
            kept_bytes -= blocks.remove(0).length();
        }
        self.kept_bytes.set(kept_bytes);
    }

    fn grow(&self, bytes: usize) {
        self.limit_bytes
            .set(self.limit_bytes.get().saturating_add(bytes));
    }

    fn shrink(&self, bytes: usize) {
        self.limit_bytes
            .set(self.limit_bytes.get().saturating_sub(bytes));
        self.reduce_to(self.limit_bytes.get());
    }
}

#[cfg(test)]
mod tests {
    use crate::buffer::{BufferError, BufferPool, BufferPoolConfig};

    const MIB: usize = 1 << 20;

    fn pool(limit_bytes: usize) -> BufferPool {
        BufferPool::new(BufferPoolConfig {
            arena_bytes: 0,
            limit_bytes,
        })
        .unwrap()
    }

    /// Leaves a mark in a buffer and drops it.
    fn mark(pool: &BufferPool, length: usize) {
        pool.take(length).unwrap().as_mut_slice()[7] = 7;
    }

    fn is_marked(pool: &BufferPool, length: usize) -> bool {
        pool.take(length).unwrap().as_slice()[7] == 7
    }

    #[test]
    fn a_large_buffer_comes_back_as_it_was_left_while_spares_are_kept() {
        let pool = pool(64 * MIB);
        mark(&pool, 4 * MIB);
        assert!(!is_marked(&pool, 4 * MIB), "nobody asked to keep it");
        let spares = pool.keep_spares(8 * MIB);
        mark(&pool, 4 * MIB);
        assert_eq!(pool.statistics().outside_bytes, 4 * MIB);
        assert!(!is_marked(&pool, 6 * MIB), "another length");
        assert!(is_marked(&pool, 4 * MIB));
        drop(spares);
        assert_eq!(pool.statistics().outside_bytes, 0);
        assert!(!is_marked(&pool, 4 * MIB));
    }

    #[test]
    fn no_more_is_kept_than_was_asked_for() {
        let pool = pool(64 * MIB);
        let (first, second) = (pool.keep_spares(8 * MIB), pool.keep_spares(8 * MIB));
        let buffers: Vec<_> = (0..4).map(|_| pool.take(6 * MIB).unwrap()).collect();
        drop(buffers);
        assert_eq!(pool.statistics().outside_bytes, 12 * MIB);
        drop(first);
        assert_eq!(pool.statistics().outside_bytes, 6 * MIB);
        drop(second);
        assert_eq!(pool.statistics().outside_bytes, 0);
    }

    #[test]
    fn spares_give_way_where_the_limit_would_refuse() {
        let pool = pool(8 * MIB);
        let _spares = pool.keep_spares(8 * MIB);
        mark(&pool, 4 * MIB);
        let taken = pool.take(6 * MIB).unwrap();
        assert_eq!(pool.statistics().outside_bytes, 6 * MIB);
        assert!(matches!(
            pool.take(4 * MIB),
            Err(BufferError::LimitReached { used_bytes, .. }) if used_bytes == 6 * MIB
        ));
        drop(taken);
    }
}
