//! The synchronisation primitives that `token/sync.rs` uses.
//!
//! The model checker compiles `src/token` with its own version of this module, and tries every
//! interleaving of its threads. See `crates/model`.

pub(crate) use std::sync::{
    Mutex, MutexGuard, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
};

pub(crate) use arc_swap::{ArcSwapOption, Guard, cache::Cache};
pub(crate) use tokio::{
    runtime::{Handle, Id},
    sync::{Notify, futures::OwnedNotified},
    task::AbortHandle,
    time::Instant,
};
