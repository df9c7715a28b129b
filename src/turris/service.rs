//! [`Turris`], the service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    error::Error,
    future::ResponseFuture,
    policy::{StackPolicy, StackState},
};
use crate::{
    BoxError, TokenHandle, TokenService,
    auth::{ThroughInner, TokenTransport},
    engine::{Engine, FailedPart},
    replay::TryCloneBody,
    token::TokenReader,
};

/// Service that sends the requests of your client to the Turris API: with an access token, and
/// within its rate limits.
///
/// [`TurrisLayer`](super::TurrisLayer) makes it. The [module](super) describes what it does. A
/// clone is cheap, and shares the token and the limits. The service that the layer makes keeps the
/// token that it has read, until it reads another token or is dropped. A clone keeps no token.
///
/// # Errors
///
/// An [`Error`]. Its [kind](Error::kind) says which part failed.
///
/// # Examples
///
/// The type can be named, for instance as a field:
///
/// ```
/// use http_body_util::Full;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use turris_auth::Turris;
///
/// struct App {
///     turris: Turris<Client<HttpConnector, Full<bytes::Bytes>>>,
/// }
/// ```
pub struct Turris<S, T = ThroughInner> {
    inner: S,
    policy: StackPolicy<T>,
    token: TokenReader,
}

impl<S, T> Turris<S, T> {
    pub(super) fn new(inner: S, shared: Arc<StackState<T>>) -> Self {
        Self { inner, token: shared.auth.reader(), policy: StackPolicy(shared) }
    }

    /// Returns the wrapped client.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the wrapped client, mutably. Requests that are made through it get no token and are
    /// not counted.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the wrapped client out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> Turris<S, ThroughInner> {
    /// Returns a handle to the token. It fetches through a clone of the wrapped client.
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
        self.policy.0.auth.handle(TokenService::new(self.inner.clone()))
    }
}

impl<S> Turris<S, TokenService> {
    /// Returns a handle to the token. It fetches through the layer's own token service.
    pub fn handle(&self) -> TokenHandle {
        self.policy.0.auth.own_handle()
    }
}

impl<S, T, ReqBody, ResBody> Service<Request<ReqBody>> for Turris<S, T>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ReqBody: TryCloneBody,
    ResBody: Body,
{
    type Response = Response<ResBody>;
    type Error = Error;
    type Future = ResponseFuture<S, T, ReqBody, ResBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|error| Error::new(FailedPart::Client, error.into()))
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        ResponseFuture::new(Engine::call(&mut self.inner, &self.policy, &mut self.token, request))
    }
}

impl<S: Clone, T> Clone for Turris<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), policy: self.policy.clone(), token: self.token.clone() }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Turris<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turris").field("inner", &self.inner).field("settings", &*self.policy.0).finish()
    }
}
