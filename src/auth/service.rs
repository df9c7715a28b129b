//! [`TurrisAuth`].

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    Request, Response,
    header::{AUTHORIZATION, MaxSizeReached},
};
use http_body::Body;
use tower_service::Service;

use super::{
    future::{Carried, ResponseFuture},
    handle::TokenHandle,
    pending::Unsent,
    restricted::RestrictedAccessToken,
    scope::Scope,
    transport::{ThroughInner, TokenTransport},
};
use crate::{
    BoxError, TokenService,
    classify::Classifier,
    endpoint::TokenEndpoint,
    kept::KeptRequest,
    observe,
    replay::TryCloneBody,
    token::{Instant, RecentToken, Source, Token, TokenCache},
};

/// Attaches the access token to the requests of the service that it wraps, and renews it.
///
/// [`TurrisAuthLayer`](crate::TurrisAuthLayer) makes it; the [module](crate::auth) says what it does.
///
/// A service that sends many requests keeps the token that it sends, and lets go of it when it comes to send another. So
/// one that is idle may have an old token in memory, which it never sends.
pub struct TurrisAuth<S, T = ThroughInner> {
    inner: S,
    shared: Arc<Shared<T>>,
    recent: RecentToken,
    was_called: bool,
}

/// What all services of one layer share. It holds no service that was wrapped.
pub(super) struct Shared<T> {
    pub(super) cache: Arc<TokenCache>,
    pub(super) endpoint: Arc<TokenEndpoint>,
    pub(super) transport: T,
    pub(super) scope: Scope,
    pub(super) classifier: Classifier,
    pub(super) restricted: Option<RestrictedAccessToken>,
    pub(super) retry: bool,
}

impl<T> Shared<T> {
    pub(super) fn source<S, ReqBody>(&self, inner: &S) -> Box<dyn Source>
    where
        T: TokenTransport<S, ReqBody>,
    {
        self.transport.token_service(inner).source(&self.endpoint)
    }

    pub(super) fn handle(&self, tokens: TokenService) -> TokenHandle {
        TokenHandle { cache: Arc::clone(&self.cache), endpoint: Arc::clone(&self.endpoint), tokens }
    }
}

impl<S, T> TurrisAuth<S, T> {
    pub(super) fn new(inner: S, shared: Arc<Shared<T>>) -> Self {
        Self { inner, shared, recent: RecentToken::default(), was_called: false }
    }

    /// The wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to change.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service alone.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> TurrisAuth<S, ThroughInner> {
    /// A handle to the token. It fetches through a clone of the wrapped service.
    pub fn handle<ReqBody, ResBody>(&self) -> TokenHandle
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        ReqBody: From<Bytes> + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Data: Send,
        ResBody::Error: Into<BoxError>,
    {
        self.shared.handle(TokenService::new(self.inner.clone()))
    }
}

impl<S> TurrisAuth<S, TokenService> {
    /// A handle to the token. It fetches through the layer's own token service.
    pub fn handle(&self) -> TokenHandle {
        self.shared.handle(self.shared.transport.clone())
    }
}

impl<S, T, ReqBody, ResBody> Service<Request<ReqBody>> for TurrisAuth<S, T>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ReqBody: TryCloneBody,
    ResBody: Body,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = ResponseFuture<S, T, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if !self.shared.scope.covers(&request) {
            return ResponseFuture::passing(self.inner.call(request));
        }
        let now = Instant::now();
        let current;
        let token = match self.recent.fresh(now) {
            Some(token) => Some(token),
            None => {
                // A clone that is made for one request keeps none: the count of a token is memory that all threads
                // share, and changed for every request it would be what they wait for.
                let keep = mem::replace(&mut self.was_called, true);
                let source = || self.shared.source(&self.inner);
                current = self.recent.look_up(&self.shared.cache, now, keep, source);
                current.as_deref().and_then(Option::as_ref)
            }
        };
        if let Some(token) = token {
            let (carried, kept) = match prepare(&mut request, token, &self.shared, false) {
                Ok(prepared) => prepared,
                Err(error) => return ResponseFuture::failed(error.into()),
            };
            let response = self.inner.call(request);
            let kept = kept.map(|kept| (kept, self.inner.clone()));
            return ResponseFuture::sent(response, carried, Arc::clone(&self.shared), kept);
        }
        // There is no token, and waiting for one must not keep what readiness holds (a permit, a place in a buffer), so
        // the service that was polled ready is dropped. The clones have never been polled.
        let inner = self.inner.clone();
        drop(mem::replace(&mut self.inner, inner.clone()));
        ResponseFuture::waiting(Unsent { request, inner, shared: Arc::clone(&self.shared), retrying: false })
    }
}

/// Makes `request` one that can leave: with the token, and with a copy if there may be a retry.
///
/// # Errors
///
/// A header map has room for some 24,000 fields, and this one is full.
#[inline]
pub(super) fn prepare<ReqBody: TryCloneBody, T>(
    request: &mut Request<ReqBody>,
    token: &Token,
    shared: &Shared<T>,
    retrying: bool,
) -> Result<(Carried, Option<KeptRequest<ReqBody>>), MaxSizeReached> {
    let kept = if shared.retry && !retrying { KeptRequest::of(request) } else { None };
    request.headers_mut().try_insert(AUTHORIZATION, token.authorization().clone())?;
    observe::token_used(|| token.age(Instant::now()));
    Ok((Carried::new(token, retrying), kept))
}

impl<S: Clone, T> Clone for TurrisAuth<S, T> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.shared))
    }
}

impl<S: fmt::Debug, T> fmt::Debug for TurrisAuth<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurrisAuth").field("inner", &self.inner).finish_non_exhaustive()
    }
}
