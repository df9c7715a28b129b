//! [`TurrisBackoff`], the service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{future::ResponseFuture, policy::LimitPolicy};
use crate::{BoxError, engine::Engine, gate::GateRegistry, replay::TryCloneBody};

/// Service that waits out rate limits for the wrapped service, and paces the requests.
///
/// [`TurrisBackoffLayer`](super::TurrisBackoffLayer) makes it. The [module](super) describes what
/// it does.
///
/// The inner service has to be `Clone`. While a request waits, the layer gives up the readiness of
/// the service that was called. When the turn of the request comes, the layer makes a clone ready.
///
/// # Errors
///
/// The error of the inner service, boxed. If a request has to wait and there is no tokio runtime
/// with timers, the request fails without being sent. A gRPC call can also end with
/// [`DeadlineExceeded`](crate::DeadlineExceeded).
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use turris_auth::TurrisBackoff;
///
/// /// The state of a program. A clone shares the queue and the connections.
/// #[derive(Clone)]
/// struct Job {
///     api: TurrisBackoff<Client<HttpConnector, Full<Bytes>>>,
/// }
/// ```
#[derive(Clone)]
pub struct TurrisBackoff<S> {
    inner: S,
    policy: LimitPolicy,
}

impl<S> TurrisBackoff<S> {
    pub(super) fn new(inner: S, gates: Arc<GateRegistry>) -> Self {
        Self { inner, policy: LimitPolicy(gates) }
    }

    /// Returns the wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the wrapped service, mutably. Requests that are made through it skip the gate and
    /// are not counted.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the wrapped service out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for TurrisBackoff<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: TryCloneBody,
    R: Body,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::new(Engine::call(&mut self.inner, &self.policy, &mut (), request))
    }
}

impl<S: fmt::Debug> fmt::Debug for TurrisBackoff<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurrisBackoff")
            .field("inner", &self.inner)
            .field("settings", self.policy.0.settings())
            .finish_non_exhaustive()
    }
}
