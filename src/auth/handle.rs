//! [`TokenHandle`], [`AccessToken`] and [`TokenStatus`]: the token outside of requests.

use std::{fmt, future::poll_fn, pin::pin, sync::Arc, time::Duration};

use http::HeaderValue;

use crate::{
    TokenError, TokenService,
    token::{Acquire, Instant, Token, TokenCache},
    token_endpoint::TokenEndpoint,
};

/// Handle to a layer's token, for use outside of the layer's requests.
///
/// A handle can
///
/// - fetch the token early,
/// - hand the token out, for instance for a WebSocket,
/// - discard the token,
/// - show the status of the token.
///
/// All clones of a handle refer to the same token. Like a service, a handle keeps the token and a
/// fetch under way alive.
///
/// # Examples
///
/// ```
/// # async fn start(turris: turris_emulator::Emulator) -> Result<(), turris_auth::BoxError> {
/// use turris_auth::{Credentials, Environment, TurrisAuthLayer};
///
/// let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
/// let environment = Environment::custom(turris.base_url())?;
/// let layer = TurrisAuthLayer::builder(credentials, environment)
///     .token_service(turris.service())
///     .build()?;
/// let handle = layer.handle();
/// assert!(handle.status().valid_for().is_none());
/// handle.warm_up().await?;
/// assert!(handle.status().valid_for().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenHandle {
    pub(super) cache: Arc<TokenCache>,
    pub(super) endpoint: Arc<TokenEndpoint>,
    pub(super) tokens: TokenService,
}

impl TokenHandle {
    /// Fetches a token if there is no valid token, so that the first request need not wait.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] if no token can be obtained.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a fetch under way goes on, and the next caller gets its token.
    pub async fn warm_up(&self) -> Result<(), TokenError> {
        self.acquire().await.map(drop)
    }

    /// Returns the token for use outside of the layer, for instance for a WebSocket's handshake or
    /// a child process.
    ///
    /// It is the token that requests carry. If there is no valid token, a token is fetched.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] if no token can be obtained.
    ///
    /// # Cancel safety
    ///
    /// As [`warm_up`](Self::warm_up).
    pub async fn token(&self) -> Result<AccessToken, TokenError> {
        let token = self.acquire().await?;
        Ok(AccessToken { authorization: token.authorization().clone(), expires_in: token.expires_in(Instant::now()) })
    }

    /// Discards the token. The next request fetches a new token.
    ///
    /// The result of a fetch under way is discarded too, since that token may be older than the
    /// reason for this call. Each call can cost a token request of the allowance. After a 401 no
    /// call is needed: the layer replaces the token by itself.
    pub fn invalidate(&self) {
        // The store's side comes first. A flight that begins in between may adopt the invalidated
        // token, and its result is discarded.
        self.endpoint.token_invalidated();
        self.cache.invalidate();
    }

    /// Returns the status of the token right now, without a fetch or a wait.
    pub fn status(&self) -> TokenStatus {
        let snapshot = self.cache.snapshot();
        TokenStatus { valid_for: snapshot.valid_for, fetching: snapshot.fetching, failure: snapshot.failure }
    }

    /// Returns the current token, if there is one, without a fetch.
    #[cfg(feature = "client")]
    pub(crate) fn current(&self) -> Option<AccessToken> {
        let token = self.cache.load().as_ref().cloned()?;
        Some(AccessToken { authorization: token.authorization().clone(), expires_in: token.expires_in(Instant::now()) })
    }

    async fn acquire(&self) -> Result<Arc<Token>, TokenError> {
        let source = || self.tokens.source(&self.endpoint);
        let now = Instant::now();
        let current = self.cache.load().as_ref().filter(|token| self.cache.usable(token, now, source)).cloned();
        if let Some(token) = current {
            return Ok(token);
        }
        let mut acquire = pin!(Acquire::default());
        poll_fn(|cx| acquire.as_mut().poll(cx, &self.cache, source)).await
    }
}

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHandle").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// An access token that a [`TokenHandle`] has handed out. `Debug` does not show it.
///
/// # Examples
///
/// ```
/// # async fn run(handle: turris_auth::TokenHandle) -> Result<(), turris_auth::TokenError> {
/// // For the handshake of a WebSocket, which no layer sees.
/// let token = handle.token().await?;
/// let request = http::Request::get("wss://public.api.live.turrisfi.com/v1/events")
///     .header("authorization", token.authorization());
/// # let _ = request;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AccessToken {
    authorization: HeaderValue,
    expires_in: Duration,
}

impl AccessToken {
    /// Returns the token itself. It is a secret.
    pub fn as_str(&self) -> &str {
        // The value consists of `Bearer ` and visible ASCII characters, so neither step fails.
        self.authorization.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
    }

    /// Returns the whole `Authorization` value (RFC 6750, section 2.1), marked sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// Returns how long the token was still valid when it was handed out.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Status of a layer's token, for a health endpoint.
///
/// There can be a valid token, a fetch under way and a failure at the same time, since a failed
/// refresh keeps the token.
///
/// # Examples
///
/// ```
/// use http::StatusCode;
/// use turris_auth::TokenHandle;
///
/// /// 503 only if a person is needed: a failure that passes must not take all replicas down.
/// fn health(handle: &TokenHandle) -> (StatusCode, String) {
///     let token = handle.status();
///     let passes = token.failure().is_none_or(|failure| failure.kind().is_transient());
///     let status = match token.is_healthy() || passes {
///         true => StatusCode::OK,
///         false => StatusCode::SERVICE_UNAVAILABLE,
///     };
///     (status, format!("token: {token}"))
/// }
/// ```
#[doc(alias("health check"))]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenStatus {
    valid_for: Option<Duration>,
    fetching: bool,
    failure: Option<(TokenError, Duration)>,
}

impl TokenStatus {
    /// Returns how much longer requests carry the current token, or `None` if there is no valid
    /// token.
    pub fn valid_for(&self) -> Option<Duration> {
        self.valid_for
    }

    /// Returns whether a token is being fetched right now: the first token or a newer token.
    pub fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// Returns the error of the last fetch. `None` if that fetch succeeded, or if there was no
    /// fetch.
    ///
    /// Errors of the kind [`Runtime`](crate::TokenErrorKind::Runtime) are not kept, since a caller
    /// on another runtime may succeed.
    pub fn failure(&self) -> Option<&TokenError> {
        self.failure.as_ref().map(|(error, _)| error)
    }

    /// Returns how long the cool-down after a failed fetch still lasts: zero if a fetch may start
    /// now, and `None` if the last fetch did not fail.
    pub fn retry_in(&self) -> Option<Duration> {
        self.failure.as_ref().map(|(_, wait)| *wait)
    }

    /// Returns whether requests can be sent: there is a valid token, or the last fetch did not
    /// fail.
    pub fn is_healthy(&self) -> bool {
        self.valid_for.is_some() || self.failure.is_none()
    }
}

/// Serialises as a map of `valid_for_seconds` (a number or null), `fetching` and `healthy`
/// (booleans) and `failure` (null, or a map of `kind`, `message`, `request_id` and
/// `retry_in_seconds`).
#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl serde::Serialize for TokenStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Status<'a> {
            valid_for_seconds: Option<f64>,
            fetching: bool,
            healthy: bool,
            failure: Option<Failure<'a>>,
        }
        #[derive(serde::Serialize)]
        struct Failure<'a> {
            kind: String,
            message: String,
            request_id: Option<&'a str>,
            retry_in_seconds: f64,
        }
        let failure = self.failure.as_ref().map(|(error, wait)| Failure {
            kind: error.kind().to_string(),
            message: error.to_string(),
            request_id: error.request_id(),
            retry_in_seconds: wait.as_secs_f64(),
        });
        let valid_for_seconds = self.valid_for.map(|valid_for| valid_for.as_secs_f64());
        Status { valid_for_seconds, fetching: self.fetching, healthy: self.is_healthy(), failure }.serialize(serializer)
    }
}

impl fmt::Display for TokenStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.valid_for {
            Some(valid_for) => write!(f, "valid for {} s", valid_for.as_secs())?,
            None => f.write_str("no token")?,
        }
        if self.fetching {
            f.write_str(", being fetched")?;
        }
        if let Some((error, wait)) = &self.failure {
            let wait = wait.as_secs_f64().ceil();
            write!(f, ", last fetch failed ({}), next one possible in {wait} s", error.kind())?;
        }
        Ok(())
    }
}
