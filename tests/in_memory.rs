//! Tests in memory, under paused time: no socket, no server.
//!
//! They are one binary, because each binary compiles and links the libraries below anew.

mod auth;
mod backoff;
mod fleet;
mod network;
mod observe;
mod replay;
mod turris;
