//! A model checker for the life of the token, with [loom]. It compiles the files of `src/token`
//! unchanged, with other primitives below `src/token/sync.rs`. Loom tries every interleaving of
//! these primitives, and every value that a weakly ordered read may see.
//!
//! `cargo test --release -p turris-auth-model`
//!
//! The model leaves out the reference counts of `Arc` and `Weak`, panics, spans and events.

#![allow(dead_code, unused_imports, reason = "the shared files have more than the token's life needs")]

#[rustfmt::skip]
#[path = "../../../src/error.rs"]
mod error;
#[rustfmt::skip]
#[path = "../../../src/token/mod.rs"]
mod token;

mod answers;
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
