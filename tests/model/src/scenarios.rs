//! What a few threads do to one cache, and what has to hold whatever the order. Each ends only if all its threads do: a lost
//! wake-up or a waiter left behind is a deadlock, which loom reports.

mod callers;

pub use self::callers::*;
