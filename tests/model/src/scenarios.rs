//! What a few threads do to one cache, and what has to hold whatever the order.
//!
//! The server asserts in all of them that no two fetches are under way and that the allowance is kept. Each ends only if all
//! its threads and tasks do: a lost wake-up, a waiter left behind or a task that nobody ends is a deadlock, which loom
//! reports.

mod callers;
mod invalidations;
mod time;

pub use self::{callers::*, invalidations::*, time::*};
