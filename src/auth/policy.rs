//! The token's policy: which token a request carries, and what a response says about that token.

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
    protection_space::{Coverage, ProtectionSpace},
    restricted::RestrictedAccessToken,
    transport::TokenTransport,
};
use crate::{
    BoxError, ResponseClass, TokenError, TokenService,
    classify::{Classifier, proves_token},
    engine::{Admit, FailedPart, History, NotAdmitted, Policy},
    observe,
    token::{Acquire, AfterRefusal, Instant, Token, TokenCache, TokenReader, TokenSettings, TokenSource},
    token_endpoint::TokenEndpoint,
};

/// State that all services of one layer share. It contains no wrapped service.
pub(crate) struct AuthState<T> {
    pub(super) settings: TokenSettings,
    pub(super) cache: Arc<TokenCache>,
    pub(super) endpoint: Arc<TokenEndpoint>,
    pub(super) transport: T,
    pub(super) protection_space: ProtectionSpace,
    pub(super) classifier: Classifier,
    pub(super) restricted: Option<RestrictedAccessToken>,
    pub(super) retry: bool,
}

/// The token that a request carries in flight, if it carries one.
pub(crate) enum AttachedToken {
    Token {
        generation: u64,
        /// No request with this token had succeeded when this request was sent.
        unconfirmed: bool,
        /// The request is a retry after a 401.
        retrying: bool,
    },
    /// The restricted access token. A 401 is not retried, since the layer has no newer restricted
    /// token.
    Restricted,
    /// No token, since the layer skips the request. `foreign` is the URI if the origin is the
    /// reason.
    Nothing { foreign: Option<Box<Uri>> },
}

pin_project! {
    /// A request's wait for a token.
    pub(crate) struct TokenWait {
        #[pin]
        acquire: Acquire,
        awaited: Option<AwaitedToken>,
        retrying: bool,
    }
}

/// The token for a request that has waited.
enum AwaitedToken {
    Token(Arc<Token>),
    Restricted,
}

impl AuthState<TokenService> {
    /// Returns a handle that fetches through the layer's own token service.
    pub(crate) fn own_handle(&self) -> TokenHandle {
        self.handle(self.transport.clone())
    }
}

/// Shows the settings on one line.
impl<T> fmt::Debug for AuthState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TokenSettings { refresh_before, token_timeout, limit, window } = self.settings;
        let origins: Vec<_> = self.protection_space.origins.iter().map(ToString::to_string).collect();
        write!(f, "token from {}", self.endpoint.url)?;
        write!(
            f,
            " within {token_timeout:?}, at most {limit} in {window:?}, refreshed {refresh_before:?} before expiry"
        )?;
        write!(f, "; for {}", origins.join(", "))?;
        if self.protection_space.authorize_relative_uris {
            f.write_str(" and relative URIs")?;
        }
        f.write_str(if self.retry { "; a 401 is retried" } else { "; a 401 is returned" })
    }
}

impl TokenWait {
    pub(crate) fn new(retrying: bool) -> Self {
        Self { acquire: Acquire::default(), awaited: None, retrying }
    }
}

impl<T> AuthState<T> {
    fn source<S, B>(&self, inner: &S) -> Box<dyn TokenSource>
    where
        T: TokenTransport<S, B>,
    {
        self.transport.token_service(inner).source(&self.endpoint)
    }

    pub(crate) fn handle(&self, tokens: TokenService) -> TokenHandle {
        TokenHandle { cache: Arc::clone(&self.cache), endpoint: Arc::clone(&self.endpoint), tokens }
    }

    /// Returns the token reader of a new service.
    pub(crate) fn reader(&self) -> TokenReader {
        self.cache.reader()
    }

    /// Whether a 401 is retried. If it is, a copy of each request is kept.
    #[inline]
    pub(crate) fn retries(&self) -> bool {
        self.retry
    }

    /// Returns `AttachedToken::Nothing` for a request that the layer does not cover, and `None` for
    /// all other requests.
    #[inline]
    pub(crate) fn skipped<B>(&self, request: &Request<B>) -> Option<AttachedToken> {
        match self.protection_space.coverage(request) {
            Coverage::Covered => None,
            Coverage::Skipped => Some(AttachedToken::Nothing { foreign: None }),
            Coverage::Foreign => Some(AttachedToken::Nothing { foreign: Some(Box::new(request.uri().clone())) }),
        }
    }

    /// Calls `keep` and attaches the current token. Returns `None` if there is no usable token.
    #[inline]
    pub(crate) fn attach_current<S, B>(
        &self,
        reader: &mut TokenReader,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Option<Result<AttachedToken, BoxError>>
    where
        T: TokenTransport<S, B>,
    {
        let now = Instant::now();
        let current = self.cache.read(reader);
        let token = current.get().filter(|token| self.cache.usable(token, now, || self.source(inner)))?;
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
        if wait.awaited.is_none() {
            let awaited = match ready!(wait.acquire.as_mut().poll(cx, &self.cache, || self.source(inner))) {
                Ok(token) => AwaitedToken::Token(token),
                Err(error) => match &self.restricted {
                    Some(_) => {
                        observe::restricted_access_token_used(&error);
                        AwaitedToken::Restricted
                    }
                    None => return Poll::Ready(Err(error)),
                },
            };
            *wait.awaited = Some(awaited);
            wait.acquire.set(Acquire::default());
        }
        Poll::Ready(Ok(()))
    }

    /// Calls `keep` and attaches the token that the request waited for. Returns `None` if the token
    /// became invalid during a delay: the wait then starts again.
    pub(crate) fn attach_awaited<B>(
        &self,
        wait: Pin<&mut TokenWait>,
        request: &mut Request<B>,
        delayed: bool,
        keep: impl FnOnce(&Request<B>),
    ) -> Option<Result<AttachedToken, BoxError>> {
        let wait = wait.project();
        let awaited = match wait.awaited.take()? {
            // Without a delay the token has just arrived. It is used even if it lives only a
            // moment.
            AwaitedToken::Token(token) if delayed => AwaitedToken::Token(self.usable_after_delay(&token)?),
            awaited => awaited,
        };
        keep(request);
        Some(match awaited {
            AwaitedToken::Token(token) => attach(request, &token, *wait.retrying),
            AwaitedToken::Restricted => {
                self.restricted.as_ref()?.authorize(request).map(|()| AttachedToken::Restricted)
            }
        })
    }

    /// Returns the token to send after a wait for the inner service: the current token if it is
    /// good, else `token` if it is good.
    fn usable_after_delay(&self, token: &Arc<Token>) -> Option<Arc<Token>> {
        let now = Instant::now();
        let current = self.cache.load();
        let mut candidates = current.iter().chain([token]);
        candidates.find(|token| token.is_valid(now) && !token.is_refused()).cloned()
    }

    /// Reports to the fleet whether a retry with the token `generation` was accepted. Nothing is
    /// reported if the token has been replaced meanwhile.
    fn report_retry(&self, generation: u64, effective: bool) {
        if let Some(token) = self.cache.load().as_ref().filter(|token| token.generation() == generation) {
            self.endpoint.report_retry(token, effective);
        }
    }

    /// Whether a response of class `class` may say something new about the token.
    #[inline]
    pub(crate) fn affects_token(&self, attached: &AttachedToken, class: ResponseClass) -> bool {
        let is_unconfirmed =
            matches!(attached, AttachedToken::Token { unconfirmed, retrying, .. } if *unconfirmed | *retrying);
        is_unconfirmed || class == ResponseClass::Unauthorized
    }

    /// Records what a response of class `class` says about the token. Returns the wait before the
    /// next attempt, if the request is sent again.
    pub(crate) fn after_response<R>(
        &self,
        attached: &AttachedToken,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
    ) -> Option<TokenWait> {
        let (generation, retrying) = match attached {
            AttachedToken::Token { generation, retrying, .. } => (*generation, *retrying),
            AttachedToken::Nothing { foreign: Some(uri) } if class == ResponseClass::Unauthorized => {
                self.protection_space.refused_without_token(uri);
                return None;
            }
            AttachedToken::Restricted | AttachedToken::Nothing { .. } => return None,
        };
        if class != ResponseClass::Unauthorized {
            if class == ResponseClass::Ordinary && proves_token(response) {
                if retrying {
                    self.cache.record_retry_succeeded(generation);
                    self.report_retry(generation, true);
                } else {
                    self.cache.confirm(generation);
                }
            }
            return None;
        }
        if retrying {
            self.cache.record_retry_failed(generation);
            self.report_retry(generation, false);
            return None;
        }
        let repeatable = self.retry && repeatable;
        let retrying = match self.cache.refuse(generation, repeatable) {
            AfterRefusal::ReturnResponse => return None,
            // Some servers may not know the newer token yet. A 401 to the older token is then
            // handled like the first 401.
            AfterRefusal::UseOlderToken => false,
            AfterRefusal::UseNewerToken => true,
        };
        if self.retry && !repeatable {
            observe::not_repeatable(generation);
        }
        repeatable.then(|| TokenWait::new(retrying))
    }
}

/// Attaches `token` to `request`.
#[inline]
fn attach<B>(request: &mut Request<B>, token: &Token, retrying: bool) -> Result<AttachedToken, BoxError> {
    // The insertion fails if the header map is full, at some 24,000 fields.
    request.headers_mut().try_insert(AUTHORIZATION, token.authorization().clone())?;
    observe::token_used(|| token.age(Instant::now()));
    Ok(AttachedToken::Token { generation: token.generation(), unconfirmed: token.is_unconfirmed(), retrying })
}

/// The policy of [`TurrisAuth`](crate::TurrisAuth).
pub(super) struct TokenPolicy<T>(pub(super) Arc<AuthState<T>>);

impl<T> Clone for TokenPolicy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Policy for TokenPolicy<T> {
    type Permit = AttachedToken;
    type Reader = TokenReader;
    type Wait = TokenWait;
    type Error = BoxError;

    #[inline]
    fn classify<R>(&self, attached: &mut AttachedToken, response: &Response<R>) -> Option<ResponseClass> {
        let class = self.0.classifier.classify(response);
        if self.0.affects_token(attached, class) { Some(class) } else { None }
    }

    fn after_response<R>(
        &self,
        attached: AttachedToken,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        _history: &mut History,
    ) -> Option<TokenWait> {
        self.0.after_response(&attached, class, response, repeatable)
    }

    fn after_error(
        &self,
        _attached: AttachedToken,
        _error: &(dyn Error + 'static),
        _repeatable: bool,
        _history: &mut History,
    ) -> Option<TokenWait> {
        None
    }

    fn after_unprocessed(&self, attached: AttachedToken) -> Option<TokenWait> {
        match attached {
            AttachedToken::Token { retrying, .. } => Some(TokenWait::new(retrying)),
            AttachedToken::Restricted => Some(TokenWait::new(false)),
            AttachedToken::Nothing { .. } => None,
        }
    }

    #[inline]
    fn report<R>(&self, _history: &History, _response: &mut Response<R>) {}

    fn error(_part: FailedPart, error: BoxError) -> BoxError {
        error
    }
}

impl<S, T, B> Admit<S, B> for TokenPolicy<T>
where
    T: TokenTransport<S, B>,
{
    #[inline]
    fn admit(
        &self,
        reader: &mut TokenReader,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Result<AttachedToken, Box<NotAdmitted<Self>>> {
        if let Some(attached) = self.0.skipped(request) {
            return Ok(attached);
        }
        let keep = |request: &Request<B>| {
            if self.0.retry {
                keep(request);
            }
        };
        match self.0.attach_current(reader, request, inner, keep) {
            Some(Ok(attached)) => Ok(attached),
            None => Err(Box::new(NotAdmitted::Wait(TokenWait::new(false)))),
            Some(Err(error)) => Err(Box::new(NotAdmitted::Fail(error))),
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

    fn admit_after_wait(
        &self,
        wait: Pin<&mut TokenWait>,
        request: &mut Request<B>,
        _inner: &S,
        history: &mut History,
        keep: impl FnOnce(&Request<B>),
        _cx: &mut Context<'_>,
    ) -> Option<Result<AttachedToken, BoxError>> {
        let keep = |request: &Request<B>| {
            if self.0.retry {
                keep(request);
            }
        };
        self.0.attach_awaited(wait, request, history.delayed, keep)
    }
}

/// Returns the error in the form that callers expect: a `tonic::Status` for a gRPC call, else the
/// error itself.
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
