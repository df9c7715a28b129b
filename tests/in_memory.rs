//! Tests without a server of their own, most of them in memory and under paused time.
//!
//! They share one binary, because each binary is linked separately.

mod auth;
mod backoff;
mod fleet;
mod network;
mod observe;
mod replay;
mod turris;
