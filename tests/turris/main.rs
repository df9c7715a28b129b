//! `Turris`: both policies on one copy of the request, and what all three layers owe to the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod deadline;
mod errors;
mod stack;
mod support;
mod unprocessed;
