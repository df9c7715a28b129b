//! Tests with hostile servers and callers, over loopback sockets.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bomb;
mod caller;
mod flood;
mod http2;
mod limits;
mod server;
mod token_endpoint;
