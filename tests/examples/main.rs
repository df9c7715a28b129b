//! The examples do what they say. They are part of this crate, so that nothing has to be built twice.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../examples/live.rs"]
mod live;
#[path = "../../examples/quickstart/main.rs"]
mod quickstart;

#[path = "../support/trace.rs"]
mod trace;

mod live_tests;
mod quickstart_tests;
