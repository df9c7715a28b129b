//! [`TurrisLayer`] and its builder.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::Full;
use tower_layer::Layer;
use tower_service::Service;

use super::{policy::StackState, service::Turris};
use crate::{
    BoxError, ConfigError, CredentialsProvider, Environment, ResponseClass, TokenHandle, TokenService, TurrisAuthLayer,
    TurrisBackoffLayer,
    auth::{ThroughInner, TurrisAuthLayerBuilder},
    backoff::{RequestClass, RetryBudget, TurrisBackoffLayerBuilder},
    gate::GateRegistry,
};

/// Layer that puts the whole stack around a client: rate limits outside, authentication inside.
///
/// All services of one layer and its clones share one token, one allowance of token requests, and
/// one [gate](crate::backoff#one-gate-for-each-limit) for each authority and class of requests.
/// Make one layer for each API client.
///
/// See the [module](super) for examples.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::Layer;
/// use turris_auth::{Credentials, Environment, TurrisLayer};
///
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let layer = TurrisLayer::new(credentials, Environment::Sandbox);
/// let turris = layer.layer(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
/// # let _ = turris;
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[doc(alias("401", "429", "bearer", "oauth", "rate limit", "single flight"))]
pub struct TurrisLayer<T = ThroughInner> {
    shared: Arc<StackState<T>>,
}

impl TurrisLayer {
    /// Returns a layer with all defaults. It fetches tokens through the wrapped client.
    ///
    /// Its services have a [`handle`](Turris::handle) to the token. The layer itself has a handle
    /// only with a [`token_service`](TurrisLayerBuilder::token_service).
    pub fn new(credentials: impl CredentialsProvider, environment: Environment) -> Self {
        let auth = TurrisAuthLayer::builder(credentials, environment).into_shared();
        Self { shared: Arc::new(StackState { auth, gates: GateRegistry::new(Default::default()) }) }
    }

    /// Returns a builder for a customised layer.
    pub fn builder(credentials: impl CredentialsProvider, environment: Environment) -> TurrisLayerBuilder {
        TurrisLayerBuilder {
            auth: TurrisAuthLayer::builder(credentials, environment),
            backoff: TurrisBackoffLayer::builder(),
        }
    }
}

impl TurrisLayer<TokenService> {
    /// Returns a handle to the token of this layer.
    ///
    /// Only a layer with a [token service](TurrisLayerBuilder::token_service) has this method. All
    /// other layers fetch through the clients that they wrap, and their [services](Turris::handle)
    /// give out handles.
    pub fn handle(&self) -> TokenHandle {
        self.shared.auth.own_handle()
    }
}

impl<S, T> Layer<S> for TurrisLayer<T> {
    type Service = Turris<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Turris::new(inner, Arc::clone(&self.shared))
    }
}

impl<T> Clone for TurrisLayer<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// Shows the settings on one line.
impl<T> fmt::Debug for TurrisLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TurrisLayer").field(&*self.shared).finish()
    }
}

/// Builder for a [`TurrisLayer`]. [`TurrisLayer::builder`] makes it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::{Credentials, Environment, TurrisLayer};
///
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let layer = TurrisLayer::builder(credentials.clone(), Environment::Sandbox)
///     .token_timeout(Duration::from_secs(5))
///     .max_retries(5)
///     .build()?;
/// # let _ = layer;
///
/// let error = TurrisLayer::builder(credentials, Environment::Sandbox)
///     .max_wait(Duration::ZERO)
///     .build()
///     .unwrap_err();
/// assert_eq!(error.setting(), "max_wait");
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct TurrisLayerBuilder<T = ThroughInner> {
    auth: TurrisAuthLayerBuilder<T>,
    backoff: TurrisBackoffLayerBuilder,
}

impl<T> TurrisLayerBuilder<T> {
    /// Sets how long before its expiry a token is renewed in the background. Default: 5 minutes.
    ///
    /// See [`TurrisAuthLayerBuilder::refresh_before`].
    pub fn refresh_before(self, margin: Duration) -> Self {
        Self { auth: self.auth.refresh_before(margin), ..self }
    }

    /// Sets how long a token fetch takes at most, with all its attempts. Default: 30 seconds.
    ///
    /// See [`TurrisAuthLayerBuilder::token_timeout`]. After a failed fetch a request [waits for the
    /// next fetch](crate::turris#while-no-token-can-be-had), so the request can take longer.
    pub fn token_timeout(self, timeout: Duration) -> Self {
        Self { auth: self.auth.token_timeout(timeout), ..self }
    }

    /// Sets how many token requests the layer makes at most in any period of length `per`. Default:
    /// 10 in 60 seconds, the documented limit.
    ///
    /// See [`TurrisAuthLayerBuilder::rate_limit`]. For all other requests,
    /// [`rate_limit`](Self::rate_limit) sets the limit.
    pub fn token_rate_limit(self, fetches: u64, per: Duration) -> Self {
        Self { auth: self.auth.rate_limit(fetches, per), ..self }
    }

    /// Shares the token, the allowance of token requests and the pace with the other processes of a
    /// fleet. Default: they are not shared.
    ///
    /// See [`TurrisAuthLayerBuilder::shared`] and [`TurrisBackoffLayerBuilder::shared`].
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub fn shared(self, fleet: &crate::SharedState) -> Self {
        Self { auth: self.auth.shared(fleet), backoff: self.backoff.shared(fleet) }
    }

    /// Attaches the token to requests for this origin too, such as `https://uploads.example`.
    /// Default: the environment's origin only.
    ///
    /// See [`TurrisAuthLayerBuilder::allow_origin`].
    pub fn allow_origin(self, origin: impl AsRef<str>) -> Self {
        Self { auth: self.auth.allow_origin(origin), ..self }
    }

    /// Attaches the token to requests whose URI is relative. Default: such requests are sent
    /// without a token.
    ///
    /// See [`TurrisAuthLayerBuilder::authorize_relative_uris`].
    pub fn authorize_relative_uris(self) -> Self {
        Self { auth: self.auth.authorize_relative_uris(), ..self }
    }

    /// Leaves a request that has an `Authorization` header of its own unchanged. Default: the
    /// header is replaced.
    ///
    /// See [`TurrisAuthLayerBuilder::keep_authorization`].
    pub fn keep_authorization(self) -> Self {
        Self { auth: self.auth.keep_authorization(), ..self }
    }

    /// Sets whether a request that gets a 401 is sent once more, with a newer token. Default:
    /// `true`.
    ///
    /// See [`TurrisAuthLayerBuilder::retry_unauthorized`].
    pub fn retry_unauthorized(self, retry: bool) -> Self {
        Self { auth: self.auth.retry_unauthorized(retry), ..self }
    }

    /// Sends a request with this restricted access token if no token can be obtained for it.
    /// Default: the request fails.
    ///
    /// See [`TurrisAuthLayerBuilder::restricted_access_token`].
    pub fn restricted_access_token(self, secret: impl Into<String>) -> Self {
        Self { auth: self.auth.restricted_access_token(secret), ..self }
    }

    /// Fetches tokens through `service`. Default: through the client that the layer wraps.
    ///
    /// See [`TurrisAuthLayerBuilder::token_service`].
    pub fn token_service<S, ResBody>(self, service: S) -> TurrisLayerBuilder<TokenService>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Data: Send,
        ResBody::Error: Into<BoxError>,
    {
        TurrisLayerBuilder { auth: self.auth.token_service(service), backoff: self.backoff }
    }

    /// Sets how often a request is sent again, after 429s and token errors together. Default: 3.
    ///
    /// The retry after a 401 is not counted. See [`TurrisBackoffLayerBuilder::max_retries`].
    pub fn max_retries(self, max_retries: u32) -> Self {
        Self { backoff: self.backoff.max_retries(max_retries), ..self }
    }

    /// Sets the longest time for which a 429 can hold requests back. Default: 2 minutes.
    ///
    /// See [`TurrisBackoffLayerBuilder::max_wait`].
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { backoff: self.backoff.max_wait(max_wait), ..self }
    }

    /// Sets whether requests are held back so that the limit is used but not exceeded. Default:
    /// `true`.
    ///
    /// See [`TurrisBackoffLayerBuilder::pacing`].
    pub fn pacing(self, pacing: bool) -> Self {
        Self { backoff: self.backoff.pacing(pacing), ..self }
    }

    /// Sets the limit that pacing starts from. Default: the documented 60 requests in 60 seconds.
    ///
    /// See [`TurrisBackoffLayerBuilder::rate_limit`].
    pub fn rate_limit(self, requests: u64, per: Duration) -> Self {
        Self { backoff: self.backoff.rate_limit(requests, per), ..self }
    }

    /// Sets which requests share a limit. Default: by method.
    ///
    /// See [`TurrisBackoffLayerBuilder::classify_requests`].
    pub fn classify_requests<F>(self, classify: F) -> Self
    where
        F: Fn(&Method, &Uri, &HeaderMap) -> RequestClass + Send + Sync + 'static,
    {
        Self { backoff: self.backoff.classify_requests(classify), ..self }
    }

    /// Sets how responses are classified: as a refused token, an exceeded limit, or neither.
    /// Default: [`ResponseClass::of`].
    pub fn classify_responses<F>(self, classify: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync + 'static,
    {
        // One classifier serves both parts. The settings of the limit hold it.
        Self { backoff: self.backoff.classify_responses(classify), ..self }
    }

    /// Sets a budget that bounds the share of requests that are sent again after a 429 or a token
    /// error. Default: no bound.
    ///
    /// See [`TurrisBackoffLayerBuilder::retry_budget`].
    pub fn retry_budget(self, budget: impl RetryBudget + 'static) -> Self {
        Self { backoff: self.backoff.retry_budget(budget), ..self }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the first setting with a value that cannot work.
    pub fn build(self) -> Result<TurrisLayer<T>, ConfigError> {
        let auth = self.auth.build_shared()?;
        let gates = GateRegistry::new(self.backoff.validated()?);
        Ok(TurrisLayer { shared: Arc::new(StackState { auth, gates }) })
    }
}

impl<T> fmt::Debug for TurrisLayerBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurrisLayerBuilder").field("auth", &self.auth).field("backoff", &self.backoff).finish()
    }
}
