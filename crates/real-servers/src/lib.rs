//! Servers that nobody here wrote, clients of the layers, and an upstream that counts: the equipment of the tests.
//!
//! Every server listens on loopback, has a folder of its own, and ends with its guard. A server that is not installed fails
//! the test with the command that installs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic fails the test, as it should")]

pub mod certificates;
pub mod client;
pub mod express;
pub mod haproxy;
pub mod jobs;
pub mod nginx;
pub mod process;
pub mod upstream;
