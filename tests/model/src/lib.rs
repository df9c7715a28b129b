//! The token's life under [loom]: the files of `src/token` themselves, with the primitives below `src/token/sync.rs`
//! exchanged for ones whose every interleaving, and every value that a weakly ordered read may see, is tried.
//!
//! `cargo test --release --manifest-path tests/model/Cargo.toml`
//!
//! What is not modelled: the reference counts of `Arc` and `Weak`, and panics. Spans and events are left out.

#![allow(dead_code, unused_imports, reason = "the shared files have more than the token's life needs")]

#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/token/mod.rs"]
mod token;

mod api;
#[macro_use]
mod observe;
mod checker;
mod clock;
mod history;
mod primitives;
mod runtime;
pub mod scenarios;
mod server;
mod timer;

pub(crate) use error::{TokenError, TokenErrorKind};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
