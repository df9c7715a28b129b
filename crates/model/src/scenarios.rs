//! Scenarios of a few threads on one cache, with properties that hold in every order.
//!
//! In every scenario the server asserts that at most one fetch is under way and that the allowance
//! is kept. It also asserts that no thread receives an older token after a newer one, or a token
//! that the thread has refused or invalidated. At the end the whole history of publications is
//! checked (`history.rs`). A scenario ends only if all its threads and tasks end. Loom therefore
//! reports a lost wake-up, a waiter without an outcome and an endless task as a deadlock.

mod callers;
mod completions;
mod invalidations;
mod time;

pub use self::{callers::*, completions::*, invalidations::*, time::*};
