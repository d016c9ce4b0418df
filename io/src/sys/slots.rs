//! The slots that own what the kernel works on. An operation leaves its slot only in the phase
//! `Finished`, which `finish` alone brings about, and the ring calls that only at an operation's last
//! completion. It makes no system call.

use crate::sys::operation::Operation;
use crate::width::index;

/// Names one operation: a slot and its generation, so that a late completion cannot meet a slot that
/// is used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// The form in which the kernel carries it.
    pub(crate) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(in crate::sys) fn from_user_data(user_data: u64) -> Self {
        let slot = u32::try_from(user_data & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let generation = u32::try_from(user_data >> 32).unwrap_or(u32::MAX);
        Self { slot, generation }
    }

    /// No operation's name, for tests.
    #[cfg(test)]
    pub(crate) const NOBODY: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
    };
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Free,
    /// Submitted, or queued for that: the kernel may use what the operation owns.
    InKernel,
    /// Its last completion has been reaped.
    Finished,
}

/// A place for one operation, and for what the caller keeps beside it.
struct Slot<T> {
    generation: u32,
    phase: Phase,
    /// `None` exactly while the slot is free.
    operation: Option<Operation>,
    tracker: T,
}

/// All operations of a ring. `T` is what the caller keeps beside each. The places of all slots are reserved at the
/// start, so that none moves; a slot takes memory from its first use on.
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// Slots that there may be.
    slot_count: usize,
    /// Free slots, the last one freed on top, while its memory is warm.
    free: Vec<u32>,
    /// So many free slots are kept for operations that must not be refused.
    reserved_count: usize,
    in_kernel_count: usize,
}

impl<T: Default> Slots<T> {
    pub(in crate::sys) fn new(slot_count: u32, reserved_count: u32) -> Self {
        let slot_count = index(slot_count);
        Self {
            slots: Vec::with_capacity(slot_count),
            slot_count,
            free: Vec::with_capacity(slot_count),
            reserved_count: index(reserved_count),
            in_kernel_count: 0,
        }
    }

    /// Operations that the kernel has or will get.
    pub(crate) fn in_kernel_count(&self) -> usize {
        self.in_kernel_count
    }

    /// Whether an ordinary operation finds a place.
    pub(in crate::sys) fn has_free(&self) -> bool {
        self.free_count() > self.reserved_count
    }

    /// Whether there is room for `count` operations, the reserved slots included.
    pub(in crate::sys) fn has_reserved(&self, count: usize) -> bool {
        self.free_count() >= count
    }

    fn free_count(&self) -> usize {
        self.free.len() + (self.slot_count - self.slots.len())
    }

    /// A free slot: one that was used before, or else one more.
    fn free_slot(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        if self.slots.len() >= self.slot_count {
            return None;
        }
        let number = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot {
            generation: 0,
            phase: Phase::Free,
            operation: None,
            tracker: T::default(),
        });
        Some(number)
    }

    /// Takes an operation in; the caller submits it. Gives it back if every slot is in use, the
    /// reserved ones too.
    pub(in crate::sys) fn enter(
        &mut self,
        operation: Operation,
        tracker: T,
    ) -> Result<Key, Operation> {
        let Some(number) = self.free_slot() else {
            return Err(operation);
        };
        let Some(slot) = self.slots.get_mut(index(number)) else {
            return Err(operation);
        };
        slot.phase = Phase::InKernel;
        slot.operation = Some(operation);
        slot.tracker = tracker;
        self.in_kernel_count += 1;
        Ok(Key {
            slot: number,
            generation: slot.generation,
        })
    }

    /// The operation that the kernel has or will get; `None` in any other phase.
    pub(in crate::sys) fn in_kernel(&self, key: Key) -> Option<&Operation> {
        let slot = self.slots.get(index(key.slot))?;
        let is_it = slot.generation == key.generation && slot.phase == Phase::InKernel;
        if is_it { slot.operation.as_ref() } else { None }
    }

    /// Notes that the kernel is done with an operation. Only at its last completion.
    pub(in crate::sys) fn finish(&mut self, key: Key) {
        if let Some(slot) = self.slot_mut(key)
            && slot.phase == Phase::InKernel
        {
            slot.phase = Phase::Finished;
            self.in_kernel_count -= 1;
        }
    }

    /// Has a finished operation go to the kernel again; the caller submits it. False in any other phase.
    pub(in crate::sys) fn enter_again(&mut self, key: Key) -> bool {
        let Some(slot) = self.slot_mut(key) else {
            return false;
        };
        if slot.phase != Phase::Finished {
            return false;
        }
        slot.phase = Phase::InKernel;
        self.in_kernel_count += 1;
        true
    }

    /// Whether the kernel has or will get this very operation.
    pub(crate) fn is_in_kernel(&self, key: Key) -> bool {
        self.in_kernel(key).is_some()
    }

    /// What the caller keeps beside an operation.
    pub(crate) fn tracker_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slot_mut(key).map(|slot| &mut slot.tracker)
    }

    /// A finished operation, to see how far it has come, and what is kept beside it; `None` while the
    /// kernel has it.
    pub(crate) fn finished_mut(&mut self, key: Key) -> Option<(&mut Operation, &mut T)> {
        let slot = self
            .slot_mut(key)
            .filter(|slot| slot.phase == Phase::Finished)?;
        let operation = slot.operation.as_mut()?;
        Some((operation, &mut slot.tracker))
    }

    /// Takes a finished operation out and frees its slot; `None` while the kernel has it.
    pub(crate) fn take(&mut self, key: Key) -> Option<(Operation, T)> {
        let slot = self
            .slot_mut(key)
            .filter(|slot| slot.phase == Phase::Finished)?;
        slot.phase = Phase::Free;
        slot.generation = slot.generation.wrapping_add(1);
        let tracker = std::mem::take(&mut slot.tracker);
        let operation = slot.operation.take()?;
        self.free.push(key.slot);
        Some((operation, tracker))
    }

    fn slot_mut(&mut self, key: Key) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(index(key.slot))?;
        (slot.generation == key.generation).then_some(slot)
    }

    /// Gives up all memory that operations own, because the kernel did not give it back.
    pub(in crate::sys) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.slots));
        self.free.clear();
        self.slot_count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Slots};
    use crate::sys::operation::Operation;

    fn operation() -> Operation {
        Operation::Cancel {
            target: Key::NOBODY,
        }
    }

    #[test]
    fn keys_survive_the_kernel() {
        for key in [
            Key {
                slot: 0,
                generation: 0,
            },
            Key {
                slot: 77,
                generation: u32::MAX,
            },
        ] {
            assert_eq!(Key::from_user_data(key.user_data()), key);
        }
        assert_eq!(Key::from_user_data(Key::NOBODY.user_data()), Key::NOBODY);
    }

    #[test]
    fn the_kernels_operations_cannot_be_taken() {
        let mut slots: Slots<u32> = Slots::new(4, 1);
        let key = slots.enter(operation(), 7).ok().unwrap();
        assert!(slots.take(key).is_none());
        assert!(slots.finished_mut(key).is_none());
        assert!(!slots.enter_again(key));
        assert!(slots.is_in_kernel(key));
        slots.finish(key);
        assert!(!slots.is_in_kernel(key));
        assert!(slots.enter_again(key));
        assert!(slots.take(key).is_none(), "the kernel has it again");
        slots.finish(key);
        slots.finish(key);
        assert_eq!(slots.in_kernel_count(), 0);
        assert_eq!(slots.take(key).map(|(_, tracker)| tracker), Some(7));
        assert!(slots.take(key).is_none(), "taken twice");
    }

    #[test]
    fn an_old_name_reaches_nobody() {
        let mut slots: Slots<u32> = Slots::new(1, 0);
        let old = slots.enter(operation(), 1).ok().unwrap();
        slots.finish(old);
        drop(slots.take(old));
        let new = slots.enter(operation(), 2).ok().unwrap();
        assert_ne!(old, new);
        slots.finish(old);
        assert!(slots.is_in_kernel(new), "a late completion met a used slot");
        assert!(slots.tracker_mut(old).is_none());
        assert!(!slots.is_in_kernel(old));
    }

    #[test]
    fn reserved_slots_stay_free() {
        let mut slots: Slots<u32> = Slots::new(3, 1);
        while slots.has_free() {
            assert!(slots.enter(operation(), 0).is_ok());
        }
        assert!(slots.has_reserved(1));
        assert!(!slots.has_reserved(2));
        assert!(slots.enter(operation(), 0).is_ok());
        assert!(slots.enter(operation(), 0).is_err());
        assert_eq!(slots.in_kernel_count(), 3);
    }
}
