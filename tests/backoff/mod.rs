//! Tests of `TurrisBackoff` around scripted services, and around an emulated Turris.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod config;
mod contract;
mod delay;
mod pacing;
mod queue;
mod retry;
mod simulation;
mod stacked;
mod support;
