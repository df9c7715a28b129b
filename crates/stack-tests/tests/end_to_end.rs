//! Tests in common stacks, over loopback sockets.
//!
//! They share one binary, because each binary is linked separately.

mod client;
mod grpc;
mod stacks;
