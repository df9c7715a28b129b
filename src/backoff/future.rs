//! The future of [`TurrisBackoff`](super::TurrisBackoff).

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

use super::policy::LimitPolicy;
use crate::{BoxError, engine::Engine, replay::TryCloneBody};

pin_project! {
    /// Response future of [`TurrisBackoff`](super::TurrisBackoff).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request. A waiting request leaves the queue and delays no other
    /// request. A request in flight counts as sent.
    ///
    /// # Panics
    ///
    /// If it is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::backoff::ResponseFuture;
    ///
    /// /// The future of a client `S` whose requests and responses have the body `B`.
    /// type Sending<S, B> = ResponseFuture<S, B, B>;
    /// ```
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        engine: Engine<S, LimitPolicy, B, R>,
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    #[inline]
    pub(super) fn new(engine: Engine<S, LimitPolicy, B, R>) -> Self {
        Self { engine }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: TryCloneBody,
    R: Body,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().engine.poll(cx)
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
