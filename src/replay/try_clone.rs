//! [`TryCloneBody`] and who implements it.

use bytes::Buf;
use http_body_util::{Empty, Full};

/// A request body of which another copy can be had, so that the request can be sent a second time.
pub trait TryCloneBody: Sized {
    /// A copy that yields what `self` would yield from its beginning, or `None` if that cannot be had.
    fn try_clone(&self) -> Option<Self>;
}

impl<D: Buf + Clone> TryCloneBody for Full<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D> TryCloneBody for Empty<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(Self::default())
    }
}
