//! What a caller that waits for a token holds, to the least that one can hold who waits: bytes that are in use do not depend
//! on what else the machine does. Alone in its program, for it counts what all threads have allocated.

#![allow(dead_code, reason = "the scenarios are shared with the benchmarks, each of which uses a part")]

#[path = "../../scenarios/mod.rs"]
mod scenarios;

use std::alloc::System;

use cap::Cap;
use tower::Layer;
// The scenarios name these from the root.
use turris_auth_instructions::{contenders, work};

use self::scenarios::cold;

/// No limit.
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
