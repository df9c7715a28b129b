//! [`TurrisBackoff`], the service.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    future::ResponseFuture,
    gate::Entry,
    gates::Recent,
    layer::Shared,
    report::SkipBackoff,
    ticket::{Departed, InLine},
};
use crate::{BoxError, replay::TryCloneBody};

/// Waits out rate limits for the service inside, and paces its requests. Made by [`TurrisBackoffLayer`](super::TurrisBackoffLayer).
///
/// The inner service has to be `Clone`: while a request waits, the readiness of the service that it was called on is
/// given back, and a clone is made ready when its turn comes.
///
/// # Cancel safety
///
/// A response future that is dropped leaves the line, and delays nobody. A request that was in flight then counts
/// as sent.
#[derive(Clone)]
pub struct TurrisBackoff<S> {
    inner: S,
    shared: Arc<Shared>,
    /// The gate that was used last, which is most often the next one too. Clones take it along.
    recent: Option<Arc<Recent>>,
}

impl<S> TurrisBackoff<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared, recent: None }
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside. Requests made through it pass by the gate, uncounted.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives up the layer.
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
        if request.extensions().get::<SkipBackoff>().is_some() {
            return ResponseFuture::passing(self.inner.call(request));
        }
        let gate = self.shared.gate(&request, &mut self.recent);
        match gate.enter() {
            Entry::Leave(departure) => {
                let departed = Departed::new(gate, departure);
                let kept = departed.keep(&request, 0);
                let future = self.inner.call(request);
                // A clone, which need not be ready: the service that was polled ready is the one that is called.
                let kept = kept.map(|kept| (kept, self.inner.clone()));
                ResponseFuture::sent(future, kept, departed)
            }
            Entry::Stand(place) => {
                let in_line = InLine::standing(gate, place);
                // What readiness holds, a permit for instance, is not kept while the request waits: the service that
                // was polled ready is dropped. The clones have never been polled.
                let unready = self.inner.clone();
                drop(mem::replace(&mut self.inner, unready.clone()));
                ResponseFuture::waiting(unready, request, in_line)
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for TurrisBackoff<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurrisBackoff")
            .field("inner", &self.inner)
            .field("settings", self.shared.settings())
            .finish_non_exhaustive()
    }
}
