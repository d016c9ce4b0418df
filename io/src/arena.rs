//! The arena's books: which part of the core's one mapping is lent out in which size class. Chunks of the largest class are cut
//! into equal blocks of one class and given back to no class once they are whole again. It never allocates memory for data, never
//! blocks, and never hands out a block twice: blocks move by value.

use std::rc::Rc;

use crate::limits::{BUFFER_ALIGNMENT_BYTES, BUFFER_CLASS_BYTES_MAX, BUFFER_CLASS_COUNT};
use crate::sys::memory::Block;
use crate::width::index;

/// A size class: blocks of 4 KiB shifted left by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Class(u8);

impl Class {
    /// The smallest class that holds `length` bytes; `None` above the largest.
    pub(crate) fn for_length(length: usize) -> Option<Self> {
        let units = length
            .max(1)
            .div_ceil(BUFFER_ALIGNMENT_BYTES)
            .checked_next_power_of_two()?;
        let class = u8::try_from(units.trailing_zeros()).ok()?;
        (usize::from(class) < BUFFER_CLASS_COUNT).then_some(Self(class))
    }

    /// Bytes of a block of this class.
    pub(crate) fn block_bytes(self) -> usize {
        BUFFER_ALIGNMENT_BYTES << self.0
    }
}

/// One chunk: uncut, or cut into equal blocks of a class.
enum Chunk {
    Uncut(Block),
    Cut {
        class: Class,
        free: Vec<Rc<Block>>,
        block_count: usize,
    },
    /// Only while a chunk changes from one of the above to the other.
    Changing,
}

/// The books over one block of memory whose length is a multiple of [`BUFFER_CLASS_BYTES_MAX`].
pub(crate) struct Arena {
    start_address: usize,
    length_bytes: usize,
    chunks: Vec<Chunk>,
    /// Uncut chunks.
    uncut: Vec<u32>,
    /// Per class: chunks that have a free block. A chunk stands here exactly while it is cut and has one.
    open: [Vec<u32>; BUFFER_CLASS_COUNT],
    /// Cut chunks none of whose blocks is lent: what `recover` can find.
    whole_count: usize,
    lent_bytes: usize,
}

impl Arena {
    /// Books over `memory`, all free. A tail shorter than a chunk is not used.
    pub(crate) fn new(memory: Block) -> Self {
        let start_address = memory.address();
        let mut length = 0;
        let mut chunks = Vec::new();
        let mut uncut = Vec::new();
        let mut rest = Some(memory);
        while let Some(mut chunk) = rest.take() {
            if chunk.length() < BUFFER_CLASS_BYTES_MAX {
                break;
            }
            rest = chunk.split_off(BUFFER_CLASS_BYTES_MAX);
            length += chunk.length();
            uncut.push(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
            chunks.push(Chunk::Uncut(chunk));
        }
        uncut.reverse();
        let open = std::array::from_fn(|_| Vec::with_capacity(chunks.len()));
        Self {
            start_address,
            length_bytes: length,
            chunks,
            uncut,
            open,
            whole_count: 0,
            lent_bytes: 0,
        }
    }

    /// First byte and length of the memory that the books are about.
    pub(crate) fn extent(&self) -> (usize, usize) {
        (self.start_address, self.length_bytes)
    }

    /// Bytes in lent blocks.
    pub(crate) fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// A free block of the class, referred to by the result alone; `None` if the arena has none left.
    pub(crate) fn take(&mut self, class: Class) -> Option<Rc<Block>> {
        let number = match self.open_chunk(class) {
            Some(number) => number,
            None => self.cut_chunk(class)?,
        };
        let Some(Chunk::Cut {
            free, block_count, ..
        }) = self.chunks.get_mut(index(number))
        else {
            return None;
        };
        if free.len() == *block_count {
            self.whole_count -= 1;
        }
        let block = free.pop()?;
        if free.is_empty() {
            self.open.get_mut(usize::from(class.0))?.pop();
        }
        self.lent_bytes += class.block_bytes();
        Some(block)
    }

    /// Takes back a block that `take` gave. The caller holds the last reference but this one.
    pub(crate) fn give(&mut self, block: Rc<Block>) {
        let number = (block.address() - self.start_address) / BUFFER_CLASS_BYTES_MAX;
        let Some(Chunk::Cut {
            class,
            free,
            block_count,
        }) = self.chunks.get_mut(number)
        else {
            return;
        };
        assert_eq!(
            block.length(),
            class.block_bytes(),
            "a block came back to a chunk of another class"
        );
        self.lent_bytes -= block.length();
        free.push(block);
        if free.len() == *block_count {
            self.whole_count += 1;
        }
        let newly_open = free.len() == 1;
        if let (true, Some(open)) = (newly_open, self.open.get_mut(usize::from(class.0))) {
            open.push(u32::try_from(number).unwrap_or(u32::MAX));
        }
    }

    fn open_chunk(&self, class: Class) -> Option<u32> {
        self.open.get(usize::from(class.0))?.last().copied()
    }

    /// Cuts an uncut chunk, or a whole one of another class, into blocks of this class, and opens it.
    fn cut_chunk(&mut self, class: Class) -> Option<u32> {
        let number = match self.uncut.pop() {
            Some(number) => number,
            None => self.recover()?,
        };
        let chunk = self.chunks.get_mut(index(number))?;
        let Chunk::Uncut(memory) = std::mem::replace(chunk, Chunk::Changing) else {
            return None;
        };
        let free = cut(memory, class);
        let block_count = free.len();
        *chunk = Chunk::Cut {
            class,
            free,
            block_count,
        };
        self.whole_count += 1;
        self.open.get_mut(usize::from(class.0))?.push(number);
        Some(number)
    }

    /// Makes a cut chunk uncut again, if one has all its blocks at home. Looks at every chunk, at most 65,536 of them, only when the
    /// count says that there is one.
    fn recover(&mut self) -> Option<u32> {
        if self.whole_count == 0 {
            return None;
        }
        let position = self.chunks.iter().position(is_whole)?;
        let chunk = self.chunks.get_mut(position)?;
        let Chunk::Cut { class, free, .. } = std::mem::replace(chunk, Chunk::Changing) else {
            return None;
        };
        *chunk = Chunk::Uncut(join_all(free)?);
        self.whole_count -= 1;
        let number = u32::try_from(position).ok()?;
        self.open
            .get_mut(usize::from(class.0))?
            .retain(|open| *open != number);
        Some(number)
    }
}

fn is_whole(chunk: &Chunk) -> bool {
    match chunk {
        Chunk::Cut {
            free, block_count, ..
        } => free.len() == *block_count,
        Chunk::Uncut(_) | Chunk::Changing => false,
    }
}

/// Equal blocks of one class, the lowest address last, so that it is lent first.
fn cut(mut memory: Block, class: Class) -> Vec<Rc<Block>> {
    let block_bytes = class.block_bytes();
    let mut free = Vec::with_capacity(memory.length() / block_bytes);
    while let Some(last) = memory.split_off(memory.length() - block_bytes) {
        free.push(Rc::new(last));
    }
    free.push(Rc::new(memory));
    free
}

/// The one block that `cut` began with.
fn join_all(free: Vec<Rc<Block>>) -> Option<Block> {
    let mut blocks: Vec<Block> = free.into_iter().filter_map(Rc::into_inner).collect();
    blocks.sort_unstable_by_key(Block::address);
    let mut blocks = blocks.into_iter();
    let mut whole = blocks.next()?;
    for block in blocks {
        let joined = whole.join(block);
        assert!(joined.is_ok(), "blocks of one chunk are adjacent");
    }
    assert_eq!(
        whole.length(),
        BUFFER_CLASS_BYTES_MAX,
        "a chunk lost a block"
    );
    Some(whole)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{Arena, Class};
    use crate::limits::{BUFFER_ALIGNMENT_BYTES, BUFFER_CLASS_BYTES_MAX};
    use crate::sys::memory::Block;

    fn arena(chunk_count: usize) -> Arena {
        Arena::new(Block::from_heap(chunk_count * BUFFER_CLASS_BYTES_MAX).unwrap())
    }

    fn class(length: usize) -> Class {
        Class::for_length(length).unwrap()
    }

    #[test]
    fn classes_hold_their_lengths() {
        for length in [0, 1, 4096, 4097, 8192, 100_000, BUFFER_CLASS_BYTES_MAX] {
            let block_bytes = class(length).block_bytes();
            assert!(block_bytes >= length);
            assert!(block_bytes == BUFFER_ALIGNMENT_BYTES || block_bytes / 2 < length);
        }
        assert_eq!(Class::for_length(BUFFER_CLASS_BYTES_MAX + 1), None);
        assert_eq!(Class::for_length(usize::MAX), None);
    }

    #[test]
    fn a_full_arena_says_so_and_serves_again() {
        let mut arena = arena(2);
        let mut lent = Vec::new();
        while let Some(block) = arena.take(class(4096)) {
            lent.push(block);
        }
        assert_eq!(lent.len(), 512);
        assert!(arena.take(class(BUFFER_CLASS_BYTES_MAX)).is_none());
        arena.give(lent.pop().unwrap());
        assert!(arena.take(class(8192)).is_none());
        lent.push(arena.take(class(4096)).unwrap());
        for block in lent {
            arena.give(block);
        }
        assert_eq!(arena.lent_bytes(), 0);
        assert!(arena.take(class(BUFFER_CLASS_BYTES_MAX)).is_some());
        assert!(arena.take(class(BUFFER_CLASS_BYTES_MAX)).is_some());
        assert!(arena.take(class(4096)).is_none());
    }

    /// Random takes and gives of all classes: no two lent blocks overlap, a full arena is really full, and all comes back.
    #[test]
    fn random_traffic_never_overlaps() {
        let mut arena = arena(4);
        let mut lent: Vec<(Rc<Block>, u8)> = Vec::new();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut refused = 0;
        for round in 0..20_000_u32 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let giving = state % 5 < 2 || refused > 40;
            if giving && !lent.is_empty() {
                refused = 0;
                let position = usize::try_from(state >> 8).unwrap() % lent.len();
                let (block, mark) = lent.swap_remove(position);
                assert!(
                    block.as_slice().iter().all(|byte| *byte == mark),
                    "round {round}"
                );
                arena.give(block);
                continue;
            }
            let wanted = class(4096 << ((state >> 40) % 9));
            let Some(mut block) = arena.take(wanted) else {
                refused += 1;
                continue;
            };
            assert_eq!(block.length(), wanted.block_bytes());
            let mark = u8::try_from(round % 251).unwrap();
            Rc::get_mut(&mut block)
                .expect("nobody else holds it")
                .as_mut_slice()
                .fill(mark);
            lent.push((block, mark));
            let sum: usize = lent.iter().map(|(block, _)| block.length()).sum();
            assert_eq!(arena.lent_bytes(), sum);
        }
        for (block, _) in lent {
            arena.give(block);
        }
        let whole: Vec<_> =
            std::iter::from_fn(|| arena.take(class(BUFFER_CLASS_BYTES_MAX))).collect();
        assert_eq!(whole.len(), 4);
    }
}
