//! Support for the tests: third-party servers, clients with the layers, and an upstream that counts
//! requests.
//!
//! Every server listens on loopback, has its own folder, and ends with its guard. If a server is
//! not installed, the test fails with the command that installs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic fails the test, as it should")]

pub mod certificates;
pub mod client;
pub mod express;
pub mod haproxy;
pub mod jobs;
pub mod nginx;
pub mod process;
pub mod upstream;
