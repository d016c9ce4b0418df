//! An allocator for this crate's own tests that counts what a thread allocates. It is not part of
//! what the crate gives to others.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of the calling thread since it began.
pub(crate) fn allocation_count() -> u64 {
    COUNT.get()
}

struct Counting;

fn count_one() {
    // A thread that is ending has no counter any more.
    match COUNT.try_with(|count| count.set(count.get() + 1)) {
        Ok(()) | Err(_) => (),
    }
}

// SAFETY: all memory comes from and goes to the system's allocator, with the caller's own
// arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count_one();
        // SAFETY: as for `alloc`.
        unsafe { System.realloc(start, layout, new_size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as for `alloc`; the memory came from the system's allocator.
        unsafe { System.dealloc(start, layout) }
    }
}
