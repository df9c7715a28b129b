//! The wire contract of the Turris API: bytes in, values out. No IO and no clock.

pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod token;
