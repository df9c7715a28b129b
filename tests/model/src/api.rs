//! What the token's life has to know of answers.

#[path = "../../../src/api/limits.rs"]
pub(crate) mod limits;
