//! Tests over loopback sockets.
//!
//! They are one binary, because each binary compiles and links the libraries below anew.

mod attack;
mod sockets;
