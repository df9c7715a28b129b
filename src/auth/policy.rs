//! The token's policy: which token a request is sent with, and what an answer says of it.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, Uri, header::AUTHORIZATION};
use pin_project_lite::pin_project;

use super::{
    handle::TokenHandle,
    restricted::RestrictedAccessToken,
    scope::{Coverage, Scope},
    transport::TokenTransport,
};
use crate::{
    BoxError, ResponseClass, TokenError, TokenService,
    classify::{Classifier, proves_token},
    engine::{Admit, Entry, History, Part, Policy},
    observe,
    token::{Acquire, AfterRefusal, Instant, Settings, Token, TokenCache, TokenSource},
    token_endpoint::TokenEndpoint,
};

/// What all services of one layer share. It holds no service that was wrapped.
pub(crate) struct Shared<T> {
    pub(super) settings: Settings,
    pub(super) cache: Arc<TokenCache>,
    pub(super) endpoint: Arc<TokenEndpoint>,
    pub(super) transport: T,
    pub(super) scope: Scope,
    pub(super) classifier: Classifier,
    pub(super) restricted: Option<RestrictedAccessToken>,
    pub(super) retry: bool,
}

/// What a request was sent with.
pub(crate) enum Carried {
    Token {
        generation: u64,
        /// No request had succeeded with the token when this one was sent.
        unconfirmed: bool,
        /// The request is sent again, after a 401.
        retrying: bool,
    },
    /// The restricted access token. There is no second attempt: no newer one can be had.
    Restricted,
    /// No token: the layer skips the request. The URI is set if that is because of its origin.
    Nothing { foreign: Option<Box<Uri>> },
}

pin_project! {
    /// A request's wait for a token.
    pub(crate) struct TokenWait {
        #[pin]
        acquire: Acquire,
        granted: Option<Granted>,
        retrying: bool,
    }
}

/// What a request that has waited for a token is sent with.
enum Granted {
    Token(Arc<Token>),
    Restricted(RestrictedAccessToken),
}

impl Shared<TokenService> {
    /// A handle that fetches through the layer's own token service.
    pub(crate) fn own_handle(&self) -> TokenHandle {
        self.handle(self.transport.clone())
    }
}

/// The settings on one line.
impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { refresh_before, token_timeout, limit } = self.settings;
        let origins: Vec<_> = self.scope.origins.iter().map(ToString::to_string).collect();
        write!(f, "token from {}", self.endpoint.url)?;
        write!(f, " within {token_timeout:?}, at most {limit} in 60s, refreshed {refresh_before:?} before expiry")?;
        write!(f, "; for {}", origins.join(", "))?;
        if self.scope.authorize_relative_uris {
            f.write_str(" and relative URIs")?;
        }
        f.write_str(if self.retry { "; a 401 is retried" } else { "; a 401 is returned" })
    }
}

impl TokenWait {
    pub(crate) fn new(retrying: bool) -> Self {
        Self { acquire: Acquire::default(), granted: None, retrying }
    }
}

impl<T> Shared<T> {
    fn source<S, B>(&self, inner: &S) -> Box<dyn TokenSource>
    where
        T: TokenTransport<S, B>,
    {
        self.transport.token_service(inner).source(&self.endpoint)
    }

    pub(crate) fn handle(&self, tokens: TokenService) -> TokenHandle {
        TokenHandle { cache: Arc::clone(&self.cache), endpoint: Arc::clone(&self.endpoint), tokens }
    }

    /// Whether a 401 is retried, so that a copy of the request is kept.
    #[inline]
    pub(crate) fn retries(&self) -> bool {
        self.retry
    }

    /// What a request that the layer does not cover is sent with. `None` if it covers the request.
    #[inline]
    pub(crate) fn skipped<B>(&self, request: &Request<B>) -> Option<Carried> {
        match self.scope.coverage(request) {
            Coverage::Covered => None,
            Coverage::Skipped => Some(Carried::Nothing { foreign: None }),
            Coverage::Foreign => Some(Carried::Nothing { foreign: Some(Box::new(request.uri().clone())) }),
        }
    }

    /// Attaches the current token, if it can be sent now. `keep` is called before.
    #[inline]
    pub(crate) fn attach_current<S, B>(
        &self,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Option<Result<Carried, BoxError>>
    where
        T: TokenTransport<S, B>,
    {
        let now = Instant::now();
        let current = self.cache.load();
        let token = current.as_ref().filter(|token| self.cache.usable(token, now, || self.source(inner)))?;
        keep(request);
        Some(attach(request, token, false))
    }

    pub(crate) fn poll_wait<S, B>(
        &self,
        wait: Pin<&mut TokenWait>,
        inner: &S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), TokenError>>
    where
        T: TokenTransport<S, B>,
    {
        let mut wait = wait.project();
        if wait.granted.is_none() {
            let granted = match ready!(wait.acquire.as_mut().poll(cx, &self.cache, || self.source(inner))) {
                Ok(token) => Granted::Token(token),
                Err(error) => match &self.restricted {
                    Some(restricted) => {
                        observe::restricted_access_token_used(&error);
                        Granted::Restricted(restricted.clone())
                    }
                    None => return Poll::Ready(Err(error)),
                },
            };
            *wait.granted = Some(granted);
            wait.acquire.set(Acquire::default());
        }
        Poll::Ready(Ok(()))
    }

    /// Attaches the token that was waited for. After a delay it may have gone bad, then the wait starts anew. `keep` is
    /// called before.
    pub(crate) fn attach_awaited<B>(
        &self,
        wait: Pin<&mut TokenWait>,
        request: &mut Request<B>,
        delayed: bool,
        keep: impl FnOnce(&Request<B>),
    ) -> Option<Result<Carried, BoxError>> {
        let wait = wait.project();
        let granted = match wait.granted.take()? {
            // What this request has just waited for is used, however short its life.
            Granted::Token(token) if delayed => Granted::Token(self.still_good(&token)?),
            granted => granted,
        };
        keep(request);
        Some(match granted {
            Granted::Token(token) => attach(request, &token, *wait.retrying),
            Granted::Restricted(token) => token.authorize(request).map(|()| Carried::Restricted),
        })
    }

    /// The token to send after a wait for the inner service: the current one, else `token` if it has not gone bad.
    fn still_good(&self, token: &Arc<Token>) -> Option<Arc<Token>> {
        let now = Instant::now();
        let current = self.cache.load();
        let mut candidates = current.iter().chain([token]);
        candidates.find(|token| token.is_valid(now) && !token.is_refused()).cloned()
    }

    /// Whether an answer of class `class` teaches nothing of the token.
    #[inline]
    pub(crate) fn teaches_nothing(&self, carried: &Carried, class: ResponseClass) -> bool {
        let is_on_trial = matches!(carried, Carried::Token { unconfirmed, retrying, .. } if *unconfirmed | *retrying);
        !is_on_trial && class != ResponseClass::Unauthorized
    }

    /// What an answer of class `class` says of the token. Returns what to wait for if the request is to be sent again.
    pub(crate) fn judge<R>(
        &self,
        carried: &Carried,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
    ) -> Option<TokenWait> {
        let (generation, retrying) = match carried {
            Carried::Token { generation, retrying, .. } => (*generation, *retrying),
            Carried::Nothing { foreign: Some(uri) } if class == ResponseClass::Unauthorized => {
                self.scope.refused_without_token(uri);
                return None;
            }
            Carried::Restricted | Carried::Nothing { .. } => return None,
        };
        if class != ResponseClass::Unauthorized {
            if class == ResponseClass::Ordinary && proves_token(response) {
                if retrying {
                    self.cache.record_retry_succeeded(generation);
                    self.endpoint.refresh_judged(true);
                } else {
                    self.cache.confirm(generation);
                }
            }
            return None;
        }
        if retrying {
            self.cache.record_retry_failed(generation);
            self.endpoint.refresh_judged(false);
            return None;
        }
        let repeatable = self.retry && repeatable;
        let retrying = match self.cache.refuse(generation, repeatable) {
            AfterRefusal::ReturnResponse => return None,
            // The newer token may not be known everywhere yet. A 401 to the older one is treated as any other.
            AfterRefusal::UseOlderToken => false,
            AfterRefusal::UseNewerToken => true,
        };
        if self.retry && !repeatable {
            observe::not_repeatable(generation);
        }
        repeatable.then(|| TokenWait::new(retrying))
    }
}

/// Gives `request` this token.
#[inline]
fn attach<B>(request: &mut Request<B>, token: &Token, retrying: bool) -> Result<Carried, BoxError> {
    // A header map has room for some 24,000 fields, and this one may be full.
    request.headers_mut().try_insert(AUTHORIZATION, token.authorization().clone())?;
    observe::token_used(|| token.age(Instant::now()));
    Ok(Carried::Token { generation: token.generation(), unconfirmed: token.is_unconfirmed(), retrying })
}

/// The policy of [`TurrisAuth`](crate::TurrisAuth).
pub(super) struct TokenPolicy<T>(pub(super) Arc<Shared<T>>);

impl<T> Clone for TokenPolicy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Policy for TokenPolicy<T> {
    type Permit = Carried;
    type Wait = TokenWait;
    type Error = BoxError;

    #[inline]
    fn look<R>(&self, carried: &mut Carried, response: &Response<R>) -> Option<ResponseClass> {
        let class = self.0.classifier.classify(response);
        if self.0.teaches_nothing(carried, class) { None } else { Some(class) }
    }

    fn judge<R>(
        &self,
        carried: Carried,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        _history: &mut History,
    ) -> Option<TokenWait> {
        self.0.judge(&carried, class, response, repeatable)
    }

    fn judge_error(
        &self,
        _carried: Carried,
        _error: &(dyn Error + 'static),
        _repeatable: bool,
        _history: &mut History,
    ) -> Option<TokenWait> {
        None
    }

    fn resend(&self, carried: Carried) -> Option<TokenWait> {
        match carried {
            Carried::Token { retrying, .. } => Some(TokenWait::new(retrying)),
            Carried::Restricted => Some(TokenWait::new(false)),
            Carried::Nothing { .. } => None,
        }
    }

    #[inline]
    fn report<R>(&self, _history: &History, _response: &mut Response<R>) {}

    fn error(_part: Part, error: BoxError) -> BoxError {
        error
    }
}

impl<S, T, B> Admit<S, B> for TokenPolicy<T>
where
    T: TokenTransport<S, B>,
{
    #[inline]
    fn enter(&self, request: &mut Request<B>, inner: &S, keep: impl FnOnce(&Request<B>)) -> Entry<Self> {
        if let Some(carried) = self.0.skipped(request) {
            return Entry::Go(carried);
        }
        let keep = |request: &Request<B>| {
            if self.0.retry {
                keep(request);
            }
        };
        match self.0.attach_current(request, inner, keep) {
            Some(Ok(carried)) => Entry::Go(carried),
            None => Entry::Wait(TokenWait::new(false)),
            Some(Err(error)) => Entry::Fail(error),
        }
    }

    fn poll_wait(
        &self,
        wait: Pin<&mut TokenWait>,
        request: &Request<B>,
        inner: &S,
        _history: &mut History,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>> {
        self.0.poll_wait(wait, inner, cx).map_err(|error| error_for(request, error))
    }

    fn leave(
        &self,
        wait: Pin<&mut TokenWait>,
        request: &mut Request<B>,
        _inner: &S,
        _history: &mut History,
        delayed: bool,
        keep: impl FnOnce(&Request<B>),
        _cx: &mut Context<'_>,
    ) -> Option<Result<Carried, BoxError>> {
        let keep = |request: &Request<B>| {
            if self.0.retry {
                keep(request);
            }
        };
        self.0.attach_awaited(wait, request, delayed, keep)
    }
}

/// The error in the form that callers of such requests look for.
pub(crate) fn error_for<B>(request: &Request<B>, error: TokenError) -> BoxError {
    #[cfg(feature = "tonic")]
    if crate::classify::is_grpc(request) {
        return tonic::Status::from(error).into();
    }
    let _ = request;
    error.into()
}

impl<T> fmt::Debug for TokenPolicy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPolicy").finish_non_exhaustive()
    }
}
