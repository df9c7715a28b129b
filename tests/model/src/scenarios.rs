//! What a few threads do to one cache, and what has to hold whatever the order.
//!
//! The server asserts in all of them that no two fetches are under way and that the allowance is kept, that no thread is
//! handed an older token after a newer one or one that it has struck; and afterwards the whole history of what was
//! published is checked (`history.rs`). Each ends only if all
//! its threads and tasks do: a lost wake-up, a waiter left behind or a task that nobody ends is a deadlock, which loom
//! reports.

mod callers;
mod invalidations;
mod landings;
mod time;

pub use self::{callers::*, invalidations::*, landings::*, time::*};
