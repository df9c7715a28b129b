//! `TurrisAuthLayer` from the outside: scripted services, paused time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should; nothing here is anybody's API"
)]

mod allowance;
mod cancellation;
mod errors;
mod flight;
mod invalidation;
mod model;
mod provider;
mod refresh;
mod other_runtimes;
mod sources;
mod support;
mod vain;
