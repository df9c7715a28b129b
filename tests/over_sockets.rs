//! Tests over loopback sockets.
//!
//! They share one binary, because each binary is linked separately.

mod attack;
mod sockets;
