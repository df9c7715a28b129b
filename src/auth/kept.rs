//! The copy of a request that a retry needs.

use http::{Request, request::Parts};

use crate::replay::TryCloneBody;

/// A request as it was before the token was attached.
pub(super) struct KeptRequest<B> {
    head: Parts,
    body: B,
}

impl<B: TryCloneBody> KeptRequest<B> {
    /// `None` if the body can be sent only once.
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

    pub(super) fn is_replayable(&self) -> bool {
        self.body.is_replayable()
    }

    pub(super) fn into_request(self) -> Request<B> {
        Request::from_parts(self.head, self.body)
    }
}
