//! Slots: where the cached records hang, each in the chain of its bucket and in one of two queues.
//!
//! Slots are numbered from 1; 0 is nowhere. A slot that is free is in no queue and chained to the next free
//! one. Their memory is reserved at the start and taken from the system as slots are first used, so that
//! growth never moves them.

use std::ptr;
use std::rc::Rc;

use super::NoCacheMemory;
use crate::Life;
use crate::format::fields::{u64_of, usize_of_u32};
use crate::limits::{CACHE_LINE_BYTES, PREFETCHED_LINES_MAX};

/// No slot.
pub(super) const NOWHERE: u32 = 0;
/// Bytes of a slot.
pub(super) const SLOT_BYTES: u64 = 48;
const _: () = assert!(u64_of(size_of::<Slot>()) == SLOT_BYTES);
/// The two counts that stand in front of shared bytes.
const SHARED_COUNTS_BYTES: usize = 2 * size_of::<usize>();
/// Uses of a record that are counted: each is worth one more round in the main queue.
const USES_MAX: u8 = 3;

/// The queues in which records wait to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Queue {
    /// Not used yet.
    Probation,
    /// Used since it came, or known from before.
    Main,
}

struct Slot {
    packed: u64,
    /// `None` in a free slot.
    bytes: Option<Rc<[u8]>>,
    life: Life,
    /// What the record costs, in units of 8 bytes.
    cost_units: u32,
    /// The next slot of the bucket, or the next free one.
    next: u32,
    newer: u32,
    older: u32,
    uses: u8,
    queue: Queue,
}

/// Ends of one queue, and what its records cost.
#[derive(Default)]
struct Ends {
    newest: u32,
    oldest: u32,
    bytes: u64,
}

/// All slots of a cache.
pub(super) struct Slots {
    slots: Vec<Slot>,
    first_free: u32,
    probation: Ends,
    main: Ends,
}

impl Slots {
    /// Room for `slots_max` slots.
    pub(super) fn new(slots_max: u32) -> Result<Self, NoCacheMemory> {
        let mut slots = Vec::new();
        slots
            .try_reserve_exact(usize_of_u32(slots_max))
            .map_err(|_| NoCacheMemory)?;
        Ok(Self {
            slots,
            first_free: NOWHERE,
            probation: Ends::default(),
            main: Ends::default(),
        })
    }

    /// The bytes in a slot, if they are of `life`.
    pub(super) fn bytes(&self, number: u32, life: Life) -> Option<Rc<[u8]>> {
        let slot = self.get(number).filter(|slot| slot.life == life)?;
        slot.bytes.clone()
    }

    /// The same, and notes a use.
    pub(super) fn used(&mut self, number: u32, life: Life) -> Option<Rc<[u8]>> {
        let slot = self.get_mut(number).filter(|slot| slot.life == life)?;
        slot.uses = (slot.uses + 1).min(USES_MAX);
        slot.bytes.clone()
    }

    /// Calls `hint` with an address in each line of a slot.
    pub(super) fn prefetch(&self, number: u32, hint: impl Fn(*const u8)) {
        if let Some(slot) = self.get(number) {
            hint(ptr::from_ref(&slot.packed).cast());
            hint(ptr::from_ref(&slot.queue).cast());
        }
    }

    /// The same for the bytes in a slot: the counts in front of them and their first lines. The CPU itself
    /// goes on with a longer record once it is read.
    pub(super) fn prefetch_bytes(&self, number: u32, hint: impl Fn(*const u8)) {
        let Some(bytes) = self.get(number).and_then(|slot| slot.bytes.as_ref()) else {
            return;
        };
        hint(bytes.as_ptr().wrapping_sub(SHARED_COUNTS_BYTES));
        for line in bytes.chunks(CACHE_LINE_BYTES).take(PREFETCHED_LINES_MAX) {
            hint(line.as_ptr());
        }
    }

    /// Place of the record in a slot; `None` if the slot is free.
    pub(super) fn packed(&self, number: u32) -> Option<u64> {
        let slot = self.get(number)?;
        slot.bytes.as_ref().map(|_| slot.packed)
    }

    /// What the records of a queue cost.
    pub(super) const fn bytes_of(&self, queue: Queue) -> u64 {
        self.ends(queue).bytes
    }

    /// Who would leave the queue next.
    pub(super) const fn oldest(&self, queue: Queue) -> u32 {
        self.ends(queue).oldest
    }

    /// The next of the bucket's chain.
    pub(super) fn next_of(&self, number: u32) -> u32 {
        self.get(number).map_or(NOWHERE, |slot| slot.next)
    }

    /// Takes the slot behind `number` out of the chain.
    pub(super) fn skip_next(&mut self, number: u32) {
        let after = self.next_of(self.next_of(number));
        if let Some(slot) = self.get_mut(number) {
            slot.next = after;
        }
    }

    /// Fills a free slot; `None` if there is none, which the costs of records rule out.
    pub(super) fn add(
        &mut self,
        (packed, life): (u64, Life),
        bytes: Rc<[u8]>,
        (queue, cost): (Queue, u64),
        next: u32,
    ) -> Option<u32> {
        let slot = Slot {
            packed,
            bytes: Some(bytes),
            life,
            cost_units: u32::try_from(cost.div_ceil(COST_UNIT_BYTES)).ok()?,
            next,
            newer: NOWHERE,
            older: NOWHERE,
            uses: 0,
            queue,
        };
        let number = if self.first_free == NOWHERE {
            if self.slots.len() == self.slots.capacity() {
                return None;
            }
            self.slots.push(slot);
            u32::try_from(self.slots.len()).ok()?
        } else {
            let number = self.first_free;
            let free = self.get_mut(number)?;
            let after = free.next;
            *free = slot;
            self.first_free = after;
            number
        };
        self.enqueue(number, queue);
        Some(number)
    }

    /// Frees a slot that is in no chain any more: in which queue it stood, and what it cost.
    pub(super) fn free(&mut self, number: u32) -> Option<(Queue, u64)> {
        let queue = self.get(number)?.queue;
        self.dequeue(number, queue);
        let first_free = self.first_free;
        let slot = self.get_mut(number)?;
        slot.bytes = None;
        slot.next = first_free;
        let cost = u64::from(slot.cost_units) * COST_UNIT_BYTES;
        self.first_free = number;
        Some((queue, cost))
    }

    /// Lets a slot that was used stay: from probation it moves on, in the main queue it gets another round.
    pub(super) fn spare(&mut self, number: u32, queue: Queue) -> bool {
        let Some(slot) = self.get_mut(number).filter(|slot| slot.uses > 0) else {
            return false;
        };
        slot.uses -= 1;
        slot.queue = Queue::Main;
        self.dequeue(number, queue);
        self.enqueue(number, Queue::Main);
        true
    }

    fn enqueue(&mut self, number: u32, queue: Queue) {
        let newest = self.ends(queue).newest;
        let mut cost = 0;
        if let Some(slot) = self.get_mut(number) {
            slot.older = newest;
            slot.newer = NOWHERE;
            cost = u64::from(slot.cost_units) * COST_UNIT_BYTES;
        }
        if let Some(before) = self.get_mut(newest) {
            before.newer = number;
        }
        let ends = self.ends_mut(queue);
        ends.newest = number;
        ends.bytes += cost;
        if ends.oldest == NOWHERE {
            ends.oldest = number;
        }
    }

    fn dequeue(&mut self, number: u32, queue: Queue) {
        let Some(slot) = self.get(number) else {
            return;
        };
        let (newer, older) = (slot.newer, slot.older);
        let cost = u64::from(slot.cost_units) * COST_UNIT_BYTES;
        if let Some(slot) = self.get_mut(newer) {
            slot.older = older;
        }
        if let Some(slot) = self.get_mut(older) {
            slot.newer = newer;
        }
        let ends = self.ends_mut(queue);
        ends.bytes -= cost;
        if ends.newest == number {
            ends.newest = older;
        }
        if ends.oldest == number {
            ends.oldest = newer;
        }
    }

    fn get(&self, number: u32) -> Option<&Slot> {
        self.slots.get(usize_of_u32(number).wrapping_sub(1))
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize_of_u32(number).wrapping_sub(1))
    }

    const fn ends(&self, queue: Queue) -> &Ends {
        match queue {
            Queue::Probation => &self.probation,
            Queue::Main => &self.main,
        }
    }

    const fn ends_mut(&mut self, queue: Queue) -> &mut Ends {
        match queue {
            Queue::Probation => &mut self.probation,
            Queue::Main => &mut self.main,
        }
    }
}

/// Costs are multiples of this.
const COST_UNIT_BYTES: u64 = 8;
