//! Entry points for a fuzzer. Each accepts arbitrary bytes and panics if an assertion fails.
//!
//! The library exports the functions under test only with `--cfg fuzzing`, which cargo-fuzz sets.
//! Without it this package is empty. `README.md` explains how to run the targets, and `tests.rs`
//! runs them on any toolchain.
#![cfg(fuzzing)]
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
mod store;

pub use answers::{error_object, jwt_lifetime, token_answer};
pub use limits::rate_limits;
pub use replay::replay;
pub use request::request_head;
pub use store::store_answer;

/// Splits an input into lines. Every input has at least one line.
fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n')
}

/// Returns both sides of the first `separator`, without the separator.
fn split_at_first(data: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == separator)?;
    Some((&data[..at], &data[at + 1..]))
}

#[cfg(test)]
mod tests;
