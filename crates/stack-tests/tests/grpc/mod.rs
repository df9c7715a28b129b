//! Tests of a tonic channel with the layer on it, against a real tonic server, both on real
//! sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should; this is no public API"
)]

mod calls;
mod rate_limits;
mod refusals;
mod server;
mod stack;
mod token_errors;
