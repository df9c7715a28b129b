//! [`TurrisAuth`], the service.

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
    future::ResponseFuture,
    handle::TokenHandle,
    policy::{AuthState, TokenPolicy},
    transport::{ThroughInner, TokenTransport},
};
use crate::{BoxError, TokenService, engine::Engine, replay::TryCloneBody, token::TokenReader};

/// Service that attaches an access token to each request, sends it through the wrapped service, and
/// renews the token.
///
/// [`TurrisAuthLayer`](crate::TurrisAuthLayer) makes it. The [module](crate::auth) describes what
/// it does. The service that the layer makes keeps the token that it has read, until it reads
/// another token or is dropped. A clone keeps no token.
///
/// # Errors
///
/// A [`TokenError`](crate::TokenError) if no token can be obtained, or the error of the wrapped
/// service. Both are boxed, and [`TokenError::find_in`](crate::TokenError::find_in) tells them
/// apart. A gRPC call can also end with [`DeadlineExceeded`](crate::DeadlineExceeded).
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use turris_auth::TurrisAuth;
///
/// /// The state of a web service. A clone shares the token and the connections.
/// #[derive(Clone)]
/// struct App {
///     api: TurrisAuth<Client<HttpConnector, Full<Bytes>>>,
/// }
/// ```
pub struct TurrisAuth<S, T = ThroughInner> {
    inner: S,
    policy: TokenPolicy<T>,
    token: TokenReader,
}

impl<S, T> TurrisAuth<S, T> {
    pub(super) fn new(inner: S, shared: Arc<AuthState<T>>) -> Self {
        Self { inner, token: shared.reader(), policy: TokenPolicy(shared) }
    }

    /// Returns the wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the wrapped service, mutably. Requests that are made through it get no token.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the wrapped service out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> TurrisAuth<S, ThroughInner> {
    /// Returns a handle to the token. It fetches through a clone of the wrapped service.
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
        self.policy.0.handle(TokenService::new(self.inner.clone()))
    }
}

impl<S> TurrisAuth<S, TokenService> {
    /// Returns a handle to the token. It fetches through the layer's own token service.
    pub fn handle(&self) -> TokenHandle {
        self.policy.0.own_handle()
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

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        ResponseFuture::new(Engine::call(&mut self.inner, &self.policy, &mut self.token, request))
    }
}

impl<S: Clone, T> Clone for TurrisAuth<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), policy: self.policy.clone(), token: self.token.clone() }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for TurrisAuth<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurrisAuth").field("inner", &self.inner).field("settings", &*self.policy.0).finish()
    }
}
