//! Tests of the layers against third-party servers.
//!
//! `crates/real-servers/run` installs the servers and runs these tests. Each test has its own
//! servers, on loopback.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod express;
mod goaway;
mod haproxy;
mod nginx;
mod restarts;
