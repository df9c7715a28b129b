//! A global allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, with counters for each thread. Each counter costs an instruction. Freed
/// blocks are not counted, because three times as many counts would show in the results.
pub struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// The blocks that this thread has allocated since its start. A reallocation counts as an
/// allocation of the new size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    pub allocations: u64,
    pub bytes: u64,
}

impl Allocated {
    pub fn so_far() -> Self {
        Self { allocations: ALLOCATIONS.get(), bytes: BYTES.get() }
    }

    pub fn since(self, earlier: Self) -> Self {
        Self { allocations: self.allocations - earlier.allocations, bytes: self.bytes - earlier.bytes }
    }
}

fn count(size: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get().wrapping_add(1));
    BYTES.set(BYTES.get().wrapping_add(size as u64));
}

// SAFETY: every call goes to `System` with unchanged arguments. The counters are thread-locals
// without a destructor, and are initialised at compile time. So counting neither allocates nor
// panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}
