//! `TurrisAuthLayer` from the outside: scripted services, paused time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should; nothing here is anybody's API"
)]

mod bounds;
mod builder;
mod flight;
mod handle;
mod readiness;
mod runtimes;
mod scope;
mod secrets;
mod stacks;
mod support;
mod token_request;
mod unauthorized;
