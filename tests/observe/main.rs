//! What a subscriber and a recorder get to see: scripted services, paused time.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should; nothing here is anybody's API"
)]

mod calling_back;
mod capture;
mod events;
mod limited;
mod limits;
mod metrics;
mod panicking;
mod prometheus;
mod secrets;
mod silence;
#[path = "../auth/support.rs"]
mod support;
mod token_fetch;
