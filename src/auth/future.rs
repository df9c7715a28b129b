//! The future of [`TurrisAuth`](super::TurrisAuth).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{policy::TokenPolicy, transport::TokenTransport};
use crate::{BoxError, engine::Engine, replay::TryCloneBody};

pin_project! {
    /// Response future of [`TurrisAuth`](super::TurrisAuth).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request. A token fetch that the request waited for goes on for the
    /// other requests.
    ///
    /// # Panics
    ///
    /// If it is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::auth::{ResponseFuture, ThroughInner};
    ///
    /// /// The future of a client `S` whose requests and responses have the body `B`.
    /// type Sending<S, B> = ResponseFuture<S, ThroughInner, B, B>;
    /// ```
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<S, T, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        engine: Engine<S, TokenPolicy<T>, ReqBody, ResBody>,
    }
}

impl<S, T, ReqBody, ResBody> ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    #[inline]
    pub(super) fn new(engine: Engine<S, TokenPolicy<T>, ReqBody, ResBody>) -> Self {
        Self { engine }
    }
}

impl<S, T, ReqBody, ResBody> Future for ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ReqBody: TryCloneBody,
    ResBody: Body,
{
    type Output = Result<Response<ResBody>, BoxError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().engine.poll(cx)
    }
}

impl<S, T, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
