//! Tests of `Turris` (both policies on one copy of the request), and of the engine's properties in
//! all three layers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod deadline;
mod errors;
mod stack;
mod support;
mod unprocessed;
