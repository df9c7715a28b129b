//! Tests of the layer around hyper-util's client, over loopback sockets.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod closing;
mod failures;
mod flight;
mod requests;
mod runtimes;
mod stack;
mod support;
mod unauthorized;
mod wire;
