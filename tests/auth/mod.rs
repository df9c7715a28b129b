//! Tests of `TurrisAuthLayer` from the outside, with scripted services and paused time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should; this is no public API"
)]

mod allowance;
mod answers;
mod bounds;
mod builder;
mod cancellation;
mod credentials_file;
mod errors;
mod flight;
mod handle;
mod ineffective;
mod invalidation;
mod model;
mod one_service;
mod other_runtimes;
mod protection_space;
mod provider;
mod readiness;
mod refresh;
mod restricted;
mod runtimes;
mod secrets;
mod sources;
mod stacks;
mod stress;
pub(crate) mod support;
mod token_request;
mod traced;
mod unauthorized;
