//! Compares the heap of a caller that waits for a token with the least heap that a waiting caller
//! can have. Bytes in use do not depend on the load of the machine. The test is the only test of
//! its program, because it counts the allocations of all threads.

use std::alloc::System;

use cap::Cap;
use tower::Layer;
use turris_auth_instructions::{contenders, work};
use turris_auth_scenarios::{self as scenarios, cold};

/// Counts the allocated bytes, without a limit.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

const CALLERS: usize = 10_000;

fn in_use() -> i64 {
    HEAP.allocated().cast_signed() as i64
}

#[test]
fn a_caller_that_waits_holds_hardly_more_than_its_request() {
    let floor = cold::parked(CALLERS, in_use, contenders::static_header().layer(work::Inner));
    let waiting = cold::waiting(CALLERS, in_use, scenarios::auth);
    let ratio = waiting.heap as f64 / floor.heap as f64;
    println!("{} bytes each, {ratio:.3} of the floor's", waiting.heap / CALLERS as i64);
    assert_eq!(waiting.source_calls, 1);
    assert!(ratio <= 1.05, "{ratio:.3} of what those hold that are parked on one `Notify`");
}
