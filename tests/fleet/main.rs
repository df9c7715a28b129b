//! Processes that share a store, beside an emulator that counts: every process has a layer and a `SharedState` of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should"
)]

mod pace;
mod partitions;
mod support;
mod token;
