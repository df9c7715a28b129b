//! Tests in common stacks, over loopback sockets.
//!
//! They are one binary, because each binary compiles and links the libraries below anew.

mod client;
mod grpc;
mod stacks;
