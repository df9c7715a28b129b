//! The store in Redis and Valkey: it gives the same answers as the store in memory, and survives
//! the failures of a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a helper fails the test, as it should"
)]

mod blocking;
mod differential;
mod failures;
mod flushed;
mod operator;
mod tls;

use turris_auth::fleet::{Gate, Slot};

fn slot() -> Slot {
    Slot::new("test:1:{00112233}", "a1b2c3d4")
}

fn gate() -> Gate {
    Gate::new("test:1:{00112233}", "writes")
}
