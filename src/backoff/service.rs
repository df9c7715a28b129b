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
        // The service that was polled ready is the one to call; its clone need not be ready.
        let clone = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, clone);
        if request.extensions().get::<SkipBackoff>().is_some() {
            return ResponseFuture::passing(service.call(request));
        }
        let gate = self.shared.gate(&request, &mut self.recent);
        match gate.enter() {
            Entry::Leave(departure) => ResponseFuture::sending(service, request, Departed::new(gate, departure)),
            Entry::Stand(place) => {
                let in_line = InLine::standing(gate, place);
                // Dropping the ready service gives its readiness back, a permit for instance.
                let unready = service.clone();
                drop(service);
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
