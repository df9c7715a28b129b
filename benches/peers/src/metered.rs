//! A global allocator that counts frees too.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

use turris_auth_instructions::counting::{Allocated, Counting};

/// The counting allocator, which besides knows what is in use.
pub struct Metered;

thread_local! {
    static FREED: Cell<u64> = const { Cell::new(0) };
}

/// The bytes that this thread has allocated and not freed. Below zero where it has freed what others allocated.
pub fn live_bytes() -> i64 {
    Allocated::so_far().bytes.cast_signed() - FREED.get().cast_signed()
}

fn count_freed(layout: Layout) {
    FREED.set(FREED.get().wrapping_add(layout.size() as u64));
}

// SAFETY: every call goes to `Counting` with the arguments as they came. The counter is a thread-local without a
// destructor, initialised at compile time, so that counting neither allocates nor panics.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { Counting.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { Counting.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_freed(layout);
        // SAFETY: the caller's.
        unsafe { Counting.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count_freed(layout);
        // SAFETY: the caller's.
        unsafe { Counting.dealloc(pointer, layout) }
    }
}
