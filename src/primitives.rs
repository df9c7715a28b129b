//! What `token/sync.rs` is built on.
//!
//! The model checker compiles `src/token` together with a module of its own in the place of this one, whose every
//! interleaving it tries. See `crates/model`.

pub(crate) use std::sync::{
    Mutex, MutexGuard, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
};

pub(crate) use arc_swap::{ArcSwapOption, Guard};
pub(crate) use tokio::{
    runtime::{Handle, Id},
    sync::{Notify, futures::OwnedNotified},
    task::AbortHandle,
    time::Instant,
};
