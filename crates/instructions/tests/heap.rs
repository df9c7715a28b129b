//! Compares the heap of a caller that waits for a token with the floor: the heap of a caller that
//! waits on a `Notify`. Bytes in use do not depend on the load of the machine. This program has
//! only one test, because the test counts the allocations of all threads.

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
fn a_waiting_caller_holds_at_most_5_percent_more_than_the_floor() {
    let floor = cold::parked(CALLERS, in_use, contenders::static_header().layer(work::Inner));
    let waiting = cold::waiting(CALLERS, in_use, scenarios::auth);
    let ratio = waiting.heap as f64 / floor.heap as f64;
    println!("{} bytes each, {ratio:.3} of the floor's", waiting.heap / CALLERS as i64);
    assert_eq!(waiting.source_calls, 1);
    assert!(ratio <= 1.05, "{ratio:.3} of the floor's heap");
}
