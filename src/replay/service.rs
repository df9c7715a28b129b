//! [`ReplayBodyService`], the service.

use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower_service::Service;

use super::ReplayBody;

/// Service that makes request bodies replayable. [`ReplayBodyLayer`](super::ReplayBodyLayer) makes
/// it.
///
/// It passes each request on with a [`ReplayBody`] as its body. Readiness, response, error and
/// future are those of the inner service.
///
/// # Examples
///
/// ```
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::Layer;
/// use turris_auth::replay::{ReplayBody, ReplayBodyLayer};
///
/// type Body = ReplayBody<Full<bytes::Bytes>>;
///
/// let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
/// let service = ReplayBodyLayer::new().layer(client);
/// println!("{:?}", service.get_ref());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReplayBodyService<S> {
    inner: S,
    limit: usize,
}

impl<S> ReplayBodyService<S> {
    pub(super) fn new(inner: S, limit: usize) -> Self {
        Self { inner, limit }
    }

    /// Returns the wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the wrapped service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the wrapped service out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for ReplayBodyService<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.inner.call(request.map(|body| ReplayBody::with_limit(body, self.limit)))
    }
}
