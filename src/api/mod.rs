//! The wire contract of the Turris API: bytes in, values out. No IO and no clock.

#[cfg(any(test, feature = "emulator"))]
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod token;
