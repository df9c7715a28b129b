//! Entry points for a fuzzer: each makes something of any bytes and panics where what has to hold does not.
//!
//! They are compiled for tests and with `--cfg fuzzing`, which cargo-fuzz sets. `fuzz/README.md` says how to run them, and
//! `tests.rs` runs them on any toolchain.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how they report what they find"
)]

mod answers;
mod limits;
mod replay;
mod request;

pub use answers::{error_object, jwt_lifetime, token_answer};
pub use limits::rate_limits;
pub use replay::replay;
pub use request::request_head;

/// The lines of an input. Whatever the bytes are, they are some.
fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n')
}

/// The two sides of the first `separator`, without it.
fn split_at_first(data: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == separator)?;
    Some((&data[..at], &data[at + 1..]))
}

#[cfg(test)]
mod tests;
