//! Bodies that can be sent twice.

mod try_clone;

pub use try_clone::TryCloneBody;
