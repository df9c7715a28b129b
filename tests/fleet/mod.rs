//! Tests of processes that share a store, against an emulator that counts requests. Every process
//! has its own layer and its own `SharedState`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should"
)]

mod breaker;
mod invalidation;
mod pace;
mod partitions;
mod support;
mod token;
