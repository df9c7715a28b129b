//! The layers against servers that nobody here wrote.
//!
//! `crates/real-servers/run` installs them and runs these tests. Each test has servers of its own, on loopback.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod express;
mod goaway;
mod haproxy;
mod nginx;
mod restarts;
