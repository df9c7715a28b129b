//! The part of `api` that the token needs.

#[rustfmt::skip]
#[path = "../../../src/api/limits.rs"]
pub(crate) mod limits;
