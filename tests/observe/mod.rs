//! Tests of the telemetry, with scripted services and paused time.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "a panic in a helper fails the test, as it should; this is no public API"
)]

mod calling_back;
mod capture;
mod events;
mod limited;
mod limits;
mod metrics;
mod panicking;
mod recorder;
mod secrets;
mod silence;
mod token_fetch;

use super::auth::support;
