//! The copy of a request that is kept for another attempt.

use http::{Request, request::Parts};

use crate::replay::TryCloneBody;

/// A request that can be sent again.
pub(super) struct Kept<B> {
    head: Parts,
    body: B,
}

impl<B: TryCloneBody> Kept<B> {
    /// A copy of `request`, or `None` if its body cannot be repeated.
    pub(super) fn of(request: &Request<B>) -> Option<Self> {
        let body = request.body().try_clone()?;
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = request.method().clone();
        head.uri = request.uri().clone();
        head.version = request.version();
        head.headers = request.headers().clone();
        head.extensions = request.extensions().clone();
        Some(Self { head, body })
    }

    /// Whether it can still be sent.
    pub(super) fn is_replayable(&self) -> bool {
        self.body.is_replayable()
    }

    pub(super) fn into_request(self) -> Request<B> {
        Request::from_parts(self.head, self.body)
    }
}
