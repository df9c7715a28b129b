//! Stands where `src/token/sync.rs` has its primitives.

pub(super) use crate::primitives::*;
pub(crate) use crate::primitives::{Id, Instant};
